"""The blocks of the configuration, each checked by itself."""

import grp
import ipaddress
import re
import string
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from ledger.config.faults import is_day
from ledger.config.urls import PLAIN_URL, parse_url
from ledger.errors import UsageError

#: ``[user@]host:/folder``; neither name may begin as an option of ssh does.
REMOTE = re.compile(r"(?:([\w.][\w.-]*)@)?([\w.][\w.-]*|\[[0-9A-Fa-f:.%\w]+\]):(/.*)", re.ASCII)


#: As rsync has it: what has a colon before any slash is on another host.
_MEANT_REMOTE = re.compile(r"[^/]*:.*", re.DOTALL)


#: Two times of day.
_WINDOW = re.compile(r"((?:[01][0-9]|2[0-3]):[0-5][0-9])-((?:[01][0-9]|2[0-3]):[0-5][0-9])")


#: What the templates of a mail may name.
MAIL_FIELDS = frozenset({"instrument", "date", "dates", "host", "ip", "count", "bytes", "name", "missing"})


#: What a heartbeat may call.
_URL = re.compile(r"https?://[\w.\[\]:@-]+(?:[/?][!-~]*)?", re.ASCII)


#: Workers, whatever the machine.
MOST_WORKERS = 4096


#: The highest number of a frame ID: it has eight digits.
LAST_NUMBER = 99_999_999


#: A product that failed is tried at least so often.
LONGEST_WAIT_MINUTES = 1440.0


def _folder_or_remote(value: object) -> object:
    """Refuse a place that is meant to be on another host, and would be taken for a folder here."""
    is_text = isinstance(value, str)
    if isinstance(value, dict) or (is_text and _MEANT_REMOTE.fullmatch(str(value))):  # `user@host:` is a mapping
        match = REMOTE.fullmatch(str(value)) if is_text else None
        if match is None or not match[3].strip("/") or match[3].startswith("//"):  # all of it, or a URL
            raise ValueError("expected user@host:/folder, or a folder here (with ./ before a name that has a colon)")
    return value


#: Where products go: a folder here, or ``[user@]host:/folder``.
Destination = Annotated[Path, BeforeValidator(_folder_or_remote)]


class Block(BaseModel):
    """Keys that belong together; an unknown one is a fault."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Database(Block):
    """Where the database is."""

    url: str

    @field_validator("url")
    @classmethod
    def _known(cls, value: str) -> str:
        if PLAIN_URL.fullmatch(value):
            return value
        try:
            parse_url(value)
        except UsageError as exc:
            raise ValueError(str(exc).removeprefix("database.url ")) from exc
        return value


class PipelineConfig(Block):
    """A root of nights and the states that its files pass."""

    root: Path
    states: tuple[str, ...]
    first_night: str | None = Field(default=None, pattern=r"^\d{8}$")
    destination: Destination | None = None
    former_destinations: tuple[Destination, ...] = ()

    @field_validator("first_night", mode="before")
    @classmethod
    def _as_text(cls, value: object) -> object:
        text = str(value) if isinstance(value, int) else value
        if isinstance(text, str) and not is_day(text):
            raise ValueError("expected a date, YYYYMMDD")
        return text


class Ssh(Block):
    """How a destination on another host is reached."""

    port: int | None = Field(default=None, ge=1, le=65535)
    identity_file: Path | None = None
    known_hosts: Path | None = None
    options: tuple[str, ...] = ("-T", "-c", "aes128-ctr", "-o", "Compression=no", "-o", "ConnectTimeout=10")
    limit_mb_s: float | None = Field(default=None, gt=0, strict=True, allow_inf_nan=False)


class Transfer(Block):
    """Where products go."""

    destination: Destination
    direction: Literal["push", "pull"] = "push"
    source: str | None = None
    window: str | None = None
    ssh: Ssh = Ssh()

    @field_validator("source")
    @classmethod
    def _host(cls, value: str | None) -> str | None:
        if value is not None and (not (match := REMOTE.fullmatch(f"{value}:/")) or match[3] != "/"):
            raise ValueError("expected a host, [user@]host")
        return value

    @field_validator("window")
    @classmethod
    def _times(cls, value: str | None) -> str | None:
        if value is not None and (not (match := _WINDOW.fullmatch(value)) or match[1] == match[2]):
            raise ValueError('expected two times of day, UT, in quotes, such as "18:00-06:00"')
        return value

    def why_closed(self, now_us: int) -> str | None:
        """Return why products may not be sent at a time (UNIX, microseconds), or None."""
        if self.window is None:
            return None
        begin, _, end = self.window.partition("-")
        now = datetime.fromtimestamp(now_us / 1e6, tz=UTC).strftime("%H:%M")
        if begin <= now < end if begin < end else now >= begin or now < end:
            return None
        return f"products are sent from {self.window} UT (transfer.window), it is {now}; `ledger catch-up` goes on then"


def refuse_address(address: str) -> None:
    """Refuse what is no mail address.

    Raises
    ------
    ValueError
        If it is none, or more than one.
    """
    if not re.fullmatch(r"[^\s@<>,;:]+@[^\s@<>,;:]+", address) or not address.isprintable():
        raise ValueError(f"not an address: {address!r}; expected name@host")


class Smtp(Block):
    """A server that takes mails. The password is not kept here: `ledger.delivery.mail` says where."""

    server: str = "localhost"
    port: int = Field(default=587, ge=1, le=65535)
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str | None = None
    ca_file: Path | None = None


class Mail(Block):
    """How manifests are mailed."""

    transport: Literal["smtp", "sendmail", "eml"] = "eml"
    automatic: bool = Field(default=False, strict=True)
    folder: Path = Path("manifests")
    sender: str | None = None
    recipients: tuple[str, ...] = ()
    subject: str = "{instrument}: manifest of {dates}"
    text: str = "{count} files, {bytes} bytes, of {dates} on {host}.\n{missing}\n"
    host: str | None = None
    ip: str | None = None
    sendmail: Path = Path("/usr/sbin/sendmail")
    smtp: Smtp = Smtp()

    @field_validator("sender", "recipients")
    @classmethod
    def _addresses(cls, value: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        for address in (value,) if isinstance(value, str) else value or ():
            refuse_address(address)
        return value

    @field_validator("subject", "text")
    @classmethod
    def _template(cls, value: str) -> str:
        try:
            fields = [field for _, field, _, _ in string.Formatter().parse(value) if field is not None]
        except ValueError as exc:
            raise ValueError(f"not a template: {exc}; a brace itself is written twice") from exc
        if unknown := sorted(set(fields) - MAIL_FIELDS):
            raise ValueError(f"unknown field {unknown[0]!r}; expected of {', '.join(sorted(MAIL_FIELDS))}")
        return value

    @field_validator("ip")
    @classmethod
    def _outside(cls, value: str | None) -> str | None:
        if value is not None and ipaddress.ip_address(value).is_loopback:
            raise ValueError("a loopback address; expected the one by which others reach the host")
        return value


#: What alerts are about.
AlertKind = Literal[
    "failed", "quarantined", "space", "mismatch", "stopped", "stalled", "gone", "stray", "broken", "unconfirmed"
]


class Notify(Block):
    """Where alerts go, and what they are about."""

    command: tuple[str, ...] = ()
    recipients: tuple[str, ...] = ()
    kinds: tuple[AlertKind, ...] = get_args(AlertKind)
    hours: float = Field(default=6, ge=0, strict=True, allow_inf_nan=False)
    stalled_hours: float = Field(default=48, gt=0, strict=True, allow_inf_nan=False)
    unconfirmed_days: float | None = Field(default=None, gt=0, strict=True, allow_inf_nan=False)
    ignore: tuple[str, ...] = ()
    heartbeat: str | tuple[str, ...] | None = None

    @field_validator("heartbeat", mode="before")
    @classmethod
    def _url_or_command(cls, value: object) -> object:
        is_command = isinstance(value, list | tuple) and bool(value) and all(isinstance(word, str) for word in value)
        is_url = isinstance(value, str) and _URL.fullmatch(value) is not None
        if value is None or is_command or is_url:
            return value
        raise ValueError("expected a URL (http://host/… or https://host/…), or a list: a program and its arguments")

    @field_validator("recipients")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for address in value:
            refuse_address(address)
        return value


class Engine(Block):
    """How stages are run."""

    executor: Literal["inline", "processes"] = "processes"
    workers: int | None = Field(default=None, ge=1, le=MOST_WORKERS)


class Ids(Block):
    """Where frame numbers come from, and what the observatory allows of a frame ID.

    The defaults are Subaru's (its regulation of FRAMEID): the fourth letter is neither E nor Z, and of the eight digits
    the first is 7 or 8 for simulated frames, and 9 for engineering frames.
    """

    authority: Literal["own", "blocks"] = "own"
    forbidden_letters: tuple[Annotated[str, Field(pattern="^[A-Z]$")], ...] = ("E", "Z")
    last_number: int | None = Field(default=69_999_999, ge=1, le=LAST_NUMBER, strict=True)

    @property
    def last(self) -> int:
        """Return the last number that is ever given."""
        return self.last_number or LAST_NUMBER


class Permissions(Block):
    """Mode and group of what the ledger writes."""

    umask: str | None = None
    group: str | None = None

    @field_validator("umask", mode="before")
    @classmethod
    def _octal(cls, value: object) -> object:
        if value is None or (isinstance(value, str) and re.fullmatch(r"[0-7]{3,4}", value)):
            return value
        raise ValueError('expected three or four octal digits in quotes, such as "0002"')

    @field_validator("group")
    @classmethod
    def _exists(cls, value: str | None) -> str | None:
        if value is not None and value not in {group.gr_name for group in grp.getgrall()}:
            raise ValueError("no such group on this machine")
        return value


class Failures(Block):
    """What becomes of a product whose step failed."""

    attempts: int = Field(default=5, ge=1, strict=True)
    retry_minutes: float = Field(default=10, ge=0, strict=True, allow_inf_nan=False)
    barrier: Literal["wait", "skip"] = "wait"

    def wait_us(self, attempts: int) -> int:
        """Return how long to wait after so many failures in a row, in microseconds."""
        return int(min(self.retry_minutes * 2.0 ** min(attempts - 1, 30), LONGEST_WAIT_MINUTES) * 60e6)

    def is_due(self, next_retry_us: int | None, now_us: int) -> bool:
        """Whether it is time to try again; a time farther off than any wait was written by a clock that was wrong."""
        return next_retry_us is None or not now_us < next_retry_us <= now_us + LONGEST_WAIT_MINUTES * 60e6


class Space(Block):
    """What disks keep free."""

    keep_free_mb: float | None = Field(default=100, ge=0, strict=True, allow_inf_nan=False)


class ReportConfig(Block):
    """Where nights are written as pages."""

    folder: Path | None = None


class Prune(Block):
    """What `ledger prune` may remove."""

    products_days: int = Field(default=0, ge=0, strict=True)
    raw_days: int | None = Field(default=None, ge=0, strict=True)
    most_gb: float = Field(default=1000, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _without_copies(cls, data: object) -> object:
        """Leave out a key of before 0.2.0; what it says is for `ledger.config.check` to judge."""
        return {key: value for key, value in data.items() if key != "copies"} if isinstance(data, Mapping) else data


class Metrics(Block):
    """Where `catch-up` writes figures for monitoring."""

    file: Path | None = None


class Backup(Block):
    """Copies of the database."""

    automatic: bool = Field(default=True, strict=True)
    folder: Path = Path("backups")
    keep: int = Field(default=5, ge=1, strict=True)
    keep_days: int = Field(default=7, ge=1, strict=True)
    keep_gb: float = Field(default=100, ge=0, strict=True, allow_inf_nan=False)


class StateConfig(Block):
    """A state: the stage that makes it, the names of its edges, and what it stands on."""

    stage: str | None = None
    scope: Literal["file", "batch", "night"] = "file"
    forward: str | None = None
    reverse: str | None = None
    makes_products: bool = False
    requires: Literal["frame_id", "copy"] | None = None
    parameters: str | dict[str, Any] = Field(default_factory=dict)


def read_place(place: Path) -> tuple[str, str, Path]:
    """Return user, host and folder of a place as rsync writes it, ``[user@]host:/folder``; without a host, it is here.

    A folder here whose name looks like that is written with ``./`` before it.
    """
    match = REMOTE.fullmatch(str(place))
    return ("", "", place) if match is None else (match[1] or "", match[2].strip("[]"), Path(match[3]))

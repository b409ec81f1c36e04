"""The configuration: checked as a whole, all faults at once, each with its path and a hint.

:func:`parse_config` is pure; :func:`read_config` touches the disk and the environment.
"""

import difflib
import grp
import ipaddress
import os
import re
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

import stages
from ledger.config.faults import faults_of_instrument, faults_of_values, is_day
from ledger.db.readonly import PLAIN_URL
from ledger.errors import BadInput, ConfigError, Fault
from stages.base import BadInput as BadDictionary
from stages.base import Host, Instrument, Source, Stage

ENVIRONMENT_PREFIX = "LEDGER_"
#: Variables with the prefix that are not keys of the configuration.
NOT_KEYS = frozenset({"LEDGER_CONFIG", "LEDGER_SMTP_PASSWORD"})
PIPELINES = ("archive", "engineering")
#: Blocks of parameters that several states may share by name.
SHARED_PARAMETERS = ("header",)

#: What PyYAML raises: its own errors, and for values that it cannot make (a 30th of February) whatever Python raises.
_NOT_YAML = (yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError, OverflowError, RecursionError)

#: ``[user@]host:/folder``; neither name may begin as an option of ssh does.
_REMOTE = re.compile(r"(?:([\w.][\w.-]*)@)?([\w.][\w.-]*|\[[0-9A-Fa-f:.%\w]+\]):(/.*)", re.ASCII)

#: As rsync has it: what has a colon before any slash is on another host.
_MEANT_REMOTE = re.compile(r"[^/]*:.*", re.DOTALL)

#: Two times of day.
_WINDOW = re.compile(r"((?:[01][0-9]|2[0-3]):[0-5][0-9])-((?:[01][0-9]|2[0-3]):[0-5][0-9])")

#: What the templates of a mail may name.
MAIL_FIELDS = frozenset({"instrument", "date", "dates", "host", "ip", "count", "bytes", "name", "missing"})

#: Workers, whatever the machine.
MOST_WORKERS = 4096

#: The highest number of a frame ID: it has eight digits.
LAST_NUMBER = 99_999_999

#: A product that failed is tried at least so often.
LONGEST_WAIT_MINUTES = 1440.0


def _folder_or_remote(value: object) -> object:
    """Refuse what is meant to be on another host, and would be taken for a folder here."""
    is_text = isinstance(value, str)
    if isinstance(value, dict) or (is_text and _MEANT_REMOTE.fullmatch(str(value))):  # `user@host:` is a mapping
        match = _REMOTE.fullmatch(str(value)) if is_text else None
        if match is None or not match[3].strip("/") or match[3].startswith("//"):  # all of it, or a URL
            raise ValueError("expected user@host:/folder, or a folder here (with ./ before a name that has a colon)")
    return value


#: Where products go: a folder here, or ``[user@]host:/folder``.
Destination = Annotated[Path, BeforeValidator(_folder_or_remote)]


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Database(_Block):
    """Where the rows are."""

    url: str

    @field_validator("url")
    @classmethod
    def _known(cls, value: str) -> str:
        if PLAIN_URL.fullmatch(value):
            return value
        from ledger.db.connection import parse_url  # noqa: PLC0415

        try:
            parse_url(value)
        except BadInput as exc:
            raise ValueError(str(exc).removeprefix("database.url ")) from exc
        return value


class Pipeline(_Block):
    """A root of nights and the states that its files pass."""

    root: Path
    states: tuple[str, ...]
    first_night: str | None = Field(default=None, pattern=r"^\d{8}$")
    destination: Destination | None = None

    @field_validator("first_night", mode="before")
    @classmethod
    def _as_text(cls, value: object) -> object:
        text = str(value) if isinstance(value, int) else value
        if isinstance(text, str) and not is_day(text):
            raise ValueError("expected a date, YYYYMMDD")
        return text


class Ssh(_Block):
    """How a destination on another host is reached."""

    port: int | None = Field(default=None, ge=1, le=65535)
    identity_file: Path | None = None
    known_hosts: Path | None = None
    options: tuple[str, ...] = ("-T", "-c", "aes128-ctr", "-o", "Compression=no", "-o", "ConnectTimeout=10")
    limit_mb_s: float | None = Field(default=None, gt=0, strict=True, allow_inf_nan=False)


class Transfer(_Block):
    """Where products go."""

    destination: Destination
    direction: Literal["push", "pull"] = "push"
    source: str | None = None
    window: str | None = None
    ssh: Ssh = Ssh()

    @field_validator("source")
    @classmethod
    def _host(cls, value: str | None) -> str | None:
        if value is not None and (not (match := _REMOTE.fullmatch(f"{value}:/")) or match[3] != "/"):
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


class Smtp(_Block):
    """A server that takes mails. The password is not kept here: `ledger.delivery.mail` says where."""

    server: str = "localhost"
    port: int = Field(default=587, ge=1, le=65535)
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str | None = None
    ca_file: Path | None = None


class Mail(_Block):
    """How manifests are mailed."""

    transport: Literal["smtp", "sendmail", "eml"] = "eml"
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


class Notify(_Block):
    """Who is told of trouble, and how."""

    command: tuple[str, ...] = ()
    recipients: tuple[str, ...] = ()
    kinds: tuple[Literal["failed", "quarantined", "space", "mismatch"], ...] = (
        "failed",
        "quarantined",
        "space",
        "mismatch",
    )
    hours: float = Field(default=6, ge=0, strict=True, allow_inf_nan=False)

    @field_validator("recipients")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for address in value:
            refuse_address(address)
        return value


class Engine(_Block):
    """How stages are run."""

    executor: Literal["inline", "processes"] = "processes"
    workers: int | None = Field(default=None, ge=1, le=MOST_WORKERS)


class Ids(_Block):
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


class Permissions(_Block):
    """Of what the ledger writes."""

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


class Failures(_Block):
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


class Space(_Block):
    """What disks keep free."""

    keep_free_mb: float | None = Field(default=100, ge=0, strict=True, allow_inf_nan=False)


class Prune(_Block):
    """What `ledger prune` may remove."""

    products_days: int = Field(default=0, ge=0, strict=True)
    raw_days: int = Field(default=30, ge=0, strict=True)
    copies: int = Field(default=1, ge=1, strict=True)
    most_gb: float = Field(default=1000, ge=0)


class Backup(_Block):
    """Copies of the database."""

    automatic: bool = Field(default=True, strict=True)
    folder: Path = Path("backups")
    keep: int = Field(default=5, ge=1, strict=True)
    keep_days: int = Field(default=7, ge=1, strict=True)


class StateConfig(_Block):
    """A state: the stage that makes it, the names of its edges, and what it stands on."""

    stage: str | None = None
    scope: Literal["file", "batch", "night"] = "file"
    forward: str | None = None
    reverse: str | None = None
    makes_products: bool = False
    requires: Literal["frame_id", "copy"] | None = None
    parameters: str | dict[str, Any] = Field(default_factory=dict)


class Config(_Block):
    """All of it. Paths are absolute once parsed."""

    database: Database
    archive: Pipeline
    engineering: Pipeline | None = None
    transfer: Transfer
    mail: Mail = Mail()
    notify: Notify = Notify()
    ids: Ids = Ids()
    engine: Engine = Engine()
    outside: Literal["wait", "ignore"] = "wait"
    settle_minutes: float = Field(default=30, ge=0, strict=True, allow_inf_nan=False)
    salvage: bool = Field(default=False, strict=True)
    log: Path
    failures: Failures = Failures()
    space: Space = Space()
    backup: Backup = Backup()
    prune: Prune = Prune()
    permissions: Permissions = Permissions()
    instrument: Instrument
    header: dict[str, Any] = Field(default_factory=dict)
    states: dict[str, StateConfig]
    source: str = Field(default="", exclude=True)

    @property
    def pipelines(self) -> Mapping[str, Pipeline]:
        """Return the pipelines by name, `archive` first."""
        named = {name: getattr(self, name) for name in PIPELINES}
        return {name: pipeline for name, pipeline in named.items() if pipeline is not None}

    def waits(self, pipeline: str) -> bool:
        """Return whether nights of a pipeline wait, before they get frame IDs, for decisions about files outside."""
        gives_ids = any(self.states[name].requires == "frame_id" for name in self.pipelines[pipeline].states)
        return self.outside == "wait" and gives_ids

    def destination(self, pipeline: str) -> Path:
        """Return the folder that the products of `pipeline` go to, here or on a host."""
        return _read_place(self.place(pipeline))[2]

    def host(self, pipeline: str) -> Host | None:
        """Return the host where that folder is; None: here."""
        user, name, _ = _read_place(self.place(pipeline))
        return None if self.fetches or not name else self._host(user, name)

    def host_name(self, pipeline: str) -> str:
        """Return what the host of that folder is called, also there; empty: it is here, and has no name."""
        return _read_place(self.place(pipeline))[1]

    @property
    def fetches(self) -> bool:
        """Whether nights are on another host, and this one fetches their products."""
        return self.transfer.direction == "pull" and self.transfer.source is not None

    @property
    def is_fetched_from(self) -> bool:
        """Whether nights are here, and another host fetches their products."""
        return self.transfer.direction == "pull" and self.transfer.source is None

    def source_of(self, night: Path, pipeline: str) -> Source | None:
        """Return where a night is (`night` is its folder there) that this host fetches; None: here."""
        if not self.fetches:
            return None
        user, name, _ = _read_place(Path(f"{self.transfer.source}:/any"))
        return Source(self._host(user, name), night, self.host_name(pipeline))

    def _host(self, user: str, name: str) -> Host:
        ssh = self.transfer.ssh
        limit_kib_s = None if ssh.limit_mb_s is None else max(1, round(ssh.limit_mb_s * 1e6 / 1024))
        return Host(name, user, ssh.port, ssh.identity_file, ssh.known_hosts, ssh.options, limit_kib_s)

    def place(self, pipeline: str) -> Path:
        """Return where the products of `pipeline` go as it is written, with a host if it has one."""
        return self.pipelines[pipeline].destination or self.transfer.destination

    def parameters(self, state: str) -> Mapping[str, Any]:
        """Return the parameters of a state, with shared blocks resolved."""
        given = self.states[state].parameters
        return getattr(self, given) if isinstance(given, str) else given


def read_config(path: Path | None = None, environment: Mapping[str, str] | None = None) -> Config:
    """Read the configuration from the first place that has one, overridden from the environment.

    The places are `path`, ``LEDGER_CONFIG``, ``./config.yaml``, ``~/.config/ledger/config.yaml``,
    ``/etc/ledger/config.yaml``, and the default that comes with the package. Relative paths in a file
    are relative to its folder; those of the packaged default to the working directory.

    Raises
    ------
    ConfigError
        With every fault that was found.
    BadInput
        If a file that was asked for is missing or not YAML.
    """
    environment = os.environ if environment is None else environment
    found = find_config(path, environment)
    base = Path.cwd() if found == packaged_config() else found.absolute().parent
    data = _read_yaml(found)
    faults = override(data, environment)
    return parse_config(data, source=str(found), base=base, faults=faults)


def find_config(path: Path | None, environment: Mapping[str, str]) -> Path:
    """Return the file that :func:`read_config` would read."""
    if path is not None:
        return _must_exist(path, "--config")
    if environment.get("LEDGER_CONFIG"):
        return _must_exist(Path(environment["LEDGER_CONFIG"]), "LEDGER_CONFIG")
    home = Path(environment.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    places = (Path("config.yaml"), home / "ledger/config.yaml", Path("/etc/ledger/config.yaml"))
    return next((place for place in places if place.is_file()), packaged_config())


def _must_exist(path: Path, asked_by: str) -> Path:
    if not path.is_file():
        raise BadInput(f"{asked_by} names {str(path)!r}: no such file; expected a configuration in YAML")
    return path


def packaged_config() -> Path:
    """Return the default: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "config.yaml"
    return installed if installed.is_file() else package.parent / "config.yaml"


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as exc:
        raise BadInput(f"configuration {path}: cannot be read ({exc})") from exc
    except _NOT_YAML as exc:
        where = getattr(exc, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        raise BadInput(f"configuration {path}{line}: not YAML ({getattr(exc, 'problem', None) or exc})") from exc
    if not isinstance(data, dict):
        raise BadInput(f"configuration {path}: expected keys and values, found {type(data).__name__}")
    return data


def override(data: dict[str, Any], environment: Mapping[str, str]) -> list[Fault]:
    """Put ``LEDGER_A__B=value`` into ``data["a"]["b"]``; values are read as YAML. Return faults."""
    faults = []
    for name in sorted(environment):
        if not name.startswith(ENVIRONMENT_PREFIX) or name in NOT_KEYS:
            continue
        keys = [key.lower() for key in name.removeprefix(ENVIRONMENT_PREFIX).split("__")]
        if keys[0] not in Config.model_fields or keys[0] == "source":
            hint = _did_you_mean(keys[0], Config.model_fields)
            faults.append(Fault(name, f"the environment names no key {keys[0]!r}", hint))
            continue
        value = _parse_value(environment[name])
        block = data
        for key in keys[:-1]:
            if not isinstance(block.get(key), dict):
                block[key] = {}
            block = block[key]
        block[keys[-1]] = value
    return faults


def _parse_value(text: str) -> object:
    """Read a variable's value as YAML; digits after a zero are text, not an octal number."""
    if re.fullmatch(r"0\d+", text):
        return text
    try:
        return yaml.safe_load(text)
    except _NOT_YAML:
        return text


def parse_config(
    data: Mapping[str, Any], *, source: str = "<config>", base: Path = Path(), faults: Sequence[Fault] = ()
) -> Config:
    """Check `data` as a whole and return the configuration. Pure.

    Parameters
    ----------
    data : mapping
        As read from YAML.
    source : str
        What to call it in messages.
    base : Path
        Folder that relative paths are relative to.
    faults : sequence of Fault
        Faults that are known already.

    Raises
    ------
    ConfigError
        With every fault.
    """
    found = [*faults, *faults_of_values(data)]
    if len(found) > len(faults):  # nothing else can be said of such keys
        raise ConfigError(source, found)
    config = None
    try:
        config = Config.model_validate({**data, "source": source})
    except ValidationError as exc:
        found += [_fault(error) for error in exc.errors()]
    found += _faults_between_blocks(data)
    if found:
        found += _faults_of_stages(data)
        raise ConfigError(source, found)
    if config is None:
        raise ConfigError(source, [Fault("configuration", "could not be parsed")])
    if found := list(faults_of_instrument(config.instrument)):
        raise ConfigError(source, found)
    try:
        config = _absolute(config, base)
    except RuntimeError as exc:  # of a user's home
        raise ConfigError(source, [Fault("configuration", f"has a path that begins with '~': {exc}")]) from exc
    if found := list(faults_of_values(config.model_dump(mode="json"), is_of_paths=True)):
        raise ConfigError(source, found)
    return config


def _fault(error: Any) -> Fault:
    path = ".".join(str(part) for part in error["loc"]) or "configuration"
    kind = error["type"]
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return Fault(path, "unknown key", _did_you_mean(str(error["loc"][-1]), _siblings(error["loc"])))
    if kind in ("missing", "missing_argument"):
        variable = ENVIRONMENT_PREFIX + "__".join(str(part).upper() for part in error["loc"])
        return Fault(path, "missing", f"set it in the file, or {variable}")
    message = error["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(error["input"], dict | list) else f": found {error['input']!r}"
    hint = "true or false, without quotes" if kind == "bool_type" else ""
    return Fault(path, message[0].lower() + message[1:] + shown, hint)


def _siblings(location: Sequence[object]) -> list[str]:
    """Return the keys that are known where an unknown one was found."""
    block: Any = Config
    for part in location[:-1]:  # a key of a dict or an index of a list stays in the block
        annotations = get_type_hints(block) if block else {}
        if part in annotations:
            block = _block_in(annotations[str(part)])
    return list(_fields(block))


def _fields(block: Any) -> Mapping[str, object]:
    return getattr(block, "model_fields", None) or getattr(block, "__dataclass_fields__", {})


def _block_in(annotation: Any) -> Any:
    """Return the class with fields that `annotation` is or contains, such as Stream in tuple[Stream, ...]."""
    if _fields(annotation):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _block_in(inner))), None)


def _did_you_mean(word: str, known: Sequence[str] | Mapping[str, object]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else ""


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def _faults_between_blocks(data: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield faults that concern more than one key; tolerant of anything, as the rest may be wrong too."""
    states = _mapping(data.get("states"))
    for name in PIPELINES:
        pipeline = _mapping(data.get(name))
        order = pipeline.get("states")
        if isinstance(order, list | tuple):
            yield from _faults_of_order(name, [str(s) for s in order], states)
    used = {str(s) for name in PIPELINES for s in _list(_mapping(data.get(name)).get("states"))}
    for name, state in states.items():
        if name not in used:
            yield Fault(f"states.{name}", "in no pipeline", _did_you_mean(name, sorted(used)) or "remove it, or use it")
        parameters = _mapping(state).get("parameters")
        if isinstance(parameters, str) and parameters not in SHARED_PARAMETERS:
            hint = _did_you_mean(parameters, SHARED_PARAMETERS) or f"expected a block, or one of {SHARED_PARAMETERS}"
            yield Fault(f"states.{name}.parameters", f"names no shared block: {parameters!r}", hint)
    places: dict[str, str] = {}
    for name in PIPELINES:
        if isinstance(data.get(name), Mapping):
            place = data[name].get("destination") or _mapping(data.get("transfer")).get("destination")
            if place and str(place) == str(data[name].get("root")):
                yield Fault(
                    f"{name}.destination", f"is its own root: {place!r}", "name another folder, best another disk"
                )
            if str(place) in places:
                message = f"the same destination as {places[str(place)]}: {place!r}"
                yield Fault(f"{name}.destination", message, "nights of one date would mix; give each its own")
            places[str(place)] = name
    roots = [str(_mapping(data.get(name)).get("root")) for name in PIPELINES if data.get(name)]
    if len(set(roots)) != len(roots):
        yield Fault("engineering.root", f"the same root as archive: {roots[0]!r}", "give each pipeline its own")
    yield from _faults_of_direction(data)
    notify, mail = _mapping(data.get("notify")), _mapping(data.get("mail"))
    if notify.get("recipients") and (mail.get("transport", "eml") == "eml" or not mail.get("sender")):
        yield Fault(
            "notify.recipients", "nobody sends them mail", "set mail.transport to smtp or sendmail, and mail.sender"
        )
    yield from _faults_of_prefix(data)
    numbering = [name for name in PIPELINES if _numbers(_mapping(data.get(name)), states)]
    if len(numbering) > 1:
        yield Fault(
            f"{numbering[1]}.states",
            f"frame IDs in {' and '.join(numbering)}: the sequence is one, and so is its chronology",
            f"leave states that require frame_id to {numbering[0]}",
        )


def _faults_of_prefix(data: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield what keeps the instrument's prefix from being that of frame IDs."""
    prefix = str(_mapping(data.get("instrument")).get("prefix", "VMPA"))
    default = Ids().forbidden_letters
    letters = sorted({"E", *map(str, _list(_mapping(data.get("ids")).get("forbidden_letters", default)))})
    if not re.fullmatch("[A-Z]{4}", prefix) or prefix[3] in letters:
        yield Fault(
            "instrument.prefix",
            f"expected four capital letters, the last none of {', '.join(letters)}: found {prefix!r}",
            "E marks exposure IDs; ids.forbidden_letters has those that the observatory does not allow",
        )


def _faults_of_direction(data: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield what keeps two hosts from sharing a ledger, of which one fetches what the other made."""
    transfer = _mapping(data.get("transfer"))
    if transfer.get("direction") != "pull":
        if transfer.get("source") is not None:
            yield Fault("transfer.source", "nothing is fetched", "set transfer.direction to pull, or this to null")
        return
    if str(_mapping(data.get("database")).get("url")).startswith("sqlite"):
        yield Fault("transfer.direction", "pull is for two hosts with one database", "set database.url to PostgreSQL")
    for name in PIPELINES:
        if isinstance(data.get(name), Mapping):
            key = f"{name}.destination" if data[name].get("destination") else "transfer.destination"
            place = _mapping(data[name]).get("destination") or transfer.get("destination")
            if not _REMOTE.fullmatch(str(place)):
                hint = "name host and folder, user@host:/folder, the same on both hosts"
                yield Fault(key, f"names no host, and products are fetched to one: {place!r}", hint)
            yield from _faults_after_sending(name, _list(data[name].get("states")), _mapping(data.get("states")))
    for name, state in _mapping(data.get("states")).items():
        if _mapping(_mapping(state).get("parameters")).get("also"):
            hint = "set it to [], or transfer.direction to push"
            yield Fault(f"states.{name}.parameters.also", "further files are not fetched", hint)


def _faults_after_sending(pipeline: str, order: Sequence[Any], states: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield states that a host which fetches has to make, and cannot: it has copies of the products only."""
    blocks = {str(state): _mapping(states.get(str(state))) for state in order}
    sending = next((n for n, block in enumerate(blocks.values()) if block.get("requires") == "copy"), len(blocks))
    for state, block in list(blocks.items())[sending + 1 :]:
        if block.get("stage") != "manifested":
            hint = "put it before the one that sends products, or set transfer.direction to push"
            yield Fault(f"{pipeline}.states", f"{state!r} is made where products were fetched to", hint)


def _numbers(pipeline: Mapping[str, Any], states: Mapping[str, Any]) -> bool:
    return any(_mapping(states.get(str(s))).get("requires") == "frame_id" for s in _list(pipeline.get("states")))


def _faults_of_order(pipeline: str, order: Sequence[str], states: Mapping[str, Any]) -> Iterator[Fault]:
    path = f"{pipeline}.states"
    for state in order:
        if state not in states:
            yield Fault(path, f"unknown state {state!r}", _did_you_mean(state, states))
    for state in sorted({s for s in order if order.count(s) > 1}):
        yield Fault(path, f"{state!r} twice", "a file passes each state once")
    if order[:1] != ["raw"]:
        yield Fault(path, f"begins with {order[:1]}", "the first state is raw")
    makers = [s for s in order if _mapping(states.get(s)).get("makes_products")]
    if makers != list(order[1:2]):
        yield Fault(path, f"products are made by {makers}", "exactly one state, the one after raw, makes products")
    for state in order[1:]:
        block = _mapping(states.get(state))
        for key in ("stage", "forward", "reverse"):
            if state in states and not block.get(key):
                yield Fault(f"states.{state}.{key}", "missing", "every state after raw has a stage and two edges")
    verbs = [_mapping(states.get(s)).get(k) for s in order[1:] for k in ("forward", "reverse")]
    for verb in sorted({str(v) for v in verbs if v and verbs.count(v) > 1}):
        yield Fault(path, f"two edges are called {verb!r}", "give each its own verb")


def _faults_of_stages(data: Mapping[str, Any]) -> Iterator[Fault]:
    for name, state in _mapping(data.get("states")).items():
        block = _mapping(state)
        given = block.get("parameters", {})
        if isinstance(given, str):
            given = data.get(given) if given in SHARED_PARAMETERS else {}
        if block.get("stage"):
            yield from _check_stage(name, str(block["stage"]), _mapping(given))[1]


def _check_stage(state: str, module: str, given: Mapping[str, Any]) -> tuple["LoadedStage | None", list[Fault]]:
    try:
        stage = stages.load(module)
    except Exception as exc:  # noqa: BLE001  a module of the user's may raise anything while it is imported
        hint = _did_you_mean(module, stages.STAGES) or "a module of the ledger's own, or one that Python can import"
        return None, [Fault(f"states.{state}.stage", f"{module!r}: {exc}", hint)]
    kind = getattr(stage, "Parameters", None)
    if kind is None:
        faults = [Fault(f"states.{state}.parameters.{key}", "this stage takes no parameters") for key in given]
        return LoadedStage(stage, None), faults
    names = set(kind.__dataclass_fields__)
    faults = [
        Fault(f"states.{state}.parameters.{key}", "unknown key", _did_you_mean(key, sorted(names)))
        for key in given
        if key not in names
    ]
    try:
        params = TypeAdapter(kind).validate_python({key: value for key, value in given.items() if key in names})
    except ValidationError as exc:
        for error in exc.errors():
            inner = _fault(error)
            faults.append(Fault(f"states.{state}.parameters.{inner.path}", inner.message, inner.hint))
        return None, faults
    return LoadedStage(stage, params), faults


class LoadedStage:
    """A stage's module with its checked parameters."""

    def __init__(self, stage: Stage, params: object) -> None:
        self.stage = stage
        self.params = params


def load_stages(config: Config) -> dict[str, LoadedStage]:
    """Import the stage of every state and check its parameters.

    Raises
    ------
    ConfigError
        With every fault.
    """
    from stages.fits.formats import read_dictionary  # noqa: PLC0415  not every command needs what takes its time to import

    loaded, faults = {}, []
    try:
        read_dictionary(config.instrument.dictionary)
    except BadDictionary as exc:
        faults.append(Fault("instrument.dictionary", str(exc)))
    for name, state in config.states.items():
        if state.stage:
            stage, found = _check_stage(name, state.stage, config.parameters(name))
            faults += found
            if stage is not None:
                loaded[name] = stage
    if faults:
        raise ConfigError(config.source, faults)
    return loaded


def _read_place(place: Path) -> tuple[str, str, Path]:
    """Return user, host and folder of a place as rsync writes it, ``[user@]host:/folder``; without a host, it is here.

    A folder here whose name looks like that is written with ``./`` before it.
    """
    match = _REMOTE.fullmatch(str(place))
    return ("", "", place) if match is None else (match[1] or "", match[2].strip("[]"), Path(match[3]))


def _database_url(url: str, place: Callable[[Path], Path]) -> str:
    """Return the URL of a database in full: where an SQLite file is, and by which driver PostgreSQL is asked."""
    if PLAIN_URL.fullmatch(url) and not url.startswith("sqlite"):
        return re.sub("^postgresql:", "postgresql+psycopg:", url)
    if PLAIN_URL.fullmatch(url):
        placed = f"sqlite:///{place(Path(url.removeprefix('sqlite:///')))}"
        if PLAIN_URL.fullmatch(placed):
            return placed
    from ledger.db.connection import parse_url  # noqa: PLC0415  which takes long to import

    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        parsed = parsed.set(database=str(place(Path(str(parsed.database)))))
    return parsed.render_as_string(hide_password=False)


def _absolute(config: Config, base: Path) -> Config:
    def destination(path: Path) -> Path:
        return path if _REMOTE.fullmatch(str(path)) else place(path)

    def place(path: Path) -> Path:
        return Path(os.path.normpath(base / path.expanduser()))  # not resolve(): links keep their names

    def pipeline(old: Pipeline | None) -> Pipeline | None:
        if old is None:
            return None
        to = old.destination and destination(old.destination)
        return old.model_copy(update={"root": place(old.root), "destination": to})

    dictionary = config.instrument.dictionary
    if os.sep in dictionary or dictionary.endswith(".tsv"):  # a path; else the name of one that is shipped
        dictionary = str(place(Path(dictionary)))
    files = {name: getattr(config.transfer.ssh, name) for name in ("identity_file", "known_hosts")}
    ssh = config.transfer.ssh.model_copy(update={name: path and place(path) for name, path in files.items()})
    sent_to = destination(config.transfer.destination)
    transfer = config.transfer.model_copy(update={"destination": sent_to, "ssh": ssh})
    smtp, mail = config.mail.smtp, config.mail
    smtp = smtp.model_copy(update={"ca_file": smtp.ca_file and place(smtp.ca_file)})
    mail = mail.model_copy(update={"folder": place(mail.folder), "sendmail": place(mail.sendmail), "smtp": smtp})
    return config.model_copy(
        update={
            "mail": mail,
            "database": Database(url=_database_url(config.database.url, place)),
            "archive": pipeline(config.archive),
            "engineering": pipeline(config.engineering),
            "transfer": transfer,
            "log": place(config.log),
            "backup": config.backup.model_copy(update={"folder": place(config.backup.folder)}),
            "instrument": replace(config.instrument, dictionary=dictionary),
        }
    )

"""The configuration read: from a file and the environment, with all faults at once."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ledger.config._translate import ENVIRONMENT_PREFIX, did_you_mean, to_fault
from ledger.config.blocks import REMOTE, Database, PipelineConfig
from ledger.config.check import faults_between_blocks
from ledger.config.faults import faults_of_instrument, faults_of_values
from ledger.config.model import Config
from ledger.config.stages import faults_of_stages
from ledger.config.urls import PLAIN_URL, parse_url
from ledger.errors import ConfigError, Fault, UsageError

#: Variables with the prefix that are not keys of the configuration.
NOT_KEYS = frozenset({"LEDGER_CONFIG", "LEDGER_SMTP_PASSWORD"})


#: What PyYAML raises: its own errors, and for values that it cannot make (a 30th of February) whatever Python raises.
_NOT_YAML = (yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError, OverflowError, RecursionError)


def read_config(path: Path | None = None, environment: Mapping[str, str] | None = None) -> Config:
    """Read the configuration from the first place that has one, overridden from the environment.

    The places are `path`, ``LEDGER_CONFIG``, ``./config.yaml``, ``~/.config/ledger/config.yaml``,
    ``/etc/ledger/config.yaml``, and the default that comes with the package. Relative paths in a file
    are relative to its folder; those of the packaged default to the working directory.

    Raises
    ------
    ConfigError
        With every fault that was found.
    UsageError
        If a file that was asked for is missing or not YAML.
    """
    environment = os.environ if environment is None else environment
    found = find_config(path, environment)
    base = Path.cwd() if found == packaged_config() else found.absolute().parent
    data = read_yaml(found)
    if data and not data.keys() & Config.model_fields.keys():
        raise UsageError(
            f"configuration {found.absolute()}: not a ledger's; expected keys such as 'archive' and 'transfer', found"
            f" {', '.join(map(repr, list(data)[:3]))}; name the ledger's own with --config FILE or LEDGER_CONFIG"
        )
    faults = override(data, environment)
    return parse_config(data, source=str(found), base=base, faults=faults)


def read_alerting(path: Path | None, environment: Mapping[str, str]) -> Config | None:
    """Return who is told of trouble, by a configuration that has faults elsewhere; all else is the packaged default.

    Returns
    -------
    Config or None
        None if nobody is told, or it does not say who in order.
    """
    with suppress(UsageError):
        found = find_config(path, environment)
        data, default = read_yaml(found), read_yaml(packaged_config())
        override(data, environment)
        for keys in (("notify", "mail", "log"), ("notify", "log"), ("notify",)):
            told: dict[str, Any] = {key: data[key] for key in keys if key in data}
            with suppress(ConfigError):
                config = parse_config({**default, **told}, source=str(found), base=found.absolute().parent)
                notify = config.notify
                return config if notify.command or notify.recipients or notify.heartbeat else None
    return None


def find_config(path: Path | None, environment: Mapping[str, str]) -> Path:
    """Return the file that :func:`read_config` would read."""
    if path is not None:
        return _must_exist(path, "--config")
    if environment.get("LEDGER_CONFIG"):
        return _must_exist(Path(environment["LEDGER_CONFIG"]), "LEDGER_CONFIG")
    return next((place for place in _places(environment) if place.is_file()), packaged_config())


def _places(environment: Mapping[str, str]) -> tuple[Path, ...]:
    """Return where a configuration is looked for if none is named."""
    home = Path(environment.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return Path("config.yaml"), home / "ledger/config.yaml", Path("/etc/ledger/config.yaml")


def why_config(path: Path | None, environment: Mapping[str, str]) -> str:
    """Return in words which file :func:`read_config` would read, and why that one."""
    found = find_config(path, environment)
    if path is not None:
        return f"{found.absolute()} (named by --config)"
    if environment.get("LEDGER_CONFIG"):
        return f"{found.absolute()} (named by LEDGER_CONFIG)"
    if found == packaged_config():
        looked = ", ".join(map(str, _places(environment)))
        return f"the packaged default (there is no --config, LEDGER_CONFIG, {looked})"
    return f"{found.absolute()} (the first that was found)"


def _must_exist(path: Path, asked_by: str) -> Path:
    if not path.is_file():
        raise UsageError(f"{asked_by} names {str(path)!r}: no such file; expected a configuration in YAML")
    return path


def packaged_config() -> Path:
    """Return the default: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "config.yaml"
    return installed if installed.is_file() else package.parent / "config.yaml"


def read_yaml(path: Path) -> dict[str, Any]:
    """Return what is in a file; values are not checked."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"configuration {path}: cannot be read ({exc})") from exc
    except _NOT_YAML as exc:
        where = getattr(exc, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        raise UsageError(f"configuration {path}{line}: not YAML ({getattr(exc, 'problem', None) or exc})") from exc
    if not isinstance(data, dict):
        raise UsageError(f"configuration {path}: expected keys and values, found {type(data).__name__}")
    return data


def override(data: dict[str, Any], environment: Mapping[str, str]) -> list[Fault]:
    """Put ``LEDGER_A__B=value`` into ``data["a"]["b"]``; values are read as YAML. Return faults."""
    faults = []
    for name in sorted(environment):
        if not name.startswith(ENVIRONMENT_PREFIX) or name in NOT_KEYS:
            continue
        keys = [key.lower() for key in name.removeprefix(ENVIRONMENT_PREFIX).split("__")]
        if keys[0] not in Config.model_fields or keys[0] == "source":
            hint = did_you_mean(keys[0], Config.model_fields)
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


def variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return those of the environment that change the configuration, or hold what it does not: all with its prefix."""
    return {name: value for name, value in environment.items() if name.startswith(ENVIRONMENT_PREFIX)}


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
        found += [to_fault(error) for error in exc.errors()]
    found += faults_between_blocks(data)
    if found:
        found += faults_of_stages(data)
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


def _database_url(url: str, place: Callable[[Path], Path]) -> str:
    """Return the URL of a database in full: where an SQLite file is, and by which driver PostgreSQL is asked."""
    if PLAIN_URL.fullmatch(url) and not url.startswith("sqlite"):
        return re.sub("^postgresql:", "postgresql+psycopg:", url)
    if PLAIN_URL.fullmatch(url):
        placed = f"sqlite:///{place(Path(url.removeprefix('sqlite:///')))}"
        if PLAIN_URL.fullmatch(placed):
            return placed
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        parsed = parsed.set(database=str(place(Path(str(parsed.database)))))
    return parsed.render_as_string(hide_password=False)


def _absolute(config: Config, base: Path) -> Config:
    def destination(path: Path) -> Path:
        return path if REMOTE.fullmatch(str(path)) else place(path)

    def place(path: Path) -> Path:
        return Path(os.path.normpath(base / path.expanduser()))  # not resolve(): links keep their names

    def pipeline(old: PipelineConfig) -> PipelineConfig:
        to = old.destination and destination(old.destination)
        former = tuple(map(destination, old.former_destinations))
        return old.model_copy(update={"root": place(old.root), "destination": to, "former_destinations": former})

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
            **{name: pipeline(old) for name, old in config.pipelines.items()},
            "transfer": transfer,
            "log": place(config.log),
            "metrics": config.metrics.model_copy(update={"file": config.metrics.file and place(config.metrics.file)}),
            "report": config.report.model_copy(update={"folder": config.report.folder and place(config.report.folder)}),
            "backup": config.backup.model_copy(update={"folder": place(config.backup.folder)}),
            "instrument": replace(config.instrument, dictionary=dictionary),
        }
    )

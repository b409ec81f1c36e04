"""Where each value of the configuration comes from."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ledger.config._translate import ENVIRONMENT_PREFIX
from ledger.config.read import NOT_KEYS, find_config, packaged_config, read_config, read_yaml
from ledger.config.urls import parse_url


class Setting(NamedTuple):
    """A value of the configuration.

    Attributes
    ----------
    key : str
        Dotted.
    value : object
        As it applies; a password is hidden.
    source : str
        A variable's name, a file's, or ``default``.
    """

    key: str
    value: Any
    source: str


def settings(path: Path | None, environment: Mapping[str, str]) -> Iterator[Setting]:
    """Yield the values that apply, in the order of the configuration.

    Raises
    ------
    ConfigError, UsageError
        As `read_config`.
    """
    config = read_config(path, environment)
    found = find_config(path, environment)
    in_file = dict(_leaves(read_yaml(found)))
    overriding = (name for name in environment if name.startswith(ENVIRONMENT_PREFIX) and name not in NOT_KEYS)
    variables = {_key(name): name for name in overriding}
    file = "packaged default" if found == packaged_config() else str(found)
    for key, value in _leaves(config.model_dump(mode="json", exclude={"source"})):
        parents = [key[:end] for end in range(len(key), 0, -1) if end == len(key) or key[end] == "."]
        variable = next((variables[parent] for parent in parents if parent in variables), None)
        source = variable or (file if any(parent in in_file for parent in parents) else "default")
        shown = _without_secrets(key, value)
        yield Setting(key, shown, source)


def _without_secrets(key: str, value: Any) -> Any:
    """Return a value without the password in it; the path of a heartbeat's URL is as good as one."""
    if key == "database.url":
        return parse_url(value).render_as_string()
    if key == "notify.heartbeat" and isinstance(value, str):
        scheme, _, rest = value.partition("://")
        return f"{scheme}://{rest.partition('/')[0].rpartition('@')[2]}/***"
    return value


def _key(variable: str) -> str:
    return variable.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".")


def _leaves(block: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in block.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value

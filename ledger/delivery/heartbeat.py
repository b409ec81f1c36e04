"""The heartbeat: what watches from outside is called at the start and end of each catch-up, and misses it otherwise."""

import logging
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from typing import Literal
from urllib.error import HTTPError
from urllib.parse import urlsplit, urlunsplit

from ledger import log
from ledger.config.model import Config
from ledger.delivery import notify
from ledger.delivery.notify import Sent
from ledger.errors import NotReady, UsageError

#: Seconds that a server may be silent, and that a command has.
TIMEOUT_S = 10

Signal = Literal["start", "success", "failure"]

#: What is added to the path of a URL, as healthchecks services have it.
_PATHS: dict[Signal, str] = {"start": "/start", "success": "", "failure": "/fail"}

#: What a test sends: a failure would call people.
_TRIED: tuple[Signal, ...] = ("start", "success")


def beat(config: Config, signal: Signal, say: Callable[[str], None]) -> None:
    """Send a signal, if a heartbeat is configured; `say`, and write to the log, what keeps it from being sent."""
    sent = send(config, signal)
    if sent is not None and sent.error is not None:
        text = f"heartbeat ({signal}) not sent to {sent.to}: {sent.error}; see notify.heartbeat in the configuration"
        log.write(text, level=logging.ERROR, event="heartbeat_failed")
        say(f"ledger: {text}")


def send(config: Config, signal: Signal) -> Sent | None:
    """Send a signal; return where it went, or None if no heartbeat is configured."""
    heartbeat = config.notify.heartbeat
    if heartbeat is None:
        return None
    if not isinstance(heartbeat, str):
        try:
            notify.run([*heartbeat, signal], "", TIMEOUT_S)
        except NotReady as exc:
            return Sent("heartbeat", heartbeat[0], str(exc))
        return Sent("heartbeat", heartbeat[0], None)
    parts = urlsplit(heartbeat)
    host = parts.hostname or heartbeat  # the path is as good as a password
    url = urlunsplit(parts._replace(path=parts.path.rstrip("/") + _PATHS[signal]))
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S):  # noqa: S310  the configuration takes http and https alone
            return Sent("heartbeat", host, None)
    except HTTPError as exc:
        exc.close()
        return Sent("heartbeat", host, str(exc))
    except (OSError, HTTPException, ValueError) as exc:
        return Sent("heartbeat", host, str(exc) or type(exc).__name__)


def try_out(config: Config) -> list[Sent]:
    """Send a test alert in every way that is configured, and the heartbeat of a start and a success.

    Raises
    ------
    UsageError
        If none is configured.
    """
    sent = notify.send(config, "sends a test", "This is a test of `ledger notify --test`. Nothing is wrong.\n")
    if beats := [beat for signal in _TRIED if (beat := send(config, signal)) is not None]:
        sent.append(next((beat for beat in beats if beat.error), beats[-1]))
    if not sent:
        raise UsageError(
            "nobody is told of problems: expected notify.command, notify.recipients or notify.heartbeat in the"
            " configuration"
        )
    return sent

"""The log: what people ask about a year later, one line each, with times in UTC."""

import json
import logging
import logging.handlers
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ledger.errors import UsageError
from ledger.text import printable

#: Size of a log file before it is rotated, and how many are kept.
LOG_BYTES, LOG_FILES = 10_000_000, 5

LOG = logging.getLogger("ledger.run")
LOG.setLevel(logging.INFO)
LOG.propagate = False
LOG.addHandler(logging.NullHandler())

_TIME = "%Y-%m-%dT%H:%M:%SZ"


def open_log(path: Path, *, as_json: bool = False) -> None:
    """Write to a file from now on; harmless if it is open already.

    Parameters
    ----------
    path : Path
        The file; folders are made.
    as_json : bool
        Write objects of JSON instead of text, one a line: `time`, `pid`, `level`, `text`, and what else is known.

    Raises
    ------
    UsageError
        If it cannot be written.
    """
    if is_open():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = _LogFile(path)
    except OSError as exc:
        raise UsageError(
            f"log {str(path)!r}: cannot be written ({exc.strerror}); set LEDGER_LOG to another file"
        ) from exc
    handler.setFormatter(_Json() if as_json else _Text())
    LOG.addHandler(handler)


def close_log() -> None:
    """Close the file, if one is open."""
    for handler in _files():
        LOG.removeHandler(handler)
        handler.close()


def is_open() -> bool:
    """Whether lines go to a file."""
    return bool(_files())


def write(text: str, *, level: int = logging.INFO, **facts: object) -> None:
    """Write a line.

    Parameters
    ----------
    text : str
        For people.
    level : int
        Of :mod:`logging`.
    **facts : object
        What the line in JSON has beside the text.
    """
    LOG.log(level, "%s", printable(text), extra={"facts": facts})


def _files() -> list[logging.Handler]:
    return [handler for handler in LOG.handlers if isinstance(handler, _LogFile)]


class _Text(logging.Formatter):
    """``2026-01-02T03:04:05Z 1234 WARNING text``."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(process)d %(levelname)-7s %(message)s", datefmt=_TIME)
        self.converter = time.gmtime


class _Json(_Text):
    """The same facts as an object."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a line."""
        facts: Mapping[str, Any] = getattr(record, "facts", {})
        begin = {"time": self.formatTime(record, _TIME), "pid": record.process, "level": record.levelname.lower()}
        return json.dumps({**begin, **facts, "text": record.getMessage()}, ensure_ascii=False, default=str)


class _LogFile(logging.handlers.RotatingFileHandler):
    """The log's file: if it cannot be written, a complaint is printed once, and the work goes on."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=LOG_BYTES, backupCount=LOG_FILES, encoding="utf-8", errors="backslashreplace")
        self._has_complained = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  so the library calls it
        """Complain of what keeps a line from being written."""
        exc = sys.exc_info()[1]
        if isinstance(exc, OSError):
            self._complain(exc)
        else:
            super().handleError(record)

    def close(self) -> None:
        """Close the file; lines that it did not take until now are lost."""
        try:
            super().close()
        except OSError as exc:
            self._complain(exc)

    def _complain(self, exc: OSError) -> None:
        if not self._has_complained:
            self._has_complained = True
            print(f"ledger: log {self.baseFilename!r}: {exc.strerror}; the work goes on without it", file=sys.stderr)  # noqa: T201  the log cannot say it

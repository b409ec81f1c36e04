"""Progress of long work: plain lines on standard error, and the log of runs. Bars on a terminal are in `bars`."""

import logging
import logging.handlers
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from ledger.cli.streams import is_broken
from ledger.errors import UsageError
from ledger.report import Phase, Reporter
from ledger.text import printable

#: Size of a log file before it is rotated, and how many are kept.
LOG_BYTES, LOG_FILES = 10_000_000, 5


@contextmanager
def open_reporter(path: Path | None, *, quiet: bool) -> Iterator[Reporter]:
    """Open a reporter, for a terminal or not, that also writes the log at `path`; None: no log."""
    log = _open_log(path)
    try:
        if sys.stderr.isatty() and not quiet:
            from ledger.cli.bars import Bars

            with Bars(log) as bars:
                yield bars
        else:
            lines = Lines(log, quiet=quiet)
            try:
                yield lines
            finally:
                lines.end()
    finally:
        for handler in list(log.handlers):
            log.removeHandler(handler)
            handler.close()


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
            typer.echo(f"ledger: log {self.baseFilename!r}: {exc.strerror}; the work goes on without it", err=True)


def _open_log(path: Path | None) -> logging.Logger:
    """Return the log of runs; without a file it goes nowhere."""
    log = logging.getLogger("ledger.run")
    log.setLevel(logging.INFO)
    log.propagate = False
    if path is None:
        return log
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = _LogFile(path)
    except OSError as exc:
        raise UsageError(
            f"log {str(path)!r}: cannot be written ({exc.strerror}); set LEDGER_LOG to another file"
        ) from exc
    formatter = logging.Formatter("%(asctime)sZ %(process)d %(message)s", datefmt="%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    log.addHandler(handler)
    return log


class Lines:
    """Plain lines on standard error, and the log."""

    def __init__(self, log: logging.Logger, *, quiet: bool = False) -> None:
        self.log = log
        self.quiet = quiet
        self._phase: Phase | None = None

    def phase(self, name: str, total: int, *, size_bytes: int | None = None) -> None:
        """Say what begins."""
        self.end()
        if total:
            self._phase = Phase(name, total, size_bytes)
            self.say(self._phase.beginning)

    def advance(self, n: int = 1) -> None:
        """Say nothing of single files."""
        if self._phase is not None:
            self._phase.done += n

    def carry(self, size_bytes: int) -> None:
        """Say nothing of bytes on their way."""

    def end(self) -> None:
        """Say how many files succeeded."""
        if self._phase is not None:
            self.say(self._phase.end)
            self._phase = None

    def say(self, text: str) -> None:
        """Say one thing."""
        text = printable(text)
        self.log.info("%s", text)
        if not self.quiet and not is_broken(sys.stderr):  # what cannot be said is in the log already
            print(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}", file=sys.stderr, flush=True)  # noqa: T201

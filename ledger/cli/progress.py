"""Progress of long work: plain lines on standard error, and in the log. Bars on a terminal are in `bars`."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ledger import log
from ledger.cli.streams import is_broken
from ledger.report import Phase, Reporter
from ledger.text import printable


@contextmanager
def open_reporter(*, quiet: bool) -> Iterator[Reporter]:
    """Open a reporter, for a terminal or not, that also writes to the log."""
    if sys.stderr.isatty() and not quiet:
        from ledger.cli.bars import Bars

        with Bars() as bars:
            yield bars
    else:
        lines = Lines(quiet=quiet)
        try:
            yield lines
        finally:
            lines.end()


class Lines:
    """Plain lines on standard error, and the log."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self._phase: Phase | None = None
        self._night = ""

    def of_night(self, night: str) -> None:
        """Name a night in what is said from now on."""
        self.end()
        self._night = night

    def phase(self, name: str, total: int, *, size_bytes: int | None = None) -> None:
        """Say what begins."""
        self.end()
        if total:
            self._phase = Phase(name, total, size_bytes, self._night)
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
        log.write(text)
        if not self.quiet and not is_broken(sys.stderr):  # what cannot be said is in the log already
            print(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}", file=sys.stderr, flush=True)  # noqa: T201

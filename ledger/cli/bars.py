"""Progress bars on a terminal: imported only where there is one, as rich takes its time."""

import sys
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from ledger import log
from ledger.report import Phase
from ledger.text import printable


class Amount(ProgressColumn):
    """Files done, or bytes and their rate."""

    def __init__(self) -> None:
        super().__init__()
        self._files, self._bytes, self._rate = MofNCompleteColumn(), DownloadColumn(), TransferSpeedColumn()

    def render(self, task: Task) -> Text:
        """Return what is shown of a phase."""
        if not task.fields["in_bytes"]:
            return self._files.render(task)
        return Text.assemble(self._bytes.render(task), " ", self._rate.render(task))


class Bars:
    """Progress bars on standard error, and the log."""

    def __init__(self) -> None:
        self._task: TaskID | None = None
        self._phase: Phase | None = None
        self._night = ""
        columns = (TextColumn("{task.description:<28}"), BarColumn(), Amount(), TimeRemainingColumn())
        # rich would write to standard error what goes to standard output meanwhile, also if that is a file or a pipe
        self._progress = Progress(*columns, console=Console(stderr=True), redirect_stdout=sys.stdout.isatty())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self._progress.stop()

    def of_night(self, night: str) -> None:
        """Name a night beside the bars that begin from now on."""
        self.end()
        self._night = night

    def phase(self, name: str, total: int, *, size_bytes: int | None = None) -> None:
        """Begin a bar."""
        self.end()
        if total:
            self._phase = Phase(name, total, size_bytes, self._night)
            log.write(self._phase.beginning)
            self._progress.start()  # not before there is something to show: a question may be asked first
            in_bytes = size_bytes is not None
            self._task = self._progress.add_task(self._phase.title, total=size_bytes or total, in_bytes=in_bytes)

    def advance(self, n: int = 1) -> None:
        """Move a bar of files."""
        if self._phase is None or self._task is None:
            return
        self._phase.done += n
        if self._phase.size_bytes is None:
            self._progress.advance(self._task, n)

    def carry(self, size_bytes: int) -> None:
        """Move a bar of bytes."""
        if self._phase is not None and self._task is not None and self._phase.size_bytes is not None:
            self._progress.advance(self._task, size_bytes)

    def end(self) -> None:
        """Leave the bar where it is: one of which not all succeeded is not full."""
        if self._phase is not None:
            log.write(self._phase.end)
        if self._task is not None:
            self._progress.stop_task(self._task)
        self._phase = self._task = None

    def say(self, text: str) -> None:
        """Say one thing above the bars."""
        text = printable(text)
        log.write(text)
        self._progress.console.print(text, highlight=False, markup=False)

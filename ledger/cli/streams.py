"""Standard streams that are closed from the start, or break: the work goes on, and nothing crashes.

The next file that is opened gets a closed descriptor below 3, and it may be the database: whatever a library or another
program writes to standard error would then be in it. So they are opened before anything else.
"""

import errno
import io
import os
import select
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer

#: Of what a stream did not take, so much is kept, in bytes.
MOST_BYTES = 1_000_000

_NAMES = ("stdin", "stdout", "stderr")


class Stream(io.FileIO):
    """A standard stream for output, of which writing never fails.

    Parameters
    ----------
    descriptor : int
        1 or 2.
    is_closed : bool
        Whether it was closed by whoever started this process: nobody expects anything there.

    Attributes
    ----------
    is_broken : bool
        Whether it takes nothing any more.
    fault : str or None
        Why, if somebody expects it to.
    """

    def __init__(self, descriptor: int, *, is_closed: bool = False) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self.fault: str | None = None
        self.is_broken = is_closed
        self._lost = b""

    def write(self, data: "Buffer", /) -> int:
        """Write, or keep what cannot be written; return how many bytes that is."""
        while not self.is_broken:
            try:
                written = super().write(data)
            except OSError as exc:
                self.is_broken = True
                if exc.errno != errno.EPIPE:  # the reader of a pipe has had what it wanted
                    self.fault = exc.strerror
            else:
                if written is not None:
                    return written
                select.select([], [self], [])  # whoever shares it has made it non-blocking
        self._lost += bytes(data)[: MOST_BYTES - len(self._lost)]
        return memoryview(data).nbytes

    @property
    def lost(self) -> list[str]:
        """Return the lines that it did not take, up to `MOST_BYTES`; of a terminal they are of no use elsewhere."""
        return [] if self.isatty() else self._lost.decode(errors="backslashreplace").splitlines()


def is_broken(stream: object) -> bool:
    """Whether a stream takes nothing any more."""
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return isinstance(raw, Stream) and raw.is_broken


def secure() -> tuple[Stream | None, Stream | None]:
    """Make the standard streams safe to use; return those of output, as far as they are the system's.

    One that is closed is opened on the null device, also for the programs that are started.
    """
    streams: list[Stream | None] = []
    for number, name in enumerate(_NAMES):
        stream = getattr(sys, name)
        if stream is None:
            descriptor = os.open(os.devnull, os.O_RDWR)  # the lowest that is free: it is that of the stream
            os.set_inheritable(descriptor, True)
            if number == 0:
                sys.stdin = os.fdopen(descriptor, closefd=False)
        elif not _is_systems(stream, number):
            streams.append(None)
            continue
        if number > 0:
            streams.append(_replace(number, name))
    return streams[-2], streams[-1]


def _is_systems(stream: object, number: int) -> bool:
    """Whether a stream is the one that the process was started with."""
    try:
        return isinstance(stream, io.TextIOWrapper) and stream.fileno() == number
    except (OSError, ValueError):
        return False


def _replace(number: int, name: str) -> Stream:
    before = getattr(sys, name)
    raw = Stream(number, is_closed=before is None)
    text = io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=before.encoding if before else "utf-8",
        errors="backslashreplace",  # a path may have bytes that no text has: they are shown escaped
        line_buffering=name == "stderr" or (before is not None and (before.line_buffering or before.write_through)),
    )
    setattr(sys, name, text)
    return raw

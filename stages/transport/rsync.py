"""rsync to and from another host: many files a call, resumed where a connection broke off, ended when asked to stop."""

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from stages.base import Retry
from stages.transport.ssh import Shell, last_line

#: How often a request to stop is looked for, seconds.
POLL_S = 0.2

#: How long after rsync has ended the signal that ended it may take to arrive here too, seconds.
STOPPING_S = 1.0

#: As a plain copy of what is listed, of content and not of links; resumable; quiet for five minutes at most.
RSYNC = (
    "rsync",
    "--archive",
    "--no-owner",
    "--no-group",
    "--copy-links",
    "--one-file-system",
    "--secluded-args",
    "--files-from=-",
    "--from0",
    "--partial",
    "--timeout=300",
    "--out-format=%l %b %n",  # with %b, what is sent is told of once it has arrived
)

#: Size and name of a file, not a folder, in what rsync says.
_ARRIVED = re.compile(rb"^(\d+) \d+ [^\n]*[^/\n]$", re.MULTILINE)

#: Bytes of that which are read at once.
SAID_BYTES = 1_000_000

#: A file that vanished or could not be read here; the rest was brought. Its own proof says so.
_IN_PART = frozenset({23, 24})


class Rsync:
    """What brings files between this host and another one.

    Parameters
    ----------
    shell : Shell
        On the other host; rsync shares its connection.
    is_stopped : callable, optional
        Returns whether a stop is asked for: then rsync ends; what has arrived counts.
    carried : callable, optional
        Called with the bytes of each file that has arrived.
    """

    def __init__(
        self, shell: Shell, is_stopped: Callable[[], bool] | None, carried: Callable[[int], None] | None
    ) -> None:
        self._shell = shell
        self._is_stopped = is_stopped or (lambda: False)
        self._carried = carried or (lambda _: None)

    def ignore_stop(self) -> None:
        """Finish what is asked for from now on, even if a stop is asked for."""
        self._is_stopped = lambda: False

    @property
    def host(self) -> str:
        """Return the host as rsync takes it."""
        host = self._shell.host
        name = f"[{host.name}]" if ":" in host.name else host.name
        return f"{host.user}@{name}" if host.user else name

    def bring(self, names: Sequence[Path], source: str, target: str, *, at: Path, is_forced: bool = False) -> bool:
        """Bring files from a folder to another.

        Parameters
        ----------
        names : sequence of Path
            From either folder.
        source, target : str
            The folders, as rsync takes them.
        at : Path
            The night's folder there, for the message.
        is_forced : bool
            Bring what seems to be there already too.

        Returns
        -------
        bool
            Whether it was not stopped meanwhile.

        Raises
        ------
        Retry
            If rsync fails.
        """
        if not names:
            return True
        shell = self._shell
        limit = [f"--bwlimit={shell.host.limit_kib_s}"] if shell.host.limit_kib_s else []
        forced = ["--ignore-times", "--whole-file"] if is_forced else []
        remote = " ".join(f"'{word.replace(chr(39), chr(39) * 2)}'" for word in shell.command())
        with tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as listed, tempfile.TemporaryFile() as done:
            listed.write(b"".join(bytes(name) + b"\0" for name in names))
            listed.seek(0)
            try:
                rsync = subprocess.Popen(
                    [*RSYNC, *limit, *forced, f"--rsh={remote}", "--", source, target],
                    stdin=listed,
                    stdout=done,
                    stderr=errors,
                    start_new_session=True,  # a Ctrl-C at the terminal is this process's to obey
                )
            except OSError as exc:
                raise Retry(f"rsync cannot be run ({exc}); expected it on PATH; install it") from exc
            with rsync:
                self._wait(rsync, done)
            if rsync.returncode in {0, *_IN_PART}:
                return True
            if self._is_stopped_soon():
                return False
            raise Retry(
                f"'{shell.target}:{at}': rsync ended with {rsync.returncode} ({last_line(errors)}); what"
                " arrived is kept, and it is tried again"
            )

    def _is_stopped_soon(self) -> bool:
        """Whether a stop is asked for, now or in a moment: a signal to all processes may have reached rsync first."""
        end = time.monotonic() + STOPPING_S
        while not self._is_stopped():
            if time.monotonic() > end:
                return False
            time.sleep(POLL_S)
        return True

    def _wait(self, rsync: "subprocess.Popen[bytes]", done: IO[bytes]) -> None:
        """Wait for rsync, and end it if a stop is asked for; report each file that it says has arrived."""
        place = 0
        try:
            is_over = False
            while not is_over:
                if self._is_stopped():
                    rsync.terminate()  # it ends what it started, here and there
                with suppress(subprocess.TimeoutExpired):
                    rsync.wait(POLL_S)
                is_over = rsync.poll() is not None  # before the last look at what it said
                said = os.pread(done.fileno(), SAID_BYTES, place)
                said = said[: said.rfind(b"\n") + 1]
                place += len(said)
                self._carried(sum(int(size) for size in _ARRIVED.findall(said)))
        finally:
            if rsync.poll() is None:
                rsync.kill()

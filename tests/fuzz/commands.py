"""A small night in a world of its own, and every command run on it: what may come of that, and what may not."""

import contextlib
import io
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from ledger.cli import main
from tests.fuzz.complaints import little_memory
from tests.fuzz.names import snapshot
from tests.world import DATE, World

#: Done, failed, refused, busy; 3 would be a bug.
STATUSES = (0, 1, 2, 75)
#: No command on such a night takes longer, seconds; one that waits for a pipe never ends.
LONGEST_S = 30
EPOCH_NS = 1_767_400_000 * 10**9


class Sandbox:
    """A world with a folder outside of it that links lead to.

    Parameters
    ----------
    folder : Path
        New.
    template : Path
        An initialised SQLite database.
    nights : Path
        Whose one night is copied.
    """

    def __init__(self, folder, template, nights):
        self.folder = folder
        self.outside = folder / "outside"
        (self.outside / "deeper").mkdir(parents=True)
        (self.outside / "precious").write_bytes(b"not the ledger's\n" * 999)
        (folder / "database").mkdir()
        database = folder / "database/ledger.db"
        shutil.copyfile(template, database)
        self.world = World(folder / "world", f"sqlite:///{database}")
        self.world.data["log"] = str(folder / "database/ledger.log")
        self.world.data["outside"] = "ignore"  # odd names are of cubes too, and whole runs are to go on
        self.config = self.world.config_path
        shutil.copytree(nights / DATE, self.night)

    @property
    def night(self):
        return self.world.folder / "archive" / DATE

    def writable(self):
        """Return where the ledger may change anything."""
        return [os.fsencode(path) for path in (self.world.destination, self.night, self.folder / "database")]

    def run(self, *arguments, config=None):
        """Run a command in this process; return exit status, standard output and standard error."""
        argv = ["ledger", "--config", str(config or self.config), *arguments]
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
        before, here = sys.argv, Path.cwd()
        alarm = signal.signal(signal.SIGALRM, _too_long)
        signal.alarm(LONGEST_S)
        try:
            os.chdir(self.world.folder)
            sys.argv = argv
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), little_memory():
                status = _status_of(main)
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, alarm)
            sys.argv = before
            os.chdir(here)
        said = [stream.buffer.getvalue().decode() for stream in (out, err)]
        assert status in STATUSES, (arguments, status, *said)
        assert "Traceback" not in said[1], (arguments, said[1])
        assert "Warning" not in said[1], (arguments, said[1])
        if status == 2:
            assert said[1].strip(), arguments
        return (status, *said)

    def files(self):
        """Return everything, wherever it is."""
        return snapshot(os.fsencode(self.folder))

    def raw(self, files):
        """Return what of it is in the streams."""
        streams = [os.fsencode(self.night / stream) for stream in ("vcam1", "vcam2")]
        return {path: what for path, what in files.items() if any(path.startswith(stream) for stream in streams)}

    def assert_only_its_own_changed(self, before, after):
        """Nothing is new, gone or different but in the night, at the destination, and beside the database."""
        different = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
        own = self.writable()
        assert not [
            path for path in different if not any(path.startswith(folder + b"/") or path == folder for folder in own)
        ]
        assert self.raw(before) == self.raw(after)


def _too_long(_number, _frame):
    raise AssertionError(f"a command took longer than {LONGEST_S} s")


def _status_of(function):
    try:
        function()
    except SystemExit as exc:
        return int(exc.code or 0)
    return 0


@contextlib.contextmanager
def sandbox(template, nights):
    """Make a world, and remove it."""
    folder = Path(tempfile.mkdtemp(prefix="ledger-fuzz-"))
    made = Sandbox(folder, template, nights)
    try:
        yield made
    finally:
        made.world.close()
        shutil.rmtree(folder)

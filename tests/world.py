"""A ledger with its roots in a temporary folder, and ways to look at what it did."""

import copy
import getpass
import hashlib
import json
import os
import pty
import shutil
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from subprocess import CompletedProcess, Popen
from typing import Any

import yaml
from sqlalchemy import text

from ledger.config.model import Config
from ledger.config.read import packaged_config, parse_config
from ledger.db.store import Store
from ledger.disk.nights import NightFolder, find_night
from ledger.report import Result
from ledger.run.machine import Machine
from ledger.simulation.night import Truth, simulate_night
from tests import kept
from tests.processes import run_command
from tests.sshd import Server
from tests.tools import folder_of_process

DATE = "20260102"
#: UNIX time in microseconds long after the nights of the tests: they are not being written any more.
LATER_US = 1_800_000_000_000_000

Tree = dict[str, tuple[str, int | None]]


def entry_of(condition: str, source: str | None, destination: str | None, **columns: str) -> str:
    """Return the statement that enters a change of state in the journal, which plain SQL needs to make that change.

    Parameters
    ----------
    condition : str
        On columns of `file`: which files change.
    source, destination : str or None
        State before, and after. None: the file is born, or dies.
    **columns : str
        Other values of the entry, as SQL.
    """
    quoted = ["NULL" if state is None else f"'{state}'" for state in (source, destination)]
    of_file = {"at_us": "0", "detail": "'{}'", "event": "'done'", "night_id": "night_id", "identity": "identity"}
    of_file["name"] = "CASE kind WHEN 'raw' THEN folder || '/' || name ELSE name END"
    values = of_file | dict(zip(("source", "destination"), quoted, strict=True)) | columns
    return f"INSERT INTO entry ({', '.join(values)}) SELECT {', '.join(values.values())} FROM file WHERE {condition}"


_TEMPLATES = folder_of_process("nights")


@cache
def _simulated(date: str, options: tuple[tuple[str, Any], ...]) -> tuple[Path, Truth]:
    """Return a raw night to copy: the same arguments give the same files."""
    root = Path(tempfile.mkdtemp(dir=_TEMPLATES))
    return root / date, simulate_night(root, date, **dict(options))


@cache
def _packaged() -> dict[str, Any]:
    """Return the packaged configuration, to copy."""
    data: dict[str, Any] = yaml.safe_load(packaged_config().read_text())
    return data


@cache
def _config(data: str, folder: Path) -> Config:
    """Return a configuration of data as JSON, as if it were read from a file in that folder."""
    return parse_config(json.loads(data), source=str(folder / "config.yaml"), base=folder)


#: Writes as the one in Python does, more quickly.
_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class World:
    """Roots, a destination and an initialised ledger.

    Parameters
    ----------
    folder : Path
        New; everything goes there.
    url : str
        Of an initialised database.
    is_new : bool
        Whether nothing is in the database yet: nights may be put back (:meth:`bring`).
    """

    def __init__(self, folder: Path, url: str, *, is_new: bool = False) -> None:
        self.folder = folder
        self.url = url
        for name in ("archive", "engineering", "destination/archive", "destination/engineering"):
            (folder / name).mkdir(parents=True)
        self.data: dict[str, Any] = copy.deepcopy(_packaged())
        self.data["engine"]["executor"] = "inline"
        self.data["database"]["url"] = url
        self.data["backup"]["automatic"] = False  # in tests of backups it is true
        self.data["notify"]["stalled_hours"] = 1e9  # by a clock that is right, nights of tests are of long ago
        self.now_us = LATER_US
        self._store: Store | None = None
        self._written: str | None = None
        self._history = kept.History(folder, url, is_known=is_new)

    def begin(self) -> None:
        """Say that nothing is in the database yet, whatever files there are: nights may be put back."""
        self._history = kept.History(self.folder, self.url, is_known=True)

    @property
    def config_path(self) -> Path:
        """Return the configuration's file, written anew."""
        path = self.folder / "config.yaml"
        path.write_text(yaml.dump(self.data, Dumper=_Dumper, sort_keys=False))
        return path

    @property
    def config(self) -> Config:
        """Return the configuration, written and checked again if it has changed."""
        data = json.dumps(self.data)
        if data != self._written:
            self._written = data
            assert self.config_path.is_file()
        return _config(data, self.folder)

    @property
    def destination(self) -> Path:
        """Return where the archive pipeline's products go."""
        return self.folder / "destination/archive"

    def store(self) -> Store:
        """Return the database, opened once."""
        if self._store is None:
            self._store = Store(self.url, clock=lambda: self.now_us)
        return self._store

    def machine(self, **options: Any) -> Machine:
        """Return a machine."""
        return Machine(self.config, self.store(), **options)

    def close(self) -> None:
        """Close the database."""
        if self._store is not None:
            self._store.close()

    def simulate(self, date: str = DATE, *, pipeline: str = "archive", **options: Any) -> Truth:
        """Write a raw night."""
        arguments = tuple(sorted({"scale": 0.1, "shape": (8, 8), **options}.items()))
        with self._history.step("simulate", pipeline, date, arguments):
            night, truth = _simulated(date, arguments)
            shutil.copytree(night, self.folder / pipeline / date)
        return copy.deepcopy(truth)

    def simulate_two(self, first: str, second: str) -> None:
        """Write two small raw nights."""
        for seed, date in enumerate((first, second)):
            self.simulate(date, seed=seed, scale=0.02, scenario=("pdi",))

    def night(self, date: str = DATE) -> NightFolder:
        """Return a night on disk."""
        return find_night(self.config, date=date)

    def send_afar(self, server: Server) -> None:
        """Let the archive's products go to the same folder, by way of an SSH server."""
        self.data["transfer"] = {
            "destination": f"{getpass.getuser()}@127.0.0.1:{self.destination}",
            "ssh": {
                "port": server.port,
                "identity_file": str(server.identity_file),
                "known_hosts": str(server.known_hosts),
                "options": ["-F", "none"],  # not those of whoever runs the tests
            },
        }

    def bring(self, date: str = DATE, **options: Any) -> None:
        """Have a night where :meth:`advance` takes it: once a process, and put back for each further test.

        For what a test begins with. A world that was changed in any other way than by this and by `simulate` is
        advanced, and so is one that tells somebody of trouble, which no copy would do again.
        """
        data = copy.deepcopy(self.data)
        data["database"]["url"] = ""
        is_told = any(data["notify"][key] for key in ("command", "recipients"))
        is_here = self.url == self.data["database"]["url"] == self._history.url
        step = ("advance", date, repr(sorted(options.items())), self.now_us, json.dumps(data))
        with self._history.step(*step, closing=self.close, is_repeatable=is_here and not is_told) as is_done:
            if not is_done:
                result = self.advance(date, **options)
                assert result.succeeded, result
        self.query("SELECT 1")  # as a machine leaves it: open

    def advance(self, date: str = DATE, **options: Any) -> Result:
        """Advance a night."""
        return self.machine().advance(self.night(date), **options)

    def rollback(self, date: str = DATE, **options: Any) -> Result:
        """Roll a night back."""
        return self.machine().rollback(self.night(date), **options)

    def tree(self, folder: Path | None = None) -> Tree:
        """Return the files of a folder: name to hash of bytes, and the mtime of raw files."""
        folder = folder or self.folder / "archive" / DATE
        return {
            str(path.relative_to(folder)): (
                hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder",
                path.stat().st_mtime_ns if path.is_file() and path.parent.name.startswith("vcam") else None,
            )
            for path in sorted(folder.rglob("*"))
        }

    def on_terminal(
        self, answer: str, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        """Run a command on a terminal of its own, and type an answer; return the exit status and what was shown."""
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "ledger.cli", "--config", str(self.config_path), *arguments]
        env = {**os.environ, "TERM": "xterm", **(environment or {})}
        with Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=self.folder, env=env) as process:
            os.close(theirs)
            os.write(ours, answer.encode())
            shown = b""
            try:
                while piece := os.read(ours, 65536):
                    shown += piece
            except OSError:  # the terminal closes with the process
                pass
        os.close(ours)
        return process.returncode, shown.decode()

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        store = self.store()
        with store.read() as session:
            return [tuple(row) for row in session.execute(text(sql))]

    def run(self, *arguments: str, **environment: str) -> CompletedProcess[str]:
        """Run the command line in a process of its own."""
        return run_command(["--config", str(self.config_path), *arguments], self.folder, environment)

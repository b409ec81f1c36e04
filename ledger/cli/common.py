"""What the commands share: the application, options, the opened ledger, and how things are shown."""

import json
import logging
import logging.handlers
import os
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ledger.cli.streams import is_broken
from ledger.errors import Busy, Interrupted, LedgerError, UsageError
from ledger.report import Phase, Reporter, Result, Stop
from ledger.text import alike, counted, printable

if TYPE_CHECKING:
    from ledger.config.model import Config
    from ledger.db.store import Store
    from ledger.delivery.notify import Trouble
    from ledger.disk.nights import NightFolder
    from ledger.run.machine import Machine

#: Size of a log file before it is rotated, and how many are kept.
LOG_BYTES, LOG_FILES = 10_000_000, 5

app = typer.Typer(
    name="ledger",
    help="Takes a night of raw FITS cubes to the archive, and back. Every command shows an example with --help.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Date = Annotated[str | None, typer.Option("--date", metavar="D", help="UT date of the night: 20260102 or 2026-01-02.")]
Folder = Annotated[Path | None, typer.Argument(metavar="[FOLDER]", help="A night's folder, instead of --date.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print facts as JSON.")]
Jobs = Annotated[
    int | None, typer.Option("--jobs", min=1, max=4096, metavar="N", help="Workers; all processors by default.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and do nothing.")]

_chosen: dict[str, Path | None] = {"config": None, "log": None}


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"ledger {version('ledger')}")
        raise typer.Exit


@app.callback()
def _options(
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="Configuration; ./config.yaml by default.")
    ] = None,
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    _chosen["config"] = config


def config_file() -> Path:
    """Return the configuration's file: what the command line or the environment names, or the first there is."""
    from ledger.config.read import find_config

    return find_config(_chosen["config"], os.environ)


def read_config(*, needs_nights: bool = False) -> "Config":
    """Return the configuration that the command line and the environment name.

    Raises
    ------
    UsageError
        If the command `needs_nights`, and this host fetches from another one that has them.
    """
    from ledger.config import read as configuration

    config = configuration.read_config(_chosen["config"])
    if needs_nights and not config.site().has_nights:
        raise UsageError(
            f"this command reads raw files and products, and they are on {config.site().other} (transfer.source):"
            " expected it to be run there"
        )
    if config.permissions.umask:
        os.umask(int(config.permissions.umask, 8))
    return config


@contextmanager
def open_store(config: "Config", *, changes: bool = False) -> Iterator["Store"]:
    """Open the database, checked to be at the code's revision; back it up at the end if the command `changes` it."""
    from ledger.db.store import Store

    _chosen["log"] = config.log if changes else None
    store = Store(config.database.url)
    try:
        store.open()
        try:
            yield store
        except LedgerError as exc:  # what was done until then is worth it too
            if changes:
                _back_up(store, config, sends=not isinstance(exc, Interrupted))  # nobody waits for another host
            raise
        except (OSError, typer.Exit, typer.Abort):
            raise
        except Exception:  # what cannot be in a ledger is in one that is damaged, and then that is what to say
            with suppress(Busy):
                store.prove()
            raise
        if changes:
            _back_up(store, config)
    finally:
        store.close()


def _back_up(store: "Store", config: "Config", *, sends: bool = True) -> None:
    from ledger.db import backup

    if complaint := backup.after_work(store, config, sends=sends):
        typer.echo(f"ledger: {complaint}", err=True)


@contextmanager
def open_machine(
    jobs: int | None = None, *, quiet: bool = False, needs_nights: bool = False, changes: bool = True
) -> Iterator["Machine"]:
    """Open the ledger for work: reporter, log, and signals that stop it between two files.

    Who only looks (`changes` is false) leaves no trace: no line in the log, no backup, no alert.
    """
    from ledger.run.machine import Machine

    config = read_config(needs_nights=needs_nights)
    with (
        open_store(config, changes=changes) as store,
        watched(config, quiet=quiet, logs=changes) as (reporter, stop),
    ):
        machine = Machine(config, store, reporter=reporter, jobs=jobs, stop=stop)
        yield machine
        if changes:
            from ledger.delivery.notify import troubles

            alert(store, config, troubles(machine.results), reporter.say)


def alert(store: "Store", config: "Config", found: "Iterable[Trouble]", say: Callable[[str], None]) -> None:
    """Tell who wants to know of trouble; `say` that nobody could be told."""
    if not (config.notify.command or config.notify.recipients):
        return
    from ledger.delivery.notify import notify

    try:
        notify(store, config, found)
    except LedgerError as exc:  # the work is done
        say(f"ledger: {exc}")


@contextmanager
def watched(config: "Config", *, quiet: bool = False, logs: bool = True) -> Iterator[tuple[Reporter, Stop]]:
    """Open what long work needs: who is told of it, and signals that ask it to stop."""
    stop = Stop()
    with _reporter(config.log if logs else None, quiet=quiet) as reporter, _signals(stop):
        yield reporter, stop


@contextmanager
def _signals(stop: Stop) -> Iterator[None]:
    def ask_to_stop(number: int, _frame: FrameType | None) -> None:
        stop.signal_number = number

    names = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, ask_to_stop) for number in names}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _reporter(path: Path | None, *, quiet: bool) -> Iterator[Reporter]:
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
    """The log's file: if it cannot be written, that is told once, and the work goes on."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=LOG_BYTES, backupCount=LOG_FILES, encoding="utf-8", errors="backslashreplace")
        self._is_told = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  so the library calls it
        """Tell of what keeps a line from being written."""
        exc = sys.exc_info()[1]
        if isinstance(exc, OSError):
            self._tell(exc)
        else:
            super().handleError(record)

    def close(self) -> None:
        """Close the file; what it did not take until now is lost."""
        try:
            super().close()
        except OSError as exc:
            self._tell(exc)

    def _tell(self, exc: OSError) -> None:
        if not self._is_told:
            self._is_told = True
            typer.echo(f"ledger: log {self.baseFilename!r}: {exc.strerror}; the work goes on without it", err=True)


def log_lost(lines: Sequence[str]) -> None:
    """Write to the log what nobody could be told, if the command is one that leaves a trace."""
    if not lines or _chosen["log"] is None:
        return
    with _reporter(_chosen["log"], quiet=True) as reporter:
        for line in lines:
            reporter.say(line)


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


def say_if_in_both(machine: "Machine", night: "NightFolder", date: str | None) -> None:
    """Say which night is meant where a date is in several roots."""
    which = which_of_both(machine.config, night)
    if date is not None and which:
        machine.reporter.say(which)


def which_of_both(config: "Config", night: "NightFolder") -> str:
    """Return which night is meant where its date is in several roots; an empty string where it is not."""
    from ledger.disk.nights import also_in

    others = also_in(config, night)
    if not others:
        return ""
    return (
        f"{night.date} is in {' and '.join([night.pipeline, *others])}: {night.pipeline} is meant;"
        " for another give its folder"
    )


def can_ask() -> bool:
    """Whether somebody is there who could answer."""
    return sys.stdin.isatty()


def show_json(value: object) -> None:
    """Print a value as JSON."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def show_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, right: Collection[str] = ()) -> None:
    """Print a table: drawn on a terminal, with the columns `right` flush right; tab-separated elsewhere."""
    texts = [["" if value is None else printable(str(value)) for value in row] for row in rows]
    if not sys.stdout.isatty():
        typer.echo("\n".join("\t".join(row) for row in (columns, *texts)))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left")
    for row in texts:
        table.add_row(*(escape(text) for text in row))
    Console().print(table)


def show_result(result: Result, *, as_json: bool) -> None:
    """Print what a run did to a night."""
    if as_json:
        show_json(result.as_json())
        return
    verbs = {"register": result.registered, **result.moved} if result.registered else result.moved
    idle = "no file went on" if result.changed or not result.succeeded else "nothing to do"
    done = ", ".join(f"{verb} {n}" for verb, n in verbs.items()) or idle
    typer.echo(f"night {result.date} ({result.pipeline}): {done}")
    if result.registered:
        typer.echo(f"  registered   {counted(result.registered, 'raw file')}")
    for name, reason in (quarantined := alike(result.quarantined)):
        typer.echo(printable(f"  quarantined  {name}: {reason}"))
    if len(quarantined) < len(result.quarantined):
        typer.echo(f"  quarantined  {len(result.quarantined)}: `ledger quarantine list --date {result.date}` names all")
    for name, what in alike(result.salvaged):
        typer.echo(printable(f"  salvaged     {name}: {what}"))
    for text in result.settled:
        typer.echo(printable(f"  settled      {text}"))
    for line in _remarks(result):
        typer.echo(printable(f"  remark       {line}"))
    for text in result.notes:
        typer.echo(printable(f"  to do        {text}"))
    for name, error in alike(result.failed):
        typer.echo(printable(f"  FAILED       {name}: {error}"))
    if result.states:
        typer.echo("  products     " + ", ".join(f"{n} {state}" for state, n in result.states.items()))
    if result.stopped:
        typer.echo(printable(f"  stopped      {result.stopped}"))


def _remarks(result: Result) -> list[str]:
    """Return a line for each kind of remark: what is counted per keyword is told together."""
    kinds: dict[str, list[str]] = {}
    for text, n in sorted(result.remarks.items()):
        kind, _, keyword = text.partition(": ")
        kinds.setdefault(kind, []).append(f"{keyword} {n}" if keyword else str(n))
    return [f"{kind}: {', '.join(counts)}" for kind, counts in kinds.items()]

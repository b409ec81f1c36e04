"""What the commands share: the application, options, the opened ledger, and signals."""

import logging
import os
import shlex
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from ledger import log
from ledger.cli.groups import Commands
from ledger.cli.output import log_result
from ledger.cli.progress import open_reporter
from ledger.errors import Busy, Interrupted, LedgerError, UsageError
from ledger.report import Reporter, Stop
from ledger.text import printable

if TYPE_CHECKING:
    from ledger.config.model import Config
    from ledger.db.store import Store
    from ledger.delivery.notify import Trouble
    from ledger.run.machine import Machine


app = typer.Typer(
    name="ledger",
    help="Takes a night of raw FITS cubes to the archive, and back. Every command shows an example with --help.",
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Date = Annotated[str | None, typer.Option("--date", metavar="D", help="UT date of the night: 20260102 or 2026-01-02.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print facts as JSON.")]
AsCsv = Annotated[
    bool, typer.Option("--csv", help="Print a line of names and a line for each row, comma-separated (RFC 4180).")
]
Wide = Annotated[bool, typer.Option("--wide", help="Show all columns, each row on one line, on any terminal.")]
Jobs = Annotated[
    int | None, typer.Option("--jobs", min=1, max=4096, metavar="N", help="Workers; all processors by default.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and do nothing.")]

_chosen: dict[str, Path | None] = {"config": None}


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


def chosen_config() -> Path | None:
    """Return the configuration's file that the command line names, if it names one."""
    return _chosen["config"]


def config_file() -> Path:
    """Return the configuration's file: what the command line or the environment names, or the first there is."""
    from ledger.config.read import find_config

    return find_config(_chosen["config"], os.environ)


def where_a_ledger_is() -> str:
    """Return where the ledger was looked for, and what to do if it is elsewhere."""
    from ledger.config.read import why_config

    why = printable(why_config(_chosen["config"], os.environ))
    return f"if it is elsewhere, name its configuration with --config FILE: in use is {why}"


def read_config(*, needs_nights: bool = False) -> "Config":
    """Return the configuration that the command line and the environment name.

    Raises
    ------
    UsageError
        If the command `needs_nights`, and this host fetches from another one that has them.
    """
    from ledger.config import read as configuration
    from ledger.config.urls import parse_url

    config = configuration.read_config(_chosen["config"])
    if config.source == str(configuration.packaged_config()):
        from ledger.disk.places import refuse_to_work_inside

        here = Path.cwd()
        if any(path.is_relative_to(here) for path in (config.log, Path(parse_url(config.database.url).database or ""))):
            refuse_to_work_inside(here, configuration.why_config(_chosen["config"], os.environ))
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
    from ledger.db.absent import advised
    from ledger.db.store import Store

    if changes:
        begin_log(config)
    store = Store(config.database.url)
    try:
        with advised(config):
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
    from ledger.db import unbacked

    if complaint := unbacked.after_work(store, config, sends=sends):
        typer.echo(f"ledger: {complaint}", err=True)
        log.write(complaint, level=logging.ERROR, event="backup_failed")


@contextmanager
def open_machine(
    jobs: int | None = None,
    *,
    quiet: bool = False,
    needs_nights: bool = False,
    changes: bool = True,
    alerts: bool = True,
) -> Iterator["Machine"]:
    """Open the ledger for work: reporter, log, and signals that stop it between two files.

    A command that only reads (`changes` is false) leaves no trace: no line in the log, no backup, no alert. Without
    `alerts`, the command sends its own.
    """
    from ledger.run.machine import Machine

    config = read_config(needs_nights=needs_nights)
    with (
        open_store(config, changes=changes) as store,
        watched(config, quiet=quiet, logs=changes) as (reporter, stop),
    ):
        machine = Machine(config, store, reporter=reporter, jobs=jobs, stop=stop)
        try:
            yield machine
        finally:
            for result in machine.results:
                log_result(result)
        if changes and alerts:
            from ledger.delivery.notify import troubles

            alert(store, config, troubles(machine.results), reporter.say)


def alert(store: "Store", config: "Config", found: "Iterable[Trouble]", say: Callable[[str], None]) -> None:
    """Send an alert of new problems, if alerts are configured; `say` that it could not be sent."""
    if not (config.notify.command or config.notify.recipients):
        return
    from ledger.delivery.notify import notify

    try:
        notify(store, config, found)
    except LedgerError as exc:  # the work is done
        say(f"ledger: {exc}")
        log.write(str(exc), level=logging.ERROR, event="alert_failed")


@contextmanager
def watched(config: "Config", *, quiet: bool = False, logs: bool = True) -> Iterator[tuple[Reporter, Stop]]:
    """Open what long work needs: a reporter of its progress, and signals that ask it to stop."""
    stop = Stop()
    if logs:
        begin_log(config)
    with open_reporter(quiet=quiet) as reporter, _signals(stop):
        yield reporter, stop


@contextmanager
def _signals(stop: Stop) -> Iterator[None]:
    def ask_to_stop(number: int, _frame: FrameType | None) -> None:
        stop.signal_number = number

    names = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    heard = [number for number in names if signal.getsignal(number) is not signal.SIG_IGN]  # `nohup` ignores SIGHUP
    before = {number: signal.signal(number, ask_to_stop) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def begin_log(config: "Config") -> None:
    """Open the log of a command that leaves a trace, and write who runs what."""
    if log.is_open():
        return
    from ledger.db.processes import user_name

    log.open_log(config.log, as_json=config.log_format == "json")
    command = shlex.join(["ledger", *map(printable, sys.argv[1:])])
    user, host = user_name(), socket.gethostname()
    log.write(f"begin `{command}` by {user} on {host}", event="begin", command=command, user=user, host=host)


def can_ask() -> bool:
    """Whether standard input is a terminal, so that somebody can answer."""
    return sys.stdin.isatty()

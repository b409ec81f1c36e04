"""``ledger ids``: the sequence of frame IDs."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ledger.cli.common import AsJson, Date, app, can_ask, open_store, read_config
from ledger.cli.groups import Group
from ledger.cli.output import show_json, show_table
from ledger.errors import UsageError
from ledger.text import counted

if TYPE_CHECKING:
    from ledger.ids.sequence import SequenceState

ids = typer.Typer(
    cls=Group,
    help="The sequence of frame IDs: its next number, where its numbers come from, and whether all is in order.",
    epilog="Example: ledger ids next",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(ids, name="ids")


@ids.command("next", epilog="Example: ledger ids next")
def next_(*, as_json: AsJson = False) -> None:
    """Show the frame ID that is given next, and how many are left."""
    from ledger.ids.sequence import sequence_state

    config = read_config()
    with open_store(config) as store, store.read() as session:
        now = sequence_state(session, config)
    show_json(_facts(now)) if as_json else typer.echo(_in_words(now))


@ids.command(epilog="Example: ledger ids start VMPA 12346 --from 20260102")
def start(
    prefix: Annotated[str, typer.Argument(metavar="PREFIX", help="Of the instrument.")],
    number: Annotated[int, typer.Argument(metavar="NUMBER", help="The next one.")],
    from_date: Annotated[
        str | None, typer.Option("--from", metavar="D", help="The first night that gets numbers; others are left out.")
    ] = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask, however many numbers are skipped.")] = False,
    as_json: AsJson = False,
) -> None:
    """Name the next number: above every one that is in use. The sequence only skips ahead, and the skip is recorded.

    What is skipped can never be given: of more than 100,000 numbers it asks, or wants --yes where there is no terminal.
    """
    from ledger.disk.dates import parse_date
    from ledger.errors import Unconfirmed
    from ledger.ids import reservation

    config = read_config(needs_nights=True)
    date = parse_date(from_date) if from_date else None
    with open_store(config, changes=True) as store:
        try:
            now, given_up = reservation.start(store, config, prefix, number, from_date=date, is_sure=yes)
        except Unconfirmed as exc:
            if not can_ask():
                raise
            typer.echo(f"ledger: {exc}", err=True)
            typer.confirm("Skip them?", abort=True, err=True)
            now, given_up = reservation.start(store, config, prefix, number, from_date=date, is_sure=True)
    if as_json:
        show_json({"given_up": given_up, **_facts(now)})
        return
    if given_up:
        typer.echo(f"given up: {counted(given_up, 'number')} of blocks that were handed out")
    typer.echo(_in_words(now))


@ids.command(epilog="Example: ledger ids reserve --from-file frame-ids.txt")
def reserve(
    from_file: Annotated[
        Path,
        typer.Option("--from-file", metavar="FILE", help="A line for each ID, or for the first and last of a block."),
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Import frame IDs that an outside authority has handed out (ids.authority: blocks). They are used in order."""
    from ledger.ids import reservation
    from ledger.ids.sequence import frame_id_of

    config = read_config(needs_nights=True)
    try:
        text = from_file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"{str(from_file)!r}: cannot be read as text ({exc}); expected a file of frame IDs") from exc
    with open_store(config, changes=True) as store:
        blocks, now = reservation.reserve(store, config, text, source=from_file.name)
    if as_json:
        show_json({"imported": blocks, **_facts(now)})
        return
    for first, last in blocks:
        names = [frame_id_of(now.prefix, number) for number in (first, last)]
        typer.echo(f"imported {' to '.join(names)}: {last - first + 1}")
    typer.echo(_in_words(now))


@ids.command(epilog="Example: ledger ids check --date 20260102")
def check(date: Date = None, *, as_json: AsJson = False) -> None:
    """Prove order, gaps and duplicates: database, names of files, headers, here and at the destination. Exit 1 if not.

    With --date, only that night's files are looked at; the sequence is always proven as a whole.
    """
    from ledger.disk.dates import parse_date
    from ledger.ids import check

    config = read_config(needs_nights=True)
    with open_store(config) as store:
        report = check.check(store, config, date=parse_date(date) if date else None)
    if as_json:
        show_json(asdict(report))
    else:
        if report.disorders:
            columns = ("law", "night", "frame ID", "where", "found", "expected")
            rows = [tuple(asdict(disorder).values()) for disorder in report.disorders]
            show_table(columns, rows, below=("expected", "found", "where"))
        for explained in report.explained:
            typer.echo(f"explained: {explained}")
        looked = ", ".join(counted(n, what.removesuffix("s")) for what, n in report.counts.items())
        typer.echo(f"{looked}: " + (f"{len(report.disorders)} off" if report.disorders else "in order"))
    raise typer.Exit(1 if report.disorders else 0)


def _facts(now: "SequenceState") -> dict[str, Any]:
    return {"next": now.next_id, "left": now.remaining, **asdict(now)}


def _in_words(now: "SequenceState") -> str:
    since = f", for nights from {now.from_date} on" if now.from_date else ""
    if now.next_id is None:
        return f"frame IDs: {now.why_none}: {now.advice}"
    return f"next is {now.next_id}{since}; {now.remaining} left (authority: {now.authority})"

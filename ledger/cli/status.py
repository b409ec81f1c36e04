"""``ledger status``."""

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ledger.cli.common import AsCsv, AsJson, Wide, app, read_config
from ledger.cli.nights import DatesOption, Folders, dates_named
from ledger.cli.output import refuse_several, show_below, show_csv, show_json, show_table
from ledger.clock import show_date, show_us
from ledger.errors import UsageError
from ledger.text import joined, printable

if TYPE_CHECKING:
    from ledger.config.model import Config
    from ledger.query.status import NightStatus

#: Columns of numbers.
NUMBERS = ("raw files", "frames", "lost", "IDs", "quarantined", "failed", "outside")
#: What matters most: where a night stands, and what is wrong.
LEAD = ("night", "stands", "quarantined", "failed", "outside", "lost", "products", "mailed")
#: Exit status of a check that finds what is stale or broken.
BROKEN = 2


@app.command(epilog="Example: ledger status --date 20260102")
def status(
    folder: Folders = None,
    date: DatesOption = None,
    *,
    check: Annotated[
        bool,
        typer.Option("--check", help="One line for monitors. Exit 0: in order; 1: needs a person; 2: stale or broken."),
    ] = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    wide: Wide = False,
) -> None:
    """Show where every night stands, and what to do next."""
    from ledger.night.pipeline import pipelines
    from ledger.query.status import nights, untold
    from ledger.query.times import reached_us

    refuse_several(json=as_json, csv=as_csv)
    if check:
        if date or folder or as_json or as_csv:
            raise UsageError("--check is of the whole ledger, in one line: expected no night, --json or --csv")
        raise typer.Exit(_check())
    config = read_config()
    declared = pipelines(config)
    dates = dates_named(config, folder, date)
    found = nights(config, declared, dates=dates, seeks_uncarried=as_json or as_csv)
    if as_json:
        show_json([asdict(night) for night in found])
        return
    if as_csv:
        states = list(dict.fromkeys(state for pipeline in declared.values() for state in pipeline.states[1:]))
        show_csv(*_facts(found, states, reached_us(config, declared, found)))
        return
    if not found:
        typer.echo("no nights" + (f" of {dates}" if dates else "") + f" under {config.pipelines[config.main].root}")
        _show_last(config)
        return
    is_outside = any(n.outside for n in found)
    is_one = len({n.pipeline for n in found}) == 1
    columns = (
        "night",
        "pipeline",
        "stands",
        "raw files",
        "frames",
        "lost",
        "products",
        "IDs",
        "mailed",
        "confirmed",
        "quarantined",
        "failed",
        *(["outside"] if is_outside else []),
        "next",
    )
    show_table(
        columns,
        [
            (
                n.date,
                n.pipeline,
                n.stands,
                n.raws,
                n.frames,
                n.lost,
                " ".join(f"{count} {state}" for state, count in n.states.items()),
                n.frame_ids,
                _mailed(n),
                _confirmed(n),
                n.quarantined,
                n.failed,
                *([n.outside] if is_outside else []),
                n.next_command,
            )
            for n in found
        ],
        right=NUMBERS,
        lead=LEAD,
        below=("next",),
        spare=(*(["pipeline"] if is_one else []), "raw files", "frames", "confirmed", "IDs", "products"),
        wide=wide,
    )
    for n in found:
        if n.withdrawn:
            text, remedy = untold(n, config.site(n.pipeline).named(n.date))
            show_below(f"night {n.date} ({n.pipeline}): {n.withdrawn}: {text}; {remedy}")
    _show_last(config)


def _show_last(config: "Config") -> None:
    """Say what works now, and when catch-up ran last."""
    from ledger.query.unattended import at_work, last_catch_up

    for words in (*at_work(config), last_catch_up(config).words):
        show_below(printable(words))


def _facts(
    nights: "Sequence[NightStatus]", states: Sequence[str], reached_us: Sequence[dict[str, int]]
) -> tuple[list[str], list[list[Any]]]:
    """Return names and a row a night: what JSON has, and of each state how many products are in it, and a time (UT)."""
    from ledger.query.status import NightStatus

    names = [field.name for field in fields(NightStatus) if field.name != "states"]
    rows = [
        [
            *(getattr(night, name) for name in names),
            *(night.states.get(state, 0) for state in states),
            *(show_us(times.get(state)) for state in states),
            show_us(night.mailed_us),
            show_us(night.confirmed_us),
        ]
        for night, times in zip(nights, reached_us, strict=True)
    ]
    times_ut = (f"{what}_ut" for what in (*states, "mailed", "confirmed"))
    return [*names, *(f"products_{state}" for state in states), *times_ut], rows


def _check() -> int:
    """Print a line for monitors, whatever happens; return the exit status."""
    from ledger.clock import now_us
    from ledger.night.pipeline import pipelines
    from ledger.query import unattended

    try:
        config = read_config()
        verdict = unattended.check(config, pipelines(config), now_us())
    except Exception as exc:  # noqa: BLE001  the edge: a monitor knows no other status
        typer.echo(f"broken: {joined(str(exc)) or type(exc).__name__}")
        return BROKEN
    typer.echo(printable(verdict.text))
    return verdict.exit_status


def _mailed(night: "NightStatus") -> str:
    """Return when the manifest was mailed; a file that somebody has to send is not mailed."""
    if night.written_us is not None:
        return f"written {show_date(night.written_us)}"
    if night.mailed_us is None and night.stands == "finished" and night.frame_ids:
        return "no"
    return show_date(night.mailed_us)


def _confirmed(night: "NightStatus") -> str:
    """Return when the archive had confirmed all products, or how many of them it has."""
    if night.confirmed_us is None and night.confirmed:
        return f"{night.confirmed} of {night.frame_ids}"
    return show_date(night.confirmed_us)

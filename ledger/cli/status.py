"""``ledger status``."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from ledger.cli.common import AsJson, app, read_config
from ledger.cli.nights import DatesOption, parse_dates
from ledger.cli.output import show_json, show_table
from ledger.clock import show_date

if TYPE_CHECKING:
    from ledger.query.status import NightStatus


@app.command(epilog="Example: ledger status --date 20260102")
def status(date: DatesOption = None, *, as_json: AsJson = False) -> None:
    """Show where every night stands, and what to do next."""
    from ledger.night.pipeline import pipelines
    from ledger.query.status import nights

    config = read_config()
    found = nights(config, pipelines(config), dates=parse_dates(date), seeks_uncarried=as_json)
    if as_json:
        show_json([asdict(night) for night in found])
        return
    if not found:
        typer.echo(
            "no nights" + (f" of {', '.join(date)}" if date else "") + f" under {config.pipelines[config.main].root}"
        )
        return
    is_outside = any(n.outside for n in found)
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
    )


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

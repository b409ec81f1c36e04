"""``ledger status``."""

from dataclasses import asdict

import typer

from ledger.cli.common import AsJson, app, read_config
from ledger.cli.nights import DatesOption, parse_dates
from ledger.cli.output import show_json, show_table


@app.command(epilog="Example: ledger status --date 20260102")
def status(date: DatesOption = None, *, as_json: AsJson = False) -> None:
    """Show where every night stands, and what to do next."""
    from ledger.night.pipeline import pipelines
    from ledger.query.status import nights

    config = read_config()
    found = nights(config, pipelines(config), dates=parse_dates(date))
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
                n.confirmed,
                n.quarantined,
                n.failed,
                *([n.outside] if is_outside else []),
                n.next_command,
            )
            for n in found
        ],
    )

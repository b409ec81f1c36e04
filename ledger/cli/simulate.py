"""``ledger simulate``."""

from pathlib import Path
from typing import Annotated

import typer

from ledger.cli.common import app
from ledger.errors import UsageError
from ledger.text import counted


@app.command(epilog="Example: ledger simulate /tmp/nights 20260102")
def simulate(
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="Folder that gets the night.")],
    date: Annotated[str, typer.Argument(metavar="DATE", help="UT date of the night.")],
    scenario: Annotated[
        list[str] | None, typer.Option("--block", metavar="NAME", help="A block of the night, such as pdi or trains.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Another night of the same kind.")] = 0,
    scale: Annotated[float, typer.Option("--scale", help="Frames, relative to the usual number.")] = 1.0,
    size: Annotated[tuple[int, int], typer.Option("--size", metavar="NY NX", help="Frame size in pixels.")] = (32, 32),
    truth: Annotated[Path | None, typer.Option("--truth", metavar="FILE", help="Write the truth here (.npz).")] = None,
) -> None:
    """Write a raw night of known truth, as the cameras' loggers do."""
    from ledger.disk.dates import parse_date
    from ledger.simulation.night import SCENARIO, simulate_night

    try:
        made = simulate_night(root, parse_date(date), scenario=scenario or SCENARIO, seed=seed, scale=scale, shape=size)
        if truth is not None:
            made.save(truth)
    except (ValueError, OSError) as exc:
        raise UsageError(f"simulate: {exc}") from exc
    frames = sum(file.n_frames for file in made.files)
    faults = sum(file.fault is not None for file in made.files)
    files = counted(len(made.files), "raw file")
    typer.echo(f"{root / parse_date(date)}: {files}, {frames} frames, {faults} of the files faulty")

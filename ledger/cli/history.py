"""``ledger history``."""

from dataclasses import asdict
from typing import Annotated

import typer

from ledger.cli.common import AsCsv, AsJson, Wide, app, open_store, read_config
from ledger.cli.output import refuse_several, show_csv, show_json, show_table


@app.command(epilog="Example: ledger history VMPA00000001")
def history(
    name: Annotated[str, typer.Argument(metavar="FILE|FRAMEID", help="A raw file, a product, or a frame ID.")],
    *,
    with_frames: Annotated[
        bool, typer.Option("--frames", help="Show each frame with the file and index that it came from, or went to.")
    ] = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    wide: Wide = False,
) -> None:
    """Show everything that happened to a file, what it is made of, and what is made of it.

    Frames are shown as runs [first, step, n]; with --frames, one by one. All are counted from 0. --csv has what
    happened, or with --frames the frames.
    """
    from ledger.clock import show_us
    from ledger.db.models import Entry
    from ledger.query import history

    refuse_several(json=as_json, csv=as_csv)
    config = read_config()
    with open_store(config) as store:
        subject = history.find(store, name)
        entries = history.entries(store, subject)
        lineage = history.lineage(store, subject)
        frames = history.frames(store, subject) if with_frames else []
    if as_json:
        show_json(
            {
                "name": subject.row.name if subject.row else subject.name,
                "frame_id": subject.frame_id,
                "identity": subject.identity,
                "entries": [entry.model_dump() for entry in entries],
                "lineage": [asdict(relation) for relation in lineage],
                **({"frames": [asdict(place) for place in frames]} if with_frames else {}),
            }
        )
        return
    if as_csv:
        if with_frames:
            show_csv(("frame", "file", "index"), [(place.frame, place.file, place.index) for place in frames])
        else:
            columns = list(Entry.model_fields)
            show_csv(columns, [[getattr(entry, name) for name in columns] for entry in entries])
        return
    typer.echo(f"{subject.row.name if subject.row else subject.name}  {subject.frame_id or ''}".rstrip())
    show_table(
        ("at (UT)", "run", "event", "edge", "from", "to", "detail"),
        [
            (
                show_us(e.at_us),
                e.run_id,
                e.event,
                e.edge,
                e.source,
                e.destination,
                " ".join(f"{k}={v}" for k, v in e.detail.items()),
            )
            for e in entries
        ],
        right=("run",),
        below=("detail",),
        spare=("from", "edge"),
        wide=wide,
    )
    is_raw = subject.row is not None and subject.row.kind == "raw"
    if lineage:
        typer.echo("its frames are in" if is_raw else "it is made of")
        show_table(
            ("file", "state", "frames", "[first, step, n]"),
            [(r.name, r.state, r.n_frames, " ".join(str(list(run)) for run in r.runs)) for r in lineage],
            right=("frames",),
            below=("[first, step, n]",),
            spare=("state",),
            wide=wide,
        )
    if with_frames and not frames:
        typer.echo("none of its frames is in a product now")
    elif with_frames:
        typer.echo("frame by frame, counted from 0")
        show_table(
            ("frame", "product" if is_raw else "raw file", "index"),
            [(place.frame, place.file, place.index) for place in frames],
        )

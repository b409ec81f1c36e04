"""``ledger summary``: a night in words and two tables."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import typer

from ledger.cli.common import AsCsv, AsJson, Wide, app, open_store, read_config
from ledger.cli.nights import DatesOption, EachNight, Folders, nights_named
from ledger.cli.output import refuse_several, show_csv, show_table, show_text
from ledger.text import counted

if TYPE_CHECKING:
    from ledger.query.summary import Summary


@app.command(epilog="Example: ledger summary --date 20260102")
def summary(
    folder: Folders = None,
    date: DatesOption = None,
    *,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    wide: Wide = False,
) -> None:
    """Show nights' frames per minute and per target, and what is unexpected.

    A product (about 10 s of data) counts in the minute in which it begins. Exit 1 if a frame is not accounted for.
    --csv has a row for each minute.
    """
    from ledger.cli._summary_tables import facts
    from ledger.query import summary as summaries

    refuse_several(json=as_json, csv=as_csv)
    config = read_config()
    found: list[summaries.Summary] = []
    show: Callable[[summaries.Summary], None] = found.append
    if not as_csv:
        show = partial(_show, dither=config.instrument.cards.dither_us or "of the trigger", wide=wide)
    done = EachNight[summaries.Summary](show, lambda f: f.balance.holds, folder, date, as_json=as_json)
    with done, open_store(config) as store:
        nights = nights_named(config, folder, date, partial(typer.echo, err=True), store, needs_folders=False)
        done.do(nights, lambda night: summaries.summarise(store, config, night))
    if as_csv:
        show_csv(*facts(found))
    raise typer.Exit(done.status)


def _show(found: "Summary", *, dither: str, wide: bool) -> None:
    from ledger.cli._summary_tables import LOOK_AT, SPARE, TEXTS, minute_table, target_table
    from ledger.cli._summary_words import LISTED_TARGETS, after_tables, before_tables

    for line in before_tables(found):
        show_text(line)
    for table in (minute_table, target_table) if found.minutes else ():
        columns, rows = table(found)
        show_table(columns, rows, right=set(columns) - TEXTS, below=(LOOK_AT,), spare=SPARE, wide=wide)
        if table is minute_table:
            typer.echo()
    if len(found.targets) > LISTED_TARGETS:
        typer.echo(f"and {counted(len(found.targets) - LISTED_TARGETS, 'more target')}: see --json")
    for line in after_tables(found, dither):
        show_text(line)

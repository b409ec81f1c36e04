"""``ledger summary``: a night in words and two tables."""

import shutil
import sys
from functools import partial
from typing import TYPE_CHECKING

import typer

from ledger.cli.common import AsJson, app, open_store, read_config
from ledger.cli.nights import DatesOption, EachNight, Folders, nights_named
from ledger.cli.output import show_table
from ledger.text import counted

if TYPE_CHECKING:
    from ledger.cli._summary_tables import Table
    from ledger.query.summary import Summary


#: Characters of a line that the tables keep to, if the terminal has not fewer.
WIDTH = 120


@app.command(epilog="Example: ledger summary --date 20260102")
def summary(folder: Folders = None, date: DatesOption = None, *, as_json: AsJson = False) -> None:
    """Show nights' frames per minute and per target, and what is unexpected.

    A product (about 10 s of data) counts in the minute in which it begins. Exit 1 if a frame is not accounted for.
    """
    from ledger.query import summary as summaries

    config = read_config()
    dither = config.instrument.cards.dither_us or "of the trigger"
    done = EachNight[summaries.Summary](lambda f: _show(f, dither), lambda f: f.balance.holds, as_json=as_json)
    with done, open_store(config) as store:
        nights = nights_named(config, folder, date, partial(typer.echo, err=True), summaries.recorded(store, config))
        done.do(nights, lambda night: summaries.summarise(store, config, night))
    raise typer.Exit(done.status)


def _show(found: "Summary", dither: str) -> None:
    from ledger.cli._summary_tables import LISTED_TARGETS, minute_table, target_table
    from ledger.cli._summary_words import after_tables, before_tables

    for line in before_tables(found):
        typer.echo(line)
    if found.minutes:
        _show_table(minute_table(found))
        typer.echo()
        _show_table(target_table(found))
        if len(found.targets) > LISTED_TARGETS:
            typer.echo(f"and {counted(len(found.targets) - LISTED_TARGETS, 'more target')}: see --json")
    for line in after_tables(found, dither):
        typer.echo(line)


def _show_table(table: "Table") -> None:
    from ledger.cli._summary_tables import TEXTS, narrow

    columns, rows = table
    if sys.stdout.isatty():
        columns, rows = narrow(table, min(WIDTH, shutil.get_terminal_size().columns))
    show_table(columns, rows, right=set(columns) - TEXTS)

"""``ledger summary``: a night in words and two tables."""

import shutil
import sys
from typing import TYPE_CHECKING

import typer

from ledger.cli.common import AsJson, Date, Folder, app, open_store, read_config, which_of_both
from ledger.cli.output import show_json, show_table
from ledger.text import counted

if TYPE_CHECKING:
    from ledger.cli._summary_tables import Table
    from ledger.query.summary import Summary


#: Characters of a line that the tables keep to, if the terminal has not fewer.
WIDTH = 120


@app.command(epilog="Example: ledger summary --date 20260102")
def summary(folder: Folder = None, date: Date = None, *, as_json: AsJson = False) -> None:
    """Show a night's frames per minute and per target, and what is unexpected.

    A product (about 10 s of data) counts in the minute in which it begins. Exit 1 if a frame is not accounted for.
    """
    from ledger.query import summary as summaries

    config = read_config()
    with open_store(config) as store:
        night = summaries.find(store, config, date=date, folder=folder)
        if date is not None and (which := which_of_both(config, night)):
            typer.echo(which, err=True)
        found = summaries.summarise(store, config, night)
    if as_json:
        show_json(found.as_json())
    else:
        _show(found, config.instrument.cards.dither_us)
    raise typer.Exit(0 if found.balance.holds else 1)


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

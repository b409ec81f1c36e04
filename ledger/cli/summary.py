"""``ledger summary``."""

import typer

from ledger.cli.common import (
    AsJson,
    Date,
    Folder,
    app,
    open_store,
    read_config,
    show_json,
    show_table,
    which_of_both,
)


@app.command(epilog="Example: ledger summary --date 20260102")
def summary(folder: Folder = None, date: Date = None, *, as_json: AsJson = False) -> None:
    """Show a night's targets, exposure times and frames per minute, and what is unexpected.

    A product (about 10 s of data) counts in the minute in which it begins. Exit 1 if a frame is not accounted for.
    """
    from ledger import summary as summaries

    config = read_config()
    with open_store(config) as store:
        night = summaries.find(store, config, date=date, folder=folder)
        if date is not None and (which := which_of_both(config, night)):
            typer.echo(which, err=True)
        found = summaries.summarise(store, config, night)
    if as_json:
        show_json(found.as_json())
    else:
        for line in summaries.before_table(found):
            typer.echo(line)
        if found.minutes:
            columns, rows = summaries.table(found)
            show_table(columns, rows, right=set(columns[4:]) - {"look at"})
        for line in summaries.after_table(found, config.instrument.cards):
            typer.echo(line)
    raise typer.Exit(0 if found.balance.holds else 1)

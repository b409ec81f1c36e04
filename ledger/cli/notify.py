"""``ledger notify``."""

from typing import Annotated

import typer

from ledger.cli.common import AsJson, app, begin_log, read_config
from ledger.cli.output import show_json
from ledger.errors import UsageError
from ledger.text import printable


@app.command(epilog="Example: ledger notify --test")
def notify(
    *,
    test: Annotated[bool, typer.Option("--test", help="Send a test alert, and the heartbeat.")] = False,
    as_json: AsJson = False,
) -> None:
    """Try that alerts and the heartbeat arrive. Commands send alerts of problems by themselves.

    A test goes out in every way that is configured. Exit status 1 says that one failed, 2 that none is configured.
    """
    from ledger.delivery.heartbeat import try_out

    if not test:
        raise UsageError("nothing to do: expected --test; commands send alerts of problems by themselves")
    config = read_config()
    begin_log(config)
    sent = try_out(config)
    if as_json:
        show_json([{"way": one.way, "to": one.to, "error": one.error} for one in sent])
    else:
        for one in sent:
            typer.echo(printable(f"{one.way:<10} {one.to}: {one.error or 'sent'}"))
    raise typer.Exit(1 if any(one.error for one in sent) else 0)

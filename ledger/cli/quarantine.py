"""``ledger quarantine``."""

from dataclasses import asdict
from typing import Annotated

import typer

from ledger.cli.common import AsJson, Wide, app, open_store, read_config
from ledger.cli.groups import Group
from ledger.cli.nights import DatesOption, Folders, dates_named
from ledger.cli.output import show_below, show_json, show_table

quarantine = typer.Typer(
    cls=Group,
    help="Files that do not go on: what they are, and what to do about them.",
    epilog="Example: ledger quarantine list",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(quarantine, name="quarantine")

File = Annotated[str, typer.Argument(metavar="FILE|FRAMEID", help="A raw file, a product, or a frame ID.")]


@quarantine.command(name="list", epilog="Example: ledger quarantine list --date 20260102")
def show(folder: Folders = None, date: DatesOption = None, *, as_json: AsJson = False, wide: Wide = False) -> None:
    """List files in quarantine, and products that failed and wait to be tried again."""
    from ledger.clock import show_us
    from ledger.run import quarantine as held_back

    config = read_config()
    with open_store(config) as store:
        found = held_back.held(store, dates_named(config, folder, date))
    if as_json:
        show_json([asdict(file) for file in found])
        return
    columns = ("night", "file", "state", "stands", "failures", "next try (UT)", "reason")
    rows = [
        (
            file.date,
            f"{file.folder}/{file.name}",
            file.state,
            file.stands,
            file.attempts or "",
            show_us(file.next_retry_us) if file.next_retry_us else "",
            file.reason,
        )
        for file in found
    ]
    show_table(
        columns,
        rows,
        right={"failures"},
        below=("reason", "next try (UT)"),
        spare=("failures", "state"),
        wide=wide,
    )
    if any(file.kind == "product" and file.stands == "quarantined" for file in found):
        show_below(
            "a product goes on by `ledger quarantine release FILE`, or is given up by `ledger quarantine discard FILE"
            " --reason TEXT`"
        )


@quarantine.command(epilog="Example: ledger quarantine release VMPA00000001")
def release(file: File) -> None:
    """Let a file go on: a product is tried by the next advance, a raw file is looked into again by the next scan."""
    from ledger.run import quarantine as held_back

    config = read_config()
    with open_store(config, changes=True) as store:
        subject = held_back.release(store, file)
    named = config.site(subject.night.pipeline).named(subject.night.date)
    typer.echo(f"{file} is released; `ledger advance {named}` goes on with it")


@quarantine.command(epilog="Example: ledger quarantine discard VMPA00000001 --reason 'saturated test frames'")
def discard(file: File, reason: Annotated[str, typer.Option("--reason", help="Why; it is kept.")]) -> None:
    """Give a product that failed up: its raw frames stay, and nothing waits for it any more."""
    from ledger.run import quarantine as held_back

    with open_store(read_config(), changes=True) as store:
        subject = held_back.discard(store, file, reason)
    typer.echo(
        f"{file} is discarded; night {subject.night.date} goes on without it; `ledger quarantine release {file}` takes"
        " that back"
    )

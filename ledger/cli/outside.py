"""``ledger outside``."""

from dataclasses import asdict
from typing import Annotated

import typer

from ledger.cli.common import AsJson, Date, app, open_store, read_config
from ledger.cli.groups import Group
from ledger.cli.nights import DatesOption, Folders, dates_named
from ledger.cli.output import show_json, show_table, show_text
from ledger.text import counted

outside = typer.Typer(
    cls=Group,
    help="Files of nights that may hold frames and are no raw files: what they are, and what is decided about them.",
    epilog="Example: ledger outside list",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(outside, name="outside")

Pattern = Annotated[
    str, typer.Argument(metavar="PATTERN", help="Of paths within a night (apapane/*), or of names (*.fits.gz).")
]


@outside.command(name="list", epilog="Example: ledger outside list --date 20260102")
def show(folder: Folders = None, date: DatesOption = None, *, as_json: AsJson = False) -> None:
    """List files that may hold frames and are no raw files, folder by folder, and what to do about them."""
    from ledger.disk.outside import KINDS
    from ledger.ids import gate
    from ledger.night.pipeline import pipelines

    config = read_config(needs_nights=True)
    groups: dict[tuple[str, ...], list[str]] = {}
    facts = []
    with open_store(config) as store:
        for night, found in gate.outside(store, config, pipelines(config), dates_named(config, folder, date)):
            for file, reason in [*((file, "") for file in found.undecided), *found.left_out]:
                of_night = {"pipeline": night.pipeline, "date": night.date}
                facts.append({**of_night, **asdict(file), "left_out": reason or None})
                to_do = f"left out: {reason}" if reason else KINDS[file.kind][1]
                groups.setdefault((night.date, file.folder, file.words, to_do), []).append(file.path)
    if as_json:
        show_json(facts)
        return
    if not facts:
        typer.echo("nothing is outside")
        return
    rows = [(date, folder, what, len(paths), paths[0], to_do) for (date, folder, what, to_do), paths in groups.items()]
    show_table(
        ("night", "folder", "what", "files", "the first", "to do"), rows, right={"files"}, below=("to do", "the first")
    )
    show_text("--json names each file; `ledger outside ignore PATTERN --reason TEXT` leaves files out")


@outside.command(epilog="Example: ledger outside ignore 'apapane/*' --reason 'another camera'")
def ignore(
    pattern: Pattern,
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept.")],
    date: Date = None,
) -> None:
    """Leave such files out, of one night or of all that there are and will be: no night waits for them any more."""
    from ledger.disk.dates import parse_date
    from ledger.night import decisions

    config = read_config(needs_nights=True)
    with open_store(config, changes=True) as store:
        n = decisions.ignore(store, config, pattern, reason, parse_date(date) if date else None)
    where = "of every night" if n is None else f"of night {date} ({counted(n, 'file')} now)"
    typer.echo(f"{pattern} {where} is left out: {reason}")


@outside.command(epilog="Example: ledger outside wait 'apapane/*'")
def wait(pattern: Pattern, date: Date = None) -> None:
    """Take a decision back: nights that are not numbered yet wait for such files again."""
    from ledger.disk.dates import parse_date
    from ledger.night import decisions

    config = read_config(needs_nights=True)
    with open_store(config, changes=True) as store:
        decisions.wait(store, config, pattern, parse_date(date) if date else None)
    typer.echo(f"{pattern} is waited for again")


@outside.command(epilog="Example: ledger outside rules")
def rules(*, as_json: AsJson = False) -> None:
    """List the decisions that stand."""
    from ledger.night import decisions

    with open_store(read_config()) as store:
        found = decisions.rules(store)
    if as_json:
        show_json([asdict(rule) for rule in found])
        return
    rows = [(rule.pattern, rule.night[1] if rule.night else "every night", rule.reason) for rule in found]
    show_table(("pattern", "night", "left out because"), rows, below=("left out because",))

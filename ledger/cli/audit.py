"""``ledger audit``."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ledger.cli.common import AsJson, Date, app, open_store, read_config, show_json


@app.command(epilog="Example: ledger audit")
def audit(
    date: Date = None,
    laws: Annotated[
        list[Path] | None, typer.Option("--laws", metavar="FOLDER", help="A further folder of laws, as .sql files.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Prove the laws: every frame accounted for, IDs in order, rows and files in agreement. Exit 1 if one is broken.

    With --date, only that night's files are compared with their rows; the laws always hold for all nights.
    """
    from ledger import audit as auditing
    from ledger.scan import parse_date

    config = read_config()
    checked, violations = [], []
    with open_store(config) as store:
        for law, found in auditing.check_laws(store, auditing.read_laws((auditing.AUDITS, *(laws or ())))):
            checked.append(law)
            violations += found
            if not as_json:
                typer.echo(f"{'ok  ' if not found else 'FAIL'}  {law.says}")
        on_disk = list(auditing.check_files(store, config, date=parse_date(date) if date else None))
        violations += on_disk
        explained = auditing.explained(store)
    if as_json:
        show_json(
            {
                "laws": [law.name for law in checked],
                "violations": [asdict(v) for v in violations],
                "explained": [asdict(found) for found in explained],
            }
        )
    else:
        typer.echo(f"{'ok  ' if not on_disk else 'FAIL'}  rows and files agree")
        for reason in explained:
            typer.echo(f"explained: {reason}")
        for violation in violations:
            typer.echo(f"  {violation.law}: {violation.what}; next: {violation.next_step}")
    raise typer.Exit(1 if violations else 0)

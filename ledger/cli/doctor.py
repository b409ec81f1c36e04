"""``ledger doctor``."""

from dataclasses import asdict

import typer

from ledger.cli.common import AsJson, app, read_config
from ledger.cli.nights import DatesOption, Folders, dates_named
from ledger.cli.output import show_json


@app.command(epilog="Example: ledger doctor --date 20260102")
def doctor(folder: Folders = None, date: DatesOption = None, *, as_json: AsJson = False) -> None:
    """Check what keeps the ledger from working, and what runs that died have left. Changes nothing.

    Exit status 1 says that something needs you; what the next run settles by itself is only noted.
    """
    from ledger.audit import doctor as doctors

    findings = []
    config = read_config()
    for finding in doctors.examine(config, dates=dates_named(config, folder, date)):
        findings.append(finding)
        if not as_json:
            typer.echo(f"{finding.verdict:<8} {finding.subject}: {finding.text}")
            if finding.remedy:
                typer.echo(f"{'':<8} -> {finding.remedy}")
    problems = sum(finding.verdict == "problem" for finding in findings)
    if as_json:
        show_json([asdict(finding) for finding in findings])
    else:
        notes = sum(finding.verdict == "note" for finding in findings)
        typer.echo(f"problems: {problems}, notes: {notes}")
    raise typer.Exit(1 if problems else 0)

"""``ledger audit``."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ledger.cli.common import AsJson, Jobs, app, open_store, read_config, watched
from ledger.cli.nights import DatesOption, Folders, dates_named
from ledger.cli.output import show_json
from ledger.errors import UsageError
from ledger.text import counted, printable

if TYPE_CHECKING:
    from ledger.audit.deep import Report


@app.command(epilog="Example: ledger audit --deep --date 20260102")
def audit(
    folder: Folders = None,
    date: DatesOption = None,
    laws: Annotated[
        list[Path] | None, typer.Option("--laws", metavar="FOLDER", help="A further folder of laws, as .sql files.")
    ] = None,
    jobs: Jobs = None,
    *,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read all files and copies again; compare every frame with raw.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Prove the laws: every frame accounted for, IDs in order, rows and files in agreement. Exit 1 if one is broken.

    If nights are named, only files of these are compared with their rows; the laws always hold for all nights. With
    --deep, files are read whole; a night that a run works on meanwhile is not judged, and the output says so.
    """
    from ledger.audit import laws as auditing
    from ledger.audit.deep import audit_deeply

    if jobs is not None and not deep:
        raise UsageError("--jobs is for --deep: expected both, or no --jobs")
    config = read_config(needs_nights=True)
    wanted = dates_named(config, folder, date)
    report: Report | None = None
    checked, violations = [], []
    with open_store(config) as store:
        store.prove()  # a damaged database proves nothing
        for law, found in auditing.check_laws(store, auditing.read_laws((auditing.AUDITS, *(laws or ())))):
            checked.append(law)
            violations += found
            if not as_json:
                typer.echo(f"{'ok  ' if not found else 'FAIL'}  {law.says}")
        if deep:
            with watched(config) as (reporter, stop):
                report = audit_deeply(store, config, dates=wanted, jobs=jobs, reporter=reporter, stop=stop)
        on_disk = report.violations if report else list(auditing.check_files(store, config, dates=wanted))
        violations += on_disk
        explained = [*auditing.explained(store), *(report.explained if report else ())]
    if as_json:
        facts = {
            "laws": [law.name for law in checked],
            "violations": [asdict(v) for v in violations],
            "explained": [asdict(found) for found in explained],
        }
        show_json(facts | ({"compared": {**report.counts, "seconds": report.seconds}} if report else {}))
    else:
        says = "rows and files agree" + (", byte by byte, and products with raw, frame by frame" if deep else "")
        typer.echo(f"{'ok  ' if not on_disk else 'FAIL'}  {says}")
        for reason in explained:
            typer.echo(printable(f"explained: {reason}"))
        for violation in violations:
            typer.echo(printable(f"  {violation.law}: {violation.what}; next: {violation.next_step}"))
        if report:
            typer.echo(_compared(report))
    raise typer.Exit(1 if violations else 0)


def _compared(report: "Report") -> str:
    n = report.counts
    what = ", ".join(counted(n[noun], noun.removesuffix("s")) for noun in ("nights", "products", "frames"))
    return f"compared: {what} and {n['bytes'] / 1e6:,.1f} MB in {report.seconds:.1f} s"

"""``ledger demo``."""

from pathlib import Path
from typing import Annotated

import typer

from ledger.cli.common import app
from ledger.errors import UsageError

DATE = "20260102"


@app.command(epilog="Example: ledger demo demo")
def demo(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder for everything.")] = Path("demo"),
    scale: Annotated[float, typer.Option("--scale", help="Size of the night, relative to the usual.")] = 1.0,
) -> None:
    """Simulate a night in a new folder and take it all the way; then say what to look at."""
    import os
    import shlex
    import shutil
    import subprocess
    import sys

    from ledger.config.read import packaged_config, read_config

    if folder.exists():
        raise UsageError(f"{str(folder)!r} exists: the demo wants a new folder; remove it, or name another")
    folder.mkdir(parents=True)
    config = folder / "config.yaml"
    shutil.copyfile(packaged_config(), config)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LEDGER_")}
    planned = read_config(config, environment)
    for name, pipeline in planned.pipelines.items():
        pipeline.root.mkdir(parents=True)
        planned.site(name).destination.mkdir(parents=True)
    root = folder / planned.pipelines[planned.main].root.name
    script = shutil.which("ledger") or ""
    is_on_path = Path(script).resolve() == Path(sys.argv[0]).resolve()
    program = sys.argv[0] if not sys.argv[0].endswith("__main__.py") else f"{sys.executable} -m ledger.cli"
    shown = f"{'ledger' if is_on_path else program} --config {shlex.quote(str(config))}"
    night = shlex.quote(str(root / DATE))

    def run(*arguments: str, is_shown: bool = True) -> None:
        if is_shown:
            typer.echo(f"\n$ {shown} {shlex.join(arguments)}")
        command = [sys.executable, "-m", "ledger.cli", "--config", str(config), *arguments]
        if subprocess.run(command, env=environment, check=False).returncode != 0:
            raise UsageError(f"the demo stopped: `{shown} {shlex.join(arguments)}` failed; what it printed says why")

    run("simulate", str(root), DATE, "--truth", str(folder / "truth.npz"), "--scale", str(scale))
    run("init")
    run("advance", "--date", DATE)
    run("status")
    run("audit")
    typer.echo(
        f"""
What to look at:
  ls {night}/vgen2
      the products, named by frame ID, and their timing
  cat {night}/manifest_VMP_{DATE}.csv
      what the archive is told
  {shown} summary --date {DATE}
      targets and frames minute by minute, and what is unexpected
  {shown} history VMPA00000001
      what happened to one product, and what it is made of
  {shown} sql "SELECT * FROM quarantine"
      what was put aside, and why
Undo (the folder is then as it was, byte for byte), and do it again (the same bytes, the same IDs):
  {shown} rollback {night}
  {shown} advance --date {DATE}"""  # noqa: S608  a command to copy, not a query built here
    )

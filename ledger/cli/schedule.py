"""``ledger schedule``."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ledger.cli.common import AsJson, app, config_file, read_config
from ledger.cli.output import show_json
from ledger.errors import UsageError

if TYPE_CHECKING:
    from ledger.cli._timers import Call


@app.command(epilog="Example: ledger schedule --install")
def schedule(
    *,
    minutes: Annotated[int, typer.Option("--every", metavar="MIN", help="Minutes between two calls.")] = 15,
    systemd: Annotated[bool, typer.Option("--systemd", help="A service and a timer, in place of cron.")] = False,
    install: Annotated[bool, typer.Option("--install", help="Set it up, in place of one of before.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Take it away again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what lets cron, or systemd, call `ledger catch-up` for this configuration; or set it up.

    Paths, and variables that change the configuration, are those of this call. As root, units are the system's, else
    the user's own. Nothing but this configuration's own entry is changed.
    """
    from ledger.cli import _timers
    from ledger.db.processes import user_name

    if install and remove:
        raise UsageError("--install and --remove: expected one of them")
    if minutes not in _timers.MINUTES:
        raise UsageError(f"--every {minutes}: expected one of {', '.join(map(str, _timers.MINUTES))}")
    read_config()  # what would fail each time is not set up
    call = _timers.call_of(config_file(), minutes, os.environ)
    if as_json:
        if install or remove:
            raise UsageError("--json shows what there would be: expected neither --install nor --remove")
        units = _timers.units(call, user_name() if os.geteuid() == 0 else None)
        show_json({"cron": _timers.crontab_lines(call), "systemd": units})
    elif systemd:
        _systemd(call, install=install, remove=remove)
    else:
        _cron(call, install=install, remove=remove)


def _cron(call: "Call", *, install: bool, remove: bool) -> None:
    from ledger.cli import _timers
    from ledger.db.processes import user_name

    if not (install or remove):
        typer.echo("\n".join(_timers.crontab_lines(call)))
        return
    before = _timers.read_crontab()
    wanted = _timers.with_entry(before, call) if install else _timers.without_entry(before, call)
    if wanted == before:
        typer.echo(f"the crontab of {user_name()} has {'it' if install else 'no such entry'} already")
        return
    _timers.write_crontab(wanted)
    what = f"calls catch-up every {call.minutes} min" if install else "does not call catch-up any more"
    typer.echo(f"the crontab of {user_name()} {what} for {call.config}")


def _systemd(call: "Call", *, install: bool, remove: bool) -> None:
    from ledger.cli import _timers
    from ledger.db.processes import user_name

    folder, timer = _timers.unit_folder(os.environ), f"{call.name}.timer"
    units = _timers.units(call, user_name() if os.geteuid() == 0 else None)
    if remove:
        there = [folder / name for name in units if (folder / name).exists()]
        if there:
            _timers.systemctl("disable", "--now", timer)
        for path in there:
            path.unlink()
        if there:
            _timers.systemctl("daemon-reload")
        typer.echo(f"{folder}: {'removed ' + ', '.join(path.name for path in there) if there else 'no such units'}")
    elif install:
        folder.mkdir(parents=True, exist_ok=True)
        before = {name: (folder / name).read_text() if (folder / name).exists() else None for name in units}
        _write_units(folder, units)
        try:
            _timers.systemctl("daemon-reload")
            _timers.systemctl("enable", "--now", timer)
        except UsageError:
            _write_units(folder, before)  # those of before go on
            raise
        typer.echo(f"{folder / timer}: calls catch-up every {call.minutes} min for {call.config}")
        if os.geteuid():
            typer.echo(f"it runs while you are logged in; for always: `loginctl enable-linger {user_name()}`")
    else:
        for name, text in units.items():
            typer.echo(f"# {folder / name}\n{text}")


def _write_units(folder: Path, units: Mapping[str, str | None]) -> None:
    """Write units, readable for their owner alone; remove those that are None."""
    for name, text in units.items():
        path = folder / name
        if text is None:
            path.unlink(missing_ok=True)
            continue
        path.touch(mode=0o600)
        path.chmod(0o600)
        path.write_text(text, encoding="utf-8")

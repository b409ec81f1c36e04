"""``ledger config``."""

import json
import os
from pathlib import Path

import typer

from ledger.cli.common import AsJson, app, chosen_config
from ledger.cli.output import is_terminal, show_json, show_table


@app.command(epilog="Example: ledger config")
def config(*, as_json: AsJson = False) -> None:
    """Show the configuration as it applies, and where each value comes from."""
    from ledger.config.read import why_config
    from ledger.config.sources import settings

    found = list(settings(chosen_config(), os.environ))
    if as_json:
        show_json({setting.key: {"value": setting.value, "from": setting.source} for setting in found})
        return
    typer.echo(f"configuration: {why_config(chosen_config(), os.environ)}", err=True)
    texts = [value if isinstance(value, str) else json.dumps(value) for _, value, _ in found]
    rows = [
        (setting.key, text, Path(setting.source).name if is_terminal() else setting.source)  # which file is said above
        for setting, text in zip(found, texts, strict=True)
    ]
    show_table(("key", "value", "from"), rows, below=("value",))

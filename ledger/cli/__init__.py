"""The command line: prints and asks, decides nothing. One file a command."""

import sys

from ledger.cli import (
    advance,
    audit,
    backup,
    catch_up,
    demo,
    doctor,
    exclude,
    explain,
    history,
    ids,
    init,
    quarantine,
    rollback,
    scan,
    simulate,
    sql,
    status,
    summary,
)
from ledger.cli.common import app
from ledger.errors import LedgerError

#: Exit status of a bug (DESIGN section 13).
BUG = 3

__all__ = [
    "advance",
    "audit",
    "backup",
    "catch_up",
    "demo",
    "doctor",
    "exclude",
    "explain",
    "history",
    "ids",
    "init",
    "main",
    "quarantine",
    "rollback",
    "scan",
    "simulate",
    "sql",
    "status",
    "summary",
]


def main() -> None:
    """Run the command line and exit with its status."""
    try:
        app()
    except LedgerError as exc:
        print(f"ledger: {exc}", file=sys.stderr)  # noqa: T201  the command line speaks here
        sys.exit(exc.exit_status)
    except BrokenPipeError:
        sys.stderr.close()  # the reader has left: nothing more to say
        sys.exit(0)
    except Exception:  # noqa: BLE001  the edge: whatever was not foreseen is a bug, and says so
        import traceback

        traceback.print_exc()
        print("ledger: this is a bug; nothing is lost, the same command goes on from here", file=sys.stderr)  # noqa: T201
        sys.exit(BUG)

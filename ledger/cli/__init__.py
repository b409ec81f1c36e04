"""Commands: parse, ask, print; one file a command.

For other rooms: nothing; `main` is the program.
"""

import atexit
import gc
import logging
import sys
import time
from collections.abc import Sequence

from ledger import log
from ledger.cli import (
    advance,
    audit,
    backup,
    catch_up,
    config,
    demo,
    doctor,
    exclude,
    explain,
    headers,
    history,
    ids,
    init,
    manifest,
    metrics,
    notify,
    outside,
    prune,
    quarantine,
    rebuild,
    recall,
    receipt,
    relocate,
    report,
    rollback,
    runs,
    scan,
    schedule,
    simulate,
    sql,
    status,
    streams,
    summary,
    verify,
    watch,
)
from ledger.cli.common import app, where_a_ledger_is
from ledger.errors import BUG, LedgerError, NoLedger, UsageError
from ledger.text import is_utf8, printable

_REFUSED = (
    "{!r}: {}; expected that whoever runs the ledger may read and write it; correct owner, mode or mount, and run the"
    " same command again"
)

#: The garbage collector's threshold. Nearly all objects that a command makes stay to its end, and a collection after
#: every 700 new ones, which is the default, takes a fifth of its time.
OBJECTS = 50_000

__all__ = [
    "advance",
    "audit",
    "backup",
    "catch_up",
    "config",
    "demo",
    "doctor",
    "exclude",
    "explain",
    "headers",
    "history",
    "ids",
    "init",
    "main",
    "manifest",
    "metrics",
    "notify",
    "outside",
    "prune",
    "quarantine",
    "rebuild",
    "recall",
    "receipt",
    "relocate",
    "report",
    "rollback",
    "runs",
    "scan",
    "schedule",
    "simulate",
    "sql",
    "status",
    "summary",
    "verify",
    "watch",
]


def _refuse_bytes(arguments: Sequence[str]) -> None:
    """Refuse what is not UTF-8: neither the database nor the configuration takes it."""
    for argument in arguments:
        if not is_utf8(argument):
            raise UsageError(
                f"argument '{printable(argument)}': not UTF-8; expected text; rename the file, or name its night"
            )


def _shown(exc: LedgerError) -> str:
    """Return an error in lines that any terminal takes, whatever is in the names that it has."""
    return "\n".join(map(printable, str(exc).split("\n")))


def main() -> None:
    """Run the command line and exit with its status: that of what was done, or 1 if it could not be said."""
    begin_s = time.monotonic()
    output, errors = streams.secure()
    if gc.get_threshold()[0] < OBJECTS:
        gc.set_threshold(OBJECTS)
        atexit.register(gc.freeze)  # what is there at the end goes with the process, uncollected
    status = _run()
    sys.stdout.flush()
    if output is not None and output.fault:
        _complain(f"standard output: {output.fault}; the work is done, but not all of its output was written")
        status = status or LedgerError.exit_status
    sys.stderr.flush()
    for line in (line for stream in (output, errors) if stream is not None for line in stream.lost):
        log.write(line, event="not_printed")
    log.write(f"end with {status} after {time.monotonic() - begin_s:.1f} s", event="end", status=status)
    log.close_log()
    sys.exit(status)


def _complain(text: str) -> None:
    print(f"ledger: {text}", file=sys.stderr)  # noqa: T201  the command line speaks here
    log.write(text, level=logging.ERROR, event="error")


def _run() -> int:
    """Run the command line and return its exit status."""
    try:
        _refuse_bytes(sys.argv[1:])
        app()
    except SystemExit as exc:  # so the command line's library ends, always
        return exc.code if isinstance(exc.code, int) else int(exc.code is not None)
    except NoLedger as exc:
        _complain(f"{_shown(exc)}; {where_a_ledger_is()}")
        return exc.exit_status
    except LedgerError as exc:
        _complain(_shown(exc))
        return exc.exit_status
    except PermissionError as exc:  # the message has to name the file
        _complain(printable(_REFUSED.format(exc.filename, exc.strerror)))
        return LedgerError.exit_status
    except Exception:  # noqa: BLE001  the edge: whatever was not foreseen is a bug, and says so
        import traceback

        traceback.print_exc()
        _complain("this is a bug; nothing is lost, the same command goes on from here")
        return BUG
    return 0

"""Errors, named by what the caller does about them; each knows the exit status of the command.

::

    LedgerError                    1   something failed
    ├── UsageError                 2   the command or what it names is wrong: correct it
    │   ├── ConfigError            2   the configuration is wrong: all faults at once
    │   └── Unconfirmed            2   it cannot be taken back: say that it is meant
    ├── StateError                 1   no declared edge allows it
    ├── Damaged                    1   the database: restore it
    ├── NotReady                   1   it will be possible later: the message says when
    │   ├── NotNow                 1   nothing is wrong: it is not the time of day
    │   └── Unreachable            1   a disk or host is not there: see to it
    ├── CannotUndo                 1   it cannot be undone without harm: leave it
    ├── Interrupted          128 + n   stopped by signal n, in order; the same command goes on
    └── Busy                      75   somebody else is at it (EX_TEMPFAIL of sysexits.h)

Those of stages are another tree (:mod:`stages.base`); :func:`translated` translates the errors of a called stage.
A message says what, where, what was found, what was expected, and what to do next.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from stages import base

#: Exit status of a bug: any other exception.
BUG = 3


class LedgerError(Exception):
    """Base of all errors that the ledger raises on purpose."""

    exit_status = 1


class UsageError(LedgerError):
    """The command, or a thing that it names, is wrong."""

    exit_status = 2


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a configuration.

    Attributes
    ----------
    path : str
        Where, as keys joined by dots.
    message : str
        What is wrong.
    hint : str
        What to do; may be empty.
    """

    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        """Return the fault in one line."""
        text = f"{self.path}: {self.message}" + (f" ({self.hint})" if self.hint else "")
        return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class ConfigError(UsageError):
    """The configuration has faults.

    Parameters
    ----------
    source : str
        Where the configuration came from.
    faults : sequence of Fault
        All of them.
    """

    def __init__(self, source: str, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        lines = "".join(f"\n  {fault}" for fault in self.faults)
        count = f"{len(self.faults)} fault" + ("s" if len(self.faults) != 1 else "")
        super().__init__(f"configuration {source}: {count}{lines}")


class NoLedger(UsageError):
    """There is no ledger's database where the configuration says that it is.

    Parameters
    ----------
    what : str
        What was found instead.
    next_step : str
        What to do; `ledger.db.absent.advised` says it where a ledger was.
    """

    def __init__(self, what: str, next_step: str = "run `ledger init` first") -> None:
        self.what = what
        super().__init__(f"{what}: {next_step}")


class Unconfirmed(UsageError):
    """What is asked for cannot be taken back, and nobody has said that it is meant."""


class StateError(LedgerError):
    """No declared edge leads there from here."""


class Damaged(LedgerError):
    """The database is not as it was written.

    Parameters
    ----------
    shown : str
        Its URL, without its password.
    reason : str
        What it shows by.
    """

    def __init__(self, shown: str, reason: str) -> None:
        found = " ".join(reason.split()).removeprefix("*** in database main *** ")  # SQLite's is of several lines
        other = "; if it never was a ledger's, correct database.url" if "not a database" in found else ""
        super().__init__(
            f"database {shown} is damaged: {found}; move it away, and `ledger backup --restore FILE` the newest one of"
            " `ledger backup --list`"
            f"{other}"
        )


class NotReady(LedgerError):
    """Something else has to happen first."""


class NotNow(NotReady):
    """Nothing is wrong: it is not the time of day."""


class Unreachable(NotReady):
    """A disk or host that is needed is not there, or cannot be read."""


class CannotUndo(LedgerError):
    """Undoing would destroy what is not ours or cannot be made again."""


class Busy(LedgerError):
    """Another run holds the night."""

    exit_status = 75


class Interrupted(LedgerError):
    """A signal asked to stop; the file in hand was finished.

    Parameters
    ----------
    signal_number : int
        Which.
    message : str
        What that means for the command.
    """

    def __init__(
        self, signal_number: int, message: str = "stopped in order; the same command goes on from here"
    ) -> None:
        super().__init__(message)
        self.exit_status = 128 + signal_number


@contextmanager
def translated() -> Iterator[None]:
    """Translate the errors of a stage into the ledger's own.

    Raises
    ------
    UsageError
        For `stages.base.BadInput`: the stage's input is wrong.
    NotReady
        For `stages.base.Retry`.
    CannotUndo
        For `stages.base.Irreversible`.
    """
    try:
        yield
    except base.BadInput as exc:
        raise UsageError(str(exc)) from exc
    except base.Retry as exc:
        raise NotReady(str(exc)) from exc
    except base.Irreversible as exc:
        raise CannotUndo(str(exc)) from exc

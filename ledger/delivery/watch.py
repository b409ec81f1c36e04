"""What a catch-up, which nobody looks at, leaves for people: its row, alerts of what is wrong, and the heartbeat."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self

from ledger import log
from ledger.clock import now_us
from ledger.config.model import Config
from ledger.db.store import Store
from ledger.delivery import notify
from ledger.delivery.heartbeat import beat
from ledger.delivery.notify import Trouble
from ledger.errors import BUG, LedgerError, NotReady
from ledger.query.standing import standing_still
from ledger.query.unattended import BUSY, IN_ORDER
from ledger.run import catch_up
from ledger.run.machine import Machine
from ledger.text import joined, printable


class Watch:
    """A catch-up from its beginning to its end, whatever the end is; a context manager.

    Parameters
    ----------
    config : Config
        Who is told.
    say : callable
        Tells whoever reads standard error.

    Attributes
    ----------
    status : int
        Exit status.
    troubles : list of Trouble
        What else an alert tells of.
    """

    def __init__(self, config: Config, say: Callable[[str], None]) -> None:
        self._config = config
        self._say_printable = say
        self._is_told = False
        self.status = IN_ORDER
        self.troubles: list[Trouble] = []

    def __enter__(self) -> Self:
        return self

    def _say(self, text: str) -> None:
        self._say_printable(printable(text))

    def begin(self) -> None:
        """Send the heartbeat of the start."""
        beat(self._config, "start", self._say)

    @contextmanager
    def working(self, machine: Machine) -> Iterator[None]:
        """Record a catch-up as a run, and send an alert of what went wrong in it, and of what stands still."""
        store = machine.store
        run_id = catch_up.begin(store)
        found: list[Trouble] = []
        try:
            try:
                yield
                found = self._standing(machine)
            except BaseException as exc:
                self.status = _status_of(exc)
                self._tell(store, [*notify.troubles(machine.results), *self.troubles, *self._broken(exc)])
                raise
            found += [*self.troubles, *notify.troubles(machine.results)]  # of what both say, a run has the better words
            is_told = any(trouble.kind in self._config.notify.kinds for trouble in found)
            self._tell(store, [*found, *([] if is_told else self._broken(None))])
        finally:
            with suppress(LedgerError):  # of a database that is not there any more, the reason is told already
                store.end_run(run_id, self.status, in_order=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.status = _status_of(error)
            self._tell(None, list(self._broken(error)))
        beat(self._config, "success" if self.status in (IN_ORDER, BUSY) else "failure", self._say)

    def _standing(self, machine: Machine) -> list[Trouble]:
        """Return what stands still; a root that has lost its nights is an error."""
        found = standing_still(self._config, machine.pipelines, machine.store.clock())
        for still in found:
            if still.is_of_root:
                self.status = self.status or LedgerError.exit_status
                self._say(f"ledger: {still.where}: {still.text}; {still.remedy}")
                log.write(f"{still.where}: {still.text}; {still.remedy}", level=logging.ERROR, event=still.why)
        return list(notify.standing(found))

    def _broken(self, error: BaseException | None) -> Iterator[Trouble]:
        """Yield that it ended otherwise than in order, and why."""
        if self.status not in (IN_ORDER, BUSY):
            why = f"see {self._config.log}" if error is None else joined(str(error)) or type(error).__name__
            yield Trouble("broken", "catch-up", "", f"ended with {self.status}: {why}")

    def _tell(self, store: Store | None, found: list[Trouble]) -> None:
        """Send an alert, once; what is on record in the database is in a file where there is none."""
        notifying = self._config.notify
        if self._is_told or not (notifying.command or notifying.recipients):
            return
        self._is_told = True
        try:
            try:
                if store is not None:
                    notify.notify(store, self._config, found)
                    return
            except NotReady:
                raise
            except LedgerError:  # of the database, which may be what is broken
                pass
            notify.notify_without_database(self._config, found, now_us())
        except NotReady as exc:
            self._say(f"ledger: {exc}")
            log.write(str(exc), level=logging.ERROR, event="alert_failed")


def _status_of(error: BaseException) -> int:
    """Return the exit status of a command that ends with an error."""
    if isinstance(error, LedgerError):
        return error.exit_status
    return LedgerError.exit_status if isinstance(error, PermissionError) else BUG

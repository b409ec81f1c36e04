"""One run a night: a lease with a heartbeat, and a fence that is checked at every commit."""

import logging
import os
import signal
import socket
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from sqlalchemy import select, update
from sqlmodel import Session, col

from ledger.clock import show_us
from ledger.db.models import Lease as LeaseRow
from ledger.db.models import Night, Run
from ledger.db.processes import is_gone
from ledger.db.store import Store, insert_if_new
from ledger.errors import Busy

#: Seconds between heartbeats, and how old the last may be before others take over (docs/design.md, Journal, runs,
#: leases, settling).
HEARTBEAT_S = 5.0
EXPIRY_S = 30.0

#: Exit status on record for runs that ended without saying so.
DIED = -1


class Lease:
    """The hold of one run on one night; a context manager.

    Parameters
    ----------
    store : Store
        The database.
    night : Night
        What is held.
    run_id : int
        Who holds it.

    Raises
    ------
    Busy
        On entering, if another living run holds the night.
    """

    def __init__(self, store: Store, night: Night, run_id: int) -> None:
        self.store = store
        self.night_id = int(night.id or 0)
        self.date = night.date
        self.run_id = run_id
        self.fence = 0
        self._is_stopped = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"lease {night.date}", daemon=True)

    def __enter__(self) -> Self:
        with self.store.write() as session:
            self._take(session)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        with self.store.write() as session:
            self._update(session, run_id=None, heartbeat_us=None)

    def _update(self, session: Session, **columns: int | None) -> None:
        mine = (col(LeaseRow.night_id) == self.night_id, col(LeaseRow.fence) == self.fence)
        session.execute(update(LeaseRow).where(*mine).values(**columns))

    def _take(self, session: Session) -> None:
        now = self.store.common_us(session)
        insert_if_new(session, LeaseRow, {"night_id": self.night_id, "fence": 0})
        row = session.execute(
            select(LeaseRow).where(col(LeaseRow.night_id) == self.night_id).with_for_update()
        ).scalar_one()
        _refuse_held(session, row, self.date, now)
        row.run_id = self.run_id
        row.fence += 1
        row.acquired_us = row.heartbeat_us = now
        session.flush()
        self.fence = row.fence

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            try:
                with self.store.write() as session:
                    self._update(session, heartbeat_us=self.store.common_us(session))
                    is_asked = self.store.is_asked_to_stop(session)
                if is_asked and not self._is_stopped:
                    self._is_stopped = True
                    os.kill(os.getpid(), signal.SIGTERM)  # it ends in order, as if somebody had sent that
            except Exception as exc:  # noqa: BLE001  the next commit finds out whether the lease still holds
                logging.getLogger("ledger.run").warning("night %s: no heartbeat (%s)", self.date, exc)

    def confirm(self) -> None:
        """Refuse to go on if another run has taken over. Call before files get their final names.

        Raises
        ------
        Busy
            If the lease was lost.
        """
        with self.store.read() as session:
            fence = session.execute(
                select(col(LeaseRow.fence)).where(col(LeaseRow.night_id) == self.night_id)
            ).scalar_one()
        self._refuse_lost(int(fence))

    def check(self, session: Session) -> None:
        """Refuse to commit if another run has taken over. Call inside the transaction that commits.

        Raises
        ------
        Busy
            If the lease was lost.
        """
        row = session.execute(
            select(LeaseRow).where(col(LeaseRow.night_id) == self.night_id).with_for_update()
        ).scalar_one()
        self._refuse_lost(row.fence)
        # While a long transaction lasts, the heartbeat's own must wait.
        row.heartbeat_us = self.store.common_us(session)

    def _refuse_lost(self, fence: int) -> None:
        if fence != self.fence:
            raise Busy(
                f"night {self.date}: another run has taken over while this one was suspended; nothing was written"
            )


def living_holder(session: Session, lease: LeaseRow, now_us: int) -> Run | None:
    """Return the run that holds a night, unless it is known to be gone or silent for too long; None if none does.

    If a clock went back, its last heartbeat is of the future and says nothing: then it must be seen to live.
    """
    silent_us = now_us - int(lease.heartbeat_us or 0)
    if lease.run_id is None or silent_us > EXPIRY_S * 1e6:
        return None
    run = session.get(Run, lease.run_id)
    if run is None or is_dead(run) or (silent_us < -EXPIRY_S * 1e6 and run.host != socket.gethostname()):
        return None
    return run


def refuse_held(session: Session, night: Night, now_us: int) -> None:
    """Refuse to change a night that a living run holds.

    Raises
    ------
    Busy
        With who holds it, and since when.
    """
    row = session.execute(select(LeaseRow).where(col(LeaseRow.night_id) == night.id).with_for_update())
    if lease := row.scalar_one_or_none():
        _refuse_held(session, lease, night.date, now_us)


def _refuse_held(session: Session, lease: LeaseRow, date: str, now_us: int) -> None:
    if holder := living_holder(session, lease, now_us):
        raise Busy(
            f"night {date} is held by run {holder.id} (`ledger {holder.command}`, process {holder.pid} on"
            f" {holder.host}) since {show_us(lease.acquired_us)} UT; expected it to be free; try again later"
        )


@dataclass(frozen=True, slots=True)
class Hold:
    """Who works on a night: the fence of its lease, and the living run that holds it."""

    fence: int = 0
    run_id: int | None = None


def read_hold(session: Session, night: Night, now_us: int) -> Hold:
    """Return who works on a night."""
    lease = session.get(LeaseRow, night.id)
    if lease is None:
        return Hold()
    holder = living_holder(session, lease, now_us)
    return Hold(lease.fence, holder.id if holder else None)


def why_unsettled(before: Hold, now: Hold) -> str | None:
    """Return why a night may have changed while it was looked at, from `before` until `now`; None if it did not.

    A run changes files and rows one after the other, so a look meanwhile may find them at odds.
    """
    if now.run_id is not None:
        return f"run {now.run_id} works on it"
    return None if now == before else "a run worked on it meanwhile"


def is_dead(run: Run) -> bool:
    """Whether `run` has ended, or its process is known to be gone."""
    return run.ended_us is not None or is_gone(run.host, run.boot, run.pid)

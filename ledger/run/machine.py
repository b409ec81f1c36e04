"""The machine: the commands that take a night forward and back."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from ledger.disk.nights import NightFolder
from ledger.ids import gate
from ledger.report import Result
from ledger.run import pairing, registration
from ledger.run.advance import Goal, advance_night, check_advance, target_of
from ledger.run.context import Context
from ledger.run.hold import hold_night
from ledger.run.rollback import check_rollback, roll_back_night
from ledger.run.steps import Steps


class Machine(Context):
    """An open ledger that moves nights. Parameters are those of `Context`."""

    def scan(self, folder: NightFolder) -> Result:
        """Register the night's raw files; put in quarantine those that cannot be used.

        Raises
        ------
        NotReady
            If the night is before the first one.
        """
        with self.store.read() as session:
            gate.refuse_before_first(session, self.config, self.pipelines[folder.pipeline], folder)
        with self.holding(folder, "scan", {}) as (steps, result):
            registration.register(steps, is_all=not registration.report_outside(steps).blocks)
        return result

    def advance(
        self,
        folder: NightFolder,
        *,
        to: str | None = None,
        final: bool = False,
        late_reason: str | None = None,
        anew: bool = False,
        is_patient: bool = False,
    ) -> Result:
        """Take a night forward.

        Parameters
        ----------
        folder : NightFolder
            The night.
        to : str, optional
            The state to reach; the last that is this host's part by default.
        final, late_reason, anew, is_patient
            See :class:`ledger.run.advance.Goal`.

        Returns
        -------
        Result
            What was done, what failed, and why it stopped if it did.

        Raises
        ------
        UsageError, Busy, Interrupted
            Before anything is changed, or (interrupted) between two files.
        """
        goal = Goal(target_of(self, folder, to), final, late_reason, anew, is_patient)
        check_advance(self, folder, goal.target)
        if anew:
            pairing.refuse_products(self, folder)
        arguments = {"to": goal.target, "final": final, "late_reason": late_reason, "anew": anew}
        with self.holding(folder, "catch-up" if is_patient else "advance", arguments) as (steps, result):
            advance_night(steps, goal)
        return result

    def rollback(self, folder: NightFolder, *, to: str = "raw", withdraws: bool = False) -> Result:
        """Take a night back to an earlier state; ``raw`` leaves its folder as it was.

        Parameters
        ----------
        folder : NightFolder
            The night.
        to : str
            The state.
        withdraws : bool
            Take it back although its manifest was mailed, and write what has to be told to whom.

        Raises
        ------
        UsageError, Busy, Interrupted
            Before anything is changed, or (interrupted) between two files.
        """
        target = check_rollback(self, folder, to, withdraws=withdraws)
        with self.holding(folder, "rollback", {"to": target}) as (steps, result):
            roll_back_night(steps, target, withdraws=withdraws)
        return result

    def holding(
        self, folder: NightFolder, command: str, arguments: Mapping[str, Any]
    ) -> AbstractContextManager[tuple[Steps, Result]]:
        """Hold a night for one run of a command; see :func:`ledger.run.hold.hold_night`."""
        return hold_night(self, folder, command, arguments)

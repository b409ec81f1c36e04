"""What is known of each copy, on the way to a result for each group of copies."""

from collections.abc import Sequence

from stages.base import BadInput, StageError, Stopped
from stages.transport import proof
from stages.transport.base import Copy, Group, Proven
from stages.transport.proof import Digest


class Results:
    """What is known of each copy of some groups.

    Attributes
    ----------
    copies : list of Copy
        All of them.
    found : dict of Copy to Digest
        What was read where they are to be.
    arrived : dict of Copy to Digest
        What came there and was not right.
    """

    def __init__(self, groups: Sequence[Group]) -> None:
        self._groups = groups
        self.copies = [copy for group in groups for copy in group]
        self.found: dict[Copy, Digest] = {}
        self.arrived: dict[Copy, Digest] = {}
        self._failures: dict[int, StageError] = {}
        self._group_of = {copy: n for n, group in enumerate(groups) for copy in group}

    def fail(self, copy: Copy, error: StageError) -> None:
        """Mark the group of a copy as failed; its first error counts."""
        self._failures.setdefault(self._group_of[copy], error)

    def leave(self) -> None:
        """Mark what is missing as left, because a stop is asked for."""
        for copy in self.missing():
            self.fail(copy, Stopped(f"{str(copy.source)!r}: left, as somebody asked to stop; the same command goes on"))

    def source(self, copy: Copy) -> Digest | None:
        """Return the digest of a file here; None if it cannot be read, which is its group's failure."""
        try:
            return proof.source_digest(copy.source)
        except BadInput as exc:
            self.fail(copy, exc)
            return None

    def expected(self, copy: Copy) -> str | None:
        """Return what a copy must hash to: what is on record, else what its source has."""
        if copy.sha256 is not None:
            return copy.sha256
        here = self.source(copy)
        return None if here is None else here.sha256

    def is_failed(self, copy: Copy) -> bool:
        """Whether its group has failed."""
        return self._group_of[copy] in self._failures

    def missing(self) -> list[Copy]:
        """Return the copies without a result yet, in groups that have not failed."""
        return [copy for copy in self.copies if copy not in self.found and not self.is_failed(copy)]

    def of_groups(self) -> list[Proven | StageError]:
        """Return a result for each group."""
        return [
            self._failures.get(n) or tuple(self.found[copy] for copy in group if copy in self.found)
            for n, group in enumerate(self._groups)
        ]

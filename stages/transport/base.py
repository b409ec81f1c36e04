"""How files get to a destination and are proven there: what a way to do it offers.

`stages.transport.local` is one, for a folder that is mounted here; `stages.transport.remote` another, by ssh and rsync;
`stages.transport.pull` is for a folder here and products that are on another host. All keep the same promises: a name
appears at the destination once the bytes behind it were read there and proven, and nothing is replaced or removed that
is not provably the ledger's.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol

from stages.base import StageError
from stages.transport.proof import Digest


class Copy(NamedTuple):
    """A file, its name at the destination, and what its bytes must hash to (hex) if that is on record."""

    source: Path
    final: Path
    sha256: str | None = None


#: Copies of one product: they stand or fall together, the cube is the first.
Group = Sequence[Copy]
Proven = tuple[Digest, ...]


class Transport(AbstractContextManager["Transport"], Protocol):
    """A way to a destination.

    Groups are worked on one by one: the result has a place for each, with the error where it is its own.

    Attributes
    ----------
    host : str
        For the evidence; empty: this machine.
    tool : str
        What computes hashes there.

    Raises
    ------
    BadInput
        On entry, if there is no destination, or it is the night itself; its base is never made, for it may be an
        unmounted disk.
    Retry
        Whatever fails at the destination as a whole.
    """

    host: str
    tool: str

    def put(self, groups: Sequence[Group], replaceable: Sequence[bool]) -> list[Proven | StageError]:
        """Bring files there and prove them; `replaceable`: whether what lies there of a group may be replaced."""

    def ignore_stop(self) -> None:
        """Finish what is asked for from now on, even if a stop is asked for: it is little, and belongs to the rest."""

    def prove(self, groups: Sequence[Group]) -> list[Proven | StageError]:
        """Prove copies as they lie; one without a hash is compared with its source, if that is there."""

    def withdraw(self, groups: Sequence[Group]) -> list[str | StageError | None]:
        """Remove copies that are provably ours, all of a group or none; a text says what of it could not be removed.

        Nothing is raised: what is gone must be told.
        """

    def fetch(self, groups: Sequence[Group], folder: Path) -> list[list[Path] | StageError]:
        """Bring copies back into a folder here, as temporaries, and prove them; each must have a hash on record."""

    def sizes(self, paths: Sequence[Path]) -> list[int | None]:
        """Return the sizes of files there, in bytes; None for what is no file."""

    def source_sizes(self, paths: Sequence[Path]) -> list[int | None]:
        """Return the sizes of files of the night, as they are to be copied, in bytes; None for what is no file."""

    def names(self, folder: Path) -> set[str]:
        """Return the names in a folder there; none if it is not there."""

    def remove(self, paths: Sequence[Path]) -> None:
        """Remove files of the ledger's own; missing is fine."""

    def make_folders(self, folders: Sequence[Path]) -> None:
        """Make folders durably, parents first, where they are not there yet."""

    def sync_folder(self, folder: Path) -> None:
        """Make the names in a folder durable."""

    def remove_if_empty(self, folders: Sequence[Path]) -> None:
        """Remove folders in which there is nothing."""

    def free_bytes(self) -> int:
        """Return how much room there is."""

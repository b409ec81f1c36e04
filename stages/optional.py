"""What a stage may offer beside ``forward`` and ``reverse``: protocols that its module fulfils by having the names.

The configuration resolves them once (`ledger.config.stages.LoadedStage`). A module that has a part of a protocol, a
function that cannot be called as declared here, or a name that is nearly one of these is refused with a hint.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Protocol, runtime_checkable

from stages.base import Job, Level, Manifest, ManifestLine, Outcome


@runtime_checkable
class Parametrised(Protocol):
    """Takes parameters.

    Attributes
    ----------
    Parameters : type
        A dataclass: the state's ``parameters`` in the configuration are checked against its fields and types, and an
        instance is passed as `params`. Without it, `params` is None.
    """

    Parameters: type


@runtime_checkable
class Suffixed(Protocol):
    """Adds files beside a product's stem.

    Attributes
    ----------
    SUFFIXES : tuple of str
        Their endings (``(".png",)``): what a run that died left is known by them, and removed.
    """

    SUFFIXES: tuple[str, ...]


@runtime_checkable
class Levelled(Protocol):
    """Leaves products with a header of a level of its own.

    Attributes
    ----------
    LEVEL : {"consolidated", "fixed", "identified"}
        Which: a product's state is known by its cube, should the database be lost.
    """

    LEVEL: Level


@runtime_checkable
class HeaderOnly(Protocol):
    """Tells whether it only rewrites headers.

    Attributes
    ----------
    HEADER_ONLY : bool
        True if its outcomes have rewrites and renames alone: they are repeated to repair a header that a kill tore.
    """

    HEADER_ONLY: bool


@runtime_checkable
class NightWriter(Protocol):
    """Writes files of the night as a whole."""

    def night_files(self, *, job: Job, params: Any) -> dict[str, bytes]:
        """Return them, by path relative to the night's folder.

        They exist while any product is at or beyond the state, or on its way there.
        """


@dataclass(frozen=True, slots=True)
class NightCheck:
    """What a look at a night at the destination found.

    Attributes
    ----------
    damaged : mapping of str to str
        Files of the night beside its products that are not as they are here, by path from its folder: why.
    extra : tuple of str
        Paths of what is there and was not sent.
    """

    damaged: Mapping[str, str]
    extra: tuple[str, ...]


@runtime_checkable
class Sender(Protocol):
    """Sends products to the destination, proves what lies there, and brings it back (:mod:`stages.transferred`)."""

    def verify_copies(self, *, job: Job, params: Any) -> Outcome:
        """Return fresh evidence of the products' copies at the destination, and the failures; write nothing."""

    def verify_night(self, *, job: Job, params: Any) -> NightCheck:
        """Check what the night has at the destination beside its products."""

    def repair(self, *, job: Job, params: Any) -> Outcome:
        """Copy again what is not proven: the job's products, or (without any) the night's own files."""

    def recall(self, *, job: Job, params: Any) -> Outcome:
        """Bring the files of the job's products back from the destination."""


@runtime_checkable
class HeaderSender(Protocol):
    """Sends archives of raw headers; without it, no raw file of a night is removed."""

    def send_raw_headers(self, *, job: Job, params: Any) -> Outcome:
        """Bring ``job.raw_headers`` to the destination; return evidence of each, read there, its name as identity."""


@runtime_checkable
class NightOwner(Protocol):
    """Names files that the ledger writes for the night as a whole."""

    def own_files(self, *, job: Job) -> tuple[PurePath, ...]:
        """Return them, relative to the night's folder; a host that fetches the night brings them first."""


@runtime_checkable
class Lister(Protocol):
    """Lists products in a manifest (:mod:`stages.manifested`)."""

    def manifest_lines(self, *, job: Job, params: Any) -> tuple[ManifestLine, ...]:
        """Return the job's products as a manifest lists them."""

    def read_manifests(self, *, job: Job, params: Any) -> tuple[Manifest, ...]:
        """Return the manifests of the job's products that stand in the night's folder, oldest first."""


#: All protocols of this module.
OPTIONAL: tuple[type, ...] = (
    Parametrised,
    Suffixed,
    Levelled,
    HeaderOnly,
    NightWriter,
    NightOwner,
    Sender,
    HeaderSender,
    Lister,
)

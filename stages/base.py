"""What a stage is: the job it gets, the outcome it gives back, and the errors it may raise.

A stage is a module with two functions, ``forward`` and ``reverse``, and (if it takes parameters) a
frozen dataclass ``Parameters``.  A stage reads what its :class:`Job` names, writes temporaries only,
and describes what should happen in an :class:`Outcome`.  It never renames, replaces or removes a
file that has a final name, and it knows no database: the machine does both, in one durable order.

Errors, named by what the caller does about them::

    StageError
    ├── BadInput      the input is wrong and stays wrong: quarantine, do not try again
    ├── Retry         it may pass (busy, connection lost, disk full): try again later
    └── Irreversible  it cannot be undone without harm: stop and say so
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from stages.instrument import Cards, Forms, Instrument, Stream, Times
from stages.product import Part, Product, Raw, Run, frames_of

#: What a state of one's own may import from here, wherever it is defined (docs/add-a-state.md).
__all__ = [
    "TEMPORARY_PREFIX",
    "BadInput",
    "Cards",
    "Evidence",
    "Fact",
    "Forms",
    "Host",
    "Instrument",
    "Irreversible",
    "Job",
    "Level",
    "Manifest",
    "ManifestLine",
    "Outcome",
    "Part",
    "Product",
    "Raw",
    "Rename",
    "Retry",
    "Rewrite",
    "Run",
    "Source",
    "Stage",
    "StageError",
    "StageFunction",
    "Stopped",
    "Stream",
    "Times",
    "frames_of",
    "nothing",
    "remove_outputs",
]

#: Temporaries are recognised by this prefix; nothing else in a product folder may start with it.
TEMPORARY_PREFIX = ".ledger-"

#: How much of its header a product shows: one level for each of the states that write headers.
Level = Literal["consolidated", "fixed", "identified"]

#: Facts are what a database column can hold.
Fact = str | int | float | bool | None | list[str]


class StageError(Exception):
    """Base of all errors that a stage raises on purpose."""


class BadInput(StageError):
    """The input is wrong and trying again would not help.

    The message says what, where, what was found, what was expected, and what to do.
    """


class Retry(StageError):
    """The attempt failed for a reason that may pass."""


class Stopped(Retry):
    """A stop was asked for before this was done; nothing is wrong with it."""


class Irreversible(StageError):
    """Undoing would destroy something that is not ours or not recoverable."""


@dataclass(frozen=True, slots=True)
class Host:
    """Another machine, as ssh reaches it.

    Attributes
    ----------
    name : str
        Host name, address, or an alias of the user's ssh configuration.
    user : str
        Who logs in; empty: as ssh decides.
    port : int or None
        None: as ssh decides.
    identity_file : Path or None
        Private key; None: as ssh decides.
    known_hosts : Path or None
        Keys that hosts must have; None: the user's and the system's.
    options : tuple of str
        Further arguments of ssh.
    limit_kib_s : int or None
        Bandwidth that rsync may use, KiB/s.
    """

    name: str
    user: str = ""
    port: int | None = None
    identity_file: Path | None = None
    known_hosts: Path | None = None
    options: tuple[str, ...] = ()
    limit_kib_s: int | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Where a night is that is fetched from another host.

    Attributes
    ----------
    host : Host
        The other one.
    night : Path
        The night's folder there.
    name_here : str
        What the other one calls this host, for the evidence.
    confirm : callable
        Raises if the night is another run's by now; called before anything is changed there.
    """

    host: Host
    night: Path
    name_here: str
    confirm: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Job:
    """What one call of a stage works on.

    Attributes
    ----------
    night : Path
        The night's folder, ``<root>/<date>``.
    date : str
        ``YYYYMMDD``.
    folder : Path
        The product folder; temporaries go there too.
    instrument : Instrument
        Whose night it is.
    products : tuple of Product
        One for a stage of scope ``file``; the batch or the night's otherwise, in ID order (or order
        of time before there are IDs).
    raws : tuple of Raw
        Only for the stage that makes products: the raw files to make them of.
    taken_names : frozenset of str
        Names of products that the night already has and keeps.
    manifests : tuple of str
        Names of the night's manifests that stand, in the order in which they were made.
    serial : int
        How many they are; one more where a run that died may have made the next.
    raw_headers : tuple of str
        Names of the archives of raw headers that the night has, here and at the destination.
    placed : frozenset of str
        Identities of products that the ledger has put at the destination before: what lies there
        under their names is its own to replace.
    destination : Path or None
        The night's folder at the destination, ``<destination>/<date>``.
    other_destinations : tuple of Path
        The night's folder at further destinations, which its manifests may name: copies are moved, manifests stay.
    host : Host or None
        Where that is; None: here.
    source : Source or None
        Where the products are; None: in `folder`, as ever. If they are on another host, `night` and `folder` hold the
        night's own files only, for as long as they are worked with.
    is_stopped : callable or None
        Returns whether a stop is asked for; for what waits long in the ledger's own process.
    brings_night : bool
        Whether what the night has beside its products is to be sent with these: once a run is enough.
    carried : callable or None
        Called with the bytes that arrived at the destination, from any thread; for progress.
    """

    night: Path
    date: str
    folder: Path
    instrument: Instrument
    products: tuple[Product, ...] = ()
    raws: tuple[Raw, ...] = ()
    taken_names: frozenset[str] = frozenset()
    manifests: tuple[str, ...] = ()
    serial: int = 0
    raw_headers: tuple[str, ...] = ()
    placed: frozenset[str] = frozenset()
    destination: Path | None = None
    other_destinations: tuple[Path, ...] = ()
    host: Host | None = None
    source: Source | None = None
    is_stopped: Callable[[], bool] | None = None
    brings_night: bool = True
    carried: Callable[[int], None] | None = None

    @property
    def product(self) -> Product:
        """Return the one product of a job of scope ``file``."""
        (product,) = self.products
        return product

    def temporary(self, final_name: str) -> Path:
        """Return the path to write in place of `final_name` until the machine replaces it."""
        return self.folder / f"{TEMPORARY_PREFIX}{final_name}"


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A header block to be written whole over a file's first bytes, then the file's final name.

    Attributes
    ----------
    candidates : tuple of Path
        Where the file may be: an interrupted rename leaves it under either name.
    header : bytes
        A whole number of 2880-byte blocks, as many as the file's header has.
    final : Path
        Its name afterwards.
    """

    candidates: tuple[Path, ...]
    header: bytes
    final: Path


@dataclass(frozen=True, slots=True)
class Rename:
    """A file to be renamed; done already if only `final` exists."""

    source: Path
    final: Path


@dataclass(frozen=True, slots=True)
class Evidence:
    """Proof that a product's bytes lie at a destination.

    Attributes
    ----------
    identity : str
        The product's.
    host, path : str
        Where; the host is empty for a local path.
    sha256 : str
        Computed from the destination's own bytes, hex.
    size_bytes : int
        Read at the destination.
    tool : str
        What computed the hash.
    """

    identity: str
    host: str
    path: str
    sha256: str
    size_bytes: int
    tool: str


@dataclass(frozen=True, slots=True)
class ManifestLine:
    """One line of a manifest."""

    identity: str
    frame_id: str
    path: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest that the outcome writes."""

    name: str
    sha256: str
    lines: tuple[ManifestLine, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a stage did and what the machine must do now, in this order.

    ``outputs`` are replaced, ``rewrites`` and ``renames`` applied, the folder synced, everything
    else committed at once, and then ``superseded`` files are removed.

    Attributes
    ----------
    outputs : mapping of Path to Path
        Final path to the fsynced temporary that becomes it.
    rewrites, renames : tuple
        See :class:`Rewrite`, :class:`Rename`.
    superseded : tuple of Path
        Files that the new state does not have.
    facts : mapping of str to mapping
        Product identity to new values of its columns ``files``, ``sha256``, ``size_bytes``, ``timing_sha256``.
    products : tuple of Product
        Products that come into being.
    evidence : tuple of Evidence
        What was proven at the destination.
    withdrawn : tuple of str
        Identities whose copies at the destination are gone.
    manifest : Manifest or None
        The manifest that was written.
    withdrawn_manifests : tuple of str
        Names of manifests that stand no longer.
    remarks : mapping of str to int
        Things worth telling, with how often each happened; summed over the night.
    failures : mapping of str to str
        Product identity to the reason why this product, of a batch, did not succeed.
    left : tuple of str
        Identities of products that are as they were, because a stop was asked for.
    unfinished : mapping of str to str
        Product identity to what is left of it outside of the night, although it is withdrawn.
    """

    outputs: Mapping[Path, Path] = field(default_factory=dict)
    rewrites: tuple[Rewrite, ...] = ()
    renames: tuple[Rename, ...] = ()
    superseded: tuple[Path, ...] = ()
    facts: Mapping[str, Mapping[str, Fact]] = field(default_factory=dict)
    products: tuple[Product, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    withdrawn: tuple[str, ...] = ()
    manifest: Manifest | None = None
    withdrawn_manifests: tuple[str, ...] = ()
    remarks: Mapping[str, int] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
    left: tuple[str, ...] = ()
    unfinished: Mapping[str, str] = field(default_factory=dict)


class Stage(Protocol):
    """What a stage module offers; a module is a Stage if it has these two functions.

    What it may offer beside them is declared in :mod:`stages.optional`.
    """

    __name__: str

    def forward(self, *, job: Job, params: Any) -> Outcome:
        """Bring the job's products into this state from the one before."""

    def reverse(self, *, job: Job, params: Any) -> Outcome:
        """Bring the job's products back from this state to the one before."""


StageFunction = Callable[..., Outcome]


def remove_outputs(*, job: Job, params: object) -> Outcome:
    """Reverse of a stage that only added files: all files of the job's products go."""
    return Outcome(
        superseded=tuple(job.folder / name for p in job.products for name in p.files),
        facts={p.identity: {"files": [], "timing_sha256": None} for p in job.products},
    )


def nothing(*, job: Job, params: object) -> Outcome:
    """Reverse of a stage that left nothing behind but the state."""
    return Outcome()

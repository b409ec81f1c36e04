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

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

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
    """Somebody asked to stop, and this was not done any more; nothing is wrong with it."""


class Irreversible(StageError):
    """Undoing would destroy something that is not ours or not recoverable."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A sub-folder of raw cubes and the camera that fills it."""

    name: str
    camera: int


@dataclass(frozen=True, slots=True)
class Cards:
    """Keywords that rules read; the defaults are those of VAMPIRES (docs/design.md, Configuration as data)."""

    exposure_s: str = "EXPTIME"
    external_trigger: str = "EXTTRIG"
    flc_enabled: str = "U_FLCEN"
    flc_stage: str = "U_FLCST"
    flc_state: str = "U_FLC"
    dither_us: str = "U_TRIGJT"
    mode: str = "U_DETMOD"
    rows: str = "PRD-RNG2"
    target: str = "OBJECT"
    synchronised: str = "U_SYNC"
    frame_id: str = "FRAMEID"
    exposure_id: str = "EXP-ID"


@dataclass(frozen=True, slots=True)
class Forms:
    """Forms in which cards that rules read say what they say, beside T and F; capitals and outer blanks do not count.

    Attributes
    ----------
    means_true, means_false : tuple of str
        Of trigger and FLC: what header writers have put for T and F (scxkw 702bf03: ``#TRUE#``; a388cb2: ``ON``).
    flc_in, flc_out : tuple of str
        Of the FLC's stage.
    flc_free, flc_fixed : tuple of str
        Of the FLC's state: free to switch, as without a value, or held in one state.
    modes : tuple of str
        Of the readout mode.
    """

    means_true: tuple[str, ...] = ("T", "TRUE", "#TRUE#", "ON", "YES", "1")
    means_false: tuple[str, ...] = ("F", "FALSE", "#FALSE#", "OFF", "NO", "0")
    flc_in: tuple[str, ...] = ("IN",)
    flc_out: tuple[str, ...] = ("OUT",)
    flc_free: tuple[str, ...] = ("NA", "N/A")
    flc_fixed: tuple[str, ...] = ("A", "B")
    modes: tuple[str, ...] = ("FAST", "SLOW")


@dataclass(frozen=True, slots=True)
class Times:
    """How far apart the witnesses of a raw file's times may be; None: they are not compared.

    Attributes
    ----------
    clocks_s : float or None
        Acquisition and logging time of a row, seconds.
    date_h : float or None
        How long before and after the UT day of its folder a frame may be, hours: a logger that is left on over
        midnight, 14:00 in Hawaii, goes on in the old folder; from dusk on a clock that is a day off is found out.
    exposures : float or None
        How many times as long as the time between a file's frames its exposure time may be; None: nor is the dither
        compared with it.
    name_s : float or None
        First time and the clock in the file's name, UT or HST, seconds; a name may have the seconds of TAI.
    """

    clocks_s: float | None = 10.0
    date_h: float | None = 3.0
    name_s: float | None = 300.0
    exposures: float | None = 2.0

    def __post_init__(self) -> None:
        """Refuse what is no length of time, NaN among them."""
        for name in ("clocks_s", "date_h", "name_s", "exposures"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < float("inf"):
                raise ValueError(f"{name}: found {value!r}, expected a number from 0 on, or null")


@dataclass(frozen=True, slots=True)
class Instrument:
    """One instrument as data.

    Attributes
    ----------
    name : str
        For people.
    streams : tuple of Stream
        Raw sub-folders of a night.
    product_folder : str
        Sub-folder of a night that the ledger writes its products to.
    synchronised_name : str
        First word of the names of products of paired groups.
    prefix : str
        Four letters that frame IDs start with.
    manifest : str
        Name of the manifest, with ``{date}``.
    dictionary : str
        Path of the keyword dictionary, or the name of one shipped in ``stages/fits/dictionary``.
    cards : Cards
        Keywords that rules read.
    rule_keywords : tuple of str
        Further keywords of which each raw row keeps the value; groups are cut by some of them.
    forms : Forms
        In which those cards say what they say.
    times : Times
        How far apart the witnesses of a raw file's times may be.
    """

    name: str
    streams: tuple[Stream, ...]
    product_folder: str = "vgen2"
    synchronised_name: str = "vsync"
    prefix: str = "VMPA"
    manifest: str = "manifest_VMP_{date}.csv"
    dictionary: str = "vampires"
    cards: Cards = field(default_factory=Cards)
    rule_keywords: tuple[str, ...] = ()
    forms: Forms = field(default_factory=Forms)
    times: Times = field(default_factory=Times)

    def keywords_kept(self) -> tuple[str, ...]:
        """Return every keyword whose value a raw row keeps, once each."""
        return tuple(
            dict.fromkeys(
                (
                    self.cards.exposure_s,
                    self.cards.external_trigger,
                    self.cards.flc_enabled,
                    self.cards.flc_stage,
                    self.cards.flc_state,
                    self.cards.dither_us,
                    self.cards.mode,
                    self.cards.rows,
                    self.cards.target,
                    *self.rule_keywords,
                )
            )
        )


#: Frames ``first, first + step, …``: ``n`` of them, indices from 0 within one raw file.
Run = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Raw:
    """One raw file as registered.

    Attributes
    ----------
    cube, timing : Path
        Absolute paths of the FITS cube and of the txt beside it.
    identity : str
        Hash of its name, size, header and timing (hex).
    camera : int
        From the stream.
    n_frames : int
        Frames that are used, the first ones: all of them, but for a salvaged file.
    size_bytes, mtime_ns : int
        Of the cube, when registered; a file that differs now has changed underneath.
    first_us, last_us : int
        First and last acquisition time, UNIX, microseconds.
    exposure_us : int
        Exposure time, microseconds.
    cards : mapping
        Values of ``Instrument.keywords_kept()`` that its header has.
    lost_frames : int
        Frames that the header declares beyond those: a salvaged file has no pixels or no time for them.
    timing_size_bytes : int
        Of the txt, when registered.
    timing_mtime_ns : int or None
        The same; None if the txt is not to be compared with what it was.
    supplement : int
        Which pairing of its night made products of it, from 0.
    is_pruned : bool
        Whether it was removed on purpose: its frames are in the archive.
    """

    cube: Path
    timing: Path
    identity: str
    camera: int
    n_frames: int
    size_bytes: int
    mtime_ns: int
    first_us: int
    last_us: int
    exposure_us: int
    cards: Mapping[str, Any]
    lost_frames: int = 0
    timing_size_bytes: int = 0
    timing_mtime_ns: int | None = None
    supplement: int = 0
    is_pruned: bool = False

    @property
    def is_there(self) -> bool:
        """Whether the cube is there, of its size: what was made of it can be made again."""
        return self.cube.is_file() and self.cube.stat().st_size == self.size_bytes


@dataclass(frozen=True, slots=True)
class Part:
    """Frames of one raw file, in order."""

    raw: Raw
    runs: tuple[Run, ...]

    @property
    def n_frames(self) -> int:
        """Return how many frames the runs name."""
        return sum(n for _, _, n in self.runs)


@dataclass(frozen=True, slots=True)
class Product:
    """One product: what it is made of, and what later stages found out about it.

    Attributes
    ----------
    identity : str
        Hash of lineage, camera and state (hex).
    name : str
        Stem until it is identified, such as ``vsync_06:00:00.123456.cam1.A``.
    camera : int
        1 or 2.
    flc : str or None
        ``A``, ``B``, ``D`` (dubious), or None where the FLC was not switching.
    synchronised : bool
        Whether it has a sibling of the other camera, frame by frame.
    group : int
        Number of its group in the night, from 1, in order of time.
    parts : tuple of Part
        Its lineage, in order.
    sibling_parts : tuple of Part
        Lineage of the same frames in the other camera; empty if not synchronised.
    first_us, last_us : int
        First and last frame time of the whole group, UNIX, microseconds.
    exposure_us : int
        Exposure time, microseconds.
    files : tuple of str
        Names on disk now, within the product folder: the cube, its timing txt, and whatever further
        stages added.  Empty until it is consolidated.
    frame_id : str or None
        Its frame ID once one is assigned.
    sha256 : str or None
        Of the compressed file, hex.
    size_bytes : int or None
        Of the compressed file.
    timing_sha256 : str or None
        Of its timing txt, from when it was written, hex.
    solo : bool
        Whether its camera was on its own: not triggered, or the other one was not running.  Frames that are
        neither synchronised nor solo lack a partner that they should have.
    """

    identity: str
    name: str
    camera: int
    flc: str | None
    synchronised: bool
    group: int
    parts: tuple[Part, ...]
    sibling_parts: tuple[Part, ...]
    first_us: int
    last_us: int
    exposure_us: int
    files: tuple[str, ...] = ()
    frame_id: str | None = None
    sha256: str | None = None
    size_bytes: int | None = None
    timing_sha256: str | None = None
    solo: bool = False

    @property
    def n_frames(self) -> int:
        """Return the number of frames."""
        return sum(part.n_frames for part in self.parts)

    @property
    def start_us(self) -> int:
        """Return when the group's first exposure began; IDs are ordered by it (docs/design.md, Frame IDs)."""
        return self.first_us - self.exposure_us


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
    placed : frozenset of str
        Identities of products that the ledger has put at the destination before: what lies there
        under their names is its own to replace.
    destination : Path or None
        The night's folder at the destination, ``<destination>/<date>``.
    host : Host or None
        Where that is; None: here.
    source : Source or None
        Where the products are; None: in `folder`, as ever. If they are on another host, `night` and `folder` hold the
        night's own files only, for as long as they are worked with.
    is_stopped : callable or None
        Tells whether somebody asks to stop; for what waits long in the ledger's own process.
    brings_night : bool
        Whether what the night has beside its products is to be sent with these: once a run will do.
    carried : callable or None
        Is told of bytes that arrived at the destination, from any thread; for who shows it.
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
    placed: frozenset[str] = frozenset()
    destination: Path | None = None
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
        Identities of products that are as they were, because somebody asked to stop.
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


def frames_of(runs: tuple[Run, ...]) -> Iterator[int]:
    """Yield the frame indices that `runs` name, in order."""
    for first, step, n in runs:
        yield from range(first, first + step * n, step)

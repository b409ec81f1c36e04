"""One instrument as data: streams, cards that rules read and the forms of their values, limits of times."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Stream:
    """A sub-folder of raw cubes and the camera that fills it."""

    name: str
    camera: int


@dataclass(frozen=True, slots=True)
class Cards:
    """Keywords that rules read; the defaults are those of VAMPIRES (docs/design.md, Configuration as data).

    An instrument without an FLC has None for the enabling of it: then no frame has a state. One whose FLC is always in
    the beam has no stage, and one whose trigger does not dither, or does not say so, no dither.
    """

    exposure_s: str = "EXPTIME"
    external_trigger: str = "EXTTRIG"
    flc_enabled: str | None = "U_FLCEN"
    flc_stage: str | None = "U_FLCST"
    flc_state: str | None = "U_FLC"
    dither_us: str | None = "U_TRIGJT"
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
        Further keywords of which each raw row keeps the value, and that groups are cut by.
    kept_keywords : tuple of str
        Keywords of which each raw row keeps the value; no group is cut by them.
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
    kept_keywords: tuple[str, ...] = ()
    forms: Forms = field(default_factory=Forms)
    times: Times = field(default_factory=Times)

    def keywords_kept(self) -> tuple[str, ...]:
        """Return every keyword whose value a raw row keeps, once each."""
        cards = self.cards
        kept = (
            cards.exposure_s,
            cards.external_trigger,
            cards.flc_enabled,
            cards.flc_stage,
            cards.flc_state,
            cards.dither_us,
            cards.mode,
            cards.rows,
            cards.target,
            *self.rule_keywords,
            *self.kept_keywords,
        )
        return tuple(dict.fromkeys(keyword for keyword in kept if keyword is not None))

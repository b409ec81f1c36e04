"""What a simulated night is made of: blocks of acquisitions, and the faults that raw files can have."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

#: Both cameras of VAMPIRES.
CAMERAS = (1, 2)

#: Faults that quarantine a raw file when it is scanned, all of them but the last on one cube of camera 1
#: (DESIGN section 5).
SPOILT = (
    "no txt",
    "txt rows",
    "unreadable",
    "truncated",
    "two-dimensional",
    "float",
    "several HDUs",
    "no EXPTIME",
    "backwards",
    "zero frames",
)
DUPLICATE = "duplicate"
FAULTS = (*SPOILT, DUPLICATE)


@dataclass(frozen=True, slots=True)
class Acquisition:
    """A stretch of one trigger train with unchanged settings.

    Attributes
    ----------
    n_triggers : int
        Triggers, or frames of each camera if it runs freely.
    rate_hz : float
        Mean rate.
    exposure_us : int
        Exposure time.
    target, data_type, obs_mode : str
        ``OBJECT``, ``DATA-TYP`` and ``OBS-MOD``.
    filters : tuple of str
        ``FILTER02`` of each camera.
    angle_deg : float
        ``RET-ANG1``, which wobbles by less than its format shows.
    cameras : tuple of int
        Those that take part.
    triggered : bool
        Whether triggers drive them.
    dither_us : int
        Half-width J of the dither; 0 where the FLC is not switching.
    flc_card : str
        ``U_FLC``: empty and ``NA`` say the same (DESIGN section 3).
    mode : str
        ``U_DETMOD``.
    noise_us : float
        Timing noise of each camera: 7 in FAST mode, up to 173 in SLOW (DESIGN section 3).
    offset_us : float
        Static offset of camera 2 against camera 1, or of its first frame if it runs freely.
    skipped : tuple of int
        Triggers that pass before each camera starts.
    loss : float
        Probability at each trigger that a camera begins to lose frames there.
    cube_frames : tuple of int
        Frames that each camera puts into a cube.
    spoilt : mapping of int to str
        Faults by number of camera 1's cube.
    copied : tuple of int
        Numbers of camera 1's cubes that lie there twice.
    named_in_hst : bool
        Whether file names carry HST, as happens (DESIGN section 3).
    with_checksums : bool
        Whether cubes carry ``CHECKSUM`` and ``DATASUM``.
    """

    n_triggers: int
    rate_hz: float
    exposure_us: int
    target: str
    data_type: str = "OBJECT"
    obs_mode: str = "IMAG_PDI"
    filters: tuple[str, str] = ("Open", "Open")
    angle_deg: float = 0.0
    cameras: tuple[int, ...] = CAMERAS
    triggered: bool = True
    dither_us: int = 0
    flc_card: str = "NA"
    mode: str = "FAST"
    noise_us: float = 7.0
    offset_us: float = 110.0
    skipped: tuple[int, int] = (0, 0)
    loss: float = 0.0
    cube_frames: tuple[int, int] = (300, 250)
    spoilt: Mapping[int, str] = field(default_factory=dict)
    copied: tuple[int, ...] = ()
    named_in_hst: bool = False
    with_checksums: bool = False


def _pdi(scale: float) -> tuple[Acquisition, ...]:
    """Return fast polarimetry: FLC switching, frames lost, cameras starting apart; two HWP angles."""
    return tuple(
        Acquisition(
            n_triggers=_scaled(n_triggers, scale),
            rate_hz=500.0,
            exposure_us=1500,
            target="HD141569A",
            angle_deg=angle_deg,
            dither_us=dither_us,
            offset_us=offset_us,
            skipped=skipped,
            loss=0.02,
        )
        for n_triggers, angle_deg, dither_us, offset_us, skipped in (
            (600, 0.0, 80, 110.0, (0, 37)),
            (400, 45.0, 50, -180.0, (6, 1)),
        )
    )


def _slow(scale: float) -> tuple[Acquisition, ...]:
    """Return slow polarimetry: no FLC, four HWP angles, the first for longer than the 10 s of a group."""
    return tuple(
        Acquisition(
            n_triggers=_scaled(n_triggers, scale),
            rate_hz=50.0,
            exposure_us=18_000,
            target="AB Aur",
            filters=("Halpha", "Ha-cont"),
            angle_deg=angle_deg,
            mode="SLOW",
            noise_us=100.0,
            offset_us=400.0,
        )
        for n_triggers, angle_deg in ((550, 0.0), (60, 45.0), (60, 22.5), (60, 67.5))
    )


def _untriggered(scale: float) -> tuple[Acquisition, ...]:
    """Return darks of free-running cameras."""
    return (
        Acquisition(
            n_triggers=_scaled(300, scale),
            rate_hz=100.0,
            exposure_us=9_900,
            target="DARK",
            data_type="DARK",
            obs_mode="CAL",
            triggered=False,
            offset_us=3_700.0,
            cube_frames=(200, 150),
            named_in_hst=True,
        ),
    )


def _onecamera(scale: float) -> tuple[Acquisition, ...]:
    """Return fast polarimetry with camera 1 alone: FLC states can only be read from its own times."""
    return (
        Acquisition(
            n_triggers=_scaled(400, scale),
            rate_hz=500.0,
            exposure_us=1500,
            target="HD 34700",
            angle_deg=22.5,
            cameras=(1,),
            dither_us=80,
            flc_card="",
            loss=0.01,
            with_checksums=True,
        ),
    )


def _bad(scale: float) -> tuple[Acquisition, ...]:
    """Return fast polarimetry, the same at any scale, of which camera 1 leaves a cube with each fault.

    The first and the last of its cubes are sound; the first lies there twice.
    """
    n_cubes = len(SPOILT) + 2
    n_frames = 24
    return (
        Acquisition(
            n_triggers=n_cubes * n_frames,
            rate_hz=500.0,
            exposure_us=1500,
            target="HD141569A",
            angle_deg=67.5,
            dither_us=80,
            cube_frames=(n_frames, 250),
            spoilt=dict(enumerate(SPOILT, start=1)),
            copied=(0,),
        ),
    )


def _scaled(n: int, scale: float) -> int:
    """Return a number of triggers times the scale of the night; two are the fewest that have a gap."""
    return max(2, round(n * scale))


#: Blocks by name: what each gives at a scale.
BLOCKS: Mapping[str, Callable[[float], tuple[Acquisition, ...]]] = {
    "pdi": _pdi,
    "slow": _slow,
    "untriggered": _untriggered,
    "onecamera": _onecamera,
    "bad": _bad,
}

#: What a night has, in order, unless told otherwise.
SCENARIO = tuple(BLOCKS)

"""What a simulated night is made of: blocks of acquisitions, and the faults that raw files can have."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from ledger.simulation._trains import Sight, Walk

#: Both cameras of VAMPIRES.
CAMERAS = (1, 2)

#: Faults that quarantine a raw file when it is scanned, all of them but the last on one cube of camera 1
#: (docs/design.md, Groups and products).
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
        ``U_FLC``: empty and ``NA`` say the same (docs/design.md, A raw night).
    mode : str
        ``U_DETMOD``.
    walk : Walk
        How the train is no clock.
    sights : tuple of Sight
        How each camera sees the train, or its own if it runs freely.
    pause_s : float
        Seconds between the end of the acquisition before and the first trigger: 1.5 while the HWP moves, which
        does not cut a group by itself (docs/design.md, Groups and products: 3 s).
    cube_frames : tuple of int
        Frames that each camera puts into a cube.
    spoilt : mapping of int to str
        Faults by number of camera 1's cube.
    copied : tuple of int
        Numbers of camera 1's cubes that lie there twice.
    named_in_hst : bool
        Whether file names carry HST, as happens (docs/design.md, A raw night).
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
    walk: Walk = field(default_factory=Walk)
    sights: tuple[Sight, Sight] = (Sight(), Sight(offset_us=110.0))
    pause_s: float = 1.5
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
            sights=sights,
        )
        for n_triggers, angle_deg, dither_us, sights in (
            (600, 0.0, 80, (Sight(burst=0.02), Sight(offset_us=110.0, burst=0.02, skipped=37))),
            (400, 45.0, 50, (Sight(burst=0.02, skipped=6), Sight(offset_us=-180.0, burst=0.02, skipped=1))),
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
            sights=(Sight(noise_us=100.0), Sight(offset_us=400.0, noise_us=100.0)),
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
            sights=(Sight(), Sight(offset_us=3_700.0)),
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
            sights=(Sight(burst=0.01), Sight()),
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


def _trains(scale: float) -> tuple[Acquisition, ...]:
    """Return short trains that are hard to pair and to read FLC states from, each under a target's name of its own.

    Rates of 1 Hz to 1 kHz, dithers of 20 to 500 us, offsets of up to 0.45 of the period (docs/design.md, A raw night
    and Groups and products).
    """
    fast = Acquisition(
        n_triggers=_scaled(200, scale),
        rate_hz=500.0,
        exposure_us=1000,
        target="",
        dither_us=80,
        pause_s=5.0,
        cube_frames=(130, 90),
    )
    slow = replace(fast, rate_hz=50.0, exposure_us=18_000, mode="SLOW")
    few, file = _scaled(40, scale), _scaled(1000, scale)
    half = fast.n_triggers // 2
    free = replace(
        fast, n_triggers=few, target="Interleaved", triggered=False, dither_us=0, pause_s=1.5, sights=_sights(700.0)
    )
    between = replace(fast, n_triggers=few + 1, target="Interleaved", pause_s=1.5)
    return (
        replace(
            fast,
            target="1 kHz",
            rate_hz=1000.0,
            exposure_us=700,
            dither_us=20,
            sights=_sights(110.0, Sight(noise_us=2)),
        ),
        replace(slow, target="SLOW", dither_us=500, sights=_sights(400.0, Sight(noise_us=100))),
        replace(slow, target="Noisy", dither_us=0, sights=_sights(-400.0, Sight(noise_us=173))),
        replace(
            fast,
            n_triggers=_scaled(400, scale),
            target="Steps",
            walk=Walk(period_us=0.5, drift=0.02, steps=((0.3, 1.1), (0.7, 0.8))),
        ),
        replace(fast, target="Pause", walk=Walk(pauses=((0.5, 1.5),)), cube_frames=(file, file)),
        replace(fast, target="Bursts", sights=_sights(110.0, Sight(burst=0.02, burst_frames=10))),
        replace(fast, n_triggers=_scaled(400, scale), target="Drops", sights=_sights(110.0, Sight(drop=0.2))),
        replace(fast, target="Offset", dither_us=50, sights=_sights(-900.0, Sight(noise_us=10))),
        replace(fast, target="Apart", sights=(Sight(stopped=half // 2), Sight(offset_us=110.0, skipped=half))),
        replace(fast, n_triggers=10, target="Tiny cubes", cube_frames=(1, 2)),
        replace(fast, n_triggers=1, target="One trigger"),
        replace(fast, n_triggers=2, target="Two triggers"),
        replace(between, pause_s=5.0),
        free,
        between,
        free,
        replace(fast, target="Repeated", sights=_sights(110.0, Sight(repeated=0.05))),
        replace(
            fast,
            n_triggers=_scaled(24, scale),
            target="1 Hz",
            rate_hz=1.0,
            exposure_us=900_000,
            walk=Walk(drift=5e-5),
            sights=(Sight(), Sight(offset_us=110.0, clock_ppm=5.0)),
        ),
    )


def _sights(offset_us: float, either: Sight | None = None) -> tuple[Sight, Sight]:
    """Return how cameras see a train that differ in nothing but a static offset of camera 2."""
    either = either or Sight()
    return either, replace(either, offset_us=offset_us)


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
    "trains": _trains,
}

#: What a night has, in order, unless told otherwise: an ordinary one, and every fault.
SCENARIO = ("pdi", "slow", "untriggered", "onecamera", "bad")

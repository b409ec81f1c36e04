"""Raw nights, timing files and headers as the instruments' logger writes them, by numpy and astropy alone.

Nothing here is of the ledger or of its simulation, so what both took for granted would be found.
"""

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

UTC, HST = dt.UTC, dt.timezone(dt.timedelta(hours=-10))
CUBE_FRAMES = 150
#: Frames of the file that has no txt, and so of pairs that cannot be made.
N_LOST = CUBE_FRAMES
SHAPE = (24, 32)
COLUMNS = "%10d  %10d  %15.9f   %20.9f  %17.6f   %10d   %10d\n"
HEAD = """\
# Telemetry stream timing data 
# File written by function save_telemetry_fits_function in file logshmim.c
# 
# col1 : datacube frame index
# col2 : Main index
# col3 : Time since cube origin (logging)
# col4 : Absolute time (logging)
# col5 : Absolute time (acquisition)
# col6 : stream cnt0 index
# col7 : stream cnt1 index
# 
"""  # noqa: W291  as the logger leaves them


def write_txt(path: Path, logged_s: np.ndarray, acquired_s: np.ndarray, first: int) -> None:
    """Write a timing file: fixed widths, times of nine and of six digits, a second counter that counts nothing."""
    rows = (
        COLUMNS % (i, first + i, logged_s[i] - logged_s[0], logged_s[i], acquired_s[i], first + i, 0)
        for i in range(len(logged_s))
    )
    path.write_text(HEAD + "".join(rows))


# timing files of other instruments


def write_streams(folder: Path) -> dict[str, list[Path]]:
    """Write timing files as other instruments have them, and return them by stream.

    At 2500 Hz four files without a gap between them, at 2000 Hz one. What frames are apart scatters by one or two
    microseconds, a few are 14 to 32 us off, none is missing, and the main index has ten digits.
    """
    rng = np.random.default_rng(17)
    found: dict[str, list[Path]] = {}
    for stream, period_us, n_files, n_rows, first in (
        ("apapane", 400, 4, 5000, 7_196_847),
        ("ocam2d", 500, 1, 3000, 9_868_462_595),
    ):
        n = n_files * n_rows
        late_us = rng.normal(0, 0.85, n)  # of a strict clock, so that gaps scatter by more
        odd = rng.choice(n, n // 700, replace=False)
        late_us[odd] += rng.uniform(14, 32, len(odd))
        acquired_us = 1_762_424_400_509_073 + np.rint(period_us * np.arange(n) + late_us).astype(np.int64)
        logged_ns = 1000 * acquired_us + rng.integers(110_000, 140_000, n)
        logged_ns = np.maximum.accumulate(logged_ns)
        found[stream] = []
        (folder / stream).mkdir(parents=True)
        for number in range(n_files):
            rows = slice(number * n_rows, (number + 1) * n_rows)
            time = dt.datetime.fromtimestamp(int(logged_ns[rows.start]) // 10**9, UTC)
            path = folder / stream / f"{stream}_{time:%H:%M:%S}.{logged_ns[rows.start] % 10**9:09d}.txt"
            path.write_text(HEAD + "".join(_exact_rows(acquired_us[rows], logged_ns[rows], first + rows.start)))
            found[stream].append(path)
    return found


def _exact_rows(acquired_us: np.ndarray, logged_ns: np.ndarray, first: int) -> list[str]:
    """Return rows of whole numbers: a double has not all digits of a time in nanoseconds."""
    start = int(logged_ns[0])
    return [
        f"{i:10d}  {first + i:10d}  {_point(logged - start, 9):>15}   {_point(logged, 9):>20}"
        f"  {_point(acquired, 6):>17}   {first + i:10d}   {0:10d}\n"
        for i, (acquired, logged) in enumerate(zip(acquired_us.tolist(), logged_ns.tolist(), strict=True))
    ]


def _point(number: int, digits: int) -> str:
    return f"{number // 10**digits}.{number % 10**digits:0{digits}d}"


# headers of other instruments


def odd_headers() -> dict[str, str]:
    """Return headers, as lines, as other instruments have them: of a plain cube, and of one that was compressed."""
    rng = np.random.default_rng(5)
    words = ("OFF", "ON", "Open", "Block (dark)", "f/13.9", "a-b--c", "H2RG.1", "J-K", "12:34:56.7", "nan", "N/A", "")
    comments = ("[deg] Angle of a plate", "[%] A share", "Name of what is in", "Time (HH:MM:SS.SS)", "[1e-6] A/B | C")
    body = ["DATE-OBS= '2025-11-06'         / UT date of Observation (yyyy-mm-dd)", "EXP-ID  = '' / ID of the exposure"]
    body += ["FRAMEID = '' / Image sequential number", "BLANKS  = '                '   / nothing but blanks"]
    for number in range(300):
        keyword, comment = f"X_K{number:04d}"[:8], comments[number % len(comments)]
        value = float(np.round(10 ** rng.uniform(-7, 6) * rng.choice((-1, 1)), 3))
        text = (
            f"{value:.{1 + number % 9}f}",
            f"{value:.0f}.",
            f"{value:.2E}",
            f"{int(value)}",
            "TF"[number % 2],
            f"'{words[number % len(words)]:<{8 + 2 * (number % 5)}}'",
            f"'{words[number % len(words)]}'",
        )[number % 7]
        body.append(
            f"{keyword:<8}= {text:>20} / {comment}" if number % 7 < 5 else f"{keyword:<8}= {text:<20}/ {comment}"
        )
    story = [
        "COMMENT   FITS (Flexible Image Transport System) format is defined in 'Astronomy",
        "COMMENT   and Astrophysics', volume 376, page 359; bibcode: 2001A&A...376..359H",
    ]
    scaling = [
        f"BZERO   = {32768:>20} / Real=fits-value*BSCALE+BZERO",
        f"BSCALE  = {'1.':>20} / Real=fits-value*BSCALE",
    ]
    found = {}
    for name, first in (("plain", "SIMPLE"), ("compressed", "ZSIMPLE")):
        z = first[: first.index("S")]
        sizes = [("BITPIX", "16"), ("NAXIS", "3"), ("NAXIS1", "120"), ("NAXIS2", "120"), ("NAXIS3", "30000")]
        cards = [f"{first:<8}= {'T':>20} / file does conform to FITS standard"]
        cards += [f"{z + key:<8}= {value:>20} / of the array" for key, value in sizes]
        lines = [*cards, f"{z + 'EXTEND':<8}= {'T':>20} / may contain extensions", *story, *scaling, *body]
        found[name] = "\n".join(line[:80].ljust(80) for line in lines)
    return found


# raw nights


class _Camera:
    """What a camera's logger has written, and the frames that wait for their file."""

    def __init__(self, number: int, night: Path) -> None:
        self.number = number
        self.folder = night / f"vcam{number}"
        self.folder.mkdir(parents=True)
        self.truth: list[tuple[float, ...]] = []
        self.n_files = 0

    def write(self, frames: np.ndarray, block: Mapping[str, Any], rng: np.random.Generator, *, has_txt: bool) -> None:
        """Write frames (trigger, state, time) as one file; each has in its pixels what it is."""
        n, first = len(frames), len(self.truth)
        trigger, state, time_s = frames.T
        serial = first + np.arange(n)
        pixels = rng.integers(190, 230, (n, *SHAPE), dtype=np.uint16)
        known = np.where(trigger < 0, 0xFFFFFFFF, trigger).astype(np.int64)
        identity = (np.full(n, self.number), serial & 0xFFFF, serial >> 16, known & 0xFFFF, known >> 16)
        pixels[:, 0, : len(identity)] = np.stack(identity, axis=1)
        logged_s = time_s + 320e-6 + np.abs(rng.normal(0, 40e-6, n))
        begin = dt.datetime.fromtimestamp(logged_s[0], UTC)
        path = self.folder / f"vcam{self.number}_{begin:%H:%M:%S}.{round(logged_s[0] % 1 * 1e9):09d}.fits"
        hdu = fits.PrimaryHDU(pixels)
        for card in _cards(self.number, time_s[0], time_s[-1], block):
            hdu.header.append(card, end=True)
        hdu.writeto(path)
        if has_txt:
            write_txt(path.with_suffix(".txt"), logged_s, time_s, 1_000_000 * self.number + first)
        self.truth += zip(serial, trigger, state, time_s, np.full(n, self.n_files), strict=True)
        self.n_files += 1


def _cards(camera: int, first_s: float, last_s: float, block: Mapping[str, Any]) -> list[tuple[str, Any, str]]:
    """Return cards with as many digits as a double has, and with blanks behind words."""
    period_s, is_triggered, has_flc, angle_deg = (block[key] for key in ("period_s", "triggered", "flc", "angle"))
    cards = [
        ("BUNIT", "adu       ", "Unit of original values"),
        ("DATA-TYP", "OBJECT", "Subaru-style exp. type"),
        ("OBJECT", "HD 1", "Object"),
        ("DETECTOR", f"VCAM{camera} - OrcaQ", "Name of the detector"),
        ("EXPTIME", period_s, "[s] Total integration time of the frame"),
        ("EXTTRIG", is_triggered, "Exposure of detector by an external trigger"),
        ("FRATE", 1.0000001 / period_s, "[Hz] Frame rate of the acquisition"),
        ("GAIN", float(np.float32(0.103)), "[e-/adu] AD conversion factor"),
        ("INST-PA", -38.89999999, "[deg] PA offset of detector"),
        *(("PRD-MIN1", 1780, ""), ("PRD-MIN2", 884, "")),
        *(("PRD-RNG1", 536, "[pixel] Range in X"), ("PRD-RNG2", 536, "[pixel] Range in Y")),
        ("U_CAMERA", camera, "camera number (1 or 2)"),
        ("U_DETMOD", "FAST            ", "detector readout mode (Fast/Slow)"),
        ("U_FLC", "NA              ", "FLC polarization state"),
        *(("U_FLCEN", has_flc, "FLC enabled"), ("U_FLCST", "IN" if has_flc else "OUT", "FLC stage status (IN/OUT)")),
        *(("U_TRIGJT", 80, "[us] trigger FLC jitter"), ("U_SYNC", False, "Whether there is a sibling.")),
        *(("FILTER01", "Open", "Primary filter name"), ("FILTER02", "Open", "Secondary filter name")),
        ("RET-ANG1", angle_deg, "[deg] Angle of the first retarder plate"),
        *(("CD1_1", 1.63888888888889e-06, ""), ("CD1_2", -2.2401e-09, ""), ("CRVAL1", 73.93969583333333, "")),
        *(("LST", "03:01:39.186", ""), ("TIMESYS", "UTC     ", ""), ("OBSERVER", "O'Neil, A. / B", "")),
        *(("INSTRUME", "VAMPIRES", ""), ("OBS-MOD", "IMAG_PDI", ""), ("PROP-ID", "o25000", "")),
        *(("FRAMEID", "", ""), ("EXP-ID", "", "")),
        *((f"X_T{i:04d}", float(np.round(1000 * np.sin(1.7 * i), 11)), "[deg] what nobody reads") for i in range(40)),
    ]
    times = {"-STR": first_s, "-END": last_s, "": (first_s + last_s) / 2}
    for end, time_s in times.items():
        time = dt.datetime.fromtimestamp(time_s, UTC)
        cards += [
            (f"UT{end}", f"{time:%H:%M:%S.%f}"[:11], ""),
            (f"HST{end}", f"{time.astimezone(HST):%H:%M:%S.%f}"[:11], ""),
            (f"MJD{end}", time_s / 86400 + 40587, ""),
        ]
    first, last = (dt.datetime.fromtimestamp(time_s, UTC) for time_s in (first_s, last_s))
    return [*cards, ("DATE", f"{last:%Y-%m-%dT%H:%M:%S}", ""), ("DATE-OBS", f"{first:%Y-%m-%d}", "")]


#: Blocks of a night: triggers, their period in seconds, and the settings that headers have.
BLOCKS: tuple[dict[str, Any], ...] = (
    {"n": 1000, "period_s": 0.002, "triggered": True, "flc": True, "angle": 0.0, "lead": 37},
    {"n": 200, "period_s": 0.02, "triggered": True, "flc": False, "angle": 0.0, "lead": 5},
    {"n": 200, "period_s": 0.02, "triggered": True, "flc": False, "angle": 45.0, "lead": 5},
    {"n": 250, "period_s": 0.002, "triggered": False, "flc": False, "angle": 0.0, "lead": 0},
    {"n": 450, "period_s": 0.002, "triggered": True, "flc": True, "angle": 0.0, "lead": 0, "lacks_txt": True},
)


def write_night(root: Path, date: str) -> dict[str, np.ndarray]:
    """Write a night of blocks of all kinds; return each frame's serial, trigger, state, time and file, by camera.

    Triggers (-1: none) are waited for by both cameras, so that the error of their period accumulates. The gap after
    an even one (state 1) is shorter by the jitter, that after an odd one (-1) longer. One file lacks its txt.
    """
    rng = np.random.default_rng(7)
    cameras = [_Camera(number, root / date) for number in (1, 2)]
    begin_s = dt.datetime.strptime(f"{date}06", "%Y%m%d%H").replace(tzinfo=UTC).timestamp()
    for block in BLOCKS:
        n, period_s = block["n"], block["period_s"]
        trigger = np.arange(n)
        state = np.where(trigger % 2, -1, 1) * block["flc"]
        base_s = begin_s + np.cumsum(rng.normal(period_s, 4e-6, n)) + state * 40e-6
        for camera in cameras:
            own_s = base_s + (110e-6 if camera.number == 2 else 0) + rng.normal(0, 3e-6, n)
            if not block["triggered"]:
                own_s += rng.uniform(0, period_s)
            frames = np.stack((trigger if block["triggered"] else np.full(n, -1), state, own_s), axis=1)
            frames = frames[block["lead"] if camera.number == 2 else 0 :]
            for at in range(0, len(frames), CUBE_FRAMES):
                is_bad = bool(block.get("lacks_txt")) and camera.number == 1 and at == 0
                camera.write(frames[at : at + CUBE_FRAMES], block, rng, has_txt=not is_bad)
        begin_s = base_s[-1] + 60
    return {f"cam{camera.number}": np.array(camera.truth) for camera in cameras}

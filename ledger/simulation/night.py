"""A night of known truth: raw cubes as the cameras' logger writes them, and what really happened.

A trigger train drives both cameras, and each camera makes frames of it as it sees it
(:mod:`ledger.simulation._trains`).  Every frame carries its identity in its first pixels, so any product can
be checked frame by frame against :class:`Truth`.
"""

import math
import os
import re
import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from astropy.io import fits

from ledger.simulation._blocks import BLOCKS, CAMERAS, DUPLICATE, SCENARIO, Acquisition
from ledger.simulation._cards import EPOCH, HST, MICROSECOND, Value, header_text, time_cards
from ledger.simulation._trains import FloatArray, flc_states, frames_seen, trigger_times
from ledger.simulation.truth import (
    FRAME,
    IDENTITY_PIXELS,
    Array,
    TrueFile,
    Truth,
    frame_identity,
    load_truth,
    stamp_identity,
)

__all__ = ["SCENARIO", "TrueFile", "Truth", "frame_identity", "load_truth", "simulate_night"]

#: Numbers at the start of a night: close to 2^16, so that both halves of an identity are used.
_FIRST_SERIAL = {1: 65_400, 2: 200_000}
_FIRST_TRIGGER = 65_000
_FIRST_INDEX = 7_196_847

_NIGHT_BEGINS_US = 6 * 3_600_000_000

#: Pause between blocks, long enough to cut a group by itself (docs/design.md, Groups and products: 3 s).
_PAUSE_US = 20_000_000

#: Acquisition to logging, as measured on telemetry of 2025-11-06: 323 us, of which 270 us at least.
_LOGGING_US = 270.0
_LOGGING_SPREAD_US = 65.0
_NAMED_BEFORE_LOGGED_NS = 15_000

_TIMING_HEAD = """\
# Telemetry stream timing data\x20
# File written by function save_telemetry_fits_function in file logshmim.c
#\x20
# col1 : datacube frame index
# col2 : Main index
# col3 : Time since cube origin (logging)
# col4 : Absolute time (logging)
# col5 : Absolute time (acquisition)
# col6 : stream cnt0 index
# col7 : stream cnt1 index
#\x20
"""


def simulate_night(
    root: Path,
    date: str,
    *,
    scenario: Sequence[str] = SCENARIO,
    seed: int = 0,
    scale: float = 1.0,
    shape: tuple[int, int] = (32, 32),
    progress: Callable[[str], None] | None = None,
) -> Truth:
    """Write a raw night into ``<root>/<date>`` and return what it really was.

    The same arguments give the same files, byte for byte; modification times are those of the last
    frames, so the night looks as old as its date.

    Parameters
    ----------
    root : Path
        Where nights lie; made if it does not exist.
    date : str
        UT date, ``YYYYMMDD``.
    scenario : sequence of str
        Blocks of the night in order, out of :data:`ledger.simulation._blocks.BLOCKS`; one may come more than once.
    seed : int
        Of all random numbers; not negative.
    scale : float
        Factor on the numbers of triggers; the block "bad" stays as it is, and so do trains of a few triggers.
    shape : tuple of int
        Rows and columns of a frame; at least 5 columns, where identities lie.
    progress : callable, optional
        Called with the path of each cube once it is written, relative to the night.

    Returns
    -------
    Truth
        To be saved outside of `root`, which holds nights only.

    Raises
    ------
    ValueError
        If an argument is not as above, or the night's folder exists already.  Nothing is written then.
    """
    clock_us = _midnight_us(date) + _NIGHT_BEGINS_US
    _check(scenario, seed, scale, shape)
    night = root / date
    try:
        night.mkdir(parents=True)
    except FileExistsError as exc:
        raise ValueError(
            f"{night} exists already, and a night is never overwritten; simulate another date or root"
        ) from exc
    logger = _Logger(night, np.random.default_rng([seed, int(date)]), shape, progress)
    for name in scenario:
        for acquisition in BLOCKS[name](scale):
            clock_us = logger.record(acquisition, clock_us + round(acquisition.pause_s * 1e6))
        clock_us += _PAUSE_US
    return logger.truth(date)


def _midnight_us(date: str) -> int:
    """Return when a UT date begins: UNIX, microseconds."""
    message = f"no such date: {date!r}; expected a UT date of this century as YYYYMMDD, such as 20260102"
    if not re.fullmatch(r"20[0-9]{6}", date):
        raise ValueError(message)
    try:
        midnight = datetime.strptime(date, "%Y%m%d").replace(tzinfo=UTC)
    except ValueError as exc:
        raise ValueError(message) from exc
    return (midnight - EPOCH) // MICROSECOND


def _check(scenario: Sequence[str], seed: int, scale: float, shape: tuple[int, int]) -> None:
    """Raise ValueError if a night cannot be simulated so."""
    unknown = [name for name in scenario if name not in BLOCKS]
    if unknown or not scenario:
        raise ValueError(f"cannot simulate blocks {unknown or 'of none'}; name some of {', '.join(BLOCKS)}")
    if seed < 0:
        raise ValueError(f"seed is {seed}; expected 0 or more")
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"scale is {scale}; expected a number above 0, 1 for a small night")
    if shape[0] < 1 or shape[1] < IDENTITY_PIXELS:
        raise ValueError(
            f"frames of shape {shape} cannot carry an identity; expected (ny, nx), nx >= {IDENTITY_PIXELS}"
        )


class _Logger:
    """Both cameras' loggers: cut frames into cubes, write them, and remember what they wrote."""

    def __init__(
        self,
        night: Path,
        rng: np.random.Generator,
        shape: tuple[int, int],
        progress: Callable[[str], None] | None,
    ) -> None:
        self._night = night
        self._rng = rng
        self._sky = _sky(shape)
        self._progress = progress
        self._next_serial = dict(_FIRST_SERIAL)
        self._next_trigger = _FIRST_TRIGGER
        self._frames: dict[int, list[Array]] = {camera: [np.empty(0, FRAME)] for camera in CAMERAS}
        self._files: list[TrueFile] = []
        for camera in CAMERAS:
            (night / f"vcam{camera}").mkdir()

    def truth(self, date: str) -> Truth:
        """Return what was written so far."""
        frames = {camera: np.concatenate(tables) for camera, tables in self._frames.items()}
        return Truth(date=date, frames=frames, files=tuple(self._files))

    def record(self, acquisition: Acquisition, begin_us: int) -> int:
        """Write an acquisition that begins then; return when it ends (UNIX, microseconds)."""
        n = acquisition.n_triggers
        flc = flc_states(n, self._rng) if acquisition.dither_us else np.zeros(n, np.int8)
        train_us = self._train(acquisition, flc)
        for camera in acquisition.cameras:
            frames = self._seen(acquisition, camera, train_us, flc)
            frames["time_us"] += begin_us
            size = acquisition.cube_frames[camera - 1]
            for number, start in enumerate(range(0, len(frames), size)):
                cube = frames[start : start + size]
                fault = acquisition.spoilt.get(number) if camera == 1 else None
                path = self._write(acquisition, camera, cube, fault)
                if camera == 1 and number in acquisition.copied:
                    self._copy(path, camera, cube)
        self._next_trigger += acquisition.n_triggers
        return begin_us + int(train_us[-1])

    def _train(self, acquisition: Acquisition, flc: Array) -> FloatArray:
        """Return when each exposure ends, microseconds from the first."""
        return trigger_times(
            flc,
            period_us=1e6 / acquisition.rate_hz,
            dither_us=acquisition.dither_us,
            walk=acquisition.walk,
            rng=self._rng,
        )

    def _seen(self, acquisition: Acquisition, camera: int, train_us: FloatArray, flc: Array) -> Array:
        """Return the frames that a camera makes of a trigger train, timed from its start."""
        if not acquisition.triggered:
            train_us = self._train(acquisition, flc)
        trigger, time_us = frames_seen(train_us, acquisition.sights[camera - 1], self._rng)
        frames = np.zeros(len(trigger), FRAME)
        frames["time_us"] = time_us
        frames["trigger"] = self._next_trigger + trigger if acquisition.triggered else -1
        frames["flc"] = flc[trigger]
        frames["serial"] = self._next_serial[camera] + np.arange(len(frames))
        self._next_serial[camera] += len(frames)
        return frames

    def _write(self, acquisition: Acquisition, camera: int, frames: Array, fault: str | None) -> Path:
        """Write one cube and its txt; return the cube's path."""
        if fault == "backwards":
            middle = len(frames) // 2
            frames["time_us"][middle] = frames["time_us"][middle - 1] - 1000
        latency_us = _LOGGING_US + np.abs(self._rng.normal(0, _LOGGING_SPREAD_US, len(frames)))
        logged_ns = frames["time_us"] * 1000 + np.rint(latency_us * 1000).astype(np.int64)
        if fault != "backwards":  # when the clock is set back, logging goes back too
            logged_ns = np.maximum.accumulate(logged_ns)
        path = self._path(camera, int(logged_ns[0]) - _NAMED_BEFORE_LOGGED_NS, acquisition.named_in_hst)
        header = fits.Header.fromstring(header_text(self._card_values(acquisition, camera, frames)))
        taken = frames[:0] if fault == "zero frames" else frames
        _write_cube(path, self._pixels(camera, taken), header, fault=fault, with_checksums=acquisition.with_checksums)
        if fault != "no txt":
            n_rows = len(taken) - 1 if fault == "txt rows" else len(taken)
            _write_timing(path.with_suffix(".txt"), taken[:n_rows], logged_ns[:n_rows])
        for written in (path, path.with_suffix(".txt")):
            if written.exists():
                os.utime(written, ns=(int(logged_ns[-1]), int(logged_ns[-1])))
        self._remember(path, camera, taken, fault)
        return path

    def _path(self, camera: int, time_ns: int, named_in_hst: bool) -> Path:
        """Return the path of the cube that begins then."""
        seconds, rest_ns = divmod(time_ns, 10**9)
        begin = EPOCH + timedelta(seconds=seconds) + (HST if named_in_hst else timedelta())
        return self._night / f"vcam{camera}" / f"vcam{camera}_{begin:%H:%M:%S}.{rest_ns:09d}.fits"

    def _copy(self, path: Path, camera: int, frames: Array) -> None:
        """Put a copy of a cube and its txt beside them, under a name that the logger might have given."""
        copy = path.with_name(f"{path.stem[:-9]}{(int(path.stem[-9:]) + 1) % 10**9:09d}.fits")
        shutil.copy2(path, copy)
        shutil.copy2(path.with_suffix(".txt"), copy.with_suffix(".txt"))
        self._remember(copy, camera, frames, DUPLICATE)

    def _remember(self, path: Path, camera: int, frames: Array, fault: str | None) -> None:
        """Add a cube to the truth."""
        table = frames.copy()
        table["file"] = len(self._files)
        name = path.relative_to(self._night).as_posix()
        self._frames[camera].append(table)
        self._files.append(TrueFile(name, camera, len(frames), fault))
        if self._progress:
            self._progress(name)

    def _pixels(self, camera: int, frames: Array) -> Array:
        """Return noisy images, uint16 of shape (n, ny, nx), with the frames' identities in them."""
        data = np.empty((len(frames), *self._sky.shape), np.uint16)
        noise = np.sqrt(self._sky)
        for image in data:
            image[:] = self._sky + noise * self._rng.standard_normal(image.shape, np.float32)
        stamp_identity(data, camera, frames)
        return data

    def _card_values(self, acquisition: Acquisition, camera: int, frames: Array) -> dict[str, Value]:
        """Return the cards that depend on the acquisition, the camera and the frames."""
        switching = acquisition.dither_us > 0
        return {
            "DATA-TYP": f"{acquisition.data_type:<16}",
            "DETECTOR": f"VCAM{camera} - OrcaQ   ",
            "EXPTIME": acquisition.exposure_us * 1e-6,
            "EXTTRIG": acquisition.triggered,
            "FILTER01": f"{'Open':<16}",
            "FILTER02": f"{acquisition.filters[camera - 1]:<16}",
            "FRATE": acquisition.rate_hz,
            "MFRATE": acquisition.rate_hz * (1 + self._rng.normal(0, 1e-5)),
            "OBJECT": f"{acquisition.target:<30}",
            "OBS-MOD": f"{acquisition.obs_mode:<16}",
            "RET-ANG1": round(acquisition.angle_deg + self._rng.uniform(-1e-3, 1e-3), 6),
            "U_CAMERA": camera,
            "U_DETMOD": f"{acquisition.mode:<16}",
            "U_FLC": f"{acquisition.flc_card:<16}",
            "U_FLCEN": switching,
            "U_FLCST": "IN" if switching else "OUT",
            "U_TRIGEN": acquisition.triggered,
            "U_TRIGJT": acquisition.dither_us,
            **time_cards(int(frames["time_us"][0]), int(frames["time_us"][-1])),
        }


def _sky(shape: tuple[int, int]) -> Array:
    """Return a star on a background, adu (float32)."""
    y, x = np.indices(shape)
    distance = np.hypot(y - shape[0] / 2, x - shape[1] / 2)
    star: Array = 2000 * np.exp(-0.5 * (distance / 3) ** 2)
    return (200 + star).astype(np.float32)


def _write_cube(path: Path, data: Array, header: fits.Header, *, fault: str | None, with_checksums: bool) -> None:
    """Write a cube, or what a fault leaves of it."""
    if fault == "two-dimensional":
        data = data[0]
    elif fault == "float":
        data = data.astype(np.float32)
    elif fault == "no EXPTIME":
        del header["EXPTIME"]
    hdus = fits.HDUList([fits.PrimaryHDU(data, header)])
    if fault == "several HDUs":
        hdus.append(fits.ImageHDU(data[0]))
    if with_checksums:
        hdus[0].add_checksum(when=f"HDU checksum updated {header['DATE']}")
    hdus.writeto(path)
    if fault == "truncated":
        os.truncate(path, len(hdus[0].header.tostring()) + data.nbytes // 2)
    elif fault == "unreadable":
        path.write_bytes(bytes(path.stat().st_size))  # zeros, as a crash of the machine leaves them


def _write_timing(path: Path, frames: Array, logged_ns: Array) -> None:
    """Write a timing file as milk's logger does, from integers: no digit is rounded."""
    columns = (column.tolist() for column in (frames["serial"] + _FIRST_INDEX, logged_ns, frames["time_us"]))
    rows = (
        f"{i:10d}  {index:10d}  {_decimal(logged - int(logged_ns[0]), 9):>15}   {_decimal(logged, 9):>20}"
        f"  {_decimal(time_us, 6):>17}   {index:10d}   {0:10d}\n"
        for i, (index, logged, time_us) in enumerate(zip(*columns, strict=True))
    )
    path.write_text(_TIMING_HEAD + "".join(rows), "ascii")


def _decimal(number: int, decimals: int) -> str:
    """Return ``number / 10**decimals`` for a number that is not negative."""
    whole, rest = divmod(number, 10**decimals)
    return f"{whole}.{rest:0{decimals}d}"

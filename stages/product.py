"""A product, and the raw files that it is made of."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


def frames_of(runs: tuple[Run, ...]) -> Iterator[int]:
    """Yield the frame indices that `runs` name, in order."""
    for first, step, n in runs:
        yield from range(first, first + step * n, step)

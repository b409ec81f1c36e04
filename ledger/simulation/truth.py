"""What a simulated night really was, and how its frames say who they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

#: One frame as it was: its number in the camera, the trigger that caused it (-1: none) counted over the
#: night, the FLC state (+1 A, -1 B, 0 not switching), the end of its exposure (UNIX, microseconds, as in
#: column 5 of the txt) and the index of its file in `Truth.files`.
FRAME = np.dtype([("serial", "i8"), ("trigger", "i8"), ("flc", "i1"), ("time_us", "i8"), ("file", "i4")])

#: What the first pixels of a frame say.
IDENTITY = np.dtype([("camera", "i8"), ("serial", "i8"), ("trigger", "i8")])

#: Pixels at the start of a frame's first row that carry its identity.
IDENTITY_PIXELS = 5

_NO_TRIGGER = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class TrueFile:
    """One raw file of a simulated night.

    Attributes
    ----------
    path : str
        Of the cube, relative to the night's folder.
    camera : int
        1 or 2.
    n_frames : int
        Frames that the camera put into it, whether or not the fault lets one see them.
    fault : str or None
        One of :data:`ledger.simulation._blocks.FAULTS`.
    """

    path: str
    camera: int
    n_frames: int
    fault: str | None


@dataclass(frozen=True, eq=False, slots=True)
class Truth:
    """What a simulated night really was.

    Attributes
    ----------
    date : str
        ``YYYYMMDD``.
    frames : mapping of int to ndarray of FRAME, shape (n,)
        By camera: every frame of every file, in the order of `files`.  Serials are unique among files
        without fault; a duplicate repeats those of its original.
    files : tuple of TrueFile
        All cubes, in the order they were written.
    """

    date: str
    frames: Mapping[int, Array]
    files: tuple[TrueFile, ...]

    def save(self, path: Path) -> None:
        """Write the truth as npz, without pickles; :func:`load_truth` reads it."""
        with path.open("wb") as stream:
            np.savez(
                stream,
                date=np.array(self.date),
                path=np.array([f.path for f in self.files]),
                camera=np.array([f.camera for f in self.files]),
                n_frames=np.array([f.n_frames for f in self.files]),
                fault=np.array([f.fault or "" for f in self.files]),
                frames1=self.frames[1],
                frames2=self.frames[2],
            )


def load_truth(path: Path) -> Truth:
    """Return what :meth:`Truth.save` wrote."""
    with np.load(path, allow_pickle=False) as saved:
        columns = (saved[name].tolist() for name in ("path", "camera", "n_frames", "fault"))
        return Truth(
            date=str(saved["date"]),
            frames={1: saved["frames1"], 2: saved["frames2"]},
            files=tuple(TrueFile(p, c, n, fault or None) for p, c, n, fault in zip(*columns, strict=True)),
        )


def stamp_identity(data: Array, camera: int, frames: Array) -> None:
    """Write who the frames are into their first pixels: camera, and serial and trigger, low half first.

    Parameters
    ----------
    data : ndarray of uint16, shape (n, ny, nx)
        Images, changed in place.
    camera : int
        1 or 2.
    frames : ndarray of FRAME, shape (n,)
        Who they are.
    """
    data[:, 0, 0] = camera
    for column, name in ((1, "serial"), (3, "trigger")):
        number = frames[name] & _NO_TRIGGER  # -1 has all bits set
        data[:, 0, column] = number & 0xFFFF
        data[:, 0, column + 1] = number >> 16


def frame_identity(data: Array) -> Array:
    """Return who the frames of a cube are, wherever they went.

    Parameters
    ----------
    data : ndarray of uint16 (any byte order), shape (n, ny, nx)
        Frames of a simulated night, in any order and selection, with BZERO applied.

    Returns
    -------
    ndarray of IDENTITY, shape (n,)
        Camera, serial, and trigger (-1: none).

    Raises
    ------
    ValueError
        If `data` is not uint16, not 3-d, or narrower than an identity.
    """
    if data.ndim != 3 or data.dtype.newbyteorder("=") != np.uint16 or data.shape[2] < IDENTITY_PIXELS:
        raise ValueError(
            f"cannot read identities from {data.dtype} of shape {data.shape}: expected uint16 (n, ny, nx) "
            f"with nx >= {IDENTITY_PIXELS}; pass the cube with BZERO applied"
        )
    pixels = data[:, 0, :IDENTITY_PIXELS].astype(np.int64)
    trigger = pixels[:, 3] | pixels[:, 4] << 16
    identity = np.empty(len(data), IDENTITY)
    identity["camera"] = pixels[:, 0]
    identity["serial"] = pixels[:, 1] | pixels[:, 2] << 16
    identity["trigger"] = np.where(trigger == _NO_TRIGGER, -1, trigger)
    return identity

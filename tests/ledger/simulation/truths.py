"""A simulated night, and what its truth says of it."""

from pathlib import Path

import numpy as np

from ledger.simulation.night import TrueFile, Truth

DATE = "20260102"


def tables(truth: Truth) -> list[tuple[TrueFile, np.ndarray]]:
    """Return each cube with its frames."""
    return [(f, truth.frames[f.camera][truth.frames[f.camera]["file"] == i]) for i, f in enumerate(truth.files)]


def timing(cube: Path) -> list[str]:
    lines = cube.with_suffix(".txt").read_text("ascii").splitlines()
    return [line for line in lines if not line.startswith("#")]


def acquired_us(rows: list[str]) -> list[int]:
    return [int(row.split()[4].replace(".", "")) for row in rows]


def joined(trains, target: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the times in the txt files and the frames of both cameras."""
    return [tuple(map(np.concatenate, zip(*trains[target][camera], strict=True))) for camera in (1, 2)]


def offset_us(trains, target: str) -> np.ndarray:
    """Return by how much camera 2 is late, trigger by trigger."""
    (first_us, first), (second_us, second) = joined(trains, target)
    _, in_1, in_2 = np.intersect1d(first["trigger"], second["trigger"], return_indices=True)
    return second_us[in_2] - first_us[in_1]

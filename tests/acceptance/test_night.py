"""A night goes end to end, on both databases: one that the project simulates, and one written by others."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from ledger.simulation.night import Truth
from tests.acceptance.check import Finished
from tests.others import N_LOST, write_night
from tests.tools import SHARED, beside
from tests.world import DATE, World

#: Of the tests; another one is used as well where the project is checked out beside it.
WRITERS = {"of the tests": lambda root: (write_night(root, DATE), N_LOST)}
RAW_NIGHT = SHARED / "raw_night.py"


def advance_to_the_end(world: World) -> dict[str, bytes]:
    """Advance the night; return the plain cubes as they were before they were compressed."""
    result = world.advance(to="identified")
    assert result.succeeded, result
    folder = world.folder / "archive" / DATE / "vgen2"
    plain = {path.name: path.read_bytes() for path in folder.glob("*.fits")}
    result = world.advance()
    assert result.succeeded, result
    assert set(result.states) == {"manifested"}
    return plain


def test_a_simulated_night(world, tmp_path):
    truth = world.simulate(scale=0.15)
    plain = advance_to_the_end(world)
    finished = Finished(world, DATE)
    usable = [file for file in truth.files if file.fault is None]
    finished.check_everything(sum(file.n_frames for file in usable))
    finished.check_funpack(plain, tmp_path)
    faulty = {file.path for file in truth.files if file.fault is not None}
    assert set(finished.quarantined) == faulty
    assert all(finished.quarantined.values())
    check_labels(finished, {c: {int(r["serial"]): int(r["flc"]) for r in truth.frames[c]} for c in (1, 2)})
    audit(world)


def test_a_night_of_hard_trains(sqlite_world):
    truth = sqlite_world.simulate(scenario=("trains",), scale=0.5)
    advance_to_the_end(sqlite_world)
    finished = Finished(sqlite_world, DATE)
    finished.check_everything(sum(file.n_frames for file in truth.files))
    assert finished.quarantined == {}
    check_trains(finished, truth)
    audit(sqlite_world)


@pytest.mark.parametrize("writer", [*WRITERS, beside("an independent writer of raw nights", RAW_NIGHT)])
def test_a_night_written_by_others(world, tmp_path, writer):
    root = world.folder / "archive"
    truth, lost = WRITERS[writer](root) if writer in WRITERS else write_by(writer, root)
    plain = advance_to_the_end(world)
    finished = Finished(world, DATE)
    assert len(finished.quarantined) == 1  # one file without its txt
    assert "txt" in next(iter(finished.quarantined.values()))
    n_frames = sum(len(truth[cam]) for cam in ("cam1", "cam2"))
    finished.check_everything(n_frames - lost)
    finished.check_funpack(plain, tmp_path)
    check_pairs(finished, {c: {int(r[0]): int(r[1]) for r in truth[f"cam{c}"]} for c in (1, 2)}, lost)
    check_labels(finished, {c: {int(r[0]): int(r[2]) for r in truth[f"cam{c}"]} for c in (1, 2)})
    audit(world)


def write_by(program: Path, root: Path) -> tuple[dict[str, np.ndarray], int]:
    """Write a night by a program beside the checkout; return its truth, and of how many frames there is no txt."""
    subprocess.run([sys.executable, str(program), str(root), DATE, "mix"], check=True, capture_output=True)
    truth_file = root / f"truth_{DATE}.npz"
    truth = dict(np.load(truth_file))
    truth_file.unlink()
    return truth, 300


def check_trains(finished: Finished, truth: Truth) -> None:
    """Every exposure of both cameras is a pair, no A is a B, and D are few where nothing hides the states."""
    check_labels(finished, {c: {int(r["serial"]): int(r["flc"]) for r in truth.frames[c]} for c in (1, 2)}, dubious=0.2)
    triggers = [set(truth.frames[camera]["trigger"].tolist()) - {-1} for camera in (1, 2)]
    paired = [len(finished.frames[p["frame_id"]]) for p in finished.products if p["synchronised"]]
    assert sum(paired) == 2 * len(triggers[0] & triggers[1])
    n_frames: Counter = Counter()
    n_dubious: Counter = Counter()
    for product in finished.products:
        target = finished.header(product)["OBJECT"].strip()
        n_frames[target] += len(finished.frames[product["frame_id"]])
        n_dubious[target] += len(finished.frames[product["frame_id"]]) * (product["flc"] == "D")
    assert n_frames["1 kHz"] == n_frames["SLOW"] == n_frames["Offset"] > 100
    # the first and the last trigger may be of no whole cycle, on either side of a change that breaks the count
    for target in ("1 kHz", "SLOW", "Noisy", "Steps", "Pause", "Offset", "Tiny cubes", "1 Hz"):
        assert n_dubious[target] <= 8, target


def check_labels(finished: Finished, flc: dict[int, dict[int, int]], *, dubious: float = 0.1) -> None:
    """No A is a B; FLC states are given exactly where it was switching; no larger share of frames is dubious."""
    switching = in_doubt = 0
    for product in finished.products:
        states = {flc[camera][serial] for camera, serial, _ in finished.frames[product["frame_id"]]}
        expected = {"A": {1}, "B": {-1}, "D": {1, -1}, None: {0}}[product["flc"]]
        assert states <= expected, (product, states)
        n = len(finished.frames[product["frame_id"]])
        switching += n if product["flc"] else 0
        in_doubt += n if product["flc"] == "D" else 0
    assert switching > 0
    assert in_doubt < dubious * switching


def check_pairs(finished: Finished, triggers: dict[int, dict[int, int]], lost: int) -> None:
    """Frames that share a trigger are paired, except those whose partner's file is in quarantine."""
    common = {t for t in triggers[1].values() if t >= 0} & {t for t in triggers[2].values() if t >= 0}
    assert common
    paired = [len(finished.frames[p["frame_id"]]) for p in finished.products if p["synchronised"]]
    possible = len(world_pairs(triggers))
    assert sum(paired) == 2 * (possible - lost)


def world_pairs(triggers: dict[int, dict[int, int]]) -> list[tuple[int, int]]:
    """Return the pairs of serials that truth has: equal triggers, block by block in order."""
    first = [(s, t) for s, t in triggers[1].items() if t >= 0]
    second = [(s, t) for s, t in triggers[2].items() if t >= 0]
    pairs, j = [], 0
    blocks = np.cumsum([0] + [int(b[1] < a[1]) for a, b in zip(second, second[1:], strict=False)])
    index = {(int(block), t): s for block, (s, t) in zip(blocks, second, strict=True)}
    for i, (s, t) in enumerate(first):
        j += int(i > 0 and t < first[i - 1][1])
        if (j, t) in index:
            pairs.append((s, index[j, t]))
    return pairs


def audit(world: World) -> None:
    done = world.run("audit")
    assert done.returncode == 0, done.stdout

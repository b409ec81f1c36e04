"""Raw nights that come in portions, whichever first."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from ledger.simulation.night import simulate_night

#: Parts of a night that can come by themselves, in order of time. The last two are of one acquisition.
PORTIONS = ("early", "main", "tail")
STREAMS = ("vcam1", "vcam2")


class Portions:
    """Tiny raw nights, simulated once.

    Parameters
    ----------
    root : Path
        Where they are kept.
    dates : sequence of str
        The nights.
    """

    def __init__(self, root: Path, dates: Sequence[str]) -> None:
        self.root = root
        self._names: dict[tuple[str, str], list[str]] = {}
        for date in dates:
            truth = simulate_night(root, date, scale=0.05, shape=(1, 5), scenario=("onecamera", "bad"))
            early, first, last, *others = [file.path for file in truth.files if file.fault is None]
            assert [name.split("/")[0] for name in (early, first, last, *others)] == ["vcam1"] * 3 + ["vcam2"] * 2
            names = {"early": [early], "main": [first, others[0]], "tail": [last, others[1]]}
            self._names |= {(date, portion): names[portion] for portion in PORTIONS}

    def names(self, date: str, portion: str) -> frozenset[str]:
        """Return the cubes of a portion, relative to their night."""
        return frozenset(self._names[date, portion])

    def bring(self, root: Path, date: str, portion: str) -> None:
        """Put a portion under another root, or what is missing of it."""
        for stream in STREAMS:
            (root / date / stream).mkdir(parents=True, exist_ok=True)
        for name in self._names[date, portion]:
            for file in (Path(date, name), Path(date, name).with_suffix(".txt")):
                if not (root / file).exists():
                    shutil.copy2(self.root / file, root / file)

    def lose_timing(self, root: Path, date: str, portion: str) -> None:
        """Remove the timing files of a portion."""
        for name in self._names[date, portion]:
            (root / date / name).with_suffix(".txt").unlink()

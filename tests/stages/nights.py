"""Nights of known truth: timing files alone, as the stage `synced` reads no pixels."""

from collections import Counter

import numpy as np

from stages import synced
from stages.base import Job
from stages.fits.timing import Timing, format_timing
from stages.instrument import Instrument, Stream
from stages.product import Raw, frames_of
from stages.synced import Parameters

START_US = 1_767_333_600_000_000  # 2026-01-02 06:00:00 UT
HEAD = b"# col1 : datacube frame index\n"
CARDS = {
    "EXPTIME": 0.002,
    "EXTTRIG": True,
    "U_FLCEN": True,
    "U_FLCST": "IN",
    "U_FLC": "NA",
    "U_TRIGJT": 80,
    "U_DETMOD": "FAST",
    "PRD-RNG2": 536,
    "NAXIS1": 32,
    "NAXIS2": 24,
    "RET-ANG1": 0.0,
    "FILTER01": "Open",
    "FILTER02": "Open",
    "OBJECT": "HD141569A",
}
INSTRUMENT = Instrument("VAMPIRES", (Stream("vcam1", 1), Stream("vcam2", 2)))


class Night:
    """Writes timing files as a camera's logger does, and remembers which trigger each frame is of."""

    def __init__(self, folder):
        self.folder = folder
        self.raws = []
        self.truth = {}

    def add(self, camera, times_us, triggers=None, cube=300, **cards):
        values = {
            **CARDS,
            **{name.replace("_", "-", 1) if name == "RET_ANG1" else name: v for name, v in cards.items()},
        }
        for start in range(0, len(times_us), cube):
            t = np.asarray(times_us[start : start + cube], np.int64)
            name = f"vcam{camera}_{len(self.raws):04d}"
            index = np.arange(len(t), dtype=np.int64)
            path = self.folder / f"{name}.txt"
            path.write_bytes(
                format_timing(Timing(HEAD, index, index, (t - t[0]) * 1000, t * 1000, t, index, index * 0))
            )
            self.raws.append(
                Raw(
                    cube=path.with_suffix(".fits"),
                    timing=path,
                    identity=f"{len(self.raws):064x}",
                    camera=camera,
                    n_frames=len(t),
                    size_bytes=1,
                    mtime_ns=1,
                    first_us=int(t.min()),
                    last_us=int(t.max()),
                    exposure_us=round(values["EXPTIME"] * 1e6),
                    cards=values,
                )
            )
            if triggers is not None:
                for frame, trigger in enumerate(triggers[start : start + cube]):
                    self.truth[self.raws[-1].identity, frame] = int(trigger)

    def block(
        self,
        rng,
        n,
        *,
        start_us=START_US,
        period_us=2000.0,
        offset_us=110.0,
        drop=0.0,
        dither_us=80,
        cube=300,
        first_trigger=0,
        cameras=(1, 2),
        **cards,
    ):
        """Add a shared train of triggers whose period walks; even triggers are A."""
        triggers = np.arange(n) + first_trigger
        base_us = start_us + np.cumsum(period_us + rng.normal(0, 4, n))
        base_us += np.where(triggers % 2 == 0, 1, -1) * dither_us / 2
        for camera in cameras:
            t = np.rint(base_us + (camera - 1) * offset_us + rng.normal(0, 7, n)).astype(np.int64)
            kept = rng.random(n) >= drop
            self.add(camera, t[kept], triggers[kept], cube, **{"U_TRIGJT": dither_us, **cards})

    def job(self, **changes):
        night = self.folder
        return Job(night, "20260102", night / "vgen2", INSTRUMENT, raws=tuple(self.raws), **changes)

    def run(self, params=None, **changes):
        outcome = synced.forward(job=self.job(**changes), params=params or Parameters())
        frames = Counter(key for product in outcome.products for key in frames_in(product.parts))
        assert frames == {(raw.identity, i): 1 for raw in self.raws for i in range(raw.n_frames)}
        for product in outcome.products:
            siblings = [p for p in outcome.products if p.parts == product.sibling_parts and p.flc == product.flc]
            assert len(siblings) == product.synchronised
            if product.synchronised:
                assert siblings[0].sibling_parts == product.parts
                assert siblings[0].camera != product.camera
                assert siblings[0].group == product.group
        assert len({p.identity for p in outcome.products}) == len(outcome.products)
        assert len({p.name for p in outcome.products}) == len(outcome.products)
        return outcome

    def triggers(self, parts):
        return [self.truth[key] for key in frames_in(parts)]


def frames_in(parts):
    return [(part.raw.identity, i) for part in parts for i in frames_of(part.runs)]


def names(outcome):
    return [p.name for p in outcome.products]

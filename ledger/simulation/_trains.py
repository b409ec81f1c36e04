"""Trigger trains of known truth: when triggers come, and which of them each camera makes a frame of.

Each trigger waits for the slower camera, so the period is no strict clock: it jitters, walks, drifts, and
steps where the mode changes (docs/design.md, A raw night).  A dither makes gaps alternate, so that the FLC state can
be read back from frame times.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

#: Readout of the slower of two cameras is over when the later of two normal deviates is.
_CAMERAS = 2


@dataclass(frozen=True, slots=True)
class Walk:
    """How far the trigger is from a strict clock.

    Attributes
    ----------
    ready_us : float
        By how much the readiness of either camera varies from trigger to trigger (standard deviation).
    period_us : float
        Standard deviation of what is added to the period at each trigger, for good: a random walk.
    drift : float
        By how much the period grows from the first trigger to the last, relative.
    steps : sequence of (float, float)
        Where in the train (0 to 1) the period changes at once, and by which factor.
    pauses : sequence of (float, float)
        Where in the train (0 to 1) triggers pause, and for how many seconds.
    """

    ready_us: float = 6.0
    period_us: float = 0.02
    drift: float = 2e-3
    steps: Sequence[tuple[float, float]] = ()
    pauses: Sequence[tuple[float, float]] = ()


@dataclass(frozen=True, slots=True)
class Sight:
    """How a camera sees a trigger train.

    Attributes
    ----------
    offset_us : float
        How late all its frames are.
    clock_ppm : float
        By how much that grows, microseconds per second; quartz keeps time to some parts in a million.
    noise_us : float
        Standard deviation of its times: 7 in FAST mode, up to 173 in SLOW (docs/design.md, A raw night).
    skipped, stopped : int
        Triggers that pass before it starts, and after it stopped.
    drop : float
        Probability of each frame to be lost by itself.
    burst : float
        Probability at each trigger that the camera begins to lose frames there, two on average or `burst_frames`.
    burst_frames : float
        Mean length of what a burst loses, frames.
    repeated : float
        Probability of each frame to be logged twice, with identical times.
    """

    offset_us: float = 0.0
    clock_ppm: float = 0.0
    noise_us: float = 7.0
    skipped: int = 0
    stopped: int = 0
    drop: float = 0.0
    burst: float = 0.0
    burst_frames: float = 2.0
    repeated: float = 0.0


def flc_states(n: int, rng: np.random.Generator) -> npt.NDArray[np.int8]:
    """Return the FLC's state at each of `n` triggers: +1 and -1 in turn, whichever is first."""
    first = rng.choice((1, -1))
    states: npt.NDArray[np.int8] = np.where(np.arange(n) % 2, -first, first).astype(np.int8)
    return states


def trigger_times(
    flc: npt.NDArray[np.int8], *, period_us: float, dither_us: float, walk: Walk, rng: np.random.Generator
) -> FloatArray:
    """Return when each exposure ends.

    Parameters
    ----------
    flc : ndarray of int8, shape (n,)
        State at each trigger: the gap after +1 is short by the dither, that after -1 long (docs/design.md, FLC states
        and cycles).
    period_us : float
        Mean period, microseconds.
    dither_us : float
        Half-width J of the dither, microseconds.
    walk : Walk
        How the period is no clock.
    rng : Generator
        Random numbers.

    Returns
    -------
    ndarray of float64, shape (n,)
        Microseconds from the first, ascending.
    """
    n = len(flc)
    place = np.linspace(-0.5, 0.5, n) if n > 1 else np.zeros(n)
    factor = 1 + walk.drift * place
    pause_us = np.zeros(n)
    for where, by in walk.steps:
        factor[int(where * n) :] *= by
    for where, pause_s in walk.pauses:
        pause_us[int(where * n) : int(where * n) + 1] += pause_s * 1e6
    walked_us = np.cumsum(rng.normal(0, walk.period_us, n))
    slower_us = np.abs(rng.normal(0, walk.ready_us, (_CAMERAS, n))).max(axis=0)
    gaps_us = period_us * factor + walked_us + slower_us + pause_us - float(dither_us) * flc
    return np.concatenate(([0.0], np.cumsum(gaps_us[:-1])))[:n]


def frames_seen(train_us: FloatArray, sight: Sight, rng: np.random.Generator) -> tuple[Int64Array, Int64Array]:
    """Return the frames that a camera makes of a train.

    Parameters
    ----------
    train_us : ndarray of float64, shape (n,)
        When triggers come, microseconds.
    sight : Sight
        How the camera sees them.
    rng : Generator
        Random numbers.

    Returns
    -------
    trigger : ndarray of int64, shape (m,)
        Which trigger each frame is of, never descending.
    time_us : ndarray of int64, shape (m,)
        Acquisition times, microseconds, never descending.
    """
    n = len(train_us)
    time_us = train_us * (1 + sight.clock_ppm * 1e-6) + sight.offset_us + rng.normal(0, sight.noise_us, n)
    kept = rng.random(n) >= sight.drop
    for start in np.flatnonzero(rng.random(n) < sight.burst):
        kept[start : start + rng.geometric(1 / sight.burst_frames)] = False
    kept[: sight.skipped] = False
    kept[max(n - sight.stopped, 0) :] = False
    times = np.where(kept, 1 + (rng.random(n) < sight.repeated), 0)
    trigger = np.repeat(np.arange(n), times)
    return trigger, np.maximum.accumulate(np.rint(time_us).astype(np.int64)[trigger])

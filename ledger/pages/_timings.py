"""Times of frames, read again from the timing files of groups at regular places: the cameras' offset, and the FLC.

What is on record of pairing says which frame is whose partner; their times are in the timing files alone.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Row, func, select
from sqlmodel import Session, col

from ledger.db.models import File, Lineage, Night
from ledger.night.products import RAW_COLUMNS, to_raw
from stages.base import BadInput, Retry
from stages.fits.timing import read_used_rows
from stages.product import frames_of

Int64Array = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

#: Groups that are looked at, and timing files that are kept in memory.
_GROUPS, _KEPT = 120, 16

#: Cells of the picture of the FLC's gaps, each way.
CELLS = 40

#: The picture goes no farther than this many times the middle of the cloud that is farthest out.
_REACH = 3.0

#: A gap longer than this many periods spans a trigger that left no frame.
_LONG = 1.5

_QUANTILES = (0.05, 0.5, 0.95)


@dataclass(frozen=True, slots=True)
class Offset:
    """A group of pairs: when, how many, the cameras' offset, and 5 % and 95 % of the residuals, microseconds."""

    at_us: int
    pairs: int
    offset_us: float
    low_us: float
    high_us: float


@dataclass(frozen=True, slots=True)
class Fold:
    """Gaps before and after frames, less the period, counted in cells: how many there are of each state of the FLC.

    Attributes
    ----------
    reach_us : float
        Cells go from minus this to this, both ways, microseconds.
    cells : mapping of str to dict
        By state, (column of the gap before, row of the gap after) to frames.
    middle_us : mapping of str to tuple of float
        By state, the medians of the gap before and after.
    frames : Counter
        By state.
    """

    reach_us: float
    cells: dict[str, dict[tuple[int, int], int]]
    middle_us: dict[str, tuple[float, float]]
    frames: Counter[str]


@dataclass(slots=True)
class Timings:
    """What timing files say.

    Attributes
    ----------
    groups, looked_at, read : int
        Groups of the night, those that were looked at, and those of them whose timing files could be read.
    fault : str
        Why the first of the others could not be read.
    offsets : list of Offset
        In order of time.
    fold : Fold or None
        None if the FLC was not switching.
    """

    groups: int = 0
    looked_at: int = 0
    read: int = 0
    fault: str = ""
    offsets: list[Offset] = field(default_factory=list)
    fold: Fold | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Frames:
    """Frames of one product: camera, state, whether they have partners, and times, microseconds."""

    camera: int
    flc: str | None
    is_paired: bool
    times_us: Int64Array


def read_timings(session: Session, night: Night) -> Timings:
    """Return what the timing files of groups at regular places say."""
    of_night = (col(File.night_id) == night.id, col(File.kind) == "product")
    number = col(File.group_number)
    begun = select(number, func.min(col(File.first_us))).where(*of_night, number.is_not(None)).group_by(number)
    every = session.execute(begun.order_by(func.min(col(File.first_us)))).all()
    places = sorted({int(place) for place in np.linspace(0, len(every) - 1, min(_GROUPS, len(every)))})
    chosen = {int(every[place][0]): int(every[place][1]) for place in places}
    found = Timings(groups=len(every), looked_at=len(chosen))
    columns = (File.id, File.camera, File.flc, File.synchronised)
    products: dict[int, list[Row[Any]]] = defaultdict(list)
    for row in session.execute(select(number, *map(col, columns)).where(*of_night, number.in_(chosen))):
        products[row.group_number].append(row)
    known: dict[int, Int64Array] = {}

    def times_of(row: Row[Any]) -> Int64Array:
        if row.id not in known:
            if len(known) >= _KEPT:
                known.pop(next(iter(known)))
            known[row.id] = read_used_rows(to_raw(night, row)).acquired_us
        return known[row.id]

    gaps: dict[str, list[tuple[FloatArray, FloatArray]]] = defaultdict(list)
    for group, at_us in chosen.items():
        try:
            frames = _frames(session, products[group], times_of)
        except (BadInput, Retry) as exc:
            found.fault = found.fault or str(exc)
            continue
        found.read += 1
        if frames:
            _add(found, frames, at_us, gaps)
    found.fold = _folded(gaps)
    return found


def _frames(
    session: Session, products: Sequence[Row[Any]], times_of: Callable[[Row[Any]], Int64Array]
) -> list[_Frames]:
    """Return the frames of the products of a group."""
    lines = session.execute(
        select(col(Lineage.product_id), col(Lineage.raw_id), col(Lineage.runs))
        .where(col(Lineage.product_id).in_([row.id for row in products]))
        .order_by(col(Lineage.product_id), col(Lineage.position))
    ).all()
    raws = session.execute(
        select(*(getattr(File, name) for name in RAW_COLUMNS)).where(col(File.id).in_({row.raw_id for row in lines}))
    ).all()
    raw_of = {row.id: row for row in raws}
    parts: dict[int, list[Int64Array]] = defaultdict(list)
    for line in lines:
        numbers = list(frames_of(tuple((int(first), int(step), int(n)) for first, step, n in line.runs)))
        parts[line.product_id].append(times_of(raw_of[line.raw_id])[numbers])
    made = [(row, parts[row.id]) for row in products if row.id in parts]
    return [_Frames(row.camera, row.flc, row.synchronised, np.concatenate(times)) for row, times in made]


def _add(
    found: Timings, frames: Sequence[_Frames], at_us: int, gaps: dict[str, list[tuple[FloatArray, FloatArray]]]
) -> None:
    """Take the frames of a group into account."""
    cameras = sorted({each.camera for each in frames})
    paired = {(each.camera, each.flc): each.times_us for each in frames if each.is_paired}
    apart = [
        paired[cameras[1], flc] - times_us
        for (camera, flc), times_us in paired.items()
        if camera == cameras[0] and (cameras[-1], flc) in paired and len(cameras) == 2
    ]
    middle_us = 0.0
    if apart:
        distances = np.concatenate(apart)
        low_us, middle_us, high_us = np.quantile(distances, _QUANTILES)
        found.offsets.append(
            Offset(at_us, len(distances), float(middle_us), float(low_us - middle_us), float(high_us - middle_us))
        )
    # all triggers on the clock of the first camera: its frames, and those of the other that lack a partner
    mine = [each for each in frames if each.camera == cameras[0] or not (each.is_paired and apart)]
    times_us = np.concatenate([each.times_us - middle_us * (each.camera != cameras[0]) for each in mine])
    states = np.concatenate([np.full(len(each.times_us), each.flc or "") for each in mine])
    order = np.argsort(times_us, kind="stable")
    times_us, states = times_us[order], states[order]
    spans = np.diff(times_us)
    if len(spans) < 3:
        return
    period_us = float(np.median(times_us[2:] - times_us[:-2])) / 2
    if period_us <= 0:
        return
    before, after, state = spans[:-1], spans[1:], states[1:-1]
    is_near = np.maximum(before, after) < _LONG * period_us
    for name in ("A", "B", "D"):
        chosen = is_near & (state == name)
        if chosen.any():
            gaps[name].append((before[chosen] - period_us, after[chosen] - period_us))


def _folded(gaps: dict[str, list[tuple[FloatArray, FloatArray]]]) -> Fold | None:
    """Return gaps counted in cells."""
    if not gaps:
        return None
    joined = {
        state: (np.concatenate([b for b, _ in pieces]), np.concatenate([a for _, a in pieces]))
        for state, pieces in sorted(gaps.items())
    }
    sure = [joined[state] for state in joined if state != "D"] or list(joined.values())
    widest_us = float(np.quantile(np.abs(np.concatenate([side for pair in sure for side in pair])), 0.99))
    # by its distance from nothing: a cloud around nothing must be in reach too, so that there always is a cell
    middle_us = max(float(np.median(np.abs(side))) for pair in sure for side in pair)
    reach_us = max(1.0, min(1.25 * widest_us, _REACH * middle_us))
    cells: dict[str, dict[tuple[int, int], int]] = {}
    for state, pair in joined.items():
        columns = np.floor((np.stack(pair) / reach_us + 1) / 2 * CELLS).astype(np.int64)
        inside = ((columns >= 0) & (columns < CELLS)).all(axis=0)
        places, n = np.unique(columns[:, inside], axis=1, return_counts=True)
        cells[state] = {(int(x), int(y)): int(count) for x, y, count in zip(*places, n, strict=True)}
    return Fold(
        reach_us,
        cells,
        {state: (float(np.median(before)), float(np.median(after))) for state, (before, after) in joined.items()},
        Counter({state: len(before) for state, (before, _) in joined.items()}),
    )

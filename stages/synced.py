"""State ``synced``: which frames make which products.

Works on times; reads no pixels. See docs/design.md, Groups and products.

Frames of all raw files of a camera are a *train* (:mod:`stages.pairing.trains`).  Frames of both trains become
*exposures*: a pair of frames of both cameras, or one frame alone (:mod:`stages.pairing.exposures`).  Exposures get an
FLC state (:mod:`stages.pairing.cycles`), then are cut into *groups* (:mod:`stages.pairing.groups`), and each group
gives one product per camera and state.  Every frame is in one exposure and every exposure in one group, so every frame
is in exactly one product.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import chain, count
from typing import Literal

import numpy as np
import numpy.typing as npt

from stages import base
from stages.base import BadInput, Job, Outcome
from stages.check.witnesses import Observed, unexpected
from stages.fits.formats import read_dictionary
from stages.instrument import Cards, Instrument
from stages.lineage import identity_of, pack_runs
from stages.pairing.cycles import LETTERS, find_cycles
from stages.pairing.exposures import PAIRED, SOLO, UNPAIRED, Exposures, expose, pairing_tolerance_us
from stages.pairing.groups import comparable, cut_groups, find_segments
from stages.pairing.trains import Train, read_train
from stages.product import Part, Product, Raw

Int64Array = npt.NDArray[np.int64]

#: Frames that are worked on at once, at least: enough that the work is in arrays, few enough for any memory.
_BATCH_FRAMES = 500_000

#: Bounds of what can be set: a group spans a microsecond at least, nothing is longer than 30 years.
_LEAST_GROUP_S, _MOST = 1e-6, 1e9


@dataclass(frozen=True)
class Parameters:
    """What the configuration can set; rules and numbers are docs/design.md, Groups and products.

    Attributes
    ----------
    tolerance_us_per_row : float
        Frames pair within this times the rows read (NAXIS2 where the header does not say), microseconds.
    slow_mode : str
        Detector mode in which the tolerance is `slow_factor` times as wide.
    slow_factor : float
        See there.
    dead_time_s : float
        A longer time without exposure starts a group, seconds.
    group_s : float
        A group ends, between cycles, once it spans this much, seconds.
    enforce_pairs : bool
        Whether what is not part of a whole cycle of A and B becomes D.
    polarity : str
        Which gap follows frame A: ``short_first`` or ``long_first``.
    significance : float
        Standard errors from which on an alternation is believed; see :func:`stages.pairing.flc.read_states`.
    cut_either, cut_own : tuple of str
        A group starts where one of these cards changes in either camera, or in the frame's own camera.
    rounded : tuple of str
        Cards compared as the dictionary prints them.
    flagged : tuple of str
        Cards whose disagreement between siblings is remarked.
    """

    tolerance_us_per_row: float = 0.868
    slow_mode: str = "SLOW"
    slow_factor: float = 2.5
    dead_time_s: float = 3.0
    group_s: float = 10.0
    enforce_pairs: bool = True
    polarity: Literal["short_first", "long_first"] = "short_first"
    significance: float = 4.0
    cut_either: tuple[str, ...] = (
        "EXPTIME",
        "NAXIS1",
        "NAXIS2",
        "RET-ANG1",
        "FILTER01",
        "OBJECT",
        "DATA-TYP",
        "PROP-ID",
        "OBS-MOD",
        "U_DETMOD",
        "PRD-MIN1",
        "PRD-MIN2",
    )
    cut_own: tuple[str, ...] = ("FILTER02",)
    rounded: tuple[str, ...] = ("RET-ANG1",)
    flagged: tuple[str, ...] = ("RET-ANG1", "EXPTIME")

    def __post_init__(self) -> None:
        """Refuse numbers that no time in a night is measured by, NaN among them; a group has to end some time."""
        for name in ("tolerance_us_per_row", "slow_factor", "dead_time_s", "group_s", "significance"):
            value = getattr(self, name)
            least = _LEAST_GROUP_S if name == "group_s" else 0.0
            if not least <= value <= _MOST:
                raise ValueError(f"{name}: found {value!r}, expected a number from {least:g} to {_MOST:g}")


def forward(*, job: Job, params: Parameters) -> Outcome:
    """Decide which frames of the night's raw files make which products.

    Parameters
    ----------
    job : Job
        ``raws`` are all raw files of the night that are not quarantined, in any order.
    params : Parameters
        See there.

    Returns
    -------
    Outcome
        ``products`` in order of (start, camera, state), without files; ``remarks`` count frames by class, and
        raw files by what is unexpected of them.

    Raises
    ------
    BadInput
        If a timing file is bad or has not as many rows as its cube has frames, if there are raw files of
        more than two cameras, or one has neither a number of rows read nor NAXIS2.
    """
    cameras = sorted({stream.camera for stream in job.instrument.streams} | {raw.camera for raw in job.raws})
    if len(cameras) > 2:
        raise BadInput(
            f"night {job.date}: its raw files and streams are of cameras {cameras}; pairing is for two: "
            "correct 'streams' of the instrument"
        )
    params = _with_keywords(params, job.instrument)
    formats = read_dictionary(job.instrument.dictionary)
    printed = {keyword: formats[keyword] for keyword in params.rounded if keyword in formats}
    products: list[Product] = []
    remarks: Counter[str] = Counter()
    for raws in _batches(job.raws, dead_time_us=params.dead_time_s * 1e6):
        made, counted = _sync(raws, cameras, job.instrument, printed, params, first_group=len(products))
        products += made
        remarks += counted
    finished = _finish(products, job)
    told = unexpected([Observed.of(raw) for raw in job.raws], job.instrument)
    remarks += Counter({f"raw files {what}": len(names) for what, names in told.items()})
    remarks += _disagreements(finished, params.flagged, printed)
    return Outcome(products=finished, remarks=dict(sorted(remarks.items())))


reverse = base.nothing


def _with_keywords(params: Parameters, instrument: Instrument) -> Parameters:
    """Return parameters by which groups are cut as the instrument says.

    Its rule keywords cut, and the keywords that it only keeps do not; exposure time and mode always do.
    """
    kept = {*instrument.kept_keywords} - {instrument.cards.exposure_s, instrument.cards.mode}
    own = tuple(keyword for keyword in params.cut_own if keyword not in kept)
    either = dict.fromkeys((*params.cut_either, *instrument.rule_keywords))
    return replace(params, cut_either=tuple(k for k in either if k not in kept and k not in own), cut_own=own)


def classify(
    trains: Sequence[Train], cards: Cards, printed: Mapping[str, str], params: Parameters
) -> tuple[Exposures, Int64Array, Int64Array]:
    """Return what was exposed at once, the FLC's state at each exposure, and the group of each.

    Parameters
    ----------
    trains : sequence of Train
        Of both cameras.
    cards : Cards
        What rules need.
    printed : mapping of str to str
        By keyword, the printf format that a number is compared as.
    params : Parameters
        See there.

    Returns
    -------
    exposures : Exposures
        Every frame is in one of them.
    state, group : ndarray of int64, shapes (n,)
        As in :data:`stages.pairing.cycles.LETTERS`; a number for the group, from 1, in no particular order.
    """
    dead_time_us = params.dead_time_s * 1e6
    tolerance_us = [
        pairing_tolerance_us(
            train,
            cards,
            us_per_row=params.tolerance_us_per_row,
            slow_mode=params.slow_mode,
            slow_factor=params.slow_factor,
        )
        for train in trains
    ]
    exposures = expose(trains, cards, tolerance_us=tolerance_us, dead_time_us=dead_time_us)
    segments = find_segments(
        exposures,
        trains,
        cut_either=params.cut_either,
        cut_own=params.cut_own,
        printed=printed,
        dead_time_us=dead_time_us,
    )
    state, ends_cycle = find_cycles(
        exposures,
        segments,
        trains,
        cards,
        polarity=params.polarity,
        significance=params.significance,
        dead_time_us=dead_time_us,
        enforce_pairs=params.enforce_pairs,
    )
    group = cut_groups(exposures, segments, ends_cycle, longest_us=round(params.group_s * 1e6))
    return exposures, state, group


def _batches(raws: Sequence[Raw], *, dead_time_us: float) -> Iterator[list[Raw]]:
    """Yield the raw files of blocks that a dead time of both cameras divides, some blocks at once.

    Nothing is concluded across a dead time, so the night need not be in memory as a whole.

    Parameters
    ----------
    raws : sequence of Raw
        Of all cameras, in any order.
    dead_time_us : float
        Microseconds.
    """
    batch: list[Raw] = []
    n_frames, until_us = 0, 0
    for raw in sorted(raws, key=lambda raw: (raw.first_us - raw.exposure_us, raw.camera, raw.identity)):
        if n_frames >= _BATCH_FRAMES and raw.first_us - raw.exposure_us - until_us > dead_time_us:
            yield batch
            batch, n_frames = [], 0
        batch.append(raw)
        n_frames += raw.n_frames
        until_us = max(until_us, raw.last_us)
    if batch:
        yield batch


def _sync(
    raws: Sequence[Raw],
    cameras: Sequence[int],
    instrument: Instrument,
    printed: Mapping[str, str],
    params: Parameters,
    first_group: int,
) -> tuple[list[Product], Counter[str]]:
    """Return the products of some raw files, and how many of their frames are of which class.

    Parameters
    ----------
    raws : sequence of Raw
        Of blocks between dead times.
    cameras : sequence of int
        One or two.
    instrument : Instrument
        Whose cards say what rules need.
    printed : mapping of str to str
        By keyword, the printf format that a number is compared as.
    params : Parameters
        See there.
    first_group : int
        No number of a group is less.
    """
    trains = [read_train([raw for raw in raws if raw.camera == camera]) for camera in cameras]
    trains += [read_train([]) for _ in range(2 - len(trains))]
    exposures, state, group = classify(trains, instrument.cards, printed, params)
    return list(_products(exposures, state, first_group + group, trains, instrument)), _count_frames(
        exposures, state, trains
    )


def _products(
    exposures: Exposures, state: Int64Array, group: Int64Array, trains: Sequence[Train], instrument: Instrument
) -> Iterator[Product]:
    """Yield the products, numbered and named by their groups only."""
    words = {stream.camera: stream.name for stream in reversed(instrument.streams)}
    order = np.argsort(group, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        if not len(members):
            continue
        time_us = exposures.time_us[members]
        first_us, last_us = int(time_us.min()), int(time_us.max())
        for number, letter in LETTERS.items():
            places = exposures.places[:, members[state[members] == number]]
            if not places.shape[1]:
                continue
            parts = [_parts(train, of_camera) for train, of_camera in zip(trains, places, strict=True)]
            synchronised = bool(parts[0] and parts[1])
            for mine, others in (parts, parts[::-1]):
                if not mine:
                    continue
                camera = mine[0].raw.camera
                word = instrument.synchronised_name if synchronised else words[camera]
                suffix = f".cam{camera}" if synchronised else ""
                yield Product(
                    identity=identity_of(mine, camera, letter),
                    name=f"{word}_{_clock(first_us)}{suffix}{f'.{letter}' if letter else ''}",
                    camera=camera,
                    flc=letter,
                    synchronised=synchronised,
                    group=int(group[members[0]]),
                    parts=mine,
                    sibling_parts=others,
                    first_us=first_us,
                    last_us=last_us,
                    exposure_us=mine[0].raw.exposure_us,
                    solo=bool(exposures.kind[members[0]] >= SOLO),  # a group is of one kind
                )


def _parts(train: Train, places: Int64Array) -> tuple[Part, ...]:
    """Return the lineage of the frames at `places` of the train; none if the camera has none (-1)."""
    if places[0] < 0:
        return ()
    raw, frame = train.raw[places], train.frame[places]
    cuts = np.flatnonzero(np.diff(raw)) + 1
    first_of_each = raw[np.insert(cuts, 0, 0)]
    return tuple(
        Part(train.raws[place], pack_runs(frames))
        for place, frames in zip(first_of_each, np.split(frame, cuts), strict=True)
    )


def _clock(time_us: int) -> str:
    """Return a time of day, UT, with microseconds."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)).strftime("%H:%M:%S.%f")


def _finish(products: list[Product], job: Job) -> tuple[Product, ...]:
    """Put the products and their groups in order, and make their names unique."""
    begin: dict[int, tuple[int, int, str]] = {}
    for product in products:
        key = (product.start_us, product.camera, product.identity)
        begin[product.group] = min(key, begin.get(product.group, key))
    number = {group: place for place, group in enumerate(sorted(begin, key=lambda g: begin[g]), start=1)}
    taken = set(job.taken_names)
    finished = []
    for product in sorted(products, key=lambda p: (p.start_us, p.camera, p.flc or "", p.identity)):
        names = chain([product.name], (f"{product.name}.{n}" for n in count(2)))
        name = next(name for name in names if name not in taken)
        taken.add(name)
        finished.append(replace(product, name=name, group=number[product.group]))
    return tuple(finished)


def _count_frames(exposures: Exposures, state: Int64Array, trains: Sequence[Train]) -> Counter[str]:
    """Count frames by class."""
    remarks: Counter[str] = Counter()
    present = exposures.places >= 0
    remarks["paired frames"] = 2 * int(np.count_nonzero(exposures.kind == PAIRED))
    remarks["dubious frames"] = int(np.count_nonzero(present[:, state == 0]))
    for camera, train in enumerate(trains):
        name = f"cam{train.raws[0].camera}" if train.raws else ""
        solo = present[camera] & (exposures.kind >= SOLO)
        remarks[f"unpaired frames {name}"] += int(np.count_nonzero(exposures.kind == UNPAIRED[camera]))
        remarks[f"solo frames {name}"] += int(np.count_nonzero(solo))
        remarks["raw files without acquisition times"] += len(train.without_acquisition)
    return remarks


def _disagreements(products: Sequence[Product], flagged: Sequence[str], printed: Mapping[str, str]) -> Counter[str]:
    """Count groups whose cameras disagree on a flagged card."""
    remarks: Counter[str] = Counter()
    for keyword in flagged:
        disagreeing = {
            product.group
            for product in products
            if product.synchronised
            and comparable(product.parts[0].raw, keyword, printed)
            != comparable(product.sibling_parts[0].raw, keyword, printed)
        }
        remarks[f"groups whose cameras disagree on {keyword}"] = len(disagreeing)
    return remarks

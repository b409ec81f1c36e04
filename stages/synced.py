"""State ``synced``: which frames make which products (DESIGN section 5).  Works on times; reads no pixels.

Frames of all raw files become *exposures*: a pair of frames of both cameras, or one frame alone.  Exposures
get an FLC state, then are cut into groups, and each group gives one product per camera and state.  Every frame
is in one exposure and every exposure in one group, so every frame is in exactly one product.
"""

import hashlib
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import chain, count, pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from stages import base
from stages.base import BadInput, Cards, Instrument, Job, Outcome, Part, Product, Raw, Run
from stages.flc import read_states
from stages.formats import read_dictionary
from stages.pairing import pair_frames
from stages.timing import paired_time_us, read_timing

Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_DAY_US = 86_400_000_000

#: Letters of the states that :mod:`stages.flc` numbers 1, -1 and 0, and of a number for no switching.
_NO_STATE = 2
_LETTERS = {1: "A", -1: "B", 0: "D", _NO_STATE: None}

#: Kinds of exposures: unpaired ones by camera, and the first of solo ones, which are as many as raw files.
_PAIRED, _UNPAIRED, _SOLO = 0, (1, 2), 3


@dataclass(frozen=True)
class Parameters:
    """What the configuration can set; rules and numbers are DESIGN section 5.

    Attributes
    ----------
    tolerance_us_per_row : float
        Frames pair within this times the rows read, microseconds.
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
        Standard errors from which on an alternation is believed; see :func:`stages.flc.read_states`.
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


@dataclass(frozen=True)
class _Train:
    """All frames of one camera in order of time.

    Attributes
    ----------
    raws : tuple of Raw
        Its raw files, in order of time.
    time_us, raw, frame : ndarray of int64, shape (n,)
        Acquisition time; place of the raw file in `raws`; index in its cube.
    n_without_acquisition : int
        Raw files whose times are those of logging.
    """

    raws: tuple[Raw, ...]
    time_us: Int64Array
    raw: Int64Array
    frame: Int64Array
    n_without_acquisition: int = 0

    def of_frames(self, of_raws: Iterable[Any], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Spread a value of each raw file to its frames."""
        return np.array(list(of_raws), dtype)[self.raw]


@dataclass(frozen=True)
class _Exposures:
    """What the cameras took at once, in order of `clock_us`.

    Attributes
    ----------
    time_us : ndarray of int64, shape (n,)
        Its time; for a pair, the mean of both.
    clock_us : ndarray of float64, shape (n,)
        The same with the cameras' offset removed: when it was triggered.
    places : ndarray of int64, shape (2, n)
        Place of its frame in either camera's train; -1 if it has none.
    kind : ndarray of int64, shape (n,)
        Paired, unpaired of either camera, or solo and then of which raw file.
    """

    time_us: Int64Array
    clock_us: npt.NDArray[np.float64]
    places: Int64Array
    kind: Int64Array


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
        ``products`` in order of (start, camera, state), without files; ``remarks`` count frames by class.

    Raises
    ------
    BadInput
        If a timing file is bad or has not as many rows as its cube has frames, if there are raw files of
        more than two cameras, or one has no number of rows to compute the tolerance from.
    """
    cameras = sorted({stream.camera for stream in job.instrument.streams} | {raw.camera for raw in job.raws})
    if len(cameras) > 2:
        raise BadInput(
            f"night {job.date}: its raw files and streams are of cameras {cameras}; pairing is for two: "
            "correct 'streams' of the instrument"
        )
    trains = [_read_train([raw for raw in job.raws if raw.camera == camera]) for camera in cameras]
    trains += [_read_train([]) for _ in range(2 - len(trains))]
    exposures = _expose(trains, job.instrument, params)
    segments = _segments(exposures, trains, job.instrument, params)
    state, ends_cycle = _states(exposures, segments, trains, job.instrument.cards, params)
    group = _groups(exposures, segments, ends_cycle, round(params.group_s * 1e6))
    products = _finish(list(_products(exposures, state, group, trains, job.instrument)), job)
    remarks = _remarks(exposures, state, trains, products, job, params)
    return Outcome(products=products, remarks=dict(sorted(remarks.items())))


reverse = base.nothing


def pack_runs(indices: Int64Array) -> tuple[Run, ...]:
    """Write indices as runs, each as long as it can be, from the first on.

    Parameters
    ----------
    indices : ndarray of int64, shape (n,)
        No two neighbours are equal.

    Returns
    -------
    tuple of (first, step, n)
        :func:`stages.base.frames_of` gives the indices back.
    """
    steps = np.diff(indices)
    ends = [*(np.flatnonzero(np.diff(steps)) + 1).tolist(), len(steps)]
    runs = []
    start = 0
    for end in ends:
        if end > start:
            runs.append((int(indices[start]), int(steps[end - 1]), end - start + 1))
            start = end + 1
    if start < len(indices):
        runs.append((int(indices[start]), 1, 1))
    return tuple(runs)


def identity_of(parts: Sequence[Part], camera: int, flc: str | None) -> str:
    """Return the identity of a product: the SHA-256, hex, of its lineage, camera and state.

    Parameters
    ----------
    parts : sequence of Part
        Its lineage, in order.
    camera : int
        1 or 2.
    flc : str or None
        ``A``, ``B``, ``D`` or None.
    """
    lines = [f"camera {camera}", f"flc {flc or '-'}"]
    for part in parts:
        runs = ";".join(f"{first},{step},{n}" for first, step, n in part.runs)
        lines.append(f"{part.raw.identity} {runs}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _read_train(raws: Sequence[Raw]) -> _Train:
    """Read the times of one camera's raw files; files that overlap in time are merged."""
    in_order = tuple(sorted(raws, key=lambda raw: (raw.first_us, raw.cube.name, raw.identity)))
    times = [np.empty(0, np.int64)]
    n_without_acquisition = 0
    for raw in in_order:
        timing = read_timing(raw.timing)
        if timing.n != raw.n_frames:
            raise BadInput(
                f"{raw.timing}: it has {timing.n} rows, its cube {raw.cube.name} was registered with "
                f"{raw.n_frames} frames; scan the night again"
            )
        times.append(timing.acquired_us)
        n_without_acquisition += not timing.has_acquisition
    time_us = np.concatenate(times)
    order = np.argsort(time_us, kind="stable")
    counts = [len(t) for t in times[1:]]
    place = np.repeat(np.arange(len(counts)), counts)
    start = np.repeat(np.cumsum(counts, dtype=np.int64) - counts, counts)
    frame = np.arange(len(time_us)) - start
    return _Train(in_order, time_us[order], place[order], frame[order], n_without_acquisition)


def _expose(trains: list[_Train], instrument: Instrument, params: Parameters) -> _Exposures:
    """Pair the triggered frames, and find out which files are solo."""
    cards = instrument.cards
    triggered = [
        train.of_frames((_is_true(raw, cards.external_trigger) for raw in train.raws), np.bool_) for train in trains
    ]
    chosen = [np.flatnonzero(of_train) for of_train in triggered]
    times = [train.time_us[places] for train, places in zip(trains, chosen, strict=True)]
    tolerance = [
        train.of_frames((_tolerance_us(raw, cards, params) for raw in train.raws), float)[places]
        for train, places in zip(trains, chosen, strict=True)
    ]
    pairing = pair_frames(*times, first_tolerance_us=tolerance[0], second_tolerance_us=tolerance[1])
    clocks = [train.time_us.astype(float) for train in trains]
    clocks[0][chosen[0]], clocks[1][chosen[1]] = pairing.first_us, pairing.second_us
    first, second = chosen[0][pairing.pairs[:, 0]], chosen[1][pairing.pairs[:, 1]]
    time_us = [paired_time_us(trains[0].time_us[first], trains[1].time_us[second])]
    clock_us = [(clocks[0][first] + clocks[1][second]) / 2]
    places = [np.stack([first, second])]
    kind = [np.full(len(first), _PAIRED)]
    for camera, paired in enumerate((first, second)):
        train, other = trains[camera], trains[1 - camera]
        alone = np.ones(len(train.time_us), np.bool_)
        alone[paired] = False
        solo = _solo_files(train, train.raw[paired], triggered[camera], other, triggered[1 - camera], params)
        of_file = np.where(solo, _SOLO + 2 * np.arange(len(solo)) + camera, _UNPAIRED[camera])
        time_us.append(train.time_us[alone])
        clock_us.append(clocks[camera][alone])
        places.append(np.full((2, np.count_nonzero(alone)), -1))
        places[-1][camera] = np.flatnonzero(alone)
        kind.append(of_file[train.raw[alone]])
    merged = np.concatenate(clock_us)
    order = np.argsort(merged, kind="stable")
    return _Exposures(
        np.concatenate(time_us)[order],
        merged[order],
        np.concatenate(places, axis=1)[:, order],
        np.concatenate(kind)[order],
    )


def _is_true(raw: Raw, keyword: str) -> bool:
    return raw.cards.get(keyword) is True


def _text(raw: Raw, keyword: str) -> str:
    return str(raw.cards.get(keyword, "")).strip()


def _tolerance_us(raw: Raw, cards: Cards, params: Parameters) -> float:
    """Return how far apart frames of a pair may be: the time that reading the rows takes, and some."""
    rows = raw.cards.get(cards.rows)
    if not isinstance(rows, int | float):
        raise BadInput(
            f"{raw.cube}: its card {cards.rows} is {rows!r}, expected the number of rows read, which the tolerance "
            "of pairing is computed from; quarantine the file, or name another card as 'rows' of the instrument"
        )
    slow = params.slow_factor if _text(raw, cards.mode) == params.slow_mode else 1.0
    return params.tolerance_us_per_row * rows * slow


def _dead(train: _Train, params: Parameters) -> BoolArray:
    """Return where a frame's exposure began longer than the dead time after the frame before it."""
    dead = np.zeros(len(train.time_us), np.bool_)
    exposure_us = train.of_frames((raw.exposure_us for raw in train.raws), np.int64)
    dead[1:] = train.time_us[1:] - exposure_us[1:] - train.time_us[:-1] > params.dead_time_s * 1e6
    return dead


def _solo_files(
    train: _Train,
    raws_with_pairs: Int64Array,
    triggered: BoolArray,
    other: _Train,
    other_triggered: BoolArray,
    params: Parameters,
) -> BoolArray:
    """Return which raw files are solo, shape (files,).

    Those not triggered, and those without a pair whose exposures meet no uninterrupted stretch (without a dead
    time) of the other camera's triggered frames.
    """
    solo = np.ones(len(train.raws), np.bool_)
    solo[train.raw[triggered]] = False
    ran = replace(
        other,
        time_us=other.time_us[other_triggered],
        raw=other.raw[other_triggered],
        frame=other.frame[other_triggered],
    )
    if len(ran.time_us):
        begins = np.flatnonzero(_dead(ran, params))
        begins = np.insert(begins, 0, 0)
        until_us = ran.time_us[np.append(begins[1:], len(ran.time_us)) - 1]
        from_us = ran.time_us[begins] - [other.raws[place].exposure_us for place in ran.raw[begins]]
        first_us = np.array([raw.first_us - raw.exposure_us for raw in train.raws], np.int64)
        last_us = np.array([raw.last_us for raw in train.raws], np.int64)
        latest = np.searchsorted(from_us, last_us, side="right") - 1
        solo |= (latest < 0) | (until_us[latest] < first_us)
    else:
        solo[:] = True
    with_pairs = np.unique(raws_with_pairs)
    solo[with_pairs] = False
    return solo


def _comparable(raw: Raw, keyword: str, formats: Mapping[str, str], params: Parameters) -> Any:
    """Return a card's value such that values that are printed alike are equal."""
    value = raw.cards.get(keyword)
    if isinstance(value, str):
        return value.strip()
    if keyword in params.rounded and keyword in formats and isinstance(value, int | float):
        return float(formats[keyword] % value)
    return value


def _settings(train: _Train, of_raws: Iterable[Hashable]) -> Int64Array:
    """Return a number for each frame, shape (n,): equal where those of its raw files are."""
    numbers: dict[Hashable, int] = {}
    return train.of_frames((numbers.setdefault(key, len(numbers)) for key in of_raws), np.int64)


def _segments(exposures: _Exposures, trains: list[_Train], instrument: Instrument, params: Parameters) -> Int64Array:
    """Return keys, shape (5, n), that are equal for two exposures if nothing between them cuts groups.

    They count, for each camera, changes of the cards that cut groups of both cameras, then whatever cuts
    its own (its own cards and dead times) if it has a frame there; and UT days.  Solo files are not cut.
    """
    formats = read_dictionary(instrument.dictionary)
    keys = np.zeros((5, len(exposures.time_us)), np.int64)
    for camera, train in enumerate(trains):
        if not train.raws:
            continue
        either, own = (
            _settings(train, [tuple(_comparable(raw, k, formats, params) for k in cut) for raw in train.raws])
            for cut in (params.cut_either, params.cut_own)
        )
        present = exposures.places[camera] >= 0
        before = np.searchsorted(train.time_us, exposures.time_us, side="right") - 1
        place = np.where(present, exposures.places[camera], np.maximum(before, 0))
        keys[2 * camera] = np.cumsum(np.diff(either, prepend=either[:1]) != 0)[place]
        cuts_own = (np.diff(own, prepend=own[:1]) != 0) | _dead(train, params)
        keys[2 * camera + 1] = np.where(present, np.cumsum(cuts_own)[place], 0)
    keys[4] = exposures.time_us // _DAY_US
    keys[:, exposures.kind >= _SOLO] = 0
    return keys


def _states(
    exposures: _Exposures, segments: Int64Array, trains: list[_Train], cards: Cards, params: Parameters
) -> tuple[Int64Array, BoolArray]:
    """Return the number of each exposure's state, and which are the second of a whole cycle; shapes (n,)."""
    of_trains = [_FlcCards.of(train, cards) for train in trains]
    present = exposures.places >= 0
    switching = np.ones(len(exposures.time_us), np.bool_)
    triggered, dither_us, settings = (np.zeros(len(exposures.time_us), np.int64) for _ in range(3))
    for camera in (1, 0):  # a pair has the settings of the first camera
        here, place = present[camera], exposures.places[camera][present[camera]]
        flc = of_trains[camera]
        switching[here] &= flc.switching[place]
        triggered[here], dither_us[here] = flc.triggered[place], flc.dither_us[place]
        settings[here] = flc.settings[place]
    state = np.where(switching, 0, _NO_STATE)
    ends_cycle, in_cycle = np.zeros((2, len(state)), np.bool_)
    # Triggered exposures of both cameras are one train; without trigger each camera is one of its own.
    for mine in (triggered == 1, (triggered == 0) & present[0], (triggered == 0) & present[1]):
        train = np.flatnonzero(switching & mine)
        changed = np.diff(settings[train], prepend=settings[train[:1]]) != 0
        read = read_states(
            exposures.clock_us[train],
            dither_us=dither_us[train].astype(float),
            starts=changed,
            significance=params.significance,
        )
        state[train] = read.state if params.polarity == "short_first" else -read.state
        first, second = train[:-1], train[1:]
        cycle = (state[first] == 1) & (state[second] == -1) & (exposures.kind[first] == exposures.kind[second])
        cycle &= (np.diff(read.chain) == 0) & (np.diff(read.count) == 1)
        cycle &= (segments[:, first] == segments[:, second]).all(axis=0)
        ends_cycle[second[cycle]] = True
        in_cycle[first[cycle]] = in_cycle[second[cycle]] = True
    if params.enforce_pairs:
        state[switching & ~in_cycle] = 0
    return state, ends_cycle


@dataclass(frozen=True)
class _FlcCards:
    """What the FLC's cards say of each frame of a train: arrays of shape (n,)."""

    switching: BoolArray
    triggered: BoolArray
    dither_us: Int64Array
    settings: Int64Array

    @classmethod
    def of(cls, train: _Train, cards: Cards) -> "_FlcCards":
        """Read them; the FLC switches if enabled, in the beam, and in no fixed state."""
        return cls(
            train.of_frames(
                (
                    _is_true(raw, cards.flc_enabled)
                    and _text(raw, cards.flc_stage) == "IN"
                    and _text(raw, cards.flc_state) in ("", "NA")
                    for raw in train.raws
                ),
                np.bool_,
            ),
            train.of_frames((_is_true(raw, cards.external_trigger) for raw in train.raws), np.bool_),
            train.of_frames((_dither_us(raw, cards) for raw in train.raws), np.int64),
            _settings(train, [(raw.exposure_us, _text(raw, cards.mode), _dither_us(raw, cards)) for raw in train.raws]),
        )


def _dither_us(raw: Raw, cards: Cards) -> int:
    """Return the half-width of the dither, 0 if the header does not say."""
    dither = raw.cards.get(cards.dither_us)
    return abs(round(dither)) if isinstance(dither, int | float) else 0


def _groups(exposures: _Exposures, segments: Int64Array, ends_cycle: BoolArray, longest_us: int) -> Int64Array:
    """Return a number for the group of each exposure, shape (n,), in no particular order."""
    order = np.argsort(exposures.kind, kind="stable")
    kind, time_us, ends = exposures.kind[order], exposures.time_us[order], ends_cycle[order]
    starts = np.diff(kind, prepend=-1) != 0
    starts[1:] |= (segments[:, order[1:]] != segments[:, order[:-1]]).any(axis=0)
    bounds = np.flatnonzero(np.append(starts, True))
    for first, end in pairwise(bounds):
        if kind[first] >= _SOLO:
            break
        cut = first
        while time_us[end - 1] - time_us[cut] >= longest_us:
            cut += np.searchsorted(time_us[cut:end], time_us[cut] + longest_us)
            cut += ends[cut]
            if cut == end:
                break
            starts[cut] = True
    group = np.empty(len(order), np.int64)
    group[order] = np.cumsum(starts)
    return group


def _products(
    exposures: _Exposures, state: Int64Array, group: Int64Array, trains: list[_Train], instrument: Instrument
) -> Iterator[Product]:
    """Yield the products, numbered and named by their groups only."""
    words = {stream.camera: stream.name for stream in reversed(instrument.streams)}
    order = np.argsort(group, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        if not len(members):
            continue
        time_us = exposures.time_us[members]
        first_us, last_us = int(time_us.min()), int(time_us.max())
        for number, letter in _LETTERS.items():
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
                )


def _parts(train: _Train, places: Int64Array) -> tuple[Part, ...]:
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


def _remarks(
    exposures: _Exposures,
    state: Int64Array,
    trains: list[_Train],
    products: Sequence[Product],
    job: Job,
    params: Parameters,
) -> Counter[str]:
    """Count frames by class, and groups whose cameras disagree on a flagged card."""
    remarks: Counter[str] = Counter()
    present = exposures.places >= 0
    remarks["paired frames"] = 2 * int(np.count_nonzero(exposures.kind == _PAIRED))
    remarks["dubious frames"] = int(np.count_nonzero(present[:, state == 0]))
    for camera, train in enumerate(trains):
        name = f"cam{train.raws[0].camera}" if train.raws else ""
        solo = present[camera] & (exposures.kind >= _SOLO)
        remarks[f"unpaired frames {name}"] += int(np.count_nonzero(exposures.kind == _UNPAIRED[camera]))
        remarks[f"solo frames {name}"] += int(np.count_nonzero(solo))
        remarks["raw files without acquisition times"] += train.n_without_acquisition
    formats = read_dictionary(job.instrument.dictionary)
    for keyword in params.flagged:
        disagreeing = {
            product.group
            for product in products
            if product.synchronised
            and _comparable(product.parts[0].raw, keyword, formats, params)
            != _comparable(product.sibling_parts[0].raw, keyword, formats, params)
        }
        remarks[f"groups whose cameras disagree on {keyword}"] = len(disagreeing)
    return +remarks

"""Witnesses of a raw file's times: both clocks of its rows, the clock in its name, its folder's date, its neighbours.

What they contradict by more than :class:`stages.instrument.Times` allows is never used without a word: a contradiction
within the txt puts the file in quarantine, as does one with the folder's date; one with a name, or between files, is
told.
"""

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from stages.base import BadInput
from stages.check.spans import Spans
from stages.fits.meaning import form_of, missing_cards, unknown_forms
from stages.fits.timing import Timing
from stages.instrument import Cards, Instrument, Stream, Times
from stages.product import Raw

#: Frame times are from 2000 on and before 2100, UNIX, microseconds: others are of a clock that was not set, or of none.
BEGIN_OF_TIMES_US, END_OF_TIMES_US = 946_684_800_000_000, 4_102_444_800_000_000

_HOUR_S, _DAY_S, _SECOND_US = 3600, 86_400, 1_000_000

#: Hawaiian standard time is UT - 10 h, all the year; loggers have named files in it.
_ZONES_S = (0, 10 * _HOUR_S)

#: What milk's logger ends names with.
_CLOCK = re.compile(r"_([01]\d|2[0-3]):([0-5]\d):([0-5]\d|60)(?:\.\d+)?$", re.ASCII)

#: Over so long at most frames may be logged that have one acquisition time, microseconds: some loggers write in bursts.
_STILL_US = 1000

#: Files that are no farther apart may be of one stretch: pairing removes the cameras' offset, microseconds.
_NEAR_US = 3_000_000

#: Durations of two files are alike within this part of them, and a millisecond.
_ALIKE = 1e-3

#: Exposures of two files are at once if they share more than this part of the shorter one.
_AT_ONCE = 0.5


def count_timed(timing: Path, rows: Timing) -> int:
    """Return how many rows, the first ones, have times: 0 is none (milk's ``logshmim.c``, before the keyword is set).

    Raises
    ------
    BadInput
        If a row without a time comes before one that has a time.
    """
    acquired_us, logged_us = rows.acquired_us, rows.logged_ns // 1000
    earliest_us, latest_us = np.minimum(acquired_us, logged_us), np.maximum(acquired_us, logged_us)
    untimed = np.flatnonzero((earliest_us < BEGIN_OF_TIMES_US) | (latest_us >= END_OF_TIMES_US))
    n_timed = rows.n - len(untimed)
    if not len(untimed) or (n_timed and untimed[0] == n_timed):
        return n_timed
    row, last = int(untimed[0]), int(untimed[-1])
    which = f"row {row + 1} has" if len(untimed) == 1 else f"{len(untimed)} rows have"
    between = "" if len(untimed) == 1 else f", the first is row {row + 1} and the last row {last + 1}"
    raise BadInput(
        f"{timing}: {which} no time, of {rows.n}{between}: row {row + 1} was acquired at {_decimal(acquired_us[row])}"
        f" and logged at {_decimal(logged_us[row])}, expected UNIX times from 2000 to 2100 in each row; restore the"
        " file from the acquisition machine, or leave its cube in quarantine"
    )


def check_rows(timing: Path, rows: Timing, n_timed: int, times: Times) -> None:
    """Raise BadInput unless the first `n_timed` rows are in order, and their two clocks agree."""
    acquired_us = rows.acquired_us[:n_timed]
    backwards = np.flatnonzero(np.diff(acquired_us) < 0)
    if backwards.size:
        row = int(backwards[0]) + 1
        how_often = "once" if backwards.size == 1 else f"{backwards.size} times"
        raise BadInput(
            f"{timing}: times go backwards {how_often}, first at row {row + 1}: "
            f"{acquired_us[row]} us after {acquired_us[row - 1]} us; expected times that never decrease"
        )
    if times.clocks_s is None or not rows.has_acquisition:
        return
    logged_us = rows.logged_ns[:n_timed] // 1000
    if n_timed > 1 and acquired_us[0] == acquired_us[-1] and logged_us[-1] - logged_us[0] > _STILL_US:
        raise BadInput(
            f"{timing}: all of its {n_timed} rows were acquired at {_shown(acquired_us[0])}, and logged over"
            f" {(logged_us[-1] - logged_us[0]) / _SECOND_US:.6f} s: the clock of acquisition stood still"
            " (instrument.times.clocks_s: null does not ask); correct the times, or leave the cube in quarantine"
        )
    apart = np.flatnonzero(np.abs(acquired_us - logged_us) > times.clocks_s * _SECOND_US)
    if apart.size:
        row = int(apart[0])
        raise BadInput(
            f"{timing}: the two clocks contradict each other in {apart.size} of {n_timed} rows, first in row {row + 1}:"
            f" acquired at {_shown(acquired_us[row])}, logged at {_shown(logged_us[row])}, expected within"
            f" {times.clocks_s:g} s (instrument.times.clocks_s); find out which clock was wrong, and correct the times,"
            " or leave the cube in quarantine"
        )


def contradiction_of_date(cube: Path, first_us: int, last_us: int, times: Times) -> str | None:
    """Return why frames cannot be of the UT date that their night's folder has as its name; None if they can."""
    date = cube.parent.parent.name
    begin_us = _midnight_us(date)
    if times.date_h is None or begin_us is None:
        return None
    margin_us = times.date_h * _HOUR_S * _SECOND_US
    if begin_us - margin_us <= first_us and last_us < begin_us + _DAY_S * _SECOND_US + margin_us:
        return None
    return (
        f"{cube}: its frames are of {_shown(first_us)} to {_shown(last_us)}, its folder of {date}: expected that UT"
        f" date, and at most {times.date_h:g} h before or after it (instrument.times.date_h); move it and its txt to"
        " the folder of its night, or, if its clocks were wrong, correct the times, or leave it in quarantine"
    )


def contradiction_of_stream(cube: Path, stream: Stream, instrument: Instrument) -> str | None:
    """Return why a cube cannot be of the camera in whose folder it lies (its name is of another one's), or None."""
    of_name = cube.name.rpartition("_")[0]
    if of_name == stream.name or of_name not in {other.name for other in instrument.streams}:
        return None
    return (
        f"{cube}: it is called as cubes of {of_name} are, expected those of {stream.name} in its folder: its frames"
        f" would be taken for another camera's; move it and its txt to {of_name}, or rename them"
    )


@lru_cache
def _midnight_us(date: str) -> int | None:
    """Return when a UT date (YYYYMMDD) begins, UNIX, microseconds; None if it is not a date."""
    try:
        day = datetime.strptime(date, "%Y%m%d").replace(tzinfo=UTC)
    except ValueError:
        return None
    return round(day.timestamp()) * _SECOND_US if f"{day:%Y%m%d}" == date else None


def name_contradicts(name: str, first_us: int, times: Times) -> bool:
    """Whether the clock in a file's name says another time of day than its rows, in UT and in HST.

    Parameters
    ----------
    name : str
        Without its suffix; one without a clock says nothing.
    first_us : int
        First time of its frames, UNIX, microseconds.
    times : Times
        How much is allowed.
    """
    clock = _CLOCK.search(name)
    if clock is None or times.name_s is None:
        return False
    hours, minutes, seconds = map(int, clock.groups())
    apart_s = first_us / _SECOND_US - (hours * _HOUR_S + minutes * 60 + seconds)
    return all(abs((apart_s - zone_s + _DAY_S / 2) % _DAY_S - _DAY_S / 2) > times.name_s for zone_s in _ZONES_S)


@dataclass(frozen=True, slots=True)
class Observed:
    """A raw file that is used.

    Attributes
    ----------
    name : str
        To be told of it: stream and file.
    camera : int
        Of the stream.
    first_us, last_us : int
        First and last time of its frames, UNIX, microseconds.
    exposure_us : int
        Microseconds.
    cards : mapping
        As registered.
    """

    name: str
    camera: int
    first_us: int
    last_us: int
    exposure_us: int
    cards: Mapping[str, Any]

    @classmethod
    def of(cls, raw: Raw) -> "Observed":
        """Return what is observed of a raw file."""
        name = f"{raw.cube.parent.name}/{raw.cube.name}"
        return cls(name, raw.camera, raw.first_us, raw.last_us, raw.exposure_us, raw.cards)


def unexpected(files: Sequence[Observed], instrument: Instrument) -> dict[str, list[str]]:
    """Return what contradicts itself, is missing, or is not known, of the raw files of a night that are used.

    Parameters
    ----------
    files : sequence of Observed
        In any order.
    instrument : Instrument
        Which cards rules read, the forms that are known, and what times allow.

    Returns
    -------
    dict
        Names of files, by what is wrong with them.
    """
    cards, found = instrument.cards, defaultdict(list)
    ended_us: dict[int, int] = {}
    in_order = sorted(files, key=lambda file: (file.first_us, file.name))
    for file in in_order:
        if name_contradicts(Path(file.name).stem, file.first_us, instrument.times):
            found["whose names tell another time than their rows"].append(file.name)
        if file.first_us < ended_us.get(file.camera, file.first_us):
            found["that begin before the one before has ended"].append(file.name)
        ended_us[file.camera] = max(file.last_us, ended_us.get(file.camera, file.last_us))
        for keyword in missing_cards(file.cards, cards):
            found[f"without {keyword}, which a rule reads"].append(file.name)
        for keyword, value in unknown_forms(file.cards, cards, instrument.forms).items():
            found[f"with {keyword} = {value!r}, which is no known form (instrument.forms)"].append(file.name)
    if apart := _apart(in_order, cards):
        found["that were triggered when the other camera was not, which has files just as long at another time"] = apart
    for keyword, names in _at_odds(in_order, cards).items():
        found[f"of one camera that say otherwise of {keyword} than the other's at the same time"] += names
    return dict(found)


def _apart(in_order: Sequence[Observed], cards: Cards) -> list[str]:
    """Return triggered files that overlap none of the other camera's, and are as long as one there that overlaps none.

    This is what clocks of one camera's computer that are all off alike lead to: nothing else contradicts them.
    """
    triggered = [file for file in in_order if file.cards.get(cards.external_trigger) is True]
    alone: dict[int, list[Observed]] = defaultdict(list)
    for camera in {file.camera for file in triggered}:
        others = Spans((file.first_us - file.exposure_us, file.last_us) for file in triggered if file.camera != camera)
        alone[camera] = [
            file
            for file in triggered
            if file.camera == camera
            and not others.count_meeting(file.first_us - file.exposure_us - _NEAR_US, file.last_us + _NEAR_US)
        ]
    if len(alone) < 2:
        return []
    first, second = (sorted(files, key=_length) for _, files in sorted(alone.items())[:2])
    return [
        file.name
        for files, others in ((first, second), (second, first))
        for file in files
        for place in [bisect_left(others, _length(file), key=_length)]
        if any(_are_alike(file, other) for other in others[max(0, place - 1) : place + 1])
    ]


def _are_alike(file: Observed, other: Observed) -> bool:
    (exposure_us, length_us), (other_exposure_us, other_length_us) = _length(file), _length(other)
    return exposure_us == other_exposure_us and abs(length_us - other_length_us) <= max(1000, _ALIKE * length_us)


def _length(file: Observed) -> tuple[int, int]:
    return file.exposure_us, file.last_us - file.first_us


def _at_odds(in_order: Sequence[Observed], cards: Cards) -> dict[str, list[str]]:
    """Return, by keyword, the files whose value for a shared device differs from the other camera's at that time."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    shared = (cards.external_trigger, cards.flc_enabled, cards.flc_stage)
    latest: dict[int, Observed] = {}  # of each camera, the file that ends last
    for file in in_order:
        for other in latest.values():
            begin_us = max(one.first_us - one.exposure_us for one in (file, other))
            shorter_us = min(one.last_us - one.first_us + one.exposure_us for one in (file, other))
            is_at_once = min(file.last_us, other.last_us) - begin_us > _AT_ONCE * shorter_us
            if file.camera != other.camera and is_at_once:
                for keyword in filter(None, shared):
                    if form_of(file.cards.get(keyword)) != form_of(other.cards.get(keyword)):
                        found[keyword] |= {other.name: None, file.name: None}
        latest[file.camera] = max(file, latest.get(file.camera, file), key=lambda one: one.last_us)
    return {keyword: list(names) for keyword, names in found.items()}


def _shown(time_us: int) -> str:
    return f"{datetime.fromtimestamp(int(time_us) / _SECOND_US, tz=UTC):%Y-%m-%d %H:%M:%S.%f} UT"


def _decimal(time_us: int) -> str:
    return f"{int(time_us) // _SECOND_US}.{int(time_us) % _SECOND_US:06d}"

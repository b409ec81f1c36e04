"""How the instrument was set through a night, by its raw files: the lanes of the timeline, and its gaps."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from sqlalchemy import select
from sqlmodel import Session, col

from ledger.config.model import Config
from ledger.db.models import File, Night
from stages.instrument import Instrument

#: A longer time without a frame is a gap, microseconds.
GAP_US = 120_000_000

#: What keywords are called, where their names tell little.
TITLES = {"FILTER01": "Filter 1", "FILTER02": "Filter 2", "RET-ANG1": "Wave plate, °", "DATA-TYP": "Type of data"}

#: Larger numbers are told as text, as are those that are none: the height of their lane would be no number.
_LARGEST = 1e300

#: Numbers are compared so: angles are read back with noise.
_DECIMALS = 2

Value = str | float


@dataclass(frozen=True, slots=True)
class Taken:
    """A raw file in use: its camera, its first and last time, and how the instrument was set."""

    row_id: int
    camera: int
    first_us: int
    last_us: int
    exposure_us: int | None
    settings: dict[str, Value]


@dataclass(frozen=True, slots=True)
class Stretch:
    """A time in which a value stays."""

    first_us: int
    last_us: int
    value: Value


@dataclass(frozen=True, slots=True)
class Lane:
    """One setting through the night: what it is called, and its values in order of time."""

    title: str
    keyword: str
    stretches: tuple[Stretch, ...]

    @property
    def values(self) -> tuple[Value, ...]:
        """Return the values, each once, in the order in which they came."""
        return tuple(dict.fromkeys(stretch.value for stretch in self.stretches))

    @property
    def is_number(self) -> bool:
        """Whether it is told by height."""
        return all(isinstance(value, float) for value in self.values)


def taken(session: Session, config: Config, night: Night) -> list[Taken]:
    """Return the raw files in use, in order of time."""
    columns = (File.id, File.camera, File.first_us, File.last_us, File.exposure_us, File.cards)
    query = (
        select(*map(col, columns))
        .where(col(File.night_id) == night.id, col(File.kind) == "raw", col(File.quarantine_reason).is_(None))
        .where(col(File.first_us).is_not(None))
        .order_by(col(File.first_us))
    )
    keywords = _keywords(config.instrument)
    return [
        Taken(key, camera, first_us, last_us or first_us, exposure_us, _settings(cards, keywords))
        for key, camera, first_us, last_us, exposure_us, cards in session.execute(query)
    ]


def lanes(files: Sequence[Taken], instrument: Instrument) -> list[Lane]:
    """Return the settings that raw files tell: target, exposure time, then those that groups are cut by.

    Cameras that had the same value at the same times share a lane; otherwise each has a lane of its own.
    """
    found = []
    for keyword in (*_keywords(instrument), instrument.cards.exposure_s):
        told: dict[int, list[Stretch]] = defaultdict(list)
        for file in files:
            value = _exposure_ms(file) if keyword == instrument.cards.exposure_s else file.settings.get(keyword)
            if value is not None:
                told[file.camera].append(Stretch(file.first_us, file.last_us, value))
        title = _title(keyword, instrument)
        alone = {camera: _joined(told[camera]) for camera in sorted(told)}
        every = _joined(sorted((s for stretches in told.values() for s in stretches), key=lambda s: s.first_us))
        if every and len(every) <= max(map(len, alone.values())):
            found.append(Lane(title, keyword, every))
        else:
            found += [Lane(f"{title}, cam {camera}", keyword, stretches) for camera, stretches in alone.items()]
    return sorted(found, key=lambda lane: lane.keyword != instrument.cards.target)


def gaps(files: Iterable[Taken]) -> list[tuple[int, int]]:
    """Return when no camera took a frame for long, microseconds."""
    found, end_us = [], None
    for file in files:
        if end_us is not None and file.first_us - end_us > GAP_US:
            found.append((end_us, file.first_us))
        end_us = max(file.last_us, end_us or 0)
    return found


def _keywords(instrument: Instrument) -> tuple[str, ...]:
    return tuple(dict.fromkeys((instrument.cards.target, *instrument.rule_keywords)))


def _title(keyword: str, instrument: Instrument) -> str:
    named = {instrument.cards.target: "Target", instrument.cards.exposure_s: "Exposure, ms"}
    return named.get(keyword) or TITLES.get(keyword, keyword)


def _settings(cards: dict[str, Any], keywords: Iterable[str]) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for keyword in keywords:
        value = cards.get(keyword)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _LARGEST:
            found[keyword] = round(float(value), _DECIMALS) + 0.0  # no minus zero
        elif value is not None and (text := str(value).strip()):
            found[keyword] = text
    return found


def _exposure_ms(file: Taken) -> float | None:
    return None if file.exposure_us is None else file.exposure_us / 1000


def _joined(stretches: Sequence[Stretch]) -> tuple[Stretch, ...]:
    """Return stretches where those of one value that follow each other are one, unless there is a gap."""
    found = list(stretches[:1])
    for before, after in pairwise(stretches):
        if before.value == after.value and after.first_us - found[-1].last_us <= GAP_US:
            found[-1] = Stretch(found[-1].first_us, max(found[-1].last_us, after.last_us), after.value)
        else:
            found.append(after)
    return tuple(found)

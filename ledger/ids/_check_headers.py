"""Frame IDs in the headers of cubes, plain or compressed: only header blocks are read, never a pixel."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ledger.config.model import Config
from ledger.ids.check_rows import Disorder
from stages.base import StageError
from stages.fits.cards import values
from stages.fits.cubes import read_cube_layout, read_packed_header
from stages.fits.formats import read_dictionary
from stages.fits.header import START_CARDS, exposure_id_of, first_exposure_us

PACKED = ".fits.fz"
PLAIN = ".fits"


@dataclass(frozen=True, slots=True)
class LiveId:
    """What the database says of a live frame ID of a night.

    Attributes
    ----------
    frame_id : str
        The ID.
    start_us : int
        Begin of the group's first exposure, UNIX.
    late : bool
        Whether it is out of order of time, for a reason.
    exposure_us : int
        Of its product; 0 without one.
    state : str
        Of its product; empty without one.
    is_identified : bool
        Whether that state needs a frame ID: the product's files are named by it.
    """

    frame_id: str
    start_us: int
    late: bool
    exposure_us: int
    state: str
    is_identified: bool


@dataclass(frozen=True, slots=True)
class Begin:
    """When an exposure began by the header in the file `where`, UNIX, and how far that may be off."""

    frame_id: str
    where: str
    us: int
    tolerance_us: int


class HeaderCheck:
    """Compares headers with the database.

    Parameters
    ----------
    config : Config
        Names the cards and the dictionary.
    state : str
        In which headers get their IDs: its parameters say what the time cards mean.
    """

    def __init__(self, config: Config, state: str) -> None:
        self._cards = config.instrument.cards
        self._keywords = (*START_CARDS, self._cards.frame_id, self._cards.exposure_id, self._cards.exposure_s)
        self._exposure_format = read_dictionary(config.instrument.dictionary).get(self._cards.exposure_s, "")
        self._from_start = bool(config.parameters(state).get("time_cards_from_exposure_start", False))

    def tolerance_us(self, exposure_us: int) -> int:
        """Return how far the time of a header may be from that of its ID.

        The time cards have the microseconds of the database. ``EXPTIME`` was rounded to whole ones there, and in the
        header to what the dictionary's format has digits for (``%20.8f``: nothing is lost): the ID's time may differ
        by one microsecond, and by what the format takes from the exposure time.
        """
        if not self._exposure_format.endswith(tuple("feEgG")):
            return 1
        exposure_s = exposure_us / 1e6
        return 1 + math.ceil(abs(float(self._exposure_format % exposure_s) - exposure_s) * 1e6 - 1e-3)

    def check(self, date: str, live: LiveId, path: Path) -> Iterator[Disorder | Begin]:
        """Yield what is wrong with the header of a file that is named by `live`, and the time that it tells."""

        def disorder(law: str, found: str, expected: str) -> Disorder:
            return Disorder(law, date, live.frame_id, str(path), found, expected)

        try:
            cards = values(_read(path), self._keywords)
        except StageError as exc:
            yield disorder("header", str(exc), "a whole cube, of which the header can be read")
            return
        for law, keyword, expected in (
            ("header_frame_id", self._cards.frame_id, live.frame_id),
            ("header_exposure_id", self._cards.exposure_id, exposure_id_of(live.frame_id)),
        ):
            if cards.get(keyword) != expected:
                yield disorder(law, f"{keyword} = {cards.get(keyword)!r}", repr(expected))
        try:
            begin_us = first_exposure_us(cards, self._cards.exposure_s, from_exposure_start=self._from_start)
        except StageError as exc:
            yield disorder("header_time", str(exc), f"start_us {live.start_us}")
            return
        tolerance_us = self.tolerance_us(live.exposure_us)
        if abs(begin_us - live.start_us) > tolerance_us:
            shown: dict[str, Any] = {k: cards.get(k) for k in (*START_CARDS, self._cards.exposure_s)}
            found = ", ".join(f"{keyword} {value}" for keyword, value in shown.items())
            yield disorder(
                "header_time",
                f"{found}: start_us {begin_us}",
                f"start_us {live.start_us}, to {tolerance_us} us",
            )
        yield Begin(live.frame_id, str(path), begin_us, tolerance_us)


def is_cube(path: Path) -> bool:
    """Whether a file is a cube, plain or compressed, by its name."""
    return path.name.endswith((PLAIN, PACKED))


def _read(path: Path) -> bytes:
    return read_packed_header(path) if path.name.endswith(PACKED) else read_cube_layout(path).header

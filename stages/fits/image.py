"""Values of the headers of many images, plain or compressed in tiles: fast where they are laid out alike."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.base import BadInput
from stages.fits.cards import card_value, read_header, split_cards, starts_of
from stages.fits.rice import plain_keyword
from stages.fits.structure import HIERARCH

#: Keywords that say nothing by themselves, however often they stand (FITS 4.0 sec. 4.4.2.4).
COMMENTARY = frozenset({"", "COMMENT", "HISTORY", "CONTINUE"})

#: The ending of files whose image is in the first extension, as fpack leaves them.
PACKED = ".fz"


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Where the values are in headers that are laid out alike.

    Attributes
    ----------
    keywords : tuple of str
        Those that are wanted, in the order of the header.
    places : tuple of (int, int)
        Of each, the number of its card, and of the one after its last: strings may go on.
    """

    keywords: tuple[str, ...]
    places: tuple[tuple[int, int], ...]


class ImageHeaders:
    """A reader of headers.

    Parameters
    ----------
    is_wanted : callable
        Tells of a keyword whether its values are wanted; those of commentary never are.

    Attributes
    ----------
    known : set of str
        All keywords of headers so far that have values, wanted or not.
    """

    def __init__(self, is_wanted: Callable[[str], bool]) -> None:
        self._is_wanted = is_wanted
        self.known: set[str] = set()
        self._layouts: dict[tuple[bytes, bool], Layout] = {}

    def read(self, path: Path) -> tuple[Layout, list[Any], list[str]]:
        """Read the header of a file's image.

        Parameters
        ----------
        path : Path
            A FITS file; if its name ends in ``.fz``, the image is in its first extension, compressed in tiles.

        Returns
        -------
        layout : Layout
            With the keywords; the first card counts if there are several.
        values : list
            Of each keyword: bool, int, float, str, or None where the card has none.
        faults : list of str
            What could not be read of single cards; their values are None.

        Raises
        ------
        BadInput
            If it is no FITS file, or has no image where it should be.
        Retry
            If it cannot be read.
        """
        header = read_header(path)
        is_packed = path.name.endswith(PACKED)
        if is_packed:
            header = read_header(path, at=len(header))
        cards = split_cards(header)
        layout = self._layout(header, cards, is_packed=is_packed)
        values: list[Any] = []
        faults = []
        for first, end in layout.places:
            try:
                values.append(card_value(cards[first] if end == first + 1 else b"".join(cards[first:end])))
            except BadInput as exc:
                values.append(None)
                faults.append(str(exc))
        return layout, values, faults

    def _layout(self, header: bytes, cards: list[bytes], *, is_packed: bool) -> Layout:
        starts = starts_of(header), is_packed
        layout = self._layouts.get(starts)
        if layout is None:
            layout = self._made(cards, is_packed=is_packed)
            if not any(card.startswith(b"HIERARCH") for card in cards):  # their names are not in what cards start with
                self._layouts[starts] = layout
        return layout

    def _made(self, cards: list[bytes], *, is_packed: bool) -> Layout:
        found: dict[str, tuple[int, int]] = {}
        for first, card in enumerate(cards):
            keyword = _keyword(card, is_packed=is_packed)
            if keyword is None or keyword in COMMENTARY:
                continue
            self.known.add(keyword)
            if not self._is_wanted(keyword):
                continue
            end = first + 1
            while end < len(cards) and cards[end].startswith(b"CONTINUE"):
                end += 1
            found.setdefault(keyword, (first, end))
        return Layout(tuple(found), tuple(found.values()))


def _keyword(card: bytes, *, is_packed: bool) -> str | None:
    """Return the keyword of an image's card that has a value; None if it has none, or is of the table around it."""
    if named := HIERARCH.match(card):
        return named[1].decode("ascii")
    if card[8:10] != b"= ":
        return None
    keyword = plain_keyword(card) if is_packed else card[:8].rstrip()
    return None if keyword is None else keyword.decode("ascii")

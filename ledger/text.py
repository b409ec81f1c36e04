"""Words and numbers for people."""

import re
from collections.abc import Iterable, Sequence
from itertools import chain

#: Texts of a kind that have a line each; names in the line of more; kinds that are listed.
_ONE_BY_ONE, _NAMES, _KINDS = 10, 3, 20

#: Words that may differ between texts of one kind: those with numbers or paths in them.
_OWN = re.compile(r"\S*[\d/]\S*")


def counted(n: int, noun: str) -> str:
    """Return a number with its noun, such as ``1 raw file`` and ``2 raw files``."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def duration(seconds: float) -> str:
    """Return a time span for people, in its two largest units, such as ``12 s`` and ``1 h 05 min``."""
    minutes, rest_s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest_s:02} s" if minutes else f"{rest_s} s"


def printable(text: str) -> str:
    """Return a text in one line that any terminal takes: what cannot be printed is escaped.

    Parameters
    ----------
    text : str
        Perhaps with control characters, or with bytes of a path that are not UTF-8 (PEP 383).
    """
    return text if text.isprintable() else "".join(map(_escaped, text))


def named(recipients: Sequence[str]) -> str:
    """Return the recipients of a mail in words; there may be none."""
    return ", ".join(recipients) or "whoever was sent the file"


def joined(text: str) -> str:
    """Return lines as one that any terminal takes."""
    return "; ".join(printable(line.strip()) for line in text.splitlines())


def alike(found: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return names and texts about them in few lines, however many names there are.

    Names with the very same text share a line. Texts that differ in numbers and paths only are of one kind. Of a kind
    with many texts the first names are told, with the text of the first; of many kinds the last are counted.
    """
    kinds: dict[str, dict[str, list[str]]] = {}
    for name, text in found:
        kinds.setdefault(_OWN.sub("", text), {}).setdefault(text, []).append(name)
    lines: list[tuple[str, str]] = []
    for texts in list(kinds.values())[:_KINDS]:
        if len(texts) > _ONE_BY_ONE:
            names = list(chain.from_iterable(texts.values()))
            lines.append((_some(names, _NAMES), next(iter(texts))))
        else:
            lines += [(_some(names, 1), text) for text, names in texts.items()]
    if beyond := list(kinds.values())[_KINDS:]:
        n = sum(len(names) for texts in beyond for names in texts.values())
        lines.append((f"{n} more", f"of {counted(len(beyond), 'other kind')}"))
    return lines


def _some(names: Sequence[str], n: int) -> str:
    """Return the first `n` names, and how many more there are."""
    more = len(names) - n
    return ", ".join(names[:n]) + (f" and {more} more" if more > 0 else "")


def is_utf8(text: str) -> bool:
    """Whether a text can be encoded, as databases ask; a path may have bytes that are not UTF-8 (PEP 383)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    byte = ord(character) - 0xDC00
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else character.encode("unicode_escape").decode("ascii")

"""Faults of a configuration's values, whatever their keys mean: no file, terminal or database takes them. Pure."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from string import Formatter
from typing import Any

from ledger.errors import Fault
from ledger.text import is_utf8
from stages.base import TEMPORARY_PREFIX
from stages.fits.meaning import form_of
from stages.instrument import Instrument

#: More values than this, those that aliases repeat counted again, or deeper ones are no configuration.
MOST_VALUES, MOST_DEPTH = 10_000, 20

#: A keyword (FITS 4.0 sec. 4.1.2.1), and what the name of a ``HIERARCH`` card may have.
_KEYWORD = re.compile(r"[A-Z0-9_-]{1,8}", re.ASCII)
_LONG_KEYWORD = re.compile(r"[!-<>-~][ -<>-~]{0,60}", re.ASCII)
#: Of cards that the ledger writes.
_WRITTEN = ("synchronised", "flc_state", "frame_id", "exposure_id")

#: Names of files have 255 bytes; times, cameras and suffixes are added to these.
_MOST_NAME_BYTES = 100


#: Texts of several lines.
_OF_LINES = frozenset({"mail.text"})


def mapping(value: object) -> Mapping[str, Any]:
    """Return a mapping of the configuration; an empty one instead of anything else, which is a fault of its own."""
    return value if isinstance(value, Mapping) else {}


def is_day(text: str) -> bool:
    """Whether a text is a day of the calendar, ``YYYYMMDD``."""
    if not re.fullmatch(r"[0-9]{8}", text):
        return False
    try:
        datetime.strptime(text, "%Y%m%d").replace(tzinfo=UTC)
    except ValueError:
        return False
    return True


def faults_of_values(data: Mapping[str, Any], *, is_of_paths: bool = False) -> Iterator[Fault]:
    """Yield keys that are no text, texts that no file system takes, and what is too much or contains itself.

    Parameters
    ----------
    data : mapping
        As read from YAML.
    is_of_paths : bool
        Whether line ends and tabs are faults too, as in paths they are.
    """
    todo: list[tuple[str, Any, int]] = [("configuration", data, 0)]
    n_values = 0
    while todo:
        path, value, depth = todo.pop()
        n_values += 1
        if n_values > MOST_VALUES or depth > MOST_DEPTH:
            what = f"more than {MOST_VALUES} values, or more than {MOST_DEPTH} levels"
            yield Fault(path, what, "write out what aliases stand for")
            return
        if isinstance(value, Mapping):
            for key, inner in value.items():
                if not isinstance(key, str):
                    yield Fault(path, f"expected keys that are text: found {type(key).__name__}", "put it in quotes")
                else:
                    shown = key if key.isprintable() else ascii(key)
                    todo += [("key", key, depth), (shown if depth == 0 else f"{path}.{shown}", inner, depth + 1)]
        elif isinstance(value, list | tuple):
            todo += [(path, inner, depth + 1) for inner in value]
        elif isinstance(value, str):
            visible = value if is_of_paths and path not in _OF_LINES else value.replace("\n", "").replace("\t", "")
            if not is_utf8(value) or not visible.isprintable():
                yield Fault(path, f"expected text that can be printed: found {ascii(value)[:200]}")
        elif isinstance(value, int) and abs(value) >= 2**63:
            yield Fault(path, "expected a number of fewer than 64 bits")


def faults_of_instrument(instrument: Instrument) -> Iterator[Fault]:
    """Yield names that would lead out of a night, or into the raw files, and keywords that no card can have."""
    names = {f"streams.{i}.name": stream.name for i, stream in enumerate(instrument.streams)}
    names |= {"product_folder": instrument.product_folder, "synchronised_name": instrument.synchronised_name}
    try:
        names["manifest"] = instrument.manifest.format(date="20260102")
        fields = {field for _, field, *_ in Formatter().parse(instrument.manifest) if field is not None}
    except (LookupError, ValueError, AttributeError):
        fields = set()
    if fields != {"date"}:
        yield Fault("instrument.manifest", f"expected a file name with {{date}} in it: found {instrument.manifest!r}")
    for key, name in names.items():
        is_plain = name.isprintable() and not name.startswith((".", TEMPORARY_PREFIX)) and not {"/", "|"} & {*name}
        if not name.strip() or not is_plain or len(name.encode()) > _MOST_NAME_BYTES:
            yield Fault(f"instrument.{key}", f"expected the name of a file or folder in the night: found {name!r}")
    folders = [*(stream.name for stream in instrument.streams), instrument.product_folder]
    if len(set(folders)) < len(folders):
        yield Fault("instrument.streams", f"expected folders that differ, from each other and from products: {folders}")
    for i, stream in enumerate(instrument.streams):
        if stream.camera not in (1, 2):
            yield Fault(f"instrument.streams.{i}.camera", f"expected 1 or 2: found {stream.camera!r}")
    if instrument.cards.flc_enabled is not None and instrument.cards.flc_state is None:
        hint = "name the card of its state, or set flc_enabled to null too if there is no FLC"
        yield Fault("instrument.cards.flc_state", "null, and flc_enabled is not: states would be written nowhere", hint)
    for key, keyword in asdict(instrument.cards).items():
        if keyword is None:  # pydantic has refused it where it may not be
            continue
        pattern = _KEYWORD if key in _WRITTEN else _LONG_KEYWORD
        if not pattern.fullmatch(keyword):
            yield Fault(f"instrument.cards.{key}", f"expected a keyword of FITS: found {keyword!r}")
    forms = instrument.forms
    for one, other in (("means_true", "means_false"), ("flc_in", "flc_out"), ("flc_free", "flc_fixed")):
        if both := {form_of(form) for form in getattr(forms, one)} & {form_of(form) for form in getattr(forms, other)}:
            yield Fault(
                f"instrument.forms.{one}", f"expected other forms than in {other}: found {sorted(both)} in both"
            )
    for key, keywords in (("rule_keywords", instrument.rule_keywords), ("kept_keywords", instrument.kept_keywords)):
        for keyword in keywords:
            if not _LONG_KEYWORD.fullmatch(keyword):
                yield Fault(f"instrument.{key}", f"expected keywords of FITS: found {keyword!r}")
    if twice := {*instrument.rule_keywords} & {*instrument.kept_keywords}:
        what = f"also in rule_keywords, which cut groups: {sorted(twice)}"
        yield Fault("instrument.kept_keywords", what, "name each in one of the two")

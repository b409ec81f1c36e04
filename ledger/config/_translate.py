"""What pydantic found wrong, as faults for people."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, get_args, get_type_hints

from ledger.config.model import Config
from ledger.errors import Fault

ENVIRONMENT_PREFIX = "LEDGER_"


def to_fault(error: Any) -> Fault:
    """Return an error of pydantic, as `ValidationError.errors` has it, for people."""
    path = ".".join(str(part) for part in error["loc"]) or "configuration"
    kind = error["type"]
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return Fault(path, "unknown key", did_you_mean(str(error["loc"][-1]), _siblings(error["loc"])))
    if kind in ("missing", "missing_argument"):
        variable = ENVIRONMENT_PREFIX + "__".join(str(part).upper() for part in error["loc"])
        return Fault(path, "missing", f"set it in the file, or {variable}")
    message = error["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(error["input"], dict | list) else f": found {error['input']!r}"
    hint = "true or false, without quotes" if kind == "bool_type" else ""
    return Fault(path, message[0].lower() + message[1:] + shown, hint)


def _siblings(location: Sequence[object]) -> list[str]:
    """Return the keys that are known where an unknown one was found."""
    block: Any = Config
    for part in location[:-1]:  # a key of a dict or an index of a list stays in the block
        annotations = get_type_hints(block) if block else {}
        if part in annotations:
            block = _block_in(annotations[str(part)])
    return list(_fields(block))


def _fields(block: Any) -> Mapping[str, object]:
    return getattr(block, "model_fields", None) or getattr(block, "__dataclass_fields__", {})


def _block_in(annotation: Any) -> Any:
    """Return the class with fields that `annotation` is or contains, such as Stream in tuple[Stream, ...]."""
    if _fields(annotation):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _block_in(inner))), None)


def did_you_mean(word: str, known: Sequence[str] | Mapping[str, object]) -> str:
    """Return a hint that names the known word nearest to `word`; an empty one if none is near."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else ""

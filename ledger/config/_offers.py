"""What a stage's module offers, compared with the protocols of :mod:`stages.optional`."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import is_dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from stages.base import Stage
from stages.optional import OPTIONAL, Parametrised

#: How near a name is to a known one that is meant: a letter or two are wrong.
_NEAR = 0.83


def faults_of_offers(stage: Stage) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with what a stage offers, and what to do about it."""
    yield from _faults_of_functions(stage, Stage)
    for protocol in OPTIONAL:
        offered = {name for name in _members(protocol) if getattr(stage, name, None) is not None}
        if lacking := offered and _members(protocol) - offered:
            yield (
                f"found {_listed(offered)} without {_listed(lacking)}",
                f"expected all or none of {_listed(_members(protocol))}",
            )
        yield from _faults_of_functions(stage, protocol)
        yield from _faults_of_constants(stage, protocol)
    yield from _near_misses(stage)


@cache
def _constants(protocol: type) -> Mapping[str, Any]:
    """Return the types of a protocol's constants by their names."""
    return get_type_hints(protocol)


@cache
def _members(protocol: type) -> frozenset[str]:
    return frozenset(name for name in (*vars(protocol), *_constants(protocol)) if not name.startswith("_"))


def _faults_of_functions(stage: Stage, protocol: type) -> Iterator[tuple[str, str]]:
    for name, declared in vars(protocol).items():
        function = getattr(stage, name, None)
        if name.startswith("_") or function is None:
            continue
        keywords = [key for key in inspect.signature(declared).parameters if key != "self"]
        call = f"expected a function to be called as {name}({', '.join(f'{key}=...' for key in keywords)})"
        if not callable(function):
            yield f"found {name} = {function!r}", call
        elif not _takes(function, keywords):
            yield f"found {name}{inspect.signature(function)}", call


def _takes(function: Callable[..., object], keywords: list[str]) -> bool:
    try:
        inspect.signature(function).bind(**dict.fromkeys(keywords))
    except TypeError:
        return False
    except ValueError:  # one that is not written in Python does not say
        return True
    return True


def _faults_of_constants(stage: Stage, protocol: type) -> Iterator[tuple[str, str]]:
    for name in _constants(protocol):
        value = getattr(stage, name, None)
        if value is not None and not _has_shape(protocol, name, value):
            kind = "a dataclass" if protocol is Parametrised else f"one of type {_type_of(protocol, name)}"
            yield f"found {name} = {value!r}", f"expected {kind}"


def _type_of(protocol: type, name: str) -> str:
    return str(_constants(protocol)[name]).replace("typing.", "").removeprefix("<class '").removesuffix("'>")


def _has_shape(protocol: type, name: str, value: Any) -> bool:
    if protocol is Parametrised:
        return isinstance(value, type) and is_dataclass(value)
    try:
        TypeAdapter(_constants(protocol)[name]).validate_python(value)
    except ValidationError:
        return False
    return True


def _near_misses(stage: Stage) -> Iterator[tuple[str, str]]:
    """Yield public names of functions, and of constants of the right shape, that are nearly those of optional ones."""
    absent = {name: protocol for protocol in OPTIONAL for name in _members(protocol) if not hasattr(stage, name)}
    for name, value in vars(stage).items():
        if name.startswith("_") or getattr(value, "__module__", stage.__name__) != stage.__name__:
            continue
        for meant in get_close_matches(name, absent, n=1, cutoff=_NEAR):
            protocol = absent[meant]
            is_constant = meant in _constants(protocol)
            if _has_shape(protocol, meant, value) if is_constant else _is_meant(value):
                yield (
                    f"found {name}, which nothing asks for",
                    f"did you mean {meant!r}? A helper's name begins with an underscore",
                )


def _is_meant(value: object) -> bool:
    """Whether this is a function that can be called as a stage's are; a helper has other parameters."""
    return inspect.isfunction(value) and _takes(value, ["job", "params"])


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))

"""What is compiled of the stages: ``_rice.c`` and ``_timing.c``, where there was a compiler on installation.

It is optional: without it, its callers do the same more slowly, with the same result.
"""

import ctypes
from collections.abc import Mapping, Sequence
from pathlib import Path

#: Where ``hatch_build.py`` puts it.
LIBRARY = Path(__file__).with_name("_native.so")


def _open() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(str(LIBRARY))
    except OSError:
        return None


_library = _open()


def load(functions: Mapping[str, type], arguments: Sequence[type]) -> ctypes.CDLL | None:
    """Return the library with some of its functions ready to be called.

    Parameters
    ----------
    functions : mapping of str to type
        Name and result, a type of ctypes, of each.
    arguments : sequence of type
        Of ctypes, the same for all of them.

    Returns
    -------
    CDLL or None
        None if there is no library, or it is one of before that lacks such a function.
    """
    if _library is None or not all(hasattr(_library, name) for name in functions):
        return None
    for name, result in functions.items():
        function = getattr(_library, name)
        function.restype, function.argtypes = result, list(arguments)
    return _library

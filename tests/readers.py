"""What users of the archive read cubes with: astropy, and cfitsio by its C interface."""

import ctypes
import ctypes.util
import warnings
from functools import cache

import numpy as np
from astropy.io import fits

from tests.tools import missing

#: cfitsio's numbers for a double and for reading only (fitsio.h).
_TDOUBLE, _READONLY = 82, 0
_MOST_AXES = 9


def read_by_astropy(path, hdu=0):
    """Return the physical values of an image as floats, as astropy sees them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fits.open(path, memmap=False) as hdus:
            return np.array(hdus[hdu].data, np.float64)


def header_by_astropy(path, hdu=0):
    """Return each card's keyword and value as astropy sees them; what it cannot read as text."""
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for card in fits.getheader(path, hdu).cards:
            try:
                found.append((card.keyword, str(card.value)))
            except (fits.VerifyError, ValueError) as exc:
                found.append(("", type(exc).__name__))
    return found


def read_by_cfitsio(path, hdu=1):
    """Return the physical values of an image as floats, as cfitsio sees them.

    Raises
    ------
    OSError
        With cfitsio's status.
    """
    library = _cfitsio()
    file, status = ctypes.c_void_p(), ctypes.c_int()
    library.ffdkopn(ctypes.byref(file), str(path).encode(), _READONLY, ctypes.byref(status))
    if status.value:
        raise OSError(f"{path}: cfitsio cannot open it: status {status.value}")
    try:
        bitpix, n_axes, lengths = ctypes.c_int(), ctypes.c_int(), (ctypes.c_longlong * _MOST_AXES)()
        library.ffmahd(file, hdu, None, ctypes.byref(status))
        library.ffgiprll(file, _MOST_AXES, ctypes.byref(bitpix), ctypes.byref(n_axes), lengths, ctypes.byref(status))
        shape = tuple(lengths[: n_axes.value])[::-1] if not status.value else (0,)
        pixels = np.zeros(shape)
        library.ffgpv(
            file, _TDOUBLE, ctypes.c_longlong(1), ctypes.c_longlong(pixels.size), None,
            pixels.ctypes.data_as(ctypes.c_void_p), ctypes.byref(ctypes.c_int()), ctypes.byref(status),
        )  # fmt: skip
        if status.value:
            raise OSError(f"{path}: cfitsio cannot read it: status {status.value}")
        return pixels
    finally:
        library.ffclos(file, ctypes.byref(ctypes.c_int()))


@cache
def _cfitsio():
    name = ctypes.util.find_library("cfitsio")
    if name is None:
        missing("the library cfitsio (Debian: libcfitsio-bin)")
    return ctypes.CDLL(name)

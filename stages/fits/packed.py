"""What whole FITS files are packed by: told by their first bytes, with the command that unpacks them."""

import shlex
from pathlib import Path

#: By name: the first bytes of what it packs, and the command.
_PACKERS = {
    "gzip": (b"\x1f\x8b", "gzip -dc"),
    "compress": (b"\x1f\x9d", "gzip -dc"),
    "bzip2": (b"BZh", "bzip2 -dc"),
    "xz": (b"\xfd7zXZ\x00", "xz -dc"),
    "zstd": (b"\x28\xb5\x2f\xfd", "zstd -dc"),
    "lz4": (b"\x04\x22\x4d\x18", "lz4 -dc"),
    "zip": (b"PK\x03\x04", "unzip -p"),
    "7z": (b"7z\xbc\xaf\x27\x1c", "7z e -so"),
}


def packed_by(content: bytes) -> str | None:
    """Return the name of what packed a file that begins with `content`; None if nothing known did."""
    return next((name for name, (magic, _) in _PACKERS.items() if content.startswith(magic)), None)


def how_to_unpack(path: Path, content: bytes) -> str:
    """Return what to do about a file that begins with `content`; empty if it is not known to be packed."""
    if (name := packed_by(content)) is None:
        return ""
    packed, plain = shlex.quote(path.name), shlex.quote(f"{path.name}.plain")
    return (
        f"; it is compressed by {name}: unpack it in place, under the same name: "
        f"{_PACKERS[name][1]} {packed} > {plain} && mv {plain} {packed}"
    )

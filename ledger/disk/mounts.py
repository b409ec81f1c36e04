"""What file system a folder is on."""

import os
from pathlib import Path

from ledger.errors import UsageError

#: File systems whose locks SQLite cannot trust (sqlite.org, "How To Corrupt", section 2.1).
NETWORK_FILE_SYSTEMS = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "afs",
        "ceph",
        "lustre",
        "fuse.sshfs",
        "glusterfs",
        "9p",
        "gpfs",
        "beegfs",
    }
)


def refuse_network(path: Path) -> None:
    """Refuse an SQLite file whose locks cannot be trusted.

    Raises
    ------
    UsageError
        With what to do instead.
    """
    kind = file_system_of(path.parent)
    if kind in NETWORK_FILE_SYSTEMS:
        raise UsageError(
            f"database {path}: its folder is on {kind}, where SQLite's locks cannot be trusted;"
            " put the file on a local disk, or use postgresql+psycopg://"
        )


def file_system_of(folder: Path) -> str:
    """Return the type of the file system that holds `folder` (``ext4``), or an empty string if unknown."""
    mounts = Path("/proc/self/mounts")
    if not mounts.exists():  # not Linux
        return ""
    where = os.path.realpath(folder)
    best = ("", "")
    for line in mounts.read_text(errors="replace").splitlines():
        _device, point, kind, *_ = line.split(" ")
        point = point.encode().decode("unicode_escape")
        inside = where == point or where.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best[0]):
            best = (point, kind)
    return best[1]

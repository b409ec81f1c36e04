"""Temporary folders in memory."""

import os
import shutil
import tempfile
from pathlib import Path

#: A file system in memory, where syncing costs nothing.
MEMORY = Path("/dev/shm")  # noqa: S108  the folders made there have names of their own
ROOM_BYTES = 4 * 2**30


def write_to_memory() -> None:
    """Let temporary folders be in memory, unless the environment says where; nothing here cuts the power.

    Not where programs cannot run from (``noexec``), nor where room is short, as in a container.
    """
    if "TMPDIR" in os.environ or not MEMORY.is_dir():
        return
    if os.statvfs(MEMORY).f_flag & os.ST_NOEXEC or shutil.disk_usage(MEMORY).free < ROOM_BYTES:
        return
    os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)

"""Which process a run is, on which boot of which host, and whether it is gone. Imports nothing that takes long."""

import getpass
import os
import socket
from pathlib import Path


def boot_id() -> str:
    """Return what tells this boot of this host from others; an empty string where the system has no such thing."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else ""


def user_name() -> str:
    """Return who runs this process: a name, or (an account without one) a number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def is_gone(host: str, boot: str, pid: int) -> bool:
    """Whether a process is known to be gone: on this host, and of another boot, or not there any more."""
    if host != socket.gethostname():
        return False
    if boot != boot_id():
        return True
    if Path("/proc/self").exists():
        return not Path(f"/proc/{pid}").exists()
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False

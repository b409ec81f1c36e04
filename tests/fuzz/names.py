"""Names that a file system takes and nobody expects, and what may bear them."""

import os
import socket

from hypothesis import strategies as st

ODD = (
    *(b"vcam1_06:00:00.1.fits", b"new\nline.fits", b"tab\there.fits", b"a|b|c.fits", b"-rf.fits", b"--help.fits"),
    *(b" .fits", b"  blanks  .fits", b".fits", b"..fits", b"...fits"),
    *(b"a..fits", b"..\\..\\x.fits", b"~.fits", b"$HOME.fits"),
    *(b"\x01\x1b[2J.fits", b"\x7f.fits", b"\xff\xfe.fits", b"a\xed\xb2\x80.fits", b"\xc3\xa9.fits", b"e\xcc\x81.fits"),
    *("\u202etxt.fits".encode(), "\u2028.fits".encode()),
    *(b"'; DROP TABLE file; --.fits", b"{date}.fits", b"%s%n.fits", b"*?[a].fits"),
    *(b"x" * 250 + b".fits", b"\xff" * 250 + b".fits", b"cube.FITS"),
    *(b"cube.fits.fz", b"cube.fits ", b"#.fits", b"[red].fits"),
    *(b"VMPA00000001.fits", b".ledger-x.fits", b"lineage.tsv", b"SHA256SUMS", b"nan.fits", b"CON.fits", b"a\rb.fits"),
)  # fmt: skip

NAMES = st.sampled_from(ODD) | st.binary(min_size=1, max_size=40).map(
    lambda name: name.replace(b"/", b"-").replace(b"\0", b"-") + b".fits"
)

#: What lies in a folder; those that begin with ``link`` lead out of the night.
KINDS = (
    "file",
    "folder",
    "link",
    "link to folder",
    "dangling link",
    "loop",
    "pipe",
    "socket",
    "device",
    "closed",
    "empty",
)


def put(kind, path, content, outside):
    """Make what `kind` says at `path` (bytes); `outside` is a folder (bytes) with the file ``precious``."""
    if os.path.lexists(path):
        return
    if kind == "folder":
        os.mkdir(path)
    elif kind == "link":
        os.symlink(os.path.join(outside, b"precious"), path)
    elif kind == "link to folder":
        os.symlink(outside, path)
    elif kind == "dangling link":
        os.symlink(os.path.join(outside, b"not there"), path)
    elif kind == "loop":
        os.symlink(path, path)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        _bind(path)
    elif kind == "device":
        os.symlink(b"/dev/zero", path)
    else:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0 if kind == "closed" else 0o644)
        os.write(descriptor, b"" if kind == "empty" else content)
        os.close(descriptor)


def _bind(path):
    """Make a socket; its whole path may be too long for one, but not its name in the folder."""
    before = os.open(".", os.O_RDONLY)
    try:
        os.chdir(os.path.dirname(path))
        with socket.socket(socket.AF_UNIX) as server:
            try:
                server.bind(os.path.basename(path))
            except OSError:
                os.mkfifo(os.path.basename(path))
    finally:
        os.fchdir(before)
        os.close(before)


def snapshot(folder):
    """Return all that is in a folder (bytes): names to what they are, and never follows a link."""
    found = {}
    for parent, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = os.path.join(parent, name)
            status = os.lstat(path)
            if os.path.islink(path):
                what = os.readlink(path)
            elif os.path.isfile(path):
                with open(path, "rb") as file:
                    what = file.read()
            else:
                what = b""
            found[path] = (status.st_mode, what, status.st_mtime_ns if os.path.isfile(path) else 0)
    return found

"""Stops a process before every system call that changes a file, so that somebody can decide what becomes of it.

Linux's seccomp does it ("user notification"): no call goes around it, be it Python's, a library's or a thread's,
and processes that the process starts are stopped as well.
"""

import ctypes
import errno
import fcntl
import os
import platform
import select
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

#: Every call that changes a file or a folder, or makes a change durable: its numbers (x86_64, aarch64), and which
#: arguments say what it acts on: d a descriptor, p a path, a a folder's descriptor followed by a path.
#: A write through a mapping is no call; nor is one that is missing here: the snapshots of test_fault_points see both.
_TABLE = """
write              1   64  d0       pwrite64          18   68  d0       writev            20   66  d0
pwritev          296   70  d0       pwritev2         328  287  d0       sendfile          40   71  d0
copy_file_range  326  285  d2       splice           275   76  d2       open               2    -  p0
creat             85    -  p0       openat           257   56  a0       truncate          76   45  p0
ftruncate         77   46  d0       fallocate        285   47  d0       fsync             74   82  d0
fdatasync         75   83  d0       sync_file_range  277   84  d0       syncfs           306  267  d0
rename            82    -  p0,p1    renameat         264   38  a0,a2    renameat2        316  276  a0,a2
unlink            87    -  p0       unlinkat         263   35  a0       rmdir             84    -  p0
mkdir             83    -  p0       mkdirat          258   34  a0       link              86    -  p1
linkat           265   37  a2       symlink           88    -  p1       symlinkat        266   36  a1
mknod            133    -  p0       mknodat          259   33  a0       chmod             90    -  p0
fchmod            91   52  d0       fchmodat         268   53  a0       fchmodat2        452  452  a0
chown             92    -  p0       lchown            94    -  p0       fchown            93   55  d0
fchownat         260   54  a0       utime            132    -  p0       utimes           235    -  p0
futimesat        261    -  a0       utimensat        280   88  a0       setxattr         188    5  p0
lsetxattr        189    6  p0       fsetxattr        190    7  d0       removexattr      197   14  p0
lremovexattr     198   15  p0       fremovexattr     199   16  d0       sendto            44  206  d0
"""
_MACHINES = {"x86_64": (0xC000003E, 1, 317), "aarch64": (0xC00000B7, 2, 277)}
#: Opening is a change only with one of these; the argument that holds the flags.
_CHANGING, _FLAGS = os.O_CREAT | os.O_TRUNC, {"open": 1, "openat": 2}

_PIDFD_GETFD = 438
_NOTIFICATION, _ANSWER = struct.Struct("QIIiIQ6Q"), struct.Struct("QqiI")
_RECEIVE, _SEND = (3 << 30 | part.size << 16 | ord("!") << 8 | n for n, part in enumerate((_NOTIFICATION, _ANSWER)))
_GOES_ON = 1


def _known() -> dict[int, tuple[str, list[str]]]:
    words = _TABLE.split()
    column = _MACHINES[platform.machine()][1]
    rows = [words[i : i + 4] for i in range(0, len(words), 4)]
    return {int(row[column]): (row[0], row[3].split(",")) for row in rows if row[column] != "-"}


def why_not() -> str | None:
    """Return why calls cannot be stopped on this machine, or None."""
    if sys.platform != "linux" or platform.machine() not in _MACHINES:
        return f"system calls are stopped on Linux only, on {' and '.join(_MACHINES)}"
    actions = Path("/proc/sys/kernel/seccomp/actions_avail")
    if not actions.exists() or "user_notif" not in actions.read_text():
        return "the kernel has no seccomp user notification (Linux 5.6 and later)"
    return None


@dataclass(frozen=True)
class Answer:
    """What becomes of a call: it goes on, or returns `value` or fails with `error` without having been made."""

    value: int = 0
    error: int = 0
    goes_on: bool = False


GO_ON = Answer(goes_on=True)


@dataclass(frozen=True)
class Call:
    """A call that is about to be made by a process, which waits."""

    name: str
    thread: int
    arguments: tuple[int, ...]
    where: tuple[str, ...]

    @cached_property
    def process(self) -> int:
        """Return the process that the thread is of."""
        status = Path(f"/proc/{self.thread}/status").read_text()
        return int(status.split("Tgid:")[1].split()[0])

    @cached_property
    def paths(self) -> list[str]:
        """Return the files that it acts on."""
        return [self._path(kind[0], int(kind[1:])) for kind in self.where]

    @cached_property
    def data(self) -> bytes | None:
        """Return what it is about to write, if it is a plain write or what is sent to a server."""
        if self.name not in ("write", "pwrite64", "sendto"):
            return None
        return self._memory(self.arguments[1], self.arguments[2])

    def perform(self, n_bytes: int) -> int:
        """Write the first `n_bytes` of its data in its place; return how many were."""
        assert self.data is not None
        pidfd = os.pidfd_open(self.process)
        descriptor = _libc().syscall(_PIDFD_GETFD, pidfd, self.arguments[0], 0)
        os.close(pidfd)
        if descriptor < 0:
            raise OSError(ctypes.get_errno(), "pidfd_getfd")
        try:
            if self.name == "pwrite64":
                return os.pwrite(descriptor, self.data[:n_bytes], self.arguments[3])
            return os.write(descriptor, self.data[:n_bytes])
        finally:
            os.close(descriptor)

    def _path(self, kind: str, first: int) -> str:
        proc = f"/proc/{self.thread}"
        if kind == "d":
            return str(Path(f"{proc}/fd/{_signed(self.arguments[first])}").readlink())
        address = self.arguments[first + (kind == "a")]
        folder = _signed(self.arguments[first]) if kind == "a" else -100
        base = Path(f"{proc}/cwd" if folder < 0 else f"{proc}/fd/{folder}").readlink()
        return str(base / os.fsdecode(self._text(address)) if address else base)

    def _memory(self, address: int, n_bytes: int) -> bytes:
        with Path(f"/proc/{self.thread}/mem").open("rb", buffering=0) as memory:
            memory.seek(address)
            return memory.read(n_bytes)

    def _text(self, address: int) -> bytes:
        text = b""
        while b"\0" not in text:
            text += self._memory(address + len(text), 4096 - (address + len(text)) % 4096)
        return text.split(b"\0")[0]


def run_stopping(
    act: Callable[[], None], decide: Callable[[Call], Answer], *, kill_after_s: float | None = None
) -> int:
    """Run `act` in a process of its own; let `decide` answer each call that changes a file, of it or its offspring.

    Parameters
    ----------
    act : callable
        Ends the process.
    decide : callable
        Called in this process.
    kill_after_s : float, optional
        When to kill the process, counted from the moment that `act` begins.

    Returns
    -------
    int
        The process's status, as `os.waitpid` gives it, once it and all that it started are gone.
    """
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        try:
            ours.close()
            socket.send_fds(theirs, [b"."], [_install()])
            theirs.recv(1)
            act()
        finally:
            os._exit(1)
    theirs.close()
    with ours:
        _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
        if descriptors:
            ours.send(b".")
            try:
                with _killing(child, kill_after_s):
                    _answer_all(descriptors[0], decide)
            finally:
                os.close(descriptors[0])
    return os.waitpid(child, 0)[1]


@contextmanager
def _killing(process: int, after_s: float | None) -> Iterator[None]:
    """Kill a process that is not waited for yet, unless the block ends before."""
    timer = threading.Timer(after_s or 0, os.kill, (process, signal.SIGKILL))
    if after_s is not None:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()
        if after_s is not None:
            timer.join()


def _answer_all(listener: int, decide: Callable[[Call], Answer]) -> None:
    known = _known()
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while True:
        ((_, events),) = poll.poll()
        if not events & select.POLLIN:
            return  # nobody is left
        buffer = bytearray(_NOTIFICATION.size)
        try:
            fcntl.ioctl(listener, _RECEIVE, buffer)
            number, thread, _, call, _, _, *arguments = _NOTIFICATION.unpack(buffer)
            name, where = known[call]
            answer = decide(Call(name, thread, tuple(arguments), tuple(where)))
            fields = (number, answer.value, -answer.error, _GOES_ON if answer.goes_on else 0)
            fcntl.ioctl(listener, _SEND, _ANSWER.pack(*fields))
        except OSError as exc:
            if exc.errno not in (errno.ENOENT, errno.ESRCH):  # it was killed
                raise


def _install() -> int:
    """Have this process's calls stopped from now on; return the descriptor that they are answered through."""
    machine, _, seccomp = _MACHINES[platform.machine()]
    load, equal, any_bit, give_back = 0x20, 0x15, 0x45, 0x06
    stop, allow = (give_back, 0, 0, 0x7FC00000), (give_back, 0, 0, 0x7FFF0000)
    code = [(load, 0, 0, 4), (equal, 1, 0, machine), allow, (load, 0, 0, 0)]
    for number, (name, _) in _known().items():
        if name in _FLAGS:
            flags = (load, 0, 0, 16 + 8 * _FLAGS[name])
            code += [(equal, 0, 4, number), flags, (any_bit, 0, 1, _CHANGING), stop, allow]
        else:
            code += [(equal, 0, 1, number), stop]
    code.append(allow)
    packed = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(code), ctypes.addressof(packed)))
    libc = _libc()
    no_new_privileges, set_filter, new_listener = 38, 1, 8
    libc.prctl(no_new_privileges, 1, 0, 0, 0)
    listener: int = libc.syscall(seccomp, set_filter, new_listener, program)
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return listener


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _signed(argument: int) -> int:
    return ctypes.c_int(argument & 0xFFFFFFFF).value

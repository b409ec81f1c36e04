"""A real OpenSSH server on 127.0.0.1, with keys of its own."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.tools import missing, need

STARTING_S = 20


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs: its port, the key that opens it, the file that has its own, a key of who is not root, and
    a file of commands that a login with that key begins with."""

    port: int
    identity_file: Path
    known_hosts: Path
    plain_file: Path
    login: Path


@contextmanager
def running_sshd() -> Iterator[Server]:
    """Start a server, and stop it at the end."""
    need("ssh", "ssh-keygen", "rsync")
    sshd = shutil.which("sshd", path=os.pathsep.join((os.environ["PATH"], "/usr/sbin", "/usr/local/sbin")))
    if sshd is None:
        missing("sshd (Debian: openssh-server)")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where the server locks itself in
    with tempfile.TemporaryDirectory(prefix="ledger-sshd-") as name:
        folder = Path(name)
        for key in ("host", "user", "plain"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
        login = folder / "login"
        login.write_text("")
        as_nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups " if os.getuid() == 0 else ""
        plain = rf'command=". {login}; exec {as_nobody}sh -c \"$SSH_ORIGINAL_COMMAND\"" '
        (folder / "authorized").write_text(
            (folder / "user.pub").read_text() + plain + (folder / "plain.pub").read_text()
        )
        with closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        (folder / "sshd_config").write_text(
            f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile {folder}/pid\n"
            f"AuthorizedKeysFile {folder}/authorized\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
            "KbdInteractiveAuthentication no\nMaxStartups 100\nPermitRootLogin yes\n"
            "KexAlgorithms curve25519-sha256\n"  # a quarter faster than what is safe from quantum computers, too
            f"SetEnv HOME={folder}\n"  # no start-up file of whoever runs the tests: theirs may take a tenth of a second
        )
        key = " ".join((folder / "host.pub").read_text().split()[:2])
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {key}\n")
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([sshd, "-D", "-e", "-f", folder / "sshd_config"], stderr=log)
        try:
            _wait(process, port, folder / "log")
            yield Server(port, folder / "user", folder / "known_hosts", folder / "plain", login)
        finally:
            process.terminate()
            process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + STARTING_S
    while process.poll() is None and time.monotonic() < end:
        with closing(socket.socket()) as attempt:
            attempt.settimeout(1)
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
    raise AssertionError(f"sshd did not start: {log.read_text()}")

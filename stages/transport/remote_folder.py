"""A folder on another host: what lies in it, and small changes there, by a shell that answers.

:class:`stages.transport.remote.Remote` brings files as well.
"""

import os
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from stages.base import TEMPORARY_PREFIX, BadInput, Host, Retry
from stages.files import retry_on_os_error
from stages.transport.proof import Digest
from stages.transport.ssh import Answer, Shell

#: Folders in the night's folder there into which rsync writes.
INCOMING = f"{TEMPORARY_PREFIX}incoming-"

#: Folder in a product folder here into which rsync brings files back.
RECALLED = f"{TEMPORARY_PREFIX}recalled"

#: Files that are in a folder here for a moment, to see whether they are in one there as well.
HERE = f"{TEMPORARY_PREFIX}here-"

#: What to do about a folder that is not there, by the key that says where it is.
_HINTS = {
    "transfer.destination": "mount it, create it",
    "transfer.source": "mount it there, set archive.root (or engineering.root) to where nights are there",
}

_AVAILABLE_KIB = re.compile(r"\s(\d+)\s+(\d+)\s+(-?\d+)\s+\d+%")


class RemoteFolder:
    """A night's folder on another host.

    Parameters
    ----------
    host : Host
        Which.
    destination : Path
        The folder there; the one above it must exist.
    key : str
        Of the configuration, which says where that is.
    apart : tuple of Path, optional
        A folder here, and one there that must be another one: products are in one of them, and copies in the other.

    Attributes
    ----------
    host, tool : str
        Its name, and what computes hashes there.

    Raises
    ------
    BadInput
        On entry, if the folder above is not there, or the two folders are the same.
    Retry
        Whatever fails there as a whole.
    """

    tool: str

    def __init__(
        self,
        host: Host,
        destination: Path,
        *,
        key: str = "transfer.destination",
        apart: tuple[Path, Path] | None = None,
    ) -> None:
        self.host = host.name
        self._shell = Shell(host)
        self._destination = destination
        self._key = key
        self._apart = apart

    def __enter__(self) -> Self:
        self._shell.__enter__()
        try:
            self.tool = self._shell.tool
            self._refuse_missing(self._destination.parent)
            if self._apart is not None:
                self._refuse_same(*self._apart)
        except BaseException:
            self._shell.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shell.__exit__(kind, error, trace)

    def is_this_machine(self) -> bool:
        """Whether that host is the one here, as far as the system tells."""
        (answer,) = self._ask([("machine", "")])
        boot = Path("/proc/sys/kernel/random/boot_id")
        return boot.exists() and answer.text == f"{os.uname().nodename} {boot.read_text().strip()}"

    def sizes(self, paths: Sequence[Path]) -> list[int | None]:
        """Return the sizes of files there, in bytes."""
        answers = self._ask([("look", path) for path in paths])
        return [int(answer.text) if answer.word == "file" else None for answer in answers]

    def digests(self, paths: Sequence[Path]) -> list[str | None]:
        """Return the SHA-256 (hex) of files there; None for what is no file."""
        answers = self._ask([("prove", path) for path in paths])
        return [digest_in(answer.text).sha256 if answer.word == "hash" else None for answer in answers]

    def names(self, folder: Path) -> set[str]:
        """Return the names in a folder there."""
        (answer,) = self._ask([("look", folder)])
        if answer.word != "folder":
            return set()
        (answer,) = self._ask([("names", folder)])
        found = bytes.fromhex(answer.text).split(b"\0")[:-1]
        return {name.decode(errors="surrogateescape").removeprefix("./") for name in found}

    def remove(self, paths: Sequence[Path]) -> None:
        """Remove files of the ledger's own, and what a host that fetches had brought there."""
        self._ask(
            [("discard", path.parent, RECALLED, "") if path.name == RECALLED else ("drop", path) for path in paths]
        )

    def make_folders(self, folders: Sequence[Path]) -> None:
        """Make folders durably."""
        self._ask([("folder", folder) for folder in folders])
        self._ask([("flush", folder) for folder in dict.fromkeys(folder.parent for folder in folders)])

    def sync_folder(self, folder: Path) -> None:
        """Make the names in a folder durable."""
        self._ask([("flush", folder)])

    def remove_if_empty(self, folders: Sequence[Path]) -> None:
        """Remove folders in which there is nothing; what dead calls brought is removed with the night's folder."""
        for folder in folders:
            if folder == self._destination and all(name.startswith(INCOMING) for name in self.names(folder)):
                self.discard_incoming()
            self._ask([("prune", folder)])

    def discard_incoming(self) -> None:
        """Remove what dead calls brought."""
        self._ask([("discard", self._destination, INCOMING, "")])

    def free_bytes(self) -> int:
        """Return how much room there is."""
        base = self._destination.parent
        (answer,) = self._ask([("free", base)])
        match = _AVAILABLE_KIB.search(answer.text)
        if match is None:
            raise Retry(f"'{self._at(base)}': no room is told by `df -Pk` there ({answer.text!r})")
        return max(int(match[3]), 0) * 1024

    def unfit(self, folder: Path) -> dict[str, str]:
        """Return what keeps products from being brought to a folder there, and what to do about each."""
        (answer,) = self._ask([("able", folder)])
        lacks = answer.text.split()
        found = {}
        if "rsync" in lacks:
            found[f"{self.host}: no rsync on this host's PATH, expected one: it brings products"] = (
                "install rsync there"
            )
        if "sum" in lacks:
            what = f"{self.host}: no openssl, sha256sum or shasum on this host, expected one: it proves products"
            found[what] = "install openssl or coreutils there"
        if self._shell.greeting:
            said = self._shell.greeting[:80]
            what = f"{self.host}: a login prints {said!r}, expected nothing: rsync takes it for its own"
            found[what] = "let the profile there (.bashrc, .cshrc) print on terminals only"
        if "access" in lacks:
            what = f"'{self._at(folder)}': may not be read and written (Permission denied)"
            found[what] = "correct its owner or mode there"
        return found

    def numbers(self, folder: Path, prefix: str, digits: int, manifests: str) -> set[int]:
        """Return the frame numbers in names under a folder there, and in manifests."""
        (answer,) = self._ask([("numbers", folder, prefix, manifests, str(len(prefix) + digits))])
        whole = re.compile(rf"{prefix}(\d{{{digits}}})", re.ASCII)
        return {int(match[1]) for word in answer.text.split() if (match := whole.fullmatch(word))}

    def _refuse_missing(self, base: Path) -> None:
        (answer,) = self._ask([("look", base)])
        if answer.word != "folder":
            raise BadInput(
                f"{self._key.partition('.')[2]} '{self._at(base)}': found no folder there, expected an existing one; "
                f"{_HINTS.get(self._key, 'mount it')}, or set {self._key}"
            )

    def _refuse_same(self, here: Path, there: Path) -> None:
        """Refuse a folder there that is the one here, mounted: a file would be its own copy, and be removed with it.

        Numbers of devices and inodes say nothing across hosts; a new name that is seen on both sides does.
        """
        with retry_on_os_error(here):
            if not here.is_dir():
                return
            for left in here.glob(f"{HERE}*"):
                left.unlink()
            mark = here / f"{HERE}{secrets.token_hex(8)}"
            mark.touch(exist_ok=False)
            try:
                (answer,) = self._ask([("look", there / mark.name)])
            finally:
                mark.unlink(missing_ok=True)
        if answer.word != "nothing":
            raise BadInput(
                f"'{self._at(there)}' is the same folder as {str(here)!r} here, and products would be their own copies;"
                f" expected another one, best on another disk; set {self._key}"
            )

    def _ask(self, calls: Sequence[tuple[str | Path, ...]]) -> list[Answer]:
        """Make calls; raise Retry for one that fails."""
        answers = self._asked(calls)
        for call, answer in zip(calls, answers, strict=True):
            if answer.word == "error":
                raise self._ailing(call[1], answer)
        return answers

    def _asked(self, calls: Sequence[tuple[str | Path, ...]]) -> list[Answer]:
        return self._shell.ask([[str(word) for word in call] for call in calls])

    def _ailing(self, path: str | Path, answer: Answer) -> Retry:
        return Retry(
            f"'{self._at(path)}': {answer.text}; expected a folder that can be read and written; free or"
            " mount the disk, or give permission, and it is tried again"
        )

    def _at(self, path: str | Path) -> str:
        return f"{self._shell.target}:{path}"


def names_at(host: Host, folder: Path) -> set[str]:
    """Return the names in a folder on another host; none if it is not there.

    Raises
    ------
    Retry
        If the host cannot be reached, or the folder not be read.
    """
    with RemoteFolder(host, folder.parent) as there:
        return there.names(folder)


def numbers_at(host: Host, folder: Path, prefix: str, digits: int, manifests: str) -> set[int]:
    """Return the frame numbers in names under a folder on another host, and in manifests there.

    Parameters
    ----------
    host : Host
        Which.
    folder : Path
        There; it must exist.
    prefix : str
        Of frame IDs.
    digits : int
        That follow it.
    manifests : str
        Pattern of the names of manifests.

    Raises
    ------
    BadInput
        If the folder is not there.
    Retry
        If the host cannot be reached, or the folder not be read.
    """
    with RemoteFolder(host, folder / "any") as there:
        return there.numbers(folder, prefix, digits, manifests)


def digest_in(text: str) -> Digest:
    """Return what `prove` answered: the hash, the name of standard input as the tool has it, and the size."""
    words = text.split()
    return Digest(words[0], int(words[-1]))

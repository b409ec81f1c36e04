"""The way to a destination on another host: rsync brings files, a shell there proves them.

Files come into a folder of their own beside the night's, one for each call, and take their names once the hash of what
lies there is right: what an rsync that nobody waits for any more still writes is never under a name of the night. What
earlier calls brought, whole or in part, is taken over, so a broken connection costs what it had in hand.
"""

import os
import re
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from stages.base import TEMPORARY_PREFIX, BadInput, Host, Irreversible, Retry, StageError, Stopped
from stages.files import retry_on_os_error
from stages.transport import proof
from stages.transport.base import Copy, Group, Proven
from stages.transport.proof import Digest
from stages.transport.ssh import Answer, Shell, last_line

#: Folders in the night's folder there into which rsync writes.
INCOMING = f"{TEMPORARY_PREFIX}incoming-"

#: Folder in a product folder here into which rsync brings files back.
RECALLED = f"{TEMPORARY_PREFIX}recalled"

#: Files that are in a folder here for a moment, to see whether they are in one there as well.
HERE = f"{TEMPORARY_PREFIX}here-"

#: How soon it is seen that somebody asks to stop, seconds.
POLL_S = 0.2

#: How long after rsync has ended it may be that the signal which ended it arrives here too, seconds.
STOPPING_S = 1.0

#: As a plain copy of what is listed, of content and not of links; resumable; quiet for five minutes at most.
RSYNC = (
    "rsync",
    "--archive",
    "--no-owner",
    "--no-group",
    "--copy-links",
    "--one-file-system",
    "--secluded-args",
    "--files-from=-",
    "--from0",
    "--partial",
    "--timeout=300",
    "--out-format=%l %b %n",  # with %b, what is sent is told of once it has arrived
)

#: What to do about a folder that is not there, by the key that says where it is.
_HINTS = {
    "transfer.destination": "mount it, create it",
    "transfer.source": "mount it there, set archive.root (or engineering.root) to where nights are there",
}

#: Size and name of a file, not a folder, in what rsync says.
_ARRIVED = re.compile(rb"^(\d+) \d+ [^\n]*[^/\n]$", re.MULTILINE)

#: Read of it at once.
SAID_BYTES = 1_000_000

#: A file that vanished or could not be read here; the rest was brought. Its own proof says so.
_IN_PART = frozenset({23, 24})

#: What the system there refuses for one file and may grant for the next, in its words.
_OF_ONE_FILE = ("Permission denied", "Operation not permitted", "Input/output error")

_AVAILABLE_KIB = re.compile(r"\s(\d+)\s+(\d+)\s+(-?\d+)\s+\d+%")


class Remote:
    """A folder on another host.

    Parameters
    ----------
    host : Host
        Which.
    night : Path
        The night's folder here: what is sent lies in it.
    destination : Path
        The night's folder there; the one above it must exist.
    is_stopped : callable, optional
        Tells whether somebody asks to stop: then what is being brought ends; what has arrived counts.
    carried : callable, optional
        Is told how many bytes a file has that has arrived.
    key : str
        Of the configuration, which says where that folder is.
    apart : tuple of Path, optional
        A folder here, and one there that must be another one: products are in one of them, and copies in the other.

    Raises
    ------
    BadInput
        On entry, if the folder above the night's is not there, or the two folders are the same.
    Retry
        Whatever fails there as a whole.
    """

    def __init__(
        self,
        host: Host,
        night: Path,
        destination: Path,
        *,
        is_stopped: Callable[[], bool] | None = None,
        carried: Callable[[int], None] | None = None,
        key: str = "transfer.destination",
        apart: tuple[Path, Path] | None = None,
    ) -> None:
        self.host = host.name
        self._shell = Shell(host)
        self._night = night
        self._destination = destination
        self._key = key
        self._apart = apart
        self._is_stopped = is_stopped or (lambda: False)
        self._carried = carried or (lambda _: None)

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

    def put(self, groups: Sequence[Group], replaceable: Sequence[bool]) -> list[Proven | StageError]:
        """Bring files there and prove them."""
        results = _Results(groups)
        lying = dict(zip(results.copies, self._look(results.copies), strict=True))
        may_replace = {copy: may for group, may in zip(groups, replaceable, strict=True) for copy in group}
        for copy in self._proven(results, [copy for copy in results.copies if _looks_copied(copy, lying[copy])]):
            if results.found[copy].sha256 != results.expected(copy):
                del results.found[copy]  # to be copied again
        for copy in results.missing():
            if lying[copy].word == "folder":
                results.fail(copy, BadInput(f"'{self._at(copy.final)}': found a folder, expected a file or nothing"))
            elif lying[copy].word != "nothing" and not may_replace[copy]:
                results.fail(
                    copy,
                    BadInput(
                        f"'{self._at(copy.final)}': found other bytes than those of {str(copy.source)!r}, which this"
                        " ledger did not put there; expected no such file; it may be an archived one: find out whose"
                        " it is, and move it away"
                    ),
                )
        if results.missing():
            for what, remedy in self.unfit(self._destination).items():
                raise Retry(f"{what}; {remedy}, and it is tried again")
            self._bring(results, may_replace)
        return results.of_groups()

    def see_through(self) -> None:
        """Let nobody who asks to stop end what is brought from now on."""
        self._is_stopped = lambda: False

    def prove(self, groups: Sequence[Group]) -> list[Proven | StageError]:
        """Prove copies as they lie."""
        known = [[copy for copy in group if copy.sha256 or proof.is_there(copy.source)] for group in groups]
        results = _Results(known)
        for copy in self._proven(results, results.copies):
            found, expected = results.found[copy].sha256, results.expected(copy)
            if found != expected:
                results.fail(
                    copy,
                    BadInput(
                        f"'{self._at(copy.final)}': found SHA-256 {found}, expected {expected}; the copy is damaged;"
                        f" {proof.AGAIN}"
                    ),
                )
        for copy in results.missing():
            results.fail(copy, BadInput(f"'{self._at(copy.final)}': found no file, expected a copy; {proof.AGAIN}"))
        return results.of_groups()

    def withdraw(self, groups: Sequence[Group]) -> list[str | StageError | None]:
        """Remove copies that are provably ours."""
        try:
            return self._withdraw(groups)
        except Retry as exc:
            return [exc for _ in groups]

    def fetch(self, groups: Sequence[Group], folder: Path) -> list[list[Path] | StageError]:
        """Bring copies back as temporaries, and prove them."""
        results = _Results(groups)
        name = _new_folder(folder / RECALLED)
        relative = {copy: copy.final.relative_to(self._destination) for copy in results.copies}
        at = {copy: name / path for copy, path in relative.items()}
        for attempt in range(proof.ATTEMPTS):
            wanted = [relative[copy] for copy in results.missing()]
            theirs, ours = f"{self._target}:{self._destination}/", f"{name}/"
            is_whole = self._rsync(wanted, theirs, ours, is_forced=attempt > 0)
            for copy in results.missing():
                if is_whole or at[copy].exists():
                    self._look_at_fetched(results, copy, at[copy])
            if not is_whole:
                results.leave()
                break
        for copy in results.missing():
            what = f"'{self._at(copy.final)}': found SHA-256 {results.arrived[copy].sha256}"
            results.fail(copy, BadInput(f"{what}, expected {copy.sha256}; not brought here"))
        fetched: list[list[Path] | StageError] = []
        for group, result in zip(groups, results.of_groups(), strict=True):
            if isinstance(result, StageError):
                fetched.append(result)
                continue
            final = [folder / f"{TEMPORARY_PREFIX}{copy.source.name}" for copy in group]
            for copy, temporary in zip(group, final, strict=True):
                with retry_on_os_error(temporary):
                    at[copy].replace(temporary)
            fetched.append(final)
        if is_whole:  # else the next call goes on with what is in it
            remove_recalled(name)
        return fetched

    def _look_at_fetched(self, results: "_Results", copy: Copy, path: Path) -> None:
        """Hash what was brought here; what is not right yet is brought again."""
        with retry_on_os_error(path):
            if not path.is_file():
                expected = "a product; copy it back" if self._key == "transfer.source" else "a copy"
                results.fail(copy, BadInput(f"'{self._at(copy.final)}': found no file, expected {expected}"))
                return
            found = proof.digest(path, from_disk=True)
        if found.sha256 == copy.sha256:
            results.found[copy] = found
        else:
            results.arrived[copy] = found

    def sizes(self, paths: Sequence[Path]) -> list[int | None]:
        """Return the sizes of files there, in bytes."""
        answers = self._ask([("look", path) for path in paths])
        return [int(answer.text) if answer.word == "file" else None for answer in answers]

    def source_sizes(self, paths: Sequence[Path]) -> list[int | None]:
        """Return the sizes of files here, in bytes."""
        return proof.sizes(paths)

    def digests(self, paths: Sequence[Path]) -> list[str | None]:
        """Return the SHA-256 (hex) of files there; None for what is no file."""
        answers = self._ask([("prove", path) for path in paths])
        return [_digest(answer.text).sha256 if answer.word == "hash" else None for answer in answers]

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
        """Remove folders in which there is nothing; what calls that died brought goes with the night's own."""
        for folder in folders:
            if folder == self._destination and all(name.startswith(INCOMING) for name in self.names(folder)):
                self.discard_incoming()
            self._ask([("prune", folder)])

    def discard_incoming(self) -> None:
        """Remove what calls that died brought."""
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

    # what each is made of

    def _refuse_missing(self, base: Path) -> None:
        (answer,) = self._ask([("look", base)])
        if answer.word != "folder":
            raise BadInput(
                f"{self._key.partition('.')[2]} '{self._at(base)}': found no folder there, expected an existing one; "
                f"{_HINTS.get(self._key, 'mount it')}, or set {self._key}"
            )

    def _refuse_same(self, here: Path, there: Path) -> None:
        """Refuse a folder there that is the one here, by whatever way: a file would be its own copy, and go with it.

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
        """Make calls; whatever cannot be done there may be possible later."""
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

    def _look(self, copies: Sequence[Copy]) -> list[Answer]:
        return self._ask([("look", copy.final) for copy in copies])

    def _proven(self, results: "_Results", copies: Sequence[Copy], at: Mapping[Copy, Path] | None = None) -> list[Copy]:
        """Hash copies, or what is to become them; return those of which there is any, their hashes noted.

        A bad spot or a wrong mode is the failure of its group; what ails the host as a whole is raised.
        """
        paths = [at[copy] if at else copy.final for copy in copies]
        proven = []
        for copy, path, answer in zip(copies, paths, self._asked([("prove", path) for path in paths]), strict=True):
            if answer.word == "error":
                error = self._ailing(path, answer)
                if not any(words in answer.text for words in _OF_ONE_FILE):
                    raise error
                results.fail(copy, error)
            elif answer.word == "hash":
                results.found[copy] = _digest(answer.text)
                proven.append(copy)
        return proven

    def _bring(self, results: "_Results", may_replace: Mapping[Copy, bool]) -> None:
        """Bring what is missing, prove it, and let it take its names."""
        name = f"{INCOMING}{secrets.token_hex(8)}"
        incoming = self._destination / name
        copies = results.missing()
        relative = {copy: copy.source.relative_to(self._night) for copy in copies}
        folders = sorted({parent for path in relative.values() for parent in path.parents})
        self._ask([("folder", incoming / folder) for folder in folders])
        self._ask([("adopt", self._destination, INCOMING, name, path) for path in relative.values()])
        self._ask([("discard", self._destination, INCOMING, name)])
        at = {copy: incoming / path for copy, path in relative.items()}
        for attempt in range(proof.ATTEMPTS):
            wanted = [copy for copy in results.missing() if proof.is_there(copy.source)]
            ours, theirs = f"{self._night}/", f"{self._target}:{incoming}/"
            is_whole = self._rsync([relative[copy] for copy in wanted], ours, theirs, is_forced=attempt > 0)
            for copy in self._proven(results, wanted, at):
                if results.found[copy].sha256 == results.expected(copy):
                    continue
                if is_whole:
                    self._refuse_changed(results, copy)
                else:
                    del results.found[copy]  # a part of it, that the next call goes on with
            if not is_whole:
                results.leave()
                break
        for copy in results.missing():
            results.fail(copy, _not_brought(copy, self._at(copy.final), results.arrived.get(copy)))
        arrived = [copy for copy in copies if copy in results.found and not results.is_failed(copy)]
        calls = [("place", at[copy], copy.final, "" if may_replace[copy] else "once") for copy in arrived]
        self._ask(calls)
        self._ask([("flush", folder) for folder in sorted({copy.final.parent for copy in arrived})])
        if is_whole:
            self._ask([("discard", self._destination, INCOMING, "")])

    def _refuse_changed(self, results: "_Results", copy: Copy) -> None:
        """Deal with a file that did not arrive as it should be: because it is another one here, or on the way."""
        results.arrived[copy] = results.found.pop(copy)
        here = results.source(copy)
        if here is not None and copy.sha256 not in (None, here.sha256):
            results.fail(
                copy,
                BadInput(
                    f"{str(copy.source)!r}: found SHA-256 {here.sha256}, expected {copy.sha256}; the file changed since"
                    " it was compressed: not copied; roll it back and advance it again"
                ),
            )

    @property
    def _target(self) -> str:
        """Return the host as rsync takes it."""
        host = self._shell.host
        name = f"[{host.name}]" if ":" in host.name else host.name
        return f"{host.user}@{name}" if host.user else name

    def _rsync(self, names: Sequence[Path], source: str, target: str, *, is_forced: bool = False) -> bool:
        """Bring files, named from `source`, to the same names from `target`; return whether nobody asked to stop."""
        if not names:
            return True
        shell = self._shell
        limit = [f"--bwlimit={shell.host.limit_kib_s}"] if shell.host.limit_kib_s else []
        forced = ["--ignore-times", "--whole-file"] if is_forced else []
        remote = " ".join(f"'{word.replace(chr(39), chr(39) * 2)}'" for word in shell.command())
        with tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as listed, tempfile.TemporaryFile() as done:
            listed.write(b"".join(bytes(name) + b"\0" for name in names))
            listed.seek(0)
            try:
                rsync = subprocess.Popen(
                    [*RSYNC, *limit, *forced, f"--rsh={remote}", "--", source, target],
                    stdin=listed,
                    stdout=done,
                    stderr=errors,
                    start_new_session=True,  # a Ctrl-C at the terminal is this process's to obey
                )
            except OSError as exc:
                raise Retry(f"rsync cannot be run ({exc}); expected it on PATH; install it") from exc
            with rsync:
                self._wait(rsync, done)
            if rsync.returncode in {0, *_IN_PART}:
                return True
            if self._is_stopped_soon():
                return False
            raise Retry(
                f"'{self._at(self._destination)}': rsync ended with {rsync.returncode} ({last_line(errors)}); what"
                " arrived is kept, and it is tried again"
            )

    def _is_stopped_soon(self) -> bool:
        """Whether rsync was ended because somebody asks to stop: a signal to many processes reaches it first, maybe."""
        end = time.monotonic() + STOPPING_S
        while not self._is_stopped():
            if time.monotonic() > end:
                return False
            time.sleep(POLL_S)
        return True

    def _wait(self, rsync: "subprocess.Popen[bytes]", done: IO[bytes]) -> None:
        """Wait for rsync, or end it if somebody asks to stop; tell of each file that it says has arrived."""
        place = 0
        try:
            is_over = False
            while not is_over:
                if self._is_stopped():
                    rsync.terminate()  # it ends what it started, here and there
                with suppress(subprocess.TimeoutExpired):
                    rsync.wait(POLL_S)
                is_over = rsync.poll() is not None  # before the last look at what it said
                said = os.pread(done.fileno(), SAID_BYTES, place)
                said = said[: said.rfind(b"\n") + 1]
                place += len(said)
                self._carried(sum(int(size) for size in _ARRIVED.findall(said)))
        finally:
            if rsync.poll() is None:
                rsync.kill()

    def _withdraw(self, groups: Sequence[Group]) -> list[str | StageError | None]:
        results = _Results(groups)
        self._proven(results, results.copies)
        lying = dict(zip(results.copies, self._look(results.copies), strict=True))
        for copy in results.copies:
            if lying[copy].word != "nothing" and (refused := self._why_not_ours(copy, results.found.get(copy))):
                results.fail(copy, Irreversible(refused))
        told: list[str | StageError | None] = []
        for group, result in zip(groups, results.of_groups(), strict=True):
            told.append(result if isinstance(result, StageError) else self._drop(group))
        return told

    def _drop(self, group: Group) -> str | None:
        try:
            self._ask([("drop", copy.final) for copy in group])
        except Retry as exc:
            return str(exc)
        return None

    def _why_not_ours(self, copy: Copy, there: Digest | None) -> str | None:
        """Return why a copy may not be removed: it is not provably ours, or the only good one; None if it may."""
        final = self._at(copy.final)
        if there is None:
            return f"'{final}': found something that is not a file; left alone; move it away"
        try:
            here = proof.source_digest(copy.source)
        except BadInput as exc:
            return f"'{final}' may be the only copy, left alone: {exc}"
        expected = copy.sha256 or here.sha256
        if there.sha256 != expected:
            return f"'{final}': found SHA-256 {there.sha256}, expected {expected}; not ours any more, left alone"
        if here.sha256 != expected:
            return (
                f"{str(copy.source)!r}: found SHA-256 {here.sha256}, expected {expected}; '{final}' is the only good"
                f" copy, left alone; copy it back over {str(copy.source)!r} first"
            )
        return None


def _new_folder(folder: Path) -> Path:
    """Make a folder; what calls that broke off had brought is in it, to be hashed like the rest."""
    with retry_on_os_error(folder):
        if folder.is_symlink():
            raise BadInput(f"{str(folder)!r}: a link, expected a folder of the ledger's; remove it")
        folder.mkdir(exist_ok=True)
    return folder


def remove_recalled(folder: Path) -> None:
    """Remove a folder into which rsync brought files, with all that is in it.

    Raises
    ------
    Retry
        If it cannot be removed.
    """
    with retry_on_os_error(folder):
        shutil.rmtree(folder)


def names_at(host: Host, folder: Path) -> set[str]:
    """Return the names in a folder on another host; none if it is not there.

    Raises
    ------
    Retry
        If the host cannot be reached, or the folder not be read.
    """
    with Remote(host, folder.parent, folder.parent) as there:
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
    with Remote(host, folder, folder / "any") as there:
        return there.numbers(folder, prefix, digits, manifests)


class _Results:
    """What is known of each copy of some groups, on the way to a result for each group."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self._groups = groups
        self.copies = [copy for group in groups for copy in group]
        self.found: dict[Copy, Digest] = {}
        self.arrived: dict[Copy, Digest] = {}  # and were not right
        self._failures: dict[int, StageError] = {}
        self._group_of = {copy: n for n, group in enumerate(groups) for copy in group}

    def fail(self, copy: Copy, error: StageError) -> None:
        """Let the group of a copy fail; its first error is told."""
        self._failures.setdefault(self._group_of[copy], error)

    def leave(self) -> None:
        """Leave what is missing, as somebody asks to stop."""
        for copy in self.missing():
            self.fail(copy, Stopped(f"{str(copy.source)!r}: left, as somebody asked to stop; the same command goes on"))

    def source(self, copy: Copy) -> Digest | None:
        """Return the digest of a file here; None if it cannot be read, which is its group's failure."""
        try:
            return proof.source_digest(copy.source)
        except BadInput as exc:
            self.fail(copy, exc)
            return None

    def expected(self, copy: Copy) -> str | None:
        """Return what a copy must hash to: what is on record, else what its source has."""
        if copy.sha256 is not None:
            return copy.sha256
        here = self.source(copy)
        return None if here is None else here.sha256

    def is_failed(self, copy: Copy) -> bool:
        """Whether its group has failed."""
        return self._group_of[copy] in self._failures

    def missing(self) -> list[Copy]:
        """Return the copies of which nothing is known, in groups that have not failed."""
        return [copy for copy in self.copies if copy not in self.found and not self.is_failed(copy)]

    def of_groups(self) -> list[Proven | StageError]:
        """Return a result for each group."""
        return [
            self._failures.get(n) or tuple(self.found[copy] for copy in group if copy in self.found)
            for n, group in enumerate(self._groups)
        ]


def _looks_copied(copy: Copy, there: Answer) -> bool:
    with proof.or_bad_input(copy.source):
        return there.word == "file" and proof.is_there(copy.source) and int(there.text) == copy.source.stat().st_size


def _not_brought(copy: Copy, final: str, arrived: Digest | None) -> StageError:
    if not proof.is_there(copy.source):
        return BadInput(
            f"cannot read {str(copy.source)!r}: no such file; expected a readable file; copy it back from the"
            " destination, or roll the night back to raw and advance it again"
        )
    what = "nothing" if arrived is None else f"SHA-256 {arrived.sha256} ({arrived.size_bytes} bytes)"
    return BadInput(f"'{final}': {what} arrived, {proof.ATTEMPTS} times; check the disk there")


def _digest(text: str) -> Digest:
    """Return what `prove` answered: the hash, the name of standard input as the tool has it, and the size."""
    words = text.split()
    return Digest(words[0], int(words[-1]))

"""The way to a destination on another host: rsync brings files, a shell there proves them.

Files come into a folder of their own beside the night's, one for each call, and take their names once the hash of what
lies there is right: an orphaned rsync never writes under a name of the night. What earlier calls brought, whole or in
part, is used, so a broken connection costs only the file in hand.
"""

import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from stages.base import TEMPORARY_PREFIX, BadInput, Host, Irreversible, Retry, StageError
from stages.files import bad_input_on_os_error, retry_on_os_error
from stages.transport import proof
from stages.transport.base import Copy, Group, Proven
from stages.transport.proof import Digest
from stages.transport.remote_folder import INCOMING, RECALLED, RemoteFolder, digest_in
from stages.transport.results import Results
from stages.transport.rsync import Rsync
from stages.transport.ssh import Answer

#: What the system there refuses for one file and may grant for the next, in its words.
_OF_ONE_FILE = ("Permission denied", "Operation not permitted", "Input/output error")


class Remote(RemoteFolder):
    """A folder on another host, to bring files to and from.

    Parameters
    ----------
    host : Host
        Which.
    night : Path
        The night's folder here: what is sent lies in it.
    destination, key, apart
        See :class:`stages.transport.remote_folder.RemoteFolder`.
    is_stopped, carried
        See :class:`stages.transport.rsync.Rsync`.
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
        super().__init__(host, destination, key=key, apart=apart)
        self._night = night
        self._rsync = Rsync(self._shell, is_stopped, carried)

    def put(self, groups: Sequence[Group], replaceable: Sequence[bool]) -> list[Proven | StageError]:
        """Bring files there and prove them."""
        results = Results(groups)
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

    def ignore_stop(self) -> None:
        """Finish what is asked for from now on, even if a stop is asked for."""
        self._rsync.ignore_stop()

    def prove(self, groups: Sequence[Group]) -> list[Proven | StageError]:
        """Prove copies as they lie."""
        known = [[copy for copy in group if copy.sha256 or proof.is_there(copy.source)] for group in groups]
        results = Results(known)
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
        results = Results(groups)
        name = _new_folder(folder / RECALLED)
        relative = {copy: copy.final.relative_to(self._destination) for copy in results.copies}
        at = {copy: name / path for copy, path in relative.items()}
        for attempt in range(proof.ATTEMPTS):
            wanted = [relative[copy] for copy in results.missing()]
            theirs, ours = f"{self._rsync.host}:{self._destination}/", f"{name}/"
            is_whole = self._rsync.bring(wanted, theirs, ours, at=self._destination, is_forced=attempt > 0)
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

    def _look_at_fetched(self, results: Results, copy: Copy, path: Path) -> None:
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

    def source_sizes(self, paths: Sequence[Path]) -> list[int | None]:
        """Return the sizes of files here, in bytes."""
        return proof.sizes(paths)

    def _look(self, copies: Sequence[Copy]) -> list[Answer]:
        return self._ask([("look", copy.final) for copy in copies])

    def _proven(self, results: Results, copies: Sequence[Copy], at: Mapping[Copy, Path] | None = None) -> list[Copy]:
        """Hash copies, or their temporaries `at` a place, into `results.found`; return those that are there.

        An error of one file (a bad sector, a wrong mode) fails its group; one of the host as a whole is raised.
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
                results.found[copy] = digest_in(answer.text)
                proven.append(copy)
        return proven

    def _bring(self, results: Results, may_replace: Mapping[Copy, bool]) -> None:
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
            ours, theirs = f"{self._night}/", f"{self._rsync.host}:{incoming}/"
            names = [relative[copy] for copy in wanted]
            is_whole = self._rsync.bring(names, ours, theirs, at=self._destination, is_forced=attempt > 0)
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

    def _refuse_changed(self, results: Results, copy: Copy) -> None:
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

    def _withdraw(self, groups: Sequence[Group]) -> list[str | StageError | None]:
        results = Results(groups)
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
    """Make a folder, or go on with the one that interrupted calls left: what is in it is hashed like the rest."""
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


def _looks_copied(copy: Copy, there: Answer) -> bool:
    with bad_input_on_os_error(copy.source):
        return there.word == "file" and proof.is_there(copy.source) and int(there.text) == copy.source.stat().st_size


def _not_brought(copy: Copy, final: str, arrived: Digest | None) -> StageError:
    if not proof.is_there(copy.source):
        return BadInput(
            f"cannot read {str(copy.source)!r}: no such file; expected a readable file; copy it back from the"
            " destination, or roll the night back to raw and advance it again"
        )
    what = "nothing" if arrived is None else f"SHA-256 {arrived.sha256} ({arrived.size_bytes} bytes)"
    return BadInput(f"'{final}': {what} arrived, {proof.ATTEMPTS} times; check the disk there")

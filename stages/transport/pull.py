"""The way to a destination that is a folder here, of products that are on another host: rsync brings them from there.

The other direction of `stages.transport.remote`, for a source that cannot reach the destination: what is at the
destination and at the source afterwards is the same. Of the night only its own small files are here (`bring`), in a
folder to work in.

At the source two things are changed, each after the run has seen that the night is still its own: checksums and
manifests, which are made here, are given to it (`Pull.put`), and taken back (`drop`). Lineage is made there.
"""

import errno
import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePath
from types import TracebackType
from typing import Self

from stages.base import TEMPORARY_PREFIX, BadInput, Irreversible, Job, Source, StageError
from stages.files import retry_on_os_error
from stages.transport import proof
from stages.transport.base import Copy, Group, Proven
from stages.transport.local import Local
from stages.transport.remote import Remote, remove_recalled
from stages.transport.remote_folder import RECALLED

KEY = "transfer.source"

#: Names by which somebody says that the source is this host, and means it.
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

#: What a file system says that knows no hard links.
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP})


class Pull(Local):
    """A folder here, and a source on another host.

    Parameters
    ----------
    job : Job
        With its destination; its night's folder is the one to work in.
    in_flight : int
        Groups that are worked on at once.
    source : Source
        Where the night is.
    """

    def __init__(self, job: Job, in_flight: int, source: Source) -> None:
        super().__init__(job, in_flight)
        self.host = source.name_here
        self._source = _remote(job, source)
        self._night = source.night
        self._confirm = source.confirm
        self._open = ExitStack()

    def __enter__(self) -> Self:
        super().__enter__()
        self._destination = proof.destination_of(self._job)
        self._open.enter_context(self._source)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self._open.close()

    def put(self, groups: Sequence[Group], replaceable: Sequence[bool]) -> list[Proven | StageError]:
        """Bring products here and prove them; what is made of the night here goes to the source too."""
        own = {n for n, group in enumerate(groups) if all(proof.is_there(copy.source) for copy in group)}
        made = [n for n in sorted(own) if all(copy.final.parent == self._destination for copy in groups[n])]
        given = dict(zip(made, self._give([groups[n] for n in made]), strict=True))
        results: dict[int, Proven | StageError] = {}
        for n in sorted(own):
            left = given.get(n)
            (results[n],) = [left] if isinstance(left, StageError) else super().put([groups[n]], [replaceable[n]])
        fetched = [n for n in range(len(groups)) if n not in own]
        known = self._with_hashes([groups[n] for n in fetched])
        results |= dict(zip(fetched, self._fetch(known, [replaceable[n] for n in fetched]), strict=True))
        return [results[n] for n in range(len(groups))]

    def ignore_stop(self) -> None:
        """Finish what is asked for from now on, even if a stop is asked for."""
        self._source.ignore_stop()

    def prove(self, groups: Sequence[Group]) -> list[Proven | StageError]:
        """Prove copies as they lie; one without a hash is compared with its source."""
        return super().prove(self._with_hashes(groups))

    def withdraw(self, groups: Sequence[Group]) -> list[str | StageError | None]:
        """Remove copies that are provably ours, and of which the source has the same bytes."""
        try:
            known = self._with_hashes(groups)
            at_source = self._source.digests([self._at_source(copy) for group in groups for copy in group])
        except StageError as exc:
            return [exc for _ in groups]
        found = iter(at_source)
        results: list[str | StageError | None] = []
        for group in known:
            hashes = [next(found) for _ in group]
            try:
                ours = [self._as_ours(copy, sha256) for copy, sha256 in zip(group, hashes, strict=True)]
            except StageError as exc:
                results.append(exc)
            else:
                results += super().withdraw([[copy for copy in ours if copy is not None]])
        return results

    def _as_ours(self, copy: Copy, at_source: str | None) -> Copy | None:
        """Return how a copy is to be removed, its bytes being at the source; None if it is not there.

        One of the night's own files is here as well: its copy is compared with that, and the source with it too. It
        may be gone from there.

        Raises
        ------
        BadInput, Irreversible
            If the source has other bytes, or none.
        """
        if not os.path.lexists(copy.final):
            return None
        is_own = proof.is_there(copy.source)
        expected = copy.sha256 or (proof.source_digest(copy.source).sha256 if is_own else None)
        if expected is None or (at_source != expected and not (is_own and at_source is None)):
            raise Irreversible(
                f"{str(copy.final)!r} may be the only copy, left alone: '{self._source.host}:{self._at_source(copy)}'"
                " is not there, or has other bytes; copy it back there first"
            )
        return copy if is_own else Copy(copy.final, copy.final, expected)

    def fetch(self, groups: Sequence[Group], folder: Path) -> list[list[Path] | StageError]:
        """Refuse: what is here is the copy."""
        raise BadInput(f"{str(folder)!r}: {len(groups)} products are brought back on the host of {KEY}, not here")

    def source_sizes(self, paths: Sequence[Path]) -> list[int | None]:
        """Return the sizes of files of the night, in bytes: of those here, else of those at the source."""
        here = super().source_sizes(paths)
        missing = [n for n, size in enumerate(here) if size is None]
        there = self._source.sizes([self._night / paths[n].relative_to(self._job.night) for n in missing])
        for n, size in zip(missing, there, strict=True):
            here[n] = size
        return here

    def sizes(self, paths: Sequence[Path]) -> list[int | None]:
        """Return the sizes of files here, in bytes; for a missing one, of what interrupted calls brought of it."""
        brought = [path.parent / RECALLED / path.relative_to(self._destination) for path in paths]
        found = zip(super().sizes(paths), super().sizes(brought), strict=True)
        return [there if there is not None else left for there, left in found]

    def remove(self, paths: Sequence[Path]) -> None:
        """Remove files of the ledger's own, and what an interrupted call brought."""
        for path in paths:
            if path.name == RECALLED:
                remove_recalled(path)
            else:
                super().remove([path])

    def _at_source(self, copy: Copy) -> Path:
        return self._night / copy.final.relative_to(self._destination)

    def _give(self, groups: Sequence[Group]) -> list[Proven | StageError]:
        """Give files to the source; what somebody else put there under such a name is left alone."""
        if not groups:
            return []
        given = [[Copy(copy.source, self._at_source(copy), copy.sha256) for copy in group] for group in groups]
        # what was brought from there under its name, or is derived, is the ledger's own to replace
        brought = [[self._job.night / copy.final.relative_to(self._night) for copy in group] for group in given]
        ours = [all(proof.is_there(path) for path in group) for group in brought]
        self._confirm()
        return self._source.put(given, ours)

    def _with_hashes(self, groups: Sequence[Group]) -> list[list[Copy]]:
        """Return groups with hashes that are not on record filled in from the source's files, where it has them."""
        asked = [copy for group in groups for copy in group if copy.sha256 is None and not proof.is_there(copy.source)]
        found = dict(zip(asked, self._source.digests([self._at_source(copy) for copy in asked]), strict=True))
        return [[copy._replace(sha256=copy.sha256 or found.get(copy)) for copy in group] for group in groups]

    def _fetch(self, groups: Sequence[Group], replaceable: Sequence[bool]) -> list[Proven | StageError]:
        """Bring products, prove them, and let them take their names."""
        results: dict[int, Proven | StageError] = {}
        missing: dict[int, list[Copy]] = {}
        for n, (group, may_replace) in enumerate(zip(groups, replaceable, strict=True)):
            wanted = [copy for copy in group if not _is_right(copy)]
            if refused := next((_why_not(copy, may_replace=may_replace) for copy in wanted if _is_taken(copy)), None):
                results[n] = BadInput(refused)
            else:
                missing[n] = wanted
        brought = self._bring([missing[n] for n in missing])
        for n, result in zip(missing, brought, strict=True):
            if isinstance(result, StageError):
                results[n] = result
                continue
            try:
                for copy, temporary in zip(missing[n], result, strict=True):
                    _place(temporary, copy, may_replace=replaceable[n])
            except BadInput as exc:
                results[n] = exc
                continue
            finally:
                with retry_on_os_error(self._destination):
                    for temporary in result:
                        temporary.unlink(missing_ok=True)
            with retry_on_os_error(self._destination):
                results[n] = tuple(proof.Digest(str(copy.sha256), copy.final.stat().st_size) for copy in groups[n])
        return [results[n] for n in range(len(groups))]

    def _bring(self, groups: Sequence[Sequence[Copy]]) -> list[list[Path] | StageError]:
        """Bring files, by folder, as proven temporaries."""
        if not any(groups):
            return [[] for _ in groups]
        (folder,) = {copy.final.parent for group in groups for copy in group}
        return self._source.fetch(
            [[Copy(copy.final, self._at_source(copy), copy.sha256) for copy in group] for group in groups], folder
        )


def bring(job: Job, source: Source, names: Sequence[PurePath]) -> None:
    """Bring the night's own files from the source to the working folder.

    What dead runs left at the source, half given, is removed.

    Parameters
    ----------
    job : Job
        Of the night; its folder is the one to work in.
    source : Source
        Where the night is.
    names : sequence of PurePath
        From the night's folder; what is not there is not here either afterwards.

    Raises
    ------
    BadInput
        If the night is not at the source, the source is this host, or a file changes while it is brought.
    Retry
        If the source cannot be reached or read, or the folder not be written.
    """
    with _remote(job, source) as there:
        if source.host.name not in LOOPBACK and there.is_this_machine():
            raise BadInput(
                f"{KEY} {source.host.name!r} is this very host: expected the one of the destination, which products are"
                f" fetched to ({source.name_here!r}); run it there, or set transfer.direction to push"
            )
        source.confirm()
        there.discard_incoming()
        found = dict(zip(names, there.digests([source.night / name for name in names]), strict=True))
        wanted = []
        for name, sha256 in found.items():
            here = job.night / name
            with retry_on_os_error(here):
                if sha256 is None:
                    here.unlink(missing_ok=True)
                elif not here.is_file() or proof.digest(here).sha256 != sha256:
                    wanted.append(Copy(here, source.night / name, sha256))
        for copy in wanted:
            (result,) = there.fetch([[copy]], copy.source.parent)
            if isinstance(result, StageError):
                raise result
            with retry_on_os_error(copy.source):
                result[0].replace(copy.source)


def hashes(job: Job, source: Source, names: Sequence[str]) -> dict[str, str]:
    """Return the SHA-256 (hex) of files of the product folder at the source.

    Raises
    ------
    BadInput
        If one is not there.
    Retry
        If the source cannot be reached or read.
    """
    paths = [source.night / job.folder.name / name for name in names]
    with _remote(job, source) as there:
        found = dict(zip(names, there.digests(paths), strict=True))
    if missing := [path for path in paths if found[path.name] is None]:
        raise BadInput(
            f"'{source.host.name}:{missing[0]}': found no file, expected one of a product; roll the night back there to"
            " fixed, and advance it again"
        )
    return {name: sha256 for name, sha256 in found.items() if sha256 is not None}


def drop(job: Job, source: Source, paths: Iterable[Path]) -> None:
    """Remove at the source the night's own files that are about to be removed here, if their bytes are the same.

    Parameters
    ----------
    job : Job
        Of the night; its folder is the one to work in.
    source : Source
        Where the night is.
    paths : iterable of Path
        In the folder to work in; what is not one of the files in the night's folder itself is passed over.

    Raises
    ------
    Retry
        If the source cannot be reached or written, or a file here not be read.
    """
    ours = {}
    for path in paths:
        with retry_on_os_error(path):
            if path.parent == job.night and not path.name.startswith(TEMPORARY_PREFIX) and path.is_file():
                ours[source.night / path.name] = proof.digest(path).sha256
    if not ours:
        return
    with _remote(job, source) as there:
        found = there.digests(list(ours))
        source.confirm()
        there.remove([path for path, sha256 in zip(ours, found, strict=True) if sha256 == ours[path]])


def _remote(job: Job, source: Source) -> Remote:
    """Return the way to the source, where the night must be another folder than its copy here."""
    copy = proof.destination_of(job)
    pairs = (copy / job.folder.name, source.night / job.folder.name), (copy, source.night)
    apart = next((pair for pair in pairs if pair[0].is_dir()), (copy.parent, source.night.parent))  # what is in it too
    return Remote(
        source.host, job.night, source.night, is_stopped=job.is_stopped, carried=job.carried, key=KEY, apart=apart
    )


def _is_taken(copy: Copy) -> bool:
    return os.path.lexists(copy.final)


def _is_right(copy: Copy) -> bool:
    """Whether a file of its own with the right bytes lies at the destination."""
    with retry_on_os_error(copy.final):
        is_file = copy.final.is_file() and not copy.final.is_symlink()
        return is_file and copy.sha256 is not None and proof.digest(copy.final, from_disk=True).sha256 == copy.sha256


def _place(temporary: Path, copy: Copy, *, may_replace: bool) -> None:
    """Give a proven file its name; the old one may stay.

    Raises
    ------
    BadInput
        If somebody else has put a file there meanwhile, which may not be replaced.
    Retry
        If the disk refuses.
    """
    with retry_on_os_error(copy.final):
        if may_replace:
            temporary.replace(copy.final)
            return
        try:
            os.link(temporary, copy.final)  # a rename would replace
        except OSError as exc:
            if _is_taken(copy):
                raise BadInput(_why_not(copy, may_replace=may_replace)) from None
            if exc.errno not in _NO_LINKS:
                raise
            temporary.replace(copy.final)


def _why_not(copy: Copy, *, may_replace: bool) -> str | None:
    """Return why what lies at the destination may not be replaced, or None."""
    if copy.final.is_dir() and not copy.final.is_symlink():
        return f"destination {str(copy.final)!r}: found a folder, expected a file or nothing; move it away"
    if may_replace:
        return None
    return (
        f"{str(copy.final)!r}: found other bytes than those of the product, which this ledger did not put there;"
        " expected no such file; it may be an archived one: find out whose it is, and move it away"
    )

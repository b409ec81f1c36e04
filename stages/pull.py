"""The way to a destination that is a folder here, of products that are on another host: rsync brings them from there.

The other direction of `stages.remote`, for a source that reaches nobody: what is at the destination and at the source
afterwards is the same. Of the night only its own small files are here (`bring`), in a folder to work in; what is made
of them goes to the destination and back to the source.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path, PurePath
from types import TracebackType
from typing import Self

from stages import proof
from stages.base import BadInput, Irreversible, Job, Source, StageError
from stages.local import Local
from stages.remote import RECALLED, Remote, remove_recalled
from stages.transport import Copy, Group, Proven

KEY = "transfer.source"


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
        """Bring products here and prove them; the night's own files, which are made here, go to the source too."""
        own = {n for n, group in enumerate(groups) if all(proof.is_there(copy.source) for copy in group)}
        results: dict[int, Proven | StageError] = {}
        for n, group, given in self._given(groups, sorted(own)):
            (results[n],) = [given] if isinstance(given, StageError) else super().put([group], [replaceable[n]])
        fetched = [n for n in range(len(groups)) if n not in own]
        known = self._with_hashes([groups[n] for n in fetched])
        results |= dict(zip(fetched, self._fetch(known, [replaceable[n] for n in fetched]), strict=True))
        return [results[n] for n in range(len(groups))]

    def see_through(self) -> None:
        """Let nobody who asks to stop end what is brought from now on."""
        self._source.see_through()

    def prove(self, groups: Sequence[Group]) -> list[Proven | StageError]:
        """Prove copies as they lie; one without a hash is compared with its source."""
        return super().prove(self._with_hashes(groups))

    def withdraw(self, groups: Sequence[Group]) -> list[str | StageError | None]:
        """Remove copies that are provably ours, and of which the source has the same bytes; own files there too."""
        try:
            known = self._with_hashes(groups)
            at_source = self._source.digests([self._at_source(copy) for group in groups for copy in group])
        except StageError as exc:
            return [exc for _ in groups]
        found = dict(zip((copy for group in groups for copy in group), at_source, strict=True))
        results: list[str | StageError | None] = []
        for group, proven in zip(groups, known, strict=True):
            is_own = all(proof.is_there(copy.source) for copy in group)
            lying = [copy for copy in proven if os.path.lexists(copy.final)]
            lost = [
                copy
                for old, copy in zip(group, proven, strict=True)
                if copy in lying and not is_own and (found[old] is None or found[old] != copy.sha256)
            ]
            if lost:
                results.append(
                    Irreversible(
                        f"{str(lost[0].final)!r} may be the only copy, left alone: '{self._source.host}:"
                        f"{self._at_source(lost[0])}' is not there, or has other bytes; copy it back there first"
                    )
                )
                continue
            if is_own:
                results.append(self._withdraw_own(group))
            else:
                results += super().withdraw([[Copy(copy.final, copy.final, copy.sha256) for copy in lying]])
        return results

    def _withdraw_own(self, group: Group) -> str | StageError | None:
        """Remove the night's own files here and at the source, or none of them."""
        try:
            for copy in group:
                proof.is_ours(copy.source, copy.final, sha256=copy.sha256)
        except StageError as exc:
            return exc
        (left,) = self._source.withdraw([[Copy(copy.source, self._at_source(copy), copy.sha256) for copy in group]])
        if left is not None:
            return left
        (result,) = super().withdraw([group])
        return result

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

    def remove(self, paths: Sequence[Path]) -> None:
        """Remove files of the ledger's own, and what a broken connection had brought."""
        for path in paths:
            if path.name == RECALLED:
                remove_recalled(path)
            else:
                super().remove([path])

    def _at_source(self, copy: Copy) -> Path:
        return self._night / copy.final.relative_to(self._destination)

    def _given(self, groups: Sequence[Group], own: Sequence[int]) -> list[tuple[int, Group, Proven | StageError]]:
        """Give the night's own files to the source; what somebody else put there under such a name is left alone."""
        given = [[Copy(copy.source, self._at_source(copy), copy.sha256) for copy in groups[n]] for n in own]
        # what was brought from there under its name, or is derived, is the ledger's own to replace
        brought = [[self._job.night / copy.final.relative_to(self._night) for copy in group] for group in given]
        ours = [all(proof.is_there(path) for path in group) for group in brought]
        results = self._source.put(given, ours)
        return [(n, groups[n], result) for n, result in zip(own, results, strict=True)]

    def _with_hashes(self, groups: Sequence[Group]) -> list[list[Copy]]:
        """Return groups with the hashes of which none is on record as the source has them; without, if it has none."""
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
            for copy, temporary in zip(missing[n], result, strict=True):
                with proof.or_retry(copy.final):
                    temporary.replace(copy.final)
            with proof.or_retry(self._destination):
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
    """Make the night's own files in the folder to work in what they are at the source.

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
        If the night is not at the source, or a file changes while it is brought.
    Retry
        If the source cannot be reached or read, or the folder not be written.
    """
    with _remote(job, source) as there:
        found = dict(zip(names, there.digests([source.night / name for name in names]), strict=True))
        wanted = []
        for name, sha256 in found.items():
            here = job.night / name
            with proof.or_retry(here):
                if sha256 is None:
                    here.unlink(missing_ok=True)
                elif not here.is_file() or proof.digest(here).sha256 != sha256:
                    wanted.append(Copy(here, source.night / name, sha256))
        for copy in wanted:
            (result,) = there.fetch([[copy]], copy.source.parent)
            if isinstance(result, StageError):
                raise result
            with proof.or_retry(copy.source):
                result[0].replace(copy.source)


def drop(job: Job, source: Source, names: Sequence[PurePath]) -> None:
    """Remove files of the night's own at the source that are not here any more.

    Raises
    ------
    Retry
        If the source cannot be reached or written.
    """
    gone = [name for name in names if not proof.is_there(job.night / name)]
    if gone:
        with _remote(job, source) as there:
            there.remove([source.night / name for name in gone])


def _remote(job: Job, source: Source) -> Remote:
    return Remote(source.host, job.night, source.night, is_stopped=job.is_stopped, carried=job.carried, key=KEY)


def _is_taken(copy: Copy) -> bool:
    return os.path.lexists(copy.final)


def _is_right(copy: Copy) -> bool:
    """Whether a file of its own with the right bytes lies at the destination."""
    with proof.or_retry(copy.final):
        is_file = copy.final.is_file() and not copy.final.is_symlink()
        return is_file and copy.sha256 is not None and proof.digest(copy.final, from_disk=True).sha256 == copy.sha256


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

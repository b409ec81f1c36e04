"""Raw files that `ledger prune` removed, for a ledger that is made anew: archives have their headers and timing files.

While the night's files are read, stand-ins lie in a folder of their own: files of the same names, sizes, times, headers
and timing files, with holes where frames were. A raw file is registered by all of these, so its row is as it was.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ledger.disk import durable
from ledger.disk.access import translate_read_errors, writing
from ledger.disk.nights import NightFolder
from ledger.disk.raws import raws_on_disk
from ledger.errors import UsageError, translated
from ledger.night import record
from ledger.night.journal import Removal
from ledger.night.products import WorkItem
from ledger.run import registration
from ledger.run.steps import Steps
from stages.fits.raw_headers import STAND_INS, RawListed, read_archive
from stages.further import raw_headers_sha256
from stages.product import Part, Product

#: Raw files by ``stream/name``: the archive that has header and timing file, and what it lists.
Gone = Mapping[str, tuple[str, RawListed]]


@dataclass(frozen=True, slots=True)
class StandIns:
    """Stand-ins for the raw files of a night that are gone.

    Attributes
    ----------
    steps : Steps
        The night, held.
    folder : NightFolder
        Where they lie.
    listed : mapping
        See :data:`Gone`.
    archives : tuple of str
        All archives of raw headers that the night has.
    """

    steps: Steps
    folder: NightFolder
    listed: Gone
    archives: tuple[str, ...]

    def register(self) -> None:
        """Register them as raw files of the night that products were made of; first, as what is there may copy them."""
        if self.listed:
            tops = (self.steps.folder.path, self.folder.path)
            self.steps.removed = {top / raw: known.sha256 for raw, (_, known) in self.listed.items() for top in tops}
            raws = raws_on_disk(self.folder, self.steps.config.instrument)
            todo = [(raw, None) for raw in raws if f"{raw.stream.name}/{raw.name}" in self.listed]
            registration.register_files(self.steps, todo, final=True, is_new=False)

    def in_product(self, product: Product) -> Product:
        """Return a product that is made of stand-ins where raw files are gone."""
        return replace(
            product,
            parts=tuple(map(self._in_part, product.parts)),
            sibling_parts=tuple(map(self._in_part, product.sibling_parts)),
        )

    def _in_part(self, part: Part) -> Part:
        raw = part.raw
        if f"{raw.cube.parent.name}/{raw.cube.name}" not in self.listed:
            return part
        stream = self.folder.path / raw.cube.parent.name
        return replace(part, raw=replace(raw, cube=stream / raw.cube.name, timing=stream / raw.timing.name))


@contextmanager
def stand_ins(steps: Steps) -> Iterator[StandIns]:
    """Make stand-ins for raw files that archives have and the night's folder has not; remove them at the end.

    An archive that is damaged is a failure of the night, and not used.

    Raises
    ------
    NotReady
        If archives cannot be read, or stand-ins not be written.
    """
    root = steps.folder.path / STAND_INS
    folder = NightFolder(steps.folder.pipeline, root, steps.folder.date)
    with writing(root, "free or mount the disk"):
        durable.remove([root])  # of a rebuild that was killed
    try:
        found = _unpack(steps, folder.path)
        with translate_read_errors(steps.folder.path):
            gone = {raw: known for raw, known in found.items() if not (steps.folder.path / raw).exists()}
        yield StandIns(steps, folder, gone, tuple(dict.fromkeys(archive for archive, _ in found.values())))
    finally:
        with writing(root, "remove it"):
            durable.remove([root])


def _unpack(steps: Steps, folder: Path) -> Gone:
    """Make stand-ins of what archives have and the night's folder has not; return all that archives have."""
    found: dict[str, tuple[str, RawListed]] = {}
    for path in _archives(steps):
        if any(path.name == archive for archive, _ in found.values()):
            continue
        try:
            with translated():
                found |= {
                    raw: (path.name, listed)
                    for raw, listed in read_archive(path, folder, besides=steps.folder.path).items()
                }
        except UsageError as exc:
            steps.result.failed.append((path.name, str(exc)))
    return found


def _archives(steps: Steps) -> list[Path]:
    """Return the archives of a night, in its folder and then at destinations that are here."""
    sites = steps.config.sites(steps.folder.pipeline)
    found = []
    for folder in (steps.folder.path, *(s.destination / steps.folder.date for s in sites if s.has_copies)):
        with translate_read_errors(folder):
            found += sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in found if raw_headers_sha256(path.name)]


def note_archives(steps: Steps, archives: Sequence[str]) -> None:
    """Record the archives of raw headers, so that they are looked at where the night's copies are."""
    steps.journal.sent_headers({name: {"restored": 1} for name in archives})
    steps.raw_headers = tuple(archives)


def note_removed(steps: Steps, gone: Gone, items: Sequence[WorkItem]) -> None:
    """Record that raw files were removed whose products all have proven copies; the others are missing."""
    pipeline, sending = steps.journal.pipeline, steps.journal.pipeline.sending
    is_proven: dict[str, list[bool]] = defaultdict(list)
    for item in items:
        is_sent = sending is not None and pipeline.position(item.state) >= pipeline.position(sending.state)
        for part in item.product.parts:
            is_proven[part.raw.identity].append(is_sent and not item.fault)
    removals = []
    for row in record.raws(steps.journal.store, steps.journal.night):
        if row.quarantine_reason or (raw := f"{row.folder}/{row.name}") not in gone:
            continue
        archive, listed = gone[raw]
        if is_proven[row.identity] and all(is_proven[row.identity]):
            sha256 = {row.name: listed.sha256, f"{row.name.removesuffix('.fits')}.txt": listed.timing_sha256}
            removals.append(Removal(int(row.id or 0), row.identity, row.name, sha256, 0))
        else:
            reason = (
                f"gone (its header and txt are in {archive}), and not each product of it is proven at the destination"
            )
            cure = "put the file back, or copy those products there again and rebuild"
            steps.result.failed.append((raw, f"{reason}; {cure}"))
    steps.journal.pruned(removals)

"""Products that are on another host, and fetched to a folder here: a real sshd and rsync."""

import dataclasses
import errno
import os
import shutil

import pytest

from ledger.disk.nights import WORK
from stages import transferred
from stages.base import BadInput, Retry, Source
from stages.transferred import Parameters
from stages.transport import pull
from stages.transport.pull import Pull
from stages.transport.remote_folder import INCOMING, RECALLED
from stages.transport.rsync import Rsync
from tests.stages.test_transferred import DATE, base, forward, job, reverse, tree
from tests.stages.transport.test_remote import host, replace_bytes, with_more

__all__ = ["base", "host", "job"]  # fixtures


@pytest.fixture
def night(job):
    """Return the night's folder at the source."""
    return job.night


@pytest.fixture
def here(job, base, host):
    """Return the job of the host that fetches."""
    return fetching(job, host, base)


def fetching(job, host, base):
    work = base / WORK / DATE
    (work / "vgen2").mkdir(parents=True)
    return dataclasses.replace(job, night=work, folder=work / "vgen2", source=Source(host, job.night, "archive"))


@pytest.mark.parametrize(
    ("link", "is_fetched"), [("base", True), ("base", False), ("night", True), ("products", False)]
)
def test_a_night_is_not_its_own_copy(here, job, host, night, base, link, is_fetched):
    """Whatever leads from the destination to the night: the bytes there prove nothing, and are all there is."""
    there = here if is_fetched else dataclasses.replace(job, host=host)
    if link == "base":
        there = dataclasses.replace(there, destination=night)
    elif link == "night":
        (base / DATE).symlink_to(night)
    else:
        (base / DATE).mkdir()
        (base / DATE / "vgen2").symlink_to(night / "vgen2")
    before = tree(night)
    for act in (forward, lambda job: transferred.verify_copies(job=job, params=Parameters()), reverse):
        with pytest.raises(BadInput, match="is the same folder as"):
            act(there)
    assert tree(night) == before


class Lost(Exception):
    """The night is another run's."""


def lose():
    raise Lost


def brought(here, night):
    """Write the night's checksums as the machine does, and let a run begin."""
    pull.bring(here, here.source, transferred.own_files(job=here))
    for name, content in transferred.night_files(job=here, params=Parameters()).items():
        (here.night / name).write_bytes(content)


def test_a_run_that_lost_the_night_changes_nothing_at_the_source(here, night):
    brought(here, night)
    before = tree(night)
    lost = dataclasses.replace(here, source=dataclasses.replace(here.source, confirm=lose))
    with pytest.raises(Lost):
        forward(lost)
    assert tree(night) == before
    assert not forward(here).failures
    before = tree(night)
    assert "SHA256SUMS" in before
    with pytest.raises(Lost):
        pull.drop(lost, lost.source, [here.night / "SHA256SUMS"])
    assert tree(night) == before


def test_only_what_is_made_here_is_given_and_taken_back(here, night):
    brought(here, night)
    (night / "vgen2/lineage.tsv").write_text("newer\n")
    (night / f"{INCOMING}0123").mkdir()
    assert not forward(here).failures
    assert (night / "vgen2/lineage.tsv").read_text() == "newer\n"
    pull.drop(here, here.source, [here.folder / "lineage.tsv", here.night / "notes.log", here.night / ".ledger-x"])
    assert (night / "vgen2/lineage.tsv").is_file()
    assert (night / "notes.log").is_file()
    right = (night / "SHA256SUMS").read_bytes()
    (night / "SHA256SUMS").write_text("somebody's")
    pull.drop(here, here.source, [here.night / "SHA256SUMS"])
    assert (night / "SHA256SUMS").read_text() == "somebody's"
    (night / "SHA256SUMS").write_bytes(right)
    pull.drop(here, here.source, [here.night / "SHA256SUMS"])
    assert not (night / "SHA256SUMS").exists()
    pull.bring(here, here.source, [])
    assert not (night / f"{INCOMING}0123").exists()


def test_own_files_are_brought_as_they_are_at_the_source(here, night):
    """Whatever a dead run left in the folder to work in."""
    (here.folder / "lineage.tsv").write_text("of a dead run\n")
    (here.night / "SHA256SUMS").write_text("of a dead run\n")
    pull.bring(here, here.source, transferred.own_files(job=here))
    assert (here.folder / "lineage.tsv").read_text() == "lineage\n"
    assert not (here.night / "SHA256SUMS").exists()


def test_copies_without_their_twins_at_the_source_stay(job, host, base):
    job = with_more(job, 4)
    here, night = fetching(job, host, base), job.night
    brought(here, night)
    assert not forward(here).failures
    source, copy, timing, whole = here.products
    replace_bytes(night / "vgen2" / source.files[0])
    replace_bytes(base / DATE / "vgen2" / copy.files[0])
    (night / "vgen2" / timing.files[1]).unlink()  # of which no hash is on record
    kept = tree(base / DATE / "vgen2")
    outcome = reverse(here)
    assert list(outcome.failures) == [product.identity for product in (source, copy, timing)]
    assert outcome.withdrawn == (whole.identity,)
    left = tree(base / DATE / "vgen2")
    assert {name: kept[name] for name in kept if name.startswith("VMPA") and name not in whole.files} == {
        name: content for name, content in left.items() if name.startswith("VMPA")
    }


def test_what_appears_while_products_are_brought_is_left(here, night, base, monkeypatch):
    brought(here, night)
    strange = base / DATE / "vgen2" / here.products[0].files[0]
    bring = Rsync.bring

    def late(self, names, *arguments, **named):
        is_whole = bring(self, names, *arguments, **named)
        if strange.parent.exists():
            strange.write_bytes(b"an archived one")
        return is_whole

    monkeypatch.setattr(Rsync, "bring", late)
    outcome = forward(dataclasses.replace(here, placed=frozenset()))
    assert "find out whose" in outcome.failures[here.products[0].identity]
    assert len(outcome.evidence) == 2
    assert strange.read_bytes() == b"an archived one"
    assert not list(strange.parent.glob(".ledger-*"))


def test_room_is_needed_for_what_is_not_there_yet(here, night, base, monkeypatch):
    brought(here, night)
    size_bytes = here.products[1].size_bytes
    monkeypatch.setattr(Pull, "free_bytes", lambda _: size_bytes - 1)
    with pytest.raises(Retry, match="bytes needed"):
        forward(here)
    left = base / DATE / "vgen2" / RECALLED / "vgen2"
    left.mkdir(parents=True)
    for product in here.products:
        for name in product.files:
            shutil.copy2(night / "vgen2" / name, left / name)
    assert not forward(here).failures


@pytest.mark.parametrize("is_fetched", [True, False])
def test_what_a_broken_connection_had_brought_goes_with_the_night(here, job, host, base, is_fetched):
    left = base / DATE / "vgen2" / RECALLED / "vgen2"
    left.mkdir(parents=True)
    (left / "VMPA00000001.fits.fz").write_bytes(b"half")
    assert not reverse(here if is_fetched else dataclasses.replace(job, host=host)).failures
    assert not (base / DATE).exists()


def test_a_link_is_neither_a_copy_nor_a_folder_to_bring_files_to(here, night, base, tmp_path):
    """Even if it leads to the right bytes: they would go with what it leads to."""
    brought(here, night)
    assert not forward(here).failures
    path = base / DATE / "vgen2" / here.products[0].files[0]
    elsewhere = tmp_path / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    (path.parent / RECALLED).symlink_to(tmp_path)
    with pytest.raises(BadInput, match="a link, expected a folder"):
        forward(here)
    (path.parent / RECALLED).unlink()
    assert not forward(here).failures
    assert not path.is_symlink()


def test_a_name_that_cannot_be_taken_is_tried_again(here, night, base, monkeypatch):
    brought(here, night)

    def failing(number):
        def link(*_):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "link", link)

    failing(errno.EDQUOT)
    with pytest.raises(Retry, match="quota"):
        forward(dataclasses.replace(here, placed=frozenset()))
    failing(errno.EPERM)  # a file system without links
    assert not forward(dataclasses.replace(here, placed=frozenset())).failures


def test_the_host_of_the_nights_fetches_nothing(here, host):
    """It would prove what is at the destination of another host by what is under that name on its own disk."""
    alias = ("-o", "HostName=127.0.0.1", "-o", f"HostKeyAlias=[127.0.0.1]:{host.port}")
    summit = dataclasses.replace(host, name="summit", options=(*host.options, *alias))
    with pytest.raises(BadInput, match="'summit' is this very host"):
        pull.bring(here, dataclasses.replace(here.source, host=summit), [])
    pull.bring(here, here.source, [])


def test_what_is_not_at_the_source_is_told(here, night):
    brought(here, night)
    (night / "vgen2" / here.products[0].files[0]).unlink()
    outcome = forward(here)
    assert "found no file, expected a product" in outcome.failures[here.products[0].identity]
    night.parent.rename(night.parent.with_name("away"))
    with pytest.raises(BadInput, match=r"set archive\.root"):
        forward(here)

"""Products that are on another host, and fetched to a folder here: a real sshd and rsync."""

import dataclasses

import pytest

from ledger.scan import WORK
from stages import pull, transferred
from stages.base import BadInput, Source
from stages.remote import INCOMING
from stages.transferred import Parameters
from tests.stages.test_remote import host, replace_bytes
from tests.stages.test_transferred import DATE, base, forward, job, reverse, tree

__all__ = ["base", "host", "job"]  # fixtures


@pytest.fixture
def night(job):
    """Return the night's folder at the source."""
    return job.night


@pytest.fixture
def here(job, base, host):
    """Return the job of the host that fetches."""
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
    pull.bring(here, here.source, transferred.own_files(here))
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
    pull.bring(here, here.source, transferred.own_files(here))
    assert (here.folder / "lineage.tsv").read_text() == "lineage\n"
    assert not (here.night / "SHA256SUMS").exists()


@pytest.mark.parametrize("change", ["source", "copy", "timing"])
def test_a_copy_without_its_twin_at_the_source_stays(here, night, base, change):
    brought(here, night)
    assert not forward(here).failures
    cube, timing = here.products[0].files
    path = {"source": night / "vgen2" / cube, "copy": base / DATE / "vgen2" / cube, "timing": night / "vgen2" / timing}[
        change
    ]
    if change == "timing":
        path.unlink()  # of which no hash is on record
    else:
        replace_bytes(path)
    kept = tree(base / DATE / "vgen2")
    outcome = reverse(here)
    assert list(outcome.failures) == [here.products[0].identity]
    assert {name: kept[name] for name in here.products[0].files} == {
        name: content for name, content in tree(base / DATE / "vgen2").items() if name in here.products[0].files
    }

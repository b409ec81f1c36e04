"""Products that are on another host, and fetched to a folder here: a real sshd and rsync."""

import dataclasses

import pytest

from ledger.scan import WORK
from stages import transferred
from stages.base import BadInput, Source
from stages.transferred import Parameters
from tests.stages.test_remote import host
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

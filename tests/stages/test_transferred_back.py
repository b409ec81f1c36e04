"""transferred: copies are withdrawn, verified, and left in order whenever a run is killed."""

import shutil
from dataclasses import replace

import pytest

from stages import transferred
from stages.base import TEMPORARY_PREFIX
from stages.transferred import Parameters
from tests.ledger.cli.forked import start
from tests.stages.test_transferred import DATE, base, cube, forward, job, only, reverse, tree, write_sums
from tests.stages.transport import dying

__all__ = ["base", "job"]  # fixtures


# reverse


def test_forward_and_reverse_leave_the_destination_as_it_was(job, base):
    (base / "20260101").mkdir()
    (base / "20260101" / "other").write_bytes(b"other night")
    before, night = tree(base), tree(job.night)
    write_sums(job)
    forward(job)
    outcome = reverse(job)
    assert outcome.withdrawn == tuple(p.identity for p in job.products)
    assert not outcome.failures
    assert tree(base) == before
    (job.night / "SHA256SUMS").unlink()
    assert tree(job.night) == night


def test_reverse_may_be_repeated(job, base):
    forward(job)
    first = reverse(job)
    assert reverse(job) == first
    assert tree(base) == {}


def test_lineage_and_sums_stay_until_the_last_product(job, base):
    write_sums(job)
    forward(job)
    reverse(only(job, 0, 1))
    left = {"vgen2", "vgen2/lineage.tsv", "SHA256SUMS", *(f"vgen2/{n}" for n in job.products[2].files)}
    assert set(tree(base / DATE)) == left
    reverse(only(job, 2))
    assert tree(base) == {}


def test_left_temporaries_go_with_the_last_product(job, base):
    forward(job)
    (base / DATE / "vgen2" / f"{TEMPORARY_PREFIX}VMPA00000009.fits.fz").write_bytes(b"half")
    reverse(only(job, 0, 1))
    assert (base / DATE / "vgen2" / "lineage.tsv").exists()
    reverse(only(job, 2))
    assert tree(base) == {}


def test_strangers_file_keeps_only_its_folder(job, base):
    write_sums(job)
    forward(job)
    (base / DATE / "vgen2" / "readme").write_text("mine")
    reverse(job)
    assert tree(base) == {DATE: None, f"{DATE}/vgen2": None, f"{DATE}/vgen2/readme": b"mine"}


@pytest.mark.parametrize("which", [0, 1])
def test_copy_that_is_not_ours_is_left_whole(job, base, which):
    forward(job)
    product = job.products[1]
    (base / DATE / "vgen2" / product.files[which]).write_bytes(b"other")
    before = tree(base)
    outcome = reverse(job)
    assert list(outcome.failures) == [product.identity]
    assert "not ours" in outcome.failures[product.identity]
    assert outcome.withdrawn == (job.products[0].identity, job.products[2].identity)
    kept = {f"{DATE}/vgen2/{name}" for name in (*product.files, "lineage.tsv")}
    assert tree(base) == {name: before[name] for name in (DATE, f"{DATE}/vgen2", *kept)}


def test_only_copy_left_is_not_withdrawn(job, base):
    forward(job)
    product = job.products[0]
    (job.folder / cube(product)).unlink()
    outcome = reverse(job)
    assert "only copy" in outcome.failures[product.identity]
    assert (base / DATE / "vgen2" / cube(product)).exists()


def run_killed(function, job, dies_at):
    """Run in a process of its own that dies before its n-th step at the destination."""
    process = start(dying.run, function, job, dies_at, str(job.destination))
    process.join()
    code = process.exitcode
    process.close()
    assert code in (0, 9)
    return code == 9


def test_killed_anywhere_forward_ends_the_same(job, base):
    job = only(job, 0)
    write_sums(job)
    done, there = forward(job), tree(base)
    dies_at = 0
    killed = True
    while killed:
        dies_at += 1
        shutil.rmtree(base / DATE)
        killed = run_killed("forward", job, dies_at)
        assert forward(job) == done
        assert tree(base) == there
    assert dies_at > 10


def test_killed_anywhere_both_ways_reverse_leaves_nothing(job, base):
    job = only(job, 0)
    write_sums(job)
    for function in ("forward", "reverse"):
        dies_at = 0
        killed = True
        while killed:
            dies_at += 1
            if function == "reverse":
                forward(job)
            killed = run_killed(function, job, dies_at)
            assert reverse(job).withdrawn == (job.product.identity,)
            assert tree(base) == {}
        assert dies_at > 5


# proof at any later time


def test_verify_proves_and_writes_nothing(job, base):
    evidence = forward(job).evidence
    before = {path: path.stat().st_ctime_ns for path in base.rglob("*")}
    outcome = transferred.verify_copies(job=job, params=Parameters())
    assert (outcome.evidence, outcome.failures) == (evidence, {})
    assert {path: path.stat().st_ctime_ns for path in base.rglob("*")} == before


@pytest.mark.parametrize("which", [0, 1])
def test_verify_lists_bad_and_missing_copies(job, base, which):
    forward(job)
    folder = base / DATE / "vgen2"
    (folder / job.products[0].files[which]).write_bytes(b"bad")
    (folder / job.products[1].files[which]).unlink()
    outcome = transferred.verify_copies(job=job, params=Parameters())
    assert set(outcome.failures) == {job.products[0].identity, job.products[1].identity}
    assert [e.identity for e in outcome.evidence] == [job.products[2].identity]


def test_verify_needs_no_local_files(job):
    evidence = forward(job).evidence
    shutil.rmtree(job.folder)
    assert transferred.verify_copies(job=job, params=Parameters()).evidence == evidence


def test_what_the_ledger_did_not_put_there_is_not_replaced(job):
    """A counter that began anew would else overwrite an archived file of the same name."""
    product = job.products[0]
    folder = job.destination / job.folder.name
    folder.mkdir(parents=True)
    archived = folder / product.files[0]
    archived.write_bytes(b"of another night")
    outcome = transferred.forward(job=replace(job, placed=frozenset()), params=Parameters())
    assert "did not put there" in outcome.failures[product.identity]
    assert archived.read_bytes() == b"of another night"
    assert {e.identity for e in outcome.evidence} == {p.identity for p in job.products[1:]}

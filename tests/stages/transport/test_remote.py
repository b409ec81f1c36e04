"""A destination on another host: a real sshd, a real rsync, and whatever may lie there."""

import dataclasses
import getpass
import os
import shutil
import subprocess

import pytest

from stages import manifested, transferred
from stages.base import TEMPORARY_PREFIX, Host, Irreversible, Job
from stages.transferred import Parameters
from stages.transport import remote_folder, rsync
from tests.stages.test_transferred import DATE, INSTRUMENT, base, job, make_product, tree, write_sums

DAMAGES = {
    "corrupt": lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\xff"),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-7]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"more"),
    "missing": lambda path: path.unlink(),
    "same size and time": lambda path: replace_bytes(path),  # noqa: PLW0108  it is defined below
}


def replace_bytes(path):
    """Other bytes of the same size, with the same time."""
    status = path.stat()
    path.write_bytes(bytes(byte ^ 1 for byte in path.read_bytes()))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


__all__ = ["base", "job"]  # fixtures


@pytest.fixture
def host(sshd):
    options = ("-T", "-c", "aes128-ctr", "-o", "Compression=no", "-o", "ConnectTimeout=10", "-F", "none")
    return Host("127.0.0.1", getpass.getuser(), sshd.port, sshd.identity_file, sshd.known_hosts, options)


@pytest.fixture
def there(job, host):
    return dataclasses.replace(job, host=host)


def with_more(job, *numbers):
    """Return the job with further products."""
    products = (*job.products, *(make_product(job.night / "vgen2", number) for number in numbers))
    placed = frozenset(product.identity for product in products)
    return dataclasses.replace(job, products=products, placed=placed)


def forward(job, **params):
    return transferred.forward(job=job, params=Parameters(**params))


def reverse(job, **params):
    return transferred.reverse(job=job, params=Parameters(**params))


def verify(job):
    return transferred.verify_copies(job=job, params=Parameters())


# there and back


def test_it_is_what_a_local_destination_would_be_and_goes_again(there, base, tmp_path):
    before = tree(base)
    write_sums(there)
    assert not forward(there, also=("*.log",)).failures
    (tmp_path / "local").mkdir()
    local = dataclasses.replace(there, host=None, destination=tmp_path / "local" / DATE)
    assert not forward(local, also=("*.log",)).failures
    assert tree(base) == tree(tmp_path / "local")
    times = [
        {path.name: path.stat().st_mtime_ns for path in root.rglob("VMPA*")} for root in (base, tmp_path / "local")
    ]
    assert times[0] == times[1]
    done = subprocess.run(
        ["sha256sum", "-c", "SHA256SUMS"], cwd=base / DATE, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert done.stdout.count(": OK\n") == 7
    outcome = reverse(there, also=("*.log",))
    assert set(outcome.withdrawn) == {product.identity for product in there.products}
    assert tree(base) == before
    assert not reverse(there, also=("*.log",)).failures


def test_evidence_is_of_the_bytes_there_and_repeating_brings_nothing(there, base, monkeypatch):
    outcome = forward(there)
    assert [evidence.sha256 for evidence in outcome.evidence] == [product.sha256 for product in there.products]
    for evidence, product in zip(outcome.evidence, there.products, strict=True):
        assert (evidence.host, evidence.size_bytes) == ("127.0.0.1", product.size_bytes)
        assert evidence.path == str(there.destination / "vgen2" / product.files[0])
        assert evidence.tool in {"openssl dgst", "sha256sum", "shasum"}
    status = {path: path.stat().st_ino for path in base.rglob("VMPA*")}
    monkeypatch.setattr(rsync, "RSYNC", ("false",))
    again = forward(there)
    assert again.evidence == outcome.evidence
    assert {path: path.stat().st_ino for path in base.rglob("VMPA*")} == status


def test_odd_names_are_names(tmp_path, host):
    odd = tmp_path / "a b'c\"d$(touch pwned)\n;e" / DATE
    night = tmp_path / "root" / DATE
    (night / "vgen2").mkdir(parents=True)
    odd.parent.mkdir()
    products = (make_product(night / "vgen2", 1),)
    there = Job(night, DATE, night / "vgen2", INSTRUMENT, products, destination=odd, host=host)
    (night / "it's odd\n.log").write_text("x")
    outcome = forward(there, also=("*.log",))
    assert not outcome.failures
    assert (odd / "it's odd\n.log").read_text() == "x"
    assert reverse(there, also=("*.log",)).withdrawn
    assert list(odd.parent.iterdir()) == []


# what lies there


def test_bad_copies_are_found_and_copied_again(there, base):
    """Each is bad in another way, the last one in its txt; one in their midst is good."""
    there = with_more(there, 4, 5, 6, 7)
    first, good, *others = there.products
    assert not forward(there).failures
    right = tree(base)
    folder = base / DATE / "vgen2"
    for product, damage in zip((first, *others), DAMAGES, strict=False):
        DAMAGES[damage](folder / product.files[0])
    replace_bytes(folder / others[-1].files[1])
    found = verify(there)
    assert list(found.failures) == [product.identity for product in (first, *others)]
    assert [evidence.identity for evidence in found.evidence] == [good.identity]
    assert not forward(there).failures
    assert not verify(there).failures
    assert tree(base) == right


def test_what_somebody_else_put_there_is_left(there, base):
    strange = base / DATE / "vgen2" / there.products[0].files[0]
    strange.parent.mkdir(parents=True)
    strange.write_bytes(b"another")
    outcome = forward(dataclasses.replace(there, placed=frozenset()))
    assert list(outcome.failures) == [there.products[0].identity]
    assert strange.read_bytes() == b"another"
    assert len(outcome.evidence) == 2


def test_copies_that_are_not_ours_and_the_only_one_are_not_withdrawn(there, base):
    there = with_more(there, 4)
    only, other_cube, other_txt, ours = there.products
    assert not forward(there).failures
    folder = base / DATE / "vgen2"
    (there.folder / only.files[0]).unlink()
    replace_bytes(folder / other_cube.files[0])
    replace_bytes(folder / other_txt.files[1])
    outcome = reverse(there)
    assert list(outcome.failures) == [product.identity for product in (only, other_cube, other_txt)]
    assert outcome.withdrawn == (ours.identity,)
    assert {path.name for path in folder.glob("VMPA*")} == {*only.files, *other_cube.files, *other_txt.files}


def test_sources_that_are_not_right_fail_alone(there, base):
    """One has other bytes, one is missing, and one has a further file that cannot be read."""
    other, missing, further, right = with_more(there, 4).products
    replace_bytes(there.folder / other.files[0])
    (there.folder / missing.files[0]).unlink()
    (there.folder / f"{further.name}.png").mkdir()  # in place of a file
    further = dataclasses.replace(further, files=(*further.files, f"{further.name}.png"))
    products = (other, missing, further, right)
    placed = frozenset(product.identity for product in products)
    outcome = forward(dataclasses.replace(there, products=products, placed=placed))
    assert list(outcome.failures) == [product.identity for product in products[:3]]
    assert "changed since it was compressed" in outcome.failures[other.identity]
    assert not (base / DATE / "vgen2" / other.files[0]).exists()
    assert [evidence.identity for evidence in outcome.evidence] == [right.identity]
    assert not list((base / DATE).glob(f"{TEMPORARY_PREFIX}*"))


def test_what_an_earlier_run_brought_is_taken_over_if_it_is_right(there, base):
    """Half of a file is not taken for it; bytes that rsync takes for the same are copied with force."""
    left = base / DATE / f"{remote_folder.INCOMING}0123"
    (left / "vgen2").mkdir(parents=True)
    whole, half, same = (product.files[0] for product in there.products)
    for name in (whole, same):
        shutil.copy2(there.folder / name, left / "vgen2" / name)
    replace_bytes(left / "vgen2" / same)
    content = (there.folder / half).read_bytes()
    (left / "vgen2" / half).write_bytes(content[: len(content) // 2])
    inode = (left / "vgen2" / whole).stat().st_ino
    assert not forward(there).failures
    assert (base / DATE / "vgen2" / whole).stat().st_ino == inode
    assert not left.exists()
    for name in (half, same):
        assert (base / DATE / "vgen2" / name).read_bytes() == (there.folder / name).read_bytes()


# manifests


def test_manifest_there_and_back(there, base):
    forward(there)
    outcome = manifested.forward(job=there, params=manifested.Parameters())
    (final,) = outcome.outputs
    outcome.outputs[final].replace(final)
    assert (base / DATE / final.name).read_bytes() == final.read_bytes()
    back = dataclasses.replace(there, manifests=(final.name,))
    manifested.reverse(job=back, params=manifested.Parameters())
    assert not (base / DATE / final.name).exists()


def test_manifest_that_is_not_ours_stays(there, base):
    outcome = manifested.forward(job=there, params=manifested.Parameters())
    (final,) = outcome.outputs
    outcome.outputs[final].replace(final)
    (base / DATE / final.name).write_text("another")
    with pytest.raises(Irreversible):
        manifested.reverse(job=dataclasses.replace(there, manifests=(final.name,)), params=manifested.Parameters())
    assert (base / DATE / final.name).read_text() == "another"

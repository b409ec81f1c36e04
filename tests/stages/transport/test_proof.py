import errno
import hashlib
import os
import random
import re
from pathlib import Path

import pytest

from stages.base import BadInput, Irreversible, Job, Retry
from stages.instrument import Instrument
from stages.transport import proof

CONTENT = random.Random(1).randbytes(proof.BLOCK_BYTES * 2 + 12345)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "here" / "cube.fits.fz"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    os.utime(path, ns=(1_700_000_000_000_000_000, 1_700_000_000_123_456_000))
    return path


@pytest.fixture
def final(tmp_path):
    path = tmp_path / "there" / "cube.fits.fz"
    path.parent.mkdir()
    return path


def only_file_in(folder):
    (path,) = folder.iterdir()
    return path


@pytest.fixture
def disk_that_lies(monkeypatch):
    """Corrupt what was written, as often as asked, at the moment it is synced."""
    real = os.fsync
    times = []

    def install(n):
        times.extend(range(n))

    def fsync(descriptor):
        real(descriptor)
        if times:
            times.pop()
            with Path(f"/dev/fd/{descriptor}").open("r+b") as file:
                file.seek(1000)
                file.write(b"\0wrong\0")

    monkeypatch.setattr(os, "fsync", fsync)
    return install


@pytest.mark.parametrize("size", [0, 1, proof.BLOCK_BYTES, proof.BLOCK_BYTES + 1])
def test_copy_has_the_bytes_the_time_and_no_temporary(source, final, size):
    source.write_bytes(CONTENT[:size])
    digest = proof.copy_proven(source, final)
    assert digest == proof.Digest(hashlib.sha256(CONTENT[:size]).hexdigest(), size)
    assert final.read_bytes() == CONTENT[:size]
    assert final.stat().st_mtime_ns == source.stat().st_mtime_ns
    assert only_file_in(final.parent) == final


def test_digest_from_disk_is_that_of_the_bytes(source):
    assert proof.digest(source, from_disk=True) == proof.digest(source) == proof.Digest(SHA256, len(CONTENT))


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="no posix_fadvise")
@pytest.mark.parametrize("there", [False, True])
def test_copy_is_synced_and_dropped_from_the_cache_before_it_is_proven(source, final, monkeypatch, there):
    def record(name):
        real = getattr(os, name)

        def recorded(descriptor, *arguments):
            events.append((name, arguments, os.fstat(descriptor).st_ino))
            real(descriptor, *arguments)

        return recorded

    events = []
    if there:
        proof.copy_proven(source, final)
    for name in ("fsync", "posix_fadvise"):
        monkeypatch.setattr(os, name, record(name))
    proof.copy_proven(source, final)
    inode = final.stat().st_ino
    whole = (0, 0)
    advised = [
        ("posix_fadvise", (*whole, advice), inode) for advice in (os.POSIX_FADV_DONTNEED, os.POSIX_FADV_SEQUENTIAL)
    ]
    assert events == [("fsync", (), inode), *advised]


def test_proven_copy_is_not_written_again(source, final):
    proof.copy_proven(source, final, sha256=SHA256)
    before = final.stat()
    assert proof.copy_proven(source, final, sha256=SHA256).sha256 == SHA256
    assert proof.copy_proven(source, final).sha256 == SHA256
    assert (final.stat().st_ino, final.stat().st_ctime_ns) == (before.st_ino, before.st_ctime_ns)


@pytest.mark.parametrize("there", [b"", CONTENT[:-1], CONTENT + b"\0", CONTENT[:5000] + b"\0" + CONTENT[5001:]])
@pytest.mark.parametrize("sha256", [None, SHA256])
def test_bad_copy_is_replaced(source, final, there, sha256):
    final.write_bytes(there)
    assert proof.copy_proven(source, final, sha256=sha256) == proof.Digest(SHA256, len(CONTENT))
    assert final.read_bytes() == CONTENT


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_link_to_the_source_is_no_copy(source, final, link):
    content = CONTENT[: len(os.fsencode(source))]  # a symbolic link has the size of its target's name
    source.write_bytes(content)
    link(source, final)
    proof.copy_proven(source, final)
    assert not final.is_symlink()
    assert not final.samefile(source)
    assert final.read_bytes() == content


def test_left_temporary_is_not_written_through(source, final, tmp_path):
    other = tmp_path / "other"
    other.write_bytes(b"precious")
    proof.temporary_beside(final).symlink_to(other)
    proof.copy_proven(source, final)
    assert other.read_bytes() == b"precious"
    assert only_file_in(final.parent) == final


def test_source_of_other_bytes_is_not_copied(source, final):
    source.write_bytes(CONTENT[::-1])
    with pytest.raises(BadInput, match=f"{re.escape(str(source))}.*expected {SHA256}.*not copied"):
        proof.copy_proven(source, final, sha256=SHA256)
    assert not list(final.parent.iterdir())


def test_missing_source_is_bad_input(source, final):
    source.unlink()
    with pytest.raises(BadInput, match=f"cannot read '{re.escape(str(source))}': No such file"):
        proof.copy_proven(source, final)
    assert not list(final.parent.iterdir())


def test_folder_in_place_of_the_copy_is_bad_input(source, final):
    final.mkdir()
    with pytest.raises(BadInput, match="found a folder"):
        proof.copy_proven(source, final)


def test_copy_that_reads_back_wrong_is_made_once_more(source, final, disk_that_lies):
    disk_that_lies(1)
    assert proof.copy_proven(source, final).sha256 == SHA256
    assert final.read_bytes() == CONTENT


def test_copy_that_reads_back_wrong_twice_fails_without_a_final_name(source, final, disk_that_lies):
    disk_that_lies(2)
    with pytest.raises(BadInput, match=f"expected {SHA256} .* 2 times"):
        proof.copy_proven(source, final)
    assert not list(final.parent.iterdir())


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EIO, errno.ESTALE])
def test_trouble_at_the_destination_is_tried_again(source, final, monkeypatch, code):
    def fsync(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(Retry, match=f"{re.escape(str(final))}.*{os.strerror(code)}"):
        proof.copy_proven(source, final)
    assert not list(final.parent.iterdir())


def test_missing_folder_at_the_destination_is_tried_again(source, final):
    final.parent.rmdir()
    with pytest.raises(Retry, match="No such file"):
        proof.copy_proven(source, final)
    with pytest.raises(Retry, match="No such file"):
        proof.sync_folder(final.parent)


def test_no_permission_is_tried_again(source, final):
    final.parent.chmod(0o500)
    if os.access(final.parent, os.W_OK):
        pytest.skip("root may write anywhere")
    with pytest.raises(Retry, match="Permission denied"):
        proof.copy_proven(source, final)
    final.parent.chmod(0o700)


def test_prove_reads_the_destination(final):
    final.write_bytes(CONTENT)
    assert proof.prove(final, sha256=SHA256) == proof.Digest(SHA256, len(CONTENT))
    final.write_bytes(CONTENT[:-1])
    with pytest.raises(BadInput, match=f"expected {SHA256}"):
        proof.prove(final, sha256=SHA256)
    final.unlink()
    with pytest.raises(BadInput, match="found no file"):
        proof.prove(final, sha256=SHA256)


def test_ours_if_both_have_the_bytes(source, final):
    assert not proof.is_ours(source, final)
    final.write_bytes(CONTENT)
    assert proof.is_ours(source, final)
    assert proof.is_ours(source, final, sha256=SHA256)


def test_not_ours_if_the_destination_differs(source, final):
    final.write_bytes(CONTENT[:-1])
    with pytest.raises(Irreversible, match="not ours any more"):
        proof.is_ours(source, final)


def test_not_ours_if_it_is_a_link(source, final):
    final.symlink_to(source)
    with pytest.raises(Irreversible, match="not a file"):
        proof.is_ours(source, final)


def test_only_good_copy_is_not_ours_to_remove(source, final):
    final.write_bytes(CONTENT)
    source.write_bytes(b"damaged")
    with pytest.raises(Irreversible, match="only good copy"):
        proof.is_ours(source, final, sha256=SHA256)
    source.unlink()
    with pytest.raises(Irreversible, match="only copy"):
        proof.is_ours(source, final)


def test_remove_takes_the_temporary_too_and_may_be_repeated(final):
    final.write_bytes(CONTENT)
    proof.temporary_beside(final).write_bytes(b"half")
    proof.remove(final)
    proof.remove(final)
    assert not list(final.parent.iterdir())
    proof.remove_if_empty(final.parent)
    proof.remove_if_empty(final.parent)
    assert not final.parent.exists()


def test_folder_with_something_in_it_stays(final):
    final.write_bytes(b"")
    proof.remove_if_empty(final.parent)
    assert final.exists()


def test_make_folder(tmp_path):
    for _ in range(2):
        proof.make_folder(tmp_path / "a")
    assert (tmp_path / "a").is_dir()
    (tmp_path / "b").write_bytes(b"")
    with pytest.raises(BadInput, match="expected a folder"):
        proof.make_folder(tmp_path / "b")
    with pytest.raises(Retry, match="No such file"):
        proof.make_folder(tmp_path / "c" / "d")


def job_with(tmp_path, destination):
    night = tmp_path / "root" / "20260102"
    (night / "vgen2").mkdir(parents=True, exist_ok=True)
    return Job(
        night=night,
        date=night.name,
        folder=night / "vgen2",
        instrument=Instrument(name="VAMPIRES", streams=()),
        destination=destination,
    )


def test_destination_need_not_exist_below_its_base(tmp_path):
    (tmp_path / "base").mkdir()
    destination = tmp_path / "base" / "20260102"
    assert proof.destination_of(job_with(tmp_path, destination)) == destination
    assert not destination.exists()


def test_destination_base_must_be_a_folder(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for base in (tmp_path / "missing", tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(BadInput, match=r"expected an existing one.*transfer\.destination"):
            proof.destination_of(job_with(tmp_path, base / "20260102"))
    assert not (tmp_path / "missing").exists()


def test_job_without_destination_is_bad_input(tmp_path):
    with pytest.raises(BadInput, match=r"transfer\.destination"):
        proof.destination_of(job_with(tmp_path, None))


def test_night_is_not_its_own_destination(tmp_path):
    with pytest.raises(BadInput, match="own folder"):
        proof.destination_of(job_with(tmp_path, tmp_path / "root" / "20260102"))
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "20260102").symlink_to(tmp_path / "root" / "20260102")
    with pytest.raises(BadInput, match="own folder"):
        proof.destination_of(job_with(tmp_path, tmp_path / "base" / "20260102"))

import dataclasses
import errno
import hashlib
import os
import shutil
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from stages import transferred
from stages.base import TEMPORARY_PREFIX, BadInput, Job, Retry, Stopped
from stages.instrument import Instrument, Stream
from stages.product import Product
from stages.transferred import Parameters

DATE = "20260102"
INSTRUMENT = Instrument(name="VAMPIRES", streams=(Stream("vcam1", 1), Stream("vcam2", 2)))


def make_product(folder, number, content=None):
    stem = f"VMPA{number:08d}"
    content = content if content is not None else os.urandom(20_000 + number)
    (folder / f"{stem}.fits.fz").write_bytes(content)
    (folder / f"{stem}.txt").write_text(f"# timing of {stem}\n")
    return Product(
        identity=f"{number:064x}",
        name=stem,
        camera=1,
        flc=None,
        synchronised=False,
        group=number,
        parts=(),
        sibling_parts=(),
        first_us=0,
        last_us=0,
        exposure_us=0,
        files=(f"{stem}.fits.fz", f"{stem}.txt"),
        frame_id=stem,
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
    )


def tree(folder):
    """Everything below a folder: files with their bytes, folders with None."""
    return {str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes() for path in folder.rglob("*")}


@pytest.fixture
def base(tmp_path):
    base = tmp_path / "destination"
    base.mkdir()
    return base


@pytest.fixture
def job(tmp_path, base):
    night = tmp_path / "root" / DATE
    folder = night / "vgen2"
    folder.mkdir(parents=True)
    (night / "vcam1").mkdir()
    (night / "vcam1" / "vcam1_06:00:00.fits").write_bytes(b"raw")
    (folder / "lineage.tsv").write_text("lineage\n")
    (night / "notes.log").write_text("seeing 0.4\n")
    products = tuple(make_product(folder, number) for number in (1, 2, 3))
    return Job(
        night=night,
        date=DATE,
        folder=folder,
        instrument=INSTRUMENT,
        products=products,
        destination=base / DATE,
        placed=frozenset(product.identity for product in products),
    )


def write_sums(job, params=None):
    for name, content in transferred.night_files(job=job, params=params or Parameters()).items():
        (job.night / name).write_bytes(content)


def forward(job, **params):
    return transferred.forward(job=job, params=Parameters(**params))


def reverse(job, **params):
    return transferred.reverse(job=job, params=Parameters(**params))


def only(job, *indices):
    return dataclasses.replace(job, products=tuple(job.products[i] for i in indices))


def cube(product):
    return product.files[0]


# forward


def test_everything_listed_arrives_and_nothing_else(job, base):
    write_sums(job)
    outcome = forward(job)
    assert not outcome.failures
    expected = {DATE: None, f"{DATE}/vgen2": None}
    expected |= {f"{DATE}/{name}": content for name, content in tree(job.folder.parent).items() if content}
    del expected[f"{DATE}/vcam1/vcam1_06:00:00.fits"]
    del expected[f"{DATE}/notes.log"]
    assert tree(base) == expected
    assert f"{DATE}/SHA256SUMS" in expected


def test_evidence_is_that_of_the_destination(job, base):
    outcome = forward(job)
    for product, evidence in zip(job.products, outcome.evidence, strict=True):
        final = base / DATE / "vgen2" / cube(product)
        assert evidence.identity == product.identity
        assert (evidence.host, evidence.path, evidence.tool) == ("", str(final), "hashlib")
        assert evidence.sha256 == hashlib.sha256(final.read_bytes()).hexdigest() == product.sha256
        assert evidence.size_bytes == final.stat().st_size


def test_repeating_changes_nothing(job, base):
    first = forward(job)
    before = {path: path.stat() for path in base.rglob("*.f*")}
    assert forward(job) == first
    assert {path: path.stat().st_ino for path in before} == {path: s.st_ino for path, s in before.items()}


def test_folders_are_synced_after_the_last_name_and_before_evidence(job, base, monkeypatch):
    real = os.fsync
    (job.folder / "lineage.tsv").unlink()
    folders = (base, base / DATE, base / DATE / "vgen2")
    names_when_synced = {}

    def fsync(descriptor):
        real(descriptor)
        for folder in folders:
            if folder.exists() and os.path.samestat(folder.stat(), os.fstat(descriptor)):
                names_when_synced[folder] = set(folder.iterdir())

    monkeypatch.setattr(os, "fsync", fsync)
    write_sums(job)
    forward(job)
    assert names_when_synced == {folder: set(folder.iterdir()) for folder in folders}


@pytest.mark.parametrize("in_flight", [1, 2, 8])
def test_order_of_evidence_does_not_depend_on_files_in_flight(job, in_flight):
    outcome = forward(job, in_flight=in_flight)
    assert [evidence.identity for evidence in outcome.evidence] == [p.identity for p in job.products]


@pytest.mark.parametrize("damage", ["corrupt", "truncated", "longer", "empty"])
@pytest.mark.parametrize("which", [0, 1])
def test_damaged_destination_file_is_copied_again(job, base, damage, which):
    forward(job)
    final = base / DATE / "vgen2" / job.products[1].files[which]
    good = final.read_bytes()
    bad = {"corrupt": b"\0" + good[1:], "truncated": good[:-1], "longer": good + b"\0", "empty": b""}
    final.write_bytes(bad[damage])
    assert not forward(job).failures
    assert final.read_bytes() == good


def test_source_of_other_bytes_fails_alone_and_is_not_copied(job, base):
    product = job.products[1]
    source = job.folder / cube(product)
    source.write_bytes(source.read_bytes()[::-1])
    outcome = forward(job)
    assert list(outcome.failures) == [product.identity]
    assert product.sha256 in outcome.failures[product.identity]
    assert [e.identity for e in outcome.evidence] == [job.products[0].identity, job.products[2].identity]
    assert not (base / DATE / "vgen2" / cube(product)).exists()
    assert not list((base / DATE).rglob(f"{TEMPORARY_PREFIX}*"))


@pytest.mark.parametrize("which", [0, 1])
def test_missing_source_fails_alone(job, which):
    product = job.products[0]
    (job.folder / product.files[which]).unlink()
    outcome = forward(job)
    assert list(outcome.failures) == [product.identity]
    assert "No such file" in outcome.failures[product.identity]
    assert len(outcome.evidence) == 2


@pytest.mark.parametrize("change", [{"sha256": None}, {"files": ()}])
def test_product_that_is_not_compressed_fails_alone(job, change):
    broken = dataclasses.replace(job.products[0], **change)
    outcome = forward(dataclasses.replace(job, products=(broken, *job.products[1:])))
    assert list(outcome.failures) == [broken.identity]
    assert len(outcome.evidence) == 2


def test_copy_that_never_reads_back_right_fails_alone(job, base, monkeypatch):
    real = os.fsync
    victim = base / DATE / "vgen2" / f"{TEMPORARY_PREFIX}{cube(job.products[2])}"

    def fsync(descriptor):
        real(descriptor)
        if victim.exists() and os.path.samestat(os.fstat(descriptor), victim.stat()):
            with Path(f"/dev/fd/{descriptor}").open("r+b") as file:
                file.write(b"\0wrong\0")

    monkeypatch.setattr(os, "fsync", fsync)
    outcome = forward(job)
    assert list(outcome.failures) == [job.products[2].identity]
    assert "2 times" in outcome.failures[job.products[2].identity]
    assert not victim.exists()
    assert not (base / DATE / "vgen2" / cube(job.products[2])).exists()


def test_nothing_proven_leaves_nothing(job, base):
    for product in job.products:
        (job.folder / cube(product)).unlink()
    outcome = forward(job)
    assert set(outcome.failures) == {product.identity for product in job.products}
    assert tree(base) == {}


def test_missing_base_is_refused_and_not_created(job, base):
    base.rmdir()
    with pytest.raises(BadInput, match=r"transfer\.destination"):
        forward(job)
    with pytest.raises(BadInput, match=r"transfer\.destination"):
        reverse(job)
    assert not base.exists()


def test_file_in_place_of_the_nights_folder_is_refused(job, base):
    (base / DATE).write_bytes(b"")
    with pytest.raises(BadInput, match="expected a folder"):
        forward(job)


def test_too_little_space_is_told_in_bytes_and_nothing_is_written(job, base):
    product = job.products[0]
    size = shutil.disk_usage(base).free + 2**30
    try:
        os.truncate(job.folder / cube(product), size)
    except OSError:
        pytest.skip("this file system has no sparse files of that size")
    with pytest.raises(Retry, match=r"\d+ bytes needed, \d+ free"):
        forward(job)
    assert tree(base) == {}


def test_space_is_not_asked_for_what_is_there(job, base, monkeypatch):
    forward(job)
    usage = shutil.disk_usage(base)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=0))
    assert not forward(job).failures
    (base / DATE / "vgen2" / cube(job.products[0])).unlink()
    with pytest.raises(Retry, match=f"{job.products[0].size_bytes} bytes needed, 0 free"):
        forward(job)


def test_full_disk_is_tried_again_and_the_batch_stops(job, base, monkeypatch):
    def fsync(descriptor):
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            calls.append(descriptor)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    calls = []
    many = dataclasses.replace(job, products=job.products * 20)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(Retry, match="No space left"):  # one at a time: they share their names
            transferred.forward(job=many, params=Parameters(in_flight=1))
    assert len(calls) < len(many.products)
    assert not list(base.rglob(f"{TEMPORARY_PREFIX}*"))
    assert not forward(job).failures


# the night's own files


def test_sums_satisfy_coreutils_here_and_there(job, base):
    tool = shutil.which("sha256sum")
    if tool is None:
        pytest.skip("no sha256sum")
    write_sums(job)
    forward(job)
    for folder in (job.night, base / DATE):
        check = [tool, "--strict", "-c", "SHA256SUMS"]
        result = subprocess.run(check, cwd=folder, capture_output=True, text=True, check=True)
        assert result.stdout.count(": OK\n") == 7
    (base / DATE / "vgen2" / cube(job.products[0])).write_bytes(b"damaged")
    assert subprocess.run(check, cwd=base / DATE, capture_output=True, check=False).returncode == 1


def test_sums_are_sorted_and_leave_out_what_is_not_compressed(job):
    products = (job.products[2], job.products[0], dataclasses.replace(job.products[1], sha256=None))
    content = transferred.night_files(job=dataclasses.replace(job, products=products), params=Parameters())
    lines = content["SHA256SUMS"].decode().splitlines()
    names = [line.split("  ", 1)[1] for line in lines]
    assert names == [
        *("vgen2/VMPA00000001.fits.fz", "vgen2/VMPA00000001.txt"),
        *("vgen2/VMPA00000003.fits.fz", "vgen2/VMPA00000003.txt"),
        "vgen2/lineage.tsv",
    ]
    assert lines[0].startswith(f"{job.products[0].sha256}  ")


def test_sums_name_the_file_that_cannot_be_read(job):
    (job.folder / job.products[0].files[1]).unlink()
    with pytest.raises(BadInput, match=job.products[0].files[1]):
        transferred.night_files(job=job, params=Parameters())


def test_what_a_night_has_beside_its_products_goes_with_one_batch_of_a_run(job, base):
    write_sums(job)
    outcome = transferred.forward(job=replace(only(job, 0), brings_night=False), params=transferred.Parameters())
    assert len(outcome.evidence) == 1
    assert not (base / DATE / "SHA256SUMS").exists()
    assert len(forward(only(job, 1)).evidence) == 1
    assert (base / DATE / "SHA256SUMS").read_bytes() == (job.night / "SHA256SUMS").read_bytes()


def test_rewritten_sums_are_sent_again(job, base):
    write_sums(only(job, 0))
    forward(only(job, 0))
    write_sums(job)
    forward(only(job, 1, 2))
    assert (base / DATE / "SHA256SUMS").read_bytes() == (job.night / "SHA256SUMS").read_bytes()


def test_further_files_go_but_never_raw_products_or_temporaries(job, base):
    (job.night / "site" / "weather").mkdir(parents=True)
    (job.night / "site" / "weather" / "wind.txt").write_text("12 m/s\n")
    (job.night / f"{TEMPORARY_PREFIX}x").write_text("half")
    (job.folder / "stray.fits").write_text("stray")
    forward(job, also=("**/*",))
    sent = {name for name, content in tree(base / DATE).items() if content is not None}
    listed = {f"vgen2/{name}" for product in job.products for name in product.files}
    assert sent == listed | {"vgen2/lineage.tsv", "notes.log", "site/weather/wind.txt"}
    assert not reverse(job, also=("**/*",)).remarks
    assert tree(base) == {}


def test_further_files_obey_a_stop_and_nothing_counts_as_sent(job, base):
    with pytest.raises(Stopped, match=r"notes\.log.*left"):
        forward(dataclasses.replace(job, is_stopped=lambda: True), also=("*.log",))
    assert not (base / DATE / "notes.log").exists()
    assert len(forward(job, also=("*.log",)).evidence) == 3
    assert (base / DATE / "notes.log").exists()


def test_room_is_asked_for_further_files_too(job, base, monkeypatch):
    usage = shutil.disk_usage(base)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10**6))
    (job.night / "notes.log").write_bytes(bytes(10**6))
    with pytest.raises(Retry, match="bytes needed"):
        forward(job, also=("*.log",))
    assert tree(base) == {}
    assert forward(job).evidence


def test_changed_further_file_stays_with_a_remark(job, base):
    forward(job, also=("*.log",))
    (base / DATE / "notes.log").write_text("edited there\n")
    assert sum(reverse(job, also=("*.log",)).remarks.values()) == 1
    assert tree(base) == {DATE: None, f"{DATE}/notes.log": b"edited there\n"}


@pytest.mark.parametrize("pattern", ["", ".", "/etc/*", "../*", "a/../../*"])
def test_pattern_out_of_the_night_is_refused(pattern):
    with pytest.raises(ValueError, match="within the night's folder"):
        Parameters(also=(pattern,))


def test_no_file_in_flight_is_refused():
    with pytest.raises(ValueError, match="1 or more"):
        Parameters(in_flight=0)

import dataclasses
import errno
import hashlib
import os

import pytest

from stages import manifested
from stages.base import TEMPORARY_PREFIX, BadInput, Irreversible, Job, Retry
from stages.instrument import Instrument
from stages.manifested import Parameters
from stages.product import Product

DATE = "20260102"
NAME = f"manifest_VMP_{DATE}.csv"


def make_product(folder, number):
    stem = f"VMPA{number:08d}"
    content = os.urandom(100 + number)
    (folder / f"{stem}.fits.fz").write_bytes(content)
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


def make_job(root, base):
    folder = root / DATE / "vgen2"
    folder.mkdir(parents=True)
    return Job(
        night=root / DATE,
        date=DATE,
        folder=folder,
        instrument=Instrument(name="VAMPIRES", streams=()),
        products=tuple(make_product(folder, number) for number in (9, 10, 11)),
        destination=base / DATE,
    )


@pytest.fixture
def base(tmp_path):
    base = tmp_path / "destination"
    base.mkdir()
    return base


@pytest.fixture
def job(tmp_path, base):
    return make_job(tmp_path / "root", base)


def forward(job, **params):
    """Make the manifest and let it take its final name, as the machine does."""
    outcome = manifested.forward(job=job, params=Parameters(**params))
    for final, temporary in outcome.outputs.items():
        temporary.replace(final)
    return outcome


def reverse(job):
    return manifested.reverse(job=job, params=Parameters())


def files_below(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("path", ["source", "destination"])
def test_manifest_to_the_byte(job, base, path):
    outcome = forward(job, path=path)
    folder = {"source": job.folder, "destination": base / DATE / "vgen2"}[path]
    expected = "".join(
        f"VMPA{number:08d}|{folder}/VMPA{number:08d}.fits.fz|{100 + number}\r\n" for number in (9, 10, 11)
    )
    assert (job.night / NAME).read_bytes() == expected.encode()
    assert files_below(base) == {f"{DATE}/{NAME}": expected.encode()}
    assert outcome.manifest is not None
    assert outcome.manifest.name == NAME
    assert outcome.manifest.sha256 == hashlib.sha256(expected.encode()).hexdigest()
    assert [line.identity for line in outcome.manifest.lines] == [p.identity for p in job.products]
    assert outcome.manifest.lines[0].size_bytes == 109


def test_default_path_is_the_destinations(job, base):
    assert str(base) in forward(job).manifest.lines[0].path


def test_only_a_temporary_is_written_in_the_night(job):
    outcome = manifested.forward(job=job, params=Parameters())
    assert outcome.outputs == {job.night / NAME: job.night / f"{TEMPORARY_PREFIX}{NAME}"}
    assert not (job.night / NAME).exists()


def test_all_is_synced_before_the_outcome(job, base, monkeypatch):
    real = os.fsync
    synced = set()

    def fsync(descriptor):
        real(descriptor)
        synced.add(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "fsync", fsync)
    (base / DATE).mkdir()
    (temporary,) = manifested.forward(job=job, params=Parameters()).outputs.values()
    assert synced >= {path.stat().st_ino for path in (temporary, base, base / DATE, base / DATE / NAME)}


def test_lines_are_in_order_of_ids(job):
    lines = manifested.manifest_lines(job=dataclasses.replace(job, products=job.products[::-1]), params=Parameters())
    assert [line.frame_id for line in lines] == ["VMPA00000009", "VMPA00000010", "VMPA00000011"]


def test_relative_folders_become_absolute(job, base, monkeypatch):
    monkeypatch.chdir(base)
    near = dataclasses.replace(job, destination=(base / DATE).relative_to(base))
    assert forward(near).manifest.lines[0].path == f"{base}/{DATE}/vgen2/VMPA00000009.fits.fz"


def test_path_keeps_its_bytes(tmp_path, base):
    job = make_job(tmp_path / os.fsdecode(b"n\xe4cht"), base)
    forward(job, path="source")
    assert b"n\xe4cht" in (job.night / NAME).read_bytes()


def test_repeating_ends_in_the_same_bytes(job, base):
    first = forward(job)
    before = files_below(base) | files_below(job.night)
    assert forward(job) == first
    assert files_below(base) | files_below(job.night) == before


def test_interrupted_before_the_final_name_ends_in_the_same_bytes(job, base):
    manifested.forward(job=job, params=Parameters())
    (job.night / f"{TEMPORARY_PREFIX}{NAME}").write_bytes(b"half")
    forward(job)
    assert (job.night / NAME).read_bytes() == (base / DATE / NAME).read_bytes()
    assert len((job.night / NAME).read_bytes().splitlines()) == 3


def test_damaged_manifest_at_the_destination_is_replaced(job, base):
    forward(job)
    good = (base / DATE / NAME).read_bytes()
    (base / DATE / NAME).write_bytes(good[::-1])
    forward(job)
    assert (base / DATE / NAME).read_bytes() == good


@pytest.mark.parametrize(
    ("serial", "name"),
    [(0, "m_20260102.csv"), (1, "m_20260102_supplement1.csv"), (12, "m_20260102_supplement12.csv")],
)
def test_names(serial, name):
    assert manifested.manifest_name("m_{date}.csv", date=DATE, serial=serial) == name


def test_supplement_leaves_the_first_manifest(job):
    forward(dataclasses.replace(job, products=job.products[:2]))
    first = (job.night / NAME).read_bytes()
    forward(dataclasses.replace(job, products=job.products[2:], serial=1))
    assert (job.night / NAME).read_bytes() == first
    assert b"VMPA00000011" in (job.night / f"manifest_VMP_{DATE}_supplement1.csv").read_bytes()


@pytest.mark.parametrize("change", [{"frame_id": None}, {"files": ()}])
def test_product_that_is_not_identified_is_bad_input(job, change):
    broken = dataclasses.replace(job.products[0], **change)
    with pytest.raises(BadInput, match="identified before it is listed"):
        forward(dataclasses.replace(job, products=(broken,)))


@pytest.mark.parametrize("size_bytes", [None, 1])
def test_recorded_size_must_be_the_true_one(job, size_bytes):
    broken = dataclasses.replace(job.products[0], size_bytes=size_bytes)
    with pytest.raises(BadInput, match=f"found 109 bytes, expected {size_bytes}"):
        forward(dataclasses.replace(job, products=(broken,)))


def test_missing_file_is_bad_input(job):
    (job.folder / job.products[0].files[0]).unlink()
    with pytest.raises(BadInput, match="No such file"):
        forward(job)


def test_nothing_to_list_is_bad_input(job):
    with pytest.raises(BadInput, match="no products"):
        forward(dataclasses.replace(job, products=()))


@pytest.mark.parametrize("character", ["|", "\r", "\n"])
def test_field_with_a_delimiter_is_bad_input(tmp_path, base, character):
    job = make_job(tmp_path / f"ro{character}ot", base)
    with pytest.raises(BadInput, match="CR or LF"):
        forward(job, path="source")
    odd = dataclasses.replace(job.products[0], frame_id=f"VMPA{character}")
    with pytest.raises(BadInput, match="CR or LF"):
        forward(dataclasses.replace(job, products=(odd,)))
    assert files_below(base) == {}


def test_missing_destination_is_bad_input(job, base):
    base.rmdir()
    for function in (forward, reverse):
        with pytest.raises(BadInput, match=r"transfer\.destination"):
            function(job)
    assert not list(job.night.glob(f"{TEMPORARY_PREFIX}*"))


def test_full_disk_is_tried_again(job, monkeypatch):
    def fsync(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(Retry, match="No space left"):
        forward(job)


def test_reverse_withdraws_all_manifests_and_may_be_repeated(job, base):
    (base / "other").write_bytes(b"other")
    before = files_below(job.night)
    forward(dataclasses.replace(job, products=job.products[:2]))
    forward(dataclasses.replace(job, products=job.products[2:], serial=1))
    standing = dataclasses.replace(job, serial=2)
    first = reverse(standing)
    assert reverse(standing) == first
    assert first.withdrawn_manifests == (NAME, f"manifest_VMP_{DATE}_supplement1.csv")
    assert files_below(base) == {"other": b"other"}
    assert not (base / DATE).exists()
    for path in first.superseded:
        path.unlink()
    assert files_below(job.night) == before


def test_reverse_of_none_standing_does_nothing(job, base):
    forward(job)
    assert reverse(job).superseded == ()
    assert files_below(base)


def test_what_a_killed_forward_left_at_the_destination_goes(job, base):
    before = files_below(job.night)
    for left in ({}, {job.night / f"{TEMPORARY_PREFIX}{NAME}": b"half"}):
        (temporary,) = manifested.forward(job=job, params=Parameters()).outputs.values()
        temporary.unlink()
        for path, content in left.items():
            path.write_bytes(content)
        for path in reverse(dataclasses.replace(job, serial=1)).superseded:
            path.unlink()
        assert not list(base.iterdir())
        assert files_below(job.night) == before


def test_manifest_of_other_products_at_the_destination_only_stays(job, base):
    (temporary,) = manifested.forward(job=job, params=Parameters()).outputs.values()
    temporary.unlink()
    with pytest.raises(Irreversible, match="not ours"):
        reverse(dataclasses.replace(job, products=job.products[:2], serial=1))
    assert files_below(base)


def test_manifest_that_is_not_ours_stops_the_way_back(job, base):
    forward(job)
    forward(dataclasses.replace(job, serial=1))
    (base / DATE / f"manifest_VMP_{DATE}_supplement1.csv").write_bytes(b"edited there")
    before = files_below(base)
    with pytest.raises(Irreversible, match="not ours"):
        reverse(dataclasses.replace(job, serial=2))
    assert files_below(base) == before

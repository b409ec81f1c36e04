"""consolidated: the frames and the rows of a product, from all its raw files."""

import hashlib
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

from stages import lineage
from stages.base import BadInput, Irreversible, Retry
from stages.consolidated import Parameters, forward, night_files, reverse
from stages.fits.timing import format_timing, read_timing, select
from stages.product import Part
from tests.stages.samples import (
    CARDS,
    PERIOD_US,
    START_US,
    apply,
    contents,
    make_job,
    make_product,
    make_raw,
    make_timing,
)
from tests.tools import need

RUNS = (((0, 2, 5),), ((1, 1, 2), (5, 2, 3)))


@pytest.fixture
def night(tmp_path):
    path = tmp_path / "20260102"
    path.mkdir()
    return path


@pytest.fixture
def raws(night):
    return [make_raw(night), make_raw(night, start_us=START_US + 10 * PERIOD_US)]


@pytest.fixture
def siblings(night):
    return [make_raw(night, 20, camera=2, start_us=START_US + 111)]


def frames(raw, runs):
    pixels = fits.getdata(raw.cube)
    return np.concatenate([pixels[first : first + step * n : step] for first, step, n in runs])


def made(job):
    apply(forward(job=job, params=Parameters()))
    return job.folder / f"{job.product.name}.fits", job.folder / f"{job.product.name}.txt"


def test_frames_of_all_raw_files_in_order(night, raws):
    job = make_job(night, make_product(*map(Part, raws, RUNS)))
    outcome = forward(job=job, params=Parameters())
    names = [f"{job.product.name}.fits", f"{job.product.name}.txt"]
    assert outcome.outputs == {job.folder / name: job.folder / f".ledger-{name}" for name in names}
    timing_sha256 = hashlib.sha256(job.temporary(names[1]).read_bytes()).hexdigest()
    assert outcome.facts == {"p1": {"files": names, "timing_sha256": timing_sha256}}
    assert outcome.remarks == {}
    apply(outcome)
    with fits.open(job.folder / names[0]) as (hdu,):
        assert np.array_equal(hdu.data, np.concatenate([frames(r, runs) for r, runs in zip(raws, RUNS, strict=True)]))
        assert hdu.header["NAXIS3"] == 10
        assert hdu.header["OBJECT"] == "O'Neil / 1"
        assert hdu.header["UT-END"] == "06:00:00.161456"


def test_rows_of_all_raw_files_in_order(night, raws):
    job = make_job(night, make_product(*map(Part, raws, RUNS)))
    rows = read_timing(made(job)[1])
    taken = [0, 2, 4, 6, 8, 11, 12, 15, 17, 19]
    assert rows.head == make_timing(0).head
    assert rows.cube_index.tolist() == list(range(10))
    assert rows.acquired_us.tolist() == [START_US + PERIOD_US * k for k in taken]
    assert rows.logged_ns.tolist() == [(START_US + PERIOD_US * k) * 1000 + 320_123 for k in taken]
    assert rows.since_start_ns.tolist() == [PERIOD_US * 1000 * k for k in taken]
    assert rows.main_index.tolist() == rows.cnt0.tolist() == [1_000_000 + k % 10 for k in taken]


def test_first_row_is_time_zero(night, raws):
    job = make_job(night, make_product(Part(raws[0], ((3, 1, 2),))))
    assert read_timing(made(job)[1]).since_start_ns.tolist() == [0, PERIOD_US * 1000]


def test_time_of_paired_frames_is_the_mean_in_both_products(night, raws, siblings):
    parts = tuple(map(Part, raws, RUNS))
    sibling_parts = (Part(siblings[0], ((0, 2, 5), (11, 1, 2), (15, 2, 3))),)
    one = make_job(night, make_product(*parts, sibling_parts=sibling_parts))
    two = make_job(night, make_product(*sibling_parts, sibling_parts=parts, identity="p2", name="vsync.cam2.A"))
    (cube_one, timing_one), (_, timing_two) = made(one), made(two)
    assert read_timing(timing_one).acquired_us.tolist() == read_timing(timing_two).acquired_us.tolist()
    assert read_timing(timing_one).acquired_us[0] == START_US + 55
    assert read_timing(timing_one).logged_ns[0] == START_US * 1000 + 320_123
    assert fits.getheader(cube_one)["U_SYNC"] is True


def test_old_files_keep_their_six_columns(night, raws):
    raws[0].timing.write_bytes(format_timing(make_timing(10, has_acquisition=False)))
    rows = read_timing(made(make_job(night, make_product(Part(raws[0], ((0, 1, 10),)))))[1])
    assert not rows.has_acquisition
    assert rows.n == 10


def test_the_whole_of_one_file_is_that_file_but_for_its_header(night, raws):
    cube, timing = made(make_job(night, make_product(Part(raws[0], ((0, 1, 10),)))))
    assert timing.read_bytes() == raws[0].timing.read_bytes()
    assert cube.read_bytes()[2880:] == raws[0].cube.read_bytes()[2880:]


def test_fitsverify_is_content(night, raws):
    need("fitsverify")
    cube, _ = made(make_job(night, make_product(*map(Part, raws, RUNS))))
    report = subprocess.run(["fitsverify", cube], capture_output=True, text=True, check=False).stdout
    assert "0 warning(s) and 0 error(s)" in report


def test_forward_and_reverse_leave_the_night_as_it_was(night, raws):
    before = {path: hashlib.sha256(path.read_bytes()).digest() for path in night.rglob("*") if path.is_file()}
    product = make_product(*map(Part, raws, RUNS))
    job = make_job(night, product)
    outcome = forward(job=job, params=Parameters())
    apply(outcome)
    first = contents(job.folder)
    apply(forward(job=job, params=Parameters()))
    assert contents(job.folder) == first
    job = make_job(night, replace(product, files=tuple(outcome.facts["p1"]["files"])))
    outcome = reverse(job=job, params=Parameters())
    assert outcome.facts == {"p1": {"files": [], "timing_sha256": None}}
    apply(outcome)
    job.folder.rmdir()
    after = {path: hashlib.sha256(path.read_bytes()).digest() for path in night.rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.parametrize("file", ["cube", "timing"])
def test_a_raw_file_that_changed_may_be_put_back(night, raws, file):
    status = raws[1].timing.stat()
    raw = replace(raws[1], timing_size_bytes=status.st_size, timing_mtime_ns=status.st_mtime_ns)
    job = make_job(night, make_product(Part(raws[0], ((0, 1, 10),)), Part(raw, ((0, 1, 10),))))
    path = getattr(raw, file)
    path.touch()
    with pytest.raises(Retry, match=f"{path}: changed underneath"):
        forward(job=job, params=Parameters())
    path.unlink()
    with pytest.raises(Retry, match=f"{path}: gone since it was registered"):
        forward(job=job, params=Parameters())


def test_the_only_copy_of_a_frame_is_not_removed(night, raws):
    product = make_product(Part(raws[0], ((0, 1, 10),)), Part(raws[1], ((0, 1, 10),)), files=("a.fits", "a.txt"))
    raws[1].cube.rename(raws[1].cube.with_suffix(".elsewhere"))
    with pytest.raises(Irreversible, match=f"{raws[1].cube}: gone or changed"):
        reverse(job=make_job(night, product), params=Parameters())


@pytest.mark.parametrize("keep", [0, 1, 69])
def test_of_a_salvaged_file_the_used_frames_are_read_and_no_more(night, raws, keep):
    whole = frames(raws[0], ((0, 1, 10),))
    content = raws[0].cube.read_bytes()
    raws[0].cube.write_bytes(content[: 2880 + 6 * 70 + keep])
    raws[0].timing.write_bytes(raws[0].timing.read_bytes()[:-20])  # nine rows, and one that is cut
    status = raws[0].cube.stat()
    raw = replace(raws[0], n_frames=6, lost_frames=4, size_bytes=status.st_size, mtime_ns=status.st_mtime_ns, last_us=0)
    cube, timing = made(make_job(night, make_product(Part(raw, ((0, 1, 6),)))))
    assert np.array_equal(fits.getdata(cube), whole[:6])
    assert read_timing(timing).acquired_us.tolist() == [START_US + PERIOD_US * k for k in range(6)]
    for runs in (((0, 1, 7),), ((6, 1, 1),)):
        with pytest.raises((BadInput, IndexError)):
            forward(job=make_job(night, make_product(Part(raw, runs))), params=Parameters())
    with pytest.raises(BadInput, match="6 whole frames, registered with 7"):
        forward(job=make_job(night, make_product(Part(replace(raw, n_frames=7), ((0, 1, 7),)))), params=Parameters())


def test_a_file_without_its_padding_has_all_its_frames(night, raws):
    whole = frames(raws[0], ((0, 1, 10),))
    raws[0].cube.write_bytes(raws[0].cube.read_bytes()[: 2880 + 10 * 70])
    status = raws[0].cube.stat()
    raw = replace(raws[0], size_bytes=status.st_size, mtime_ns=status.st_mtime_ns)
    cube, _ = made(make_job(night, make_product(Part(raw, ((0, 1, 10),)))))
    assert np.array_equal(fits.getdata(cube), whole)


def test_a_raw_file_that_is_gone_may_come_back(night, raws):
    job = make_job(night, make_product(Part(raws[0], ((0, 1, 10),))))
    raws[0].cube.unlink()
    with pytest.raises(Retry, match=str(raws[0].cube)):
        forward(job=job, params=Parameters())


@pytest.mark.parametrize("whose", ["own", "sibling"])
def test_a_txt_that_lost_rows_is_refused(night, raws, siblings, whose):
    parts, others = (Part(raws[0], ((0, 1, 5),)),), (Part(siblings[0], ((0, 1, 5),)),)
    changed = {"own": raws, "sibling": siblings}[whose][0].timing
    changed.write_bytes(format_timing(select(read_timing(changed), range(7))))
    with pytest.raises(BadInput, match="7 rows, its cube"):
        forward(job=make_job(night, make_product(*parts, sibling_parts=others)), params=Parameters())


def test_siblings_of_different_lengths_are_refused(night, raws, siblings):
    product = make_product(Part(raws[0], ((0, 1, 5),)), sibling_parts=(Part(siblings[0], ((0, 1, 6),)),))
    with pytest.raises(BadInput, match="5 frames, its sibling 6"):
        forward(job=make_job(night, product), params=Parameters())


@pytest.mark.parametrize(
    "other", [{"shape": (7, 5)}, {"cards": (*CARDS, "BZERO   = 32768")}, {"cards": (*CARDS, "BSCALE  = 2.0")}]
)
def test_frames_that_do_not_go_together_are_refused(night, raws, other):
    stranger = make_raw(night, start_us=START_US + 10 * PERIOD_US, **other)
    product = make_product(Part(raws[0], ((0, 1, 10),)), Part(stranger, ((0, 1, 10),)))
    with pytest.raises(BadInput, match="cannot be in one cube"):
        forward(job=make_job(night, product), params=Parameters())


def test_zero_and_scale_may_be_written_in_many_ways(night, raws):
    same = make_raw(night, start_us=START_US + 10 * PERIOD_US, cards=(*CARDS, "BZERO   = 0.0", "BSCALE  = 1"))
    made(make_job(night, make_product(Part(raws[0], ((0, 1, 10),)), Part(same, ((0, 1, 10),)))))


def test_lineage_names_every_part_in_order_of_time(night, raws):
    late = make_product(*map(Part, raws, RUNS), identity="late", name="b", group=2)
    early = [
        make_product(Part(raws[0], ((0, 1, 1),)), identity=f"{camera}{flc}", name="a", camera=camera, flc=flc)
        for camera, flc in ((1, None), (1, "A"), (1, "B"), (2, "A"))
    ]
    early = [replace(product, first_us=START_US - 1) for product in early]
    job = make_job(night, late, *reversed(early))
    files = night_files(job=job, params=Parameters())
    assert list(files) == ["vgen2/lineage.tsv"]
    head, *lines = (line.split("\t") for line in files["vgen2/lineage.tsv"].decode().splitlines())
    rows = [dict(zip(head, line, strict=True)) for line in lines]
    assert [row["identity"] for row in rows] == ["1None", "1A", "1B", "2A", "late", "late"]
    assert rows[-1] == {
        "identity": "late",
        "name": "b",
        "camera": "1",
        "flc": "A",
        "synchronised": "0",
        "group": "2",
        "first_us": str(late.first_us),
        "last_us": str(late.last_us),
        "exposure_us": "2000",
        "raw": f"vcam1/{raws[1].cube.name}",
        "raw_identity": raws[1].identity,
        "raw_size_bytes": str(raws[1].size_bytes),
        "n_frames": "5",
        "runs": "1:1:2,5:2:3",
        "position": "1",
        "solo": "0",
        "supplement": "0",
    }
    assert rows[0]["flc"] == ""
    assert night_files(job=make_job(night, *early, late), params=Parameters()) == files


def test_a_night_without_products_has_an_empty_lineage(night):
    files = night_files(job=make_job(night), params=Parameters())
    assert files["vgen2/lineage.tsv"].decode().split() == list(lineage._COLUMNS)

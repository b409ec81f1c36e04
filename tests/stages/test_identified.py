"""identified: frame IDs in headers and names, and back, however it was interrupted."""

from dataclasses import replace

import pytest
from astropy.io import fits

from stages import consolidated, fixed, identified
from stages.base import BadInput, Outcome
from stages.identified import Parameters
from stages.product import Part
from tests.stages.samples import apply, contents, make_job, make_product, make_raw

PARAMS = Parameters()
FRAME_ID = "VMPA00000123"


@pytest.fixture
def job(tmp_path):
    """A night with one fixed product that has three files and a frame ID."""
    product = make_product(Part(make_raw(tmp_path), ((0, 2, 5),)), frame_id=FRAME_ID)
    outcome = consolidated.forward(job=make_job(tmp_path, product), params=PARAMS)
    apply(outcome)
    files = (*outcome.facts["p1"]["files"], f"{product.name}.preview.png")
    job = make_job(tmp_path, replace(product, files=files))
    (job.folder / files[2]).write_bytes(b"a preview")
    apply(fixed.forward(job=job, params=PARAMS))
    return job


def with_files(job, outcome):
    return replace(job, products=(replace(job.product, files=tuple(outcome.facts["p1"]["files"])),))


def test_ids_in_header_and_names(job):
    outcome = identified.forward(job=job, params=PARAMS)
    names = [f"{FRAME_ID}.fits", f"{FRAME_ID}.txt", f"{FRAME_ID}.preview.png"]
    assert outcome.facts == {"p1": {"files": names}}
    apply(outcome)
    assert set(contents(job.folder)) == set(names)
    found = fits.getheader(job.folder / names[0])
    assert (found["FRAMEID"], found["EXP-ID"]) == (FRAME_ID, "VMPE00000123")


def test_forward_and_reverse_give_the_same_bytes_and_names_back(job):
    before = contents(job.folder)
    forward = identified.forward(job=job, params=PARAMS)
    apply(forward)
    assert contents(job.folder).keys().isdisjoint(before)
    reverse = identified.reverse(job=with_files(job, forward), params=PARAMS)
    apply(reverse)
    assert contents(job.folder) == before
    assert reverse.facts == {"p1": {"files": list(job.product.files)}}


def rename_no_file(folder, outcome):
    pass


def rename_cube(folder, outcome):
    apply(Outcome(rewrites=outcome.rewrites))


def rename_all(folder, outcome):
    apply(outcome)


@pytest.mark.parametrize("committed", [False, True])
@pytest.mark.parametrize("interrupt", [rename_no_file, rename_cube, rename_all])
@pytest.mark.parametrize("way", ["forward", "reverse"])
def test_an_interrupted_call_is_repeated(job, way, interrupt, committed):
    forward = identified.forward(job=job, params=PARAMS)
    fixed_contents = contents(job.folder)
    stage = getattr(identified, way)
    start = job
    if way == "reverse":
        apply(forward)
        start = with_files(job, forward)
    expected = forward if way == "forward" else identified.reverse(job=start, params=PARAMS)
    interrupt(job.folder, stage(job=start, params=PARAMS))
    for path in job.folder.glob("*.fits"):
        path.write_bytes(b"torn" * 500 + path.read_bytes()[2000:])
    again = stage(job=with_files(start, expected) if committed else start, params=PARAMS)
    assert again == expected
    apply(again)
    if way == "reverse":
        assert contents(job.folder) == fixed_contents
    else:
        assert set(contents(job.folder)) == set(forward.facts["p1"]["files"])
        assert fits.getheader(job.folder / f"{FRAME_ID}.fits")["FRAMEID"] == FRAME_ID


@pytest.mark.parametrize("stage", [identified.forward, identified.reverse])
@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"frame_id": None}, "no frame ID"),
        ({"files": ()}, "no files"),
        ({"files": ("somebody.fits", "somebody.txt")}, "somebody.fits"),
    ],
)
def test_what_cannot_be_named_is_refused(job, stage, facts, message):
    with pytest.raises(BadInput, match=message):
        stage(job=replace(job, products=(replace(job.product, **facts),)), params=PARAMS)


def test_a_raw_header_with_another_frame_id_is_refused(tmp_path):
    raw = make_raw(tmp_path, cards=("FRAMEID = 'VMPA00000007'",))
    product = make_product(Part(raw, ((0, 1, 10),)), frame_id=FRAME_ID)
    job = make_job(tmp_path, replace(product, files=(f"{product.name}.fits", f"{product.name}.txt")))
    with pytest.raises(BadInput, match="VMPA00000007"):
        identified.forward(job=job, params=PARAMS)


def test_only_headers_are_touched():
    assert identified.HEADER_ONLY is True

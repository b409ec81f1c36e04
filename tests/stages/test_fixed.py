"""fixed: the header obeys the dictionary, and comes back as it was."""

from dataclasses import replace

import pytest
from astropy.io import fits

from stages import consolidated, fixed
from stages.base import BadInput, Retry
from stages.fixed import Parameters
from stages.product import Part
from tests.stages.samples import apply, contents, make_job, make_product, make_raw

PARAMS = Parameters()


@pytest.fixture
def job(tmp_path):
    """A night with one consolidated product."""
    product = make_product(Part(make_raw(tmp_path), ((0, 2, 5),)))
    job = make_job(tmp_path, product)
    outcome = consolidated.forward(job=job, params=PARAMS)
    apply(outcome)
    return make_job(tmp_path, replace(product, files=tuple(outcome.facts["p1"]["files"])))


def test_header_obeys_the_dictionary_and_data_stay(job):
    cube = job.folder / job.product.files[0]
    data = fits.getdata(cube)
    outcome = fixed.forward(job=job, params=PARAMS)
    assert outcome.remarks == {"digits kept: CD1_2": 1}
    assert [(r.candidates, r.final) for r in outcome.rewrites] == [((cube,), cube)]
    assert not outcome.outputs
    apply(outcome)
    with fits.open(cube) as (hdu,):
        assert str(hdu.header.cards["EXPTIME"]).startswith("EXPTIME =           0.00200000 / [s] Total")
        assert hdu.header["CD1_2"] == -2.2401e-09
        assert hdu.header["FRAMEID"] == ""
        assert (hdu.data == data).all()


def test_forward_and_reverse_give_the_same_bytes_back(job):
    before = contents(job.folder)
    apply(fixed.forward(job=job, params=PARAMS))
    between = contents(job.folder)
    assert between != before
    apply(fixed.forward(job=job, params=PARAMS))
    assert contents(job.folder) == between
    outcome = fixed.reverse(job=job, params=PARAMS)
    assert outcome.remarks == {}
    apply(outcome)
    assert contents(job.folder) == before


@pytest.mark.parametrize("stage", [fixed.forward, fixed.reverse])
def test_a_torn_header_is_written_again(job, stage):
    apply(stage(job=job, params=PARAMS))
    right = contents(job.folder)
    cube = job.folder / job.product.files[0]
    cube.write_bytes(b"torn" * 500 + cube.read_bytes()[2000:])
    apply(stage(job=job, params=PARAMS))
    assert contents(job.folder) == right


def test_parameters_reach_the_header(job):
    outcome = fixed.forward(job=job, params=Parameters(keep_digits=()))
    assert outcome.remarks == {"non-zero printed as zero: CD1_2": 1}


def test_a_product_without_files_is_refused(job):
    with pytest.raises(BadInput, match="no files"):
        fixed.forward(job=replace(job, products=(replace(job.product, files=()),)), params=PARAMS)


def test_a_raw_file_that_changed_may_be_put_back(job):
    job.product.parts[0].raw.cube.touch()
    with pytest.raises(Retry, match="changed underneath"):
        fixed.reverse(job=job, params=PARAMS)


def test_what_is_wrong_with_a_raw_header_is_told_with_its_path(tmp_path):
    raw = make_raw(tmp_path, cards=("FRAMEID = 'VMPA00000007'",))
    product = make_product(Part(raw, ((0, 1, 10),)), files=("a.fits", "a.txt"))
    with pytest.raises(BadInput, match=f"{raw.cube}.*VMPA00000007"):
        fixed.forward(job=make_job(tmp_path, product), params=PARAMS)


def test_only_headers_are_touched():
    assert fixed.HEADER_ONLY is True


@pytest.mark.parametrize("stage", [fixed.forward, fixed.reverse])
def test_a_header_of_another_length_is_not_written_over_frames(job, stage):
    """A version that kept cards which are left out now made a cube whose frames begin a block later."""
    cube = job.folder / job.product.files[0]
    content = cube.read_bytes()
    cube.write_bytes(content[:2880] + b" " * 2880 + content[2880:])
    with pytest.raises(
        BadInput, match=r"8640 bytes, expected 5760 .*; roll the product back to synced and make it again"
    ):
        stage(job=job, params=PARAMS)

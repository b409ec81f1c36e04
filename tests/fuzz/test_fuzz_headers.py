"""FITS files with anything in them: only refusals that say what and where, and no more memory than there is data."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.config.read import packaged_config, read_config
from ledger.ids._check_headers import HeaderCheck, LiveId
from stages.base import BadInput
from stages.check.reread import Recorded, reread, reread_raw
from stages.product import Part, Raw
from tests import law
from tests.fuzz.complaints import is_one_clear_line, little_memory
from tests.fuzz.cubes import GOOD, PIXELS, SHAPE, VALUES, Content, contents, headers, image_of, scaled_cubes
from tests.fuzz.profiles import fuzz
from tests.stages.samples import CARDS, make_header
from tests.stages.samples import contents as files_in


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """Return a night with a good timing file of three rows, waiting for its cube."""
    return law.make_night(tmp_path_factory.mktemp("headers"), SHAPE[0])


def register(night, content, *, salvage):
    """Return what is registered of a cube, or None if it is refused as it has to be."""
    try:
        with little_memory():
            facts = law.register(night, content, salvage=salvage)
    except BadInput as exc:
        assert is_one_clear_line(str(exc), night / "vcam1", "cube")
        return None
    json.dumps(dataclasses.asdict(facts), allow_nan=False).encode()
    numbers = (facts.n_frames, facts.lost_frames)
    assert all(0 <= number < 2**31 for number in numbers)  # of a column in PostgreSQL
    times = (facts.first_us, facts.last_us, facts.exposure_us, facts.first_us - facts.exposure_us)
    assert all(abs(number) < 2**63 for number in times)
    return facts


#: Cards that rules read, or that change on the way.
READ = (
    *("BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "NAXIS3", "BZERO", "BSCALE", "EXPTIME", "EXTTRIG", "U_FLCEN", "U_FLCST"),
    *("U_FLC", "U_TRIGJT", "U_DETMOD", "PRD-RNG2", "OBJECT", "U_SYNC", "FRAMEID", "EXP-ID", "RET-ANG1", "FILTER01"),
)


def with_value(keyword, value):
    """Return a good cube with another value of a card, or with one card more."""
    header = make_header(*CARDS, *([] if keyword in GOOD_KEYWORDS else [f"{keyword:<8}= 0"]), shape=SHAPE)
    at = header.index(keyword.ljust(8).encode() + b"=")
    return Content(header[:at] + image_of(f"{keyword:<8}= {value}") + header[at + 80 :] + PIXELS)


GOOD_KEYWORDS = {GOOD[at : at + 8].decode().rstrip() for at in range(0, 2880, 80)}


@fuzz(400)
@given(contents(), st.booleans())
def test_any_file_is_registered_or_refused(night, content, salvage):
    register(night, content, salvage=salvage)


@pytest.mark.parametrize("keyword", READ)
def test_no_value_of_a_card_is_too_odd(night, keyword):
    for value in VALUES:
        register(night, with_value(keyword, value), salvage=True)
        go_all_the_way_and_come_back(night, with_value(keyword, value))


@fuzz(200)
@given(headers().map(lambda header: Content(header + PIXELS)))
def test_what_is_registered_goes_all_the_way_and_comes_back(night, content):
    go_all_the_way_and_come_back(night, content)


def go_all_the_way_and_come_back(night, content):
    """Take a cube through all states and back, if it is registered; each state comes back as it was."""
    facts = register(night, content, salvage=False)
    if facts is None:
        return
    for made in law.products_of(night, facts):
        job, before = made, []
        for stage, params in law.STEPS:
            before.append((stage, params, files_in(job.folder)))
            job = law.follow(job, stage.forward(job=job, params=params))
        for stage, params, was in reversed(before):
            job = law.follow(job, stage.reverse(job=job, params=params))
            assert files_in(job.folder) == was


@fuzz(100)
@given(scaled_cubes())
def test_what_is_registered_is_read_from_the_archive_as_from_raw(night, content):
    facts = register(night, content, salvage=False)
    if facts is not None:
        law.check_law(night, facts)


@fuzz(150)
@given(contents())
def test_rereading_tells_and_never_raises(night, content):
    cube = night / "vcam1/cube.fits"
    cube.write_bytes(content)
    timing = Recorded(cube.with_suffix(".txt"), None)
    raw = Raw(
        cube=cube, timing=timing.path, identity="", camera=1, n_frames=3, size_bytes=len(content), mtime_ns=0,
        first_us=0, last_us=0, exposure_us=0, cards={},
    )  # fmt: skip
    with little_memory():
        found = [
            *reread_raw(cube=cube, header_sha256="0", timing=timing).faults,
            *reread(files=[Recorded(cube, None)], cube=cube, parts=[Part(raw, ((0, 1, 3),))]).faults,
        ]
    assert not [fault for fault in found if "MemoryError" in fault.what]
    assert all(is_one_clear_line(fault.what, cube) for fault in found)


@fuzz(150)
@given(contents(), st.sampled_from((".fits", ".fits.fz")))
def test_ids_are_looked_for_in_any_file(night, content, suffix):
    path = night / f"VMPA00000001{suffix}"
    path.write_bytes(content)
    config = read_config(packaged_config(), environment={})
    live = LiveId("VMPA00000001", 1_767_333_600_123_456, False, 2000, "identified", True)
    with little_memory():
        found = list(HeaderCheck(config, "identified").check("20260102", live, path))
    assert all(is_one_clear_line(disorder.found, "") for disorder in found if hasattr(disorder, "found"))

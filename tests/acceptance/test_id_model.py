"""Frame IDs after anything that can be done to a few nights, compared with a model (``id_model.py``).

The examples are the same in every run. ``TEST_EXAMPLES`` asks for as many others, drawn anew and longer (``LEDGER_…``
would name a key of the configuration).
"""

import os
from collections.abc import Iterator
from itertools import count

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.acceptance.id_machine import DATES, REASON, Nights
from tests.acceptance.portions import PORTIONS, Portions

EXAMPLES = int(os.environ.get("TEST_EXAMPLES", "0"))


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Portions:
    return Portions(tmp_path_factory.mktemp("raw"), DATES)


def test_ids_are_what_the_model_says(tmp_path, sqlite_template, raw):
    numbers = count()
    profile = settings(
        max_examples=EXAMPLES or 4,
        stateful_step_count=30 if EXAMPLES else 12,
        derandomize=not EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink) if EXAMPLES else (Phase.generate,),  # to shrink takes minutes
    )
    run_state_machine_as_test(lambda: Nights(tmp_path / str(next(numbers)), sqlite_template, raw), settings=profile)


@pytest.fixture
def nights(tmp_path, sqlite_template, raw) -> Iterator[Nights]:
    """Return nights of which all but the first are identified."""
    made = Nights(tmp_path / "nights", sqlite_template, raw)
    made.begin(absent=DATES[0], to="identified")
    yield made
    made.numbers_are_in_order()
    made.files_are_named_by_their_ids()
    made.teardown()


def test_the_newest_night_is_numbered_anew_if_all_of_its_products_change(nights):
    before = nights.seen
    nights.make_again(pick=1, to="identified", reason=None, change="polarity")
    assert nights.seen.live(DATES[1]) == before.live(DATES[1])
    assert not nights.seen.live(DATES[2]) & before.live(DATES[2])
    assert all(i.is_live and i.reason is None for i in nights.seen.ids)


def test_an_old_night_that_is_found_is_late(nights):
    nights.raw_files_come(pick=PORTIONS.index("main"))
    before = nights.seen.ids
    nights.advance_night(DATES[0], "manifested", None)
    assert nights.seen.ids == before
    nights.advance_night(DATES[0], "manifested", REASON)
    fresh = nights.seen.ids[len(before) :]
    assert fresh
    assert {i.reason for i in fresh} == {REASON}


@pytest.mark.parametrize(("portion", "reason"), [("tail", None), ("early", REASON)])
def test_a_night_that_was_appended_to_comes_back_as_it_was(nights, portion, reason):
    nights.advance_night(DATES[2], "manifested", None)
    nights.bring(DATES[2], portion)
    nights.advance_night(DATES[2], "manifested", REASON)
    ids = nights.seen.ids
    assert {i.reason for i in ids} == {None, reason}
    nights.rollback_night(DATES[2], "raw")
    nights.advance_night(DATES[2], "manifested", None)
    assert nights.seen.ids == ids


@pytest.mark.parametrize("is_synced", [True, False])
def test_products_that_have_ids_stay_as_they_are_while_new_raw_files_wait(nights, is_synced):
    date = DATES[1]
    nights.bring(date, "tail")  # of the same acquisition, and older than the next night's IDs
    if is_synced:
        nights.advance_night(date, "identified", None)
    ids = nights.seen.ids
    nights.rollback_night(date, "raw")
    nights.advance_night(date, "identified", None)
    assert nights.seen.ids == ids
    assert nights.seen.live(date) < nights.seen.products[date].keys()


def test_products_that_were_paired_apart_and_numbered_together_come_back_as_they_were(nights):
    date = DATES[0]
    nights.bring(date, "early")
    nights.advance_night(date, "identified", REASON)
    nights.bring(date, "main")
    nights.advance_night(date, "synced", None)
    nights.bring(date, "tail")  # of the same acquisition
    nights.advance_night(date, "identified", REASON)
    ids = nights.seen.ids
    nights.rollback_night(date, "raw")
    nights.advance_night(date, "identified", None)
    assert nights.seen.ids == ids

"""Cards that rules read, in known and unknown forms: each means what it says, or is in quarantine, or is told."""

import pytest

from ledger.query.verdict import verdict
from ledger.run import quarantine
from tests.acceptance.test_witnessed_nights import HOUR_US, counts, cubes, reasons, retime, say, summarise
from tests.world import DATE


def everywhere(world, keyword, field, **options):
    for stream in ("vcam1", "vcam2"):
        for cube in cubes(world, stream):
            say(cube, keyword, field, **options)


@pytest.mark.parametrize(
    ("keyword", "field"),
    [
        ("EXTTRIG", "'#TRUE#'"),
        ("EXTTRIG", "'t       '"),
        ("EXTTRIG", "1"),
        ("EXTTRIG", "1.0"),
        ("U_FLCEN", "'ON      '"),
        ("U_FLCST", "'in      '"),
        ("U_FLC", "'N/A     '"),
    ],
)
def test_a_known_form_means_what_it_says(sqlite_world, keyword, field):
    world = sqlite_world
    world.simulate(scale=0.1, scenario=("pdi",))
    world.bring(to="synced")
    expected = counts(world)
    assert expected[1] > 0
    assert expected[2] > 0
    assert world.rollback(to="raw").succeeded
    everywhere(world, keyword, field)
    assert world.advance(to="synced").succeeded
    assert counts(world) == expected
    assert summarise(world).unexpected == ()


@pytest.mark.parametrize(("keyword", "field", "form"), [("EXTTRIG", "'enabled '", "Enabled"), ("U_FLCEN", "2", "2")])
def test_an_unknown_form_is_in_quarantine_until_it_is_known(sqlite_world, keyword, field, form):
    world = sqlite_world
    world.simulate(scale=0.1, scenario=("pdi",))
    everywhere(world, keyword, field)
    assert world.advance(to="synced").succeeded
    assert len(reasons(world)) == len(cubes(world, "vcam1")) + len(cubes(world, "vcam2"))
    assert all(f"{keyword} is " in reason for reason in reasons(world).values())
    world.data["instrument"]["forms"]["means_true"].append(form)
    assert world.advance(to="synced").succeeded
    assert reasons(world) == {}
    assert counts(world)[1] > 0
    assert counts(world)[2] > 0


@pytest.mark.parametrize("keyword", ["EXTTRIG", "U_FLCEN", "U_FLCST", "U_TRIGJT", "U_DETMOD", "PRD-RNG2"])
def test_a_card_that_is_missing_is_told(sqlite_world, keyword):
    world = sqlite_world
    world.simulate(scale=0.1, scenario=("pdi",))
    everywhere(world, keyword, None)
    n_files = len(cubes(world, "vcam1")) + len(cubes(world, "vcam2"))
    assert world.advance(to="synced").remarks[f"raw files without {keyword}, which a rule reads"] == n_files
    assert f"{n_files} raw files without {keyword}, which a rule reads" in verdict(summarise(world))


def test_a_card_of_one_camera_alone_is_told(sqlite_world):
    world = sqlite_world
    world.simulate(scale=0.1, scenario=("slow",))
    for cube in cubes(world, "vcam2"):
        say(cube, "EXTTRIG", "'OFF     '")
    assert world.advance(to="synced").succeeded
    assert "that say otherwise of EXTTRIG than the other's at the same time" in verdict(summarise(world))


def test_a_card_with_two_values_is_in_quarantine(sqlite_world):
    world = sqlite_world
    world.simulate(scale=0.05, scenario=("slow",))
    everywhere(world, "EXTTRIG", "F", again=True)
    assert world.advance(to="synced").succeeded
    assert all("EXTTRIG is there 2 times, as True and as False" in reason for reason in reasons(world).values())
    assert len(reasons(world)) == len(cubes(world, "vcam1")) + len(cubes(world, "vcam2"))


def test_a_row_of_before_keeps_its_text_and_is_told(sqlite_world):
    world = sqlite_world
    world.simulate(scale=0.05, scenario=("slow",))
    world.machine().scan(world.night())
    with world.store().write() as session:
        session.connection().exec_driver_sql("UPDATE file SET cards = json_set(cards, '$.EXTTRIG', '#TRUE#')")
    assert world.advance().succeeded
    assert counts(world)[1] == 0  # as the version before archived it
    before = world.tree(world.destination / DATE)
    assert world.rollback(to="raw").succeeded
    assert world.advance().succeeded
    assert world.tree(world.destination / DATE) == before
    assert "with EXTTRIG = '#TRUE#', which is no known form (instrument.forms)" in verdict(summarise(world))


def test_a_file_that_was_released_is_looked_at_again(sqlite_world):
    world = sqlite_world
    world.simulate(scale=0.05, scenario=("slow",))
    cube = cubes(world, "vcam1")[0]
    retime(cube, acquired_us=lambda t: t + HOUR_US)
    world.machine().scan(world.night())
    quarantine.release(world.store(), f"vcam1/{cube.name}")
    retime(cube, acquired_us=lambda t: t - HOUR_US)
    assert world.advance(to="synced").succeeded
    assert reasons(world) == {}

"""Pages of nights that are not as they should be, or not yet, and numbers that no picture has room for."""

from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import event

from ledger.db.store import Store
from ledger.night.pipeline import pipelines
from ledger.pages import pictures
from ledger.pages._canvas import TimeAxis
from ledger.pages._settings import _settings, lanes
from ledger.pages._timings import Timings, _folded
from ledger.pages._words import Words
from ledger.pages.index import line_of, read_lines
from ledger.pages.night import Collector
from ledger.pages.write import render_index, render_night, write_night
from stages.instrument import Instrument, Stream
from tests.ledger.audit.damage import around_the_guards
from tests.ledger.pages.test_page_facts import taken
from tests.ledger.query.summaries import SOUND, change
from tests.world import World


def collect(world: World):
    return Collector(world.store(), world.config, pipelines(world.config)).collect(world.night())


def page_of(night) -> str:
    return render_night(night, line_of(night, "night.html"))


@pytest.fixture
def brought(world: World) -> World:
    """Return a world with a night that was taken to its end, on both databases."""
    world.simulate(scale=0.05)
    world.bring()
    return world


def test_bytes_are_those_of_right_copies_and_a_page_tells_them(brought):
    change(brought, "UPDATE copy SET refuted_us = 1, fault = 'gone' WHERE id = (SELECT min(id) FROM copy)")
    night = collect(brought)
    size_bytes = sum(size for (size,) in brought.query("SELECT size_bytes FROM copy WHERE refuted_us IS NULL"))
    (proof,) = night.archive.proofs
    assert (proof.refuted, proof.size_bytes) == (1, size_bytes)
    listed = sum(size for (size,) in brought.query("SELECT size_bytes FROM manifest_line"))
    page = page_of(night)
    assert f"({size_bytes / 1e6:,.1f} MB) on this host" in page
    assert f"{listed / 1e6:,.1f} MB, " in page


def test_copies_none_of_which_is_right_have_no_bytes(brought):
    change(brought, "UPDATE copy SET refuted_us = 1, fault = 'gone'")
    night = collect(brought)
    assert [(proof.copies, proof.size_bytes) for proof in night.archive.proofs] == [(0, 0)]
    assert "are not right" in page_of(night)


def test_ids_that_were_all_withdrawn_are_told(sqlite_world):
    sqlite_world.simulate(scale=0.05)
    sqlite_world.bring()
    around_the_guards(sqlite_world, "UPDATE frame_id SET status = 'withdrawn'")
    ((n,),) = sqlite_world.query("SELECT count(*) FROM frame_id")
    assert f"<span>{n} withdrawn</span>" in page_of(collect(sqlite_world))


def test_a_page_tells_one_moment_while_others_write(brought):
    other = Store(brought.url)
    collector = Collector(brought.store(), brought.config, pipelines(brought.config))
    before = collector.collect(brought.night()).archive
    withdrawn = []

    @event.listens_for(brought.store().engine, "after_cursor_execute")
    def withdraw(connection, cursor, statement, *_):
        if "min(CASE" in statement and "frame_id" in statement and not withdrawn:
            withdrawn.append(statement)
            with other.write() as session:
                session.connection().exec_driver_sql("UPDATE copy SET refuted_us = 1, fault = 'gone'")

    found = collector.collect(brought.night())
    other.close()
    assert withdrawn
    assert found.archive == before
    assert collector.collect(brought.night()).archive != before


def gaps_of(state: str, before_us, after_us):
    return {state: [(np.array(before_us, np.float64), np.array(after_us, np.float64))]}


def test_a_night_whose_switching_frames_are_all_dubious_has_its_picture():
    around = np.tile([-200.0, 200.0], 500)
    found = _folded(gaps_of("D", around, -around))
    assert found.reach_us > 200
    assert sum(found.cells["D"].values()) == 1000
    assert "<svg" in pictures.fold(Timings(fold=found), "dubious")


@pytest.mark.parametrize(
    ("before_us", "after_us"), [([0.0, 1000.0], [1000.0, 0.0]), ([0.0], [0.0]), ([0.0], [9000.0]), ([-5.0], [5.0])]
)
def test_gaps_always_fill_a_cell(before_us, after_us):
    assert _folded(gaps_of("D", before_us, after_us)).cells["D"]


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), 1.7e308, -1.7e308])
def test_a_number_beyond_all_others_is_text(value):
    assert _settings({"RET-ANG1": value}, ["RET-ANG1"]) == {"RET-ANG1": str(value)}
    instrument = Instrument("X", (Stream("a", 1),), rule_keywords=("RET-ANG1",))
    told = [_settings({"RET-ANG1": each}, ["RET-ANG1"]) for each in (1.0, value, 2.5, -value)]
    files = [taken(60 * n, 1, **settings) for n, settings in enumerate(told)]
    assert "<svg" in pictures.timeline([], lanes(files, instrument), (0, 300_000_000), "angles")


def test_cameras_that_exchange_their_filters_have_each_a_lane():
    instrument = Instrument("X", (Stream("a", 1), Stream("b", 2)), rule_keywords=("FILTER02",))
    pair = ("Halpha", "Ha-cont")
    files = [
        taken(60 * n + camera / 100, camera, OBJECT="one", FILTER02=pair[(n >= 3) ^ (camera == 2)])
        for n in range(6)
        for camera in (1, 2)
    ]
    found = {lane.title: lane.values for lane in lanes(files, instrument)}
    assert found["Filter 2, cam 1"] == pair
    assert found["Filter 2, cam 2"] == pair[::-1]
    assert found["Target"] == ("one",)


def test_cameras_that_change_together_share_a_lane():
    instrument = Instrument("X", (Stream("a", 1), Stream("b", 2)), rule_keywords=("RET-ANG1",))
    files = [
        taken(30 * n + camera / 100, camera, **{"RET-ANG1": 22.5 * (n % 4)}) for n in range(8) for camera in (1, 2)
    ]
    (lane,) = (lane for lane in lanes(files, instrument) if lane.keyword == "RET-ANG1")
    assert len(lane.stretches) == 8


def test_a_sound_night_that_is_not_yet_synced_is_under_way(sqlite_world):
    sqlite_world.simulate(scale=0.05, scenario=SOUND)
    sqlite_world.machine().scan(sqlite_world.night())
    found = collect(sqlite_world)
    assert found.level == "under way", found.looks
    assert found.verdict.startswith("Under way: ")
    assert "not yet judged" in found.looks[0]


def test_what_needs_a_look_is_counted_before_a_night_is_judged(sqlite_world):
    sqlite_world.simulate(scale=0.05)
    sqlite_world.machine().scan(sqlite_world.night())
    found = collect(sqlite_world)
    assert not found.summary.is_judged
    assert found.level == "look"
    assert found.verdict.startswith(f"{len(found.looks) - 1} thing")


def test_a_camera_alone_has_no_dropped_triggers(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("onecamera",))
    sqlite_world.bring()
    found = collect(sqlite_world)
    alone = replace(found, summary=replace(found.summary, cameras=(1,)))
    assert "two cameras" in Words(alone).dropped


def test_no_text_is_too_long_for_the_index(sqlite_world, tmp_path):
    sqlite_world.simulate(scale=0.02, scenario=("onecamera",))
    sqlite_world.bring()
    night = collect(sqlite_world)
    long = "\N{TELESCOPE}&\"'`<" * 2000
    target = replace(night.summary.targets[0], name=long)
    night = replace(night, level="look", looks=(long,), summary=replace(night.summary, targets=(target,) * 5))
    name = "\N{BULLET}" * 80 + ".html"
    write_night(sqlite_world.config, night, tmp_path / name)
    (line,) = read_lines(tmp_path)
    assert line == line_of(night, name)
    assert line.verdict.endswith("…")
    assert render_index([line], "X").count("…") >= 2


def test_a_night_that_was_left_out_is_told_so_in_the_index(sqlite_world):
    sqlite_world.simulate(scale=0.05)
    sqlite_world.machine().scan(sqlite_world.night())
    assert collect(sqlite_world).looks
    change(sqlite_world, "UPDATE night SET excluded_reason = 'dome tests'")
    found = collect(sqlite_world)
    assert line_of(found, "x.html").verdict == found.verdict == "Left out of the archive: dome tests"


@pytest.mark.parametrize("days", [1, 9, 400, 20_000])
def test_times_on_an_axis_are_few_however_long_it_is(days):
    first_us = 1_000_000_000_000_000
    ticks = list(TimeAxis(first_us, first_us + days * 86_400_000_000, 50, 350).ticks())
    assert 1 <= len(ticks) <= 6

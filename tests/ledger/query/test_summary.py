"""The summary of a night says what is true of it, minute by minute and target by target."""

import os
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from ledger.cli._summary_tables import minute_table, target_table
from ledger.query.counts import Minute, Piece, minutes_of, targets_of
from ledger.query.summary import Summary
from ledger.query.verdict import verdict
from ledger.simulation.night import Truth
from tests.ledger.query.summaries import MINUTE_US, SOUND, change, frames_of, in_words, summarise
from tests.world import DATE


def true_classes(truth: Truth) -> Counter[str]:
    """Return frames by class, states aside; a camera is solo if not triggered, or if the other took nothing."""
    expected: Counter[str] = Counter()
    for camera, other in ((1, 2), (2, 1)):
        mine, others = truth.frames[camera]["trigger"], truth.frames[other]["trigger"]
        paired = np.isin(mine, others) & (mine >= 0)
        solo = (mine < 0) | (not len(others))
        expected["paired"] += int(paired.sum())
        expected[f"solo_{camera}"] += int(solo.sum())
        expected[f"unpaired_{camera}"] += int((~paired & ~solo).sum())
    return +expected


@pytest.mark.parametrize("scenario", [("pdi",), ("slow",), ("untriggered",), ("onecamera",), ("slow", "pdi")])
def test_frames_by_class_are_those_of_the_truth(sqlite_world, scenario):
    truth = sqlite_world.simulate(scale=0.3, scenario=scenario)
    sqlite_world.bring(to="synced")
    frames = frames_of(summarise(sqlite_world))
    told = Counter({name: n for name, n in frames.items() if not name.startswith("paired")})
    told["paired"] = sum(n for name, n in frames.items() if name.startswith("paired"))
    assert +told == true_classes(truth)


def test_states_of_paired_frames_are_those_of_the_truth(world):
    truth = world.simulate(scale=0.3, scenario=("pdi", "slow"))
    world.bring(to="synced")
    frames = frames_of(summarise(world))
    common = np.intersect1d(truth.frames[1]["trigger"], truth.frames[2]["trigger"])
    table = truth.frames[1][np.isin(truth.frames[1]["trigger"], common)]
    state = dict(zip(table["trigger"].tolist(), table["flc"].tolist(), strict=True))
    # a whole cycle is an A and the B that is triggered next; A is +1 (FRAME)
    whole = [t for t in state if state[t] == 1 and state.get(t + 1) == -1]
    assert frames["paired_A"] == frames["paired_B"] == 2 * len(whole)
    assert frames["paired_D"] == 2 * (sum(s != 0 for s in state.values()) - 2 * len(whole)) > 0
    assert frames["paired_none"] == 2 * sum(s == 0 for s in state.values()) > 0


def test_minutes_targets_and_exposure_times_are_those_of_the_truth(world):
    truth = world.simulate(scale=0.05, scenario=SOUND)
    world.bring(to="synced")
    found = summarise(world)
    expected: Counter[int] = Counter()
    for camera in (1, 2):
        times, n = np.unique(truth.frames[camera]["time_us"] // MINUTE_US, return_counts=True)
        expected += Counter(dict(zip(times.tolist(), n.tolist(), strict=True)))
    assert {m.at_us // MINUTE_US: m.frames.total() for m in found.minutes} == dict(expected)
    assert len(expected) > 1
    assert [m.at_us for m in found.minutes] == sorted(m.at_us for m in found.minutes)
    for minute in found.minutes:
        assert (minute.targets, minute.exposures_us) == ({"AB Aur"}, {18_000})
    columns, rows = minute_table(found)
    assert columns == ("HST", "UT", "target", "exposure", "paired, no FLC")
    assert rows[0][:4] == ("20:00", "06:00", "AB Aur", "18 ms")


def test_a_sound_night_has_no_marks(sqlite_world):
    sqlite_world.simulate(scale=0.05, scenario=SOUND)
    sqlite_world.bring(to="synced")
    found = summarise(sqlite_world)
    assert not any(minute.marks() for minute in found.minutes)
    assert in_words(found, sqlite_world).endswith("\nNothing unexpected in 1 target.")


def test_marks_are_where_frames_were_dropped_and_nowhere_else(sqlite_world):
    truth = sqlite_world.simulate(scale=0.3, scenario=("slow", "slow", "slow", "pdi", "slow", "slow", "slow"))
    sqlite_world.bring(to="synced")
    found = summarise(sqlite_world)
    dropped = {int(t) for c in (1, 2) for t in truth.frames[c]["time_us"][truth.frames[c]["flc"] != 0] // MINUTE_US}
    assert {m.at_us // MINUTE_US: set(m.marks()) for m in found.minutes} == {
        m.at_us // MINUTE_US: {"D", "unpaired"} if m.at_us // MINUTE_US in dropped else set() for m in found.minutes
    }
    assert len(found.minutes) > len(dropped) == 1
    words = in_words(found, sqlite_world)
    assert "  D: over 1%" in words
    assert "U_TRIGJT" in words
    assert "  unpaired: over 1%" in words
    assert "  quarantined: " not in words


@pytest.mark.parametrize(("n", "is_marked"), [(10, False), (11, True)])
def test_marks_begin_above_one_per_cent(n, is_marked):
    for kind, flc, rest, mark in (
        ("paired_D", "D", "paired_A", "D"),
        ("solo_1", "D", "solo_1", "D"),
        ("unpaired_2", None, "paired_none", "unpaired"),
        ("unpaired_2", "A", "paired_B", "unpaired"),
    ):
        minute = Minute(0)
        minute.add(Piece(0, rest, 1000 - n, None if rest == "paired_none" else rest[-1].replace("1", "A")))
        minute.add(Piece(0, kind, n, flc))
        assert set(minute.marks()) == ({mark} if is_marked else set()), kind


def test_what_is_alone_on_purpose_is_not_marked():
    minute = Minute(0)
    for kind in ("solo_1", "solo_2", "not_synced", "paired_none"):
        minute.add(Piece(0, kind, 100))
    minute.add(Piece(0, "not_paired_1", 100, "D"))
    assert minute.marks() == {}


@pytest.mark.parametrize("scenario", [("pdi",), ("pdi", "onecamera", "bad"), ("trains",)])
def test_dubious_frames_of_all_classes_are_those_that_advance_remarks(sqlite_world, scenario):
    sqlite_world.simulate(scale=0.3, scenario=scenario)
    remarked = sqlite_world.advance(to="synced").remarks["dubious frames"]
    found = summarise(sqlite_world)
    dubious: Counter[str] = Counter()
    for minute in found.minutes:
        dubious.update(minute.dubious)
    assert sum(dubious.values()) == remarked > 0
    assert dict(dubious) == found.balance.dubious
    assert dubious["paired_D"] == frames_of(found)["paired_D"]
    words = in_words(found, sqlite_world)
    assert f" D in all: {remarked}\n" in words
    for name, n in dubious.items():
        if name != "paired_D":
            assert f" {name.replace('_', ' ')}: {frames_of(found)[name]}, of these D {n}\n" in words
    told = found.as_json()
    assert sum(sum(minute["dubious"].values()) for minute in told["minutes"]) == remarked
    assert sum(sum(target["dubious"].values()) for target in told["targets"]) == remarked


@pytest.fixture
def sound(sqlite_world):
    """A summary of a night that holds."""
    sqlite_world.simulate(scale=0.05, scenario=("slow",))
    sqlite_world.bring(to="synced")
    return summarise(sqlite_world)


def with_pieces(found: Summary, pieces: list[Piece]) -> Summary:
    return replace(found, minutes=minutes_of(pieces), targets=targets_of(pieces))


def pieces_of(target: str, at_us: int, **frames: int) -> list[Piece]:
    return [
        Piece(at_us, kind, n, kind[-1] if kind[-1] in "ABD" else None, ((target, 1000),)) for kind, n in frames.items()
    ]


def test_a_target_that_is_all_dubious_is_seen_among_others_of_its_minute(sound):
    pieces = pieces_of("Good", 0, paired_A=5000, paired_B=5000) + pieces_of("Poor", 1000, paired_D=40)
    found = with_pieces(sound, pieces)
    assert [minute.marks() for minute in found.minutes] == [{}]
    assert verdict(found) == "1 of 2 targets needs a look: Poor (D 100.0%)"
    columns, rows = target_table(found)
    assert columns == ("target", "exposure", "frames", "paired A", "paired B", "paired D", "all D", "look at")
    assert rows == [
        ("Good", "1 ms", "10000", "50.0%", "50.0%", "", "", ""),
        ("Poor", "1 ms", "40", "", "", "100%", "100%", "D 100.0%"),
    ]


def test_a_bad_minute_among_many_of_its_target_is_in_the_verdict(sound):
    pieces = pieces_of("Star", 0, paired_A=99_000, paired_B=99_000)
    pieces += pieces_of("Star", MINUTE_US, paired_A=50, paired_D=50)
    found = with_pieces(sound, pieces)
    assert [target.marks() for target in found.targets] == [{}]
    assert verdict(found) == "1 minute needs a look: 00:01 UT"
    pieces += pieces_of("Poor", 5 * MINUTE_US, paired_D=40)
    looks = "1 of 2 targets needs a look: Poor (D 100.0%); 1 minute of other targets needs a look: 00:01 UT"
    assert verdict(with_pieces(sound, pieces)) == looks
    unknown = Piece(MINUTE_US, "quarantined", 0)
    assert verdict(with_pieces(sound, [*pieces, unknown])) == f"{looks}; files of unknown target: quarantined 1"


def test_of_many_targets_those_with_marks_are_listed(sound):
    pieces = [piece for n in range(30) for piece in pieces_of(f"T{n:02}", n * MINUTE_US, paired_none=100)]
    pieces += pieces_of("T29", 29 * MINUTE_US, unpaired_1=100)
    found = with_pieces(sound, pieces)
    _, rows = target_table(found)
    assert [row[0] for row in rows] == [*(f"T{n:02}" for n in range(19)), "T29"]
    assert len(found.as_json()["targets"]) == 30
    assert verdict(found) == "1 of 30 targets needs a look: T29 (unpaired 50.0%)"


def test_files_in_quarantine_are_told_and_marked(world):
    truth = world.simulate(scale=0.05, scenario=("slow", "slow", "slow", "slow", "bad"))
    faults = {file.path for file in truth.files if file.fault}
    world.bring(to="synced")
    found = summarise(world)
    assert {file.name for file in found.quarantine} == faults
    assert all(file.frames is None and file.reason for file in found.quarantine)
    assert (found.balance.quarantined_files, found.balance.unknown_files) == (11, 11)
    *sound, last = found.minutes
    assert last.at_us is not None
    assert last.marks()["quarantined"] == "quarantined 11"
    assert not any(minute.marks() for minute in sound)
    words = in_words(found, world)
    assert "11 raw files, 11 of them of unknown length" in words
    assert (
        "The sum holds: every frame is accounted for, except those of 11 files in quarantine of unknown length.\n"
        in words
    )
    assert found.balance.holds
    assert not found.as_json()["balance"]["is_complete"]
    assert verdict(found).endswith("files of unknown target: quarantined 11")
    assert "1 of 2 targets needs a look: HD141569A (unpaired" in words
    for file in found.quarantine:
        assert f"{file.name}: {file.reason}" in words


def test_a_file_in_quarantine_that_was_written_at_another_time_has_no_minute(sqlite_world):
    sqlite_world.simulate(scale=0.05, scenario=("slow", "slow"))
    cube = min((sqlite_world.folder / "archive" / DATE / "vcam1").glob("*.fits"))
    cube.with_suffix(".txt").unlink()
    os.utime(cube, ns=(0, 0))
    sqlite_world.machine().scan(sqlite_world.night())
    found = summarise(sqlite_world)
    assert found.minutes[-1].at_us is None
    assert found.minutes[-1].quarantined_files == 1
    _, rows = minute_table(found)
    assert rows[-1][:3] == ("?", "?", "?")
    assert "  ?: unknown" in in_words(found, sqlite_world)
    assert found.as_json()["minutes"][-1]["ut"] is None


def test_known_frames_in_quarantine_are_counted(sqlite_world):
    sqlite_world.simulate(scale=0.05, scenario=("slow", "onecamera"))
    sqlite_world.machine().scan(sqlite_world.night())
    put_out = "UPDATE file SET quarantine_reason = 'by hand' WHERE id = (SELECT MIN(id) FROM file WHERE kind = 'raw')"
    change(sqlite_world, put_out)
    ((n,),) = sqlite_world.query("SELECT n_frames FROM file WHERE quarantine_reason IS NOT NULL")
    assert sqlite_world.advance(to="synced").succeeded
    balance = summarise(sqlite_world).balance
    assert (balance.quarantined, balance.quarantined_files, balance.unknown_files) == (n, 1, 0)
    assert balance.holds
    assert frames_of(summarise(sqlite_world))["quarantined"] == n


def test_a_product_in_quarantine_is_told(sqlite_world):
    sqlite_world.simulate(scale=0.05, scenario=("slow",))
    sqlite_world.bring(to="synced")
    before = summarise(sqlite_world)
    change(sqlite_world, "UPDATE file SET quarantine_reason = 'bad' WHERE id = (SELECT MAX(id) FROM file)")
    ((name, n),) = sqlite_world.query("SELECT name, n_frames FROM file WHERE quarantine_reason IS NOT NULL")
    found = summarise(sqlite_world)
    assert found.balance.holds
    assert found.balance.in_products["quarantined"] == n
    assert frames_of(found)["paired_none"] == frames_of(before)["paired_none"] - n
    assert [(file.name, file.frames) for file in found.quarantine] == [(name, n)]
    assert [set(m.marks()) for m in found.minutes] == [{"quarantined"}]

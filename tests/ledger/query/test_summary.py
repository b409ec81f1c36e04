"""The summary of a night against the truth of simulated ones: frames by minute and class, marks, conservation."""

import json
import os
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import event, text

from ledger.cli.summary import after_tables, before_tables, minute_table, narrow, target_table, verdict
from ledger.db.store import Store
from ledger.errors import BadInput
from ledger.night import record
from ledger.query import summary as summaries
from ledger.query.counts import Minute, Piece, classes_of, minutes_of, targets_of
from ledger.query.summary import Summary
from ledger.simulation.night import Truth
from tests.world import DATE, World

MINUTE_US = 60_000_000
#: A night without anything unexpected: triggered, without FLC, and long enough for several minutes.
SOUND = ("slow", "slow", "slow", "slow")


def summarise(world: World, *, pipeline: str = "archive") -> Summary:
    folder = world.folder / pipeline / DATE
    night = summaries.find(world.store(), world.config, folder=folder)
    return summaries.summarise(world.store(), world.config, night)


def frames_of(found: Summary) -> Counter[str]:
    return sum((minute.frames for minute in found.minutes), Counter())


def in_words(found: Summary, world: World) -> str:
    lines = [*before_tables(found), *after_tables(found, world.config.instrument.cards.dither_us)]
    return "\n".join(lines)


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


# frames by class


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


# minutes


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


# states and targets


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


def with_pieces(found: Summary, pieces: list[Piece]) -> Summary:
    return replace(found, minutes=minutes_of(pieces), targets=targets_of(pieces))


@pytest.fixture
def sound(sqlite_world):
    """A summary of a night that holds."""
    sqlite_world.simulate(scale=0.05, scenario=("slow",))
    sqlite_world.bring(to="synced")
    return summarise(sqlite_world)


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


# quarantine


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


# conservation


def change(world: World, sql: str) -> None:
    """Write around the code, as a bug or a person would."""
    store = world.store()
    with store.write() as session:
        session.connection().exec_driver_sql(sql)


def test_the_sum_of_a_whole_night_holds_in_every_state(world):
    truth = world.simulate(scale=0.05)
    n_files = len(truth.files)
    sound = sum(file.n_frames for file in truth.files if not file.fault)
    found = summarise(world)
    assert (found.minutes, found.unregistered, found.balance.raw_files) == ((), n_files, 0)
    assert found.balance.holds
    world.machine().scan(world.night())
    found = summarise(world)
    assert (found.unregistered, found.balance.raw_files) == (0, n_files)
    assert (found.balance.not_synced, found.balance.not_synced_files) == (sound, n_files - 11)
    assert set(+frames_of(found)) == {"not_synced"}
    waiting = f"not yet judged: {sound} frames are not synced; next: ledger advance --date {DATE}; files of unknown"
    assert verdict(found).startswith(waiting)
    assert not found.as_json()["is_judged"]
    assert {"AB Aur", "DARK", "HD141569A", "HD 34700"} == set().union(*(m.names for m in found.minutes))
    assert {"AB Aur", "DARK", "HD141569A", "HD 34700", None} == {target.name for target in found.targets}
    told = []
    for state in ("synced", "compressed", "manifested"):
        assert world.advance(to=state).succeeded
        found = summarise(world)
        assert found.balance.holds
        assert (sum(found.balance.in_products.values()), found.balance.not_synced) == (sound, 0)
        assert found.balance.frames == sound
        told.append(found)
    assert told[0] == told[1] == told[2]
    assert told[0].balance.in_products == dict(+frames_of(told[0]))
    assert sum((target.frames for target in told[0].targets), Counter()) == frames_of(told[0])
    assert told[0].is_judged
    assert world.rollback().succeeded
    assert summarise(world).balance.not_synced == sound
    assert verdict(summarise(world)).startswith(waiting)


def test_lost_frames_are_in_the_sum_marked_and_listed(sqlite_world):
    sqlite_world.simulate(scale=0.05, scenario=SOUND)
    sqlite_world.bring(to="synced")
    before = summarise(sqlite_world).balance
    first = "WHERE id = (SELECT MIN(id) FROM file WHERE kind = 'raw')"
    change(sqlite_world, f"UPDATE file SET n_frames = n_frames + 5, lost_frames = 5 {first}")
    ((name, n, at_us),) = sqlite_world.query(f"SELECT folder || '/' || name, n_frames, last_us FROM file {first}")
    found = summarise(sqlite_world)
    assert (found.balance.lost, found.balance.lost_files, found.balance.frames) == (5, 1, before.frames + 5)
    assert found.balance.holds
    minute_us = at_us // MINUTE_US * MINUTE_US
    assert {m.at_us for m in found.minutes if m.marks()} == {minute_us}
    assert [m.marks() for m in found.minutes if m.at_us == minute_us] == [{"lost": "lost 5"}]
    words = in_words(found, sqlite_world)
    assert "5 lost: 1 salvaged raw file\n" in words
    assert f"salvaged: 1 raw file\n  {name}: 5 of {n} frames lost\n" in words
    assert "  lost: frames of raw files that were cut off" in words
    assert words.endswith("\n1 of 1 target needs a look: AB Aur (lost 5)")
    assert found.as_json()["salvaged"] == [{"name": name, "frames": n, "lost": 5}]


def test_the_frames_that_salvage_loses_are_told(sqlite_world):
    sqlite_world.data["salvage"] = True
    sqlite_world.simulate(scale=0.05, scenario=("slow", "bad"))
    sqlite_world.bring(to="synced")
    found = summarise(sqlite_world)
    lost = dict(sqlite_world.query("SELECT folder || '/' || name, lost_frames FROM file"))
    assert {file.name: file.lost for file in found.salvaged} == {name: n for name, n in lost.items() if n}
    assert len(found.salvaged) >= 2
    assert frames_of(found)["lost"] == found.balance.lost == sum(lost.values())
    assert found.balance.holds


def test_a_sum_that_does_not_hold_is_said_and_fails(sqlite_world):
    sqlite_world.simulate(scale=0.05, scenario=("slow",))
    sqlite_world.bring(to="synced")
    change(sqlite_world, "UPDATE file SET n_frames = n_frames + 3 WHERE id = (SELECT MIN(id) FROM file)")
    ((name,),) = sqlite_world.query("SELECT folder || '/' || name FROM file WHERE kind = 'raw' ORDER BY id LIMIT 1")
    done = sqlite_world.run("summary", "--date", DATE)
    assert done.returncode == 1
    assert f"THE SUM DOES NOT HOLD: 3 frames are nowhere; astray: {name}; run `ledger audit`" in done.stdout
    done = sqlite_world.run("summary", "--date", DATE, "--json")
    assert done.returncode == 1
    balance = json.loads(done.stdout)["balance"]
    assert (balance["holds"], balance["frames"] - balance["accounted"]) == (False, 3)


def test_errors_that_cancel_out_are_found(sqlite_world):
    sqlite_world.simulate(scale=0.05, scenario=("slow",))
    sqlite_world.bring(to="synced")
    change(sqlite_world, "UPDATE file SET n_frames = n_frames + 3 WHERE id = (SELECT MIN(id) FROM file)")
    change(sqlite_world, "UPDATE file SET n_frames = n_frames - 3 WHERE id = (SELECT MIN(id) + 1 FROM file)")
    balance = summarise(sqlite_world).balance
    assert balance.frames == balance.accounted
    assert len(balance.astray) == 2
    assert not balance.holds


def test_a_commit_between_two_statements_of_the_summary_is_not_seen(world):
    world.simulate(scale=0.05, scenario=("slow",))
    world.bring(to="synced")
    before = summarise(world)
    other = Store(world.url)
    waiting = ["UPDATE file SET n_frames = n_frames + 3 WHERE kind = 'raw'"]

    def cut_in(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "FROM lineage" in statement and waiting:
            with other.write() as session:
                session.execute(text(waiting.pop()))

    event.listen(world.store().engine, "after_cursor_execute", cut_in)
    assert summarise(world) == before
    assert waiting == []
    assert not summarise(world).balance.holds
    other.close()


# which night


def test_the_engineering_pipeline_and_a_date_in_both_roots(sqlite_world):
    sqlite_world.simulate(scale=0.05, scenario=("untriggered",), pipeline="engineering")
    sqlite_world.bring()
    done = sqlite_world.run("summary", "--date", "2026-01-02")
    assert done.returncode == 0
    assert done.stdout.startswith(f"night {DATE} (engineering)\n")
    assert done.stderr == ""
    sqlite_world.simulate(scale=0.05, scenario=("slow",))
    done = sqlite_world.run("summary", "--date", DATE)
    assert done.stdout.startswith(f"night {DATE} (archive)\n")
    assert "archive is meant; for another give its folder" in done.stderr
    done = sqlite_world.run("summary", str(sqlite_world.folder / "engineering" / DATE), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["pipeline"] == "engineering"


@pytest.mark.parametrize("date", ["20260109", "2026-13-01", "yesterday"])
def test_a_night_that_is_not_there_is_refused_as_by_other_commands(sqlite_world, date):
    done, other = (sqlite_world.run(command, "--date", date) for command in ("summary", "advance"))
    assert (done.returncode, done.stdout, done.stderr) == (other.returncode, other.stdout, other.stderr)
    assert done.returncode == 2


def test_one_night_must_be_named(sqlite_world):
    assert "expected one night" in sqlite_world.run("summary").stderr
    with pytest.raises(BadInput, match="expected one night"):
        summaries.find(sqlite_world.store(), sqlite_world.config, date=DATE, folder=Path(DATE))


def test_a_night_on_disk_an_empty_one_and_one_that_has_left_the_disk(sqlite_world):
    sqlite_world.simulate(scale=0.05, scenario=("slow",))
    done = sqlite_world.run("summary", "--date", DATE)
    assert done.returncode == 0
    assert f"raw files on disk, not registered and not counted here: run `ledger scan --date {DATE}`" in done.stdout
    (sqlite_world.folder / "archive/20260103").mkdir()
    done = sqlite_world.run("summary", "--date", "20260103")
    assert (done.returncode, done.stdout) == (0, "night 20260103 (archive)\nno raw files, on disk or in the ledger\n")
    assert sqlite_world.advance(to="synced").succeeded
    shown = sqlite_world.run("summary", "--date", DATE).stdout
    shutil.rmtree(sqlite_world.folder / "archive" / DATE)
    done = sqlite_world.run("summary", "--date", DATE)
    assert (done.returncode, done.stdout) == (0, shown)


def test_an_excluded_night_says_so(sqlite_world):
    sqlite_world.simulate(scale=0.05, scenario=("slow",))
    record.exclude(sqlite_world.store(), "archive", sqlite_world.folder / "archive", DATE, "dome tests")
    assert f"night {DATE} (archive), excluded: dome tests" in in_words(summarise(sqlite_world), sqlite_world)


def test_a_target_is_where_the_configuration_says(sqlite_world):
    sqlite_world.data["instrument"]["cards"]["target"] = "DATA-TYP"
    sqlite_world.simulate(scale=0.05, scenario=("untriggered",))
    sqlite_world.machine().scan(sqlite_world.night())
    assert {target for minute in summarise(sqlite_world).minutes for target in minute.targets} == {"DARK"}


# words and JSON


def test_json_has_the_same_keys_in_every_minute(sqlite_world):
    sqlite_world.simulate(scale=0.05)
    sqlite_world.bring(to="synced")
    told = json.loads(sqlite_world.run("summary", "--date", DATE, "--json").stdout)
    keys = "pipeline date excluded_reason unregistered is_judged minutes targets balance quarantine salvaged"
    keys += " outside unexpected"
    assert set(told) == set(keys.split())
    names = set(classes_of((1, 2)))
    assert {
        "paired_A",
        "paired_none",
        "unpaired_1",
        "solo_2",
        "not_paired_1",
        "not_synced",
        "quarantined",
        "lost",
    } < names
    fractions = {"dubious_fraction", "solo_dubious_fraction", "unpaired_fraction"}
    keys = {"exposures_us", "frames", "dubious", "quarantined_files", "marks", *fractions}
    for minute in told["minutes"]:
        assert set(minute) == {"ut", "hst", "targets", *keys}
        assert set(minute["frames"]) == set(minute["dubious"]) == names
    for target in told["targets"]:
        assert set(target) == {"target", *keys}
    assert told["minutes"][0]["ut"] == "2026-01-02T06:00"
    assert told["minutes"][0]["hst"] == "2026-01-01T20:00"
    sums: Counter[str] = Counter()
    for minute in told["minutes"]:
        sums.update(minute["frames"])
    assert dict(+sums) == told["balance"]["in_products"]


def test_the_table_has_a_row_a_minute_and_the_equation_follows(sqlite_world):
    sqlite_world.simulate(scale=0.05, scenario=("pdi", "untriggered"))
    sqlite_world.bring(to="synced")
    done = sqlite_world.run("summary", "--date", DATE)
    assert done.returncode == 0
    found = summarise(sqlite_world)
    lines = done.stdout.splitlines()
    columns = lines[1].split("\t")
    assert columns[:4] == ["HST", "UT", "target", "exposure"]
    assert columns[-1] == "look at"
    assert {"paired A", "paired B", "paired D"} < set(columns)
    assert "paired, no FLC" not in columns
    assert all(len(line.split("\t")) == len(columns) for line in lines[1 : 2 + len(found.minutes)])
    rest = lines[3 + len(found.minutes) :]
    columns = rest[0].split("\t")
    assert columns[:4] == ["target", "exposure", "frames", "paired A"]
    assert [line.split("\t")[0] for line in rest[1:3]] == ["HD141569A", "DARK"]
    assert all(len(line.split("\t")) == len(columns) for line in rest[:3])
    assert lines[-2] == "The sum holds: every frame is accounted for."
    assert lines[-1].startswith("1 of 2 targets needs a look: HD141569A (D ")
    begin = next(place for place, line in enumerate(lines) if line.startswith("= "))
    terms = [lines[begin - 1], *(line for line in lines[begin:] if line[0] in "=+")]
    numbers = [int(line.lstrip("=+ ").split()[0]) for line in terms]
    assert numbers[0] == sum(numbers[1:]) == found.balance.frames


def test_times_on_other_days_say_which(sqlite_world):
    sqlite_world.simulate(scale=0.05, scenario=("slow",))
    sqlite_world.machine().scan(sqlite_world.night())
    day_us = 86_400_000_000
    change(sqlite_world, f"UPDATE file SET first_us = first_us + {day_us}, last_us = last_us + {day_us}")
    _, rows = minute_table(summarise(sqlite_world))
    assert rows[0][:2] == ("20:00", "2026-01-03 06:00")


def test_the_table_is_drawn_on_a_terminal(sqlite_world):
    sqlite_world.simulate(scale=0.05, scenario=("slow",))
    sqlite_world.bring(to="synced")
    colourless = {"COLUMNS": "130", "NO_COLOR": "1", "TERM": "dumb"}
    status, shown = sqlite_world.on_terminal("", "summary", "--date", DATE, environment=colourless)
    assert status == 0
    above, header, row = shown.splitlines()[1:4]
    assert above.split() == ["paired"]
    assert header.split()[:4] == ["HST", "UT", "target", "exposure"]
    assert header.rstrip().endswith("no FLC")
    assert len(header.rstrip()) == len(row.rstrip()), "numbers are flush right"


def width_of(table: tuple[tuple[str, ...], list[tuple[str, ...]]]) -> int:
    columns, rows = table
    cells = zip(columns, *rows, strict=True)
    return sum(2 + max(len(line) for cell in column for line in cell.split("\n")) for column in cells) - 2


def test_the_tables_of_a_night_of_all_kinds_keep_to_120_columns(sqlite_world):
    sqlite_world.simulate(scale=0.3)
    sqlite_world.bring(to="synced")
    found = summarise(sqlite_world)
    wide = minute_table(found)
    assert width_of(wide) > 120
    assert "20:00 06:00" in " ".join(wide[1][0])
    columns, rows = narrow(wide, 120)
    assert width_of((columns, rows)) <= 120
    assert {"paired\nA", "paired\nno FLC", "unpaired\n1", "solo\n2"} < set(columns)
    # what was counted is all there
    places = [place for place, name in enumerate(wide[0]) if name not in ("target", "exposure", "look at")]
    assert [[row[place] for place in places] for row in rows] == [[row[place] for place in places] for row in wide[1]]
    assert width_of(narrow(target_table(found), 120)) <= 120


def test_one_is_one_and_not_several(sqlite_world):
    sqlite_world.simulate(scale=0.05, scenario=("slow",))
    sqlite_world.machine().scan(sqlite_world.night())
    change(sqlite_world, "DELETE FROM file WHERE id = (SELECT MAX(id) FROM file)")
    found = summarise(sqlite_world)
    assert "\n1 more raw file on disk, not registered" in in_words(found, sqlite_world)
    frames = found.balance.not_synced
    missing = f"{frames} frames are not synced, 1 raw file is not registered"
    assert verdict(found) == f"not yet judged: {missing}; next: ledger advance --date {DATE}"
    change(sqlite_world, "UPDATE file SET n_frames = 0")
    change(sqlite_world, "UPDATE file SET n_frames = 1 WHERE id = (SELECT MIN(id) FROM file)")
    words = in_words(summarise(sqlite_world), sqlite_world)
    assert "\n  1 frame in " in words
    assert "not yet judged: 1 frame is not synced, " in words

"""What a summary adds up is all of the night, and it is the night that was asked for."""

import json
import shutil
from collections import Counter

import pytest
from sqlalchemy import event, text

from ledger.db.store import Store
from ledger.night import record
from ledger.query.verdict import verdict
from tests.inside import call
from tests.ledger.query.summaries import MINUTE_US, SOUND, change, frames_of, in_words, summarise
from tests.world import DATE


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
    done = call(sqlite_world, "summary", "--date", DATE)
    assert done.returncode == 1
    assert f"THE SUM DOES NOT HOLD: 3 frames are nowhere; astray: {name}; run `ledger audit`" in done.stdout
    done = call(sqlite_world, "summary", "--date", DATE, "--json")
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


def test_the_engineering_pipeline_and_a_date_in_both_roots(sqlite_world):
    sqlite_world.simulate(scale=0.05, scenario=("untriggered",), pipeline="engineering")
    sqlite_world.bring()
    done = call(sqlite_world, "summary", "--date", "2026-01-02")
    assert done.returncode == 0
    assert done.stdout.startswith(f"night {DATE} (engineering)\n")
    assert done.stderr == ""
    sqlite_world.simulate(scale=0.05, scenario=("slow",))
    done = call(sqlite_world, "summary", "--date", DATE)
    assert done.stdout.startswith(f"night {DATE} (archive)\n")
    assert "archive is meant; for another give its folder" in done.stderr
    done = call(sqlite_world, "summary", str(sqlite_world.folder / "engineering" / DATE), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["pipeline"] == "engineering"


@pytest.mark.parametrize("date", ["20260109", "2026-13-01", "yesterday"])
def test_a_night_that_is_not_there_is_refused_as_by_other_commands(sqlite_world, date):
    done, other = (call(sqlite_world, command, "--date", date) for command in ("summary", "advance"))
    assert (done.returncode, done.stdout, done.stderr) == (other.returncode, other.stdout, other.stderr)
    assert done.returncode == 2


def test_a_night_must_be_named(sqlite_world):
    assert "no night is named" in call(sqlite_world, "summary").stderr


def test_a_night_on_disk_an_empty_one_and_one_that_has_left_the_disk(sqlite_world):
    sqlite_world.simulate(scale=0.05, scenario=("slow",))
    done = call(sqlite_world, "summary", "--date", DATE)
    assert done.returncode == 0
    assert f"raw files on disk, not registered and not counted here: run `ledger scan --date {DATE}`" in done.stdout
    (sqlite_world.folder / "archive/20260103").mkdir()
    done = call(sqlite_world, "summary", "--date", "20260103")
    assert (done.returncode, done.stdout) == (0, "night 20260103 (archive)\nno raw files, on disk or in the ledger\n")
    assert sqlite_world.advance(to="synced").succeeded
    shown = call(sqlite_world, "summary", "--date", DATE).stdout
    shutil.rmtree(sqlite_world.folder / "archive" / DATE)
    done = call(sqlite_world, "summary", "--date", DATE)
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

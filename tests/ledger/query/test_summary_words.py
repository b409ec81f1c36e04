"""A summary in words, in tables and as JSON."""

import json
from collections import Counter
from dataclasses import replace

import pytest

from ledger.cli._drawing import Drawing
from ledger.cli._summary_tables import LOOK_AT, SPARE, TEXTS, minute_table, target_table
from ledger.cli._summary_words import verdict
from ledger.query.counts import classes_of
from tests.inside import call
from tests.ledger.query.summaries import change, in_words, summarise
from tests.world import DATE, entry_of


def test_json_has_the_same_keys_in_every_minute(sqlite_world):
    sqlite_world.simulate(scale=0.05)
    sqlite_world.bring(to="synced")
    told = json.loads(call(sqlite_world, "summary", "--date", DATE, "--json").stdout)
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
    done = call(sqlite_world, "summary", "--date", DATE)
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
    header, row = shown.splitlines()[1:3]
    assert header.split()[:4] == ["HST", "UT", "target", "exposure"]
    assert header.rstrip().endswith("paired, no FLC")
    assert len(header.rstrip()) == len(row.rstrip()), "numbers are flush right"


def test_the_tables_of_a_night_of_all_kinds_are_whole_at_120_columns(sqlite_world):
    sqlite_world.simulate(scale=0.3)
    sqlite_world.bring(to="synced")
    found = summarise(sqlite_world)
    for columns, rows in (minute_table(found), target_table(found)):
        drawing = Drawing(columns, rows, 120, set(columns) - TEXTS)
        assert not drawing.fits or columns[0] == "target"
        drawing.narrow((LOOK_AT,), SPARE)
        assert drawing.fits
        assert drawing.left_out == []
        body = list(drawing.body())
        assert max(map(len, [*drawing.head(), *body])) <= 120
        # what was counted is all there
        numbers = [[cell for name, cell in zip(columns, row, strict=True) if name not in TEXTS] for row in rows]
        shown = [line.split() for line in body if not line.startswith(f"  {LOOK_AT}")]
        assert len(shown) == len(rows)
        assert all(set(filter(None, counts)) <= set(line) for counts, line in zip(numbers, shown, strict=True))


def test_one_is_one_and_not_several(sqlite_world):
    sqlite_world.simulate(scale=0.05, scenario=("slow",))
    sqlite_world.machine().scan(sqlite_world.night())
    last = "id = (SELECT MAX(id) FROM file)"
    change(sqlite_world, entry_of(last, "raw", None))
    change(sqlite_world, f"DELETE FROM file WHERE {last}")
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


def test_the_legend_has_every_class_that_is_not_plain(sqlite_world):
    sqlite_world.simulate(scale=0.05)
    sqlite_world.bring(to="synced")
    found = summarise(sqlite_world)
    kinds = {name for target in found.targets for name, n in target.frames.items() if n}
    assert {"paired_none", "solo_1"} <= kinds
    said = in_words(found, sqlite_world)
    assert "\n  solo: frames of a camera that ran on its own then" in said
    assert "\n  no FLC: pairs that were taken while the FLC was not switching" in said
    assert "as a part of all frames; D and solo D of what is to be looked at are parts of" in said


@pytest.mark.parametrize(("scenario", "class_"), [("slow", "solo"), ("pdi", "no FLC")])
def test_the_legend_has_no_class_that_is_not_there(sqlite_world, scenario, class_):
    sqlite_world.simulate(scale=0.05, scenario=(scenario,))
    sqlite_world.bring(to="synced")
    assert f"\n  {class_}: " not in in_words(summarise(sqlite_world), sqlite_world)


def test_files_that_are_not_used_are_said_to_be_among_the_raw_files(sqlite_world):
    sqlite_world.simulate(scale=0.05, scenario=("pdi",))
    (first, *others) = sorted(sqlite_world.night().path.glob("vcam*/*.txt"))
    first.unlink()
    sqlite_world.advance(to="synced")
    said = in_words(summarise(sqlite_world), sqlite_world)
    assert f" in {len(others) + 1} raw files, 1 of them in quarantine\n" in said


def test_the_verdict_names_every_target_that_needs_a_look(sqlite_world):
    sqlite_world.simulate(scale=0.05, scenario=("pdi",))
    sqlite_world.bring(to="synced")
    found = summarise(sqlite_world)
    (target,) = found.targets
    target.quarantined_files = 1
    for n in (8, 25):
        several = replace(found, targets=tuple(replace(target, name=f"HD {i}") for i in range(n)))
        said = verdict(several)
        assert f"{n} of {n} targets need a look: HD 0 (" in said
        assert all(f"HD {i} (" in said for i in range(min(n, 20)))
        assert ("and 5 more: see --json" in said) is (n == 25)

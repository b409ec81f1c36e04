"""Figures for monitoring: what Prometheus reads of them is what the ledger has."""

import json
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.inside import call
from tests.world import World

DOCS = Path(__file__).parents[3] / "docs"
LATE = "20260101"


def figures(text: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels, key="pipeline".__ne__))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def world(sqlite_world: World) -> World:
    sqlite_world.simulate(scale=0.02, scenario=("pdi", "bad"))
    sqlite_world.bring()
    return sqlite_world


def test_figures_are_those_of_the_ledger(world):
    found = figures(call(world, "metrics").stdout)
    ((n_products, size), (n_quarantined,)) = (
        world.query("SELECT count(*), sum(size_bytes) FROM file WHERE kind = 'product'")[0],
        world.query("SELECT count(*) FROM file WHERE quarantine_reason IS NOT NULL")[0],
    )
    assert found["ledger_nights", "archive", "finished"] == 1
    assert found["ledger_products", "archive", "manifested"] == n_products > 0
    assert found["ledger_quarantined_files", "archive"] == n_quarantined > 0
    assert found["ledger_files_bytes", "archive", "product"] == size
    assert found["ledger_unmailed_nights", "archive"] == 1
    assert found["ledger_step_seconds", "compress"] > 0
    assert ("ledger_catch_up_start_timestamp_seconds",) not in found
    assert not any(key[0] == "ledger_standing_still" for key in found)


def test_a_mail_that_was_written_is_not_outstanding(world):
    assert call(world, "manifest", "--send").returncode == 0
    assert not any(key[0] == "ledger_unmailed_nights" for key in figures(call(world, "metrics").stdout))


def test_what_needs_a_person_is_counted(world):
    world.simulate(LATE, scale=0.02, scenario=("onecamera",))
    call(world, "catch-up")
    found = figures(call(world, "metrics").stdout)
    assert found["ledger_standing_still", "archive", "stopped"] >= 1
    assert found["ledger_catch_up_exit_status",] == 1
    assert found["ledger_oldest_unfinished_timestamp_seconds", "archive"] == 1767225600


def test_a_file_is_replaced_as_a_whole_and_nothing_is_left_beside_it(world):
    path = world.folder / "figures" / "ledger.prom"
    done = call(world, "metrics", "-o", str(path))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "cannot be written" in done.stderr
    path.parent.mkdir()
    assert call(world, "metrics", "-o", str(path)).returncode == 0
    assert figures(path.read_text())["ledger_nights", "archive", "finished"] == 1
    assert list(path.parent.iterdir()) == [path]


def test_catch_up_writes_them_when_it_ends(world):
    path = world.folder / "ledger.prom"
    world.data["metrics"] = {"file": str(path)}
    assert call(world, "catch-up").returncode == 0
    found = figures(path.read_text())
    assert found["ledger_catch_up_exit_status",] == 0
    assert found["ledger_catch_up_end_timestamp_seconds",] >= found["ledger_catch_up_start_timestamp_seconds",]
    world.data["metrics"] = {"file": str(world.folder / "nowhere" / "ledger.prom")}
    done = call(world, "catch-up")
    assert done.returncode == 0
    assert "no figures for monitoring: " in done.stderr


def test_in_json_they_are_the_same(world):
    found = json.loads(call(world, "metrics", "--json").stdout)
    assert {"name": "ledger_nights", "labels": {"pipeline": "archive", "stands": "finished"}, "value": 1.0} in found


def test_the_page_and_the_dashboard_name_figures_that_there_are_and_the_page_all(world):
    world.simulate(LATE, scale=0.02, scenario=("onecamera",))
    call(world, "catch-up")
    text = call(world, "metrics").stdout
    known = {family.name for family in text_string_to_metric_families(text)}
    page = (DOCS / "monitoring.md").read_text()
    assert set(re.findall(r"^\| `(ledger_\w+)`", page, re.MULTILINE)) == known
    assert set(re.findall(r"\bledger_\w+", page)) <= known
    dashboard = json.loads((DOCS / "grafana.json").read_text())
    asked = {name for p in dashboard["panels"] for t in p["targets"] for name in re.findall(r"ledger_\w+", t["expr"])}
    assert asked <= known
    assert len(asked) > 8

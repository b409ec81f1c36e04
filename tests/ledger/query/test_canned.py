"""A browser on the ledger: Datasette serves it as it is, with the queries of the page on tables and with facets."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from datasette.app import Datasette

from ledger.query.canned import canned
from tests.inside import call
from tests.world import World

PAGE = Path(__file__).parents[3] / "docs/tables.md"


@pytest.fixture
def night(world: World) -> World:
    """A night, in either database."""
    world.simulate(scale=0.02, scenario=("pdi", "bad"))
    world.bring()
    return world


@pytest.fixture
def served(sqlite_world: World) -> World:
    """The same in a file, which alone Datasette serves."""
    sqlite_world.simulate(scale=0.02, scenario=("pdi", "bad"))
    sqlite_world.bring()
    return sqlite_world


def asked(world: World, *paths: str) -> list[Any]:
    """Return what Datasette answers for each path; it opens the file as it does for people, never as immutable."""
    metadata = json.loads(call(world, "sql", "--datasette-metadata").stdout)

    async def ask() -> list[Any]:
        served = Datasette([str(world.store().url.database)], metadata=metadata)
        await served.invoke_startup()
        answers = [await served.client.get(path, follow_redirects=True) for path in paths]
        assert [answer.status_code for answer in answers] == [200] * len(paths), [answer.text for answer in answers]
        return [answer.json() for answer in answers]

    return asyncio.run(ask())


def test_the_queries_of_the_page_are_canned_all_of_them():
    page = PAGE.read_text().partition("## Queries")[2]
    shown = {sql.rstrip() for sql in re.findall(r"```sql\n(.*?)```", page, re.DOTALL)}
    assert {each.sql for each in canned()} == shown
    titles = " ".join(page.split())
    assert [each.name for each in canned() if each.title not in titles] == []


def test_datasette_answers_them_and_counts_by_facets(served):
    name = Path(str(served.store().url.database)).stem
    paths = [f"/{name}/{each.name}.json?_shape=array" for each in canned()]
    answers = dict(zip([each.name for each in canned()], asked(served, *paths), strict=True))
    assert {name for name, rows in answers.items() if not rows} == {
        "failed_files",
        "raw_frame_of_a_frame",
        "wrong_copies",
    }
    (found,) = asked(served, f"/{name}/observation.json?_facet=target&_extra=facet_results&_size=max")
    n = served.query("SELECT count(*) FROM file WHERE kind = 'product' AND quarantine_reason IS NULL")[0][0]
    assert len(found["rows"]) == n
    facets = found["facet_results"].get("results", found["facet_results"])
    assert sum(value["count"] for value in facets["target"]["results"]) == n


def test_frames_of_a_product_are_those_of_its_lineage(night):
    """Every frame of every product, by arithmetic on the view and by the runs on record."""
    by_view = {}
    types = {
        type(value)
        for row in night.query("SELECT first_frame, n_frames, first_raw_frame, step FROM frame_run")
        for value in row
    }
    assert types == {int}
    for product, raw, first, n, first_raw, step in night.query(
        "SELECT product, raw_file, first_frame, n_frames, first_raw_frame, step FROM frame_run"
    ):
        by_view |= {(product, first + i): (raw, first_raw + i * step) for i in range(n)}
    expected = {}
    for product, raw, runs in night.query(
        "SELECT p.name, r.name, CAST(l.runs AS TEXT) FROM lineage l JOIN file p ON p.id = l.product_id"
        " JOIN file r ON r.id = l.raw_id ORDER BY l.product_id, l.position"
    ):
        begin = sum(key[0] == product for key in expected)
        frames = [first + i * step for first, step, n in json.loads(runs) for i in range(n)]
        expected |= {(product, begin + number): (raw, frame) for number, frame in enumerate(frames)}
    assert by_view == expected
    assert len(expected) > 100


def test_an_observation_says_where_its_copy_is(night):
    rows = night.query("SELECT frame_id, target, path, host FROM observation ORDER BY frame_id")
    assert all(Path(path).is_file() and Path(path).name.startswith(frame_id) for frame_id, _, path, _ in rows)
    assert all(target for _, target, _, _ in rows)
    night.rollback(to="compressed")
    assert {path for _, _, path, _ in night.query("SELECT frame_id, target, path, host FROM observation")} == {None}


def test_metadata_stands_alone(served):
    done = call(served, "sql", "--datasette-metadata", "SELECT 1")
    assert done.returncode == 2
    assert "expected no statement beside it" in done.stderr

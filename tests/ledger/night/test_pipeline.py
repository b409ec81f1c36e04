"""Only declared edges move a file."""

import itertools

import pytest

from ledger.config.read import packaged_config, read_config
from ledger.errors import StateError, UsageError
from ledger.night.pipeline import Pipeline, pipelines


@pytest.fixture
def archive() -> Pipeline:
    return pipelines(read_config(packaged_config(), environment={}))["archive"]


def test_every_edge_leads_to_its_state_and_back(archive):
    for step in archive.steps:
        kind = "raw" if step.makes_products else "product"
        assert archive.move(kind, step.before, step.forward) == step.state
        assert archive.move(kind, step.state, step.reverse) == step.before


def test_nothing_else_moves(archive):
    declared = {(e.kind, e.source, e.name) for e in archive.edges()}
    verbs = {e.name for e in archive.edges()}
    for kind, state, verb in itertools.product(("raw", "product"), archive.states, verbs):
        if (kind, state, verb) not in declared:
            with pytest.raises(StateError):
                archive.move(kind, state, verb)


@pytest.mark.parametrize("verb", ["to_manifested", "nonsense", "move"])
def test_there_are_no_shortcuts(archive, verb):
    with pytest.raises(StateError, match=verb):
        archive.move("product", "fixed", verb)


def test_an_unknown_state_is_refused(archive):
    with pytest.raises(StateError, match="no such state"):
        archive.move("product", "synched", "fix")


def test_both_words_for_identified(archive):
    assert archive.resolve("id'd") == archive.resolve("identified") == "identified"
    with pytest.raises(UsageError, match="expected one of raw, synced"):
        archive.resolve("synched")


def test_products_flow_between_barriers(archive):
    segments = [[step.state for step in segment] for segment in archive.segments("manifested")]
    assert segments == [["consolidated", "fixed"], ["identified", "compressed"], ["transferred"], ["manifested"]]
    assert [[s.state for s in segment] for segment in archive.segments("fixed")] == [["consolidated", "fixed"]]
    assert archive.segments("synced") == []


def test_engineering_needs_no_ids():
    engineering = pipelines(read_config(packaged_config(), environment={}))["engineering"]
    assert engineering.numbering is None
    assert engineering.move("product", "fixed", "compress") == "compressed"

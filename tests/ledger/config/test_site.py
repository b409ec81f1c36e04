"""Which part of a pipeline is this host's: all of it, or its nights, or its copies."""

from pathlib import Path

import pytest
import yaml

from ledger.config.read import packaged_config, parse_config
from ledger.config.site import Site

SHARED = {"destination": "archive@far.example:/copies", "direction": "pull"}


def site_of(transfer: dict[str, object]) -> Site:
    data = yaml.safe_load(packaged_config().read_text())
    data["database"]["url"] = "postgresql+psycopg://ledger@db.example/ledger"
    data["archive"].pop("destination", None)
    data.pop("engineering", None)
    return parse_config({**data, "transfer": {**data["transfer"], **transfer}}, base=Path("/etc/ledger")).site()


def test_one_host_does_all_of_it():
    site = site_of({"destination": "/copies"})
    assert (site.part, site.has_nights, site.has_copies, site.sends, site.other) == ("all", True, True, True, "")
    assert all(site.reaches(state) and not site.goes_on_at(state) for state in site.states)
    assert site.source_of("20260102") is None


def test_a_host_that_sends_elsewhere_does_all_of_it():
    site = site_of({"destination": "archive@far.example:/copies"})
    assert (site.part, site.has_nights, site.has_copies, site.sends, site.other) == ("all", True, False, True, "")
    assert site.destination_host is not None
    assert (site.destination_host.name, site.destination_host.user) == ("far.example", "archive")
    assert (site.destination, site.destination_name) == (Path("/copies"), "far.example")


def test_the_host_of_the_nights_stops_before_products_are_sent():
    site = site_of({**SHARED, "source": None})
    assert (site.part, site.has_nights, site.has_copies, site.sends) == ("nights", True, False, False)
    assert [state for state in site.states if site.reaches(state)] == list(site.states[:-2])
    assert site.goes_on_at("fixed") == ""
    assert [site.goes_on_at(state) for state in site.states[-3:]] == [" (on far.example)"] * 3


def test_the_host_that_fetches_does_the_rest():
    site = site_of({**SHARED, "source": "vampires@summit.example"})
    assert (site.part, site.has_nights, site.has_copies, site.sends) == ("copies", False, True, True)
    assert [state for state in site.states if site.reaches(state)] == list(site.states[-2:])
    assert [site.goes_on_at(state) for state in ("fixed", *site.states[-3:])] == [
        " (on vampires@summit.example)",
        "",
        "",
        "",
    ]
    source = site.source_of("20260102")
    assert source is not None
    assert (source.host.name, source.host.user, source.night) == ("summit.example", "vampires", site.root / "20260102")


@pytest.mark.parametrize("source", [None, "summit.example"])
def test_a_state_of_no_pipeline_goes_on_nowhere_else(source):
    assert site_of({**SHARED, "source": source}).goes_on_at("on disk") == ""

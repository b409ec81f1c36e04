"""What sessions see of each other, on both databases."""

import pytest
from sqlalchemy import text

from ledger.clock import now_us
from ledger.errors import Busy
from ledger.lease import EXPIRY_S, Lease
from ledger.store import Store
from tests.conftest import make_database

NIGHT = {"pipeline": "archive", "root": "/data", "date": "20260102", "created_us": 1}
COUNT = text("SELECT COUNT(*) FROM night")


def add_night(store: Store, date: str) -> None:
    columns = ", ".join(NIGHT)
    values = ", ".join(f":{name}" for name in NIGHT)
    with store.write() as session:
        session.execute(text(f"INSERT INTO night ({columns}) VALUES ({values})"), {**NIGHT, "date": date})


def test_a_snapshot_does_not_see_what_is_committed_after_its_first_statement(database_url):
    store, other = Store(database_url), Store(database_url)
    with store.snapshot() as session:
        assert session.execute(COUNT).scalar_one() == 0
        add_night(other, "20260102")
        assert session.execute(COUNT).scalar_one() == 0
        with other.read() as reader:
            assert reader.execute(COUNT).scalar_one() == 1
    with store.snapshot() as session:
        assert session.execute(COUNT).scalar_one() == 1
    other.close()
    store.close()


def test_a_connection_that_made_a_snapshot_writes_again(database_url):
    store = Store(database_url)
    with store.snapshot() as session:
        assert session.execute(COUNT).scalar_one() == 0
    add_night(store, "20260102")
    with store.read() as session:
        assert session.execute(COUNT).scalar_one() == 1
    store.close()


def test_a_clock_that_is_ahead_takes_no_night_from_a_living_run(request, tmp_path, monkeypatch):
    """The server's clock counts: those of two hosts may differ by more than a lease lasts."""
    url = make_database(request, tmp_path, "postgresql")
    store = Store(url)
    monkeypatch.setattr("ledger.store.now_us", lambda: now_us() + 3_600_000_000)
    ahead = Store(url)
    assert ahead.clock() - store.clock() > EXPIRY_S * 1e6
    night = store.night("archive", tmp_path, "20260102")
    for first, second in ((store, ahead), (ahead, store)):
        with (
            Lease(first, night, first.begin_run("advance", {})),
            pytest.raises(Busy),
            Lease(second, night, second.begin_run("advance", {})),
        ):
            pass
    store.close()
    ahead.close()

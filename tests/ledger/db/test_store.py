"""What sessions see of each other, on both databases."""

import pytest
from sqlalchemy import insert, text, update
from sqlmodel import col

from ledger.clock import now_us
from ledger.db.models import Lease as LeaseRow
from ledger.db.models import Run
from ledger.db.store import Store
from ledger.errors import Busy, UsageError
from ledger.night import record
from ledger.night.lease import EXPIRY_S, Lease, read_hold
from tests.databases import make_database

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
    monkeypatch.setattr("ledger.db.store.now_us", lambda: now_us() + 3_600_000_000)
    ahead = Store(url)
    assert ahead.clock() - store.clock() > EXPIRY_S * 1e6
    night = record.ensure_night(store, "archive", tmp_path, "20260102")
    for first, second in ((store, ahead), (ahead, store)):
        with (
            Lease(first, night, first.begin_run("advance", {})),
            pytest.raises(Busy),
            Lease(second, night, second.begin_run("advance", {})),
        ):
            pass
    store.close()
    ahead.close()


@pytest.mark.parametrize("is_here", [True, False])
def test_a_heartbeat_of_the_future_holds_a_night_only_for_a_run_that_is_seen_to_live(database_url, tmp_path, is_here):
    """The clock went back: by it, a run that died on another host would be young for years."""
    at_us = 1_800_000_000_000_000
    store = Store(database_url, clock=lambda: at_us)
    night = record.ensure_night(store, "archive", tmp_path, "20260102")
    run_id = store.begin_run("advance", {})
    with store.write() as session:
        session.execute(insert(LeaseRow).values(night_id=night.id, fence=1, run_id=run_id, heartbeat_us=at_us + 10**15))
        if not is_here:
            session.execute(update(Run).where(col(Run.id) == run_id).values(host="elsewhere"))
    with store.read() as session:
        assert read_hold(session, night, at_us).run_id == (run_id if is_here else None)
    store.close()


def test_an_sqlite_that_is_too_old_is_said_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr("sqlite3.sqlite_version_info", (3, 37, 2))
    with pytest.raises(UsageError, match=r"too old .* expected 3\.38\.0 or newer"):
        Store(f"sqlite:///{tmp_path / 'ledger.db'}")
    assert list(tmp_path.iterdir()) == []

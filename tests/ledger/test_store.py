"""What sessions see of each other, on both databases."""

from sqlalchemy import text

from ledger.store import Store

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

"""Where nights stand, asked without what takes long to import; and the connection that it is asked through."""

import json
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml
from sqlalchemy import text

from ledger.cli import main
from ledger.config.read import read_config
from ledger.config.urls import PLAIN_URL, parse_url
from ledger.db.models import Night
from ledger.db.readonly import Reader
from ledger.db.store import Store
from ledger.delivery.receipt import receive
from ledger.disk.dates import Dates
from ledger.errors import Busy, LedgerError
from ledger.night import given_out, record
from ledger.night.pipeline import pipelines
from ledger.query import _questions, status
from tests.inside import call
from tests.world import DATE, World


def night_of(world: World, date: str = DATE) -> status.NightStatus:
    (night,) = status.nights(world.config, world.machine().pipelines, dates=Dates([date]))
    return night


# nights


def test_status_follows_a_night(world):
    truth = world.simulate(scale=0.02, scenario=("bad",))
    assert night_of(world).stands == "on disk"
    world.machine().scan(world.night())
    now = night_of(world)
    assert (now.stands, now.raws, now.quarantined) == ("raw", len(truth.files), 11)
    for state in ("synced", "consolidated", "fixed", "identified", "compressed", "transferred"):
        assert world.advance(to=state).succeeded
        now = night_of(world)
        assert now.stands == state
        assert set(now.states) == {state}
        assert now.next_command == f"ledger advance --date {DATE}"
        assert not now.is_finished
    assert world.advance().succeeded
    now = night_of(world)
    assert (now.stands, now.next_command, now.failed) == ("finished", "", 0)
    assert now.frame_ids == sum(now.states.values())
    assert world.rollback().succeeded
    assert (night_of(world).stands, night_of(world).states) == ("raw", {})


def test_status_of_nights_that_are_not_in_the_flow(sqlite_world):
    for date in ("20260101", "20260102", "20260103"):
        sqlite_world.simulate(date, scale=0.02, scenario=("onecamera",))
    record.exclude(sqlite_world.machine().store, "archive", sqlite_world.folder / "archive", "20260101", "dome tests")
    foreign = sqlite_world.folder / "archive/20260102/vgen2"
    foreign.mkdir()
    (foreign / "VMPA00000001.fits.fz").write_text("of another tool")
    (sqlite_world.folder / "archive/20260104").mkdir()
    stands = {
        "20260101": "excluded",
        "20260102": "foreign",
        "20260103": "on disk",
        "20260104": "empty",
    }
    machine = sqlite_world.machine()
    nights = status.nights(sqlite_world.config, machine.pipelines)
    assert {night.date: night.stands for night in nights} == stands
    assert {night.date for night in nights if night.next_command} == {"20260103"}
    sqlite_world.data["archive"]["first_night"] = "20260103"
    machine = sqlite_world.machine()
    nights = status.nights(sqlite_world.config, machine.pipelines)
    assert [night.date for night in nights] == ["20260103", "20260104"]


def test_status_counts_failures(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("onecamera",))
    blocking = sqlite_world.destination / DATE
    blocking.write_text("whose?")
    assert not sqlite_world.advance().succeeded
    now = night_of(sqlite_world)
    assert now.failed == sum(now.states.values()) > 0


def test_status_at_the_command_line(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("onecamera",))
    (night,) = json.loads(call(sqlite_world, "status", "--json").stdout)
    keys = "pipeline date raws frames lost quarantined failed outside unproven states frame_ids confirmed stands"
    assert set(night) == {
        *keys.split(),
        "mailed_us",
        "written_us",
        "confirmed_us",
        "uncarried",
        "withdrawn",
        "next_command",
    }
    assert (
        call(sqlite_world, "status", "--date", "2026-01-02")
        .stdout.splitlines()[1]
        .startswith(f"{DATE}\tarchive\ton disk")
    )


# what was given out


def test_of_many_nights_each_has_its_own_counts(world):
    dates = ("20260101", "20260102", "20260103")
    for date in dates:
        world.simulate(date, scale=0.02, scenario=("bad",) if date == DATE else ("onecamera",))
    world.bring(date="20260101")
    world.bring(date=DATE, to="synced")
    together = status.nights(world.config, world.machine().pipelines)
    assert together == [night_of(world, date) for date in dates]
    assert [night.stands for night in together] == ["finished", "synced", "on disk"]
    with world.store().read() as session:
        for night in together[:2]:
            of_night = {"date": night.date}
            found = session.execute(
                text(
                    "SELECT SUM(CASE WHEN kind = 'raw' THEN 1 ELSE 0 END), SUM(CASE WHEN kind = 'raw' THEN n_frames"
                    " ELSE 0 END), SUM(lost_frames), SUM(CASE WHEN quarantine_reason IS NOT NULL THEN 1 ELSE 0 END)"
                    " FROM file JOIN night ON night.id = file.night_id WHERE night.date = :date"
                ),
                of_night,
            ).one()
            assert (night.raws, night.frames, night.lost, night.quarantined) == tuple(found)


def test_it_imports_nothing_that_takes_longer_than_the_answer(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("onecamera",))
    sqlite_world.bring()
    check = (
        "import sys; from ledger.cli import main\n"
        f"sys.argv = ['ledger', '--config', {str(sqlite_world.config_path)!r}, 'status']\n"
        "try: main()\n"
        "finally: print(sorted(sys.modules.keys() & {'sqlalchemy', 'sqlmodel', 'numpy', 'astropy', 'alembic'}))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1].split("\t")[2] == "finished"
    assert done.stdout.splitlines()[-1] == "[]"


def test_what_it_says_of_archive_and_mail_is_what_others_say(listed_world):
    world = listed_world
    store, pipelines = world.store(), world.machine().pipelines
    with store.read() as session:
        night = session.get_one(Night, 1)
        confirmed = len(session.execute(given_out.confirmed(night.id)).all())
        in_doubt = given_out.in_doubt(session, night)
    (found,) = status.nights(world.config, pipelines)
    assert found.confirmed == confirmed == 1
    assert in_doubt
    assert found.next_command == f"ledger doctor --date {DATE}"


@pytest.fixture
def listed_world(world: World) -> World:
    """Return a finished night: of its mail nobody knows whether it was sent, and one product is confirmed."""
    world.simulate(scale=0.02, scenario=("slow",))
    world.bring()
    ids = [row[0] for row in world.query("SELECT frame_id FROM frame_id ORDER BY number")]
    assert len(ids) > 1
    with world.store().write() as session:
        session.execute(
            text(
                "INSERT INTO mail (begun_us, message_id, transport, recipients, dates, name, sha256, is_partial)"
                " VALUES (1, '<1@here>', 'smtp', '[]', '[]', 'manifest', 'x', false)"
            )
        )
        for place, frame_id in enumerate(ids):
            session.execute(
                text(
                    "INSERT INTO mail_line (mail_id, position, frame_id, identity, path, size_bytes)"
                    " SELECT 1, :place, frame_id, identity, 'p', 1 FROM frame_id WHERE frame_id = :frame_id"
                ),
                {"place": place, "frame_id": frame_id},
            )
    of_first = "(SELECT identity FROM frame_id ORDER BY number LIMIT 1)"
    ((size_bytes, sha256),) = world.query(f"SELECT size_bytes, sha256 FROM file WHERE identity = {of_first}")
    said = world.folder / "receipt.csv"
    said.write_text(f"{ids[0]}|{size_bytes}|{sha256}\n")
    receive(world.store(), world.config, said)
    return world


# the connection


def test_a_reader_cannot_write(database_url):
    reader = Reader(database_url)
    for statement in ("DELETE FROM run", "CREATE TABLE mine (a INTEGER)", "UPDATE night SET date = '19700101'"):
        with pytest.raises(Exception, match=r"read-?only"):
            reader.rows(statement)
        reader.close()
        reader = Reader(database_url)
    reader.close()


def test_a_reader_sees_one_state(database_url, tmp_path):
    reader, store = Reader(database_url), Store(database_url)
    assert reader.rows("SELECT COUNT(*) FROM night WHERE date > :date", date="20000101") == [(0,)]
    record.ensure_night(store, "archive", tmp_path, DATE)
    assert reader.rows("SELECT COUNT(*) FROM night") == [(0,)]
    reader.close()
    reader = Reader(database_url)
    assert reader.rows("SELECT date FROM night WHERE pipeline = :pipeline", pipeline="archive") == [(DATE,)]
    reader.close()
    store.close()


def test_an_odd_url_is_taken_apart_as_everywhere(database_url):
    parsed = parse_url(database_url)
    if database_url.startswith("sqlite"):
        odd = f"{database_url}?timeout=5"
    else:  # two hosts, as SQLAlchemy has them; the driver takes the first that answers
        odd = parsed.update_query_pairs([("host", "/nowhere"), ("host", str(parsed.query["host"]))]).render_as_string(
            hide_password=False
        )
    reader = Reader(odd)
    assert reader.rows("SELECT COUNT(*) FROM night") == [(0,)]
    reader.close()


def test_a_password_is_not_shown():
    with pytest.raises(LedgerError, match=re.escape("postgresql://me:***@localhost:1/x")):
        Reader("postgresql://me:secret@localhost:1/x")


def test_a_database_that_is_not_there_is_not_made(tmp_path):
    with pytest.raises(LedgerError, match="check that it is there"):
        Reader(f"sqlite:///{tmp_path / 'none.db'}")
    assert not (tmp_path / "none.db").exists()


def told_by(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *command: str) -> str:
    """Return what a command says that cannot go on."""
    monkeypatch.setattr(sys, "argv", ["ledger", "--config", str(world.config_path), *command])
    with pytest.raises(SystemExit) as exited:
        main()
    err = capsys.readouterr().err
    assert exited.value.code in (1, 2)
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize("what", ["behind", "ahead", "not a ledger's"])
def test_what_is_wrong_with_a_database_is_said_as_by_other_commands(world, monkeypatch, capsys, what):
    with world.store().write() as session:
        if what == "not a ledger's":
            session.execute(text("DROP TABLE alembic_version"))
        else:
            revision = "0009" if what == "behind" else "9999"
            session.execute(text(f"UPDATE alembic_version SET version_num = '{revision}'"))
    told = told_by(world, monkeypatch, capsys, "status")
    assert told == told_by(world, monkeypatch, capsys, "explain", "x")


@pytest.mark.parametrize("what", ["missing", "damaged"])
def test_what_is_wrong_with_a_file_is_said_as_by_other_commands(sqlite_world, monkeypatch, capsys, what):
    path = Path(str(parse_url(sqlite_world.url).database))
    assert sqlite_world.config_path.exists()
    path.unlink()
    if what == "damaged":
        path.write_bytes(b"SQLite format 3" + bytes(4096))
    told = told_by(sqlite_world, monkeypatch, capsys, "status")
    assert told == told_by(sqlite_world, monkeypatch, capsys, "explain", "x")


@pytest.mark.parametrize("name", ["a b.db", "a%20b.db", "a%41.db", "h#a.db", "ä.db", "q;x.db"])
@pytest.mark.parametrize("folder", ["plain", "h#%41", "a%20b"])
def test_an_odd_path_is_the_same_file_for_everybody(sqlite_world, tmp_path, folder, name):
    world = sqlite_world
    base = tmp_path / folder
    base.mkdir()
    source = base / "config.yaml"
    world.data["database"]["url"] = f"sqlite:///{name}"
    source.write_text(yaml.safe_dump(world.data))
    config = read_config(source, environment={})
    store = Store(config.database.url)
    store.init(pipelines(config).values())
    record.ensure_night(store, "archive", tmp_path, DATE)
    store.close()
    (path,) = base.glob("*.db")
    assert path.name in (name, unquote(name))  # an escaped name means what it stands for
    reader = Reader(config.database.url)
    assert reader.rows("SELECT date FROM night") == [(DATE,)]
    reader.close()


URLS = [
    "postgresql://me@h/x",
    "postgresql://me:secret@h.example.org:5433/x",
    "postgresql+psycopg://h/x-1",
    "postgresql:///x",
    "postgresql+psycopg://me:@/x?host=%2Frun%2Fpostgresql",
    "postgresql+psycopg://me@/x?host=/run/postgresql&port=5433&sslmode=verify-full&connect_timeout=5",
    "postgresql://me@h/x?sslmode=require",
]
ODD_URLS = [
    "postgresql://me:pa%ss@h/x",
    "postgresql://me:p%40ss@h/x",
    "postgresql://h/x?prepare_threshold=5",
    "postgresql://me@/x?host=localhost:1",
    "postgresql://me@/x?host=/a&host=/b",
    "postgresql://me@h/x?options=-c+search_path%3Dled",
    "postgresql://[::1]/x",
]


@pytest.mark.parametrize("url", URLS)
def test_a_plain_url_means_the_same_to_the_driver_and_to_sqlalchemy(url):
    conninfo = pytest.importorskip("psycopg.conninfo")
    assert PLAIN_URL.fullmatch(url)
    parsed = parse_url(url)
    _, expected = parsed.get_dialect()().create_connect_args(parsed)
    found = conninfo.conninfo_to_dict(url.replace("+psycopg", ""))
    assert {k: str(v) for k, v in found.items()} == {
        k.replace("database", "dbname"): str(v) for k, v in expected.items() if k != "context" and v != ""
    }


@pytest.mark.parametrize("url", ODD_URLS)
def test_other_urls_are_left_to_sqlalchemy(url):
    assert PLAIN_URL.fullmatch(url) is None


def test_each_count_has_its_index(sqlite_url):
    """Without statistics, as a ledger has none; with 10^6 files, a look at each of them takes a second."""
    reader = Reader(sqlite_url)

    def plan(statement: str, nights: str) -> str:
        values = dict.fromkeys(re.findall(r":(\w+)", statement), 1)
        return "; ".join(row[3] for row in reader.rows(f"EXPLAIN QUERY PLAN {statement.format(nights)}", **values))

    for statement, index in (
        (_questions._FILES, "COVERING INDEX ix_file_counts"),
        (_questions._ODD, "INDEX ix_file_odd"),
        (_questions._FRAME_IDS, "COVERING INDEX ix_frame_id_night_id_status"),
        (_questions._REFUTED, "INDEX ix_copy_refuted"),
        (_questions._REFUTED, "INDEX ix_file_identity"),
        (_questions._IN_DOUBT, "SCAN mail;"),
        (_questions._NUMBERING, "SEARCH frame_id USING INDEX sqlite_autoindex_frame_id_2 (prefix=?);"),
        (_questions._PAIRED, "INDEX ix_entry_night_id_event"),
        (_questions._CHANGED, "COVERING INDEX ix_entry_night_id_event"),
    ):
        for nights in ("night_id IS NOT NULL", "night_id IN (1)"):
            assert index in plan(statement, nights), statement
    assert plan(_questions._SAID, "night_id IS NOT NULL").startswith("SCAN line;")
    assert plan(_questions._SAID, "night_id IN (1)").startswith("SEARCH frame_id USING INDEX ix_frame_id_night_id_stat")
    reader.close()


def test_a_database_that_is_being_written_says_so(sqlite_world, monkeypatch):
    """A writer that leaves no room for readers: as where the file is not in WAL mode."""
    path = Path(str(parse_url(sqlite_world.url).database))
    plain = path.with_name("plain.db")
    shutil.copyfile(path, plain)
    with sqlite3.connect(plain) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    monkeypatch.setattr("ledger.db.readonly.BUSY_TIMEOUT_MS", 1)
    writer = sqlite3.connect(plain, isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    reader = Reader(f"sqlite:///{plain}")
    with pytest.raises(Busy, match="another process is writing"):
        reader.rows("SELECT 1 FROM night")
    reader.close()
    writer.close()


def test_products_that_need_ids_before_later_ones_are_late(sqlite_world):
    """Raw files of a numbered night that can be used later: their products' IDs would be out of order."""
    world = sqlite_world
    world.simulate(scale=0.05, scenario=("pdi",))
    timing = max((world.folder / "archive" / DATE).glob("vcam1/*.txt"))
    content = timing.read_bytes()
    timing.unlink()
    world.simulate("20260103", scale=0.02, scenario=("pdi",), seed=1)
    assert world.advance().succeeded
    assert world.advance("20260103").succeeded
    timing.write_bytes(content)
    world.now_us += 10**12
    assert not world.advance(final=True).succeeded
    (first, _) = status.nights(world.config, pipelines(world.config))
    assert first.next_command == f"ledger advance --date {DATE} --late --reason TEXT"

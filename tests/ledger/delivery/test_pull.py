"""Products that the host of the destination fetches: two configurations, one ledger, a real sshd and rsync between."""

import getpass
import os
import shutil
import signal
import sys

import pytest

from ledger.audit.doctor import examine
from ledger.cli import main
from ledger.delivery.verify import verify
from ledger.disk.nights import WORK
from ledger.errors import BadInput, Busy, ConfigError, NotReady
from ledger.ids.reservation import start
from ledger.night.journal import Journal
from ledger.query.status import nights
from ledger.run.catch_up import catch_up
from ledger.run.plan import plan_rollback
from ledger.run.steps import Steps
from stages.transport import ssh
from stages.transport.local import Local
from stages.transport.remote import INCOMING, Remote
from tests.databases import make_database
from tests.kept import History
from tests.ledger.audit.test_laws_by_sql import violations
from tests.ledger.delivery.test_another_host import stop_at_second
from tests.ledger.disk.test_raws_and_nights import forbid
from tests.world import DATE, World

ROWS = (
    "SELECT name, state, sha256, timing_sha256, size_bytes, quarantine_reason FROM file ORDER BY name",
    "SELECT host, path, sha256, size_bytes FROM copy WHERE withdrawn_us IS NULL ORDER BY path",
    "SELECT name, sha256 FROM manifest WHERE withdrawn_us IS NULL ORDER BY name",
    "SELECT frame_id, status FROM frame_id ORDER BY frame_id",
)
#: Paths under which a process may open nothing, while a test says so.
watched: list[str] = []
touched: list[str] = []


def _watch(event, arguments):
    if watched and event in ("open", "os.listdir", "os.scandir", "os.remove", "os.rename", "os.mkdir", "os.rmdir"):
        touched.extend(
            str(path)
            for path in arguments[:2]
            if isinstance(path, str | os.PathLike) and str(path).startswith(watched[0])
        )


sys.addaudithook(_watch)


class Pair:
    """The world where nights are, and that of the host that fetches from it."""

    def __init__(self, folder, url, server):
        self.here = World(folder / "source", url, is_new=True)
        self.here.send_afar(server)
        user = getpass.getuser()
        self.here.data["engineering"]["destination"] = f"{user}@127.0.0.1:{folder}/source/destination/engineering"
        self.there = World(folder / "archive", url)
        for name in ("archive", "engineering"):
            self.there.data[name] |= {
                "root": str(self.here.folder / name),
                "destination": self.here.data[name]["destination"],
            }
        self.there.data["transfer"] = {**self.here.data["transfer"]}
        self.pull()

    def pull(self):
        self.here.data["transfer"]["direction"] = "pull"
        self.there.data["transfer"] |= {"direction": "pull", "source": f"{getpass.getuser()}@127.0.0.1"}

    def fetch(self, **options):
        """Advance the night on the host that fetches, and see that it keeps its hands off the nights."""
        watched.append(str(self.here.folder / "archive"))
        try:
            return self.there.advance(**options)
        finally:
            watched.clear()
            assert not touched, touched
            touched.clear()

    def copies(self):
        """Return what lies at the destination."""
        return self.here.tree(self.here.destination)

    def rows(self):
        return [self.here.query(sql) for sql in ROWS]

    def close(self):
        self.here.close()
        self.there.close()


@pytest.fixture
def pair(request, world_home, sshd):
    made = Pair(world_home, make_database(request, world_home, "postgresql", "ledger_world"), sshd)
    made.here.simulate(scale=0.02, scenario=("pdi",))
    made.history = History(world_home, made.here.url, is_known=True)
    yield made
    made.close()


@pytest.fixture
def fetched(pair):
    with pair.history.step("fetched", closing=pair.close) as is_done:
        if not is_done:
            assert pair.here.advance().succeeded
            assert pair.fetch().succeeded
    return pair


def test_a_night_that_is_fetched_is_as_one_that_was_sent(pair):
    raw = pair.here.tree()
    pair.here.data["transfer"]["direction"] = "push"
    pair.here.bring()
    sent = pair.here.tree(), pair.copies(), pair.rows()
    assert pair.here.rollback().succeeded
    assert pair.here.tree() == raw
    pair.pull()
    assert pair.here.advance().states.keys() == {"compressed"}
    made = pair.here.tree()
    assert pair.fetch().states.keys() == {"manifested"}
    assert (pair.here.tree(), pair.copies(), pair.rows()) == sent
    assert violations(pair.here) == []
    for world in (pair.here, pair.there):
        assert verify(world.machine(), world.night()).succeeded
        (night,) = nights(world.config, world.machine().pipelines)
        assert night.stands == "finished"
    assert pair.there.rollback(to="compressed").succeeded
    assert (pair.here.tree(), pair.copies()) == (made, {})
    assert pair.fetch().succeeded
    assert (pair.here.tree(), pair.copies(), pair.rows()) == sent
    assert pair.here.rollback().succeeded  # by ssh, as it may reach the other here
    assert (pair.here.tree(), pair.copies()) == (raw, {})


def test_each_host_does_its_part(pair):
    with pytest.raises(BadInput, match=r"20200101 .* is not in the ledger"):
        pair.there.advance("20200101")
    with pytest.raises(BadInput, match="not in the ledger"):
        pair.fetch()
    assert pair.here.advance(to="fixed").succeeded
    result = pair.fetch()
    assert result.states.keys() == {"fixed"}
    source = pair.there.data["transfer"]["source"]
    assert f"to be compressed on {source}: `ledger advance --date {DATE}` there" in str(result.stopped)
    assert pair.copies() == {}
    with pytest.raises(BadInput, match=r"transferred is reached on 127\.0\.0\.1, which fetches"):
        pair.here.advance(to="transferred")
    with pytest.raises(BadInput, match=r"compressed is reached on .*@127.0.0.1 \(transfer.source\)"):
        pair.there.advance(to="compressed")
    for command in (pair.there.rollback, lambda: plan_rollback(pair.there.machine(), pair.there.night(), "raw")):
        with pytest.raises(BadInput, match="--to compressed` here first"):
            command()
    for command in (["scan", "--date", DATE], ["audit"], ["ids", "check"], ["prune"], ["recall", "--date", DATE]):
        done = pair.there.run(*command)
        assert done.returncode == 2
        assert "expected it to be run there" in done.stderr
    assert pair.copies() == {}


def test_catch_up_on_both_hosts_takes_a_night_to_its_end(pair):
    assert list(catch_up(pair.there.machine())) == []
    ((_, made),) = catch_up(pair.here.machine())
    assert made.states.keys() == {"compressed"}
    (night,) = nights(pair.here.config, pair.here.machine().pipelines)
    assert night.next_command == f"ledger advance --date {DATE} (on 127.0.0.1)"
    assert list(catch_up(pair.here.machine())) == []
    host = pair.here.config.host_name("archive")
    assert f"ledger advance --date {DATE} (on {host})" in pair.here.run("explain", "VMPA00000001").stdout
    assert f"ledger advance --date {DATE}\n" in pair.there.run("explain", "VMPA00000001").stdout
    planned = pair.there.run("advance", "--date", DATE, "--dry-run")
    assert "transfer" in planned.stdout
    assert "synced" not in planned.stdout
    ((_, result),) = catch_up(pair.there.machine())
    assert result.states.keys() == {"manifested"}
    assert list(catch_up(pair.there.machine())) == list(catch_up(pair.here.machine())) == []


def test_the_doctor_looks_at_the_source(pair, monkeypatch):
    pair.here.bring()
    said = {finding.subject: finding for finding in examine(pair.there.config)}
    assert said["source of archive"].verdict == "ok"
    assert "archive.root" not in said
    with monkeypatch.context() as patch:
        patch.setattr(ssh, "FUNCTIONS", ssh.FUNCTIONS.replace('[ -w "$2" ]', "false"))  # root may write anywhere
        (finding,) = (f for f in examine(pair.there.config) if f.subject == "source of archive")
        assert finding.verdict == "problem"
        assert "may not be read and written" in finding.text
    assert said["source of engineering"].verdict == "ok"
    (pair.here.folder / "engineering").rmdir()
    (pair.here.destination.parent / "engineering").rmdir()
    said = {finding.subject: finding for finding in examine(pair.there.config)}
    assert said["source of engineering"].verdict == "note"
    assert "destination of engineering" not in said
    pair.there.data["transfer"]["ssh"]["port"] = 1
    said = {finding.subject: finding for finding in examine(pair.there.config)}
    assert said["source of archive"].verdict == "problem"


def test_damage_is_found_and_brought_again(fetched):
    before = fetched.copies()
    cube, other = sorted(fetched.here.destination.rglob("*.fz"))[:2]
    cube.write_bytes(cube.read_bytes()[:-1] + b"?")
    other.unlink()
    (fetched.here.destination / DATE / "SHA256SUMS").write_text("wrong")
    found = verify(fetched.there.machine(), fetched.there.night())
    assert {name for name, _ in found.bad} == {cube.name.split(".")[0], other.name.split(".")[0], "SHA256SUMS"}
    assert all("`ledger verify --repair`" in reason for _, reason in found.bad)
    for world, where in ((fetched.there, ""), (fetched.here, f" (on {fetched.here.config.host_name('archive')})")):
        (night,) = nights(world.config, world.machine().pipelines, date=DATE)
        assert (night.stands, night.next_command) == ("unproven", f"ledger verify --date {DATE} --repair{where}")
    repaired = verify(fetched.there.machine(), fetched.there.night(), repairs=True)
    assert repaired.succeeded
    assert fetched.copies() == before


def test_a_file_that_changed_at_the_source_is_not_fetched(pair):
    pair.here.bring()
    cube = min((pair.here.folder / "archive" / DATE).rglob("*.fz"))
    right, times = cube.read_bytes(), (cube.stat().st_atime_ns, cube.stat().st_mtime_ns)
    cube.write_bytes(right[:-1] + b"?")
    os.utime(cube, ns=times)
    result = pair.fetch()
    assert [name for name, _ in result.failed] == [cube.name.split(".")[0]]
    assert result.states["compressed"] == 1
    assert not (pair.here.destination / DATE / "vgen2" / cube.name).exists()
    assert not list(pair.here.destination.rglob("manifest*"))
    cube.write_bytes(right)
    assert pair.fetch().states.keys() == {"manifested"}


def test_what_somebody_else_put_there_is_left_alone(pair):
    pair.here.bring()
    name = min((pair.here.folder / "archive" / DATE).rglob("*.fz")).name
    strange = pair.here.destination / DATE / "vgen2" / name
    strange.parent.mkdir(parents=True)
    strange.write_bytes(b"an archived one")
    manifest = pair.here.folder / "archive" / DATE / f"manifest_VMP_{DATE}.csv"
    manifest.write_bytes(b"somebody's own")
    result = pair.fetch()
    assert [told for _, told in result.failed if "find out whose" in told]
    assert strange.read_bytes() == b"an archived one"
    strange.unlink()
    result = pair.fetch()
    assert [told for _, told in result.failed if manifest.name in told]
    assert manifest.read_bytes() == b"somebody's own"
    manifest.unlink()
    assert pair.fetch().succeeded


def test_a_manifest_that_is_not_ours_any_more_is_left_on_both_sides(fetched):
    name = f"manifest_VMP_{DATE}.csv"
    here, there = fetched.here.folder / "archive" / DATE / name, fetched.here.destination / DATE / name
    right = there.read_bytes()
    for changed, other in ((there, here), (here, there)):
        changed.write_bytes(b"somebody's own")
        if changed is here:  # what the night's folder has is what is to be taken back
            assert not verify(fetched.there.machine(), fetched.there.night()).succeeded
        assert not fetched.there.rollback(to="compressed").succeeded
        assert changed.read_bytes() == b"somebody's own"
        assert other.read_bytes() == right
        changed.write_bytes(right)
    assert fetched.there.rollback(to="compressed").succeeded
    assert fetched.copies() == {}


def test_an_excluded_night_is_not_fetched(pair):
    pair.here.bring()
    assert pair.here.run("exclude", DATE, "--reason", "dome").returncode == 0
    with pytest.raises(NotReady, match="is excluded"):
        pair.fetch()
    assert pair.copies() == {}
    assert list(catch_up(pair.there.machine())) == []
    assert pair.here.run("include", DATE).returncode == 0
    assert pair.fetch().succeeded


def test_engineering_nights_are_fetched_too(pair):
    pair.here.simulate("20260103", pipeline="engineering", scale=0.02, scenario=("pdi",))
    for world in (pair.here, pair.there):
        for _, result in catch_up(world.machine()):
            assert result.succeeded
    assert {night.stands for night in nights(pair.there.config, pair.there.machine().pipelines)} == {"finished"}
    folder = pair.here.folder / "engineering/20260103"
    done = pair.there.run("verify", str(folder))
    assert done.returncode == 0, done.stdout + done.stderr
    assert pair.there.run("rollback", str(folder), "--to", "compressed", "--yes").returncode == 0
    assert not list((pair.here.folder / "destination/engineering").iterdir())


def test_what_a_broken_connection_left_is_taken_over_and_proven(pair):
    pair.here.bring()
    night = pair.here.folder / "archive" / DATE
    cube, other = sorted(night.rglob("*.fz"))[:2]
    left = pair.here.destination / DATE / "vgen2/.ledger-recalled/vgen2"
    left.mkdir(parents=True)
    shutil.copy2(cube, left / cube.name)
    garbage = left / other.name
    garbage.write_bytes(b"?" * other.stat().st_size)  # as long and as old as what is to come
    os.utime(garbage, ns=(other.stat().st_atime_ns, other.stat().st_mtime_ns))
    assert pair.fetch().succeeded
    assert verify(pair.there.machine(), pair.there.night()).succeeded
    assert not list(pair.here.destination.rglob(".ledger-*"))


def test_a_work_folder_that_somebody_empties_costs_the_source_nothing(pair, monkeypatch):
    pair.here.bring()
    together = Steps.together

    def emptied(steps, *arguments):
        together(steps, *arguments)
        shutil.rmtree(steps.folder.path)
        steps.folder.path.mkdir()

    with monkeypatch.context() as patch:
        patch.setattr(Steps, "together", emptied)
        assert pair.fetch(to="transferred").succeeded
    assert (pair.here.folder / "archive" / DATE / "vgen2/lineage.tsv").is_file()
    assert pair.fetch().succeeded
    before, portions = pair.here.tree(), Steps.portions

    def emptied_too(steps, *arguments):
        yield from portions(steps, *arguments)
        shutil.rmtree(steps.folder.path)

    with monkeypatch.context() as patch:
        patch.setattr(Steps, "portions", emptied_too)
        verify(pair.there.machine(), pair.there.night())
    assert pair.here.tree() == before
    assert verify(pair.here.machine(), pair.here.night()).succeeded


def test_the_only_good_copy_is_not_withdrawn(fetched):
    cube = min((fetched.here.folder / "archive" / DATE).rglob("*.fz"))
    kept = cube.read_bytes()
    cube.unlink()
    result = fetched.there.rollback(to="compressed")
    assert not result.succeeded
    assert any("may be the only copy" in told for _, told in result.failed)
    assert (fetched.here.destination / DATE / "vgen2" / cube.name).read_bytes() == kept
    cube.write_bytes(kept)
    assert fetched.there.rollback(to="compressed").succeeded
    assert fetched.copies() == {}


@pytest.mark.parametrize("arguments", [("init",), ("status",), ("advance", "--date", DATE), ("catch-up",), ("doctor",)])
def test_the_roots_of_the_source_are_not_looked_at_where_it_is_not(fetched, monkeypatch, capsys, arguments):
    there = fetched.there
    for name in ("archive", "engineering"):
        forbid(monkeypatch, "stat", fetched.here.folder / name)
    forbid(monkeypatch, "stat", fetched.here.folder)
    there.data["backup"]["automatic"] = False
    monkeypatch.chdir(there.folder)
    monkeypatch.setattr(sys, "argv", ["ledger", "--config", str(there.config_path), *arguments])
    with pytest.raises(SystemExit) as exited:
        main()
    said = capsys.readouterr()
    assert exited.value.code in (0, None), said.out + said.err
    assert "does not exist yet" not in said.out
    assert "Permission" not in said.out + said.err


def test_a_source_that_is_down_is_waited_for(pair):
    pair.here.bring()
    port = pair.there.data["transfer"]["ssh"]["port"]
    pair.there.data["transfer"]["ssh"]["port"] = 1
    with pytest.raises(NotReady, match="refused"):
        pair.fetch()
    assert pair.copies() == {}
    pair.there.data["transfer"]["ssh"]["port"] = port
    assert pair.fetch().succeeded


@pytest.mark.parametrize("to_all", [False, True])
def test_a_fetch_that_is_stopped_keeps_what_has_come(pair, to_all):
    there = pair.there
    pair.here.bring()
    there.data["transfer"]["ssh"] = {**there.data["transfer"]["ssh"], "limit_mb_s": 0.04}
    stop_at_second(there, there.config.destination("archive"), signal.SIGTERM, to_all=to_all)
    ((n, n_fetched),) = there.query(
        "SELECT count(*), sum(CASE state WHEN 'transferred' THEN 1 ELSE 0 END) FROM file WHERE kind = 'product'"
    )
    assert 1 <= n_fetched < n
    assert there.query("SELECT count(*) FROM file WHERE error IS NOT NULL OR attempts > 0") == [(0,)]
    del there.data["transfer"]["ssh"]["limit_mb_s"]
    assert pair.fetch().succeeded
    assert violations(there) == []


@pytest.mark.parametrize("command", ["advance", "rollback"])
def test_what_a_dead_run_left_at_the_source_is_put_in_order_there_first(pair, command):
    pair.here.bring()
    if command == "rollback":
        assert pair.here.rollback(to="identified").succeeded
        assert pair.here.advance().succeeded
    with pair.here.store().write() as session:
        session.connection().exec_driver_sql(f"UPDATE run SET ended_us = NULL WHERE command = '{command}'")
    with pytest.raises(NotReady, match="a run died on the way to or from"):
        pair.fetch()
    assert pair.here.advance().succeeded
    assert pair.fetch().succeeded


@pytest.mark.parametrize("is_repeated", [True, False])
@pytest.mark.parametrize("verb", ["transfer", "list", "unlist", "withdraw"])
def test_a_fetch_that_is_killed_is_taken_up_again(pair, monkeypatch, verb, is_repeated):
    pair.here.bring()
    made = pair.here.tree()
    commit = Journal.commit

    def dying(journal, moves, *arguments, **named):
        if any(move.verb == verb for move in moves):
            raise KeyboardInterrupt
        commit(journal, moves, *arguments, **named)

    if verb in ("unlist", "withdraw"):
        assert pair.fetch().succeeded
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "commit", dying)
        with pytest.raises(KeyboardInterrupt):
            pair.fetch() if verb in ("transfer", "list") else pair.there.rollback(to="compressed")
    if verb == "withdraw":
        port, pair.here.data["transfer"]["ssh"]["port"] = pair.here.data["transfer"]["ssh"]["port"], 1
        with pytest.raises(NotReady, match=r"refused.*127\.0\.0\.1 puts that in order"):
            pair.here.advance()
        pair.here.data["transfer"]["ssh"]["port"] = port
    if is_repeated:
        assert pair.fetch().succeeded
        assert verify(pair.there.machine(), pair.there.night()).succeeded
    assert pair.there.rollback(to="compressed").succeeded
    assert (pair.here.tree(), pair.copies()) == (made, {})
    assert pair.fetch().succeeded
    assert violations(pair.here) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"direction": "push", "source": "sc6"}, "nothing is fetched"),
        ({"source": "sc6:/data"}, r"expected a host, \[user@\]host"),
        ({"destination": "/archive"}, "names no host"),
    ],
)
def test_the_configuration_of_a_host_that_fetches_is_checked(pair, changes, told):
    del pair.there.data["archive"]["destination"]
    pair.there.data["transfer"] |= changes
    with pytest.raises(ConfigError, match=told):
        _ = pair.there.config


def test_no_state_of_products_is_made_where_they_were_fetched_to(pair):
    for world in (pair.here, pair.there):
        world.data["archive"]["states"].insert(-1, "looked at")
        world.data["states"]["looked at"] = {"stage": "fixed", "forward": "look", "reverse": "look away"}
        with pytest.raises(ConfigError, match="'looked at' is made where products were fetched to"):
            _ = world.config


def test_one_database_on_two_hosts_is_no_file(sqlite_world):
    sqlite_world.data["transfer"] = {"destination": "archive:/data", "direction": "pull"}
    with pytest.raises(ConfigError, match="two hosts with one database"):
        _ = sqlite_world.config


def test_a_destination_that_is_not_mounted_is_not_made(fetched):
    """What is on the disk that is away stays, on record too."""
    kept, copies = fetched.here.destination, fetched.here.query(ROWS[1])
    away = kept.with_name("away")
    kept.rename(away)
    for command in (
        lambda: fetched.there.rollback(to="compressed"),
        lambda: verify(fetched.there.machine(), fetched.there.night(), repairs=True),
        fetched.fetch,
    ):
        with pytest.raises(BadInput, match=r"expected (an existing one|it to exist)"):
            command()
    assert not kept.exists()
    assert fetched.here.query(ROWS[1]) == copies
    away.rename(kept)
    assert verify(fetched.there.machine(), fetched.there.night()).succeeded


def test_a_run_that_lost_the_night_leaves_the_source_to_the_next(pair, monkeypatch):
    raw = pair.here.tree()
    pair.here.bring()

    def losing(kind, name, *, on):
        act = getattr(kind, name)

        def late(self, groups, *arguments):
            if any(on in str(copy.final) for group in groups for copy in group):
                with pair.here.store().write() as session:
                    session.connection().exec_driver_sql("UPDATE lease SET fence = fence + 1, run_id = NULL")
            return act(self, groups, *arguments)

        return kind, name, late

    made = pair.here.tree()
    with monkeypatch.context() as patch:
        patch.setattr(*losing(Remote, "fetch", on=".fz"))
        with pytest.raises(Busy, match="another run has taken over"):
            pair.fetch()
    assert pair.here.tree() == made
    assert pair.fetch().succeeded
    listed = pair.here.tree()
    for on in ("manifest", ".fz"):
        with monkeypatch.context() as patch:
            patch.setattr(*losing(Local, "withdraw", on=on))
            with pytest.raises(Busy):
                pair.there.rollback(to="compressed")
        assert pair.here.tree() == (listed if on == "manifest" else made | {"SHA256SUMS": listed["SHA256SUMS"]})
    (pair.here.folder / "archive" / DATE / f"{INCOMING}0123/vgen2").mkdir(parents=True)  # it was killed while giving
    assert pair.here.rollback().succeeded
    assert pair.here.tree() == raw
    assert {name.partition("/")[0] for name in pair.copies()} == {WORK}  # was another's, and is the next one's


def test_numbers_at_the_destination_are_looked_at_when_people_set_the_sequence(pair):
    """Nights are numbered without a look there: they need no way to the other host."""
    old = pair.here.destination / "20240101/vgen2/VMPA00000500.fits.fz"
    old.parent.mkdir(parents=True)
    old.touch()
    with pytest.raises(BadInput, match="501 or more"):
        start(pair.here.store(), pair.here.config, "VMPA", 5)
    pair.here.data["transfer"]["ssh"]["port"] = 1
    with pytest.raises(NotReady, match="at the destination could not be seen"):
        start(pair.here.store(), pair.here.config, "VMPA", 501)
    assert pair.here.advance(to="identified").succeeded

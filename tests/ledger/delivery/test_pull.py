"""Nights of which the other host fetches the products: a real sshd and rsync between them, and PostgreSQL."""

import json
import sys

import pytest

from ledger.audit.doctor import examine
from ledger.cli import main
from ledger.delivery.copies import verify
from ledger.errors import ConfigError, NotReady, UsageError
from ledger.ids.reservation import start
from ledger.query.status import nights
from ledger.run.catch_up import catch_up
from ledger.run.plan import plan_advance, plan_rollback
from stages.transport import ssh
from tests.inside import call
from tests.ledger.audit.test_laws_by_sql import violations
from tests.ledger.disk.raws import forbid
from tests.world import DATE


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
    with pytest.raises(UsageError, match=r"20200101 .* is not in the ledger"):
        pair.there.advance("20200101")
    with pytest.raises(UsageError, match="not in the ledger"):
        pair.fetch()
    assert pair.here.advance(to="fixed").succeeded
    result = pair.fetch()
    assert result.states.keys() == {"fixed"}
    source = pair.there.data["transfer"]["source"]
    assert f"to be compressed on {source}: `ledger advance --date {DATE}` there" in str(result.stopped)
    assert plan_advance(pair.there.machine(), pair.there.night(), None).stopped == result.stopped
    ((name,),) = pair.here.query("SELECT name FROM file WHERE kind = 'product' ORDER BY id LIMIT 1")
    assert f"it waits: {result.stopped}\n" in pair.there.run("explain", name).stdout
    assert "it waits" not in pair.here.run("explain", name).stdout
    assert pair.copies() == {}
    with pytest.raises(UsageError, match=r"transferred is reached on 127\.0\.0\.1, which fetches"):
        pair.here.advance(to="transferred")
    with pytest.raises(UsageError, match=r"compressed is reached on .*@127.0.0.1 \(transfer.source\)"):
        pair.there.advance(to="compressed")
    for command in (pair.there.rollback, lambda: plan_rollback(pair.there.machine(), pair.there.night(), "raw")):
        with pytest.raises(UsageError, match="--to compressed` here first"):
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
    host = pair.here.config.site().destination_name
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


def test_numbers_at_the_destination_are_looked_at_when_people_set_the_sequence(pair):
    """Nights are numbered without a look there: they need no way to the other host."""
    old = pair.here.destination / "20240101/vgen2/VMPA00000500.fits.fz"
    old.parent.mkdir(parents=True)
    old.touch()
    with pytest.raises(UsageError, match="501 or more"):
        start(pair.here.store(), pair.here.config, "VMPA", 5)
    pair.here.data["transfer"]["ssh"]["port"] = 1
    with pytest.raises(NotReady, match="at the destination could not be seen"):
        start(pair.here.store(), pair.here.config, "VMPA", 501)
    assert pair.here.advance(to="identified").succeeded


def test_headers_are_read_of_the_files_that_a_host_has(fetched):
    for world, folder in ((fetched.here, fetched.here.folder / "archive"), (fetched.there, fetched.here.destination)):
        found = json.loads(call(world, "headers", DATE, "-k", "FRAMEID", "--json").stdout)
        assert [row["path"] for row in found] == sorted(map(str, folder.glob(f"{DATE}/vgen2/*.fz")))

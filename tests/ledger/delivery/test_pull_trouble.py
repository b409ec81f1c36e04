"""A fetch that is hindered, stopped or killed, and a night that somebody changed meanwhile."""

import os
import shutil
import signal

import pytest

from ledger.delivery.copies import verify
from ledger.disk.dates import Dates
from ledger.disk.nights import WORK
from ledger.errors import Busy, NotReady, UsageError
from ledger.night.journal import Journal
from ledger.query.status import nights
from ledger.run import batches
from ledger.run.catch_up import catch_up
from ledger.run.steps import Steps
from stages.transport.local import Local
from stages.transport.remote import Remote
from stages.transport.remote_folder import INCOMING
from tests.ledger.audit.test_laws_by_sql import violations
from tests.ledger.delivery.pair import ROWS
from tests.ledger.delivery.test_another_host import stop_at_second
from tests.world import DATE


def test_damage_is_found_and_brought_again(fetched):
    before = fetched.copies()
    cube, other = sorted(fetched.here.destination.rglob("*.fz"))[:2]
    cube.write_bytes(cube.read_bytes()[:-1] + b"?")
    other.unlink()
    (fetched.here.destination / DATE / "SHA256SUMS").write_text("wrong")
    found = verify(fetched.there.machine(), fetched.there.night())
    assert {name for name, _ in found.bad} == {cube.name.split(".")[0], other.name.split(".")[0], "SHA256SUMS"}
    assert all("`ledger verify --repair`" in reason for _, reason in found.bad)
    for world, where in ((fetched.there, ""), (fetched.here, f" (on {fetched.here.config.site().destination_name})")):
        (night,) = nights(world.config, world.machine().pipelines, dates=Dates([DATE]))
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
    run_step = batches.run_step

    def emptied(steps, *arguments):
        run_step(steps, *arguments)
        shutil.rmtree(steps.folder.path)
        steps.folder.path.mkdir()

    with monkeypatch.context() as patch:
        patch.setattr(batches, "run_step", emptied)
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
    stop_at_second(there, there.config.site("archive").destination, signal.SIGTERM, to_all=to_all)
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
    with pair.history.step("killed", verb, closing=pair.close) as is_done:
        if not is_done:
            kill(pair, monkeypatch, verb)
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
    assert is_repeated or pair.fetch().succeeded
    assert violations(pair.here) == []


def kill(pair, monkeypatch, verb):
    """Kill a fetch, or what takes it back, before it is on record."""
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
        with pytest.raises(UsageError, match=r"expected (an existing one|it to exist)"):
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

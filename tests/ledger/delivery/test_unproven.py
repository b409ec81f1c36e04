"""A copy that is known to be bad: nothing goes forward on it, everything tells of it, until there is a new proof."""

import json

import pytest

from ledger.audit.doctor import examine
from ledger.delivery import manifest
from ledger.delivery.copies import recall, verify
from ledger.delivery.prune import prune
from ledger.disk.dates import Dates
from ledger.errors import NotReady, StateError
from ledger.query import explanation, history
from ledger.query import status as night_status
from ledger.run import plan
from ledger.run.catch_up import catch_up
from tests.ledger.audit.test_laws_by_sql import violations
from tests.stages.transport.test_remote import DAMAGES
from tests.world import DATE, entry_of

REPAIR = f"ledger verify --date {DATE} --repair"


@pytest.fixture
def sent(world):
    """A world with a night that is finished."""
    world.simulate(scale=0.02, scenario=("pdi",))
    world.bring()
    world.now_us += 1_000_000
    return world


def look(world, **options):
    return verify(world.machine(), world.night(), **options)


def copies(world):
    return sorted((world.destination / DATE / "vgen2").glob("*.fz"))


def damaged(world):
    """Damage one copy; return its path, bytes and frame ID."""
    path = copies(world)[1]
    content = path.read_bytes()
    DAMAGES["same size and time"](path)
    return path, content, path.name.removesuffix(".fits.fz")


def states(world):
    return dict(world.query("SELECT state, count(*) FROM file WHERE kind = 'product' GROUP BY state"))


def listed(world):
    path = world.destination / DATE / f"manifest_VMP_{DATE}.csv"
    return [line.split("|")[0] for line in path.read_text().splitlines()]


def events(world, frame_id):
    """Return what happened to a product, but its steps."""
    found = history.entries(world.store(), history.find(world.store(), frame_id))
    return [entry.event for entry in found if entry.event not in ("started", "done", "assigned")]


def status(world):
    (found,) = night_status.nights(world.config, world.machine().pipelines, dates=Dates([DATE]))
    return found


def explained(world, frame_id):
    return explanation.explain(
        world.store(), world.config, world.machine().pipelines, history.find(world.store(), frame_id)
    )


def problems(world):
    found = examine(world.config, dates=Dates([DATE]))
    return [f for f in found if f.verdict == "problem" and f.subject == f"night {DATE}"]


def pruned(world):
    """Let all that may go of the night go."""
    world.data["prune"]["raw_days"] = 30
    nights = prune(world.machine(), only=[world.night()], removes=True)
    assert sum(found.products for found in nights) == len(copies(world))


def test_a_copy_that_a_rollback_left_is_copied_again_before_it_is_listed(sent):
    path, content, frame_id = damaged(sent)
    result = sent.rollback(to="compressed")
    assert [name for name, _ in result.failed] == [frame_id]
    assert states(sent)["transferred"] == 1
    assert sent.query("SELECT count(*) FROM unverified") == [(1,)]
    assert (status(sent).failed, status(sent).unproven) == (1, 1)
    result = sent.advance()
    assert result.succeeded
    assert result.remarks["copies that were not right, and are proven now"] == 1
    assert path.read_bytes() == content
    assert frame_id in listed(sent)
    assert status(sent).failed == 0
    assert violations(sent) == []
    assert events(sent, frame_id)[-1] == "repaired"


def test_a_copy_that_was_found_bad_waits_for_its_time_of_day(sent):
    path, content, _ = damaged(sent)
    sent.rollback(to="compressed")
    sent.now_us -= sent.now_us % 86_400_000_000 - 12 * 3_600_000_000  # noon
    sent.data["transfer"]["window"] = "18:00-06:00"
    result = sent.advance()
    assert "transfer.window" in result.stopped
    assert result.is_waiting
    assert path.read_bytes() != content


def test_a_copy_that_was_found_bad_is_copied_again_before_it_is_listed(sent):
    path, content, _ = damaged(sent)
    assert look(sent).bad
    assert sent.rollback(to="transferred").succeeded
    assert sent.query("SELECT count(*) FROM unverified") == [(1,)]
    assert sent.advance().succeeded
    assert path.read_bytes() == content
    assert sent.query("SELECT count(*) FROM unverified") == [(0,)]


def test_a_copy_that_cannot_be_copied_again_is_not_listed(sent):
    path, _, frame_id = damaged(sent)
    bad = path.read_bytes()
    DAMAGES["same size and time"](sent.folder / "archive" / DATE / "vgen2" / path.name)
    assert look(sent).bad
    assert sent.rollback(to="transferred").succeeded
    result = sent.advance()
    assert [name for name, _ in result.failed] == [frame_id]
    assert REPAIR in result.stopped
    assert set(states(sent)) == {"transferred"}
    assert path.read_bytes() == bad
    assert status(sent).next_command == REPAIR


def test_the_database_refuses_to_list_it(sent):
    damaged(sent)
    look(sent)
    sent.rollback(to="transferred")
    with sent.store().write() as session:
        session.connection().exec_driver_sql(entry_of("kind = 'product'", "transferred", "manifested"))
    with pytest.raises(StateError, match="no proven copy"), sent.store().write() as session:
        session.connection().exec_driver_sql("UPDATE file SET state = 'manifested' WHERE kind = 'product'")
    for change in ("refuted_us = NULL", "fault = 'all is well'"):
        with pytest.raises(StateError, match="not rewritten"), sent.store().write() as session:
            session.connection().exec_driver_sql(f"UPDATE copy SET {change} WHERE refuted_us IS NOT NULL")


def test_the_database_refuses_to_prune_it(sent):
    damaged(sent)
    look(sent)
    for kind in ("product", "raw"):
        with pytest.raises(StateError, match="pruned"), sent.store().write() as session:
            session.connection().exec_driver_sql(f"UPDATE file SET pruned_us = 1 WHERE kind = '{kind}'")


def test_everything_tells_of_it(sent):
    _, _, frame_id = damaged(sent)
    look(sent)
    found = status(sent)
    assert (found.stands, found.failed, found.unproven, found.next_command) == ("unproven", 1, 1, REPAIR)
    told = explained(sent, frame_id)
    assert told.next_command == REPAIR
    assert "found SHA-256" in told.because
    assert [(v.law, "ledger verify" in v.next_step) for v in violations(sent)] == [("proof", True)]
    assert [REPAIR in finding.remedy for finding in problems(sent)] == [True]
    result = sent.advance()
    assert REPAIR in result.stopped
    assert not result.succeeded
    assert [REPAIR in outcome.stopped for _, outcome in catch_up(sent.machine())] == [True]
    assert REPAIR in plan.plan_advance(sent.machine(), sent.night(), None).stopped
    assert look(sent, repairs=True).succeeded
    assert status(sent).next_command == ""
    assert violations(sent) == []
    assert problems(sent) == []
    assert list(catch_up(sent.machine())) == []
    assert explained(sent, frame_id).next_command == ""


def test_it_is_not_given_out(sent):
    _, _, frame_id = damaged(sent)
    look(sent)
    for give in (manifest.write, manifest.send):
        with pytest.raises(NotReady, match=f"{frame_id} .*{REPAIR}"):
            give(sent.machine(), [sent.night()])
    listing = manifest.send(sent.machine(), [sent.night()], is_partial=True).listing
    assert frame_id in listing.missing
    assert len(listing.lines) == len(copies(sent)) - 1
    assert frame_id not in {line.frame_id for line in listing.lines}
    look(sent, repairs=True)
    assert [line.frame_id for line in manifest.send(sent.machine(), [sent.night()]).listing.lines] == [frame_id]


def test_history_tells_how_it_came_right(sent):
    path, content, frame_id = damaged(sent)
    look(sent)
    look(sent)
    look(sent, repairs=True)
    DAMAGES["same size and time"](path)
    look(sent)
    path.write_bytes(content)
    look(sent)
    look(sent)
    assert events(sent, frame_id) == ["unproven", "repaired", "unproven", "proven"]


def test_it_is_known_although_there_are_proofs_of_before(sent):
    path, content, _ = damaged(sent)
    look(sent)
    path.write_bytes(content)
    assert look(sent).succeeded
    DAMAGES["missing"](path)
    assert look(sent).bad
    assert sent.query("SELECT count(*) FROM unverified") == [(1,)]


def test_a_night_with_it_can_be_rolled_back_once_it_is_repaired(sent):
    damaged(sent)
    look(sent)
    assert not sent.rollback().succeeded
    assert look(sent, repairs=True).succeeded
    assert sent.rollback().succeeded
    assert list(sent.destination.iterdir()) == []


def test_the_only_copy_of_a_pruned_product(sent):
    path, content, frame_id = damaged(sent)
    bad = path.read_bytes()
    path.write_bytes(content)
    here = sent.folder / "archive" / DATE / "vgen2"
    kept = {file: file.read_bytes() for file in here.glob(f"{frame_id}.*")}
    pruned(sent)
    path.write_bytes(bad)
    ((name, reason),) = look(sent, repairs=True).bad
    assert name == frame_id
    told = explained(sent, frame_id)
    for text in (reason, told.next_command, problems(sent)[-1].remedy):
        assert "no good copy of it is known" in text
        assert "older backup" in text
        assert REPAIR in text
    assert status(sent).next_command == REPAIR
    for file, was in kept.items():
        file.write_bytes(was)
    assert look(sent, repairs=True).succeeded
    assert path.read_bytes() == content


def test_a_recall_that_fails_puts_on_record_what_is_there(sent):
    path, _, _ = damaged(sent)
    (sent.folder / "archive" / DATE / "vgen2" / path.name).unlink()
    assert recall(sent.machine(), sent.night()).failed
    assert sent.query("SELECT count(*) FROM unverified") == [(1,)]


def test_pruned_files_that_were_put_back_by_hand(sent):
    folder = sent.folder / "archive" / DATE / "vgen2"
    frame_id = copies(sent)[0].name.removesuffix(".fits.fz")
    kept = {path: path.read_bytes() for path in folder.glob(f"{frame_id}.*")}
    pruned(sent)
    for path, content in kept.items():
        path.write_bytes(content)
    found = recall(sent.machine(), sent.night())
    assert found.failed == []
    assert sent.query("SELECT count(*) FROM file WHERE kind = 'product' AND pruned_us IS NOT NULL") == [(0,)]
    assert events(sent, frame_id)[-1] == "returned"
    assert sent.rollback(to="compressed").succeeded


def test_the_commands(sent):
    _, _, frame_id = damaged(sent)
    assert sent.run("verify", "--date", DATE).returncode == 1
    assert sent.run("advance", "--date", DATE).returncode == 1
    done = sent.run("catch-up")
    assert (done.returncode, REPAIR in done.stdout) == (1, True)
    assert sent.run("audit").returncode == 1
    assert sent.run("doctor").returncode == 1
    done = sent.run("manifest", "--date", DATE, "--send")
    assert (done.returncode, frame_id in done.stderr) == (1, True)
    assert json.loads(sent.run("status", "--json").stdout)[0]["unproven"] == 1

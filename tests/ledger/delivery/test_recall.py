"""`ledger recall`: files that are missing or damaged here come back from the destination, proven."""

import json
import shutil

import pytest

from ledger.delivery.copies import recall
from ledger.errors import NotReady, UsageError
from stages.transport.remote_folder import RECALLED
from tests.ledger.audit.test_laws_by_sql import violations
from tests.ledger.delivery.test_verify import cubes, everywhere, sent
from tests.stages.transport.test_remote import DAMAGES, replace_bytes
from tests.world import DATE

__all__ = ["sent"]  # a fixture


def bring_back(world):
    return recall(world.machine(), world.night())


def here(world):
    return world.folder / "archive" / DATE / "vgen2"


@pytest.mark.parametrize(("ending", "damage"), [*((".fits.fz", damage) for damage in DAMAGES), (".txt", "corrupt")])
def test_what_is_damaged_comes_back(sent, damage, ending):
    before = sent.tree()
    stem = cubes(sent)[1].name.removesuffix(".fits.fz")
    DAMAGES[damage](here(sent) / (stem + ending))
    found = bring_back(sent)
    assert (found.brought, found.failed) == ([stem], [])
    assert found.whole == len(cubes(sent)) - 1
    assert sent.tree() == before
    assert violations(sent) == []
    assert bring_back(sent).brought == []


@everywhere
def test_a_whole_folder_comes_back_and_the_night_can_be_rolled_back(sent):
    before = sent.tree()
    for path in here(sent).glob("VMPA*"):
        path.unlink()
    assert len(bring_back(sent).brought) == len(cubes(sent))
    assert sent.tree() == before
    assert sent.query("SELECT count(*) FROM entry WHERE event = 'recalled'") == [(len(cubes(sent)),)]
    assert sent.rollback().succeeded


@everywhere
@pytest.mark.parametrize("damage", ["missing", "same size and time"])
def test_bytes_that_are_not_right_do_not_come_back(sent, damage):
    path = cubes(sent)[0]
    DAMAGES[damage](path)
    DAMAGES["missing"](here(sent) / path.name)
    found = bring_back(sent)
    assert [name for name, _ in found.failed] == [path.name.removesuffix(".fits.fz")]
    assert not (here(sent) / path.name).exists()
    assert not list(here(sent).glob(".ledger-*"))


def test_a_damaged_file_stays_where_there_is_no_better(sent):
    path = cubes(sent)[0]
    path.unlink()
    replace_bytes(here(sent) / path.name)
    content = (here(sent) / path.name).read_bytes()
    assert bring_back(sent).failed
    assert (here(sent) / path.name).read_bytes() == content


@everywhere
def test_what_a_killed_recall_left_goes(sent):
    before = sent.tree()
    (here(sent) / cubes(sent)[0].name).unlink()
    left = here(sent) / RECALLED / "vgen2"
    left.mkdir(parents=True)
    (left / cubes(sent)[0].name).write_bytes(b"half")
    (here(sent) / f".ledger-{cubes(sent)[0].name}").write_bytes(b"half")
    assert bring_back(sent).failed == []
    shutil.rmtree(left.parent, ignore_errors=True)
    assert sent.tree() == before
    left.mkdir(parents=True)
    (left / "any").write_bytes(b"half")
    assert sent.rollback().succeeded
    assert not here(sent).exists()


def test_a_destination_that_is_gone_is_told(sent):
    (here(sent) / cubes(sent)[0].name).unlink()
    shutil.move(sent.destination, sent.folder / "away")
    with pytest.raises((UsageError, NotReady), match="expected an existing one"):
        bring_back(sent)


def test_a_night_of_which_nothing_was_sent_is_refused(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("pdi",))
    with pytest.raises(UsageError, match="nothing of it was sent"):
        bring_back(sqlite_world)
    sqlite_world.bring(to="compressed")
    with pytest.raises(UsageError, match="no product was sent"):
        bring_back(sqlite_world)


def test_the_command(world):
    world.simulate(scale=0.02, scenario=("pdi",))
    world.bring()
    path = here(world) / cubes(world)[0].name
    path.unlink()
    done = world.run("recall", "--date", DATE, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["brought"] == [path.name.removesuffix(".fits.fz")]
    assert path.is_file()
    path.unlink()
    cubes(world)[0].unlink()
    assert world.run("recall", "--date", DATE).returncode == 1

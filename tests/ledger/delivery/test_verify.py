"""`ledger verify`: copies are read again where they lie, and copied again where they are not right."""

import json
import os
import shutil

import pytest

from ledger.delivery.copies import verify
from ledger.errors import NotReady, UsageError
from tests.ledger.audit.test_laws_by_sql import violations
from tests.stages.transport.test_remote import DAMAGES
from tests.world import DATE

everywhere = pytest.mark.parametrize("sent", ["here", "afar"], indirect=True)


@pytest.fixture
def sent(request, sqlite_world):
    """A world with a night that was sent, to this machine or to another one."""
    world = sqlite_world
    is_afar = getattr(request, "param", "here") == "afar"
    if is_afar:
        world.send_afar(request.getfixturevalue("sshd"))
    world.simulate(scale=0.01 if is_afar else 0.02, scenario=("pdi",))
    world.bring()
    world.now_us += 1_000_000
    return world


def look(world, **options):
    return verify(world.machine(), world.night(), **options)


def cubes(world):
    return sorted((world.destination / DATE / "vgen2").glob("*.fz"))


def proofs(world):
    return world.query("SELECT identity, max(proven_us), count(*) FROM copy GROUP BY identity ORDER BY identity")


@everywhere
def test_each_look_is_a_fresh_proof(sent):
    n_products = len(cubes(sent))
    found = look(sent)
    assert (found.proven, found.bad, found.extra, found.repaired) == (n_products, [], [], [])
    assert found.succeeded
    assert {(proven_us, n) for _, proven_us, n in proofs(sent)} == {(sent.now_us, 2)}
    assert sent.query("SELECT count(*) FROM entry WHERE event = 'verified'") != [(0,)]
    assert violations(sent) == []


@pytest.mark.parametrize(
    ("sent", "damage"), [*(("here", damage) for damage in DAMAGES), ("afar", "same size and time")], indirect=["sent"]
)
def test_a_bad_copy_is_told_and_copied_again(sent, damage):
    path = cubes(sent)[1]
    content = path.read_bytes()
    DAMAGES[damage](path)
    found = look(sent)
    assert [name for name, _ in found.bad] == [path.name.removesuffix(".fits.fz")]
    assert found.proven == len(cubes(sent)) - (damage != "missing")
    assert sent.query("SELECT count(*) FROM unverified") == [(1,)]
    assert set(sent.query("SELECT state FROM file WHERE kind = 'product'")) == {("manifested",)}
    found = look(sent, repairs=True)
    assert found.succeeded
    assert found.repaired == [path.name.removesuffix(".fits.fz")]
    assert path.read_bytes() == content
    assert sent.query("SELECT count(*) FROM unverified") == [(0,)]
    assert look(sent).repaired == []


@pytest.mark.parametrize(
    ("sent", "name", "damage"),
    [
        ("here", "SHA256SUMS", "corrupt"),
        ("here", "vgen2/lineage.tsv", "missing"),
        ("here", f"manifest_VMP_{DATE}.csv", "corrupt"),
        ("afar", f"manifest_VMP_{DATE}.csv", "missing"),
    ],
    indirect=["sent"],
)
def test_the_nights_own_files_are_looked_at_too(sent, name, damage):
    path = sent.destination / DATE / name
    content = path.read_bytes()
    DAMAGES[damage](path)
    assert [bad for bad, _ in look(sent).bad] == [name]
    found = look(sent, repairs=True)
    assert (found.bad, found.repaired) == ([], [name])
    assert path.read_bytes() == content


@everywhere
def test_the_nights_own_files_are_told_when_products_are_copied_again_too(sent):
    own = ["SHA256SUMS", f"manifest_VMP_{DATE}.csv", "vgen2/lineage.tsv"]
    path = cubes(sent)[0]
    path.unlink()
    for name in own:
        DAMAGES["corrupt"](sent.destination / DATE / name)
    found = look(sent, repairs=True)
    assert (found.bad, found.repaired) == ([], [path.name.removesuffix(".fits.fz"), *own])


@everywhere
def test_a_missing_copy_says_how_it_is_copied_again(sent):
    cubes(sent)[0].unlink()
    ((_, reason),) = look(sent).bad
    assert "found no file" in reason
    assert "`ledger verify --repair`" in reason


@everywhere
def test_what_was_not_sent_is_told_and_left(sent):
    for name in ("notes", "vgen2/VMPA99999999.fits.fz"):
        (sent.destination / DATE / name).write_text("not ours")
    found = look(sent, repairs=True)
    assert found.extra == ["notes", "vgen2/VMPA99999999.fits.fz"]
    assert found.succeeded  # nothing that was sent is wrong
    assert (sent.destination / DATE / "notes").read_text() == "not ours"


@everywhere
def test_a_copy_cannot_be_repaired_from_a_bad_file(sent):
    path = cubes(sent)[0]
    ours = sent.folder / "archive" / DATE / "vgen2" / path.name
    DAMAGES["same size and time"](ours)
    path.unlink()
    found = look(sent, repairs=True)
    assert "changed since it was compressed" in found.bad[0][1]
    assert not path.exists()


@everywhere
def test_a_destination_that_is_gone_says_nothing_of_copies(sent):
    before = proofs(sent)
    shutil.move(sent.destination, sent.folder / "away")
    with pytest.raises(UsageError, match="expected an existing one"):
        look(sent)
    assert proofs(sent) == before
    assert sent.query("SELECT count(*) FROM unverified") == [(0,)]


def test_a_host_that_is_down_says_nothing_of_copies(sqlite_world, sshd):
    world = sqlite_world
    world.send_afar(sshd)
    world.simulate(scale=0.01, scenario=("pdi",))
    world.bring()
    world.data["transfer"]["ssh"]["port"] = 1
    with pytest.raises(NotReady, match="refused"):
        look(world)
    assert world.query("SELECT count(*) FROM unverified") == [(0,)]


def test_a_proof_is_on_record(world):
    world.simulate(scale=0.02, scenario=("pdi",))
    world.bring()
    cubes(world)[0].unlink()
    assert look(world).bad
    assert world.query("SELECT count(*) FROM unverified") == [(1,)]
    assert look(world, repairs=True).succeeded
    assert world.query("SELECT count(*) FROM entry WHERE event = 'unproven'") == [(1,)]
    assert {n for _, _, n in proofs(world)} == {2, 3}
    assert world.rollback().succeeded
    assert list(world.destination.iterdir()) == []


def test_a_night_of_which_nothing_was_sent_is_refused(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("pdi",))
    with pytest.raises(UsageError, match="nothing of it was sent"):
        look(sqlite_world)
    sqlite_world.bring(to="compressed")
    with pytest.raises(UsageError, match="no product was sent"):
        look(sqlite_world)


def test_the_command(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("pdi",))
    sqlite_world.bring()
    assert sqlite_world.run("verify", "--date", DATE).returncode == 0
    os.truncate(cubes(sqlite_world)[0], 100)
    done = sqlite_world.run("verify", "--date", DATE)
    assert done.returncode == 1
    assert "BAD" in done.stdout
    assert f"ledger verify --date {DATE} --repair" in done.stdout
    done = sqlite_world.run("verify", "--date", DATE, "--repair", "--json")
    assert done.returncode == 0
    facts = json.loads(done.stdout)
    assert len(facts["repaired"]) == 1
    assert facts["proven"] == len(cubes(sqlite_world))


def flip(path, *, mtime_ns=None):
    """Change a bit in the middle, and keep size and (unless told otherwise) mtime."""
    status, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, mtime_ns or status.st_mtime_ns))


@everywhere
def test_all_kinds_of_bad_copies_at_once_are_found_and_only_these_are_copied(sent):
    """Copiers that go by size and time leave some of them: of the same time, of a newer one, longer."""
    same, newer, longer, no_txt, *others = cubes(sent)
    txt = no_txt.with_name(no_txt.name.replace(".fits.fz", ".txt"))
    bad = {path: path.read_bytes() for path in (same, newer, longer, txt)}
    good = {path: path.stat().st_mtime_ns for path in others}
    assert good
    flip(same)
    flip(newer, mtime_ns=4 * 10**18)
    longer.write_bytes(longer.read_bytes() + bytes(2880))
    flip(txt)
    names = [path.name.split(".")[0] for path in bad]
    assert [name for name, _ in look(sent).bad] == names
    found = look(sent, repairs=True)
    assert (found.bad, found.repaired) == ([], names)
    assert {path: path.read_bytes() for path in bad} == bad
    assert {path: path.stat().st_mtime_ns for path in good} == good
    assert look(sent).succeeded


def test_the_nights_own_files_are_there_whichever_batch_fails(sqlite_world, monkeypatch):
    """They are sent with the first batch of which anything arrives."""
    world = sqlite_world
    world.simulate(scale=0.02, scenario=("pdi",))
    world.bring(to="compressed")
    first, *_ = sorted((world.folder / "archive" / DATE / "vgen2").glob("*.fz"))
    content = first.read_bytes()
    first.write_bytes(content[:-2880] + bytes(2880))
    monkeypatch.setattr("ledger.run.batches.BATCH", 1)
    assert [name for name, _ in world.advance(to="transferred").failed] == [first.name.split(".")[0]]
    assert (world.destination / DATE / "SHA256SUMS").exists()
    assert [name for name, _ in look(world).bad] == []

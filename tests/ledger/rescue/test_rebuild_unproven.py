"""What files do not prove is not taken for true when a ledger is made anew."""

import os
from pathlib import Path

import pytest

from ledger.errors import NotReady, UsageError
from ledger.night import record
from ledger.night.journal import Failure
from tests.inside import call
from tests.ledger.db.test_backup import fresh
from tests.ledger.rescue.lost import SECOND, carry_on, facts, lose, undisturbed
from tests.world import DATE, World


def test_a_compressed_cube_that_is_not_proven_is_left_as_it_is(night, new_url):
    world = night
    world.bring()
    cube = sorted((world.folder / "archive" / DATE / "vgen2").glob("*.fz"))[1]
    good = cube.read_bytes()
    cube.write_bytes(good[:-2880] + bytes(2880))
    damaged = cube.read_bytes()
    made = lose(world, new_url)
    assert not made.succeeded
    ((name, reason),) = [failed for failed in made.nights[0].failed if failed[0] == cube.name.split(".")[0]]
    assert "SHA256SUMS" in reason
    assert world.query("SELECT count(*) FROM file WHERE quarantine_reason IS NOT NULL") == [(1,)]
    world.advance()
    assert cube.read_bytes() == damaged
    assert len(world.query(f"SELECT 1 FROM frame_id WHERE frame_id = '{name}' AND status = 'live'")) == 1
    # made anew, as the reason says
    cube.unlink()
    cube.with_name(f"{name}.txt").unlink()
    assert call(world, "quarantine", "release", name).returncode == 0
    world.advance(to="compressed")
    assert cube.read_bytes() == good


@pytest.mark.parametrize("damage", [Path.unlink, lambda txt: txt.write_text("0\n")], ids=["gone", "another"])
def test_a_number_without_its_txt_stays_with_its_product(night, new_url, damage):
    world = night
    world.bring(to="compressed")
    before = facts(world)["frame_id"]
    txt = sorted((world.folder / "archive" / DATE / "vgen2").glob("VMPA*.txt"))[1]
    damage(txt)
    made = lose(world, new_url)
    assert [name for name, _ in made.nights[0].failed if name.startswith("VMPA")] == [txt.stem]
    assert facts(world)["frame_id"] == before


def test_a_number_of_nobody_stops_it(night, new_url):
    world = night
    world.bring()
    stray = world.folder / "archive" / DATE / "vgen2" / "VMPA00009999.txt"
    stray.write_text("?")
    with pytest.raises(UsageError, match="VMPA00009999"):
        lose(world, new_url)
    stray.unlink()
    lineage = stray.with_name("lineage.tsv")
    text = lineage.read_text()
    lineage.write_text("".join(f"{line}\n" for line in text.split("\n")[:-2]))  # without the last product
    with pytest.raises(UsageError, match="VMPA0000000"):
        lose(world, new_url)
    lineage.write_text(text)
    assert lose(world, new_url).succeeded


def test_a_copy_that_differs_is_not_proven(night, new_url):
    world = night
    world.bring()
    copy = min((world.destination / DATE / "vgen2").glob("*.fz"))
    copy.write_bytes(bytes(len(copy.read_bytes())))
    made = lose(world, new_url)
    assert not made.succeeded
    assert world.query(f"SELECT state FROM file WHERE CAST(files AS TEXT) LIKE '%{copy.name}%'") == [("compressed",)]
    assert world.query("SELECT count(*) FROM manifest") == [(0,)]


def with_cell(text: str, column: str, value: str) -> str:
    """Return a lineage with another value in the second line of a column."""
    rows = [line.split("\t") for line in text.split("\n")]
    rows[2][rows[0].index(column)] = value
    return "\n".join(map("\t".join, rows))


#: Of lineage.tsv.
LINEAGES = [
    lambda text: text.replace("identity", "identities", 1),
    lambda _: "",
    lambda text: text[: len(text) // 2],
    lambda text: text.replace("0:1:", "1:1:"),
    lambda text: text.replace("vcam1/", "vcam9/"),
    lambda text: text + text.split("\n")[1] + "\n",
    lambda text: text.replace("\t1\t", "\t" + "9" * 5000 + "\t"),
    lambda text: with_cell(text, "flc", "D"),
    lambda text: with_cell(text, "supplement", "1"),
    lambda text: with_cell(text, "group", "3000000000"),
]


def test_a_night_without_its_lineage_is_left_alone(night, new_url):
    world = night
    world.bring()
    lineage = world.folder / "archive" / DATE / "vgen2" / "lineage.tsv"
    text = lineage.read_text()
    for number, damage in enumerate(LINEAGES):
        lineage.write_text(damage(text))
        tree = world.tree()
        made = lose(world, f"{new_url}{number}")
        assert "lineage.tsv" in str(made.nights[0].stopped), number
        assert world.query("SELECT count(*) FROM file WHERE kind = 'product'") == [(0,)], number
        with pytest.raises(NotReady, match="foreign"):
            world.advance()
        assert world.tree() == tree, number


def test_another_raw_file_leaves_the_night_alone(night, new_url):
    world = night
    world.bring()
    raw = min((world.folder / "archive" / DATE / "vcam1").glob("*.fits"))
    raw.rename(raw.with_name("other.fits"))
    raw.with_suffix(".txt").rename(raw.with_name("other.txt"))
    made = lose(world, new_url)
    assert raw.name in str(made.nights[0].stopped)
    raw.with_name("other.fits").rename(raw)
    raw.with_name("other.txt").rename(raw.with_suffix(".txt"))
    world.close()
    (world.folder / "again").mkdir()
    assert lose(world, f"sqlite:///{world.folder / 'again' / 'ledger.db'}").succeeded


def test_a_product_without_a_number_in_a_numbered_night_waits_for_a_decision(night, new_url):
    """It may have been discarded: that is on no disk."""
    world = night
    world.bring(to="identified")
    folder = world.folder / "archive" / DATE / "vgen2"
    ids = sorted({path.stem for path in folder.glob("VMPA*")})
    (name,) = world.query(f"SELECT f.name FROM file f JOIN frame_id i ON i.identity = f.identity"
                          f" WHERE i.frame_id = '{ids[2]}'")[0]  # fmt: skip
    (folder / f"{ids[2]}.fits").rename(folder / f"{name}.fits")
    (folder / f"{ids[2]}.txt").rename(folder / f"{name}.txt")
    made = lose(world, new_url)
    assert [failed[0] for failed in made.nights[0].failed] == [name]
    assert world.query(f"SELECT 1 FROM frame_id WHERE frame_id = '{ids[2]}'") == []
    assert "in quarantine" in str(world.advance().stopped)
    assert call(world, "quarantine", "release", name).returncode == 0
    carry_on(world, made)
    assert "--late" in str(world.advance(to="identified").stopped)
    assert world.advance(to="identified", late_reason="lost").succeeded
    assert call(world, "audit").returncode == 0


def test_odd_things_are_refused_or_passed_over(night, new_url):
    world = night
    world.bring()
    before = facts(world)
    folder = world.folder / "archive" / DATE
    (folder / "vgen2" / "notes.txt").write_text("mine")
    (folder / "vgen2" / "sub").mkdir()
    os.mkfifo(folder / "vgen2" / "pipe.txt")
    (folder / "vgen2" / "dangling.fits").symlink_to("nowhere")
    (folder / "vgen2" / ".ledger-VMPA00000001.fits.fz").write_bytes(b"left by a run that died")
    (world.folder / "archive" / "20260104").mkdir()
    (world.folder / "archive" / "20260105").symlink_to("nowhere")
    with pytest.raises(NotReady, match="20260105"):
        lose(world, new_url)
    (world.folder / "archive" / "20260105").unlink()
    assert lose(world, new_url).succeeded
    assert facts(world) == before
    assert world.advance().succeeded
    assert (folder / "vgen2" / "notes.txt").read_text() == "mine"


def test_a_foreign_night_is_left_alone(night, new_url):
    world = night
    world.bring()
    before = facts(world)
    world.simulate(SECOND, scale=0.02, scenario=("pdi",))
    other = world.folder / "archive" / SECOND / "vgen2"
    other.mkdir()
    (other / "theirs.fits").write_bytes(b"theirs")
    made = lose(world, new_url)
    assert [bool(told.stopped) for told in made.nights] == [False, True]
    assert facts(world)["frame_id"] == before["frame_id"]
    assert (other / "theirs.fits").read_bytes() == b"theirs"


def discard(world: World, place: int) -> str:
    """Let a product fail before it has a file, and give it up; return its name."""
    world.bring(to="synced")
    with world.machine().holding(world.night(), "test", {}) as (steps, _):
        items = record.products(steps.journal.store, steps.journal.night)
        failed = [Failure(items[place], "bad", is_final=True)]
        steps.journal.failed(failed, steps.journal.pipeline.steps[1].forward, world.config.failures)
    name = items[place].product.name
    assert call(world, "quarantine", "discard", name, "--reason", "bad").returncode == 0
    return name


def test_a_number_goes_to_no_other_product_where_one_was_discarded(night, new_url):
    world = night
    discarded = discard(world, -2)
    assert world.advance().succeeded
    before = facts(world)["frame_id"]
    for top in (world.folder / "archive", world.destination):
        max((top / DATE / "vgen2").glob("VMPA*.txt")).unlink()
    made = lose(world, new_url)
    assert facts(world)["frame_id"] == before
    assert discarded in {name for name, _ in made.nights[0].failed}
    assert world.query("SELECT count(*) FROM file WHERE quarantine_reason IS NOT NULL") == [(2,)]


def test_a_discarded_product_gets_no_number_by_itself(night, new_url):
    world = night
    discarded = discard(world, -1)
    assert world.advance().succeeded
    before = facts(world)["frame_id"]
    made = lose(world, new_url)
    carry_on(world, made)
    assert "quarantine" in str(world.advance().stopped)
    assert facts(world)["frame_id"] == before
    assert call(world, "quarantine", "discard", discarded, "--reason", "bad, as before").returncode == 0
    assert world.advance().succeeded
    assert facts(world)["frame_id"] == before
    assert call(world, "audit").returncode == 0


def damage_end(content: bytes) -> bytes:
    return content[:-2880] + bytes(2880)


#: Of a compressed cube; the last is in what follows the last tile.
DAMAGES = {
    "truncated": lambda content: content[:-2880],
    "zeros": damage_end,
    "one bit": lambda content: content[:-4000] + bytes([content[-4000] ^ 1]) + content[-3999:],
    "longer": lambda content: content + bytes(2880),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_of_a_compressed_cube_is_found_without_checksums(night, new_url, damage):
    world = night
    world.bring(to="compressed")
    cube = min((world.folder / "archive" / DATE / "vgen2").glob("*.fz"))
    damaged = DAMAGES[damage](cube.read_bytes())
    cube.write_bytes(damaged)
    made = lose(world, new_url)
    assert [name for name, _ in made.nights[0].failed] == [cube.name.split(".")[0]]
    world.advance()
    assert cube.read_bytes() == damaged
    assert not list(world.destination.rglob(cube.name))
    assert world.query("SELECT count(*) FROM manifest") == [(0,)]


def test_a_plain_cube_wins_over_a_damaged_compressed_one(night, new_url):
    world = night
    clean = undisturbed(world)
    clean.bring()
    world.bring(to="identified")
    plain = min((world.folder / "archive" / DATE / "vgen2").glob("VMPA*.fits"))
    good = (clean.folder / "archive" / DATE / "vgen2" / f"{plain.name}.fz").read_bytes()
    clean.close()
    plain.with_name(f"{plain.name}.fz").write_bytes(good[:-2880])
    assert lose(world, new_url).succeeded
    assert world.query("SELECT state, count(*) FROM file WHERE kind = 'product' GROUP BY 1") == [("identified", 8)]
    assert world.advance().succeeded
    assert (world.destination / DATE / "vgen2" / f"{plain.name}.fz").read_bytes() == good


def test_a_plain_cube_with_other_pixels_is_made_anew(night, new_url):
    world = night
    world.bring(to="identified")
    before = facts(world)["frame_id"]
    plain = min((world.folder / "archive" / DATE / "vgen2").glob("VMPA*.fits"))
    good = plain.read_bytes()
    plain.write_bytes(damage_end(good))
    assert lose(world, new_url).succeeded
    assert world.advance(to="identified").succeeded
    assert plain.read_bytes() == good
    assert facts(world)["frame_id"] == before


def test_files_that_are_not_proven_stop_a_rollback(night, new_url):
    world = night
    raw = world.tree()
    world.bring()
    cube = sorted((world.folder / "archive" / DATE / "vgen2").glob("*.fz"))[1]
    cube.write_bytes(damage_end(cube.read_bytes()))
    lose(world, new_url)
    tree = world.tree()
    rolled = world.rollback()
    assert cube.name in str(rolled.stopped)
    assert world.tree() == tree
    for path in cube.parent.glob(cube.name.replace("fits.fz", "*")):
        path.unlink()
    world.rollback()
    assert {name for name in set(world.tree()) - set(raw) if not name.startswith("manifest")} == set()


@pytest.mark.parametrize(
    "damage",
    [
        lambda here, there: there.unlink(),  # noqa: ARG005
        lambda here, there: there.write_text("other"),  # noqa: ARG005
        lambda here, there: here.write_bytes(here.read_bytes() + here.read_bytes().split(b"\n")[0] + b"\n"),  # noqa: ARG005
        lambda here, there: here.write_bytes(here.read_bytes().replace(b"/vgen2/", b"/nowhere/")),  # noqa: ARG005
        lambda here, there: here.write_bytes(here.read_bytes().replace(b"0\r\n", b"1\r\n", 1)),  # noqa: ARG005
    ],
    ids=["gone there", "another there", "a line twice", "other paths", "another size"],
)
def test_a_manifest_counts_only_as_it_would_be_written(night, new_url, damage):
    world = night
    world.bring()
    (here,) = (world.folder / "archive" / DATE).glob("manifest*")
    there = world.destination / DATE / here.name
    good = here.read_bytes()
    damage(here, there)
    made = lose(world, new_url)
    assert [name for name, _ in made.nights[0].failed] == [DATE]
    assert world.query("SELECT DISTINCT state FROM file WHERE kind = 'product'") == [("transferred",)]
    assert world.query("SELECT count(*) FROM manifest") == [(0,)]
    if here.read_bytes() == good:  # the next advance writes it there again
        assert world.advance().succeeded
        assert there.read_bytes() == good
    else:
        assert "did not write" in str(world.advance().stopped or world.advance().failed)


@pytest.mark.parametrize("name", ["SHA256SUMS", "vgen2/lineage.tsv"])
def test_a_file_of_the_night_that_is_not_right_there_is_told(night, new_url, name):
    world = night
    world.bring()
    before = facts(world)
    (world.destination / DATE / name).unlink()
    made = lose(world, new_url)
    assert [failed[0] for failed in made.nights[0].failed] == [name]
    assert facts(world) == before
    assert call(world, "verify", "--date", DATE, "--repair").returncode == 0
    assert (world.destination / DATE / name).is_file()


def test_names_do_not_reach_the_terminal_as_they_are(night, new_url):
    world = night
    world.bring()
    folder = os.fsencode(world.destination / DATE / "vgen2")
    Path(os.fsdecode(folder + b"/VMPA00000001.\xff\x1b[31m")).touch()
    fresh(world, new_url)
    done = call(world, "rebuild")
    assert done.returncode == 2
    assert "\\x1b[31m" in done.stderr
    assert "\x1b" not in done.stderr

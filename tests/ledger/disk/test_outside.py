"""Files that may hold frames and are no raw files: found, told of, and decided before a night is numbered."""

import bz2
import gzip
import json
import lzma
import os
import tarfile
from pathlib import Path

import pytest

from ledger.audit import doctor, laws
from ledger.disk.dates import Dates
from ledger.disk.outside import Outside, Rule, find_outside, sort_out
from ledger.errors import NotReady, Unreachable
from ledger.night import decisions
from ledger.night.pipeline import pipelines
from ledger.query.status import nights
from ledger.run.plan import plan_advance
from tests.world import DATE, World

NEXT = "20260103"

#: A header, as far as it tells that a file is FITS.
FITS = b"SIMPLE  =                    T".ljust(80) + b"BITPIX  =                   16".ljust(80)


def streams(world: World, date: str = DATE) -> Path:
    return world.folder / "archive" / date


def cubes(world: World, date: str = DATE, stream: str = "vcam1") -> list[Path]:
    return sorted((streams(world, date) / stream).glob("*.fits"))


def outside(world: World, date: str = DATE) -> list[tuple[str, str]]:
    return [(f.path, f.kind) for f in find_outside(world.night(date), world.config.instrument)]


@pytest.fixture
def night(sqlite_world: World) -> World:
    """Return a ledger with one small raw night."""
    sqlite_world.simulate(scale=0.02, scenario=("slow",))
    return sqlite_world


# what is found


def test_a_night_as_the_cameras_write_it_has_nothing_outside(night):
    assert outside(night) == []
    assert night.advance().succeeded
    assert outside(night) == []


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [
        (".fits.fz", "compressed"),
        (".fits.gz", "compressed"),
        (".fits.bz2", "compressed"),
        (".FITS.GZ", "compressed"),
        (".fz", "compressed"),
        (".FITS", "named"),
        (".fit", "named"),
        (".fts", "named"),
        (".Fits", "named"),
        (".fits.lzma", "compressed"),
        (".fits.br", "compressed"),
    ],
)
@pytest.mark.parametrize("keeps_txt", [True, False])
def test_a_cube_by_its_name(night, suffix, kind, keeps_txt):
    cube = cubes(night)[1]
    other = cube.with_name(cube.stem + suffix)
    cube.rename(other)
    if not keeps_txt:
        cube.with_suffix(".txt").unlink()
    assert outside(night) == [(f"vcam1/{other.name}", kind)]


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("cube", FITS, "named"),
        ("cube.fits.part", FITS, "named"),
        ("cube.fits.part", bytes(2880), "named"),
        ("cube.fits.log", b"20.5 \xc2\xb0C\n" * 9, None),
        ("cube.txt", FITS, "named"),
        (".cube.fits.a1B2c3", FITS, "named"),
        ("cube.fits~", FITS, "named"),
        ("cube.dat", gzip.compress(FITS * 9, mtime=0), "compressed"),
        ("cube.dat", bz2.compress(FITS * 9), "compressed"),
        ("cube.dat", lzma.compress(FITS * 9), "compressed"),
        ("cube.dat", gzip.compress(FITS * 9, mtime=0)[:20], "compressed"),
        ("cube.dat", b"PK\x03\x04" + bytes(99), "compressed"),
        ("cube.dat", b"\x1f\x9d\x90" + bytes(99), "compressed"),
        ("cube.fits.header", FITS.replace(b" " * 40, b" " * 39 + b"\n", 1), None),
        ("notes.md", b"cloudy\n", None),
        ("notes.txt", b"cloudy\n", None),
        ("logger.log.gz", gzip.compress(b"cloudy\n" * 99, mtime=0), None),
        ("empty", b"", None),
    ],
)
def test_a_cube_by_what_it_begins_with(night, name, content, kind):
    (streams(night) / "vcam1" / name).write_bytes(content)
    assert outside(night) == ([(f"vcam1/{name}", kind)] if kind else [])


def test_an_archive_of_cubes(night):
    cube = cubes(night)[0]
    with tarfile.open(streams(night) / "old.tar.gz", "w:gz") as tar:
        tar.add(cube, cube.name)
    with tarfile.open(streams(night) / "old.tar", "w") as tar:
        tar.add(cube, cube.name)
    assert outside(night) == [("old.tar", "compressed"), ("old.tar.gz", "compressed")]


def test_a_txt_whose_cube_is_gone(night):
    first, second, *_ = cubes(night)
    first.unlink()
    second.unlink()
    renamed = second.with_suffix(".txt").rename(second.with_name("second.txt"))  # its rows tell
    empty = streams(night) / "vcam1/vcam1_09:00:00.1.txt"  # its name tells
    empty.touch()
    capitals, packed, elsewhere = (streams(night) / name for name in ("vcam1/a.TXT", "vcam1/b.txt.gz", "old/c.txt"))
    elsewhere.parent.mkdir()
    for path in (capitals, elsewhere):
        path.write_bytes(renamed.read_bytes())
    packed.write_bytes(gzip.compress(renamed.read_bytes()))
    (streams(night) / "old/notes.txt").write_text("cloudy\n")
    paths = (first.with_suffix(".txt"), empty, renamed, capitals, packed, elsewhere)
    assert sorted(outside(night)) == sorted((str(path.relative_to(streams(night))), "timing") for path in paths)


def test_a_txt_whose_cube_is_on_record_is_not_told_beside_it(night):
    """A cube that is gone is missed by itself; one in quarantine may be removed."""
    night.bring(to="synced")
    cubes(night)[0].unlink()
    result = night.advance(to="synced")
    assert [reason.split(":")[0] for _, reason in result.failed] == ["gone"]
    assert not any("timing file" in remark for remark in result.remarks)
    (status,) = nights(night.config, pipelines(night.config))
    assert status.outside == 0


def test_cubes_in_other_folders_however_deep(night):
    first, second, third, fourth, *_ = cubes(night)
    places = ["vcam1_old", "vcam1/bad", "a/b/c", "."]
    for cube, place in zip((first, second, third, fourth), places, strict=True):
        (streams(night) / place).mkdir(parents=True, exist_ok=True)
        for path in (cube, cube.with_suffix(".txt")):
            path.rename(streams(night) / place / path.name)
    assert {kind for _, kind in outside(night)} == {"moved"}
    assert sorted(Path(path).parent.as_posix() for path, _ in outside(night)) == sorted(places)


def cubes_of(world: World) -> list[Path]:
    return sorted(streams(world).rglob("*.fits"))


def test_links_to_what_is_used_are_nothing_new(night):
    (streams(night) / "latest").symlink_to(streams(night) / "vcam1")
    assert night.advance(to="fixed").succeeded
    (streams(night) / "products").symlink_to(streams(night) / "vgen2")
    assert outside(night) == []


def test_a_link_to_a_disk_that_is_not_there_may_hold_anything(night):
    (streams(night) / "disk").symlink_to("/not/mounted/frames")
    (streams(night) / ".#notes").symlink_to("somebody@host.1:2")
    assert outside(night) == [("disk", "unreadable")]


def test_links_are_followed_once(night):
    (streams(night) / "there").mkdir()
    (streams(night) / "there/x.fits").write_bytes(FITS)
    (streams(night) / "there/back").symlink_to(streams(night) / "there")
    (streams(night) / "again").symlink_to(streams(night) / "there")
    os.mkfifo(streams(night) / "there/pipe")  # which nobody waits at
    assert len(outside(night)) == 1


def test_what_cannot_be_printed_is_escaped(night):
    (streams(night) / "vcam1/a\nb.fit").write_bytes(FITS)
    assert outside(night) == [("vcam1/a\\nb.fit", "named")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_cannot_be_read_may_hold_anything(night):
    (streams(night) / "old").mkdir(mode=0)
    assert outside(night) == [("old", "unreadable")]


def test_a_folder_that_cannot_be_listed_may_hold_anything(night, monkeypatch):
    (streams(night) / "old").mkdir()
    listed = os.scandir

    def refuse(path):
        if Path(path).name in refused:
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    refused = {"old"}
    monkeypatch.setattr(os, "scandir", refuse)
    assert outside(night) == [("old", "unreadable")]
    refused.add("vcam1")
    with pytest.raises(Unreachable, match="vcam1"):
        outside(night)


# what it means


def test_rules_cover_paths_or_names():
    assert Rule("apapane/*", "").covers("apapane/x.fits")
    assert Rule("apapane/*", "").covers("apapane/deep/x.fits")
    assert not Rule("apapane/*", "").covers("vcam1/apapane/x.fits")
    assert Rule("*.fits.gz", "").covers("vcam1/x.fits.gz")
    assert not Rule("x.fits.gz", "").covers("vcam1/y.fits.gz")
    files = [Outside("a/x.fits", "moved"), Outside("b/y.fits", "moved"), Outside("vcam1/z.txt", "timing")]
    found = sort_out(files, [Rule("a/*", "why")], waits=True, raws=lambda: {"vcam1/z.fits"})
    assert [file.path for file in found.undecided] == ["b/y.fits"]
    assert [(file.path, reason) for file, reason in found.left_out] == [("a/x.fits", "why")]


def test_a_folder_that_is_left_out_as_a_whole_is_not_walked(night, monkeypatch):
    (streams(night) / "apapane").mkdir()
    (streams(night) / "apapane/x.fits").write_bytes(FITS)
    listed = os.scandir
    looked = []
    monkeypatch.setattr(os, "scandir", lambda path: looked.append(Path(path).name) or listed(path))
    rules = [Rule("apapane/*", "another camera")]
    outside = list(find_outside(night.night(), night.config.instrument, rules))
    assert outside == [Outside("apapane/*", "folder")]
    assert "apapane" not in looked
    found = sort_out(outside, rules, waits=True, raws=set)
    assert (found.undecided, found.left_out) == ((), ((outside[0], "another camera"),))


def compress(world: World, date: str = DATE) -> Path:
    """Compress the second cube of a night, as people do to make room."""
    cube = cubes(world, date)[1]
    packed = cube.with_name(cube.name + ".gz")
    packed.write_bytes(gzip.compress(cube.read_bytes()))
    cube.unlink()
    return packed


def test_a_night_is_not_numbered_until_somebody_decides(world):
    world.simulate(scale=0.02, scenario=("slow",))
    packed = compress(world)
    result = world.advance()
    assert packed.name in result.stopped
    assert result.states == {"synced": result.states.total()}
    assert world.query("SELECT COUNT(*) FROM frame_id") == [(0,)]
    assert not (streams(world) / "vgen2").exists()
    assert decisions.ignore(world.store(), world.config, packed.name, "saturated", DATE) == 1
    result = world.advance()
    assert result.succeeded
    assert result.states.keys() == {"manifested"}
    ((detail,),) = world.query(
        "SELECT detail FROM entry WHERE event = 'left_out' AND run_id IN (SELECT id FROM run WHERE command = 'advance')"
    )
    assert "saturated" in str(detail)


def test_unpacked_it_is_used(world):
    truth = world.simulate(scale=0.02, scenario=("slow",))
    packed = compress(world)
    assert not world.advance().succeeded
    packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    assert world.advance().succeeded
    assert world.query("SELECT SUM(n_frames) FROM file WHERE kind = 'product'") == [
        (sum(f.n_frames for f in truth.files),)
    ]


def test_a_night_of_nothing_else_holds_back_those_after_it(world):
    world.simulate_two(DATE, NEXT)
    for cube in cubes_of(world):
        cube.rename(cube.with_suffix(".FITS"))
    with pytest.raises(NotReady, match=f"{DATE} has files that may hold frames"):
        raise NotReady(str(world.advance(NEXT).stopped))
    assert "FITS" in world.advance(DATE).stopped
    (first, second) = nights(world.config, pipelines(world.config))
    assert (first.stands, first.next_command) == ("on disk", f"ledger outside list --date {DATE}")
    assert (first.outside > 0, second.outside) == (True, 0)
    decisions.ignore(world.store(), world.config, "*.FITS", "dome tests", None)
    assert world.advance(NEXT).succeeded
    assert [night.stands for night in nights(world.config, pipelines(world.config))] == ["empty", "finished"]


def test_it_is_told_by_everybody(night):
    packed = compress(night)
    assert packed.name in plan_advance(night.machine(), night.night(), None).outside
    assert packed.name in plan_advance(night.machine(), night.night(), None).stopped
    for command in (
        ("scan", "--date", DATE),
        ("advance", "--date", DATE),
        ("advance", "--date", DATE, "--dry-run"),
        ("summary", "--date", DATE),
        ("doctor",),
        ("audit", "--date", DATE),
        ("outside", "list"),
    ):
        done = night.run(*command)
        assert "compressed cube" in done.stdout, (command, done.stdout, done.stderr)
    assert "Nothing unexpected" not in night.run("summary", "--date", DATE).stdout
    (status,) = json.loads(night.run("status", "--json").stdout)
    assert (status["outside"], status["next_command"]) == (1, f"ledger outside list --date {DATE}")
    assert [f["path"] for f in json.loads(night.run("outside", "list", "--json").stdout)] == [f"vcam1/{packed.name}"]


def test_catch_up_tells_and_fails_until_it_is_decided(night):
    compress(night)
    first, second = night.run("catch-up"), night.run("catch-up")
    assert (first.returncode, second.returncode) == (1, 1)
    assert "compressed cube" in second.stdout
    assert night.run("outside", "ignore", "*.gz", "--reason", "test", "--date", DATE).returncode == 0
    done = night.run("catch-up")
    assert done.returncode == 0, done.stdout
    assert night.run("catch-up").stdout == ""


def test_what_comes_to_a_numbered_night_is_told_and_holds_nothing_back(world):
    world.simulate_two(DATE, NEXT)
    world.bring(DATE)
    (streams(world) / "vcam1/late.fits.fz").write_bytes(FITS)
    result = world.advance(DATE)
    assert result.succeeded  # there is nothing to wait with
    assert any("compressed cube" in remark for remark in result.remarks)
    assert [night.stands for night in nights(world.config, pipelines(world.config), dates=Dates([DATE]))] == ["changed"]
    assert world.advance(NEXT).succeeded
    assert any("late.fits.fz" in v.what for v in laws.check_files(world.store(), world.config, dates=Dates([DATE])))
    assert any("late.fits.fz" in f.text for f in doctor.examine(world.config, dates=Dates([DATE])))
    decisions.ignore(world.store(), world.config, "late.fits.fz", "a test", DATE)
    assert world.advance(DATE).succeeded
    (night,) = nights(world.config, pipelines(world.config), dates=Dates([DATE]))
    assert night.stands == "finished"
    assert list(laws.check_files(world.store(), world.config, dates=Dates([DATE]))) == []


def test_without_frame_ids_it_is_told_and_nothing_waits(sqlite_world):
    sqlite_world.simulate(pipeline="engineering", scale=0.02, scenario=("slow",))
    (sqlite_world.folder / "engineering" / DATE / "vcam1/late.fits.fz").write_bytes(FITS)
    result = sqlite_world.machine().advance(sqlite_world.night())
    assert result.succeeded
    assert any("compressed cube" in remark for remark in result.remarks)


def test_ignored_by_the_configuration_it_is_told_and_nothing_waits(night):
    night.data["outside"] = "ignore"
    compress(night)
    result = night.advance()
    assert result.succeeded
    assert any("compressed cube" in remark for remark in result.remarks)
    ((detail,),) = night.query("SELECT detail FROM entry WHERE event = 'left_out'")
    assert "outside: ignore" in str(detail)

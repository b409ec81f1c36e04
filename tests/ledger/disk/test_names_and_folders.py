"""Dates, names and folders that cannot be used, and cameras that were not."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from ledger.cli import main
from ledger.disk import raws
from ledger.disk.dates import parse_date
from ledger.disk.nights import find_night
from ledger.errors import Unreachable, UsageError
from tests.ledger.disk.raws import assert_clean, forbid, raw_files
from tests.world import DATE


@pytest.mark.parametrize("text", ["20260102", "2026-01-02"])
def test_a_date(text):
    assert parse_date(text) == DATE


@pytest.mark.parametrize("text", ["20260230", "2026-1-2", "today", "", "202601020", "archive/20260102"])
def test_no_date(text):
    with pytest.raises(UsageError, match="expected YYYYMMDD"):
        parse_date(text)


def test_a_date_in_both_roots_means_archive_and_a_path_is_never_ambiguous(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("onecamera",), pipeline="engineering")
    assert find_night(sqlite_world.config, date=DATE).pipeline == "engineering"
    sqlite_world.simulate(scale=0.02, scenario=("onecamera",))
    assert find_night(sqlite_world.config, date=DATE).pipeline == "archive"
    for pipeline in ("archive", "engineering"):
        assert find_night(sqlite_world.config, folder=sqlite_world.folder / pipeline / DATE).pipeline == pipeline


def test_roots_may_nest(sqlite_world):
    sqlite_world.data["engineering"]["root"] = str(sqlite_world.folder / "archive/engineering")
    night = sqlite_world.folder / "archive/engineering" / DATE
    night.mkdir(parents=True)
    assert find_night(sqlite_world.config, folder=night).pipeline == "engineering"
    with pytest.raises(UsageError, match="not a night"):
        find_night(sqlite_world.config, folder=night.parent)


def test_a_foreign_night_is_refused_and_never_touched(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("onecamera",))
    products = sqlite_world.folder / "archive" / DATE / "vgen2"
    products.mkdir()
    (products / "VMPA00000001.fits.fz").write_text("of another tool")
    before = sqlite_world.tree()
    done = sqlite_world.run("advance", "--date", DATE)
    assert done.returncode == 1
    assert "foreign" in done.stderr
    assert str(products) in done.stderr
    assert sqlite_world.tree() == before
    assert sqlite_world.query("SELECT COUNT(*) FROM file") == [(0,)]
    shutil.rmtree(products)
    assert sqlite_world.advance().succeeded
    assert sqlite_world.rollback().succeeded
    assert sqlite_world.advance().succeeded


def rename(cube: Path, stem: bytes) -> Path:
    """Give a cube and its txt another name, which need not be text; return the cube's path."""
    for path in (cube, cube.with_suffix(".txt")):
        path.rename(path.with_name(os.fsdecode(stem) + path.suffix))
    return cube.with_name(os.fsdecode(stem) + cube.suffix)


def test_a_name_that_is_no_text_is_put_aside_escaped(world):
    world.simulate(scale=0.02, scenario=("slow",))
    first = raw_files(world)[0]
    renamed = rename(first, b"vcam1_\xff")
    escaped = r"vcam1/vcam1_\xff.fits"
    done = world.run("advance", "--date", DATE, "--dry-run")
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert escaped in done.stdout
    done = world.run("advance", "--date", DATE, "--to", "fixed")
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("  quarantined"))
    assert escaped in line
    assert "UTF-8" in line
    assert "rename it" in line
    assert world.query("SELECT folder, name FROM quarantine") == [("vcam1", r"vcam1_\xff.fits")]
    for command in (("status",), ("audit",), ("summary", "--date", DATE), ("scan", "--date", DATE)):
        done = world.run(*command)
        assert done.returncode == 0, done.stdout + done.stderr
    assert not world.advance(to="fixed").changed
    rename(renamed, first.stem.encode())
    assert world.advance().registered == 1
    assert_clean(world)


def test_an_escaped_name_gives_way_to_a_file_that_is_called_so(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("slow",))
    first, second = raw_files(sqlite_world)[:2]
    rename(first, b"vcam1_\xff")
    rename(second, rb"vcam1_\xff")
    result = sqlite_world.advance(to="synced")
    assert (result.succeeded, result.quarantined) == (True, [])
    assert_clean(sqlite_world)


@pytest.mark.parametrize(
    "command", [("advance", "--date", DATE), ("scan", "--date", DATE), ("summary", "--date", DATE), ("status",)]
)
@pytest.mark.parametrize("what", ["list", "stat", "link", "root"])
def test_a_folder_that_cannot_be_read_is_one_sentence(sqlite_world, monkeypatch, capsys, command, what):
    sqlite_world.simulate(scale=0.02, scenario=("onecamera",))
    stream = sqlite_world.folder / "archive" / DATE / "vcam1"
    if what == "list":
        forbid(monkeypatch, "list", stream)
    elif what == "stat":
        forbid(monkeypatch, "stat", stream)
    elif what == "link":
        stream.rename(stream.with_name("shelf"))
        stream.symlink_to("nowhere")
    elif command == ("status",):
        stream = stream.parent.parent
        forbid(monkeypatch, "list", stream)
    else:
        stream = stream.parent
        forbid(monkeypatch, "stat", stream)
    monkeypatch.chdir(sqlite_world.folder)
    monkeypatch.setattr(sys, "argv", ["ledger", "--config", str(sqlite_world.config_path), *command])
    with pytest.raises(SystemExit) as exited:
        main()
    err = capsys.readouterr().err
    if command == ("status",) and what == "stat":
        assert exited.value.code in (0, None), err  # it only lists
        return
    assert exited.value.code == 1, err
    (line,) = (line for line in err.splitlines() if line.startswith("ledger: "))
    assert "Traceback" not in err
    assert str(stream) in line
    assert "cannot be read" in line
    assert "run the same command again" in line


def test_a_txt_that_is_replaced_while_the_folder_is_listed_is_looked_for_by_name(sqlite_world, monkeypatch):
    """Whoever puts another file in its place may keep its name from a listing that is under way."""
    sqlite_world.simulate(scale=0.02, scenario=("onecamera",))
    sqlite_world.bring(to="synced")
    listed = raws.entries_of
    monkeypatch.setattr(raws, "entries_of", lambda folder: (e for e in listed(folder) if not e.name.endswith(".txt")))
    assert sqlite_world.machine().scan(sqlite_world.night()).succeeded


@pytest.mark.parametrize("other", ["missing", "empty"])
def test_a_camera_without_the_other_is_archived_alone(world, other):
    truth = world.simulate(scale=0.02, scenario=("slow",))
    stream = world.folder / "archive" / DATE / "vcam2"
    shutil.rmtree(stream)
    if other == "empty":
        stream.mkdir()
    assert world.advance().succeeded
    n_frames = sum(file.n_frames for file in truth.files if file.path.startswith("vcam1/"))
    assert world.query("SELECT SUM(n_frames), COUNT(DISTINCT camera) FROM file WHERE kind = 'product'") == [
        (n_frames, 1)
    ]
    assert world.query("SELECT COUNT(*) FROM file WHERE kind = 'product' AND (synchronised OR NOT solo)") == [(0,)]
    assert_clean(world)


def test_nothing_is_numbered_while_a_streams_disk_is_not_there(world):
    world.simulate(scale=0.02, scenario=("slow",))
    stream = world.folder / "archive" / DATE / "vcam2"
    stream.rename(stream.with_name("shelf"))
    stream.symlink_to("/not/mounted/vcam2")
    with pytest.raises(Unreachable, match="vcam2"):
        world.advance()
    assert world.query("SELECT COUNT(*) FROM frame_id") == [(0,)]

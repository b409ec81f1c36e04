"""Faults of commands that were found by trying them, and mended."""

from ledger.config.read import read_config
from ledger.night import record
from ledger.query import history
from ledger.run.catch_up import catch_up
from tests.acceptance.test_mended import cubes
from tests.ledger.cli.forked import on_terminal
from tests.world import DATE


def test_the_question_can_be_read_on_a_terminal(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("onecamera",))
    sqlite_world.bring(to="fixed")
    _, shown = on_terminal(sqlite_world, "n\n", "rollback", "--date", DATE, after="[y/N]")
    before, after = shown.split("[y/N]")
    assert "\x1b[2K" not in after.split("n\r\n")[0], after  # nothing erases the line of the question
    assert "\x1b[?25l" not in before, "the cursor is hidden while it asks"


def test_catch_up_says_that_the_archives_root_is_missing(sqlite_world):
    (sqlite_world.folder / "archive").rmdir()
    done = sqlite_world.run("catch-up")
    assert done.returncode != 0
    assert "archive.root" in done.stderr


def test_catch_up_takes_up_a_file_put_right_in_a_finished_night(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("slow", "onecamera"))
    timing = cubes(sqlite_world, "vcam1")[-1].with_suffix(".txt")
    content = timing.read_bytes()
    timing.unlink()
    assert sqlite_world.advance().succeeded
    timing.write_bytes(content)
    assert [n.date for n, _ in catch_up(sqlite_world.machine())] == [DATE]


def test_init_on_a_file_that_is_no_database(sqlite_world):
    path = sqlite_world.folder / "x.db"
    path.write_text("not a database\n" * 1000)
    sqlite_world.data["database"]["url"] = f"sqlite:///{path}"
    done = sqlite_world.run("init")
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr


def test_an_excluded_night_is_not_numbered(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("onecamera",))
    record.exclude(sqlite_world.machine().store, "archive", sqlite_world.folder / "archive", DATE, "dome tests")
    assert "is excluded (dome tests)" in sqlite_world.advance().stopped
    assert sqlite_world.query("SELECT COUNT(*) FROM frame_id") == [(0,)]


def test_a_night_that_is_not_known_is_an_error_for_status_and_audit(sqlite_world):
    assert sqlite_world.run("status", "--date", "20250101").returncode == 2
    assert sqlite_world.run("audit", "--date", "20250101").returncode == 2


def test_a_date_in_both_roots_is_said(sqlite_world):
    for pipeline in ("archive", "engineering"):
        sqlite_world.simulate(scale=0.02, scenario=("onecamera",), pipeline=pipeline)
    done = sqlite_world.run("advance", "--date", DATE, "--to", "raw")
    assert "engineering" in done.stdout + done.stderr


def test_explain_a_quarantined_file_names_the_next_step(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("onecamera",))
    cube = cubes(sqlite_world, "vcam1")[0]
    cube.with_suffix(".txt").unlink()
    sqlite_world.machine().scan(sqlite_world.night())
    assert "nothing to do" not in sqlite_world.run("explain", str(cube)).stdout


def test_history_of_a_product_that_was_rolled_back_by_its_name(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("onecamera",))
    sqlite_world.bring(to="fixed")
    ((name,),) = sqlite_world.query("SELECT name FROM file WHERE kind = 'product' ORDER BY id LIMIT 1")
    assert sqlite_world.rollback().succeeded
    assert history.find(sqlite_world.store(), name).row is None


def test_a_stream_that_is_a_file_or_a_cube_that_is_a_dead_link_is_told(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("slow",))
    cube = cubes(sqlite_world, "vcam1")[0]
    cube.unlink()
    cube.symlink_to("nowhere.fits")
    result = sqlite_world.advance(to="synced")
    assert f"vcam1/{cube.name}" in dict(result.quarantined) | dict(result.failed)


def test_sql_may_hold_a_percent_sign(world):
    world.simulate(scale=0.02, scenario=("onecamera",))
    world.machine().scan(world.night())
    done = world.run("sql", "SELECT COUNT(*) AS n FROM file WHERE name LIKE 'vcam1%'")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[1]) > 0


def test_a_relative_dictionary_is_relative_to_the_file(sqlite_world):
    sqlite_world.data["instrument"]["dictionary"] = "mine/words.tsv"
    assert sqlite_world.config.instrument.dictionary == str(sqlite_world.folder / "mine/words.tsv")
    sqlite_world.data["instrument"]["dictionary"] = "vampires"
    assert sqlite_world.config.instrument.dictionary == "vampires"


def test_a_umask_from_the_environment_is_octal(sqlite_world):
    config = read_config(sqlite_world.config_path, environment={"LEDGER_PERMISSIONS__UMASK": "0002"})
    assert config.permissions.umask == "0002"

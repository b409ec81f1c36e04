"""What is told unattended: what is as always is not, and what is alike is told once."""

from collections import Counter

import pytest

from ledger.cli.output import show_result
from ledger.report import Result
from tests.inside import call
from tests.ledger.cli.forked import on_terminal
from tests.world import DATE, World


def test_catch_up_does_not_tell_remarks(sqlite_world: World) -> None:
    world = sqlite_world
    world.data["log"] = str(world.folder / "logs/ledger.log")
    world.simulate(scale=0.02, scenario=("pdi",))
    done = call(world, "catch-up")
    assert done.returncode == 0, done.stderr
    assert f"night {DATE} (archive): register" in done.stdout
    assert "  remark" not in done.stdout
    assert ": remark: digits kept: " in (world.folder / "logs/ledger.log").read_text()
    assert call(world, "rollback", "--date", DATE, "--yes").returncode == 0
    assert "  remark       digits kept: " in call(world, "advance", "--date", DATE).stdout


def test_what_was_settled_is_a_line_a_kind(capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"vsync_06:00:{n:02}.000000.cam1.A" for n in range(40)]
    settled = [f"{name}: consolidate had begun and not ended" for name in names]
    settled += [f"{name}: fix had begun and not ended" for name in names[:1]]
    settled += [f".ledger-{name}.fits: left behind, removed" for name in names[:2]]
    show_result(Result("archive", DATE, settled=settled))
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:] == [
        f"  settled      {names[0]} and 39 more: consolidate had begun and not ended",
        f"  settled      {names[0]}: fix had begun and not ended",
        f"  settled      .ledger-{names[0]}.fits and 1 more: left behind, removed",
    ]


def test_the_same_error_is_told_of_one_night(capsys: pytest.CaptureFixture[str]) -> None:
    said: set[str] = set()
    down = "host: no connection (timed out); see whether `ssh host true` gets there"
    for date in ("20260101", "20260102"):
        failed = [(f"{date}-{n}", down) for n in range(3)]
        show_result(Result("archive", date, failed=failed, moved=Counter(compress=3)), said=said)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == f"  FAILED       20260101-0 and 2 more: {down}"
    assert lines[3] == "  FAILED       20260102-0 and 2 more: as above"


def test_of_a_host_that_is_down_one_command_is_told(sqlite_world, sshd):
    world = sqlite_world
    world.send_afar(sshd)
    for seed, date in enumerate((DATE, "20260103")):
        world.simulate(date, seed=seed, scale=0.02, scenario=("pdi", "slow"))
        world.bring(date=date, to="compressed")
    world.data["transfer"]["ssh"]["port"] = 1
    done = call(world, "catch-up")
    assert done.returncode == 1
    ((n,),) = world.query("SELECT count(*) FROM file WHERE state = 'compressed' AND next_retry_us IS NOT NULL")
    assert n > 10
    assert (done.stdout + done.stderr).count("`ssh ") == 1, done.stdout
    assert "as above" in done.stdout
    listed = on_terminal(world, "", "quarantine", "list", "--date", DATE, columns=80)[1]
    assert listed.count("`ssh ") == 1
    ((n,),) = world.query(
        "SELECT count(*) FROM file JOIN night ON night.id = night_id"
        f" WHERE night.date = '{DATE}' AND next_retry_us IS NOT NULL"
    )
    assert f"reason, of these {n}: " in listed
    again = call(world, "advance", "--date", DATE)
    assert (again.stdout + again.stderr).count("`ssh ") == 1

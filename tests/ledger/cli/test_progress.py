"""What is told while products are sent: bytes, as they arrive."""

import re

import pytest

from ledger.cli.progress import Lines
from ledger.report import Silent
from tests.ledger.cli.forked import on_terminal
from tests.world import DATE


class Told(Silent):
    """Keeps what it is told."""

    def __init__(self):
        self.sizes = {}
        self.carried = []

    def phase(self, name, total, *, size_bytes=None):
        if size_bytes is not None:
            self.sizes[name] = (total, size_bytes)

    def carry(self, size_bytes):
        self.carried.append(size_bytes)


@pytest.mark.parametrize("is_afar", [False, True])
def test_bytes_are_told_as_they_arrive(sqlite_world, sshd, is_afar):
    if is_afar:
        sqlite_world.send_afar(sshd)
    sqlite_world.simulate(scale=0.02, scenario=("pdi",))
    sqlite_world.bring(to="compressed")
    told = Told()
    assert sqlite_world.machine(reporter=told).advance(sqlite_world.night()).succeeded
    ((n, size_bytes),) = sqlite_world.query("SELECT count(*), sum(size_bytes) FROM file WHERE kind = 'product'")
    assert told.sizes == {"transferred": (n, size_bytes)}
    # all of it while it was on its way; the night's own files come on top, and the manifest after it
    own = sum(path.stat().st_size for path in sqlite_world.destination.rglob("*") if path.suffix in (".txt", ".tsv"))
    own += (sqlite_world.destination / DATE / "SHA256SUMS").stat().st_size
    manifest = (sqlite_world.destination / DATE / f"manifest_VMP_{DATE}.csv").stat().st_size
    assert told.carried[-1] == manifest or told.carried[-2] == manifest
    carried = [each for each in told.carried if each]
    assert sum(each for each in carried if each > 0) == size_bytes + own + manifest
    assert sum(carried) == size_bytes + manifest


def test_a_terminal_shows_bytes_and_rate(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("pdi",))
    status, shown = on_terminal(sqlite_world, "", "advance", "--date", DATE)
    assert status == 0, shown
    assert "MB" in shown or "kB" in shown
    assert "/s" in shown


def trouble_afar(world, sshd):
    """Let nobody answer where products go."""
    world.send_afar(sshd)
    world.data["transfer"]["ssh"]["port"] = 1


def trouble_window(world, _):
    """Let it be the wrong time of day."""
    world.now_us = 1_800_000_000_000_000 // 86_400_000_000 * 86_400_000_000 + 43_200_000_000
    world.data["transfer"]["window"] = "18:00-06:00"


@pytest.mark.parametrize(("trouble", "begins"), [(trouble_afar, True), (trouble_window, False)])
def test_nothing_is_told_as_done_that_was_not(sqlite_world, sshd, capsys, trouble, begins):
    world = sqlite_world
    world.simulate(scale=0.02, scenario=("pdi",))
    world.bring(to="compressed")
    trouble(world, sshd)
    result = world.machine(reporter=Lines()).advance(world.night())
    assert not result.succeeded
    said = capsys.readouterr().err
    ((n,),) = world.query("SELECT count(*) FROM file WHERE kind = 'product'")
    assert (f" to transferred: {n} files, " in said) is begins
    assert (f"Z transferred: 0 of {n} files" in said) is begins
    assert "Z transferred:" not in said or begins


def test_a_bar_of_what_failed_is_not_full(sqlite_world):
    world = sqlite_world
    world.simulate(scale=0.02, scenario=("pdi",))
    world.bring(to="compressed")
    (cube, *_) = sorted((world.folder / "archive" / DATE / "vgen2").glob("*.fz"))
    cube.write_bytes(cube.read_bytes()[:-1] + b"?")
    status, shown = on_terminal(world, "", "advance", "--date", DATE)
    assert status == 1
    bar = [line for line in re.split(r"[\r\n]+", shown) if "to transferred" in line][-1]
    done, total = re.search(r"([\d.]+)/([\d.]+) [kM]B", bar).groups()
    assert float(done) < float(total), bar
    log = (world.config.log).read_text()
    ((n,),) = world.query("SELECT count(*) FROM file WHERE kind = 'product'")
    assert f" transferred: {n - 1} of {n} files" in log

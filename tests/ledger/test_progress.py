"""What is told while products are sent: bytes, as they arrive."""

import pytest

from ledger.report import Silent
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
    assert sqlite_world.advance(to="compressed").succeeded
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
    status, shown = sqlite_world.on_terminal("", "advance", "--date", DATE)
    assert status == 0, shown
    assert "MB" in shown or "kB" in shown
    assert "/s" in shown

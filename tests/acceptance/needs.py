"""How nights come to be in need: each function leaves a world in which somebody has to do something."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from ledger.delivery import manifest
from ledger.delivery.copies import verify
from tests.inside import call
from tests.world import DATE, World

EARLIER, LATER = "20260101", "20260103"

Act = Callable[[World], object]


def small(world: World, *dates: str) -> None:
    for seed, date in enumerate(dates or (DATE,)):
        world.simulate(date, seed=seed, scale=0.02, scenario=("onecamera",))


def brought(to: str | None = None) -> Act:
    def act(world: World) -> None:
        small(world)
        world.bring(**({"to": to} if to else {}))

    return act


def products(world: World, date: str = DATE) -> list[Path]:
    return sorted((world.folder / "archive" / date / "vgen2").glob("*.fits*"))


def raws(world: World, date: str = DATE) -> list[Path]:
    return sorted((world.folder / "archive" / date).glob("vcam*/*.fits"))


def spoil(world: World) -> None:
    """Let a product be put in quarantine."""
    brought("consolidated")(world)
    kept(world).mkdir()
    cube = products(world)[0]
    shutil.copy2(cube, kept(world))
    cube.write_bytes(b"short")
    world.advance()


def kept(world: World) -> Path:
    """Return where files are that come back."""
    return world.folder / "kept"


def put_back(world: World) -> None:
    shutil.copytree(kept(world), world.night().path / "vgen2", dirs_exist_ok=True)


def fail(world: World) -> None:
    """Let a product fail in a way that may pass."""
    brought("consolidated")(world)
    cube = products(world)[0]
    kept(world).mkdir()
    cube.rename(kept(world) / cube.name)
    world.advance()


def without_timing(world: World) -> None:
    """Let all of a night be in quarantine."""
    small(world)
    for path in [path.with_suffix(".txt") for path in raws(world)]:
        path.rename(world.folder / path.name)
    world.advance()


def with_timing(world: World) -> None:
    for path in raws(world):
        (world.folder / path.with_suffix(".txt").name).rename(path.with_suffix(".txt"))


def two(to: str = "synced") -> Act:
    def act(world: World) -> None:
        small(world, DATE, LATER)
        for date in (DATE, LATER):
            assert world.advance(date, to=to).succeeded

    return act


def late(world: World) -> None:
    brought()(world)
    world.simulate(EARLIER, seed=7, scale=0.02, scenario=("onecamera",))
    world.simulate(LATER, seed=8, scale=0.02, scenario=("onecamera",))


def raws_that_came_later(world: World) -> None:
    small(world)
    held_back = [path for cube in raws(world)[-1:] for path in (cube, cube.with_suffix(".txt"))]
    for path in held_back:
        path.rename(world.folder / path.name)
    assert world.advance().succeeded
    for path in held_back:
        (world.folder / path.name).rename(path)


def with_files_outside(world: World) -> None:
    small(world, DATE, LATER)
    shutil.copy2(raws(world)[0], world.night().path / "vcam1" / "copy.fits.gz")
    world.advance(to="raw")


def nothing_but_files_outside(world: World) -> None:
    small(world, DATE, LATER)
    for path in raws(world):
        path.rename(path.with_suffix(".fits.part"))


def named_right(world: World) -> None:
    for path in (world.folder / "archive" / DATE).glob("vcam*/*.part"):
        path.rename(path.with_suffix(""))


def receipt(world: World, more_bytes: int = 0) -> None:
    rows = world.query("SELECT frame_id, path, size_bytes FROM manifest_line")
    path = world.folder / "receipt.csv"
    path.write_text("".join(f"{frame_id}|{size_bytes + more_bytes}\n" for frame_id, _, size_bytes in rows))
    call(world, "receipt", str(path))


def contradicted(world: World) -> None:
    brought()(world)
    manifest.send(world.machine(), [world.night()])
    receipt(world, more_bytes=1)


def perhaps_mailed(world: World) -> None:
    brought()(world)
    manifest.send(world.machine(), [world.night()])
    with world.store().write() as session:  # as a connection that breaks at the end leaves it
        connection = session.connection()
        guards = [row[0] for row in connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'")]
        for guard in guards:
            connection.exec_driver_sql(f"DROP TRIGGER {guard}")
        connection.exec_driver_sql("UPDATE mail SET sent_us = NULL")


def withdrawn(world: World) -> None:
    brought()(world)
    manifest.send(world.machine(), [world.night()])
    assert world.rollback(to="fixed", withdraws=True).succeeded


def stalled(world: World) -> None:
    brought("synced")(world)
    world.data["notify"]["stalled_hours"] = 1e-6
    with world.store().write() as session:  # the clock of the world is ahead
        session.connection().exec_driver_sql(
            "INSERT INTO entry (at_us, night_id, name, event, detail) SELECT 1, id, date, 'noted', '{}' FROM night"
        )


def died(world: World) -> None:
    """Let a dead run have left a temporary file."""
    brought("compressed")(world)
    with world.store().write() as session:
        session.connection().exec_driver_sql("UPDATE run SET ended_us = NULL, exit_status = NULL, boot = 'before'")
    (world.night().path / "vgen2" / ".ledger-left.fits").write_bytes(b"half")


def gone(world: World) -> None:
    small(world, DATE, LATER)
    world.advance(to="synced")
    world.night().path.rename(world.folder / "away")


def damaged(world: World) -> None:
    brought()(world)
    next((world.destination / DATE).rglob("*.fz")).write_bytes(b"?")
    verify(world.machine(), world.night(), repairs=False)


def pruned(world: World) -> None:
    brought()(world)
    world.data["prune"]["products_days"] = 0
    call(world, "prune", "--yes")
    ((n,),) = world.query("SELECT count(*) FROM file WHERE pruned_us IS NOT NULL")
    assert n


def pruned_and_damaged(world: World) -> None:
    brought()(world)
    shutil.copytree(world.night().path / "vgen2", kept(world))
    world.data["prune"]["products_days"] = 0
    call(world, "prune", "--yes")
    for path in (world.destination / DATE).rglob("*.fz"):
        path.write_bytes(b"?")
    verify(world.machine(), world.night(), repairs=False)


def touch(world: World) -> None:
    os.utime(raws(world)[0], (1e9, 1e9))


def unbacked(world: World) -> None:
    world.data["backup"]["automatic"] = True
    brought("synced")(world)


def with_a_failed_backup(world: World) -> None:
    world.data["backup"]["automatic"] = True
    (world.destination / ".ledger").write_text("in the way")
    small(world)
    call(world, "advance", "--date", DATE, "--to", "synced")


def from_blocks(world: World) -> None:
    world.data["ids"]["authority"] = "blocks"
    brought("synced")(world)
    (world.folder / "ids.txt").write_text("VMPA00000100 VMPA00000199\n")


def rebuilt(world: World) -> None:
    brought()(world)
    world.close()
    world.data["database"]["url"] = f"sqlite:///{world.folder}/rebuilt.db"
    assert call(world, "rebuild").returncode == 0


def with_numbers_of_others(world: World) -> None:
    brought("synced")(world)
    (world.destination / "20250101/vgen2").mkdir(parents=True)
    (world.destination / "20250101/vgen2/VMPA00000007.fits.fz").write_text("of before")


def engineering(world: World) -> None:
    small(world)
    world.simulate(DATE, pipeline="engineering", scale=0.02, scenario=("onecamera",), seed=3)


def after(*acts: Act) -> Act:
    def act(world: World) -> None:
        for each in acts:
            each(world)

    return act


def excluded(world: World) -> None:
    brought("synced")(world)
    call(world, "exclude", DATE, "--reason", "dome tests")


def another_root(world: World) -> None:
    (world.folder / "archive").rename(world.folder / "moved")
    world.data["archive"]["root"] = str(world.folder / "moved")


def another_disk(world: World) -> None:
    (world.folder / "new disk").mkdir()
    world.data["transfer"] = {"destination": str(world.folder / "new disk")}


def copies_moved_there(world: World) -> None:
    shutil.move(world.destination / DATE, world.folder / "new disk")


def strays(world: World) -> None:
    small(world)
    for name in ("20260107b", "20260108b"):
        (world.folder / "archive" / name).mkdir()


def without_strays(world: World) -> None:
    for name in ("20260107b", "20260108b"):
        (world.folder / "archive" / name).rmdir()

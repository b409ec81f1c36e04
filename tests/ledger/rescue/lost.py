"""Lose a night's database, and look at what a rebuilt one has of it."""

import shutil
from typing import Any

from ledger.rescue.rebuild import Rebuilt, next_command, rebuild
from tests.databases import initialised_file
from tests.inside import call
from tests.ledger.db.test_backup import fresh
from tests.world import World

SECOND = "20260103"


#: What a rebuilt ledger has as it was: rows of products and raw files, IDs, proofs, manifests.
FACTS = {
    "file": "SELECT n.pipeline, n.date, f.kind, f.state, f.identity, f.folder, f.name, f.camera, f.flc, f.synchronised,"
    " f.solo, f.group_number, f.n_frames, f.first_us, f.last_us, f.exposure_us, f.size_bytes, f.timing_sha256,"
    " f.sha256, CAST(f.files AS TEXT), f.supplement, f.quarantine_reason FROM file f JOIN night n ON n.id = f.night_id",
    "lineage": "SELECT p.identity, l.position, r.identity, l.n_frames, CAST(l.runs AS TEXT) FROM lineage l"
    " JOIN file p ON p.id = l.product_id JOIN file r ON r.id = l.raw_id",
    "frame_id": "SELECT frame_id, number, identity, start_us, camera, flc, status, late FROM frame_id",
    "copy": "SELECT identity, path, sha256, size_bytes FROM copy WHERE withdrawn_us IS NULL",
    "manifest": "SELECT m.name, m.sha256, l.position, l.frame_id, l.identity, l.path, l.size_bytes FROM manifest m"
    " JOIN manifest_line l ON l.manifest_id = m.id WHERE m.withdrawn_us IS NULL",
    "sequence": "SELECT prefix, next_number FROM frame_sequence",
}


def facts(world: World) -> dict[str, list[Any]]:
    return {name: sorted(world.query(query), key=repr) for name, query in FACTS.items()}


def lose(world: World, url: str) -> Rebuilt:
    """Lose the database, and make it anew."""
    fresh(world, url)
    return rebuild(world.config, clock=lambda: world.now_us)


def carry_on(world: World, made: Rebuilt) -> None:
    """Say where numbering goes on, as the command asks to."""
    world.now_us += 1_000_000
    done = call(world, *next_command(world.config, made).split()[1:])
    assert done.returncode == 0, done.stderr


def undisturbed(world: World) -> World:
    """Return a world of the same nights that are advanced at once."""
    database = world.folder.with_name("undisturbed.db")
    shutil.copyfile(initialised_file(), database)
    other = World(world.folder.with_name("undisturbed"), f"sqlite:///{database}")
    for name in ("archive", "engineering"):
        shutil.copytree(world.folder / name, other.folder / name, dirs_exist_ok=True)
    other.begin()
    return other

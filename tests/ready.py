"""Imported last by the server that commands are forked from (`tests.processes`): makes it ready.

Statements are compiled by taking a small night through the ledger once; nothing of that is left but what SQLAlchemy
keeps, so no command knows of it.
"""

import shutil
import tempfile
from pathlib import Path

from ledger.audit import laws
from tests import warm
from tests.databases import initialised_file
from tests.world import World


def _take_a_night_there_and_back() -> None:
    with tempfile.TemporaryDirectory(prefix="ledger-ready-") as name:
        folder = Path(name)
        shutil.copyfile(initialised_file(), folder / "ledger.db")
        world = World(folder / "world", f"sqlite:///{folder / 'ledger.db'}")
        world.simulate(scale=0.02, scenario=("pdi",))
        assert world.advance().succeeded
        list(laws.check_laws(world.store(), laws.read_laws()))
        assert world.rollback().succeeded
        world.close()


warm.share_compiled_statements()
_take_a_night_there_and_back()
warm.freeze()

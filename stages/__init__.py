"""Stages: one module per state. They know paths, arrays and headers; never the database."""

from importlib import import_module
from typing import cast

from stages.base import Stage

#: The ledger's own stages: the name that a configuration uses, and the module.
STAGES = {
    "synced": "stages.synced",
    "consolidated": "stages.consolidated",
    "fixed": "stages.fixed",
    "identified": "stages.identified",
    "compressed": "stages.compressed",
    "transferred": "stages.transferred",
    "manifested": "stages.manifested",
}


def load(name: str) -> Stage:
    """Import a stage: one of the ledger's own by its name, or any module by its dotted path.

    Raises
    ------
    ImportError
        If there is no such module, or it lacks ``forward`` or ``reverse``.
    """
    module = import_module(STAGES.get(name, name))
    missing = [f for f in ("forward", "reverse") if not callable(getattr(module, f, None))]
    if missing:
        raise ImportError(f"module {module.__name__} has no function {' and no '.join(missing)}")
    return cast("Stage", module)

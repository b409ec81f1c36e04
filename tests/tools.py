"""What several tests need of the machine that they run on."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, NoReturn

import pytest

PACKAGES = {
    "chromium": "chromium",
    "fpack": "libcfitsio-bin",
    "funpack": "libcfitsio-bin",
    "fitsverify": "fitsverify",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "rsync": "rsync",
}

#: Real files, where the project is checked out beside them. What they show, look-alikes show too (`tests.others`).
SHARED = Path(__file__).parents[2] / "shared"


def beside(what: str, path: Path, *values: Any) -> Any:
    """Return parameters (by default the path) of a test that needs a file or folder beside the checkout.

    It is skipped by name where there is none, on CI too: the project proves the same without it.
    """
    mark = pytest.mark.skipif(not path.exists(), reason=f"missing: {what} beside the checkout")
    return pytest.param(*(values or (path,)), id="beside", marks=mark)


def folder_of_process(name: str) -> Path:
    """Return a new folder that goes with this process."""
    made = tempfile.TemporaryDirectory(prefix=f"ledger-{name}-", ignore_cleanup_errors=True)
    atexit.register(made.cleanup)
    return Path(made.name)


def missing(what: str) -> NoReturn:
    """Skip the test, naming what is missing; fail it in CI, where nothing may be."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"missing: {what}")
    pytest.skip(f"missing: {what}")


def need(*tools: str) -> None:
    """Skip the test where one of `tools` is not on PATH; fail it in CI."""
    for tool in tools:
        if shutil.which(tool) is None:
            missing(tool + (f" (Debian: {PACKAGES[tool]})" if tool in PACKAGES else ""))

"""Builds these pages as HTML, and the manual pages: ``python docs/build.py FOLDER``. A warning is an error.

Nothing is asked of any other host, neither now nor by the pages.
"""

import sys
from pathlib import Path

from sphinx.cmd.build import main

SOURCE = Path(__file__).parent


def build(folder: Path) -> int:
    """Write ``html`` and ``man`` into a folder; return 0, or the exit status of the first that failed."""
    common = ["-q", "-n", "-W", "--keep-going", "-d", str(folder / "doctrees")]
    for builder, options in (("html", ["-E"]), ("man", [])):  # read once: every page has the titles of all in it
        if status := main([*common, *options, "-b", builder, str(SOURCE), str(folder / builder)]):
            return status
    return 0


if __name__ == "__main__":
    sys.exit(build(Path(sys.argv[1])))

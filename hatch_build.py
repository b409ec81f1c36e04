"""Compiles the C in `stages` where there is a compiler; without one the ledger works all the same, more slowly."""

import os
import shlex
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import platform_tags

SOURCES, LIBRARY = ("stages/fits/_rice.c", "stages/fits/_timing.c"), "stages/fits/_native.so"
OPTIONS = ("-O3", "-fPIC", "-shared")


class CustomBuildHook(BuildHookInterface[Any]):
    """Adds the library to a wheel, or to the checkout of an editable installation."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile; a wheel with the library is for this platform, and for any Python 3 on it."""
        if self.target_name != "wheel":
            return
        if version == "editable":
            self._compile(Path(self.root, LIBRARY))
            return
        self._folder = tempfile.TemporaryDirectory()
        library = Path(self._folder.name, "_native.so")
        if self._compile(library):
            plain = (tag for tag in platform_tags() if not tag.startswith(("manylinux", "musllinux")))
            build_data["force_include"][str(library)] = LIBRARY
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{next(plain)}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Remove what was compiled for a wheel."""
        if hasattr(self, "_folder"):
            self._folder.cleanup()

    def _compile(self, library: Path) -> bool:
        compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
        command = [*compiler, *OPTIONS, "-o", str(library), *(str(Path(self.root, name)) for name in SOURCES)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as exc:
            why = getattr(exc, "stderr", "") or exc
            self.app.display_warning(f"{', '.join(SOURCES)}: not compiled; the same is done more slowly without: {why}")
            library.unlink(missing_ok=True)  # one of before, perhaps of other code
            return False
        return True

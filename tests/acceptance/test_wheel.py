"""An installed ledger needs no checkout: a wheel is built, installed into a fresh environment, and works there."""

import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
DATE = "20260102"


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command that knows nothing of this environment's Python path or ledger."""
    hidden = ("LEDGER_", "PYTHON", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=900)


def succeed(*command: str | Path, cwd: Path) -> str:
    done = run(*command, cwd=cwd)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    succeed(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, CHECKOUT, cwd=folder)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the scripts of an environment that holds the wheel and what it depends on.

    On CI that is what a package index gives for what the wheel declares; elsewhere it is what this environment has.
    """
    folder = tmp_path_factory.mktemp("installed")
    environment = folder / "environment"
    succeed(sys.executable, "-m", "venv", "--without-pip", environment, cwd=folder)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", environment, "--retries", "1")
    if os.environ.get("CI") == "true":
        succeed(*pip, "install", "--quiet", "--no-compile", wheel, cwd=folder)  # Python compiles what is used
    else:
        succeed(*pip, "install", "--quiet", "--no-compile", "--no-deps", wheel, cwd=folder)
        (packages,) = environment.glob("lib/python*/site-packages")
        (packages / "outside.pth").write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")
    return environment / "bin"


def test_the_wheel_holds_what_an_installed_ledger_needs_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    needed = {"config.yaml": "ledger/config.yaml"}
    for pattern, folder in (
        ("migrations/**/*.py", "ledger"),
        ("migrations/**/*.sql", "ledger"),
        ("migrations/*.mako", "ledger"),
        ("ledger/**/*.py", "."),
        ("ledger/audit/queries/*.sql", "."),
        ("ledger/query/queries/*.sql", "."),
        ("ledger/pages/templates/*", "."),
        ("*/py.typed", "."),
        ("stages/**/*.py", "."),
        ("stages/fits/dictionary/*.tsv", "."),
    ):
        found = [path.relative_to(CHECKOUT) for path in CHECKOUT.glob(pattern)]
        assert found, pattern
        needed |= {str(path): str(Path(folder) / path) for path in found}
    assert set(needed.values()) - names == set()
    others = {name for name in names if not re.match(r"ledger-[^/]+\.dist-info/", name)} - set(needed.values())
    assert others == {"stages/fits/_native.so"}, "a C compiler is needed here"


def test_without_a_compiler_it_is_built_for_any_machine(tmp_path: Path) -> None:
    environment = {**os.environ, "CC": "no-such-compiler"}
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, CHECKOUT]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    assert "not compiled" in done.stdout + done.stderr
    (made,) = tmp_path.glob("*-py3-none-any.whl")
    assert not [name for name in zipfile.ZipFile(made).namelist() if "_native" in name]


def test_it_works_where_there_is_no_checkout(installed: Path, tmp_path: Path) -> None:
    ledger = installed / "ledger"
    where = succeed(
        installed / "python", "-c", "import ledger, stages; print(ledger.__file__, stages.__file__)", cwd=tmp_path
    )
    assert all(path.startswith(str(installed.parent)) for path in where.split())
    assert "created" in succeed(ledger, "init", cwd=tmp_path)
    assert (tmp_path / "config.yaml").read_bytes() == (CHECKOUT / "config.yaml").read_bytes()
    succeed(ledger, "simulate", "archive", DATE, "--scale", "0.02", "--block", "pdi", "--size", "8", "8", cwd=tmp_path)
    succeed(ledger, "advance", "--date", DATE, "--to", "compressed", cwd=tmp_path)
    packed = list((tmp_path / "archive" / DATE / "vgen2").glob("VMPA*.fits.fz"))
    assert packed
    told = succeed(ledger, "sql", "SELECT COUNT(*) FROM file WHERE state = 'compressed'", cwd=tmp_path)
    assert told.split()[-1] == str(len(packed))
    assert "FAIL" not in succeed(ledger, "audit", cwd=tmp_path)
    succeed(ledger, "rollback", "--date", DATE, "--yes", cwd=tmp_path)
    assert sorted(path.name for path in (tmp_path / "archive" / DATE).iterdir()) == ["vcam1", "vcam2"]

"""Headers as a table: what a person asks for with `ledger headers`."""

import csv
import io
import json
import os
import pty
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from pyarrow import parquet

from tests.inside import call
from tests.ledger.cli.forked import on_terminal
from tests.world import DATE, World

SECOND = "20260103"


@pytest.fixture
def world(sqlite_world: World) -> World:
    sqlite_world.simulate(scale=0.05)
    sqlite_world.bring()
    return sqlite_world


def rows(done) -> list[dict[str, str]]:
    assert done.returncode == 0, done.stderr
    return list(csv.DictReader(io.StringIO(done.stdout)))


def test_a_night_has_a_row_for_each_product_in_the_order_of_frame_ids(world):
    found = rows(call(world, "headers", "--date", DATE, "-k", "FRAMEID"))
    assert list(found[0]) == ["path", "frame_id", "sibling_set", "FRAMEID"]
    ids = [row["frame_id"] for row in found]
    assert ids == [row["FRAMEID"] for row in found] == sorted(ids)
    assert len(ids) == world.query("SELECT count(*) FROM file WHERE kind = 'product'")[0][0]
    for row in found:
        assert fits.getheader(row["path"], 1)["FRAMEID"] == row["frame_id"]


def test_all_values_are_as_astropy_reads_them(world):
    found = json.loads(call(world, "headers", "--all", "--json").stdout)
    for row in found[:: len(found) // 4]:
        header = fits.getheader(row["path"], 1)
        mine = {key: value for key, value in list(row.items())[3:] if value is not None}
        theirs = {key: value for key, value in header.items() if key not in ("", "COMMENT")}
        theirs = {key: value for key, value in theirs.items() if not isinstance(value, fits.card.Undefined)}
        assert mine == theirs


def test_siblings_of_equal_time_are_whole_sets_as_the_reduction_takes_them(world):
    """As vampires_dpp groups: rows of equal MJD, without dubious ones, two or four of them."""
    found = rows(call(world, "headers", "--date", DATE, "-k", "MJD,U_*", "--where", "U_SYNC AND U_FLC IS NOT 'D'"))
    by_time = defaultdict(list)
    for row in found:
        by_time[row["MJD"]].append(row)
    assert len(by_time) > 2
    for siblings in by_time.values():
        states, cameras = ({row[key] for row in siblings} for key in ("U_FLC", "U_CAMERA"))
        assert len(siblings) == len(states) * len(cameras)
        assert len(siblings) in (2, 4)
        assert len({row["sibling_set"] for row in siblings}) == 1
    assert len({row["sibling_set"] for row in found}) == len(by_time)


def test_any_folder_is_read_without_a_ledger(world, tmp_path):
    shutil.copytree(world.destination / DATE, tmp_path / "elsewhere")
    (world.folder / "ledger.db").unlink(missing_ok=True)
    known = rows(call(world, "headers", str(tmp_path / "elsewhere"), "-k", "FRAMEID"))
    assert [row["frame_id"] for row in known] == [row["FRAMEID"] for row in known]
    sets = defaultdict(set)
    for row in known:
        sets[row["sibling_set"]].add(row["frame_id"])
    assert all(len(found) in (1, 2, 3, 4, 6) for found in sets.values())


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("NOTHERE = 1", "no column 'NOTHERE'"),
        ('"DATE_OBS" = 1', "no column 'DATE_OBS'; there is DATE-OBS"),
        ("OBJECT = ", "expected a condition"),
        ("1); ATTACH 'x.db' AS x; SELECT (1", "expected a condition"),
        ("1 IN (SELECT 1 FROM pragma_database_list)", "a condition reads the table of headers only"),
        ("load_extension('x')", "a condition reads the table of headers only"),
        ("readfile('/etc/passwd')", "no such function"),
        ("1 IN (SELECT name FROM sqlite_master)", ""),
    ],
)
def test_a_condition_that_is_none_is_said_and_reaches_nothing(world, where, message):
    done = call(world, "headers", "--date", DATE, "-k", "OBJECT", "--where", where)
    if message:
        assert (done.returncode, done.stdout) == (2, "")
        assert message in done.stderr.splitlines()[-1]
    else:
        assert rows(done) == []
    assert not (world.folder / "x.db").exists()


def made(folder, **headers):
    """Write small files, each with the cards of a mapping."""
    folder.mkdir()
    for name, cards in headers.items():
        hdu = fits.PrimaryHDU(np.zeros((1, 2, 2), dtype=np.int16))
        hdu.header.update(cards)
        hdu.writeto(folder / f"{name}.fits")
    return str(folder)


@pytest.fixture
def mixed(world, tmp_path):
    first = {"GAIN": 1, "NAME": "x", "FLAG": True, "T": 1, "ONLY": 3}
    return made(tmp_path / "mixed", a=first, b={"GAIN": 1.5, "NAME": 2, "FLAG": False, "T": 2}, c={"NAME": "y, z"})


@pytest.mark.parametrize("ending", ["csv", "parquet", "ecsv", "fits"])
def test_a_file_of_each_kind_has_the_values_and_their_types(world, mixed, ending):
    done = call(world, "headers", mixed, "-k", "GAIN,NAME,FLAG,T,ONLY", "-o", f"table.{ending}")
    assert done.returncode == 0, done.stderr
    assert "GAIN differs in type: integer (as in" in done.stderr
    assert "NAME differs in type: text (as in" in done.stderr
    assert "FLAG differs" not in done.stderr
    path = world.folder / f"table.{ending}"
    if ending == "csv":
        found = list(csv.DictReader(io.StringIO(path.read_text())))
        assert [row["GAIN"] for row in found] == ["1", "1.5", ""]
        assert [row["NAME"] for row in found] == ["x", "2", "y, z"]
        return
    if ending == "parquet":
        columns = parquet.read_table(path).to_pydict()
    else:
        table = Table.read(path)
        columns = {
            name: [None if value is np.ma.masked or value == "" else value for value in table[name]]
            for name in table.colnames
        }
    assert columns["GAIN"] == [1.0, 1.5, None]
    assert columns["NAME"] == ["x", "2", "y, z"]
    assert columns["T"] == [1, 2, None]
    assert columns["ONLY"] == [3, None, None]
    assert columns["FLAG"] == ([*"TF", None] if ending == "fits" else [True, False, None])


def test_keywords_that_are_named_are_columns_whether_there_are_any_or_not(world, mixed):
    done = call(world, "headers", mixed, "-k", "NOTHERE", "-k", "NO*", "-k", "t")
    assert list(rows(done)[0]) == ["path", "frame_id", "sibling_set", "NOTHERE", "T"]
    assert "no keyword is like 'NOTHERE' in any header" in done.stderr


def test_a_file_that_cannot_be_read_is_told_and_the_rest_is_there(world, mixed, tmp_path):
    (tmp_path / "mixed" / "broken.fits").write_bytes(b"no FITS file")
    (tmp_path / "mixed" / ".hidden.fits").write_bytes(b"?")
    done = call(world, "headers", mixed, "--paths-only")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [f"{mixed}/{name}.fits" for name in "abc"]
    assert f"{mixed}/broken.fits: not a FITS file" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no night is named"),
        (["nowhere"], "no such folder"),
        (["--all", "-o", "table.xlsx"], "expected a name that ends in .csv, .parquet, .ecsv, .fits"),
        (["--all", "-o", "nowhere/table.csv"], "cannot be written"),
        (["--all", "--json", "--paths-only"], "expected one of them"),
    ],
)
def test_bad_input_is_one_line(world, words, message):
    done = call(world, "headers", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr.splitlines()[-1]


def test_no_file_is_replaced_that_nobody_meant_to_replace(world, tmp_path):
    raw = min((world.folder / "archive" / DATE).glob("vcam1/*.fits"))
    before = raw.read_bytes()
    for force in ([], ["--force"]):
        done = call(world, "headers", DATE, "-o", str(raw), *force)
        assert done.returncode == 2
        assert "where nights or their copies are" in done.stderr
    assert raw.read_bytes() == before
    table = tmp_path / "table.csv"
    assert call(world, "headers", DATE, "-k", "OBJECT", "-o", str(table)).returncode == 0
    assert "is there already" in call(world, "headers", DATE, "-o", str(table)).stderr
    assert call(world, "headers", DATE, "-k", "GAIN", "-o", str(table), "--force").returncode == 0
    assert "GAIN" in table.read_text()


def test_numbers_beyond_all_floats_and_names_that_differ_in_case(world, tmp_path):
    folder = made(tmp_path / "odd", a={"HIERARCH Foo bar": 1})
    path = tmp_path / "odd" / "a.fits"
    content = path.read_bytes().replace(b"Foo bar", b"FOO bar", 1)
    path.write_bytes(content.replace(b"EXTEND  =                    T", b"EXTEND  =                1E400"))
    made(tmp_path / "odd" / "more", b={"HIERARCH Foo bar": 2})
    (row, _) = json.loads(call(world, "headers", folder, "--json").stdout)
    assert row["EXTEND"] == "inf"
    done = call(world, "headers", folder, "--where", '"Foo bar" = 2')
    assert done.returncode in (0, 2)
    assert "Traceback" not in done.stderr


def test_products_that_were_pruned_are_read_at_the_destination(world):
    world.data["prune"]["products_days"] = 0
    assert call(world, "prune", "--yes").returncode == 0
    found = rows(call(world, "headers", DATE, "-k", "FRAMEID"))
    assert {row["path"].startswith(str(world.destination)) for row in found} == {True}
    damaged = min(world.destination.glob(f"{DATE}/vgen2/*.fz"))
    damaged.write_bytes(bytes(damaged.stat().st_size))
    assert call(world, "verify", DATE).returncode == 1
    done = call(world, "headers", DATE, "-k", "FRAMEID")
    assert len(rows(done)) == len(found) - 1
    assert "1 product" in done.stderr


def test_on_a_terminal_the_table_is_below_the_bars_and_a_file_has_all_of_it(world):
    status, shown = on_terminal(world, "", "headers", DATE, "-k", "FRAMEID", columns=100)
    assert status == 0
    n = world.query("SELECT count(*) FROM file WHERE kind = 'product'")[0][0]
    assert shown.count(",VMPA") == 2 * n
    file = world.folder / "table.csv"
    command = f"{sys.executable} -m ledger.cli --config {world.config_path} headers {DATE} --paths-only > {file}"
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd()), "TERM": "xterm"}
    ours, theirs = pty.openpty()  # standard error is a terminal, and standard output is not
    try:
        subprocess.run(["sh", "-c", command], cwd=world.folder, env=environment, stderr=theirs, check=True)
    finally:
        os.close(theirs)
        os.close(ours)
    assert len(file.read_text().splitlines()) == n

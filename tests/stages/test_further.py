"""Further files of a night: which there are, and which a pattern names."""

import os
from pathlib import PurePath

import pytest

from stages.further import further_files, is_named


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.log", {"a.log"}),
        ("notes/*.txt", {"notes/b.txt"}),
        ("apapane/**", {"apapane/c.fits", "apapane/deep/d.fits", "apapane/deep/e.log"}),
        ("**/*.log", {"a.log", "apapane/deep/e.log"}),
        ("apapane/*", {"apapane/c.fits"}),
        ("apapane", set()),
        ("A.log", set()),
        ("**", {"a.log", "notes/b.txt", "apapane/c.fits", "apapane/deep/d.fits", "apapane/deep/e.log"}),
        ("*/deep/[d]*", {"apapane/deep/d.fits"}),
    ],
)
def test_patterns_are_compared_folder_by_folder(pattern, names):
    every = ("a.log", "notes/b.txt", "apapane/c.fits", "apapane/deep/d.fits", "apapane/deep/e.log")
    assert {name for name in every if is_named(PurePath(name), (pattern,))} == names


def test_a_folder_is_found_where_it_is_and_once(tmp_path):
    for name in ("vcam1/raw.fits", "zz/x.fits", "zz/deep/y.log", ".ledger-x", "zz/.ledger-y/z"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "a link").symlink_to("zz")
    (tmp_path / "zz/up").symlink_to("..")
    (tmp_path / "raw").symlink_to("vcam1")
    (tmp_path / "nowhere").symlink_to("there")
    os.mkfifo(tmp_path / "pipe")
    elsewhere = tmp_path.with_name("elsewhere")
    elsewhere.mkdir()
    (elsewhere / "far.txt").write_text("")
    (tmp_path / "beside").symlink_to(elsewhere)
    names = [str(name) for name in further_files(tmp_path, {"vcam1", "vgen2"})]
    assert names == ["beside/far.txt", "zz/deep/y.log", "zz/x.fits"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_what_cannot_be_read_is_not_passed_over(tmp_path):
    (tmp_path / "shut").mkdir(mode=0)
    assert further_files(tmp_path, ()) == [PurePath("shut")]
    assert is_named(PurePath("shut"), ("shut/**",))


def test_a_night_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        further_files(tmp_path / "none", ())

"""`ledger report`: nights as pages, in files and folders."""

import json
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ledger.pages.index import read_lines
from ledger.pages.write import environment
from tests.inside import call
from tests.ledger.query.summaries import change
from tests.world import DATE, World

SECOND = "20260103"

#: Elements that have no end.
VOID = {"meta", "link", "img", "br"}


class Text(HTMLParser):
    """What a page says, its elements balanced, and the addresses that it names."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.words, self.open, self.links, self.kinds = "", [], [], []
        self.feed(page.read_text(encoding="utf-8"))
        assert self.open == []
        self.words = " ".join(self.words.split())

    def handle_starttag(self, tag, attrs):
        self.kinds.append(tag)
        self.links += [value for name, value in attrs if name in ("href", "src")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words += data


def retarget(world: World, name: str, date: str = DATE) -> None:
    """Give every raw file of a night another target."""
    card = f"OBJECT  = '{name}'".ljust(80).encode()
    for cube in (world.folder / "archive" / date).glob("vcam*/*.fits"):
        content = cube.read_bytes()
        at = content.find(b"OBJECT  = ")
        if at >= 0:
            cube.write_bytes(content[:at] + card + content[at + 80 :])


@pytest.fixture
def world(sqlite_world: World) -> World:
    sqlite_world.simulate(scale=0.05)
    sqlite_world.bring()
    return sqlite_world


def test_a_night_is_one_file_that_tells_verdict_quarantine_ids_and_parameters(world):
    done = call(world, "report", "--date", DATE, "-o", "night.html")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"night {DATE} (archive): night.html, ")
    page = Text(world.folder / "night.html")
    assert "Night of 2026-01-02" in page.words
    assert page.words.index("to look at") < page.words.index("The night")
    ids = [frame_id for (frame_id,) in world.query("SELECT frame_id FROM frame_id ORDER BY number")]
    assert f"{ids[0]} to {ids[-1]} ({len(ids)})" in page.words
    quarantined = world.query("SELECT folder, name, reason FROM quarantine")
    assert len(quarantined) > 3
    for folder, name, reason in quarantined:
        assert f"{folder}/{name}" in page.words
        assert " ".join(reason.split()) in page.words
    assert f"{len(ids)} manifested" in page.words
    assert "tolerance_us_per_row = 0.868" in page.words
    (manifest,) = world.query("SELECT name, sha256 FROM manifest")
    assert f"{manifest[0]}: {len(ids)} products" in page.words
    assert manifest[1] in page.words
    assert "script" not in page.kinds
    assert all(link.startswith("data:") for link in page.links)


def test_all_that_was_given_out_is_told(world):
    world.data["mail"] |= {"recipients": ["archive@example.org"], "sender": "ledger@example.org"}
    assert call(world, "manifest", "--date", DATE, "--send").returncode == 0
    lines = world.query("SELECT frame_id, size_bytes FROM manifest_line ORDER BY position")
    (world.folder / "receipt.csv").write_text("".join(f"{name},{size}\n" for name, size in lines))
    assert call(world, "receipt", "receipt.csv").returncode == 0
    call(world, "report", "--date", DATE, "-o", "night.html")
    words = Text(world.folder / "night.html").words
    assert f"{len(lines)} products to archive@example.org by eml" in words
    assert f"receipt.csv: {len(lines)} confirmed" in words
    copies, size = world.query("SELECT count(*), sum(size_bytes) FROM copy")[0]
    assert f"{copies} ({size / 1e6:,.1f} MB) on this host, last read" in words


def test_what_a_person_has_to_do_comes_first(world):
    change(world, "UPDATE copy SET refuted_us = 1, fault = 'gone' WHERE id = 1")
    call(world, "report", "--date", DATE, "-o", "night.html")
    words = Text(world.folder / "night.html").words
    assert "Somebody has to act." in words
    assert 0 < words.index(f"ledger verify --date {DATE} --repair") < words.index("raw files")


def test_frames_that_are_nowhere_come_first(world):
    change(world, "UPDATE file SET n_frames = n_frames + 1 WHERE kind = 'raw' AND id = 1")
    call(world, "report", "--date", DATE, "-o", "night.html")
    words = Text(world.folder / "night.html").words
    assert words.index("Somebody has to act") < words.index(f"ledger audit --date {DATE}") < words.index("raw files")


def test_a_folder_gets_all_nights_and_an_index_that_links_them(world):
    world.simulate(SECOND, scale=0.02, scenario=("onecamera",))
    world.bring(SECOND)
    done = call(world, "report", "--all", "-o", "pages", "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert [(night["date"], night["level"]) for night in facts] == [(DATE, "look"), (SECOND, "in order")]
    folder = world.folder / "pages"
    assert sorted(path.name for path in folder.iterdir()) == [f"{DATE}.html", f"{SECOND}.html", "index.html"]
    index = Text(folder / "index.html")
    assert [link for link in index.links if not link.startswith("data:")] == [f"{SECOND}.html", f"{DATE}.html"]
    frames = world.query("SELECT sum(n_frames) FROM file WHERE kind = 'raw' GROUP BY night_id ORDER BY night_id")
    for (n,), line in zip(frames, reversed(read_lines(folder)), strict=True):
        assert line.frames == n
        assert sum(line.heights) == n
        assert f"{n:,}" in index.words
    assert index.kinds.count("svg") == 2


def test_the_index_knows_only_pages_and_has_their_texts_escaped(world):
    retarget(world, "<b>&amp;")
    world.rollback()
    world.advance()
    world.data["report"] = {"folder": "pages"}
    assert call(world, "report", "--date", DATE).returncode == 0
    folder = world.folder / "pages"
    (folder / "notes.html").write_text("<p>notes")
    (folder / "old.html").write_text('<meta name="ledger-night" content="{&quot;page&quot;: 1}">')
    assert call(world, "report", DATE).returncode == 0
    assert [line.page for line in read_lines(folder)] == [f"{DATE}.html"]
    index = Text(folder / "index.html")
    assert "b" not in index.kinds
    assert "<b>&amp;" in index.words


def test_a_target_that_is_a_script_is_text(world):
    retarget(world, "<script>alert(1)</script>")
    world.rollback()
    world.advance()
    call(world, "report", "--date", DATE, "-o", "night.html")
    page = Text(world.folder / "night.html")
    assert "<script>alert(1)</script>" in page.words
    assert "script" not in page.kinds


def test_a_night_without_products_or_files_has_a_page(world):
    world.simulate(SECOND, scale=0.02, scenario=("onecamera",))
    world.machine().scan(world.night(SECOND))
    assert call(world, "report", "--date", SECOND, "-o", "raw.html").returncode == 0
    assert "not yet judged" in Text(world.folder / "raw.html").words
    for timing in (world.folder / "archive" / DATE).glob("vcam1/*.txt"):
        timing.unlink()
    assert call(world, "report", "--date", DATE, "-o", "night.html").returncode == 0
    assert "could not be read:" in Text(world.folder / "night.html").words


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "expected either nights (--date, or their folders) or --all"),
        (("--all", "--date", DATE), "expected either nights"),
        (("--all",), "name one with -o, or in report.folder"),
        (("--all", "-o", "one.html"), "is a file"),
        (("--date", "20250101"), "20250101"),
        (("--date", DATE, "-o", "no/such/night.html"), "no such folder"),
        (("--date", DATE, "-o", "config.yaml/pages"), "config.yaml"),
    ],
)
def test_bad_input_is_one_line(world, arguments, complaint):
    done = call(world, "report", *arguments)
    assert done.returncode != 0
    assert complaint in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_page_is_whole_or_not_there(world):
    (world.folder / "night.html").mkdir()
    (world.folder / "night.html/in-the-way").touch()
    done = call(world, "report", "--date", DATE, "-o", "night.html/x.html")
    assert done.returncode == 0
    (world.folder / "page.html").symlink_to("/dev/full")
    before = set(world.folder.iterdir())
    assert call(world, "report", "--date", DATE, "-o", "page.html", "--force").returncode == 0
    assert set(world.folder.iterdir()) == before  # no temporary is left


def test_without_jinja2_the_extra_is_named(world, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    done = call(world, "report", "--date", DATE)
    assert done.returncode == 2
    assert "pip install 'ledger[report]'" in done.stderr


def test_templates_escape_what_they_are_given():
    made = environment().from_string("{{ x }} {{ x | code }}")
    assert made.render(x="<i> `a<b` c") == "&lt;i&gt; `a&lt;b` c &lt;i&gt; <code>a&lt;b</code> c"


def test_nothing_is_replaced_but_pages_and_nothing_is_written_among_data(world):
    for place in ("archive/20260102", f"archive/{DATE}/vcam1", "destination/archive/pages"):
        done = call(world, "report", "--date", DATE, "-o", str(world.folder / place))
        assert done.returncode == 2
        assert "where nights or their copies are" in done.stderr
    thesis = world.folder / "thesis.html"
    thesis.write_text("<h1>Mine</h1>")
    assert "no page of a ledger" in call(world, "report", "--date", DATE, "-o", str(thesis)).stderr
    assert thesis.read_text() == "<h1>Mine</h1>"
    assert call(world, "report", "--date", DATE, "-o", str(thesis), "--force").returncode == 0
    assert call(world, "report", "--date", DATE, "-o", str(thesis)).returncode == 0
    (world.folder / "www").mkdir()
    (world.folder / "www" / "index.html").write_text("mine")
    assert call(world, "report", "--all", "-o", str(world.folder / "www")).returncode == 2
    assert call(world, "report", "--date", DATE, "-o", "night.pdf").returncode == 2

"""What a ledger is made anew of, with anything in it: read as it says, or refused with one clear line."""

from collections import Counter
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.night import record
from ledger.night.products import to_raw
from stages.base import BadInput, Job
from stages.lineage import read_lineage
from stages.manifested import Parameters, read_manifests
from stages.product import frames_of
from tests.fuzz.complaints import is_one_clear_line, little_memory
from tests.fuzz.profiles import fuzz
from tests.world import DATE, World

WORDS = st.sampled_from(
    (
        *("", "0", "1", "-1", "9" * 18, "9" * 19, "9" * 5000, "1:1:1", "0:0:0", "0:1:999999999999999999", "1:1", "::"),
        *("../../x", "/etc/passwd", "vcam1/../x", ".", "..", "a/b", "a\0b", "a\x1b[2J", "\ufffe", "a" * 300, "A", "D"),
        *("VMPA00000001", "VMPA99999999", "x|y", "\r", "\x85"),
    )
)  # fmt: skip


@st.composite
def changed(draw, content, between):
    """Draw a text with a word, a line or a byte that is wrong."""
    lines = content.split(b"\n")
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        words = lines[at].split(between)
        change = draw(st.sampled_from("wwwwdsxi"))
        if change == "w":
            words[draw(st.integers(0, len(words) - 1))] = draw(WORDS).encode()
        elif change == "x":
            words = (words * 2)[: draw(st.integers(0, 20))]
        lines[at] = between.join(words)
        if change == "d" and len(lines) > 1:
            del lines[at]
        elif change == "s":
            lines.insert(draw(st.integers(0, len(lines))), lines[at])
        elif change == "i":
            lines.insert(at, draw(st.binary(max_size=40)))
    text = b"\n".join(lines)
    return text[: draw(st.integers(0, len(text)))] if draw(st.integers(0, 5)) == 0 else text


@pytest.fixture(scope="module")
def done(tmp_path_factory, sqlite_template):
    """Return a night that is done: its raw files, products, folder, and what lies there."""
    folder = tmp_path_factory.mktemp("done")
    database = folder / "ledger.db"
    database.write_bytes(sqlite_template.read_bytes())
    world = World(folder / "world", f"sqlite:///{database}")
    world.simulate(scale=0.02, scenario=("onecamera",))
    assert world.advance().succeeded
    night = record.find_night(world.store(), "archive", DATE)
    raws = {f"{row.folder}/{row.name}": to_raw(night, row) for row in record.raws(world.store(), night)}
    products = tuple(item.product for item in record.products(world.store(), night))
    world.close()
    path = world.folder / "archive" / DATE
    lineage, manifest = path / "vgen2/lineage.tsv", path / f"manifest_VMP_{DATE}.csv"
    job = Job(
        night=path,
        date=DATE,
        folder=path / "vgen2",
        instrument=world.config.instrument,
        products=products,
        destination=world.config.site("archive").destination / DATE,
    )
    return SimpleNamespace(
        raws=raws, products=products, path=path, lineage=lineage.read_bytes(), manifest=manifest.read_bytes(), job=job
    )


@fuzz(500)
@given(st.data())
def test_any_lineage_has_each_frame_once_or_is_refused(done, data):
    path = done.path / "vgen2/lineage.tsv"
    path.write_bytes(data.draw(changed(done.lineage, b"\t")))
    try:
        with little_memory():
            products = read_lineage(path, done.raws)
    except BadInput as exc:
        assert is_one_clear_line(str(exc), path)
        return
    used = Counter((p.raw.identity, frame) for x in products for p in x.parts for frame in frames_of(p.runs))
    assert set(used.values()) <= {1}
    n_frames = {p.raw.identity: p.raw.n_frames for x in products for p in x.parts}
    assert len(used) == sum(n_frames.values())
    assert all("/" not in product.name and not product.name.startswith(".") for product in products)


@fuzz(300)
@given(st.data())
def test_any_manifest_lists_the_products_as_they_are_or_is_refused(done, data):
    path = done.path / f"manifest_VMP_{DATE}.csv"
    path.write_bytes(data.draw(changed(done.manifest, b"|")))
    (done.job.destination / path.name).write_bytes(path.read_bytes())
    try:
        with little_memory():
            manifests = read_manifests(job=done.job, params=Parameters())
    except BadInput as exc:
        assert is_one_clear_line(str(exc), path)
        return
    known = {(p.frame_id, p.identity, p.size_bytes) for p in done.products}
    for manifest in manifests:
        assert {(line.frame_id, line.identity, line.size_bytes) for line in manifest.lines} <= known


def test_a_file_of_absurd_size_is_not_read(done):
    path = done.path / "vgen2/sparse.tsv"
    with path.open("wb") as file:
        file.truncate(1 << 42)
    with pytest.raises(BadInput, match="bytes"), little_memory():
        read_lineage(path, done.raws)
    path.unlink()

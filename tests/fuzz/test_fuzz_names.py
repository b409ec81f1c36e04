"""Names and things that nobody expects in a night: told, left alone, and everything else goes on."""

import os
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from ledger.text import is_utf8, printable
from tests.fuzz.commands import sandbox
from tests.fuzz.names import KINDS, NAMES, ODD, put
from tests.fuzz.profiles import fuzz
from tests.world import DATE

#: Where in a night something strange may lie.
PLACES = ("vcam1", "vcam2", "", "vgen2", "other", "../..", "..")
#: Names that the ledger itself uses there.
OWN = st.sampled_from(
    (
        *(
            b"vgen2",
            b"SHA256SUMS",
            b"manifest_VMP_20260102.csv",
            b".ledger-SHA256SUMS",
            b"vcam2",
            b"other",
            b"lineage.tsv",
        ),
        *(b".ledger-manifest_VMP_20260102.csv", b".ledger-lineage.tsv", b"VMPA00000001.fits.fz", b"VMPA00000001.txt"),
        *(b".ledger-vcam1_06:00:00.000000.fits", b"VMPA00000001.fits", b"VMPA99999999.fits", b"20260103"),
    )
)


@given(st.text() | st.binary().map(os.fsdecode) | st.text(st.characters(categories=("Cs", "Cc", "Cf", "L"))))
@fuzz(200)
def test_any_text_can_be_printed_in_one_line(text):
    shown = printable(text)
    assert shown.isprintable()
    assert is_utf8(shown)
    assert shown == text or not text.isprintable()


def test_all_odd_things_at_once_do_not_keep_the_others_from_the_archive(sqlite_template, nights):
    with sandbox(sqlite_template, nights) as box:
        cube = min(box.night.glob("vcam1/*.fits"))
        good = sorted(f"{path.parent.name}/{path.name}" for path in box.night.glob("vcam?/*.fits"))
        content, outside = cube.read_bytes(), os.fsencode(box.outside)
        stream = os.fsencode(cube.parent)
        for kind, name in [(kind, os.fsencode(f"{kind}.fits")) for kind in KINDS] + [("file", name) for name in ODD]:
            put(kind, os.path.join(stream, name), content[:-2880], outside)
        for kind in KINDS:  # a good cube, and something else beside it
            put("file", os.path.join(stream, os.fsencode(f"txt {kind}.fits")), content, outside)
            put(kind, os.path.join(stream, os.fsencode(f"txt {kind}.txt")), b"", outside)
        odd = {name for name in os.listdir(stream) if name.endswith(b".fits")} - {
            os.fsencode(Path(name).name) for name in good
        }
        before = box.files()
        go_there_and_back(box, before, good)
        status, out, err = box.run("advance", "--date", DATE)
        assert status == 0, out + err
        assert box.world.query("SELECT DISTINCT state FROM file WHERE kind = 'product'") == [("manifested",)]
        quarantined = {name for (name,) in box.world.query("SELECT name FROM quarantine")}
        assert quarantined == {
            printable(os.fsdecode(name)) for name in odd if Path(os.fsdecode(name)).suffix == ".fits"
        }
        assert all(name.isprintable() for name in quarantined)


@st.composite
def oddities(draw):
    """Draw some things that lie in a night: where, under which name, and what they are."""
    odd = st.tuples(st.sampled_from(PLACES), NAMES | OWN, st.sampled_from(KINDS), st.sampled_from(KINDS))
    return draw(st.lists(odd, min_size=1, max_size=5))


@fuzz(3)
@example(
    oddities=[("", b"manifest_VMP_20260102.csv", "pipe", "file"), ("", b"SHA256SUMS", "folder", "file")], salvage=False
)
@example(
    oddities=[("", b".ledger-SHA256SUMS", "dangling link", "file"), ("", b"vgen2", "link to folder", "file")],
    salvage=False,
)
@given(oddities=oddities(), salvage=st.booleans())
def test_a_night_with_odd_things_in_it(sqlite_template, nights, oddities, salvage):
    with sandbox(sqlite_template, nights) as box:
        box.world.data["salvage"] = salvage
        night = os.fsencode(box.night)
        cube = next(Path(box.night, "vcam1").glob("*.fits"))
        good = sorted(f"{path.parent.name}/{path.name}" for path in box.night.glob("vcam?/*.fits"))
        for place, name, kind, of_txt in oddities:
            folder = os.path.join(night, place.encode())
            if not os.path.lexists(folder):
                os.mkdir(folder)
            if not os.path.isdir(folder):
                continue
            put(kind, os.path.join(folder, name), cube.read_bytes()[:-2880], os.fsencode(box.outside))
            timing = os.path.splitext(name)[0] + b".txt"
            if place.startswith("vcam") and name.endswith(b".fits") and len(timing) < 256:
                put(
                    of_txt,
                    os.path.join(folder, timing),
                    cube.with_suffix(".txt").read_bytes(),
                    os.fsencode(box.outside),
                )
        before = box.files()
        go_there_and_back(box, before, good)


def go_there_and_back(box, before, good):
    """Run every command on the night, and see to it that only what is the ledger's changes."""
    name = min(good)
    for arguments in (
        ("status", "--json"),
        ("advance", "--date", DATE, "--dry-run"),
        ("scan", "--date", DATE),
        ("advance", "--date", DATE),
        ("advance", "--date", DATE, "--json"),
        ("status",),
        ("quarantine", "list"),
        ("quarantine", "list", "--json"),
        ("summary", "--date", DATE),
        ("audit",),
        ("audit", "--deep", "--date", DATE, "--json"),
        ("ids", "check"),
        ("ids", "check", "--json"),
        ("history", name),
        ("explain", name),
        ("sql", "SELECT * FROM file", "--json"),
        ("catch-up",),
    ):
        _, out, err = box.run(*arguments)
        if arguments[-1] == "--json" and out:
            out.encode()
        assert all(line.isprintable() for line in out.replace("\t", " ").split("\n")), (arguments, out)
        assert all(line.isprintable() for line in err.split("\n")), (arguments, err)
        box.assert_only_its_own_changed(before, box.files())
    box.run("rollback", str(box.night), "--yes")
    after = box.files()
    box.assert_only_its_own_changed(before, after)

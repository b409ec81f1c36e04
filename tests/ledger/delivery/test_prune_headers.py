"""Headers and timing files of raw files are at the destination, byte for byte, before `ledger prune` removes any."""

import io
import json
import lzma
import os
import tarfile
from dataclasses import replace
from hashlib import sha256

import pytest
from astropy.io import fits

from ledger.audit.doctor import examine
from ledger.delivery.copies import recall, verify
from ledger.delivery.prune import prune
from ledger.disk.outside import find_outside
from ledger.disk.uncarried import uncarried
from stages import transferred
from stages.further import raw_headers_name
from tests.acceptance.kill import run_and_kill
from tests.inside import call
from tests.ledger.audit.test_laws_by_sql import violations
from tests.world import DATE

everywhere = pytest.mark.parametrize("old", ["here", "afar"], indirect=True)


@pytest.fixture
def old(request, sqlite_world):
    """A world with a night that is done, and whose raw files are 31 days old; they may go after 30."""
    world = sqlite_world
    if getattr(request, "param", "here") == "afar":
        world.send_afar(request.getfixturevalue("sshd"))
    world.simulate(scale=0.02, scenario=("pdi",))
    world.bring()
    world.data["prune"]["raw_days"] = 30
    ((last_us,),) = world.query("SELECT max(last_us) FROM file WHERE kind = 'raw'")
    world.now_us = last_us + 31 * 86_400_000_000
    return world


def go(world):
    (found,) = prune(world.machine(), removes=True)
    return found


def raws(world):
    """Return the bytes of raw cubes and timing files by stream and name."""
    night = world.folder / "archive" / DATE
    return {str(path.relative_to(night)): path.read_bytes() for path in night.glob("vcam*/*")}


def archives(world, *, there=True):
    night = (world.destination if there else world.folder / "archive") / DATE
    return sorted(night.glob("raw_headers_*.tar.xz"))


def members(*paths):
    """Return the files of archives by name, as anybody reads them."""
    found = {}
    for path in paths:
        assert path.name == raw_headers_name(sha256(path.read_bytes()).hexdigest())
        with tarfile.open(path) as tar:
            found |= {name: tar.extractfile(name).read() for name in tar.getnames()}
    return found


def frames_of(content):
    """Return where the frames of a cube begin and end."""
    with fits.open(io.BytesIO(content)) as hdus:
        start = hdus[0].fileinfo()["datLoc"]
        return start, start + hdus[0].data.nbytes


def assert_kept(raw, found):
    """Compare archives with raw files that were there."""
    for name, content in raw.items():
        if name.endswith(".txt"):
            assert found[name] == content
        else:
            start, end = frames_of(content)
            assert found[f"{name}.header"] == content[:start]
            assert found.get(f"{name}.rest", b"") == content[end:]


@everywhere
def test_what_no_product_has_is_at_the_destination_byte_for_byte(old):
    world, raw = old, raws(old)
    n_cubes = len(raw) // 2
    tree = world.tree()
    (counted,) = prune(world.machine())
    assert (counted.headers, counted.archives) == (n_cubes, [])
    assert world.tree() == tree, "only counted"
    found = go(world)
    assert (found.raws, found.headers, found.failed) == (n_cubes, n_cubes, [])
    assert raws(world) == {}
    (there,), (here,) = archives(world), archives(world, there=False)
    assert found.archives == [there.name] == [here.name]
    assert there.read_bytes() == here.read_bytes()
    kept = members(there)
    assert_kept(raw, kept)
    head, *lines = [line.split("\t") for line in kept["raw_files.tsv"].decode().splitlines()]
    listed = {line[0]: dict(zip(head, line, strict=True)) for line in lines}
    assert {name: line["sha256"] for name, line in listed.items()} == {
        name: sha256(content).hexdigest() for name, content in raw.items() if name.endswith(".fits")
    }
    parts = {part.removesuffix(".header").removesuffix(".rest") for part in kept}
    assert parts == {*raw, "README.txt", "raw_files.tsv"}
    ((name, detail),) = world.query("SELECT name, CAST(detail AS TEXT) FROM entry WHERE event = 'headers_sent'")
    known = json.loads(detail)
    assert (name, known["path"], known["size_bytes"]) == (there.name, str(there), there.stat().st_size)
    assert violations(world) == []


def test_a_raw_file_can_be_made_again_of_its_header_and_of_the_frames_of_products(old):
    world, raw = old, raws(old)
    go(world)
    kept = members(*archives(world))
    recall(world.machine(), world.night())
    rows = world.query(
        "SELECT r.folder || '/' || r.name, l.runs, i.frame_id FROM lineage l JOIN file r ON r.id = l.raw_id"
        " JOIN file p ON p.id = l.product_id JOIN frame_id i ON i.identity = p.identity"
        " ORDER BY i.frame_id, l.position"
    )
    frames, left = {}, {}
    for name, runs, frame_id in rows:
        if frame_id not in left:
            cube = world.folder / "archive" / DATE / "vgen2" / f"{frame_id}.fits.fz"
            left[frame_id] = iter(fits.getdata(cube, do_not_scale_image_data=True).astype(">i2"))
        for first, step, n in json.loads(runs):
            for frame in range(first, first + step * n, step):
                frames[name, frame] = next(left[frame_id]).tobytes()
    for name in (name for name in raw if name.endswith(".fits")):
        pixels = b"".join(frames[key] for key in sorted(frames) if key[0] == name)
        assert kept[f"{name}.header"] + pixels + kept.get(f"{name}.rest", b"") == raw[name]


@everywhere
def test_verify_knows_the_archive_and_repairs_it(old):
    world = old
    go(world)
    recall(world.machine(), world.night())
    look = lambda **options: verify(world.machine(), world.night(), **options)  # noqa: E731
    assert (look().bad, look().extra) == ([], [])
    (there,), (here,) = archives(world), archives(world, there=False)
    content = there.read_bytes()
    for damage in (lambda: there.write_bytes(bytes(len(content))), there.unlink):
        damage()
        assert [name for name, _ in look().bad] == [there.name]
        assert look(repairs=True).repaired == [there.name]
        assert there.read_bytes() == content
    here.write_bytes(bytes(len(content)))
    assert (look(repairs=True).bad, there.read_bytes()) == ([], content), "a damaged file here damages nothing there"
    there.unlink()
    assert [name for name, _ in look(repairs=True).bad] == [there.name], "it is lost, and said to be"


def test_the_archive_is_no_file_that_may_hold_frames_and_none_that_is_left_behind(old):
    world = old
    world.data["states"]["transferred"]["parameters"]["also"] = ["**"]
    go(world)
    assert list(find_outside(world.night(), world.config.instrument)) == []
    world.data["states"]["transferred"]["parameters"]["also"] = []
    assert uncarried(world.config, world.night()) == []
    assert [finding.text for finding in examine(world.config) if "raw_headers" in finding.text] == []


def test_a_night_that_is_pruned_twice_keeps_both_archives(old):
    world, raw = old, raws(old)
    sizes = sorted(len(raw[name]) + len(raw[f"{name[:-5]}.txt"]) for name in raw if name.endswith(".fits"))
    recalled = sum(path.stat().st_size for path in (world.folder / "archive" / DATE / "vgen2").glob("VMPA*"))
    world.data["prune"]["most_gb"] = (recalled + sizes[-1]) / 1e9
    first = go(world)
    assert 0 < first.raws < len(raw) // 2
    world.data["prune"]["most_gb"] = 1
    second = go(world)
    assert first.raws + second.raws == len(raw) // 2
    assert sorted([*first.archives, *second.archives]) == [path.name for path in archives(world)]
    assert len(archives(world)) == 2
    assert_kept(raw, members(*archives(world)))
    assert verify(world.machine(), world.night()).bad == []
    assert verify(world.machine(), world.night()).extra == []


@everywhere
def test_a_destination_that_goes_in_between_keeps_the_raw_files(old, monkeypatch):
    world, raw = old, raws(old)
    away = world.folder / "away"
    send = transferred.send_raw_headers

    def send_to_nothing(**arguments):
        world.destination.rename(away)
        try:
            return send(**arguments)
        finally:
            away.rename(world.destination)

    monkeypatch.setattr(transferred, "send_raw_headers", send_to_nothing)
    found = go(world)
    assert (found.raws, found.headers, raws(world)) == (0, 0, raw)
    assert [name for name, _ in found.failed] == [f"raw headers of {DATE}"]
    (here,) = archives(world, there=False)
    assert archives(world) == []
    monkeypatch.setattr(transferred, "send_raw_headers", send)
    found = go(world)
    assert (found.raws, found.archives) == (len(raw) // 2, [here.name]), "what was written is used"
    assert_kept(raw, members(*archives(world)))


def test_a_copy_that_reads_back_otherwise_keeps_the_raw_files(old, monkeypatch):
    """The proof is of what the destination gives back."""
    world, raw = old, raws(old)
    send = transferred.send_raw_headers

    def lies(**arguments):
        outcome = send(**arguments)
        return replace(outcome, evidence=tuple(replace(proof, sha256="0" * 64) for proof in outcome.evidence))

    monkeypatch.setattr(transferred, "send_raw_headers", lies)
    assert go(world).raws == 0
    assert raws(world) == raw


def test_a_raw_file_whose_header_is_not_as_on_record_stays(old):
    world, raw = old, raws(old)
    name = min(name for name in raw if name.endswith(".fits"))
    cube = world.folder / "archive" / DATE / name
    info = cube.stat()
    at = raw[name].index(b"OBJECT  =") + 12
    cube.write_bytes(raw[name][:at] + b"x" + raw[name][at + 1 :])
    os.utime(cube, ns=(info.st_atime_ns, info.st_mtime_ns))
    found = go(world)
    assert found.failed
    assert name in raws(world)
    assert f"{name}.header" not in members(*archives(world))


def test_a_killed_run_loses_no_header(old):
    """It is killed at one point after the other of what is left to do; the next run goes on."""
    world, raw = old, raws(old)
    at = 0
    while run_and_kill(world, lambda machine: list(prune(machine, removes=True)), at) is None:
        kept = members(*archives(world))
        gone = {name: content for name, content in raw.items() if name not in raws(world)}
        assert_kept(gone, kept)
        world.now_us += 3_600_000_000  # the lease of the killed run is over
        at += 2
    assert at > 30
    assert raws(world) == {}
    assert [name for name in world.tree() if ".ledger-" in name] == []
    assert_kept(raw, members(*archives(world)))
    assert verify(world.machine(), world.night()).extra == []


@pytest.mark.parametrize("how", ["moved", "link"])
def test_a_timing_file_without_its_cube_that_no_archive_holds_stays(old, how):
    world = old
    world.data["prune"]["raw_days"] = None
    go(world)  # products
    world.data["prune"]["raw_days"] = 30
    cube = min((world.folder / "archive" / DATE).glob("vcam1/*.fits"))
    timing = cube.with_suffix(".txt").read_bytes()
    cube.rename(world.folder / cube.name)
    if how == "link":
        cube.symlink_to(world.folder / cube.name)
    assert next(prune(world.machine())).kept["raw files whose cube is not here"] == 1
    assert go(world).kept["raw files whose cube is not here"] == 1
    assert cube.with_suffix(".txt").read_bytes() == timing
    assert world.query(f"SELECT name FROM file WHERE name = '{cube.name}' AND pruned_us IS NOT NULL") == []


@pytest.mark.parametrize("is_archived", [True, False])
def test_a_timing_file_that_a_killed_removal_left_goes_if_an_archive_holds_it(old, is_archived):
    world = old
    timing = min((world.folder / "archive" / DATE).glob("vcam1/*.txt"))
    content = timing.read_bytes()
    go(world)
    timing.write_bytes(content)
    if not is_archived:
        archives(world, there=False)[0].unlink()
    found = go(world)
    assert (found.raws, found.kept["raw files whose cube is not here"]) == ((1, 0) if is_archived else (0, 1))
    assert timing.exists() is not is_archived


def test_a_damaged_archive_here_is_told_and_not_counted_on(old):
    world, raw = old, raws(old)
    night = world.folder / "archive" / DATE
    content = lzma.compress(b"no archive")
    bad = [night / raw_headers_name("0" * 64), night / raw_headers_name(sha256(content).hexdigest())]
    for path in bad:
        path.write_bytes(content)
    found = go(world)
    assert sorted(name for name, _ in found.failed) == sorted(path.name for path in bad)
    assert raws(world) == {}
    assert_kept(raw, members(*archives(world)))


def test_a_night_that_is_rolled_back_and_sent_again_keeps_the_archive(old):
    world = old
    go(world)
    recall(world.machine(), world.night())
    before = archives(world)
    assert world.rollback(to="compressed").succeeded
    assert archives(world) == before, "raw headers may be nowhere else"
    before[0].unlink()
    assert world.advance().succeeded
    assert archives(world) == before
    assert verify(world.machine(), world.night()).succeeded
    assert world.rollback(to="compressed").succeeded
    for path in (*before, *archives(world, there=False)):
        path.unlink()
    assert world.advance().succeeded, "an archive that is lost keeps no product"
    assert [name for name, _ in verify(world.machine(), world.night()).bad] == [before[0].name]


def test_the_command_says_where_headers_go(old):
    world = old
    assert "sent to the destination first: raw_headers_*.tar.xz" in call(world, "prune").stdout
    done = call(world, "prune", "--yes")
    assert archives(world)[0].name in done.stdout
    assert done.returncode == 0


def test_where_products_are_fetched_the_archive_is_proven_and_fetched_again(fetched):
    pair = fetched
    raw = raws(pair.here)
    pair.here.data["prune"]["raw_days"] = 0
    assert go(pair.here).raws == len(raw) // 2
    (there,) = archives(pair.here)
    content = there.read_bytes()
    assert_kept(raw, members(there))
    assert verify(pair.there.machine(), pair.there.night()).bad == []
    there.write_bytes(bytes(len(content)))
    assert verify(pair.there.machine(), pair.there.night(), repairs=True).repaired == [there.name]
    assert there.read_bytes() == content


def test_a_night_that_moved_takes_its_archive_along(old):
    world = old
    go(world)
    recall(world.machine(), world.night())
    (world.folder / "archive").rename(world.folder / "moved")
    (world.folder / "archive").mkdir()
    world.data["archive"]["root"] = str(world.folder / "moved")
    assert call(world, "relocate").returncode == 0
    (there,) = archives(world)
    content = there.read_bytes()
    there.unlink()
    assert verify(world.machine(), world.night(), repairs=True).repaired == [there.name]
    assert there.read_bytes() == content


def test_a_deep_audit_reads_the_archive_here_and_there(old):
    world = old
    go(world)
    assert call(world, "audit", "--deep").returncode == 0
    (there,), (here,) = archives(world), archives(world, there=False)
    content = there.read_bytes()
    for bad, told in (([there], "verify"), ([here], f"cp -p {there}"), ([there, here], "raw headers are nowhere else")):
        for path in bad:
            path.write_bytes(bytes(len(content)))
        done = call(world, "audit", "--deep")
        assert done.returncode == 1
        assert told in done.stdout
        for path in bad:
            path.write_bytes(content)


def test_a_disk_or_database_that_fails_loses_no_header(old):
    world, raw = old, raws(old)
    at = n_points = 0
    while at <= n_points:
        n_points = run_and_kill(world, lambda machine: list(prune(machine, removes=True)), at, fails=True)
        kept = members(*archives(world))
        assert_kept({name: content for name, content in raw.items() if name not in raws(world)}, kept)
        world.now_us += 3_600_000_000  # so is a lease that could not be given back
        at += 3
    assert go(world).failed == []
    assert raws(world) == {}
    assert_kept(raw, members(*archives(world)))


def test_a_stage_that_sends_no_raw_headers_keeps_the_raw_files(old, monkeypatch):
    world, raw = old, raws(old)
    monkeypatch.delattr(transferred, "send_raw_headers")
    found = go(world)
    assert (found.raws, raws(world)) == (0, raw)
    assert "expected it, or prune.raw_days: null" in dict(found.failed)[f"raw headers of {DATE}"]

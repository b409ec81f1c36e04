"""History and explanation: in both directions, by every name that a file has."""

import json

import pytest

from ledger.delivery import manifest
from ledger.delivery.receipt import receive
from ledger.errors import UsageError
from ledger.query import explanation, history
from tests.acceptance.check import identities
from tests.inside import call
from tests.world import DATE, World


@pytest.fixture
def finished(sqlite_world: World) -> World:
    sqlite_world.simulate(scale=0.02, scenario=("slow",))
    sqlite_world.bring()
    return sqlite_world


def find(world: World, name: str) -> history.Subject:
    return history.find(world.store(), name)


def explain(world: World, name: str) -> explanation.Explanation:
    machine = world.machine()
    return explanation.explain(machine.store, world.config, machine.pipelines, history.find(machine.store, name))


# by which name


def test_every_name_of_a_product(finished):
    ((identity, name),) = finished.query(
        "SELECT file.identity, file.name FROM file JOIN frame_id ON frame_id.identity = file.identity"
        " WHERE frame_id.number = 3"
    )
    folder = finished.folder / "archive" / DATE / "vgen2"
    names = [
        "VMPA00000003",
        "VMPE00000003",
        "VMPA00000003.fits",
        "VMPA00000003.fits.fz",
        "VMPA00000003.txt",
        str(folder / "VMPA00000003.fits.fz"),
        str(finished.destination / DATE / "vgen2/VMPA00000003.fits.fz"),
        name,
        f"{name}.fits",
        str(folder / f"{name}.fits"),
    ]
    for text in names:
        found = find(finished, text)
        assert (found.identity, found.frame_id) == (identity, "VMPA00000003"), text
        assert found.row is not None
        assert found.row.name == name


def test_every_name_of_a_raw_file(finished):
    cube = next((finished.folder / "archive" / DATE / "vcam1").glob("*.fits"))
    for text in (str(cube), f"vcam1/{cube.name}", cube.name, cube.stem, str(cube.with_suffix(".txt"))):
        row = find(finished, text).row
        assert row is not None
        assert (row.kind, row.folder, row.name) == ("raw", "vcam1", cube.name), text


@pytest.mark.parametrize("text", ["VMPA00009999", "nothing.fits", "", "vcam1", DATE])
def test_no_name_of_anything(finished, text):
    with pytest.raises(UsageError, match="not in the ledger: expected a raw file, a product or a frame ID"):
        find(finished, text)


def test_a_name_that_two_nights_have_needs_its_path(finished):
    (finished.folder / "archive/20260103/vcam1").mkdir(parents=True)
    cube = next((finished.folder / "archive" / DATE / "vcam1").glob("*.fits"))
    other = finished.folder / "archive/20260103/vcam1" / cube.name
    other.write_bytes(b"not FITS")
    finished.machine().scan(finished.night("20260103"))
    with pytest.raises(UsageError, match="the name of 2 files: name one by its path") as raised:
        find(finished, cube.name)
    assert str(cube) in str(raised.value)
    assert str(other) in str(raised.value)
    assert find(finished, str(cube)).night.date == DATE
    assert find(finished, str(other)).night.date == "20260103"


# history


def test_lineage_in_both_directions_agrees(finished):
    store = finished.store()
    raw_to_products: dict[tuple[str, str], list] = {}
    for (name,) in finished.query("SELECT name FROM file WHERE kind = 'raw'"):
        for relation in history.lineage(store, history.find(store, name)):
            raw_to_products[name, relation.name.split(" ")[0]] = relation.runs
            assert relation.state == "manifested"
    products_to_raw = {}
    for (frame_id,) in finished.query("SELECT frame_id FROM frame_id"):
        for relation in history.lineage(store, history.find(store, frame_id)):
            products_to_raw[relation.name.split("/")[1], frame_id] = relation.runs
            assert relation.n_frames == sum(n for _, _, n in relation.runs)
    assert raw_to_products == products_to_raw
    assert products_to_raw


def test_a_product_is_made_of_files_in_order(finished):
    ((name, n_frames),) = finished.query("SELECT name, n_frames FROM file WHERE kind = 'product' ORDER BY id LIMIT 1")
    relations = history.lineage(finished.store(), find(finished, name))
    assert sum(relation.n_frames for relation in relations) == n_frames
    assert [r.name for r in relations] == sorted(r.name for r in relations)


def test_history_tells_every_step_there_and_back(finished):
    assert finished.rollback(to="identified").succeeded
    store = finished.store()
    entries = history.entries(store, history.find(store, "VMPA00000001"))
    done = [entry.edge for entry in entries if entry.event == "done"]
    there = ["sync", "consolidate", "fix", "identify", "compress", "transfer", "list"]
    assert done == [*there, "unlist", "withdraw", "decompress"]
    assert sum(entry.event == "assigned" for entry in entries) == 1
    assert [entry.id for entry in entries] == sorted(entry.id or 0 for entry in entries)


def test_history_at_the_command_line(finished):
    done = call(finished, "history", "VMPA00000001", "--json")
    assert done.returncode == 0
    told = json.loads(done.stdout)
    assert set(told) == {"name", "frame_id", "identity", "entries", "lineage"}
    assert told["frame_id"] == "VMPA00000001"
    assert set(told["lineage"][0]) == {"name", "state", "n_frames", "runs"}
    assert {"event", "edge", "source", "destination", "at_us", "run_id"} <= set(told["entries"][0])
    words = call(finished, "history", "VMPE00000001").stdout
    assert "it is made of" in words
    assert told["lineage"][0]["name"] in words
    raw = told["lineage"][0]["name"]
    words = call(finished, "history", raw).stdout
    assert "its frames are in" in words
    assert "VMPA00000001" in words


# frame by frame


def test_history_maps_every_frame_of_every_product_to_raw_file_and_index(world):
    truth = world.simulate(scale=0.8, scenario=("pdi", "onecamera"))  # products of more than one raw file
    world.bring(to="compressed")
    store = world.store()
    index = {file.path: number for number, file in enumerate(truth.files)}
    there, back = set(), set()
    for frame_id, camera in world.query(
        "SELECT frame_id.frame_id, file.camera FROM frame_id JOIN file ON file.identity = frame_id.identity"
    ):
        places = history.frames(store, history.find(store, frame_id))
        cube = world.folder / "archive" / DATE / "vgen2" / f"{frame_id}.fits.fz"
        serials = [serial for _, serial, _ in identities(cube)]
        assert [place.frame for place in places] == list(range(len(serials)))
        for place, serial in zip(places, serials, strict=True):
            table = truth.frames[camera]
            assert table["serial"][table["file"] == index[place.file]][place.index] == serial
            there.add((place.file, place.index, frame_id, place.frame))
    for file in truth.files:
        places = history.frames(store, history.find(store, f"{world.folder}/archive/{DATE}/{file.path}"))
        assert [place.frame for place in places] == list(range(file.n_frames))
        back |= {(file.path, place.frame, place.file.split()[0], place.index) for place in places}
    assert there == back
    assert len(there) == sum(file.n_frames for file in truth.files)


def test_history_frame_by_frame_at_the_command_line(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("slow",))
    sqlite_world.bring(to="identified")
    told = json.loads(call(sqlite_world, "history", "VMPA00000001", "--frames", "--json").stdout)
    assert set(told["frames"][0]) == {"frame", "file", "index"}
    assert len(told["frames"]) == sum(part["n_frames"] for part in told["lineage"])
    words = call(sqlite_world, "history", "VMPA00000001", "--frames").stdout
    assert "frame\traw file\tindex" in words
    last = told["frames"][-1]
    assert words.splitlines()[-1] == f"{last['frame']}\t{last['file']}\t{last['index']}"
    assert "\tproduct\t" in call(sqlite_world, "history", last["file"], "--frames").stdout
    assert sqlite_world.rollback().succeeded
    words = call(sqlite_world, "history", "VMPA00000001", "--frames").stdout
    assert "none of its frames is in a product now" in words


# explanation


def test_explain_a_finished_product(finished):
    found = explain(finished, "VMPA00000001")
    assert (found.state, found.last_error, found.next_command) == ("manifested", None, "")
    assert "`list` by run" in found.because
    assert found.facts["frame_id"] == "VMPA00000001"
    assert found.facts["files"] == ["VMPA00000001.fits.fz", "VMPA00000001.txt"]


def test_explain_a_raw_file(finished):
    cube = next((finished.folder / "archive" / DATE / "vcam1").glob("*.fits"))
    found = explain(finished, str(cube))
    assert found.state == "synced"
    assert "every frame of it is in a product" in found.because
    assert found.next_command == f"ledger history {cube.name}"


def test_explain_a_product_that_was_rolled_back(finished):
    assert finished.rollback().succeeded
    found = explain(finished, "VMPA00000001")
    assert found.state == "rolled back"
    assert "stays reserved" in found.because
    assert found.next_command == f"ledger advance --date {DATE}"
    store = finished.store()
    assert history.entries(store, history.find(store, "VMPA00000001"))[-1].edge == "unsync"


def test_explain_a_file_in_quarantine(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("onecamera",))
    cube = next((sqlite_world.folder / "archive" / DATE / "vcam1").glob("*.fits"))
    cube.with_suffix(".txt").unlink()
    sqlite_world.machine().scan(sqlite_world.night())
    found = explain(sqlite_world, str(cube))
    assert found.state == "quarantined"
    assert str(cube.with_suffix(".txt")) in found.because
    told = json.loads(call(sqlite_world, "explain", str(cube), "--json").stdout)
    assert set(told) == {"name", "state", "because", "last_error", "next_command", "facts"}


def test_explain_a_product_that_failed_until_it_succeeds(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("onecamera",))
    blocking = sqlite_world.destination / DATE
    blocking.write_text("whose?")
    assert not sqlite_world.advance().succeeded
    found = explain(sqlite_world, "VMPA00000001")
    assert found.state == "compressed"
    assert str(blocking) in str(found.last_error)
    assert found.facts["attempts"] == 1
    assert found.next_command == f"ledger advance --date {DATE}"
    done = call(sqlite_world, "explain", "VMPA00000001")
    assert f"last error  {found.last_error}" in done.stdout
    assert f"next        ledger advance --date {DATE}" in done.stdout
    blocking.unlink()
    assert sqlite_world.advance().succeeded
    found = explain(sqlite_world, "VMPA00000001")
    assert (found.state, found.last_error, found.facts.get("attempts")) == ("manifested", None, None)


def test_history_and_explanation_tell_of_mails_and_receipts(finished):
    def told():
        events = [e.event for e in history.entries(finished.store(), find(finished, "VMPA00000001"))]
        facts = explain(finished, "VMPA00000001").facts
        return events[start:], {key: facts[key].split(" to ")[-1] for key in facts if key in known}

    known = ("mail_written", "confirmed", "contradicted")
    start = len(history.entries(finished.store(), find(finished, "VMPA00000001")))
    ((size,),) = finished.query("SELECT size_bytes FROM manifest_line WHERE frame_id = 'VMPA00000001'")
    finished.data["mail"]["recipients"] = ["stars@example.org"]
    for n, step in enumerate((0, size, size + 1)):
        finished.now_us += 10**6
        if step == 0:
            manifest.send(finished.machine(), [finished.night()])
        else:
            path = finished.folder / f"receipt{n}.csv"
            path.write_text(f"VMPA00000001,{step}\n")
            receive(finished.store(), finished.config, path)
    events, facts = told()
    assert events == ["mail_written", "confirmed", "contradicted"]
    assert facts["mail_written"] == "stars@example.org"
    assert facts["contradicted"].endswith(f"receipt2.csv: {size + 1} bytes, expected {size}")
    assert "confirmed" not in facts
    finished.now_us += 10**6
    assert finished.rollback(to="transferred", withdraws=True).succeeded
    events, facts = told()
    assert "unmailed" in events
    assert facts == {}
    assert "stars@example.org" in call(finished, "history", "VMPA00000001").stdout

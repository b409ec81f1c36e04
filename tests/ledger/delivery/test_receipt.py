"""`ledger receipt`: what the archive confirms is compared with what was sent, and put on record."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from ledger.delivery import manifest
from ledger.delivery.receipt import read_receipt, receive
from ledger.errors import StateError, UsageError
from ledger.night.pipeline import pipelines
from ledger.query import status as night_status
from tests.ledger.delivery.manifests import note_sent

HASH = "0123456789abcdef" * 4


@pytest.fixture
def sent(sqlite_world):
    return prepare(sqlite_world)


def prepare(world):
    world.simulate(scale=0.02, scenario=("pdi",))
    world.bring()
    manifest.send(world.machine(), [world.night()])
    return world


def products(world):
    return world.query(
        "SELECT frame_id, size_bytes, sha256 FROM frame_id"
        " JOIN file ON file.identity = frame_id.identity ORDER BY frame_id"
    )


def take(world, *lines):
    path = world.folder / "receipt.csv"
    path.write_text("".join(f"{line}\n" for line in lines))
    return receive(world.store(), world.config, path)


def standing(world):
    (night,) = night_status.nights(world.config, pipelines(world.config))
    return night


def confirmed(world):
    return standing(world).confirmed


# a receipt, read


@pytest.mark.parametrize(
    "content",
    [
        f"VMPA00000001|123|{HASH}\n",
        f"VMPA00000001,123,{HASH}\r\n",
        f"VMPA00000001;123;{HASH}",
        f"VMPA00000001\t123\t{HASH.upper()}\n",
        f"FRAMEID|SIZE|SHA256\nVMPA00000001|123|{HASH}\n",
        f"\ufeffid,bytes,sum\n\n{HASH},123,/archive/a/VMPA00000001.fits.fz\n",
        f'"VMPA00000001" , "123" , "{HASH}", "2026-01-02"\n',
    ],
)
def test_forms_of_a_receipt(content):
    (line,) = read_receipt(content.encode(), "VMPA")
    assert line[1:4] == ("VMPA00000001", 123, HASH)


def test_sizes_and_hashes_may_be_missing():
    lines = read_receipt(f"VMPA00000001\nVMPA00000002|5\nVMPA00000003|{HASH}\n".encode(), "VMPA")
    assert [line[2:4] for line in lines] == [(None, None), (5, None), (None, HASH)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no line"),
        (b"\n\n", "no line"),
        (b"frame|size\n", "no line"),
        (b"\xff\xfe", "not text"),
        (b"VMPA00000001|1\nVMPB00000002|2\n", "line 2"),
        (b"VMPA00000001|1|2\n", "line 1"),
        (b"VMPA00000001|VMPA00000002|2\n", "line 1"),
        (b"VMPA00000001|1\nVMPA00000001|1\n", "line 1 too"),
        (b"VMPA00000001|1111111111111111111111\n", "line 1"),
        (b"VMPA000000011|1\nVMPA00000001|1\nrest\n", "line 3"),
    ],
)
def test_what_is_no_receipt(content, message):
    with pytest.raises(UsageError, match=message):
        read_receipt(content, "VMPA")


@given(st.binary(max_size=300) | st.text('VMPA0123456789|,;\t\n\r\0"x.', max_size=300).map(str.encode))
def test_whatever_comes_is_read_or_refused(content):
    refused = ""
    try:
        lines = read_receipt(content, "VMPA")
    except UsageError as exc:
        refused = str(exc)
    assert refused.isprintable()
    assert refused or len({line.frame_id for line in lines}) == len(lines) > 0


# and compared


def test_all_of_it_is_confirmed(sent):
    rows = products(sent)
    found = take(sent, *(f"{frame_id}|{size}|{sha256}" for frame_id, size, sha256 in rows))
    assert found.confirmed == [frame_id for frame_id, _, _ in rows]
    assert found.succeeded
    assert confirmed(sent) == len(rows) > 1


def test_what_is_unknown_differs_or_is_missing_is_told(sent):
    rows = products(sent)
    found = take(
        sent, f"{rows[0][0]}|{rows[0][1]}", f"{rows[1][0]}|{rows[1][1] + 1}", f"{rows[2][0]}|{HASH}", "VMPA00099999|5"
    )
    assert found.confirmed == [rows[0][0]]
    assert found.unknown == ["VMPA00099999"]
    assert [frame_id for frame_id, _ in found.differing] == [rows[1][0], rows[2][0]]
    assert found.missing == [frame_id for frame_id, _, _ in rows[1:]]
    assert not found.succeeded
    rest = take(sent, *(f"{frame_id}|{size}" for frame_id, size, _ in rows[1:]))
    assert rest.missing == []
    assert rest.succeeded


def test_a_frame_id_alone_confirms_nothing(sent):
    found = take(sent, products(sent)[0][0])
    assert found.confirmed == []
    assert "neither" in found.differing[0][1]


def test_what_was_not_sent_is_unknown(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("pdi",))
    sqlite_world.bring(to="identified")
    assert take(sqlite_world, "VMPA00000001|5").unknown == ["VMPA00000001"]


def test_a_receipt_is_read_once(sent):
    line = "{}|{}".format(*products(sent)[0])
    take(sent, line)
    with pytest.raises(UsageError, match="on record"):
        take(sent, line)
    assert sent.query("SELECT count(*) FROM receipt_line") == [(1,)]


def test_a_withdrawal_ends_the_confirmation(world):
    prepare(world)
    lines = [f"{frame_id}|{size}" for frame_id, size, _ in products(world)]
    assert take(world, *lines).succeeded
    assert world.rollback(to="fixed", withdraws=True).succeeded
    assert confirmed(world) == 0
    found = take(world, *lines)
    assert found.withdrawn == [frame_id for frame_id, _ in (line.split("|") for line in lines)]
    assert (found.unknown, found.confirmed, found.succeeded) == ([], [], False)
    assert world.advance().succeeded
    assert take(world, *lines[1:]).withdrawn  # it is made again, and nobody was told
    note_sent(world)
    manifest.send(world.machine(), [world.night()])
    assert confirmed(world) == 0
    assert take(world, *lines).succeeded  # word by word the same as before
    assert confirmed(world) == len(lines)
    with pytest.raises(UsageError, match="on record"):
        take(world, *lines)


def test_a_withdrawal_of_what_was_not_mailed_ends_the_confirmation(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("pdi",))
    sqlite_world.bring()
    lines = [f"{frame_id}|{size}" for frame_id, size, _ in products(sqlite_world)]
    assert take(sqlite_world, *lines).succeeded  # somebody gave them the manifest by hand
    assert sqlite_world.rollback(to="transferred").succeeded
    assert confirmed(sqlite_world) == 0
    assert sqlite_world.advance().succeeded
    assert confirmed(sqlite_world) == 0
    assert take(sqlite_world, *lines).succeeded


def test_the_last_word_of_the_archive_counts(world):
    prepare(world)
    rows = products(world)
    lines = [f"{frame_id}|{size}" for frame_id, size, _ in rows]
    assert take(world, *lines).succeeded
    assert take(world, f"{rows[0][0]}|1").differing == [(rows[0][0], f"1 bytes, expected {rows[0][1]}")]
    assert confirmed(world) == len(lines) - 1
    assert standing(world).next_command == f"ledger doctor --date {standing(world).date}"  # which tells what
    assert world.query("SELECT frame_id FROM receipt_line WHERE difference IS NOT NULL") == [(rows[0][0],)]
    assert take(world, rows[1][0]).missing == [rows[0][0]]  # of the second nothing new is said
    assert confirmed(world) == len(lines) - 1
    assert take(world, *lines).succeeded
    assert confirmed(world) == len(lines)
    assert standing(world).next_command == ""


def test_a_receipt_that_came_before_the_mail_counts_after_it(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("pdi",))
    sqlite_world.bring(to="transferred")
    lines = [f"{frame_id}|{size}" for frame_id, size, _ in products(sqlite_world)]
    assert len(take(sqlite_world, *lines).unknown) == len(lines)
    assert sqlite_world.advance().succeeded
    assert take(sqlite_world, *lines).succeeded


def test_fields_that_are_not_compared_are_told(sent):
    frame_id, size, _ = products(sent)[0]
    path = sent.folder / "confirmed.csv"
    path.write_text(f"{frame_id},{size},deadbeef\n")
    done = sent.run("receipt", str(path))
    assert "not compared 1 field of it, such as 'deadbeef' in line 1" in done.stdout


def test_of_a_bad_receipt_nothing_is_taken(sent):
    with pytest.raises(UsageError, match="line 2"):
        take(sent, "{}|{}".format(*products(sent)[0]), "nonsense")
    assert sent.query("SELECT count(*) FROM receipt") == [(0,)]


def test_what_is_confirmed_does_not_change(world):
    prepare(world)
    take(world, "{}|{}".format(*products(world)[0]))
    with world.store().write() as session:
        session.execute(text("UPDATE receipt_line SET withdrawn_us = 1"))
    for statement in (
        "DELETE FROM receipt",
        "DELETE FROM receipt_line",
        "UPDATE receipt_line SET size_bytes = 1",
        "UPDATE receipt_line SET difference = 'no'",
        "UPDATE receipt_line SET withdrawn_us = NULL",
    ):
        with pytest.raises(StateError, match=r"receipt on record|append-only"), world.store().write() as session:
            session.execute(text(statement))


def test_the_command(sent):
    path = sent.folder / "confirmed.csv"
    path.write_text("".join(f"{frame_id},{size}\n" for frame_id, size, _ in products(sent)[:-1]))
    done = sent.run("receipt", str(path), "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["missing"] == [products(sent)[-1][0]]
    assert sent.run("receipt", str(path)).returncode == 2
    assert sent.run("receipt", "nowhere.csv").returncode == 2
    assert "confirmed" in sent.run("status").stdout

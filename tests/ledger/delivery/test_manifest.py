"""What a manifest lists, and what of it is sent: once, and taken back."""

import json

import pytest
from sqlalchemy import text

from ledger.delivery import manifest
from ledger.delivery.mail import NotSent
from ledger.errors import ConfigError, NotReady, StateError, UsageError
from tests.ledger.delivery.manifests import NEXT, attached, listed_bytes, mails, nights, note_sent, prepare, read, send
from tests.world import DATE


def test_of_one_night_it_is_the_nights_own(listed):
    listing, path = manifest.write(listed.machine(), nights(listed))
    assert path == listed.folder / f"manifests/manifest_VMP_{DATE}.csv"
    assert path.read_bytes() == listed_bytes(listed) == listing.content


def test_of_two_nights_it_is_both_in_the_order_of_ids(listed):
    _, path = manifest.write(listed.machine(), nights(listed, NEXT, DATE))
    assert path.name == f"manifest_VMP_{DATE}-{NEXT}.csv"
    assert path.read_bytes() == listed_bytes(listed) + listed_bytes(listed, NEXT)


def test_written_again_it_has_the_same_bytes(listed):
    first = manifest.write(listed.machine(), nights(listed))[1].read_bytes()
    assert manifest.write(listed.machine(), nights(listed))[1].read_bytes() == first


def test_it_is_refused_while_a_product_is_not_listed(listed):
    listed.rollback(NEXT, to="compressed")
    with pytest.raises(NotReady, match=rf"\d+ products of {NEXT}"):
        manifest.write(listed.machine(), nights(listed, DATE, NEXT))
    listing, path = manifest.write(listed.machine(), nights(listed, DATE, NEXT), is_partial=True)
    assert path.name == f"manifest_VMP_{DATE}-{NEXT}_partial.csv"
    assert path.read_bytes() == listed_bytes(listed)
    assert NEXT in listing.missing


def test_what_is_transferred_and_not_listed_is_partial_too(listed):
    whole = listed_bytes(listed)
    listed.rollback(to="transferred")
    with pytest.raises(NotReady, match="advance"):
        manifest.write(listed.machine(), nights(listed))
    assert manifest.write(listed.machine(), nights(listed), is_partial=True)[0].content == whole


def test_a_raw_file_that_came_since_is_missing(listed):
    listed.data["instrument"]["times"] = {"date_h": None}  # it is of another night
    listed.simulate("20260104", scale=0.02, scenario=("pdi",), seed=9)
    for path in (listed.folder / "archive/20260104/vcam1").iterdir():
        path.rename(listed.folder / "archive" / DATE / "vcam1" / path.name)
    listed.machine().scan(listed.night())
    with pytest.raises(NotReady, match="raw file"):
        manifest.write(listed.machine(), nights(listed))


def test_nothing_to_list_is_said(sqlite_world):
    sqlite_world.simulate(scale=0.02, scenario=("pdi",))
    sqlite_world.bring(to="compressed")
    with pytest.raises(NotReady, match="nothing to list"):
        manifest.write(sqlite_world.machine(), nights(sqlite_world), is_partial=True)


def test_it_is_not_sent_twice(listed):
    first = send(listed)
    with pytest.raises(UsageError, match=first.message_id.strip("<>")):
        send(listed)
    assert send(listed, is_again=True).message_id != first.message_id
    assert mails(listed) == [("eml", 1, 0, 0)] * 2


def test_a_mail_that_was_begun_and_nothing_known_of_is_not_sent_again(listed):
    send(listed)
    with listed.store().write() as session:  # as if it had been killed
        session.execute(text("DROP TRIGGER guard_mail_update"))
        session.execute(text("UPDATE mail SET sent_us = NULL"))
    with pytest.raises(UsageError, match="nobody knows"):
        send(listed)


def test_what_is_new_is_sent(listed):
    send(listed)
    sent = send(listed, DATE, NEXT)
    assert sent.listing.name == f"manifest_VMP_{NEXT}.csv"
    assert sent.listing.dates == (NEXT,)
    assert listed.query("SELECT count(*) FROM entry WHERE event = 'mail_written'") == [(2,)]
    assert attached(read(sent.file))[1] == listed_bytes(listed, NEXT)


def test_of_which_nights_it_was_sent_is_said(listed):
    listed.rollback(NEXT, to="compressed")
    listed.data["mail"]["recipients"] = []
    send(listed)
    with pytest.raises(UsageError, match=rf"manifest of {DATE} was written on .* UT as a mail, ready to be sent"):
        send(listed, DATE, NEXT, is_partial=True)


def test_a_partial_one_says_so(listed):
    listed.rollback(NEXT, to="compressed")
    sent = send(listed, DATE, NEXT, is_partial=True)
    assert NEXT in read(sent.file).get_body().get_content().split("not in it:")[1]
    assert mails(listed) == [("eml", 1, 0, 1)]
    listed.data["mail"]["text"] = "{count}"
    with pytest.raises(UsageError, match="missing"):
        send(listed, DATE, NEXT, is_partial=True, is_again=True)


def test_what_was_mailed_does_not_change(world):
    prepare(world)
    send(world)
    for statement in (
        "UPDATE mail SET sent_us = 0",
        "DELETE FROM mail",
        "DELETE FROM mail_line",
        "UPDATE mail_line SET frame_id = 'VMPA00000009'",
    ):
        with (
            pytest.raises(StateError, match=r"mail on record|is append-only"),
            world.store().write() as session,
        ):
            session.execute(text(statement))


def test_a_night_that_was_mailed_is_not_taken_back_unasked(listed):
    send(listed)
    before = listed.tree(), listed.tree(listed.destination)
    with pytest.raises(UsageError, match="--withdraw"):
        listed.rollback()
    assert (listed.tree(), listed.tree(listed.destination)) == before
    assert listed.rollback(NEXT).succeeded  # nothing of it was mailed


def test_whom_to_tell_what_is_said(world):
    prepare(world)
    content = listed_bytes(world)
    first = send(world, DATE, NEXT)
    result = world.rollback(to="transferred", withdraws=True)
    assert result.succeeded
    (told,) = result.notes
    assert "archive@example.org, stars@example.org" in told
    (path,) = (world.folder / "manifests").glob("withdrawn_*")
    assert path.read_bytes() == content
    assert world.query("SELECT count(*) FROM entry WHERE event = 'unmailed'") == [(1,)]
    assert world.rollback().succeeded  # it is on record, once
    with pytest.raises(UsageError, match=first.message_id.strip("<>")):
        send(world, NEXT)
    assert world.advance().succeeded
    note_sent(world)
    assert attached(read(send(world, DATE, NEXT).file))[1] == content


def test_of_a_mail_that_was_not_sent_nothing_is_withdrawn(listed, tmp_path):
    listed.data["mail"] |= {"transport": "sendmail", "sendmail": str(tmp_path / "none")}
    with pytest.raises(NotSent):
        send(listed)
    assert listed.rollback().succeeded


def test_rollback_by_command(listed):
    send(listed)
    done = listed.run("rollback", f"archive/{DATE}", "--yes")
    assert done.returncode == 2
    assert "--withdraw" in done.stderr
    done = listed.run("rollback", f"archive/{DATE}", "--yes", "--withdraw")
    assert done.returncode == 0
    assert "send it to archive@example.org, stars@example.org, and then " in done.stdout


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sender", "a@b\nBcc: c@d"),
        ("recipients", ["a@b, c@d"]),
        ("subject", "{date.__class__}"),
        ("subject", "{0}"),
        ("text", "{nothing}"),
        ("text", "{"),
        ("ip", "127.0.0.1"),
        ("ip", "::1"),
        ("ip", "somewhere"),
        ("transport", "pigeon"),
    ],
)
def test_faults_of_the_configuration(sqlite_world, key, value):
    sqlite_world.data["mail"][key] = value
    with pytest.raises(ConfigError, match=f"mail.{key}"):
        _ = sqlite_world.config


def test_a_header_with_a_line_end_is_refused(listed):
    listed.data["mail"]["subject"] = "{dates}\nBcc: everybody@example.org"
    with pytest.raises(UsageError, match=r"mail\.subject"):
        send(listed)
    assert mails(listed) == []


def test_addresses_that_are_missing_are_told(listed):
    listed.data["mail"] |= {"transport": "sendmail", "recipients": []}
    with pytest.raises(UsageError, match=r"mail\.recipients"):
        send(listed)


def test_an_address_of_the_host_that_is_missing_is_told(listed):
    listed.data["mail"]["text"] = "{ip} {host}"
    with pytest.raises(UsageError, match=r"mail\.ip"):
        send(listed)
    listed.data["mail"] |= {"ip": "192.0.2.7", "host": "summit"}
    assert read(send(listed).file).get_body().get_content() == "192.0.2.7 summit\n"


def test_the_command(listed):
    done = listed.run("manifest", "--date", DATE, "--date", "2026-01-03", "--json")
    assert done.returncode == 0
    facts = json.loads(done.stdout)
    assert facts["dates"] == [DATE, NEXT]
    assert listed.run("manifest", "--date", DATE, "--send").returncode == 0
    done = listed.run("manifest", "--date", DATE, "--send")
    assert done.returncode == 2
    assert "--again" in done.stderr
    assert listed.run("manifest").returncode == 2
    assert listed.run("manifest", "--date", DATE, "--again").returncode == 2

"""`ledger manifest`: what is listed, and that it is mailed once. The mail server is real."""

import email
import email.policy
import json
import socket
from contextlib import closing

import pytest
from sqlalchemy import text

from ledger.audit.doctor import examine
from ledger.delivery import manifest
from ledger.delivery.mail import NotSent, PartlySent, Unknown
from ledger.delivery.receipt import receive
from ledger.errors import BadInput, ConfigError, NotReady, StateError
from ledger.night.pipeline import pipelines
from ledger.query import status as night_status
from tests.smtpd import PASSWORD, USER, running_smtpd
from tests.world import DATE

NEXT = "20260103"


@pytest.fixture
def listed(sqlite_world):
    """A world with two nights that are manifested."""
    return prepare(sqlite_world)


def prepare(world):
    world.simulate_two(DATE, NEXT)
    for date in (DATE, NEXT):
        world.bring(date)
    world.data["mail"] |= {"sender": "vampires@example.org", "recipients": ["archive@example.org", "stars@example.org"]}
    return world


def nights(world, *dates):
    return [world.night(date) for date in dates or (DATE,)]


def send(world, *dates, **options):
    return manifest.send(world.machine(), nights(world, *dates), **options)


def listed_bytes(world, date=DATE):
    return (world.folder / "archive" / date / f"manifest_VMP_{date}.csv").read_bytes()


def read(path):
    return email.message_from_bytes(path.read_bytes(), policy=email.policy.default)


def attached(message):
    (part,) = message.iter_attachments()
    return part.get_filename(), part.get_payload(decode=True)


def mails(world):
    return world.query("SELECT transport, sent_us IS NOT NULL, error IS NOT NULL, is_partial FROM mail ORDER BY id")


def by_smtp(world, port, security="starttls", **more):
    world.data["mail"] |= {"transport": "smtp"}
    ca_file = str(world.folder / "mails/ca.pem")
    world.data["mail"]["smtp"] = {"server": "localhost", "port": port, "security": security, "ca_file": ca_file, **more}


# what is listed


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
    sqlite_world.advance(to="compressed")
    with pytest.raises(NotReady, match="nothing to list"):
        manifest.write(sqlite_world.machine(), nights(sqlite_world), is_partial=True)


# mails


def test_a_file_that_is_ready(listed):
    sent = send(listed)
    message = read(sent.file)
    assert attached(message) == (f"manifest_VMP_{DATE}.csv", listed_bytes(listed))
    assert message["To"] == "archive@example.org, stars@example.org"
    assert message["From"] == "vampires@example.org"
    assert message["Subject"] == f"VAMPIRES: manifest of {DATE}"
    assert message["Message-ID"] == sent.message_id
    assert mails(listed) == [("eml", 1, 0, 0)]


@pytest.mark.parametrize("security", ["starttls", "tls", "none"])
def test_by_smtp(listed, security, monkeypatch):
    monkeypatch.setenv("LEDGER_SMTP_PASSWORD", PASSWORD)
    taken = listed.folder / "mails/taken"
    with running_smtpd(taken, security) as port:
        by_smtp(listed, port, security, **({} if security == "none" else {"user": USER}))
        sent = send(listed, DATE, NEXT)
    (path,) = taken.iterdir()
    message = read(path)
    assert message["Message-ID"] == sent.message_id
    assert attached(message)[1] == listed_bytes(listed) + listed_bytes(listed, NEXT)
    assert mails(listed) == [("smtp", 1, 0, 0)]
    assert PASSWORD not in str(listed.query("SELECT * FROM mail")) + str(listed.query("SELECT * FROM run"))


def test_the_password_may_be_in_netrc(listed, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text(f'machine localhost login {USER} password "{PASSWORD}"\n')
    (tmp_path / ".netrc").chmod(0o600)
    with running_smtpd(listed.folder / "mails/taken") as port:
        by_smtp(listed, port, user=USER)
        send(listed)
    assert mails(listed) == [("smtp", 1, 0, 0)]


@pytest.mark.parametrize(("behaviour", "message"), [("refuses", "refused"), ("rejects", "554 not today")])
def test_what_was_not_taken_may_be_sent_again(listed, behaviour, message, monkeypatch):
    monkeypatch.setenv("LEDGER_SMTP_PASSWORD", PASSWORD)
    taken = listed.folder / "mails/taken"
    with running_smtpd(taken, behaviour=behaviour) as port:
        by_smtp(listed, port, user=USER)
        with pytest.raises(NotSent, match=message):
            send(listed)
    assert mails(listed) == [("smtp", 0, 1, 0)]
    assert set(listed.query("SELECT state FROM file WHERE kind = 'product'")) == {("manifested",)}
    listed.data["mail"]["transport"] = "eml"
    assert send(listed).file is not None


def doubts(world):
    return [f.text for f in examine(world.config) if "the mail of" in f.text]


def next_commands(world):
    return {night.next_command for night in night_status.nights(world.config, pipelines(world.config))}


def test_what_nobody_knows_takes_again(listed, monkeypatch):
    monkeypatch.setenv("LEDGER_SMTP_PASSWORD", PASSWORD)
    with running_smtpd(listed.folder / "mails/taken", behaviour="hangs up") as port:
        by_smtp(listed, port, user=USER)
        with pytest.raises(Unknown, match="--again"):
            send(listed)
    listed.data["mail"]["transport"] = "eml"
    with pytest.raises(BadInput, match="nobody knows"):
        send(listed)
    (told,) = doubts(listed)
    assert "nobody knows whether it was sent to archive@example.org" in told
    assert f"ledger doctor --date {DATE}" in next_commands(listed)
    assert send(listed, is_again=True).file is not None
    assert doubts(listed) == []
    assert next_commands(listed) == {""}


def test_what_was_refused_for_one_was_sent_to_the_others(listed, monkeypatch):
    monkeypatch.setenv("LEDGER_SMTP_PASSWORD", PASSWORD)
    listed.data["mail"]["recipients"].append("nobody@example.org")
    with running_smtpd(listed.folder / "mails/taken", behaviour="refuses one") as port:
        by_smtp(listed, port, user=USER)
        with pytest.raises(PartlySent, match=r"not for nobody@example.org.*--again"):
            send(listed)
    assert mails(listed) == [("smtp", 1, 0, 0)]
    with pytest.raises(BadInput, match=r"to archive@example.org, stars@example.org, and refused for nobody"):
        send(listed)
    (told,) = doubts(listed)
    assert "refused for nobody@example.org" in told
    (told,) = listed.rollback(to="transferred", withdraws=True).notes
    assert "nobody" not in told
    assert doubts(listed) == []


def test_a_receipt_ends_the_doubt(world, monkeypatch):
    listed = prepare(world)
    monkeypatch.setenv("LEDGER_SMTP_PASSWORD", PASSWORD)
    with running_smtpd(listed.folder / "mails/taken", behaviour="hangs up") as port:
        by_smtp(listed, port, user=USER)
        with pytest.raises(Unknown):
            send(listed)
    assert len(doubts(listed)) == 1
    path = listed.folder / "receipt.csv"
    rows = listed.query("SELECT frame_id, size_bytes FROM mail_line")
    path.write_text("".join(f"{frame_id},{size}\n" for frame_id, size in rows))
    receive(listed.store(), listed.config, path)
    assert doubts(listed) == []


def test_a_wrong_password_is_told_and_not_shown(listed, monkeypatch):
    monkeypatch.setenv("LEDGER_SMTP_PASSWORD", "wrong secret")
    with running_smtpd(listed.folder / "mails/taken") as port:
        by_smtp(listed, port, user=USER)
        with pytest.raises(NotSent, match="535") as caught:
            send(listed)
    assert "wrong secret" not in str(caught.value)


def test_no_password_is_told(listed, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("LEDGER_SMTP_PASSWORD", raising=False)
    with running_smtpd(listed.folder / "mails/taken") as port:
        by_smtp(listed, port, user=USER)
        with pytest.raises(NotSent, match="LEDGER_SMTP_PASSWORD"):
            send(listed)


def test_a_certificate_that_is_not_trusted_is_refused(listed, monkeypatch):
    monkeypatch.setenv("LEDGER_SMTP_PASSWORD", PASSWORD)
    taken = listed.folder / "mails/taken"
    with running_smtpd(taken) as port:
        by_smtp(listed, port, user=USER)
        listed.data["mail"]["smtp"]["ca_file"] = None
        with pytest.raises(NotSent, match="certificate"):
            send(listed)
    assert list(taken.iterdir()) == []


def test_a_server_that_is_not_there_is_told(listed):
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    by_smtp(listed, port)
    listed.data["mail"]["smtp"]["ca_file"] = None
    with pytest.raises(NotSent, match="refused"):
        send(listed)


def test_by_sendmail(listed, tmp_path):
    program, taken = tmp_path / "sendmail", tmp_path / "taken"
    program.write_text(f'#!/bin/sh\necho "$@" > {taken}.to\ncat > {taken}\n')
    program.chmod(0o755)
    listed.data["mail"] |= {"transport": "sendmail", "sendmail": str(program)}
    send(listed)
    assert attached(read(taken))[1] == listed_bytes(listed)
    expected = "-i -f vampires@example.org -- archive@example.org stars@example.org\n"
    assert (tmp_path / "taken.to").read_text() == expected


def test_sendmail_that_fails_is_told(listed, tmp_path):
    program = tmp_path / "sendmail"
    program.write_text("#!/bin/sh\necho full >&2\nexit 75\n")
    program.chmod(0o755)
    listed.data["mail"] |= {"transport": "sendmail", "sendmail": str(program)}
    with pytest.raises(NotSent, match=r"75 \(full\)"):
        send(listed)
    program.unlink()
    with pytest.raises(NotSent, match="No such file"):
        send(listed)


# once


def test_it_is_not_sent_twice(listed):
    first = send(listed)
    with pytest.raises(BadInput, match=first.message_id.strip("<>")):
        send(listed)
    assert send(listed, is_again=True).message_id != first.message_id
    assert mails(listed) == [("eml", 1, 0, 0)] * 2


def test_a_mail_that_was_begun_and_nothing_known_of_is_not_sent_again(listed):
    send(listed)
    with listed.store().write() as session:  # as if it had been killed
        session.execute(text("DROP TRIGGER guard_mail_update"))
        session.execute(text("UPDATE mail SET sent_us = NULL"))
    with pytest.raises(BadInput, match="nobody knows"):
        send(listed)


def test_what_is_new_is_sent(listed):
    send(listed)
    sent = send(listed, DATE, NEXT)
    assert sent.listing.name == f"manifest_VMP_{NEXT}.csv"
    assert sent.listing.dates == (NEXT,)
    assert listed.query("SELECT count(*) FROM entry WHERE event = 'mailed'") == [(2,)]
    assert attached(read(sent.file))[1] == listed_bytes(listed, NEXT)


def test_of_which_nights_it_was_sent_is_said(listed):
    listed.rollback(NEXT, to="compressed")
    listed.data["mail"]["recipients"] = []
    send(listed)
    with pytest.raises(BadInput, match=rf"manifest of {DATE} was written on .* UT as a mail, ready to be sent"):
        send(listed, DATE, NEXT, is_partial=True)


def test_a_partial_one_says_so(listed):
    listed.rollback(NEXT, to="compressed")
    sent = send(listed, DATE, NEXT, is_partial=True)
    assert NEXT in read(sent.file).get_body().get_content().split("not in it:")[1]
    assert mails(listed) == [("eml", 1, 0, 1)]
    listed.data["mail"]["text"] = "{count}"
    with pytest.raises(BadInput, match="missing"):
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


# taken back


def test_a_night_that_was_mailed_is_not_taken_back_unasked(listed):
    send(listed)
    before = listed.tree(), listed.tree(listed.destination)
    with pytest.raises(BadInput, match="--withdraw"):
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
    with pytest.raises(BadInput, match=first.message_id.strip("<>")):
        send(world, NEXT)
    assert world.advance().succeeded
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
    assert "send it to archive@example.org, stars@example.org\n" in done.stdout


# what is refused


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
    with pytest.raises(BadInput, match=r"mail\.subject"):
        send(listed)
    assert mails(listed) == []


def test_addresses_that_are_missing_are_told(listed):
    listed.data["mail"] |= {"transport": "sendmail", "recipients": []}
    with pytest.raises(BadInput, match=r"mail\.recipients"):
        send(listed)


def test_an_address_of_the_host_that_is_missing_is_told(listed):
    listed.data["mail"]["text"] = "{ip} {host}"
    with pytest.raises(BadInput, match=r"mail\.ip"):
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

"""A manifest by mail: by SMTP, by sendmail, and when nobody knows whether it was taken."""

import socket
from contextlib import closing

import pytest

from ledger.audit.doctor import examine
from ledger.delivery.mail import NotSent, PartlySent, Unknown
from ledger.delivery.receipt import receive
from ledger.errors import UsageError
from ledger.night.pipeline import pipelines
from ledger.query import status as night_status
from tests.ledger.delivery.manifests import NEXT, attached, listed_bytes, mails, prepare, read, send
from tests.smtpd import PASSWORD, USER, running_smtpd
from tests.world import DATE


def by_smtp(world, port, security="starttls", **more):
    world.data["mail"] |= {"transport": "smtp"}
    ca_file = str(world.folder / "mails/ca.pem")
    world.data["mail"]["smtp"] = {"server": "localhost", "port": port, "security": security, "ca_file": ca_file, **more}


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
    with pytest.raises(UsageError, match="nobody knows"):
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
    with pytest.raises(UsageError, match=r"to archive@example.org, stars@example.org, and refused for nobody"):
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

"""Mails with a manifest: written, and handed to what sends them.

A password comes from the environment (``LEDGER_SMTP_PASSWORD``) or from ``~/.netrc``, and goes to the server only.
"""

import netrc
import os
import signal
import smtplib
import socket
import ssl
import subprocess
from collections.abc import Mapping, Sequence
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path

from ledger import log
from ledger.config.blocks import Mail as MailConfig
from ledger.config.model import Config
from ledger.disk import durable
from ledger.errors import NotReady, UsageError
from ledger.text import printable
from stages.base import TEMPORARY_PREFIX

#: Seconds that a server may be silent.
TIMEOUT_S = 60


class NotSent(NotReady):
    """The mail was not taken, for sure."""


class PartlySent(NotReady):
    """The mail was taken, and not for all of its recipients.

    Parameters
    ----------
    message : str
        With what to do.
    refused : sequence of str
        For whom it was not.
    """

    def __init__(self, message: str, refused: Sequence[str]) -> None:
        super().__init__(message)
        self.refused = tuple(refused)


class Unknown(NotReady):
    """Nobody knows whether the mail was taken: the connection broke at the end."""


def compose(config: Config, values: Mapping[str, object], name: str, manifest: bytes) -> EmailMessage:
    """Return a mail with a manifest.

    Parameters
    ----------
    config : Config
        Templates and addresses.
    values : mapping
        Of the templates' fields.
    name : str
        Of the attachment.
    manifest : bytes
        It arrives byte for byte.

    Raises
    ------
    UsageError
        If an address that is needed is missing, or a header would have a line end in it.
    """
    mail = config.mail
    if mail.transport != "eml" and not (mail.sender and mail.recipients):
        raise UsageError(f"mail.transport is {mail.transport}: expected mail.sender and mail.recipients too; set them")
    if mail.ip is None and any("{ip" in template for template in (mail.subject, mail.text)):
        raise UsageError(
            "mail.ip is null, and a template names {ip}: expected the address that others know the host by"
        )
    subject = mail.subject.format_map(values)
    for what, text in {"subject": subject, "name": name}.items():
        if not text.isprintable():
            raise UsageError(f"mail.{what}: found {text!r}, expected one line that can be printed; nothing was sent")
    message = EmailMessage()
    message["Subject"] = subject
    if mail.sender:
        message["From"] = mail.sender
    if mail.recipients:
        message["To"] = ", ".join(mail.recipients)
    message["Date"] = formatdate()
    domain = mail.sender.rpartition("@")[2] if mail.sender else socket.gethostname()
    message["Message-ID"] = make_msgid(domain=domain)
    message.set_content(mail.text.format_map(values))
    message.add_attachment(manifest, maintype="text", subtype="csv", filename=name)
    return message


def send(config: Config, message: EmailMessage, name: str) -> Path | None:
    """Hand a mail to the configured transport; return the file, if that is one.

    Raises
    ------
    NotSent
        If it was not taken, for sure.
    PartlySent
        If it was, and not for all recipients.
    Unknown
        If the connection broke before the server said what became of it.
    """
    mail = config.mail
    if mail.transport == "smtp":
        _by_smtp(mail, message)
    elif mail.transport == "sendmail":
        _by_sendmail(mail, message, mail.recipients)
    else:
        path = _as_file(mail, message, name)
        log.write(f"mail {message['Subject']!r} is written to {path}", event="mail_written", file=path)
        return path
    _log(message)
    return None


def send_text(config: Config, recipients: Sequence[str], subject: str, text: str) -> None:
    """Send a plain text.

    Raises
    ------
    NotSent, PartlySent, Unknown
        As `send`.
    """
    message = EmailMessage()
    message["Subject"] = printable(subject)
    message["From"] = str(config.mail.sender)
    message["To"] = ", ".join(recipients)
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain=str(config.mail.sender).rpartition("@")[2])
    message.set_content(text)
    if config.mail.transport == "smtp":
        _by_smtp(config.mail, message)
    else:
        _by_sendmail(config.mail, message, recipients)
    _log(message)


def _log(message: EmailMessage) -> None:
    about, to, number = (str(message[header]) for header in ("Subject", "To", "Message-ID"))
    log.write(f"mail {about!r} is sent to {to} ({number})", event="mail", to=to, message_id=number)


def _by_smtp(mail: MailConfig, message: EmailMessage) -> None:
    smtp = mail.smtp
    where = f"{smtp.server}:{smtp.port}"
    try:
        context = ssl.create_default_context(cafile=None if smtp.ca_file is None else str(smtp.ca_file))
        server: smtplib.SMTP
        if smtp.security == "tls":
            server = smtplib.SMTP_SSL(smtp.server, smtp.port, timeout=TIMEOUT_S, context=context)
        else:
            server = smtplib.SMTP(smtp.server, smtp.port, timeout=TIMEOUT_S)
    except (OSError, smtplib.SMTPException) as exc:
        raise NotSent(f"mail server {where}: {exc}; not sent; see mail.smtp, and try again") from exc
    with server:
        try:
            if smtp.security == "starttls":
                server.starttls(context=context)
            if smtp.user is not None:
                server.login(smtp.user, _password(smtp.server, smtp.user))
        except (OSError, smtplib.SMTPException) as exc:
            server.close()
            raise NotSent(f"mail server {where}: {_said(exc)}; not sent; see mail.smtp, and try again") from exc
        try:
            refused = server.send_message(message)
        except (smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused, smtplib.SMTPNotSupportedError) as exc:
            raise NotSent(f"mail server {where}: {_said(exc)}; not sent; see mail, and try again") from exc
        except (OSError, smtplib.SMTPException) as exc:
            server.close()
            raise Unknown(
                f"mail server {where}: {exc}; nobody knows whether it was sent; ask who should have it, then"
                " `ledger manifest --send --again`"
            ) from exc
    if refused:
        raise PartlySent(
            f"mail server {where} took the mail, and not for {', '.join(sorted(refused))}; correct mail.recipients,"
            " then `ledger manifest --send --again` (all get it then)",
            sorted(refused),
        )


def _said(exc: Exception) -> str:
    """Return a server's answer; never what was said to it."""
    if isinstance(exc, smtplib.SMTPResponseException):
        said = exc.smtp_error.decode(errors="replace") if isinstance(exc.smtp_error, bytes) else exc.smtp_error
        return f"{exc.smtp_code} {said}"
    if isinstance(exc, smtplib.SMTPRecipientsRefused):
        return f"refused {', '.join(sorted(exc.recipients))}"
    return str(exc)


def _password(server: str, user: str) -> str:
    """Return the password of a user, from the environment or ``~/.netrc``.

    Raises
    ------
    NotSent
        If there is none.
    """
    if password := os.environ.get("LEDGER_SMTP_PASSWORD"):
        return password
    try:
        known = netrc.netrc().authenticators(server)
    except FileNotFoundError:
        known = None
    except (netrc.NetrcParseError, OSError) as exc:
        raise NotSent(f"~/.netrc cannot be read ({type(exc).__name__}); not sent; correct it") from exc
    if known is None or known[2] is None:
        raise NotSent(
            f"no password of {user} at {server}: expected it in LEDGER_SMTP_PASSWORD, or in ~/.netrc; not sent"
        )
    return known[2]


def _by_sendmail(mail: MailConfig, message: EmailMessage, recipients: Sequence[str]) -> None:
    command = [str(mail.sendmail), "-i", "-f", str(mail.sender), "--", *recipients]
    try:
        status, stderr = piped(command, message.as_bytes(), TIMEOUT_S)
    except subprocess.TimeoutExpired as exc:
        raise Unknown(f"{mail.sendmail} did not end in {TIMEOUT_S} s; nobody knows whether it was sent") from exc
    except OSError as exc:
        raise NotSent(f"{mail.sendmail}: {exc.strerror}; not sent; set mail.sendmail") from exc
    if status:
        said = stderr.decode(errors="backslashreplace").strip() or "nothing was said"
        raise NotSent(f"{mail.sendmail} ended with {status} ({said}); not sent")


def piped(command: Sequence[str], content: bytes, timeout_s: float) -> tuple[int, bytes]:
    """Give a program something to read; return its exit status, and what it said on standard error.

    Raises
    ------
    OSError
        If it cannot be run.
    subprocess.TimeoutExpired
        If it does not end in time; it was killed then, and what it had started too.
    """
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=subprocess.DEVNULL, stderr=pipe, start_new_session=True
    ) as process:
        try:
            _, stderr = process.communicate(content, timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return process.returncode, stderr


def _as_file(mail: MailConfig, message: EmailMessage, name: str) -> Path:
    path = mail.folder / f"{Path(name).stem}.eml"
    try:
        mail.folder.mkdir(parents=True, exist_ok=True)
        durable.write_file(path, message.as_bytes(), mail.folder / f"{TEMPORARY_PREFIX}{path.name}", None)
    except OSError as exc:
        raise NotSent(f"{path}: cannot be written ({exc.strerror}); set mail.folder") from exc
    return path

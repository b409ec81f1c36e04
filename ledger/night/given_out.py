"""What of a night was mailed, and what the archive said of it; how it is withdrawn, and who has to be told."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import select, update
from sqlmodel import Session, col

from ledger.clock import show_us
from ledger.config.model import Config
from ledger.db.models import Entry, FrameId, Mail, MailLine, Night, ReceiptLine
from ledger.db.store import Store
from ledger.db.views import ARCHIVE_WORD, MAIL_IN_DOUBT
from ledger.disk import durable
from ledger.disk.access import writing
from ledger.errors import UsageError
from ledger.night.lease import Lease
from ledger.text import named
from stages.base import TEMPORARY_PREFIX
from stages.base import ManifestLine as Line
from stages.manifested import encode

#: What the name of a manifest of withdrawn products begins with.
WITHDRAWN = "withdrawn_"


def mailed_lines() -> Any:
    """Return the query of mails and their lines that went out, or perhaps did, and were not withdrawn."""
    query = select(Mail, MailLine).join(MailLine, col(MailLine.mail_id) == col(Mail.id))
    return query.where(col(Mail.error).is_(None), col(MailLine.withdrawn_us).is_(None))


def said() -> Any:
    """Return the query of what the archive said last of each product, unless the product was withdrawn since."""
    word = ARCHIVE_WORD.c
    is_last = (word.receipt_id == col(ReceiptLine.receipt_id)) & (word.frame_id == col(ReceiptLine.frame_id))
    return select(ReceiptLine).join(ARCHIVE_WORD, is_last)


def confirmed(*nights: int | None) -> Any:
    """Return the query of frame IDs of products that the archive has, by its last word, as they are on record.

    Of all nights, or (by their numbers) of some.
    """
    query = select(ARCHIVE_WORD.c.frame_id).where(ARCHIVE_WORD.c.difference.is_(None))
    return query.where(ARCHIVE_WORD.c.night_id.in_(nights)) if nights else query


def contradictions(session: Session, night: Night) -> list[ReceiptLine]:
    """Return what the archive said last of products of a night that it has in another way than they are on record."""
    query = said().join(FrameId, col(FrameId.frame_id) == col(ReceiptLine.frame_id))
    of_night = query.where(col(ReceiptLine.difference).is_not(None), col(FrameId.night_id) == night.id)
    return list(session.execute(of_night.order_by(col(ReceiptLine.frame_id))).scalars())


def mailed(store: Store, night: Night) -> list[tuple[Mail, MailLine]]:
    """Return the lines of a night that were mailed, or perhaps were, and are not withdrawn, in ID order."""
    query = mailed_lines().join(FrameId, col(FrameId.frame_id) == col(MailLine.frame_id))
    of_night = query.where(col(FrameId.night_id) == night.id).order_by(col(MailLine.frame_id), col(Mail.id))
    with store.read() as session:
        return [(found, line) for found, line in session.execute(of_night)]


def in_doubt(session: Session, night: Night) -> list[Mail]:
    """Return the mails of a night that perhaps, or in part, were not sent, and were not sent again since."""
    doubtful = select(MAIL_IN_DOUBT.c.mail_id).where(MAIL_IN_DOUBT.c.night_id == night.id)
    return list(session.execute(select(Mail).where(col(Mail.id).in_(doubtful)).order_by(col(Mail.id))).scalars())


def doubt(mail: Mail) -> str:
    """Return that nobody knows whether a mail was sent, or for whom it was refused."""
    when = f"the mail of {show_us(mail.begun_us)} UT with {mail.name}"
    if mail.sent_us is None:
        return f"{when} was begun, and nobody knows whether it was sent to {named(mail.recipients)}"
    return f"{when} was refused for {named(mail.refused)}"


def why_mailed(store: Store, night: Night) -> str | None:
    """Return when and to whom a night was mailed, and how it is taken back all the same; None if it was not mailed."""
    found = mailed(store, night)
    if not found:
        return None
    last = max((mail for mail, _ in found), key=lambda mail: mail.begun_us)
    how = "written as a mail, which may have been sent," if last.transport == "eml" else "mailed"
    return (
        f"night {night.date}: its manifest was {how} on {show_us(last.begun_us)} UT to {named(taken_for(last))};"
        " --withdraw takes it back all the same, and writes a manifest of what they have to forget"
    )


def withdraw(store: Store, config: Config, night: Night, lease: Lease) -> tuple[Path, tuple[str, ...]] | None:
    """Write the manifest of what was mailed and is withdrawn, and record the withdrawal.

    The archive's receipts of the night become invalid, whether or not its products were mailed.

    Returns
    -------
    (Path, tuple of str) or None
        The file, and whom to tell; None if nothing was mailed.

    Raises
    ------
    NotReady
        If the file cannot be written; then nothing is on record.
    """
    found, at_us = mailed(store, night), store.clock()
    if not found:
        with store.write(lease.check) as session:
            _invalidate_receipts(session, night, at_us)
        return None
    lines = {line.frame_id: Line(line.identity, line.frame_id, line.path, line.size_bytes) for _, line in found}
    folder = config.mail.folder
    path = folder / f"{WITHDRAWN}{night.date}_{at_us // 10**6}.csv"
    with writing(path, "set mail.folder"):
        folder.mkdir(parents=True, exist_ok=True)
        durable.write_file(path, encode(tuple(lines.values())), folder / f"{TEMPORARY_PREFIX}{path.name}")
    recipients = tuple(dict.fromkeys(address for mail, _ in found for address in taken_for(mail)))
    detail = {"file": str(path), "recipients": list(recipients), "lines": len(lines)}
    with store.write(lease.check) as session:
        for mail_id in {int(mail.id or 0) for mail, _ in found}:
            session.execute(
                update(MailLine)
                .where(col(MailLine.mail_id) == mail_id, col(MailLine.withdrawn_us).is_(None))
                .where(col(MailLine.position).in_([line.position for _, line in found if line.mail_id == mail_id]))
                .values(withdrawn_us=at_us)
            )
        _invalidate_receipts(session, night, at_us)
        session.add(
            Entry(
                at_us=at_us,
                run_id=lease.run_id,
                night_id=night.id,
                name=night.date,
                event="unmailed",
                detail=detail,
            )
        )
    return path, recipients


def _invalidate_receipts(session: Session, night: Night, at_us: int) -> None:
    """Invalidate the archive's receipts of this night: what is given out anew is to be confirmed anew."""
    ids = select(col(FrameId.frame_id)).where(col(FrameId.night_id) == night.id)
    stands = col(ReceiptLine.withdrawn_us).is_(None)
    session.execute(update(ReceiptLine).where(col(ReceiptLine.frame_id).in_(ids), stands).values(withdrawn_us=at_us))


def tell(path: Path, recipients: Sequence[str], night: str) -> str:
    """Return whom to send the manifest of what is withdrawn; `night` names its night to a command."""
    return (
        f"{path} lists what was mailed and is withdrawn: send it to {named(recipients)}, and then `ledger manifest"
        f" {night} --withdrawal-sent`; catch-up takes the night forward again, unless it is excluded"
    )


def was_withdrawn(store: Store, night: Night) -> bool:
    """Whether the night was mailed and withdrawn, and not mailed since."""
    return _last_event(store, night, "mailed", "mail_written", "unmailed") == "unmailed"


def refuse_untold(store: Store, night: Night) -> None:
    """Refuse to mail a night anew before its recipients know what was withdrawn: told later, they would forget it.

    Raises
    ------
    UsageError
        If its list of withdrawn products was not sent yet.
    """
    if _last_event(store, night, "mailed", "mail_written", "unmailed", "withdrawal_sent") == "unmailed":
        raise UsageError(
            f"night {night.date}: products of it were withdrawn, and their list was not sent yet; send the list first,"
            f" then `ledger manifest --date {night.date} --withdrawal-sent`"
        )


def note_withdrawal_sent(store: Store, nights: Sequence[Night]) -> None:
    """Put on record that the manifests of what is withdrawn of some nights were sent.

    Raises
    ------
    UsageError
        If one of them has none that was not; then nothing is on record.
    """
    others = "; nothing is noted of the others, either: name only nights of which a list waits" if nights[1:] else ""
    for night in nights:
        if _last_event(store, night, "unmailed", "withdrawal_sent") != "unmailed":
            raise UsageError(
                f"night {night.date}: no list of what was withdrawn waits to be sent; see `ledger status`{others}"
            )
    for night in nights:
        with store.recorded("manifest", {"withdrawal_sent": night.date}) as (session, run_id):
            at_us = store.clock()
            session.add(Entry(at_us=at_us, run_id=run_id, night_id=night.id, name=night.date, event="withdrawal_sent"))


def _last_event(store: Store, night: Night, *events: str) -> str | None:
    of_night = select(col(Entry.event)).where(col(Entry.night_id) == night.id, col(Entry.event).in_(events))
    with store.read() as session:
        return session.execute(of_night.order_by(col(Entry.id).desc()).limit(1)).scalar()


def taken_for(mail: Mail) -> list[str]:
    """Return the recipients that a mail was taken for."""
    return [address for address in mail.recipients if address not in mail.refused]

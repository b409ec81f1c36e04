"""What the archive says that it has, compared with what was sent."""

import csv
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlmodel import Session, col

from ledger.clock import show_us
from ledger.config.model import Config
from ledger.db.models import Entry, File, FrameId, Mail, MailLine, Manifest, ManifestLine, Receipt, ReceiptLine
from ledger.db.store import Store, insert_many
from ledger.errors import UsageError
from ledger.ids.numbers import DIGITS
from ledger.night.given_out import confirmed, mailed_lines, said
from ledger.text import counted, printable

#: What separates fields, in the order in which it is looked for; the archive's own lists have the first.
DELIMITERS = "|,;\t"

#: A receipt of more bytes is none: a line for each frame ID that there can be in ten years is less.
MOST_BYTES = 1_000_000_000

#: Identities in one question: databases limit how many parameters a statement may have.
CHUNK = 500

_SHA256 = re.compile(r"[0-9A-Fa-f]{64}")


class Line(NamedTuple):
    """One product as the archive says that it has it."""

    number: int  # of the line, from 1
    frame_id: str
    size_bytes: int | None
    sha256: str | None
    others: tuple[str, ...] = ()  # fields that are none of these


@dataclass(slots=True)
class Compared:
    """A receipt, compared with the ledger.

    Attributes
    ----------
    confirmed : list of str
        Frame IDs of products that the archive has as they are on record here.
    unknown : list of str
        Frame IDs that are of no product that was sent.
    withdrawn : list of str
        Frame IDs of products that were sent, withdrawn, and not sent again since.
    differing : list
        Frame ID, and what is not as it is on record.
    missing : list of str
        Frame IDs of the same nights that were mailed, and are not confirmed.
    uncompared : str
        Which fields of it say nothing, if there are any.
    """

    confirmed: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)
    differing: list[tuple[str, str]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    uncompared: str = ""

    @property
    def succeeded(self) -> bool:
        """Whether something is confirmed, and nothing is wrong or missing."""
        return bool(self.confirmed) and not (self.unknown or self.withdrawn or self.differing or self.missing)

    def as_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        differing = [{"frame_id": frame_id, "what": what} for frame_id, what in self.differing]
        return asdict(self) | {"differing": differing}


def read_receipt(content: bytes, prefix: str) -> list[Line]:
    """Return the lines of a receipt: frame IDs, sizes in bytes and, where there are any, SHA-256. Pure.

    Fields are separated by one of `DELIMITERS`, and known by what they look like: a frame ID is a field, or the name of
    a file, that begins with one; a size is a field of digits; a SHA-256 has 64 hexadecimal digits. What else there is
    is kept as it is. The first line may be a header.

    Parameters
    ----------
    content : bytes
        Of the file.
    prefix : str
        Of frame IDs.

    Raises
    ------
    UsageError
        If it is not text, has no lines, or a line has no frame ID, or two sizes or hashes, or a frame ID comes twice.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise UsageError(
            f"receipt: not text ({exc.reason} at byte {exc.start}); expected lines of frame ID and size"
        ) from exc
    rows = text.splitlines()
    delimiter = next((d for d in DELIMITERS for row in rows[:2] if d in row), DELIMITERS[0])
    name = re.compile(rf"(?:.*/)?({prefix}[0-9]{{{DIGITS}}})(?:\.[\w.]+)?")
    lines: dict[str, Line] = {}
    for number, fields in enumerate(_split(rows, delimiter), start=1):
        values = [value.strip() for value in fields]
        if not any(values):
            continue
        ids = {match[1] for value in values if (match := name.fullmatch(value))}
        if not ids and number == 1:
            continue  # a header
        sizes = [value for value in values if _is_size(value)]
        hashes = [value.lower() for value in values if _SHA256.fullmatch(value)]
        if len(ids) != 1 or len(sizes) > 1 or len(hashes) > 1 or any(len(size) > 18 for size in sizes):
            shown = printable(delimiter.join(fields))[:200]
            raise UsageError(
                f"receipt, line {number}: {shown!r}: expected one frame ID ({prefix} and {DIGITS} digits), and at most"
                " one size in bytes and one SHA-256; nothing was taken from it"
            )
        others = [
            value
            for value in values
            if value and not (name.fullmatch(value) or _is_size(value) or _SHA256.fullmatch(value))
        ]
        line = Line(number, ids.pop(), int(sizes[0]) if sizes else None, hashes[0] if hashes else None, tuple(others))
        if line.frame_id in lines:
            first = lines[line.frame_id].number
            raise UsageError(
                f"receipt, line {number}: {line.frame_id} is in line {first} too; nothing was taken from it"
            )
        lines[line.frame_id] = line
    if not lines:
        raise UsageError("receipt: no line with a frame ID; expected frame ID, size and perhaps SHA-256, line by line")
    return list(lines.values())


def _is_size(value: str) -> bool:
    return value.isascii() and value.isdigit()


def _split(rows: Sequence[str], delimiter: str) -> Iterator[list[str]]:
    reader = csv.reader(rows, delimiter=delimiter, skipinitialspace=True)
    try:
        yield from reader
    except csv.Error as exc:
        raise UsageError(f"receipt, line {reader.line_num}: {exc}; nothing was taken from it") from exc


def receive(store: Store, config: Config, file: Path) -> Compared:
    """Compare a receipt with the ledger, and put on record what it confirms and what it contradicts.

    The archive's last word on a product counts. The same list may come again, once products were withdrawn and sent
    again: names and bytes are the same then.

    Raises
    ------
    UsageError
        If the file cannot be read, is no receipt, or was read before and says nothing that is not on record.
    """
    try:
        if not file.is_file() or file.stat().st_size > MOST_BYTES:
            raise UsageError(f"{file}: expected a file of lines, of less than {MOST_BYTES // 10**6} MB")
        content = file.read_bytes()
    except OSError as exc:
        raise UsageError(f"{file}: cannot be read ({exc.strerror})") from exc
    lines = read_receipt(content, config.instrument.prefix)
    sha256 = hashlib.sha256(content).hexdigest()
    compared = Compared(uncompared=_uncompared(lines))
    with store.recorded("receipt", {"file": str(file)}) as (session, run_id):
        sent = _sent(session, lines)
        words = [word for line in lines if (word := _compare(line, sent, compared))]
        if not (compared.unknown or compared.withdrawn):
            _refuse_known(session, sha256, words)
        receipt = Receipt(read_us=store.clock(), name=file.name, sha256=sha256)
        session.add(receipt)
        session.flush()
        insert_many(session, ReceiptLine, [{"receipt_id": receipt.id, **word._asdict()} for word in words])
        counts = {
            "confirmed": len(compared.confirmed),
            "unknown": len(compared.unknown),
            "withdrawn": len(compared.withdrawn),
            "differing": len(compared.differing),
        }
        session.add(Entry(at_us=store.clock(), run_id=run_id, name=file.name, event="received", detail=counts))
        compared.missing = _unconfirmed(
            session, {sent[line.frame_id].night_id for line in lines if line.frame_id in sent}
        )
    return compared


class _Product(NamedTuple):
    identity: str
    night_id: int
    size_bytes: int | None
    sha256: str | None
    is_given_out: bool  # now


class _Word(NamedTuple):
    """What the archive says of a product, as it is put on record."""

    frame_id: str
    identity: str
    size_bytes: int
    sha256: str | None
    difference: str | None


def _uncompared(lines: Sequence[Line]) -> str:
    """Return which fields are neither frame ID, size nor SHA-256; an empty string if there are none."""
    found = [(line.number, other) for line in lines for other in line.others]
    if not found:
        return ""
    number, example = found[0]
    n = counted(len(found), "field")
    return f"{n} of it, such as {example!r} in line {number}: neither a frame ID, a size nor a SHA-256"


def _refuse_known(session: Session, sha256: str, words: Sequence[_Word]) -> None:
    """Refuse a receipt that was read before, if all that it says is on record as the archive's last word."""
    query = select(Receipt).where(col(Receipt.sha256) == sha256).order_by(col(Receipt.id).desc()).limit(1)
    known = session.execute(query).scalar_one_or_none()
    if known is None:
        return
    query = said().where(col(ReceiptLine.receipt_id) == known.id)
    if {(line.frame_id, line.difference) for line in session.execute(query).scalars()} >= {
        (word.frame_id, word.difference) for word in words
    }:
        raise UsageError(
            f"this receipt was read on {show_us(known.read_us)} UT, as {known.name!r}; it is on record, and has nothing"
            " new to say"
        )


def _sent(session: Session, lines: Sequence[Line]) -> dict[str, _Product]:
    """Return the products that were given out under the frame IDs of a receipt, now or before they were withdrawn.

    A product is given out by a mail or, if none ever named it, by its night's manifest.
    """
    found: dict[str, _Product] = {}
    for start in range(0, len(lines), CHUNK):
        ids = [line.frame_id for line in lines[start : start + CHUNK]]
        listed = _line_states(
            session,
            select(col(ManifestLine.frame_id), col(Manifest.withdrawn_us))
            .join(Manifest, col(Manifest.id) == col(ManifestLine.manifest_id))
            .where(col(ManifestLine.frame_id).in_(ids)),
        )
        mailed = _line_states(
            session,
            select(col(MailLine.frame_id), col(MailLine.withdrawn_us))
            .join(Mail, col(Mail.id) == col(MailLine.mail_id))
            .where(col(MailLine.frame_id).in_(ids), col(Mail.error).is_(None)),
        )
        is_given_out = listed | mailed
        query = (
            select(
                col(FrameId.frame_id),
                col(FrameId.identity),
                col(FrameId.night_id),
                col(File.size_bytes),
                col(File.sha256),
            )
            .outerjoin(
                File,
                (col(File.identity) == col(FrameId.identity))
                # + 0 leaves only the index of identities to be used: without statistics, that of nights looks as good
                & (col(File.night_id) + 0 == col(FrameId.night_id))
                & (col(FrameId.status) == "live"),
            )
            .where(col(FrameId.frame_id).in_(list(is_given_out)))
        )
        for frame_id, identity, night_id, size_bytes, file_sha256 in session.execute(query):
            is_there = is_given_out[frame_id] and file_sha256 is not None
            found[frame_id] = _Product(identity, night_id, size_bytes, file_sha256, is_there)
    return found


def _line_states(session: Session, query: Any) -> dict[str, bool]:
    """Return the frame IDs of a query, and whether any of their lines still stands."""
    found: dict[str, bool] = {}
    for frame_id, withdrawn_us in session.execute(query):
        found[frame_id] = found.get(frame_id, False) or withdrawn_us is None
    return found


def _compare(line: Line, sent: dict[str, _Product], compared: Compared) -> _Word | None:
    """Note what a line of a receipt says; return it if it confirms or contradicts what is on record."""
    product = sent.get(line.frame_id)
    if product is None:
        compared.unknown.append(line.frame_id)
        return None
    if not product.is_given_out:
        compared.withdrawn.append(line.frame_id)
        return None
    if line.size_bytes is None and line.sha256 is None:
        compared.differing.append((line.frame_id, "neither a size nor a SHA-256"))
        return None
    difference = ", ".join(_differences(line, product)) or None
    if difference:
        compared.differing.append((line.frame_id, difference))
    else:
        compared.confirmed.append(line.frame_id)
    return _Word(line.frame_id, product.identity, int(product.size_bytes or 0), line.sha256, difference)


def _differences(line: Line, product: _Product) -> Iterator[str]:
    if line.size_bytes is not None and line.size_bytes != product.size_bytes:
        yield f"{line.size_bytes} bytes, expected {product.size_bytes}"
    if line.sha256 is not None and line.sha256 != product.sha256:
        yield f"SHA-256 {line.sha256}, expected {product.sha256}"


def _unconfirmed(session: Session, night_ids: set[int]) -> list[str]:
    """Return the frame IDs of some nights that were mailed, and are not confirmed."""
    mailed = (
        mailed_lines()
        .with_only_columns(col(MailLine.frame_id))
        .join(FrameId, col(FrameId.frame_id) == col(MailLine.frame_id))
    )
    ids = set(session.execute(mailed.where(col(FrameId.night_id).in_(night_ids))).scalars())
    return sorted(ids - set(session.execute(confirmed(*night_ids)).scalars()))

"""What the archive says that it has, compared with what was sent."""

import csv
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlmodel import Session, col

from ledger.clock import show_us
from ledger.config import Config
from ledger.errors import BadInput
from ledger.mailed import standing
from ledger.models import Entry, File, FrameId, MailLine, Receipt, ReceiptLine
from ledger.numbers import DIGITS
from ledger.report import printable
from ledger.store import Store, insert_many

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


@dataclass(slots=True)
class Compared:
    """A receipt, compared with the ledger.

    Attributes
    ----------
    confirmed : list of str
        Frame IDs of products that the archive has as they are on record here.
    unknown : list of str
        Frame IDs that are of no product that was sent.
    differing : list
        Frame ID, and what is not as it is on record.
    missing : list of str
        Frame IDs of the same nights that were mailed, and were never confirmed.
    """

    confirmed: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    differing: list[tuple[str, str]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def succeeded(self) -> bool:
        """Whether something is confirmed, and nothing is wrong or missing."""
        return bool(self.confirmed) and not (self.unknown or self.differing or self.missing)

    def as_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "confirmed": self.confirmed,
            "unknown": self.unknown,
            "differing": [{"frame_id": frame_id, "what": what} for frame_id, what in self.differing],
            "missing": self.missing,
        }


def read_receipt(content: bytes, prefix: str) -> list[Line]:
    """Return the lines of a receipt: frame IDs, sizes in bytes and, where there are any, SHA-256. Pure.

    Fields are separated by one of `DELIMITERS`, and known by what they look like: a frame ID is a field, or the name of
    a file, that begins with one; a size is a field of digits; a SHA-256 has 64 hexadecimal digits. What else there is
    says nothing. The first line may be a header.

    Parameters
    ----------
    content : bytes
        Of the file.
    prefix : str
        Of frame IDs.

    Raises
    ------
    BadInput
        If it is not text, has no lines, or a line has no frame ID, or two sizes or hashes, or a frame ID comes twice.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise BadInput(
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
        sizes = [value for value in values if value.isascii() and value.isdigit()]
        hashes = [value.lower() for value in values if _SHA256.fullmatch(value)]
        if len(ids) != 1 or len(sizes) > 1 or len(hashes) > 1 or any(len(size) > 18 for size in sizes):
            shown = printable(delimiter.join(fields))[:200]
            raise BadInput(
                f"receipt, line {number}: {shown!r}: expected one frame ID ({prefix} and {DIGITS} digits), and at most"
                " one size in bytes and one SHA-256; nothing was taken from it"
            )
        line = Line(number, ids.pop(), int(sizes[0]) if sizes else None, hashes[0] if hashes else None)
        if line.frame_id in lines:
            first = lines[line.frame_id].number
            raise BadInput(f"receipt, line {number}: {line.frame_id} is in line {first} too; nothing was taken from it")
        lines[line.frame_id] = line
    if not lines:
        raise BadInput("receipt: no line with a frame ID; expected frame ID, size and perhaps SHA-256, line by line")
    return list(lines.values())


def _split(rows: Sequence[str], delimiter: str) -> Iterator[list[str]]:
    reader = csv.reader(rows, delimiter=delimiter, skipinitialspace=True)
    try:
        yield from reader
    except csv.Error as exc:
        raise BadInput(f"receipt, line {reader.line_num}: {exc}; nothing was taken from it") from exc


def receive(store: Store, config: Config, file: Path) -> Compared:
    """Compare a receipt with the ledger, and put what it confirms on record.

    Raises
    ------
    BadInput
        If the file cannot be read, is no receipt, or was read before.
    """
    try:
        if not file.is_file() or file.stat().st_size > MOST_BYTES:
            raise BadInput(f"{file}: expected a file of lines, of less than {MOST_BYTES // 10**6} MB")
        content = file.read_bytes()
    except OSError as exc:
        raise BadInput(f"{file}: cannot be read ({exc.strerror})") from exc
    lines = read_receipt(content, config.instrument.prefix)
    sha256 = hashlib.sha256(content).hexdigest()
    compared = Compared()
    with store.recorded("receipt", {"file": str(file)}) as (session, run_id):
        _refuse_known(session, sha256)
        sent = _sent(session, lines)
        confirmed = [line for line in lines if _is_confirmed(line, sent, compared)]
        receipt = Receipt(read_us=store.clock(), name=file.name, sha256=sha256)
        session.add(receipt)
        session.flush()
        insert_many(
            session,
            ReceiptLine,
            [
                {
                    "receipt_id": receipt.id,
                    "frame_id": line.frame_id,
                    "identity": sent[line.frame_id].identity,
                    "size_bytes": sent[line.frame_id].size_bytes,
                    "sha256": line.sha256,
                }
                for line in confirmed
            ],
        )
        counts = {"confirmed": len(confirmed), "unknown": len(compared.unknown), "differing": len(compared.differing)}
        session.add(Entry(at_us=store.clock(), run_id=run_id, name=file.name, event="received", detail=counts))
        compared.missing = _missing(session, {sent[line.frame_id].night_id for line in lines if line.frame_id in sent})
    return compared


class _Product(NamedTuple):
    identity: str
    night_id: int
    size_bytes: int | None
    sha256: str | None


def _refuse_known(session: Session, sha256: str) -> None:
    known = session.execute(select(Receipt).where(col(Receipt.sha256) == sha256)).scalar_one_or_none()
    if known is not None:
        raise BadInput(f"this receipt was read on {show_us(known.read_us)} UT, as {known.name!r}; it is on record")


def _sent(session: Session, lines: Sequence[Line]) -> dict[str, _Product]:
    """Return the products that were given out under the frame IDs of a receipt."""
    found: dict[str, _Product] = {}
    for start in range(0, len(lines), CHUNK):
        ids = [line.frame_id for line in lines[start : start + CHUNK]]
        query = (
            select(
                col(FrameId.frame_id), col(File.identity), col(File.night_id), col(File.size_bytes), col(File.sha256)
            )
            .join(File, (col(File.identity) == col(FrameId.identity)) & (col(File.night_id) == col(FrameId.night_id)))
            .where(col(FrameId.frame_id).in_(ids), col(FrameId.status) == "live", col(File.sha256).is_not(None))
        )
        found |= {frame_id: _Product(*rest) for frame_id, *rest in session.execute(query)}
    return found


def _is_confirmed(line: Line, sent: dict[str, _Product], compared: Compared) -> bool:
    """Note what a line of a receipt says; return whether it confirms a product."""
    product = sent.get(line.frame_id)
    if product is None:
        compared.unknown.append(line.frame_id)
        return False
    if what := ", ".join(_differences(line, product)):
        compared.differing.append((line.frame_id, what))
        return False
    compared.confirmed.append(line.frame_id)
    return True


def _differences(line: Line, product: _Product) -> Iterator[str]:
    if line.size_bytes is None and line.sha256 is None:
        yield "neither a size nor a SHA-256"
    if line.size_bytes is not None and line.size_bytes != product.size_bytes:
        yield f"{line.size_bytes} bytes, expected {product.size_bytes}"
    if line.sha256 is not None and line.sha256 != product.sha256:
        yield f"SHA-256 {line.sha256}, expected {product.sha256}"


def _missing(session: Session, night_ids: set[int]) -> list[str]:
    """Return what of some nights was mailed, and never confirmed."""
    mailed = (
        standing()
        .with_only_columns(col(MailLine.frame_id))
        .join(FrameId, col(FrameId.frame_id) == col(MailLine.frame_id))
    )
    confirmed = select(col(ReceiptLine.frame_id)).where(col(ReceiptLine.identity) == col(MailLine.identity))
    query = mailed.where(col(FrameId.night_id).in_(night_ids), col(MailLine.frame_id).not_in(confirmed))
    return sorted(set(session.execute(query).scalars()))

"""The sequence of frame IDs proven within the database: order, gaps, duplicates.

See docs/design.md, Frame IDs.

Every query is over all IDs at once, and its rows are disorders. Both databases understand them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sqlalchemy import func, select, text
from sqlmodel import Session, col

from ledger.db.models import FrameBlock, FrameId, FrameSequence
from ledger.ids.numbers import Run, runs_of
from ledger.ids.sequence import frame_id_of
from ledger.text import counted


@dataclass(frozen=True, slots=True)
class Disorder:
    """One thing about one frame ID that is not as it must be.

    Attributes
    ----------
    law : str
        A key of :data:`ledger.ids.check.LAWS`.
    date, frame_id : str
        The night and the ID, empty where there is none.
    where : str
        A path, or a table of the database.
    found, expected : str
        In words.
    """

    law: str
    date: str
    frame_id: str
    where: str
    found: str
    expected: str


@dataclass(frozen=True, slots=True)
class Explained:
    """What looks like disorder and is not, because the reason is on record.

    Attributes
    ----------
    kind : str
        ``late``: IDs out of order of time; ``gap``: numbers between blocks; ``withdrawn``: IDs without product;
        ``busy``: a night whose files were not looked at.
    reason : str
        In words.
    count : int
        How many IDs, or numbers.
    first, last : str
        The first and last of them; of a night, its date.
    """

    kind: str
    reason: str
    count: int
    first: str
    last: str

    def __str__(self) -> str:
        """Return it in words."""
        names = self.first if self.first == self.last else f"{self.first} to {self.last}"
        return f"{self.count} {self.kind}: {names} ({self.reason})"


@dataclass(frozen=True, slots=True)
class Sequences:
    """How far each prefix has come, and the blocks that its numbers are from."""

    next_number: dict[str, int] = field(default_factory=dict)
    blocks: dict[str, list[Run]] = field(default_factory=dict)

    def is_ahead(self, prefix: str, number: int) -> bool:
        """Whether the sequence is going to give `number`."""
        return number >= self.next_number.get(prefix, 1) and bool(self.in_blocks(prefix, (number, number)))

    def in_blocks(self, prefix: str, numbers: Run) -> list[Run]:
        """Return the parts of `numbers` that lie in blocks, in order."""
        first, last = numbers
        parts = [(max(first, begin), min(last, end)) for begin, end in self.blocks.get(prefix, ())]
        return [(begin, end) for begin, end in parts if begin <= end]


def read_sequences(session: Session) -> Sequences:
    """Return the counters and blocks of all prefixes."""
    found = Sequences()
    for row in session.execute(select(FrameSequence)).scalars():
        found.next_number[row.prefix] = row.next_number
    for block in session.execute(select(FrameBlock).order_by(col(FrameBlock.first_number))).scalars():
        found.blocks.setdefault(block.prefix, []).append((block.first_number, block.last_number))
    return found


#: By law: rows are date, ID, table, found, expected. What `ledger audit` proves too is a view, and stands there once.
_QUERIES = {
    "order": """
        SELECT date, frame_id, 'frame_id',
               'start_us ' || start_us || ', camera ' || camera || ', FLC ' || COALESCE(flc, 'none'),
               'not before ' || last_frame_id || ', start_us ' || last_start_us || ', camera ' || last_camera
               || ', FLC ' || COALESCE(last_flc, 'none') || '; or late with a reason'
        FROM id_order WHERE disorder = 1
        ORDER BY frame_id""",
    "late": """
        SELECT night.date, frame_id, 'frame_id', 'late, without a reason', 'in order, or late with a reason'
        FROM frame_id JOIN night ON night.id = frame_id.night_id
        WHERE late AND late_reason IS NULL
        ORDER BY frame_id""",
    "block": """
        SELECT date, frame_id, 'frame_id', 'a number outside of all blocks',
               'a number that a frame_block of its prefix holds'
        FROM id_outside_block
        ORDER BY frame_id""",
    "counter": """
        SELECT date, frame_id, 'frame_sequence', 'next_number ' || COALESCE(CAST(next_number AS TEXT), 'none'),
               'above ' || number
        FROM id_beyond_counter
        ORDER BY frame_id""",
    "text": """
        SELECT night.date, frame_id, 'frame_id', 'number ' || number || ' of prefix ' || prefix,
               prefix || SUBSTR('00000000' || CAST(number AS TEXT), LENGTH(CAST(number AS TEXT)) + 1)
        FROM frame_id JOIN night ON night.id = frame_id.night_id
        WHERE frame_id <> prefix || SUBSTR('00000000' || CAST(number AS TEXT), LENGTH(CAST(number AS TEXT)) + 1)
        ORDER BY frame_id""",
    "identity": """
        SELECT MIN(night.date), MIN(frame_id), 'frame_id',
               'product ' || identity || ' has ' || COUNT(*) || ' live IDs, up to ' || MAX(frame_id), 'one'
        FROM frame_id JOIN night ON night.id = frame_id.night_id
        WHERE status = 'live'
        GROUP BY identity HAVING COUNT(*) > 1
        ORDER BY MIN(frame_id)""",
    "product": """
        SELECT date, COALESCE(frame_id, ''), 'file',
               'product ' || name || ': ' || COALESCE(
                   'start_us ' || id_start_us || ', camera ' || id_camera || ', FLC ' || COALESCE(id_flc, 'none')
                   || CASE is_of_night WHEN 1 THEN '' ELSE ', another night' END, 'no live ID'),
               'a live ID with start_us ' || COALESCE(CAST(start_us AS TEXT), 'unknown')
               || ', camera ' || camera || ', FLC ' || COALESCE(flc, 'none')
        FROM id_of_product WHERE agrees = 0
        ORDER BY date, name""",
}


def find_disorders(session: Session) -> Iterator[Disorder]:
    """Yield what is wrong within the database."""
    for law, query in _QUERIES.items():
        for row in session.execute(text(query)):
            yield Disorder(law, *row)
    for prefix, first, last in session.execute(
        text("SELECT prefix, first_number, last_number FROM id_gap ORDER BY prefix, first_number")
    ):
        yield Disorder(
            law="gap",
            date="",
            frame_id=frame_id_of(prefix, first),
            where="frame_id",
            found=f"{counted(last - first + 1, 'number')} without an ID, up to {frame_id_of(prefix, last)}",
            expected="an ID for every number of a block below the counter",
        )


def find_explained(session: Session) -> Iterator[Explained]:
    """Yield late IDs by reason, withdrawn IDs, and the numbers between blocks that were skipped."""
    count = (func.count(), func.min(FrameId.frame_id), func.max(FrameId.frame_id))
    late = select(col(FrameId.late_reason), *count).where(
        col(FrameId.late), col(FrameId.status) == "live", col(FrameId.late_reason).is_not(None)
    )
    late = late.group_by(col(FrameId.prefix), col(FrameId.late_reason))
    for reason, n, first, last in session.execute(late.order_by(func.min(FrameId.frame_id))):
        yield Explained("late", str(reason), n, first, last)
    withdrawn = select(col(FrameId.prefix), col(FrameId.number)).where(col(FrameId.status) == "withdrawn")
    numbers: dict[str, list[int]] = {}
    for prefix, number in session.execute(withdrawn):
        numbers.setdefault(prefix, []).append(number)
    for prefix in sorted(numbers):
        for first, last in runs_of(numbers[prefix]):
            names = (frame_id_of(prefix, first), frame_id_of(prefix, last))
            yield Explained("withdrawn", "their products are not made any more", last - first + 1, *names)
    sequences = read_sequences(session)
    for prefix, first, last in session.execute(
        text("SELECT prefix, first_number, last_number FROM id_missing ORDER BY prefix, first_number")
    ):
        for begin, end in _outside((first, last), sequences.in_blocks(prefix, (first, last))):
            names = (frame_id_of(prefix, begin), frame_id_of(prefix, end))
            yield Explained("gap", "between blocks", end - begin + 1, *names)


def _outside(numbers: Run, parts: Sequence[Run]) -> Iterator[Run]:
    """Yield the rest of `numbers` between `parts`, which lie in it in order."""
    begin, last = numbers
    for first_of_part, last_of_part in [*parts, (last + 1, last + 1)]:
        if begin < first_of_part:
            yield begin, first_of_part - 1
        begin = last_of_part + 1


def given_within(session: Session, prefix: str, numbers: Run) -> list[FrameId]:
    """Return the IDs that the ledger has given within `numbers`, live or withdrawn."""
    query = select(FrameId).where(col(FrameId.prefix) == prefix, col(FrameId.number).between(*numbers))
    return list(session.execute(query.order_by(col(FrameId.number))).scalars())

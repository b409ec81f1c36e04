"""How a night is refused its frame IDs, and what must hold of all IDs whatever was done to get there."""

import re
from collections.abc import Callable

from ledger.errors import NotReady, StateError
from ledger.report import Result
from tests.world import World

#: What the refusals say, by kind. The gate names an earlier night, and the command to run.
REFUSALS = {
    "gate": r"the earlier night (?P<date>\d{8}) .*`ledger advance --date (?P=date)[ `]",
    "excluded": r"is excluded \(.*\) and gets no frame IDs",
    "late": r"older than frame IDs that are taken already.*--late --reason",
}


def refused(act: Callable[[], Result]) -> str | None:
    """Run a command on a night; return why the night was refused its IDs, or None if it came to its goal.

    A refusal is told in `stopped`, or raised. A product that failed is neither.
    """
    try:
        result = act()
    except (NotReady, StateError) as exc:
        return str(exc)
    assert not result.failed, result.failed
    return result.stopped


def kind_of(refusal: str) -> str:
    """Return which refusal of `REFUSALS` it is; a ledger that stops for any other reason is broken."""
    kinds = [kind for kind, pattern in REFUSALS.items() if re.search(pattern, refusal)]
    assert len(kinds) == 1, refusal
    return kinds[0]


def earlier_night(refusal: str) -> str:
    """Return the night that the gate waits for."""
    found = re.search(REFUSALS["gate"], refusal)
    assert found, refusal
    return found["date"]


def numbered_nights(world: World) -> dict[str, bool]:
    """Return the nights with products, and whether all products of the night have IDs; in part, they must not."""
    rows = world.query(
        "SELECT night.date, COUNT(*), COUNT(frame_id.frame_id), MIN(night.numbered_us) FROM file"
        " JOIN night ON night.id = file.night_id"
        " LEFT JOIN frame_id ON frame_id.identity = file.identity AND frame_id.status = 'live'"
        " WHERE file.kind = 'product' GROUP BY night.date"
    )
    for date, n_products, n_ids, numbered_us in rows:
        assert n_ids in (0, n_products), f"night {date}: {n_ids} frame IDs of {n_products} products"
        assert (numbered_us is None) == (n_ids == 0), f"night {date}: numbered at {numbered_us}, {n_ids} frame IDs"
    return {date: n_ids > 0 for date, _, n_ids, _ in rows}


def check_sequence(world: World) -> None:
    """Numbers are 1 to n, the counter is the next, and without reason none is out of order."""
    rows = world.query(
        "SELECT frame_id.number, frame_id.frame_id, frame_id.identity, frame_id.late, frame_id.start_us,"
        " frame_id.camera, COALESCE(frame_id.flc, ''), night.date FROM frame_id"
        " JOIN night ON night.id = frame_id.night_id WHERE frame_id.status = 'live' ORDER BY frame_id.number"
    )
    given = [number for (number,) in world.query("SELECT number FROM frame_id ORDER BY number")]
    assert given == list(range(1, len(given) + 1))
    assert [f"VMPA{row[0]:08d}" for row in rows] == [row[1] for row in rows]
    assert len({row[2] for row in rows}) == len(rows), "a product has two frame IDs"
    in_order = [(*row[4:7], row[7]) for row in rows if not row[3]]
    assert in_order == sorted(in_order)
    assert [row[3] for row in in_order] == sorted(row[3] for row in in_order), "nights are not in order"
    assert world.query("SELECT frame_id, previous_start_us, start_us FROM id_order WHERE disorder <> 0") == []
    counter = world.query("SELECT next_number FROM frame_sequence")
    assert counter == ([(len(given) + 1,)] if counter or given else [])


def check_entries(world: World) -> None:
    """Replay what the entries say was done to frame IDs: it must give the table."""
    live: dict[str, tuple[str, bool]] = {}
    withdrawn: dict[str, str] = {}
    entries = world.query(
        "SELECT event, name, identity, detail FROM entry"
        " WHERE event IN ('assigned', 'withdrawn', 'reclaimed') ORDER BY id"
    )
    for event, frame_id, identity, detail in entries:
        if event == "assigned":
            assert frame_id not in live, f"{frame_id} was given twice"
            assert frame_id not in withdrawn, f"{frame_id} was withdrawn, and lives again"
            live[frame_id] = (identity, "late" in detail)
        elif event == "withdrawn":
            assert live.pop(frame_id)[0] == identity
            withdrawn[frame_id] = identity
        else:
            assert withdrawn.pop(frame_id) == identity
    rows = world.query("SELECT status, frame_id, identity, late FROM frame_id")
    assert live == {name: (identity, bool(late)) for status, name, identity, late in rows if status == "live"}
    assert withdrawn == {name: identity for status, name, identity, _ in rows if status == "withdrawn"}

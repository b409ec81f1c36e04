"""What frame IDs must be, said once more and shortly.

: the model that the ledger is compared with. See docs/design.md, Frame IDs.

The model is told which products there are; which of them get IDs, and which, it says by itself.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from tests.world import World

STATES = ("raw", "synced", "consolidated", "fixed", "identified", "compressed", "transferred", "manifested")
SYNCED, FIXED, IDENTIFIED = (STATES.index(name) for name in ("synced", "fixed", "identified"))

#: Begin of the group's first exposure, camera, state.
Key = tuple[int, int, str]


@dataclass(frozen=True, slots=True)
class Id:
    """A number, whose it is, and since when it is out of order: `reason` says why."""

    number: int
    identity: str
    date: str
    key: Key
    is_live: bool = True
    reason: str | None = None

    def __repr__(self) -> str:
        """Return it in short: number, night, product."""
        marks = ("" if self.is_live else " withdrawn") + (" late" if self.reason else "")
        return f"<{self.number} {self.date} {self.key[1]}{self.key[2]} {self.identity[:6]}{marks}>"


Ids = tuple[Id, ...]


@dataclass(frozen=True, slots=True)
class Product:
    """A product: its place in time, its state as a position, and the name that breaks ties."""

    key: Key
    name: str
    position: int


@dataclass(frozen=True, slots=True)
class Seen:
    """What the database says.

    `usable` and `waiting`: raw files of each night that are not in quarantine, and those of them that are not synced.
    """

    ids: Ids
    manifested: frozenset[int]
    products: Mapping[str, Mapping[str, Product]]
    known: frozenset[str]
    usable: Mapping[str, frozenset[str]]
    waiting: frozenset[str]
    numbered: frozenset[str]
    excluded: frozenset[str]

    def live(self, date: str) -> frozenset[str]:
        """Return the products of a night that have an ID."""
        return frozenset(i.identity for i in self.ids if i.is_live and i.date == date)


def look(world: World) -> Seen:
    """Read the database."""
    ids = world.query(
        "SELECT number, identity, night.date, start_us, camera, COALESCE(flc, ''), status, late, late_reason"
        " FROM frame_id JOIN night ON night.id = frame_id.night_id ORDER BY number"
    )
    nights = world.query("SELECT date, numbered_us, excluded_reason FROM night")
    products: dict[str, dict[str, Product]] = {}
    usable: dict[str, frozenset[str]] = {}
    waiting: set[str] = set()
    for date, kind, state, identity, name, start_us, camera, flc in world.query(
        "SELECT date, kind, state, identity, folder || '/' || name, first_us - exposure_us, camera, COALESCE(flc, '')"
        " FROM file JOIN night ON night.id = file.night_id WHERE quarantine_reason IS NULL"
    ):
        if kind == "product":
            products.setdefault(date, {})[identity] = Product((start_us, camera, flc), name, STATES.index(state))
        else:
            usable[date] = usable.get(date, frozenset()) | {name}
            waiting |= {date} if state == "raw" else set()
    assert all(bool(late) == (reason is not None) for *_, late, reason in ids)
    return Seen(
        ids=tuple(Id(n, i, d, (start, cam, flc), s == "live", why) for n, i, d, start, cam, flc, s, _, why in ids),
        manifested=frozenset(int(name[-8:]) for (name,) in world.query("SELECT frame_id FROM manifest_line")),
        products=products,
        known=frozenset(date for date, _, _ in nights),
        usable=usable,
        waiting=frozenset(waiting),
        numbered=frozenset(date for date, at_us, _ in nights if at_us is not None),
        excluded=frozenset(date for date, _, reason in nights if reason is not None),
    )


@dataclass(frozen=True, slots=True)
class Verdict:
    """One way in which a command may end: refused for a reason, or done, and the IDs afterwards."""

    refusal: str | None
    ids: Ids


def blocking(seen: Seen, date: str, on_disk: Mapping[str, frozenset[str]]) -> tuple[frozenset[str], frozenset[str]]:
    """Return the earlier nights that lack their IDs, and those of which it may be said so or not.

    The latter have their IDs, and new raw files that no run has looked at yet.
    """
    surely, perhaps = set(), set()
    for other in sorted(on_disk.keys() | seen.known):
        if other >= date or other in seen.excluded:
            continue
        usable, products = seen.usable.get(other, frozenset()), seen.products.get(other, {})
        if other not in seen.numbered:
            unseen = on_disk.get(other) and other not in seen.usable
            if usable or products:
                surely.add(other)
            elif unseen:
                (perhaps if other in seen.known else surely).add(other)
        elif other in seen.waiting or products.keys() - seen.live(other):
            surely.add(other)
        elif on_disk.get(other, frozenset()) - usable:
            perhaps.add(other)
    return frozenset(surely), frozenset(perhaps)


def advanced(
    before: Seen, after: Seen, date: str, to: str, reason: str | None, gate: tuple[bool, bool]
) -> list[Verdict]:
    """Return how an advance may end.

    Parameters
    ----------
    before, after : Seen
        Of `after`, only the products of the night are looked at: pairing is not the model's business.
    date, to, reason
        The command.
    gate : tuple of bool
        Whether the gate is closed, and whether it may be.
    """
    position, products = STATES.index(to), after.products.get(date, {})
    unchanged = Verdict(None, before.ids)
    if position <= SYNCED or not products:
        return [unchanged]
    is_needed = bool(products.keys() - before.live(date)) or date not in before.numbered
    endings = (
        _numbered(before, products, date, reason) if is_needed or before.live(date) - products.keys() else [unchanged]
    )
    if position <= FIXED:  # late data may be refused before any disk is spent on it
        endings = [unchanged, *(ending for ending in endings if ending.refusal)]
    if date in before.excluded:
        return [Verdict("excluded", before.ids), *([] if is_needed else endings)]
    closed, perhaps = gate
    if is_needed and closed:
        return [Verdict("gate", before.ids)]
    return [*endings, *([Verdict("gate", before.ids)] if is_needed and perhaps else [])]


def _numbered(before: Seen, products: Mapping[str, Product], date: str, reason: str | None) -> list[Verdict]:
    """Return what giving the night its IDs may come to."""
    ids = _without(before, lambda i: i.date == date and i.identity not in products)
    fresh = products.keys() - before.live(date)
    late = {identity for identity in fresh if _is_late(ids, products[identity].key)}
    kept = [i for i in ids if i.is_live and i.date == date]
    if not late or reason:
        endings = [Verdict(None, _with(ids, products, fresh, date, late, reason))]
    else:
        endings = [Verdict("late", before.ids)]
    first = min((i.number for i in kept), default=0)
    is_tail = not any(i.number > first and i.date != date and i.is_live for i in ids)
    is_in_use = any(product.position >= IDENTIFIED for product in before.products.get(date, {}).values())
    is_known = is_in_use or any(i.number in before.manifested for i in kept)
    if late and kept and is_tail and not is_known:  # the newest night may be numbered anew while nobody knows its IDs
        ids = _without(before, lambda i: i.date == date)
        if not any(_is_late(ids, product.key) for product in products.values()):
            endings.append(Verdict(None, _with(ids, products, products.keys(), date, set(), None)))
    return endings


def _is_late(ids: Ids, key: Key) -> bool:
    return any(i.is_live and i.reason is None and i.key > key for i in ids)


def _without(before: Seen, is_withdrawn) -> Ids:
    """Withdraw IDs, and take back those at the end of the sequence that no manifest has."""
    ids = [replace(i, is_live=i.is_live and not is_withdrawn(i)) for i in before.ids]
    while ids and not ids[-1].is_live and ids[-1].number not in before.manifested:
        ids.pop()
    return tuple(ids)


def _with(
    ids: Ids, products: Mapping[str, Product], fresh: Iterable[str], date: str, late: set[str], reason: str | None
) -> Ids:
    """Give products the next numbers, in order."""
    order = sorted(fresh, key=lambda identity: (products[identity].key, products[identity].name))
    return ids + tuple(
        Id(number, identity, date, products[identity].key, reason=reason if identity in late else None)
        for number, identity in enumerate(order, start=len(ids) + 1)
    )

"""Nights, everything that may happen to them, and what must hold then: compared with the model of ``id_model``."""

import re
import shutil
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from ledger.night import record
from tests.acceptance.id_model import IDENTIFIED, STATES, SYNCED, Seen, Verdict, advanced, blocking, look
from tests.acceptance.kill import run_and_kill
from tests.acceptance.numbering import check_entries, check_sequence, kind_of, refused
from tests.acceptance.portions import PORTIONS, STREAMS, Portions
from tests.world import World

DATES = ("20260101", "20260102", "20260103")
REASON = "found again"

#: Which of several things to do it to.
PICKS = st.integers(0, 8)


def picked(choices, pick):
    """Return one of `choices`."""
    return choices[pick % len(choices)]


class Nights(RuleBasedStateMachine):
    """Nights, everything that may happen to them, and what must hold then."""

    def __init__(self, folder: Path, template: Path, raw: Portions) -> None:
        super().__init__()
        folder.mkdir()
        shutil.copyfile(template, folder / "ledger.db")
        self.world = World(folder / "world", f"sqlite:///{folder / 'ledger.db'}")
        self.root = self.world.folder / "archive"
        self.raw = raw
        self.here: dict[str, set[str]] = {date: set() for date in DATES}
        self.without_txt: set[tuple[str, str]] = set()
        #: Parameters that the products of a night were made under, and what has to come again of a night rolled back.
        self.made_under: dict[str, set[str]] = {date: set() for date in DATES}
        self.rolled_back: dict[str, tuple[frozenset[str], str, frozenset[str]]] = {}
        self.seen = look(self.world)

    def teardown(self) -> None:
        self.world.close()
        shutil.rmtree(self.world.folder.parent)

    # raw files

    @initialize(absent=st.sampled_from([None, *DATES]), to=st.sampled_from(["raw", "identified", "manifested"]))
    def begin(self, absent, to):
        for date in DATES:
            if date != absent:
                self.bring(date, "main")
        if to != "raw":
            self.advance_all(to)

    def bring(self, date, portion):
        self.raw.bring(self.root, date, portion)
        self.here[date].add(portion)

    @precondition(lambda self: any(len(here) < len(PORTIONS) for here in self.here.values()))
    @rule(pick=PICKS)
    def raw_files_come(self, pick):
        self.bring(*picked([(date, p) for date in DATES for p in PORTIONS if p not in self.here[date]], pick))

    @precondition(lambda self: self._can_lose())
    @rule(pick=PICKS)
    def timing_files_get_lost(self, pick):
        """Only where nothing is made of them: then their cubes are put in quarantine."""
        date, portion = picked(self._can_lose(), pick)
        self.raw.lose_timing(self.root, date, portion)
        self.without_txt.add((date, portion))

    def _can_lose(self):
        return [
            (date, portion)
            for date in DATES
            for portion in sorted(self.here[date])
            if date not in self.seen.products and (date, portion) not in self.without_txt
        ]

    @precondition(lambda self: self.without_txt)
    @rule()
    def timing_files_are_found(self):
        for date, portion in self.without_txt:
            self.bring(date, portion)
        self.without_txt.clear()

    def on_disk(self) -> dict[str, frozenset[str]]:
        """Return the raw files of each night on disk."""
        return {
            date: frozenset().union(*(self.raw.names(date, portion) for portion in portions))
            for date, portions in self.here.items()
            if portions
        }

    # people

    @precondition(lambda self: any(self.here.values()))
    @rule(pick=PICKS)
    def exclude_or_include(self, pick):
        date = picked(self._nights(), pick)
        reason = None if date in self.seen.excluded else "dome tests"
        record.exclude(self.world.store(), "archive", self.root, date, reason)
        self._see(self.seen.ids)

    @rule(polarity=st.sampled_from(["short_first", "long_first"]), enforce_pairs=st.booleans())
    def change_parameters(self, polarity, enforce_pairs):
        self.parameters().update(polarity=polarity, enforce_pairs=enforce_pairs)

    # commands

    def _nights(self):
        return [date for date in DATES if self.here[date]]

    @precondition(lambda self: any(self.here.values()))
    @rule(
        pick=PICKS,
        to=st.sampled_from(["identified", "manifested", "compressed", "fixed", "synced"]),
        reason=st.sampled_from([None, None, REASON]),
    )
    def advance(self, pick, to, reason):
        self.advance_night(picked(self._nights(), pick), to, reason)

    @rule(to=st.sampled_from(["identified", "manifested"]))
    def advance_all(self, to):
        for date in self._nights():
            self.advance_night(date, to, None)

    @precondition(lambda self: self.seen.known)
    @rule(pick=PICKS, to=st.sampled_from(["raw", "synced", "fixed", "identified"]))
    def rollback(self, pick, to):
        self.rollback_night(picked(sorted(self.seen.known), pick), to)

    @precondition(lambda self: self.seen.products)
    @rule(
        pick=PICKS,
        to=st.sampled_from(["identified", "manifested"]),
        reason=st.sampled_from([None, REASON]),
        change=st.sampled_from([None, "polarity", "enforce_pairs"]),
    )
    def make_again(self, pick, to, reason, change):
        """Roll back and advance, under the same parameters or others."""
        date = picked(sorted(self.seen.products), pick)
        self.rollback_night(date, "raw")
        if change == "polarity":
            other = {"short_first": "long_first", "long_first": "short_first"}
            self.parameters()["polarity"] = other[self.parameters()["polarity"]]
        elif change == "enforce_pairs":
            self.parameters()["enforce_pairs"] ^= True
        self.advance_night(date, to, reason)

    @precondition(lambda self: any(self.here.values()))
    @rule(
        pick=PICKS,
        to=st.sampled_from(["identified", "manifested"]),
        reason=st.sampled_from([None, REASON]),
        at=st.integers(0, 150),
        goes_on=st.booleans(),
    )
    def advance_and_die(self, pick, to, reason, at, goes_on):
        """Killed anywhere, the night has all of its new IDs or none; the next run settles what is left."""
        date = picked(self._nights(), pick)
        before, gate = self.seen, self._gate(date)
        self._die(
            lambda machine: refused(lambda: machine.advance(self.world.night(date), to=to, late_reason=reason)), at
        )
        after = look(self.world)
        allowed = [before.ids, *(verdict.ids for verdict in advanced(before, after, date, to, reason, gate))]
        assert after.ids in allowed
        self._paired(before, after, date)
        self.seen = after
        if goes_on or date not in after.known:
            self.advance_night(date, to, reason)
        else:
            self.rollback_night(date, "raw")

    @precondition(lambda self: self.seen.products)
    @rule(pick=PICKS, at=st.integers(0, 100), goes_on=st.booleans())
    def rollback_and_die(self, pick, at, goes_on):
        date = picked(sorted(self.seen.products), pick)
        self._remember(date)
        self._die(lambda machine: machine.rollback(self.world.night(date)), at)
        self._see(self.seen.ids)
        if goes_on:
            self.rollback_night(date, "raw")
        else:
            self.advance_night(date, "synced", None)

    def _die(self, act, at):
        self.world.store().close()  # a connection must not be used on both sides of a fork
        run_and_kill(self.world, act, at)

    # what must be

    def _gate(self, date):
        surely, perhaps = blocking(self.seen, date, self.on_disk())
        return bool(surely), bool(perhaps)

    def _see(self, ids):
        """Look, and expect these IDs."""
        self.seen = look(self.world)
        assert self.seen.ids == ids

    def parameters(self):
        return self.world.data["states"]["synced"]["parameters"]

    def advance_night(self, date, to, reason):
        before, gate = self.seen, self._gate(date)
        why = refused(lambda: self.world.advance(date, to=to, late_reason=reason))
        self._compare(before, date, to, reason, gate, Verdict(why and kind_of(why), look(self.world).ids))

    def _compare(self, before: Seen, date, to, reason, gate, ending: Verdict):
        after = look(self.world)
        allowed = advanced(before, after, date, to, reason, gate)
        assert ending in allowed, (ending, allowed)
        self._paired(before, after, date)
        products = after.products.get(date, {})
        if ending.refusal is None:
            assert all(product.position >= STATES.index(to) for product in products.values())
        elif ending.refusal != "late":
            was = before.products.get(date, {})
            assert all(p.position <= (was[i].position if i in was else SYNCED) for i, p in products.items())
        self.seen = after

    def _paired(self, before: Seen, after: Seen, date):
        """Follow what products are made of; what is made again of the same is the same."""
        was, now = (set(seen.products.get(date, {})) for seen in (before, after))
        if now - was:
            keeps = bool(was) and date in before.numbered
            self.made_under[date] = {str(self.parameters())} | (self.made_under[date] if keeps else set())
        if date in self.rolled_back and now:
            usable, parameters, kept = self.rolled_back.pop(date)
            if parameters == str(self.parameters()):
                if date in before.numbered and usable <= after.usable[date]:
                    assert kept <= now, "products that have IDs have changed"
                elif usable == after.usable[date]:
                    assert kept == now, "the same raw files gave other products"

    def _remember(self, date):
        products, made_under = frozenset(self.seen.products.get(date, ())), self.made_under[date]
        if products and date not in self.seen.waiting and len(made_under) == 1:
            kept = products & self.seen.live(date) if date in self.seen.numbered else products
            self.rolled_back[date] = (self.seen.usable[date], *made_under, kept)

    def rollback_night(self, date, to):
        if to == "raw":
            self._remember(date)
        result = self.world.rollback(date, to=to)
        assert result.succeeded, result
        self._see(self.seen.ids)
        assert all(p.position <= STATES.index(to) for p in self.seen.products.get(date, {}).values())
        if to == "raw":
            assert {path.name for path in (self.root / date).iterdir()} == set(STREAMS)

    @invariant()
    def numbers_are_in_order(self):
        check_sequence(self.world)
        check_entries(self.world)
        assert max(self.seen.manifested, default=0) <= len(self.seen.ids)

    @invariant()
    def files_are_named_by_their_ids(self):
        for root, state in (("archive", IDENTIFIED), ("destination/archive", STATES.index("transferred"))):
            found = {
                (path.parts[-3], path.name.split(".")[0])
                for path in (self.world.folder / root).glob("*/vgen2/*")
                if re.match(r"VMPA\d{8}\.", path.name)
            }
            assert found == {
                (i.date, f"VMPA{i.number:08d}")
                for i in self.seen.ids
                if i.is_live
                and (product := self.seen.products.get(i.date, {}).get(i.identity))
                and product.position >= state
            }
        without = [
            (date, identity)
            for date, products in self.seen.products.items()
            for identity, product in products.items()
            if product.position >= IDENTIFIED and identity not in self.seen.live(date)
        ]
        assert not without

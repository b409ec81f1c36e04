"""Blocks of numbers that an outside authority hands out."""

import pytest

from ledger.errors import UsageError
from ledger.ids.reservation import reserve, start
from tests.inside import call
from tests.ledger.ids.test_sequence import FIRST, SECOND, THIRD, audit, foreign, nights, now, numbers
from tests.world import World

__all__ = ["nights"]  # fixtures


@pytest.fixture
def blocks(nights: World) -> World:
    nights.data["ids"]["authority"] = "blocks"
    return nights


def test_blocks_are_used_in_order_and_run_out_clearly(blocks):
    result = blocks.advance(FIRST)
    assert "0 left of the blocks that were handed out" in result.stopped
    assert "ledger ids reserve --from-file" in result.stopped
    assert set(result.states) == {"synced"}
    n = sum(result.states.values())
    text = f"# from the authority\nVMPA00000300 VMPA{300 + n:08d}\nVMPA00000100, VMPA{100 + n - 2:08d}\n\n"
    runs, after = reserve(blocks.store(), blocks.config, text, source="ids.txt")
    assert runs == [(100, 100 + n - 2), (300, 300 + n)]
    assert (after.next_id, after.remaining) == ("VMPA00000100", 2 * n)
    assert blocks.advance(FIRST, to="identified").succeeded
    assert numbers(blocks) == [*range(100, 100 + n - 1), 300]
    assert blocks.query("SELECT COUNT(*) FROM entry WHERE event = 'reserved'") == [(2,)]
    result = blocks.advance(SECOND, to="identified")
    assert result.succeeded or f"and {n} left" in result.stopped
    audit(blocks)


def test_single_ids_that_adjoin_are_one_block(blocks):
    runs, _ = reserve(blocks.store(), blocks.config, "VMPA00000007\nVMPA00000005\nVMPA00000006 # last\n", source="f")
    assert runs == [(5, 7)]


def test_every_fault_of_a_file_is_told_and_nothing_imported(blocks):
    foreign(blocks, "VMPA00000055.fits.fz")
    reserve(blocks.store(), blocks.config, "VMPA00000010 VMPA00000020", source="first")
    before = now(blocks)
    lines = [
        "VMPA00000030",
        "XMPA00000031",
        "VMPA31",
        "VMPA00000041 VMPA00000040",
        "VMPA00000020 VMPA00000021",
        "VMPA00000050 VMPA00000060",
        "VMPA00000030",
        "VMPA00000000",
        "one two three",
        "VMPA69999999 VMPA70000000",
    ]
    with pytest.raises(UsageError, match="nothing was imported") as caught:
        reserve(blocks.store(), blocks.config, "\n".join(lines), source="bad.txt")
    told = str(caught.value).splitlines()
    assert [line.strip().partition(":")[0] for line in told[1:]] == [f"line {n}" for n in range(2, 11)]
    for words in (
        "above the last number that is allowed, 69999999 (ids.last_number)",
        "overlaps",
        "VMPA00000055 is in use",
        "expected a frame ID such as VMPA00000001",
    ):
        assert words in str(caught.value)
    assert now(blocks) == before
    with pytest.raises(UsageError, match="no frame ID in it"):
        reserve(blocks.store(), blocks.config, "# nothing\n", source="empty.txt")


def test_the_sequence_passes_numbers_only_once(blocks):
    reserve(blocks.store(), blocks.config, "VMPA00000100 VMPA00000200", source="f")
    assert blocks.advance(FIRST, to="identified").succeeded
    with pytest.raises(UsageError, match="has passed VMPA"):
        reserve(blocks.store(), blocks.config, "VMPA00000050", source="f")


def test_a_foreign_number_outside_of_the_blocks_is_no_matter(blocks):
    reserve(blocks.store(), blocks.config, "VMPA00000100 VMPA00000200", source="f")
    foreign(blocks, "VMPA00000500.fits.fz")
    assert blocks.advance(FIRST, to="identified").succeeded
    foreign(blocks, "VMPA00000199.fits.fz")
    assert "VMPA00000199 is in use" in blocks.advance(SECOND).stopped
    reserve(blocks.store(), blocks.config, "VMPA00001000 VMPA00001200", source="f")
    assert "VMPA00000199 is in use" in blocks.advance(SECOND).stopped
    after, given_up = start(blocks.store(), blocks.config, "VMPA", 200)
    assert (after.next_id, after.remaining) == ("VMPA00000200", 202)
    assert given_up > 50
    assert blocks.advance(SECOND).succeeded
    assert numbers(blocks)[-2] >= 1000
    audit(blocks)


def test_authorities_follow_one_another(nights):
    with pytest.raises(UsageError, match="ledger makes its numbers itself"):
        reserve(nights.store(), nights.config, "VMPA00000100", source="f")
    assert nights.advance(FIRST, to="identified").succeeded
    first = numbers(nights)
    nights.data["ids"]["authority"] = "blocks"
    with pytest.raises(UsageError, match="no block that was handed out has VMPA00005000"):
        start(nights.store(), nights.config, "VMPA", 5000)
    assert "0 left" in nights.advance(SECOND).stopped
    reserve(nights.store(), nights.config, "VMPA00001000 VMPA00001999", source="f")
    assert nights.advance(SECOND, to="identified").succeeded
    second = numbers(nights)[len(first) :]
    assert min(second) == 1000
    nights.simulate(THIRD, seed=3, scale=0.02, scenario=("pdi",))
    nights.data["ids"]["authority"] = "own"
    assert "ledger ids start VMPA 1007" in nights.advance(THIRD).stopped
    _, given_up = start(nights.store(), nights.config, "VMPA", 3000)
    assert given_up == 1000 - len(second)
    assert nights.advance(THIRD, to="identified").succeeded
    assert numbers(nights) == [*first, *second, *range(3000, 3000 + len(numbers(nights)) - len(first + second))]
    audit(nights)


def test_numbers_of_another_authority_are_not_taken_back(nights):
    """They could not be given again, and would leave a gap."""
    nights.bring(FIRST, to="identified")
    nights.data["ids"]["authority"] = "blocks"
    reserve(nights.store(), nights.config, "VMPA00001000 VMPA00001999", source="f")
    nights.data["states"]["synced"]["parameters"]["polarity"] = "long_first"
    assert nights.rollback(FIRST).succeeded
    assert nights.advance(FIRST, to="identified").succeeded
    assert min(numbers(nights)) == 1000
    audit(nights)
    nights.data["ids"]["authority"] = "own"
    start(nights.store(), nights.config, "VMPA", 3000)
    nights.data["states"]["synced"]["parameters"]["polarity"] = "short_first"
    assert nights.rollback(FIRST).succeeded
    assert nights.advance(FIRST, to="identified").succeeded
    assert min(numbers(nights)) == 3000
    audit(nights)


def test_numbers_in_use_on_disk_are_not_taken_back(nights):
    nights.bring(FIRST, to="identified")
    last = numbers(nights)[-1]
    foreign(nights, f"VMPA{last:08d}.fits", date=f"{FIRST}/copy of mine")
    nights.data["states"]["synced"]["parameters"]["polarity"] = "long_first"
    assert nights.rollback(FIRST).succeeded
    assert nights.advance(FIRST, to="identified").succeeded
    assert min(numbers(nights)) == last + 1
    audit(nights)


def test_from_a_night_on_leaves_numbered_nights_as_they_are(nights):
    nights.bring(FIRST, to="identified")
    start(nights.store(), nights.config, "VMPA", 100, from_date=SECOND)
    assert nights.rollback(FIRST).succeeded
    assert nights.advance(FIRST).succeeded
    assert FIRST in call(nights, "status").stdout
    assert nights.advance(SECOND, to="identified").succeeded
    audit(nights)

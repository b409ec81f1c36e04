"""Summaries of nights for the tests, and what is true of a night."""

from collections import Counter

from ledger.cli._summary_words import after_tables, before_tables
from ledger.disk.nights import find_night
from ledger.query import summary as summaries
from ledger.query.summary import Summary
from tests.world import DATE, World

MINUTE_US = 60_000_000


#: A night without anything unexpected: triggered, without FLC, and long enough for several minutes.
SOUND = ("slow", "slow", "slow", "slow")


def summarise(world: World, *, pipeline: str = "archive") -> Summary:
    folder = world.folder / pipeline / DATE
    night = find_night(world.config, folder=folder)
    return summaries.summarise(world.store(), world.config, night)


def frames_of(found: Summary) -> Counter[str]:
    return sum((minute.frames for minute in found.minutes), Counter())


def in_words(found: Summary, world: World) -> str:
    lines = [*before_tables(found), *after_tables(found, world.config.instrument.cards.dither_us)]
    return "\n".join(lines)


def change(world: World, sql: str) -> None:
    """Write around the code, as a bug or a person would."""
    store = world.store()
    with store.write() as session:
        session.connection().exec_driver_sql(sql)

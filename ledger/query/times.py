"""When nights came to each state: what people keep in a spreadsheet. Reads only."""

from collections.abc import Sequence

from ledger.config.model import Config
from ledger.night.pipeline import Pipeline
from ledger.query import _questions as ask
from ledger.query.status import NightStatus


def reached_us(config: Config, pipelines: dict[str, Pipeline], nights: Sequence[NightStatus]) -> list[dict[str, int]]:
    """Return when the last product of each night came to each state in which, or beyond which, it has products.

    It takes as long as the entries of these nights take to be read.

    Parameters
    ----------
    config, pipelines
        The ledger.
    nights : sequence of NightStatus
        The nights.

    Returns
    -------
    list of dict of str to int
        Of each night, UNIX time, microseconds, by state.
    """
    reader = ask.open_ledger(config)
    try:
        known = {(row.pipeline, row.date): row.id for row in ask.nights(reader)}
        ids = [known[night.pipeline, night.date] for night in nights if (night.pipeline, night.date) in known]
        times = ask.reached_us(reader, ids)
    finally:
        reader.close()
    found = []
    for night in nights:
        pipeline = pipelines[night.pipeline]
        furthest = max((pipeline.position(state) for state, n in night.states.items() if n), default=0)
        of_night = times.get(known.get((night.pipeline, night.date), 0), {})
        found.append({state: us for state, us in of_night.items() if 0 < pipeline.position(state) <= furthest})
    return found

"""The last mile: nights that are still to be mailed, and mails that the archive has not confirmed."""

from collections.abc import Iterator
from itertools import takewhile

from sqlalchemy import select
from sqlmodel import col

from ledger.clock import show_date
from ledger.config.model import Config
from ledger.db.models import Mail
from ledger.db.store import Store
from ledger.delivery import manifest, notify
from ledger.delivery.notify import Trouble
from ledger.disk.nights import NightFolder, night_of
from ledger.errors import Busy, Interrupted, LedgerError
from ledger.night.pipeline import pipelines
from ledger.query.status import nights
from ledger.run.machine import Machine
from ledger.text import counted

_DAY_US = 86_400_000_000

#: Mails in a row that failed, as far as they make the wait longer.
_MOST_FAILED = 30


def send_outstanding(machine: Machine) -> manifest.Sent | None:
    """Mail, in one mail, all nights that are finished and whose products are not all mailed; None if there are none.

    A night whose mail was written to a file counts as mailed here: somebody may have sent it.

    Raises
    ------
    UsageError, NotReady, Busy
        As `ledger.delivery.manifest.send`.
    """
    folders = _outstanding(machine)
    try:
        return manifest.send(machine, folders) if folders else None
    except manifest.AlreadyMailed:  # perhaps: of one of them nobody knows, which `ledger doctor` says
        return None


def send_unattended(machine: Machine) -> manifest.Sent | LedgerError | None:
    """Mail what is outstanding, if ``mail.automatic`` says so; return an error instead of raising it.

    Nothing is done while another run holds one of the nights. After a failure the next attempt waits, longer each time,
    as that of a product does: each attempt is on record with all of its lines.

    Raises
    ------
    Interrupted
        If somebody asks to stop.
    """
    if not machine.config.mail.automatic or _waits(machine):
        return None
    try:
        return send_outstanding(machine)
    except Busy:
        return None
    except Interrupted:
        raise
    except LedgerError as exc:
        return exc


def unconfirmed(store: Store, config: Config) -> Iterator[Trouble]:
    """Yield nights that were mailed ``notify.unconfirmed_days`` ago or before, and are not wholly confirmed.

    A night is told of once in that time.
    """
    days = config.notify.unconfirmed_days
    if days is None:
        return
    known = notify.alerted_lately(store, days * 24)
    for night in nights(config, pipelines(config)):
        since_us = night.mailed_us or night.written_us
        if since_us is None or night.confirmed_us is not None or store.clock() - since_us < days * _DAY_US:
            continue
        how = "mailed" if night.mailed_us else "written as a mail"
        text = (
            f"{how} on {show_date(since_us)} UT, and the archive has confirmed {night.confirmed} of"
            f" {counted(night.frame_ids, 'product')}; ask them, and read their list with `ledger receipt FILE`"
        )
        trouble = Trouble("unconfirmed", f"night {night.date} ({night.pipeline})", "", text)
        if trouble.key not in known:
            yield trouble


def _outstanding(machine: Machine) -> list[NightFolder]:
    """Return the nights that are finished here and have products that no mail names."""
    config = machine.config
    return [
        night_of(config, night.pipeline, night.date)
        for night in nights(config, machine.pipelines)
        if night.stands == "finished"
        and night.mailed_us is None
        and night.written_us is None
        and not night.withdrawn  # the list of what was withdrawn goes first
        and night.frame_ids
        and config.site(night.pipeline).sends
        and _lists(machine, night.pipeline)
    ]


def _lists(machine: Machine, pipeline: str) -> bool:
    """Whether a pipeline has a state that lists products."""
    return any(machine.stages[step.state].lister is not None for step in machine.pipelines[pipeline].steps[1:])


def _waits(machine: Machine) -> bool:
    """Whether the last mail failed, and it is not time to try again."""
    query = select(col(Mail.begun_us), col(Mail.error)).order_by(col(Mail.id).desc()).limit(_MOST_FAILED)
    with machine.store.read() as session:
        failed = list(takewhile(lambda mail: mail.error is not None, session.execute(query)))
    if not failed:
        return False
    rules = machine.config.failures
    return not rules.is_due(failed[0].begun_us + rules.wait_us(len(failed)), machine.store.clock())

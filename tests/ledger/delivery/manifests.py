"""Nights that are listed, and what became of their manifests and mails."""

import email
import email.policy

from ledger.delivery import manifest
from ledger.night import record
from ledger.night.given_out import note_withdrawal_sent
from tests.world import DATE

NEXT = "20260103"


def prepare(world):
    world.simulate_two(DATE, NEXT)
    for date in (DATE, NEXT):
        world.bring(date)
    world.data["mail"] |= {"sender": "vampires@example.org", "recipients": ["archive@example.org", "stars@example.org"]}
    return world


def nights(world, *dates):
    return [world.night(date) for date in dates or (DATE,)]


def send(world, *dates, **options):
    return manifest.send(world.machine(), nights(world, *dates), **options)


def listed_bytes(world, date=DATE):
    return (world.folder / "archive" / date / f"manifest_VMP_{date}.csv").read_bytes()


def read(path):
    return email.message_from_bytes(path.read_bytes(), policy=email.policy.default)


def attached(message):
    (part,) = message.iter_attachments()
    return part.get_filename(), part.get_payload(decode=True)


def mails(world):
    return world.query("SELECT transport, sent_us IS NOT NULL, error IS NOT NULL, is_partial FROM mail ORDER BY id")


def note_sent(world):
    """Note that the list of what was withdrawn of the night was sent."""
    night = record.find_night(world.store(), "archive", DATE)
    assert night is not None
    note_withdrawal_sent(world.store(), [night])

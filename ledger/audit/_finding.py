"""One thing that `ledger doctor` has looked at."""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "note", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    subject : str
        What it is about: a key of the configuration, the database, a night.
    verdict : {"ok", "note", "problem"}
        A note needs nobody: it is going to be settled, or is as somebody wanted it.
    text : str
        What was found.
    remedy : str
        What to do; empty if there is nothing to do.
    """

    subject: str
    verdict: Verdict
    text: str
    remedy: str = ""

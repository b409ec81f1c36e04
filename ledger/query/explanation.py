"""Why a file is where it is, what it waits for, and what comes next. Reads only."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ledger.clock import show_us
from ledger.config.model import Config
from ledger.db.models import Entry
from ledger.db.store import Store
from ledger.night import record
from ledger.night.pipeline import Pipeline
from ledger.night.products import put_back
from ledger.query.history import Subject, entries


@dataclass(frozen=True, slots=True)
class Explanation:
    """State of a file, why it is there, and what to do.

    Attributes
    ----------
    name, state : str
        The file.
    because : str
        Why it is in that state.
    last_error : str or None
        Of its last step, until one succeeds.
    next_command : str
        What to do; empty if there is nothing to do.
    facts : mapping
        What else is known.
    """

    name: str
    state: str
    because: str
    last_error: str | None
    next_command: str
    facts: dict[str, Any]


def explain(store: Store, config: Config, pipelines: dict[str, Pipeline], subject: Subject) -> Explanation:
    """Return why a file is where it is."""
    pipeline, date, row = pipelines[subject.night.pipeline], subject.night.date, subject.row
    named = config.site(pipeline.name).named(date)
    history = entries(store, subject)
    if row is None:
        if subject.is_withdrawn:
            because = "its product is not made any more, and its frame ID was withdrawn; it is never used again"
            return Explanation(subject.name, "withdrawn", because, None, f"ledger history {subject.name}", {})
        because = "it was rolled back" + ("; its frame ID stays reserved for it" if subject.frame_id else "")
        kept = {"frame_id": subject.frame_id, "identity": subject.identity}
        return Explanation(subject.name, "rolled back", because, None, f"ledger advance {named}", kept)
    done = [e for e in history if e.event in ("done", "registered", "quarantined")]
    last = done[-1] if done else None
    because = f"`{last.edge or last.event}` by run {last.run_id}" if last else "it was born so"
    facts: dict[str, Any] = {
        "night": f"{subject.night.root}/{date}",
        "folder": row.folder,
        "frame_id": subject.frame_id,
        "frames": row.n_frames,
        "lost_frames": row.lost_frames or None,
        "salvaged": next((e.detail["reason"] for e in reversed(history) if "salvaged" in e.detail), None),
        "camera": row.camera,
        "flc": row.flc,
        "synchronised": row.synchronised if row.kind == "product" else None,
        "group": row.group_number,
        "files": row.files or None,
        "sha256": row.sha256,
        "size_bytes": row.size_bytes,
        "attempts": row.attempts or None,
        "next_retry": show_us(row.next_retry_us) if row.next_retry_us else None,
        "pruned": show_us(row.pruned_us) if row.pruned_us else None,
        **_given_out(history),
        "identity": row.identity,
    }
    known = {key: value for key, value in facts.items() if value is not None}
    state, command = row.state, f"ledger advance {named}"
    fault = record.copy_faults(store, subject.night).get(row.identity) if row.kind == "product" else None
    if not row.quarantine_reason:
        command += config.site(pipeline.name).goes_on_at(row.state)
    if row.quarantine_reason:
        state, because = "quarantined", row.quarantine_reason
        released = f"put it right, then `ledger quarantine release {row.name}` and `{command}`"
        if row.kind == "raw":
            command = f"put it right, then `{command}`; or leave it: it blocks nothing"
        elif row.is_discarded:
            state, command = "discarded", released
        else:
            command = f"{released}; or `ledger quarantine discard {row.name} --reason TEXT`"
    elif row.kind == "raw" and row.state == pipeline.born:
        which = f"every frame of it but the last {row.lost_frames}, lost," if row.lost_frames else "every frame of it"
        because, command = f"{which} is in a product ({because})", f"ledger history {row.name}"
    elif row.state == pipeline.last:
        command = ""
    if row.pruned_us:
        because += f"; its files here were removed by `ledger prune` at {show_us(row.pruned_us)} UT"
        command = f"ledger recall {named}" if row.kind == "product" else command
    if fault:
        because += f"; its copy was not right when last read: {fault}"
        command = f"ledger verify {named} --repair"
        if row.pruned_us:
            command = put_back(Path(subject.night.root, date, row.folder), row.files, named)
    is_done = row.state == (pipeline.born if row.kind == "raw" else pipeline.last)
    if not row.quarantine_reason and (fault or not is_done):
        from ledger.query._waiting import wait_of  # noqa: PLC0415  takes long to import, and what is done does not wait

        wait = wait_of(store, config, pipeline, subject.night, row)
        because += f"; it waits: {wait.reason}" if wait else ""
    return Explanation(row.name, state, because, row.error, command, known)


def _given_out(history: Sequence[Entry]) -> dict[str, str]:
    """Return whether a product was mailed, and what the archive said of it, since it was last taken back."""
    facts: dict[str, str] = {}
    for entry in history:
        if entry.event in ("unmailed", "unconfirmed"):
            facts.clear()
        elif entry.event in ("mailed", "mail_written", "perhaps mailed"):
            facts[entry.event] = f"{show_us(entry.at_us)} to {entry.detail['to']}"
        elif entry.event in ("confirmed", "contradicted"):
            facts.pop("confirmed", None)
            facts.pop("contradicted", None)
            said = "" if entry.event == "confirmed" else f": {entry.detail['difference']}"
            facts[entry.event] = f"{show_us(entry.at_us)}, {entry.detail['receipt']}{said}"
    return facts

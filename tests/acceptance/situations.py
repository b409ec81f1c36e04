"""Nights in need, and the advice that leads out of it, step by step."""

from dataclasses import dataclass, field

from tests.acceptance import needs
from tests.acceptance.needs import EARLIER, LATER, Act
from tests.world import DATE


@dataclass(frozen=True)
class Step:
    """A command that is asked, one that it advises, and what a person does before that.

    Attributes
    ----------
    ask : str
        What is asked; empty: what the command before has said. ``{product}`` stands for the first product.
    advice : str
        The command that is advised, as it is printed; empty: there is nothing to do any more.
    says : str
        The function that it comes from, of `tests.acceptance.advice`.
    fill : mapping of str to str
        What a person puts in for a word of the advice.
    before : callable
        What a person does before the command, as the advice says in words.
    looks : bool
        Whether the command only tells more; else the advice has gone, once it has run.
    """

    ask: str
    advice: str = ""
    says: str = ""
    fill: dict[str, str] = field(default_factory=dict)
    before: Act = lambda _: None
    looks: bool = False


@dataclass(frozen=True)
class Situation:
    """A night in need."""

    name: str
    prepare: Act
    steps: tuple[Step, ...]


def situation(name: str, prepare: Act, *steps: Step) -> Situation:
    return Situation(name, prepare, steps)


REASON = {"TEXT": "'as it is in the log book'"}


# the table

D, L = f"--date {DATE}", f"--date {LATER}"
QUARANTINE = f"ledger quarantine list {D}"
OUTSIDE = f"ledger outside list {D}"
VERIFY = f"ledger verify {D} --repair"

SITUATIONS = (
    situation(
        "a night on disk",
        needs.small,
        Step(f"status {D}", f"ledger advance {D}", "query.status._night"),
        Step(f"status {D}"),
    ),
    situation(
        "a night of the same date in another pipeline",
        needs.engineering,
        Step(f"status {D}", f"ledger advance {D}"),
        Step(f"status {D}", "ledger advance {folder}/engineering/20260102"),
        Step(f"status {D}"),
    ),
    situation(
        "a product that failed",
        needs.fail,
        Step(f"doctor {D}", QUARANTINE, "audit.doctor._put_aside", looks=True),
        Step("catch-up", QUARANTINE, "night.progress._next_try", looks=True),
        Step("explain {failed}", f"ledger advance {D}", "query.explanation.explain", before=needs.put_back),
        Step(f"doctor {D}"),
    ),
    situation(
        "a product that failed, tried at once",
        needs.fail,
        Step("catch-up", f"ledger advance {D}", "night.progress._next_try", before=needs.put_back),
        Step("catch-up"),
    ),
    situation(
        "a product in quarantine, given up",
        needs.spoil,
        Step(f"doctor {D}", QUARANTINE, "audit.doctor._put_aside", looks=True),
        Step(f"advance {D} --dry-run", QUARANTINE, "night.progress._at_barrier", looks=True),
        Step(f"status {D}", QUARANTINE, "query.status._night", looks=True),
        Step("", "ledger quarantine discard FILE --reason TEXT", fill={**REASON, "FILE": "{quarantined}"}),
        Step(f"status {D}", f"ledger advance {D}"),
        Step(f"status {D}"),
    ),
    situation(
        "a product in quarantine, given up as explained",
        needs.spoil,
        Step(
            "explain {quarantined}",
            "ledger quarantine discard {quarantined} --reason TEXT",
            "query.explanation.explain",
            fill=REASON,
        ),
        Step(f"status {D}", f"ledger advance {D}"),
        Step(f"status {D}"),
    ),
    situation(
        "a product in quarantine, put right",
        needs.spoil,
        Step(
            "explain {quarantined}",
            "ledger quarantine release {quarantined}",
            "query.explanation.explain",
            before=needs.put_back,
        ),
        Step(f"status {D}", f"ledger advance {D}"),
        Step(f"status {D}"),
    ),
    situation(
        "all of a night in quarantine",
        needs.without_timing,
        Step("status --check", QUARANTINE, looks=True),
        Step(f"doctor {D}", QUARANTINE, looks=True),
        Step(f"status {D}", QUARANTINE, looks=True),
        Step("explain {raw}", f"ledger advance {D}", before=needs.with_timing),
        Step(f"status {D}"),
    ),
    situation(
        "behind the gate",
        needs.two(),
        Step(f"advance {L} --dry-run", f"ledger advance {D}", "ids.gate.check_gate"),
        Step(f"status {L}", f"ledger advance {L}"),
        Step(f"status {L}"),
    ),
    situation(
        "behind a night that is never taken",
        needs.two(),
        Step("explain {last}", f"ledger exclude {DATE} --reason TEXT", "ids.gate.check_gate", fill=REASON),
        Step(f"status {L}", f"ledger advance {L}"),
        Step(f"status {L}"),
    ),
    situation(
        "an excluded night",
        needs.excluded,
        Step(f"advance {D} --dry-run", f"ledger include {DATE}", "ids.gate.refuse_excluded"),
        Step(f"status {D}", f"ledger advance {D}"),
        Step(f"status {D}"),
    ),
    situation(
        "a late night",
        needs.late,
        Step(f"advance {L} --dry-run", f"ledger advance --date {EARLIER} --late --reason TEXT", fill=REASON),
        Step(f"status {L}", f"ledger advance {L}"),
        Step("status"),
    ),
    situation(
        "raw files that came late",
        needs.raws_that_came_later,
        Step(f"status {D}", f"ledger advance {D}"),
        Step(f"status {D}"),
    ),
    situation(
        "files outside",
        needs.with_files_outside,
        Step(f"doctor {D}", OUTSIDE, "audit.doctor._outside", looks=True),
        Step(f"audit {D}", OUTSIDE, "audit.laws._undecided_outside", looks=True),
        Step(f"advance {D} --dry-run", OUTSIDE, "disk.outside.refusal", looks=True),
        Step(f"status {D}", OUTSIDE, "query.status._night", looks=True),
        Step(
            f"advance {D} --dry-run",
            "ledger outside ignore PATTERN --reason TEXT",
            "disk.outside.refusal",
            fill={**REASON, "PATTERN": "'*.gz'"},
        ),
        Step(f"status {D}", f"ledger advance {D}"),
        Step(f"doctor {D}"),
    ),
    situation(
        "nothing but files outside",
        needs.nothing_but_files_outside,
        Step(f"advance {L} --dry-run", OUTSIDE, "ids.gate._lacking_on_disk", looks=True),
        Step(f"advance {L} --dry-run", f"ledger advance {D}", before=needs.named_right),
        Step(f"status {L}", f"ledger advance {L}"),
        Step("status"),
    ),
    situation(
        "products that the archive has otherwise",
        needs.contradicted,
        Step(f"status {D}", f"ledger doctor {D}", "query.status._night", looks=True),
        Step("", "ledger explain VMPA00000001", "audit.doctor._contradicted", looks=True),
        Step(f"doctor {D}", f"ledger verify {D}", "audit.doctor._contradicted", looks=True),
        Step(f"status {D}", before=needs.receipt),
    ),
    situation(
        "a mail of which nobody knows",
        needs.perhaps_mailed,
        Step(f"status {D}", f"ledger doctor {D}", looks=True),
        Step(f"doctor {D}", f"ledger manifest {D} --send --again", "audit.doctor._mails"),
        Step(f"status {D}"),
    ),
    situation(
        "a night that was mailed and withdrawn",
        needs.withdrawn,
        Step("status --check", f"ledger manifest {D} --withdrawal-sent", "query.status.untold"),
        Step(f"status {D}", f"ledger advance {D}"),
        Step(f"doctor {D}"),
    ),
    situation(
        "a night that stands still",
        needs.stalled,
        Step("status --check", f"ledger advance {D}"),
        Step("status --check", ""),
    ),
    situation(
        "what a dead run left",
        needs.died,
        Step(f"audit {D}", "ledger advance {folder}/archive/20260102", "audit.laws._files_without_rows"),
        Step(f"audit {D}"),
    ),
    situation(
        "what a dead run left, as the doctor says",
        needs.died,
        Step(f"doctor {D}", f"ledger advance {D}", "audit.doctor._night"),
        Step(f"doctor {D}"),
    ),
    situation(
        "a night that has gone",
        needs.gone,
        Step("status --check", f"ledger exclude {DATE} --reason TEXT", "query.standing._of_night", fill=REASON),
        Step(f"doctor {D}"),
    ),
    situation(
        "a copy that is not right",
        needs.damaged,
        Step(f"advance {D} --dry-run", VERIFY, "night.progress.unproven"),
        Step(f"doctor {D}"),
        Step(f"status {D}"),
    ),
    situation(
        "a copy that is not right, in the table",
        needs.damaged,
        Step(f"status {D}", VERIFY, "query.status._night"),
        Step(f"status {D}"),
    ),
    situation(
        "a copy that is not right, explained",
        needs.damaged,
        Step("explain {unproven}", VERIFY, "query.explanation.explain"),
        Step(f"status {D}"),
    ),
    situation(
        "products that were pruned",
        needs.pruned,
        Step("explain {product}", f"ledger recall {D}", "query.explanation.explain"),
        Step("explain {product}"),
    ),
    situation(
        "the only copy is not right",
        needs.pruned_and_damaged,
        Step("explain {product}", VERIFY, "night.products.put_back", before=needs.put_back),
        Step(f"doctor {D}"),
    ),
    situation(
        "a product that was rolled back",
        needs.after(needs.brought(), lambda world: world.rollback()),
        Step("explain VMPA00000001", f"ledger advance {D}"),
        Step("explain VMPA00000001"),
    ),
    situation(
        "a raw file that is used",
        needs.brought(),
        Step("explain {raw}", "ledger history {raw name}", "query.explanation.explain", looks=True),
    ),
    situation(
        "a raw file that changed before it was used",
        needs.after(needs.brought("raw"), needs.touch),
        Step(f"audit {D}", "ledger scan {folder}/archive/20260102", "audit.laws._changed"),
        Step(f"audit {D}"),
    ),
    situation(
        "a raw file that changed afterwards",
        needs.after(needs.brought(), needs.touch),
        Step(f"audit {D}", "ledger rollback {folder}/archive/20260102 --yes", "disk.raws.advice_on_changed_raw"),
        Step(f"status {D}", f"ledger advance {D}"),
        Step(f"audit {D}"),
    ),
    situation(
        "a raw file that changed afterwards, step two",
        needs.after(needs.brought(), needs.touch),
        Step(
            f"audit {D}",
            "ledger advance {folder}/archive/20260102",
            "disk.raws.advice_on_changed_raw",
            before=lambda world: world.rollback(),
        ),
        Step(f"audit {D}"),
    ),
    situation(
        "a file that is gone",
        needs.after(needs.brought(), lambda world: needs.products(world)[0].unlink()),
        Step(f"audit {D}", "ledger explain {file}", "audit.laws._rows_without_files", looks=True),
    ),
    Situation("no backup", needs.unbacked, (Step("doctor", "ledger backup", "audit.doctor._backups"), Step("doctor"))),
    situation(
        "a backup that failed",
        needs.with_a_failed_backup,
        Step("doctor", "ledger backup", before=lambda world: (world.destination / ".ledger").unlink()),
        Step("doctor"),
    ),
    situation(
        "a backup that failed, for a monitor",
        needs.with_a_failed_backup,
        Step(
            "status --check",
            "ledger backup",
            "query.standing.standing_still",
            before=lambda world: (world.destination / ".ledger").unlink(),
        ),
        Step("doctor"),
    ),
    situation(
        "no frame IDs were handed out",
        needs.from_blocks,
        Step("doctor", "ledger ids reserve --from-file FILE", "ids.sequence.advice", fill={"FILE": "ids.txt"}),
        Step("doctor"),
    ),
    situation(
        "a ledger that was rebuilt",
        needs.rebuilt,
        Step("doctor", "ledger ids start VMPA {next number}", "ids.sequence.advice"),
        Step("doctor"),
    ),
    situation(
        "numbers that others gave",
        needs.with_numbers_of_others,
        Step("doctor", "ledger ids start VMPA 8", "ids.sequence.refuse_taken"),
        Step("doctor"),
    ),
    situation(
        "copies that were moved to another disk",
        needs.after(needs.brought(), needs.another_disk),
        Step("doctor", "ledger relocate --copies", "audit._places.look_at_former", before=needs.copies_moved_there),
        Step("doctor"),
    ),
    situation(
        "nights that were moved to another root",
        needs.after(needs.brought(), needs.another_root),
        Step("doctor", "ledger relocate", "audit._places.look_at_roots"),
        Step("doctor"),
    ),
    situation(
        "folders that look like nights",
        needs.strays,
        Step("status --check", "ledger doctor", "query.unattended.check", looks=True),
        Step("doctor", before=needs.without_strays),
    ),
)

#: Advice that no walk comes to, and why.
ELSEWHERE = {
    "audit.doctor._holder: ledger {}": "names the command of a run, and advises nothing",
    "audit.doctor._unproven: ledger prune": "names what removed files, and advises nothing",
    "audit.laws.nights_of: ledger status": "of a date that is no night: tests/ledger/cli/test_nights.py",
    "ids.gate.exclude: ledger status": "of a date that is no night: tests/ledger/ids/test_gate.py",
    "night.given_out.note_withdrawal_sent: ledger status": "tests/ledger/delivery/test_withdrawn.py",
    "night.given_out.refuse_untold: ledger manifest --date {} --withdrawal-sent": "in test_withdrawn.py",
    "night.given_out.tell: ledger manifest {} --withdrawal-sent": "a rollback says it: test_withdrawn.py",
    "night.progress._behind: ledger advance {}": "of the other of two hosts: tests/ledger/delivery/test_pull.py",
    "query.explanation.explain: ledger prune": "names what removed files, and advises nothing",
    "query.status.needs_person: ledger advance ": "compares",
    "query.unattended.at_work: ledger watch {}": "of a run at work: tests/ledger/cli/test_runs.py",
    "query.status.nights: ledger status": "of a date that is no night: tests/ledger/cli/test_nights.py",
}

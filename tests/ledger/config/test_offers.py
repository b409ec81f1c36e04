"""What a stage's module offers beside `forward` and `reverse` is resolved, or refused, when it is loaded."""

import sys

import pytest

import stages
from ledger.config.stages import check_stage

BARE = """
from dataclasses import dataclass
from stages.base import Job, Outcome, nothing
from stages.optional import NightCheck

def forward(*, job, params):
    return Outcome()

reverse = nothing
"""
SENDER = """
def own_files(*, job): ...
def verify_copies(*, job, params): ...
def verify_night(*, job, params): ...
def repair(*, job, params): ...
def recall(*, job, params): ...
"""
LISTER = """
def manifest_lines(*, job, params): ...
def read_manifests(*, job, params): ...
"""


@pytest.fixture
def check(tmp_path, monkeypatch):
    """Load a stage of this source; return what was loaded, and the faults as lines."""
    monkeypatch.syspath_prepend(tmp_path)

    def load(source, bare=BARE):
        (tmp_path / "observed.py").write_text(bare + source)
        sys.modules.pop("observed", None)
        loaded, found = check_stage("observed", "observed", {})
        return loaded, [str(fault) for fault in found]

    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # the same module is written again within a second
    yield load
    sys.modules.pop("observed", None)


def test_what_is_offered_is_resolved(check):
    source = 'SUFFIXES = [".png", ".jpg"]\nLEVEL = "fixed"\nHEADER_ONLY = True\ndef night_files(*, job, params): ...\n'
    loaded, found = check(source + SENDER + LISTER)
    assert found == []
    assert loaded.sender is loaded.lister is loaded.night_writer is loaded.stage
    assert (loaded.suffixes, loaded.level, loaded.is_header_only) == ((".png", ".jpg"), "fixed", True)


def test_what_is_absent_is_none(check):
    loaded, found = check("")
    assert found == []
    assert (loaded.params, loaded.sender, loaded.lister, loaded.night_writer) == (None,) * 4
    assert (loaded.suffixes, loaded.level, loaded.is_header_only) == ((), None, False)


@pytest.mark.parametrize("name", stages.STAGES)
def test_stages_of_the_ledger_offer_what_their_states_need(name):
    loaded, found = check_stage(name, name, {})
    assert found == []
    offered = [kind for kind in ("sender", "lister", "night_writer") if getattr(loaded, kind)]
    expected = {"consolidated": ["night_writer"], "transferred": ["sender", "night_writer"], "manifested": ["lister"]}
    assert offered == expected.get(name, [])
    assert loaded.is_header_only == (name in {"fixed", "identified"})
    assert loaded.level == (name if name in {"consolidated", "fixed", "identified"} else None)


@pytest.mark.parametrize(
    ("source", "name", "meant"),
    [
        (SENDER.replace("repair", "repiar"), "repiar", "repair"),
        (SENDER.replace("verify_copies", "verify_copys"), "verify_copys", "verify_copies"),
        (LISTER.replace("read_manifests", "read_manifest"), "read_manifest", "read_manifests"),
        ("def nightfiles(*, job, params): ...", "nightfiles", "night_files"),
        ('SUFIXES = (".png",)', "SUFIXES", "SUFFIXES"),
        ("HEADERONLY = True", "HEADERONLY", "HEADER_ONLY"),
        ('LEVELS = "fixed"', "LEVELS", "LEVEL"),
        ("@dataclass\nclass Parameter:\n    white: float = 1.0", "Parameter", "Parameters"),
    ],
)
def test_what_is_misspelt_is_a_fault_with_a_hint(check, source, name, meant):
    loaded, found = check(source)
    assert loaded is None
    (fault,) = [fault for fault in found if name in fault and "without" not in fault]
    assert fault.startswith("states.observed.stage: 'observed': ")
    assert f"did you mean {meant!r}?" in fault


@pytest.mark.parametrize(
    "source",
    [
        "def _repiar(): ...",  # it says that it is a helper
        "from stages.base import frames_of as repiar",  # of another module
        'SUFFIX = ".png"',  # a name like that of the endings, and no list of them
        "def prepare(): ...\ndef pair(): ...\ndef recognise(): ...\ndef level(): ...",
        LISTER + "def manifest_line(): ...",  # what is meant is there
        "def night_file(path): ...\ndef repaired(cube): ...",  # called with something else than a stage is
        "LEVEL = SUFFIXES = night_files = None",
    ],
)
def test_a_helper_is_none_of_the_ledgers_business(check, source):
    loaded, found = check(source)
    assert (found, loaded is None) == ([], False)


@pytest.mark.parametrize(
    ("source", "found", "expected"),
    [
        (SENDER + "def repair(*, job): ...", "repair(*, job)", "repair(job=..., params=...)"),
        (SENDER + "def recall(job, folder, params): ...", "recall(job, folder, params)", "recall(job=..., params=...)"),
        (SENDER + "def own_files(night): ...", "own_files(night)", "own_files(job=...)"),
        ("def night_files(products, /): ...", "night_files(products, /)", "night_files(job=..., params=...)"),
        (LISTER + "manifest_lines = ()", "manifest_lines = ()", "manifest_lines(job=..., params=...)"),
        ("def forward(job): ...", "forward(job)", "forward(job=..., params=...)"),
        ('SUFFIXES = ".png"', "SUFFIXES = '.png'", "tuple[str, ...]"),
        ('LEVEL = "raw"', "LEVEL = 'raw'", "Literal['consolidated', 'fixed', 'identified']"),
        ("HEADER_ONLY = 'perhaps'", "HEADER_ONLY = 'perhaps'", "bool"),
        ("class Parameters: ...", "Parameters = ", "a dataclass"),
        ("def recall(*, job, params): ...", "recall without repair, verify_copies", "all or none"),
        ("def manifest_lines(*, job, params): ...", "manifest_lines without read_manifests", "all or none"),
    ],
)
def test_what_is_of_the_wrong_shape_is_a_fault(check, source, found, expected):
    loaded, faults = check(source)
    assert loaded is None
    (fault,) = faults
    assert fault.startswith(f"states.observed.stage: 'observed': found {found}")
    assert expected in fault


def test_keywords_may_be_taken_in_any_way_that_python_has(check):
    loaded, found = check("def night_files(**more): ...\ndef forward(job, params=None, more=()): ...")
    assert (found, loaded.night_writer is loaded.stage) == ([], True)


def test_a_module_that_lies_elsewhere_now_is_named(check):
    _, (fault,) = check("from stages.header import HeaderRules")
    assert "stages.header is stages.fits.header now" in fault

"""Configurations with anything in them: a configuration, or every fault with its place; never anything else."""

import copy
from itertools import pairwise

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ledger.config.read import packaged_config, read_config
from ledger.config.stages import load_stages
from ledger.errors import LedgerError
from tests.fuzz.complaints import little_memory
from tests.fuzz.profiles import fuzz

TEXT = packaged_config().read_text()
DATA = yaml.safe_load(TEXT)
SCALARS = st.sampled_from(
    (
        *(None, True, False, 0, 1, -1, 2**31, 2**63, 10**400, 0.0),
        *(-0.5, 1e300, float("nan"), float("inf"), -float("inf")),
        *("", ".", "..", "../..", "/", "/etc", "../../outside"),
        *("a/../b", "~", "~nobody-at-all/x", "a\nb", "a\0b", "\ud800"),
        *("\udcff", "é", "x" * 300, "a|b", "{date}", "{0}"),
        *("{date.__class__}", "{", "{date:d}", "%s", "20260230", "٢٠٢٦٠١٠٢"),
        *("raw", "synced", "header", "no.such.module", ".relative"),
        *("os", "stages.base", "sqlite:///x", "postgresql://h:x/y"),
        *("sqlite://", "://", "-1", "0777", "NaN", "vcam1", "vgen2", "VMPA", "VMPE", "EXPTIME", "NAXIS3", "A B"),
    )
)  # fmt: skip
VALUES = st.recursive(
    SCALARS | st.text(max_size=20) | st.floats() | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3),
    max_leaves=6,
)
#: Aliases of aliases: few characters, and millions of values.
LAUGHS = (
    "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "\n".join(f"{new}: &{new} [{','.join(8 * [f'*{old}'])}]" for old, new in pairwise("abcdef"))
    + "\nlog: [*f,*f]\narchive: {states: *f}"
)
SOURCES = st.sampled_from(
    (
        *("", "---", "a", "[]", "{}", "null", "&a [*a]", "x: &a {y: *a}"),
        *("&a {states: *a}", "? [a]\n: b", "? {a: b}\n: c", "1: 2"),
        *("log: 2026-13-45", "log: !!int ''", "log: !!timestamp x"),
        *("log: !!bool maybe", "log: !!float x", "log: 0x_", "log: 1:99:99"),
        *("!!python/object/apply:os.system ['false']", "log: !!python/name:os.system"),
        *("a: b: c", "\t", "\0", "%YAML 9.9\n---\na: 1"),
        *("log: " + "9" * 5000, "[" * 3000, "log: a\nlog: b", "<<: 1"),
        *("<<: [1]", "log: !!binary x", "log: !!set {a}", "log: !!omap [1]"),
        LAUGHS,
    )
)  # fmt: skip


def places(value, path=()):
    """Yield the path of everything in a configuration."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


PLACES = sorted(set(places(DATA)) - {()}, key=repr)


def check(path, environment):
    """Read a configuration; what is refused is refused in words that can be printed."""
    try:
        with little_memory():
            config = read_config(path, environment)
            load_stages(config)
    except LedgerError as exc:
        said = str(exc)
        assert all(line.isprintable() for line in said.split("\n")), said
        assert len(said) < 100_000
        return
    instrument = config.instrument
    for name in (
        *(stream.name for stream in instrument.streams),
        instrument.product_folder,
        instrument.synchronised_name,
    ):
        assert "/" not in name
        assert name not in ("", ".", "..")
    assert "/" not in instrument.manifest.format(date="20260102")
    assert all(config.site(name).destination.is_absolute() for name in config.pipelines)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Return where the configuration is written."""
    return tmp_path_factory.mktemp("config") / "config.yaml"


@fuzz(250)
@given(st.lists(st.tuples(st.sampled_from(PLACES), VALUES, st.sampled_from("rrrrdk")), min_size=1, max_size=3))
def test_any_value_in_any_place(path, changes):
    data = copy.deepcopy(DATA)
    for where, value, change in changes:
        block = data
        try:
            for key in where[:-1]:
                block = block[key]
            if change == "r":
                block[where[-1]] = value
            elif change == "d":
                del block[where[-1]]
            else:
                block["unknown"] = value
        except (KeyError, IndexError, TypeError):
            continue  # what was changed before has no such place
    path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8", errors="surrogatepass")
    check(path, {})


@fuzz(100)
@given(SOURCES, st.sampled_from(("alone", "before", "behind")), st.binary(max_size=3), st.integers(0, len(TEXT)))
def test_any_text(path, source, where, junk, at):
    text = {"alone": source, "before": f"{source}\n{TEXT}", "behind": f"{TEXT}\n{source}\n"}[where].encode()
    path.write_bytes(text)
    check(path, {})
    path.write_bytes(TEXT.encode()[:at] + junk + TEXT.encode()[at:])
    check(path, {})


@fuzz(100)
@given(
    st.sampled_from(PLACES).map(lambda where: "LEDGER_" + "__".join(map(str, where)).upper())
    | st.text().map("LEDGER_".__add__),
    SCALARS.map(str) | SOURCES,
)
def test_any_variable(path, name, value):
    path.write_text(TEXT)
    check(path, {name: value})

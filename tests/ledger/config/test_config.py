"""The configuration is checked as a whole, and every key can be overridden."""

import copy

import pytest
import yaml

from ledger.config.read import override, packaged_config, parse_config, read_config
from ledger.config.stages import load_stages
from ledger.errors import ConfigError, UsageError


@pytest.fixture
def data():
    return yaml.safe_load(packaged_config().read_text())


def faults(data):
    with pytest.raises(ConfigError) as caught:
        load_stages(parse_config(data))
    return {fault.path: str(fault) for fault in caught.value.faults}


def test_the_default_is_sound():
    config = read_config(packaged_config(), environment={})
    assert set(load_stages(config)) == {
        "synced",
        "consolidated",
        "fixed",
        "identified",
        "compressed",
        "transferred",
        "manifested",
    }


def test_all_faults_are_told_at_once(data):
    data["archive"]["rooot"] = "x"
    data["archive"]["states"][2] = "consolidatd"
    data["transfer"] = {}
    data["states"]["synced"]["parameters"]["grup_s"] = 1
    data["states"]["compressed"]["parameters"]["tile"] = "column"
    data["instrument"]["prefix"] = "x1"
    data["database"]["url"] = "mysql://x"
    data["engine"]["workers"] = "abc"
    found = faults(data)
    assert "did you mean 'root'?" in found["archive.rooot"]
    assert "did you mean 'consolidated'?" in found["archive.states"]
    assert "LEDGER_TRANSFER__DESTINATION" in found["transfer.destination"]
    assert "did you mean 'group_s'?" in found["states.synced.parameters.grup_s"]
    assert "column" in found["states.compressed.parameters.tile"]
    assert "instrument.prefix" in found
    assert "expected sqlite or postgresql" in found["database.url"]
    assert "found 'abc'" in found["engine.workers"]


@pytest.mark.parametrize("prefix", ["VMPE", "VMPZ", "vmpa", "VMP1", "VMPAA", ""])
def test_a_prefix_that_the_observatory_does_not_allow(data, prefix):
    data["instrument"]["prefix"] = prefix
    assert f"the last none of E, Z: found {prefix!r}" in faults(data)["instrument.prefix"]
    del data["ids"]  # as in a file of before
    assert "instrument.prefix" in faults(data)


def test_what_is_allowed_of_frame_ids_is_the_observatorys_to_say(data):
    data["instrument"]["prefix"] = "VMPZ"
    data["ids"] |= {"forbidden_letters": [], "last_number": None}
    assert parse_config(data).ids.last == 99_999_999
    data["instrument"]["prefix"] = "VMPE"  # exposure IDs would be the same
    assert "ids.forbidden_letters" in faults(data)["instrument.prefix"]
    data["instrument"]["prefix"] = "VMPA"
    data["ids"] |= {"forbidden_letters": ["A"], "last_number": 79_999_999}
    assert "the last none of A, E: found 'VMPA'" in faults(data)["instrument.prefix"]


@pytest.mark.parametrize(
    ("key", "value"),
    [("forbidden_letters", ["ez"]), ("forbidden_letters", "Z"), ("last_number", 0), ("last_number", 100_000_000)],
)
def test_rules_of_frame_ids_that_cannot_be(data, key, value):
    data["ids"][key] = value
    assert any(path.startswith(f"ids.{key}") for path in faults(data))


def test_a_fault_of_parameters_alone_is_found(data):
    data["states"]["compressed"]["parameters"]["tyle"] = "row"
    assert "did you mean 'tile'?" in faults(data)["states.compressed.parameters.tyle"]


def test_an_instrument_without_an_flc(data):
    data["instrument"]["cards"] |= dict.fromkeys(("flc_enabled", "flc_stage", "flc_state", "dither_us"))
    kept = parse_config(data).instrument.keywords_kept()
    assert None not in kept
    assert "U_FLC" not in kept
    data["instrument"]["cards"]["flc_enabled"] = "U_FLCEN"
    assert "states would be written nowhere" in faults(data)["instrument.cards.flc_state"]
    data["instrument"]["cards"] |= {"flc_state": "U_FLC", "mode": None}
    assert set(faults(data)) == {"instrument.cards.mode"}


def test_keywords_that_are_only_kept(data):
    data["instrument"]["kept_keywords"] = ["GAIN"]
    assert "GAIN" in parse_config(data).instrument.keywords_kept()
    data["instrument"]["kept_keywords"] = ["GAIN", "OBJECT", "no\tkeyword"]
    told = faults(data)["instrument.kept_keywords"]
    assert "no\\tkeyword" in told or "OBJECT" in told


def test_an_unknown_stage(data):
    data["states"]["fixed"]["stage"] = "fixd"
    assert "did you mean 'fixed'?" in faults(data)["states.fixed.stage"]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda d: d["archive"]["states"].remove("raw"), "archive.states"),
        (lambda d: d["archive"]["states"].append("fixed"), "archive.states"),
        (lambda d: d["archive"]["states"].remove("synced"), "archive.states"),
        (lambda d: d["states"]["fixed"].pop("forward"), "states.fixed.forward"),
        (lambda d: d["states"]["fixed"].update(forward="sync"), "archive.states"),
        (lambda d: d["engineering"].update(root="archive"), "engineering.root"),
        (lambda d: d["engineering"].update(destination=None), "engineering.destination"),
        (lambda d: d["states"]["fixed"].update(parameters="headr"), "states.fixed.parameters"),
        (lambda d: d["archive"].update(first_night="2026"), "archive.first_night"),
    ],
)
def test_faults_between_blocks(data, change, path):
    change(data)
    assert path in faults(data)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("salvage", 1, ("true or false, without quotes", "found 1")),
        ("salvage", "true", ("true or false, without quotes", "found 'true'")),
        ("settle_minutes", float("inf"), ("finite number", "found inf")),
        ("settle_minutes", float("nan"), ("finite number", "found nan")),
        ("settle_minutes", "30", ("number", "found '30'")),
        ("settle_minutes", True, ("number", "found True")),
        ("settle_minutes", -1, ("greater than or equal to 0", "found -1")),
        ("permissions.umask", 999, ("octal digits in quotes", "found 999")),
        ("permissions.umask", "999", ("octal digits in quotes", "found '999'")),
        ("permissions.umask", 2, ("octal digits in quotes", "found 2")),
    ],
)
def test_a_value_of_the_wrong_kind(data, path, value, words):
    *blocks, key = path.split(".")
    block = data
    for name in blocks:
        block = block[name]
    block[key] = value
    found = faults(data)
    assert set(found) == {path}
    assert all(word in found[path] for word in words), found[path]


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("times.clocks_s", -1, "expected a number from 0 on, or null"),
        ("times.date_h", float("nan"), "expected a number from 0 on, or null"),
        ("times.name_s", "five", "valid number"),
        ("times.clock_s", 1, "did you mean 'clocks_s'?"),
        ("forms.means_true", [True], "valid string"),  # what YAML makes of ON without quotes
        ("forms.means_true", ["on", "off"], "expected other forms than in means_false: found ['OFF'] in both"),
        ("forms.flc_free", [" a "], "expected other forms than in flc_fixed: found ['A'] in both"),
    ],
)
def test_limits_of_times_and_forms_of_cards(data, key, value, words):
    block, name = key.split(".")
    data["instrument"][block][name] = value
    (found,) = faults(data).items()
    assert found[0].startswith(f"instrument.{block}")
    assert words in found[1]


def test_a_comparison_of_times_is_switched_off(data):
    assert override(data, {"LEDGER_INSTRUMENT__TIMES__DATE_H": "null"}) == []
    times = parse_config(data).instrument.times
    assert (times.clocks_s, times.date_h, times.name_s) == (10, None, 300)


@pytest.mark.parametrize("copies", [1, 2, 0, True, "1", None])
def test_one_proven_copy_is_all_that_there_can_be(data, copies):
    """The key of before 0.2.0 is read if it says what holds anyway."""
    expected = parse_config(data)
    data["prune"]["copies"] = copies
    if copies is not True and copies == 1:
        assert parse_config(data) == expected
    else:
        told = faults(data)
        assert set(told) == {"prune.copies"}
        assert f"a product has one destination, so one copy: found {copies!r}" in told["prune.copies"]


def test_the_pipeline_that_numbers_is_the_one_that_is_declared_so(data):
    config = parse_config(data)
    assert (config.main, config.numbering) == ("archive", "archive")
    assert (config.waits("archive"), config.waits("engineering")) == (True, False)
    archive, engineering = data["archive"], data["engineering"]
    archive["states"], engineering["states"] = engineering["states"], archive["states"]
    config = parse_config(data)
    assert (config.main, config.numbering) == ("archive", "engineering")
    assert (config.waits("archive"), config.waits("engineering")) == (False, True)
    data["engineering"] = None
    data["states"] = {name: block for name, block in data["states"].items() if name in data["archive"]["states"]}
    config = parse_config(data)
    assert config.numbering is None
    assert not config.waits("archive")


def test_values_of_the_right_kind(data):
    assert (
        override(data, {"LEDGER_SALVAGE": "true", "LEDGER_SETTLE_MINUTES": "5", "LEDGER_PERMISSIONS__UMASK": "0002"})
        == []
    )
    config = parse_config(data)
    assert (config.salvage, config.settle_minutes, config.permissions.umask) == (True, 5, "0002")


def test_any_key_is_overridden_from_the_environment(data):
    environment = {
        "LEDGER_ARCHIVE__ROOT": "/data/archive",
        "LEDGER_STATES__SYNCED__PARAMETERS__GROUP_S": "5.5",
        "LEDGER_ENGINE__WORKERS": "3",
        "LEDGER_CONFIG": "/etc/x.yaml",
        "HOME": "/home/x",
    }
    assert override(data, environment) == []
    config = parse_config(data)
    assert str(config.archive.root) == "/data/archive"
    assert config.parameters("synced")["group_s"] == 5.5
    assert config.engine.workers == 3


def test_a_misspelt_variable_is_a_fault(data):
    found = override(data, {"LEDGER_ARCHIV__ROOT": "x"})
    assert "did you mean 'archive'?" in str(found[0])
    assert "unknown key" in faults({**data, "archive": {**data["archive"], "rot": 1}})["archive.rot"]


def test_parsing_changes_nothing(data):
    before = copy.deepcopy(data)
    parse_config(data)
    assert data == before


def test_relative_paths_are_relative_to_the_file(tmp_path, data):
    path = tmp_path / "here" / "config.yaml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(data))
    config = read_config(path, environment={})
    assert config.archive.root == tmp_path / "here" / "archive"
    assert str(tmp_path / "here" / "ledger.db") in config.database.url


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [", ""])
def test_what_is_no_configuration_is_refused_in_one_line(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_config(path, environment={})
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UsageError, match="--config names"):
        read_config(tmp_path / "no.yaml", environment={})
    with pytest.raises(UsageError, match="LEDGER_CONFIG names"):
        read_config(environment={"LEDGER_CONFIG": str(tmp_path / "no.yaml")})


@pytest.mark.parametrize("pipeline", ["archive", "engineering", "transfer"])
@pytest.mark.parametrize(
    "place",
    [
        "user@host:rel/path",
        "user@host:~/x",
        "user@host:/",
        "ssh://user@host/x",
        "rsync://h/x",
        "host:x",
        "user@-oProxyCommand:/x",
        {"user@host": None},
    ],
)
def test_a_place_on_another_host_is_not_taken_for_a_folder_here(data, pipeline, place):
    data[pipeline]["destination"] = place
    found = faults(data)
    assert set(found) == {f"{pipeline}.destination"}
    assert "expected user@host:/folder" in found[f"{pipeline}.destination"]


@pytest.mark.parametrize("place", ["u@h:/x", "h:/x/a:b", "[::1]:/x", "./a:b", "/a:b", "here", "../a@b"])
def test_a_place_that_is_one(data, place):
    data["transfer"]["destination"] = place
    assert str(parse_config(data).transfer.destination).endswith(place.removeprefix("./"))

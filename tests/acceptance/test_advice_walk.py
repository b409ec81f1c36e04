"""All advice that is given leads on: each is followed as it is printed, and is then gone, or another comes."""

import re
import shlex

import pytest

from tests.acceptance.advice import every_advice
from tests.acceptance.situations import ELSEWHERE, SITUATIONS, Situation, Step
from tests.inside import call
from tests.world import World

#: A command in a text; at the end of a row of `status`; and after what `explain` has under `next`.
_ADVISED = re.compile(r"`(ledger [^`]+)`|\t(ledger [^\t\n]+)$|^  next +(ledger [^`\n]+)$", re.MULTILINE)


def advised(text: str) -> set[str]:
    return {next(filter(None, groups)) for groups in _ADVISED.findall(text)}


def names(world: World) -> dict[str, str]:
    """Return what words in braces stand for, as far as there is such a thing."""
    wanted = {
        "product": "kind = 'product'",
        "last": "kind = 'product' ORDER BY id DESC",
        "file": "kind = 'product' ORDER BY name",
        "failed": "error IS NOT NULL",
        "quarantined": "kind = 'product' AND quarantine_reason IS NOT NULL",
        "unproven": "identity IN (SELECT identity FROM refuted)",
    }
    queries = {word: f"SELECT name FROM file WHERE {condition} LIMIT 1" for word, condition in wanted.items()}
    queries["raw"] = "SELECT folder || '/' || name FROM file WHERE kind = 'raw' ORDER BY id LIMIT 1"
    queries["raw name"] = "SELECT name FROM file WHERE kind = 'raw' ORDER BY id LIMIT 1"
    queries["next number"] = "SELECT count(*) + 1 FROM frame_id"
    return {word: str(row[0]) for word, query in queries.items() for row in world.query(query)}


def filled(text: str, found: dict[str, str]) -> str:
    return re.sub(r"\{([a-z ]+)\}", lambda match: found[match[1]], text)


def places(step: Step) -> set[str]:
    """Return the advice in the code that a step takes, of the function that it names."""
    every = (place.partition(": ") for place in every_advice()) if step.says else ()
    of_function = {command for function, _, command in every if function == step.says}
    return {
        f"{step.says}: {command}"
        for command in of_function
        if re.fullmatch(".+?".join(map(re.escape, command.split("{}"))).replace("{}", ".*"), step.advice)
    }


def say(world: World, command: str) -> str:
    done = call(world, *shlex.split(command))
    assert done.returncode in (0, 1, 2), (command, done.stderr)
    return done.stdout + done.stderr


def obey(world: World, command: str) -> str:
    """Run a command that was advised; it may find more that is wrong, and is no misuse."""
    program, *arguments = shlex.split(command)
    assert program == "ledger"
    done = call(world, *arguments)
    assert done.returncode in (0, 1), (command, done.stdout, done.stderr)
    return done.stdout + done.stderr


def take(world: World, step: Step, shown: str) -> str:
    """Take a step; return what the command of the advice has said."""
    if not step.advice:
        step.before(world)
    found = {**names(world), "folder": str(world.folder)}
    ask = filled(step.ask, found)
    text = say(world, ask) if ask else shown
    if not step.advice:
        assert advised(text) == set(), text
        return text
    advice = filled(step.advice, found)
    assert advice in advised(text), (advice, text)
    for place in places(step):
        assert any(pattern.search(text) for pattern in every_advice()[place]), (place, text)
    step.before(world)
    command = advice
    for word, value in step.fill.items():
        assert word in command
        command = command.replace(word, filled(value, found))
    said = obey(world, command)
    if ask and not step.looks:
        assert advice not in advised(say(world, ask)), ask
    return said


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.name)
def test_advice_leads_on(sqlite_world: World, situation: Situation) -> None:
    situation.prepare(sqlite_world)
    shown = ""
    for step in situation.steps:
        shown = take(sqlite_world, step, shown)


def test_all_advice_is_walked() -> None:
    steps = [step for situation in SITUATIONS for step in situation.steps]
    assert all(places(step) for step in steps if step.says)
    walked = {place for step in steps for place in places(step)}
    assert not walked & ELSEWHERE.keys()
    assert walked | ELSEWHERE.keys() == every_advice().keys()

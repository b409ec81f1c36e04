"""Faults of a configuration that no block knows by itself."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ledger.config._translate import did_you_mean
from ledger.config.blocks import REMOTE, Ids
from ledger.config.faults import mapping
from ledger.config.model import PIPELINES
from ledger.config.stages import SHARED_PARAMETERS
from ledger.errors import Fault


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def faults_between_blocks(data: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield the faults that keys of several blocks make together; tolerant of anything: the rest may be wrong too."""
    states = mapping(data.get("states"))
    for name in PIPELINES:
        pipeline = mapping(data.get(name))
        order = pipeline.get("states")
        if isinstance(order, list | tuple):
            yield from _faults_of_order(name, [str(s) for s in order], states)
    used = {str(s) for name in PIPELINES for s in _list(mapping(data.get(name)).get("states"))}
    for name, state in states.items():
        if name not in used:
            yield Fault(f"states.{name}", "in no pipeline", did_you_mean(name, sorted(used)) or "remove it, or use it")
        parameters = mapping(state).get("parameters")
        if isinstance(parameters, str) and parameters not in SHARED_PARAMETERS:
            hint = did_you_mean(parameters, SHARED_PARAMETERS) or f"expected a block, or one of {SHARED_PARAMETERS}"
            yield Fault(f"states.{name}.parameters", f"names no shared block: {parameters!r}", hint)
    places: dict[str, str] = {}
    for name in PIPELINES:
        if isinstance(data.get(name), Mapping):
            place = data[name].get("destination") or mapping(data.get("transfer")).get("destination")
            if place and str(place) == str(data[name].get("root")):
                yield Fault(
                    f"{name}.destination", f"is its own root: {place!r}", "name another folder, best another disk"
                )
            if str(place) in places:
                message = f"the same destination as {places[str(place)]}: {place!r}"
                yield Fault(f"{name}.destination", message, "nights of one date would mix; give each its own")
            places[str(place)] = name
    roots = [str(mapping(data.get(name)).get("root")) for name in PIPELINES if data.get(name)]
    if len(set(roots)) != len(roots):
        yield Fault("engineering.root", f"the same root as archive: {roots[0]!r}", "give each pipeline its own")
    yield from _faults_of_direction(data)
    notify, mail = mapping(data.get("notify")), mapping(data.get("mail"))
    if notify.get("recipients") and (mail.get("transport", "eml") == "eml" or not mail.get("sender")):
        yield Fault(
            "notify.recipients", "nobody sends them mail", "set mail.transport to smtp or sendmail, and mail.sender"
        )
    if notify.get("unconfirmed_days") is not None and "unconfirmed" not in _list(notify.get("kinds", ["unconfirmed"])):
        yield Fault("notify.unconfirmed_days", "nobody is told", "add unconfirmed to notify.kinds, or set this to null")
    yield from _faults_of_prefix(data)
    copies = mapping(data.get("prune")).get("copies", 1)
    if copies != 1 or isinstance(copies, bool):
        yield Fault("prune.copies", f"a product has one destination, so one copy: found {copies!r}", "remove the key")
    numbering = [name for name in PIPELINES if _numbers(mapping(data.get(name)), states)]
    if len(numbering) > 1:
        yield Fault(
            f"{numbering[1]}.states",
            f"frame IDs in {' and '.join(numbering)}: the sequence is one, and so is its chronology",
            f"leave states that require frame_id to {numbering[0]}",
        )


def _faults_of_prefix(data: Mapping[str, Any]) -> Iterator[Fault]:
    """Check that the instrument's prefix may be that of frame IDs."""
    prefix = str(mapping(data.get("instrument")).get("prefix", "VMPA"))
    default = Ids().forbidden_letters
    letters = sorted({"E", *map(str, _list(mapping(data.get("ids")).get("forbidden_letters", default)))})
    if not re.fullmatch("[A-Z]{4}", prefix) or prefix[3] in letters:
        yield Fault(
            "instrument.prefix",
            f"expected four capital letters, the last none of {', '.join(letters)}: found {prefix!r}",
            "E marks exposure IDs; ids.forbidden_letters has those that the observatory does not allow",
        )


def _faults_of_direction(data: Mapping[str, Any]) -> Iterator[Fault]:
    """Check the settings of `direction: pull`, where one host fetches what the other made."""
    transfer = mapping(data.get("transfer"))
    if transfer.get("direction") != "pull":
        if transfer.get("source") is not None:
            yield Fault("transfer.source", "nothing is fetched", "set transfer.direction to pull, or this to null")
        return
    if str(mapping(data.get("database")).get("url")).startswith("sqlite"):
        yield Fault("transfer.direction", "pull is for two hosts with one database", "set database.url to PostgreSQL")
    for name in PIPELINES:
        if isinstance(data.get(name), Mapping):
            key = f"{name}.destination" if data[name].get("destination") else "transfer.destination"
            place = mapping(data[name]).get("destination") or transfer.get("destination")
            if not REMOTE.fullmatch(str(place)):
                hint = "name host and folder, user@host:/folder, the same on both hosts"
                yield Fault(key, f"names no host, and products are fetched to one: {place!r}", hint)
            if mapping(data[name]).get("former_destinations"):
                hint = "remove the key, or set transfer.direction to push"
                yield Fault(f"{name}.former_destinations", "what was fetched stays at one destination", hint)
            yield from _faults_after_sending(name, _list(data[name].get("states")), mapping(data.get("states")))
    for name, state in mapping(data.get("states")).items():
        if mapping(mapping(state).get("parameters")).get("also"):
            hint = "set it to [], or transfer.direction to push"
            yield Fault(f"states.{name}.parameters.also", "further files are not fetched", hint)


def _faults_after_sending(pipeline: str, order: Sequence[Any], states: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield states that would be made on a host that fetches, and cannot be: it has copies of products only."""
    blocks = {str(state): mapping(states.get(str(state))) for state in order}
    sending = next((n for n, block in enumerate(blocks.values()) if block.get("requires") == "copy"), len(blocks))
    for state, block in list(blocks.items())[sending + 1 :]:
        if block.get("stage") != "manifested":
            hint = "put it before the one that sends products, or set transfer.direction to push"
            yield Fault(f"{pipeline}.states", f"{state!r} is made where products were fetched to", hint)


def _numbers(pipeline: Mapping[str, Any], states: Mapping[str, Any]) -> bool:
    return any(mapping(states.get(str(s))).get("requires") == "frame_id" for s in _list(pipeline.get("states")))


def _faults_of_order(pipeline: str, order: Sequence[str], states: Mapping[str, Any]) -> Iterator[Fault]:
    path = f"{pipeline}.states"
    for state in order:
        if state not in states:
            yield Fault(path, f"unknown state {state!r}", did_you_mean(state, states))
    for state in sorted({s for s in order if order.count(s) > 1}):
        yield Fault(path, f"{state!r} twice", "a file passes each state once")
    if order[:1] != ["raw"]:
        yield Fault(path, f"begins with {order[:1]}", "the first state is raw")
    makers = [s for s in order if mapping(states.get(s)).get("makes_products")]
    if makers != list(order[1:2]):
        yield Fault(path, f"products are made by {makers}", "exactly one state, the one after raw, makes products")
    for state in order[1:]:
        block = mapping(states.get(state))
        for key in ("stage", "forward", "reverse"):
            if state in states and not block.get(key):
                yield Fault(f"states.{state}.{key}", "missing", "every state after raw has a stage and two edges")
    verbs = [mapping(states.get(s)).get(k) for s in order[1:] for k in ("forward", "reverse")]
    for verb in sorted({str(v) for v in verbs if v and verbs.count(v) > 1}):
        yield Fault(path, f"two edges are called {verb!r}", "give each its own verb")

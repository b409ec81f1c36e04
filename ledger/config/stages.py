"""The stages that a configuration names, loaded with their parameters."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from pydantic import TypeAdapter, ValidationError

import stages
from ledger.config._offers import faults_of_offers
from ledger.config._translate import did_you_mean, to_fault
from ledger.config.faults import mapping
from ledger.config.model import Config
from ledger.errors import ConfigError, Fault
from stages.base import BadInput, Stage
from stages.optional import (
    HeaderOnly,
    HeaderSender,
    Levelled,
    Lister,
    NightOwner,
    NightWriter,
    Parametrised,
    Sender,
    Suffixed,
)


class LoadedStage:
    """A stage's module with its checked parameters, and what it offers beside `forward` and `reverse`.

    Parameters
    ----------
    stage : Stage
        The module; what it offers has the shapes of :mod:`stages.optional`.
    params : object
        Parameters to call its functions with.

    Attributes
    ----------
    night_writer : NightWriter or None
        The module, if it writes files of the night as a whole.
    night_owner : NightOwner or None
        The module, if it names files of the night as a whole.
    sender : Sender or None
        The module, if it sends products.
    header_sender : HeaderSender or None
        The module, if it sends archives of raw headers.
    lister : Lister or None
        The module, if it lists products in a manifest.
    suffixes : tuple of str
        Endings of the files that it adds to a product's stem.
    level : {"consolidated", "fixed", "identified"} or None
        Of the headers that it writes; None if it leaves them as they are.
    is_header_only : bool
        Whether all that it does is to rewrite headers, and rename.
    """

    def __init__(self, stage: Stage, params: object) -> None:
        self.stage = stage
        self.params = params
        self.night_writer = stage if isinstance(stage, NightWriter) else None
        self.night_owner = stage if isinstance(stage, NightOwner) else None
        self.sender = stage if isinstance(stage, Sender) else None
        self.header_sender = stage if isinstance(stage, HeaderSender) else None
        self.lister = stage if isinstance(stage, Lister) else None
        self.suffixes = tuple(stage.SUFFIXES or ()) if isinstance(stage, Suffixed) else ()
        self.level = stage.LEVEL if isinstance(stage, Levelled) else None
        self.is_header_only = isinstance(stage, HeaderOnly) and bool(stage.HEADER_ONLY)


def load_stages(config: Config) -> dict[str, LoadedStage]:
    """Import the stage of every state and check its parameters.

    Raises
    ------
    ConfigError
        With every fault.
    """
    from stages.fits.formats import read_dictionary  # noqa: PLC0415  its import takes time

    loaded, faults = {}, []
    try:
        read_dictionary(config.instrument.dictionary)
    except BadInput as exc:
        faults.append(Fault("instrument.dictionary", str(exc)))
    for name, state in config.states.items():
        if state.stage:
            stage, found = check_stage(name, state.stage, config.parameters(name))
            faults += found
            if stage is not None:
                loaded[name] = stage
    if faults:
        raise ConfigError(config.source, faults)
    return loaded


#: Modules that a state of one's own may import, by the names that they had before 0.2.0.
MOVED = {f"stages.{name}": f"stages.fits.{name}" for name in ("cards", "cubes", "formats", "header", "timing")}

#: Blocks of parameters that several states may share by name.
SHARED_PARAMETERS = ("header",)


def faults_of_stages(data: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield the faults of the stages that states name, and of their parameters."""
    for name, state in mapping(data.get("states")).items():
        block = mapping(state)
        given = block.get("parameters", {})
        if isinstance(given, str):
            given = data.get(given) if given in SHARED_PARAMETERS else {}
        if block.get("stage"):
            yield from check_stage(name, str(block["stage"]), mapping(given))[1]


def check_stage(state: str, module: str, given: Mapping[str, Any]) -> tuple[LoadedStage | None, list[Fault]]:
    """Return a state's stage with its parameters (None: they cannot be used), and the faults of both."""
    try:
        stage = stages.load(module)
    except Exception as exc:  # noqa: BLE001  a module of the user's may raise anything while it is imported
        missing = str(getattr(exc, "name", None))
        hint = f"{missing} is {MOVED[missing]} now" if missing in MOVED else did_you_mean(module, stages.STAGES)
        hint = hint or "a module of the ledger's own, or one that Python can import"
        return None, [Fault(f"states.{state}.stage", f"{module!r}: {exc}", hint)]
    if faults := [Fault(f"states.{state}.stage", f"{module!r}: {e}", hint) for e, hint in faults_of_offers(stage)]:
        return None, faults
    if not isinstance(stage, Parametrised):
        faults = [Fault(f"states.{state}.parameters.{key}", "this stage takes no parameters") for key in given]
        return LoadedStage(stage, None), faults
    names = {field.name for field in fields(stage.Parameters)}
    faults = [
        Fault(f"states.{state}.parameters.{key}", "unknown key", did_you_mean(key, sorted(names)))
        for key in given
        if key not in names
    ]
    try:
        known = {key: value for key, value in given.items() if key in names}
        params: object = TypeAdapter(stage.Parameters).validate_python(known)
    except ValidationError as exc:
        for error in exc.errors():
            inner = to_fault(error)
            faults.append(Fault(f"states.{state}.parameters.{inner.path}", inner.message, inner.hint))
        return None, faults
    return LoadedStage(stage, params), faults

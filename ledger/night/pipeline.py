"""The declared machine of a pipeline: its states, its edges, and nothing that is not declared."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from transitions import Machine, MachineError

from ledger.config.model import Config
from ledger.errors import StateError, UsageError

if TYPE_CHECKING:
    from ledger.db.models import Edge, State

Direction = Literal["forward", "reverse"]
DIRECTIONS: tuple[Direction, ...] = ("forward", "reverse")

#: Words that people use for a state.
ALIASES = {"id'd": "identified", "id": "identified", "ided": "identified"}


@dataclass(frozen=True, slots=True)
class Step:
    """The two edges between a state and the one before it.

    Attributes
    ----------
    state, before : str
        Names.
    scope : str
        What one call of the stage works on: file, batch or night.
    forward, reverse : str
        Verbs.
    makes_products, needs_frame_id, needs_copy : bool
        As declared; the latter two hold from the state on that requires them.
    is_barrier : bool
        Whether it waits for all products of the night.
    """

    state: str
    before: str
    scope: str
    forward: str
    reverse: str
    makes_products: bool
    needs_frame_id: bool
    needs_copy: bool
    is_barrier: bool

    @property
    def kind(self) -> str:
        """Return what goes this way: raw files only between raw and the state that makes products."""
        return "raw" if self.makes_products else "product"

    def verb(self, direction: Direction) -> str:
        """Return the name of the edge in `direction`."""
        return self.forward if direction == "forward" else self.reverse

    def source(self, direction: Direction) -> str:
        """Return the state that the edge in `direction` leaves."""
        return self.before if direction == "forward" else self.state

    def target(self, direction: Direction) -> str:
        """Return the state that the edge in `direction` leads to."""
        return self.state if direction == "forward" else self.before


class _Cursor:
    """What `transitions` moves: a row cannot be its model, as binding one overwrites the loaded state."""

    state: str

    def __init__(self, kind: str) -> None:
        self.kind = kind


class Pipeline:
    """A pipeline's states in order, with one `transitions` machine that refuses what is not declared.

    Parameters
    ----------
    name : str
        Of the pipeline.
    config : Config
        Where it is declared.
    """

    def __init__(self, name: str, config: Config) -> None:
        self.name = name
        self.states = config.pipelines[name].states
        self.steps = tuple(self._steps(config))
        self._positions = {state: i for i, state in enumerate(self.states)}
        self._machine = Machine(
            model=None, states=list(self.states), initial=None, auto_transitions=False, send_event=True
        )
        for step in self.steps:
            for direction in DIRECTIONS:
                verb, source, target = step.verb(direction), step.source(direction), step.target(direction)
                self._machine.add_transition(verb, source, target, conditions=_only(step.kind))
        self._moves: dict[tuple[str, str, str], str] = {}  # what the machine decided: a night asks it 10^5 times
        self._modules = {state: config.states[state].stage for state in self.states}

    def _steps(self, config: Config) -> list[Step]:
        steps: list[Step] = []
        for before, state in zip(self.states, self.states[1:], strict=False):
            declared = config.states[state]
            needs_frame_id = declared.requires == "frame_id" or any(s.needs_frame_id for s in steps)
            needs_copy = declared.requires == "copy" or any(s.needs_copy for s in steps)
            steps.append(
                Step(
                    state=state,
                    before=before,
                    scope=declared.scope,
                    forward=str(declared.forward),
                    reverse=str(declared.reverse),
                    makes_products=declared.makes_products,
                    needs_frame_id=needs_frame_id,
                    needs_copy=needs_copy,
                    is_barrier=declared.scope == "night" or declared.requires == "frame_id",
                )
            )
        return steps

    @property
    def born(self) -> str:
        """Return the state in which products come into being and raw files end."""
        return self.steps[0].state

    @property
    def last(self) -> str:
        """Return the state of a finished product."""
        return self.states[-1]

    @property
    def numbering(self) -> Step | None:
        """Return the step that needs frame IDs first, or None."""
        return next((step for step in self.steps if step.needs_frame_id), None)

    @property
    def sending(self) -> Step | None:
        """Return the step that sends products to the destination; None if there is none."""
        return next((step for step in self.steps if step.needs_copy), None)

    def includes(self, step: Step | None, target: str) -> bool:
        """Whether products take `step` on the way to `target`; never if the pipeline has no such step."""
        return step is not None and self.position(target) >= self.position(step.state)

    def position(self, state: str) -> int:
        """Return the place of `state` in the order, from 0."""
        return self._positions[state]

    def resolve(self, word: str) -> str:
        """Return the state that `word` names.

        Raises
        ------
        UsageError
            If there is none of that name in this pipeline.
        """
        state = ALIASES.get(word, word)
        if state not in self._positions:
            raise UsageError(f"no state {word!r} in pipeline {self.name}: expected one of {', '.join(self.states)}")
        return state

    def step(self, state: str) -> Step:
        """Return the step that leads to `state`."""
        return self.steps[self.position(state) - 1]

    def edges(self) -> "list[Edge]":
        """Return every declared edge as rows of the table that the database's guards read."""
        from ledger.db.models import Edge  # noqa: PLC0415  who only asks where a night stands needs no tables

        return [
            Edge(
                pipeline=self.name,
                kind=step.kind,
                source=step.source(direction),
                destination=step.target(direction),
                name=step.verb(direction),
                direction=direction,
            )
            for step in self.steps
            for direction in DIRECTIONS
        ]

    def rows(self) -> "list[State]":
        """Return the states as rows of the table that the database's guards read."""
        from ledger.db.models import State  # noqa: PLC0415

        first = State(
            pipeline=self.name,
            name=self.states[0],
            position=0,
            scope="file",
            stage=None,
            makes_products=False,
            needs_frame_id=False,
            needs_copy=False,
        )
        return [first] + [
            State(
                pipeline=self.name,
                name=step.state,
                position=self.position(step.state),
                scope=step.scope,
                stage=self._modules[step.state],
                makes_products=step.makes_products,
                needs_frame_id=step.needs_frame_id,
                needs_copy=step.needs_copy,
            )
            for step in self.steps
        ]

    def move(self, kind: str, state: str, verb: str) -> str:
        """Return the state that a file of `kind` in `state` has after `verb`.

        Raises
        ------
        StateError
            If no declared edge of that name leaves `state`.
        """
        known = self._moves.get((kind, state, verb))
        if known is None:
            known = self._moves[kind, state, verb] = self._decide(kind, state, verb)
        return known

    def _decide(self, kind: str, state: str, verb: str) -> str:
        if state not in self._positions:
            raise StateError(f"{kind} file in state {state!r}: {self.name} declares no such state")
        cursor = _Cursor(kind)
        try:
            self._machine.add_model(cursor, initial=state)
            moved = cursor.trigger(verb)  # type: ignore[attr-defined]
        except (MachineError, AttributeError) as exc:
            raise StateError(f"{kind} file in state {state!r}: no edge {verb!r} leaves it in {self.name}") from exc
        finally:
            self._machine.remove_model(cursor)
        if not moved:
            raise StateError(f"{kind} file in state {state!r}: edge {verb!r} of {self.name} is not for {kind} files")
        return cursor.state

    def segments(self, to: str) -> list[tuple[Step, ...]]:
        """Return the steps after the first, up to `to`, cut so that products flow freely within a segment.

        A barrier, and every step that does not go file by file, begins a segment.
        """
        found: list[list[Step]] = []
        for step in self.steps[1 : self.position(to)]:
            joins = found and step.scope == "file" and not step.is_barrier and found[-1][-1].scope == "file"
            if joins:
                found[-1].append(step)
            else:
                found.append([step])
        return [tuple(segment) for segment in found]


def _only(kind: str) -> Callable[..., bool]:
    """Return a condition that lets only cursors of `kind` pass."""

    def is_kind(event: object) -> bool:
        return bool(getattr(getattr(event, "model", None), "kind", None) == kind)

    return is_kind


def pipelines(config: Config) -> dict[str, Pipeline]:
    """Return each pipeline by its name."""
    return {name: Pipeline(name, config) for name in config.pipelines}

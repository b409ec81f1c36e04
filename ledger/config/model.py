"""The configuration: checked as a whole, all faults at once, each with its path and a hint.

:func:`parse_config` is pure; :func:`read_config` touches the disk and the environment.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ledger.config.blocks import (
    Backup,
    Block,
    Database,
    Engine,
    Failures,
    Ids,
    Mail,
    Notify,
    Permissions,
    PipelineConfig,
    Prune,
    Space,
    StateConfig,
    Transfer,
)
from ledger.config.site import Site, read_site
from stages.instrument import Instrument

PIPELINES = ("archive", "engineering")


class Config(Block):
    """All of it. Paths are absolute once parsed."""

    database: Database
    archive: PipelineConfig
    engineering: PipelineConfig | None = None
    transfer: Transfer
    mail: Mail = Mail()
    notify: Notify = Notify()
    ids: Ids = Ids()
    engine: Engine = Engine()
    outside: Literal["wait", "ignore"] = "wait"
    settle_minutes: float = Field(default=30, ge=0, strict=True, allow_inf_nan=False)
    salvage: bool = Field(default=False, strict=True)
    log: Path
    failures: Failures = Failures()
    space: Space = Space()
    backup: Backup = Backup()
    prune: Prune = Prune()
    permissions: Permissions = Permissions()
    instrument: Instrument
    header: dict[str, Any] = Field(default_factory=dict)
    states: dict[str, StateConfig]
    source: str = Field(default="", exclude=True)

    @property
    def pipelines(self) -> Mapping[str, PipelineConfig]:
        """Return the pipelines by name, `archive` first."""
        named = {name: getattr(self, name) for name in PIPELINES}
        return {name: pipeline for name, pipeline in named.items() if pipeline is not None}

    def waits(self, pipeline: str) -> bool:
        """Return whether nights of a pipeline wait, before they get frame IDs, for decisions about files outside."""
        gives_ids = any(self.states[name].requires == "frame_id" for name in self.pipelines[pipeline].states)
        return self.outside == "wait" and gives_ids

    def site(self, pipeline: str = "archive") -> Site:
        """Return what of `pipeline` is this host's part, and where the rest is."""
        return read_site(pipeline, self.pipelines[pipeline], self.transfer, self.states)

    def parameters(self, state: str) -> Mapping[str, Any]:
        """Return the parameters of a state, with shared blocks resolved."""
        given = self.states[state].parameters
        return getattr(self, given) if isinstance(given, str) else given

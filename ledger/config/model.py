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
    Metrics,
    Notify,
    Permissions,
    PipelineConfig,
    Prune,
    ReportConfig,
    Space,
    StateConfig,
    Transfer,
)
from ledger.config.site import Site, at, read_site
from stages.instrument import Instrument

#: The pipelines that there can be, each a key of the configuration; the first is always there.
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
    log_format: Literal["text", "json"] = "text"
    failures: Failures = Failures()
    space: Space = Space()
    backup: Backup = Backup()
    metrics: Metrics = Metrics()
    prune: Prune = Prune()
    report: ReportConfig = ReportConfig()
    permissions: Permissions = Permissions()
    instrument: Instrument
    header: dict[str, Any] = Field(default_factory=dict)
    states: dict[str, StateConfig]
    source: str = Field(default="", exclude=True)

    @property
    def pipelines(self) -> Mapping[str, PipelineConfig]:
        """Return the pipelines by name, :attr:`main` first."""
        named = {name: getattr(self, name) for name in PIPELINES}
        return {name: pipeline for name, pipeline in named.items() if pipeline is not None}

    @property
    def main(self) -> str:
        """Return the pipeline that is always there: its folders have to be, and a date alone means its night."""
        return PIPELINES[0]

    @property
    def numbering(self) -> str | None:
        """Return the pipeline whose products get frame IDs; None if there is none, and there is one at most."""
        for name, pipeline in self.pipelines.items():
            if any(self.states[state].requires == "frame_id" for state in pipeline.states):
                return name
        return None

    def waits(self, pipeline: str) -> bool:
        """Return whether nights of a pipeline wait, before they get frame IDs, for decisions about files outside."""
        return self.outside == "wait" and pipeline == self.numbering

    def site(self, pipeline: str | None = None) -> Site:
        """Return what of a pipeline (by default the main one) is this host's part, and where the rest is."""
        pipeline = pipeline or self.main
        return read_site(pipeline, self.pipelines[pipeline], self.transfer, self.states, is_main=pipeline == self.main)

    def sites(self, pipeline: str) -> list[Site]:
        """Return this host's part with each destination that the configuration names, that of today first."""
        former = self.pipelines[pipeline].former_destinations
        return [self.site(pipeline), *(at(self.site(pipeline), self.transfer, place) for place in former)]

    def site_at(self, pipeline: str, host: str, folder: Path) -> Site:
        """Return this host's part with the destination that a folder is, whether the configuration names it or not.

        Parameters
        ----------
        pipeline : str
            The pipeline.
        host : str
            What the host of the folder is called; empty: it is here.
        folder : Path
            The folder that products went to.
        """
        named = (site for site in self.sites(pipeline) if (site.destination_name, site.destination) == (host, folder))
        unnamed = at(self.site(pipeline), self.transfer, Path(f"{host}:{folder}") if host else folder)
        return next(named, unnamed)

    def parameters(self, state: str) -> Mapping[str, Any]:
        """Return the parameters of a state, with shared blocks resolved."""
        given = self.states[state].parameters
        return getattr(self, given) if isinstance(given, str) else given

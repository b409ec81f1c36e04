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
    read_place,
)
from stages.base import Host, Instrument, Source

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

    def destination(self, pipeline: str) -> Path:
        """Return the folder that the products of `pipeline` go to, here or on a host."""
        return read_place(self.place(pipeline))[2]

    def host(self, pipeline: str) -> Host | None:
        """Return the host where that folder is; None: here."""
        user, name, _ = read_place(self.place(pipeline))
        return None if self.fetches or not name else self._host(user, name)

    def host_name(self, pipeline: str) -> str:
        """Return what the host of that folder is called, also there; empty: it is here, and has no name."""
        return read_place(self.place(pipeline))[1]

    @property
    def fetches(self) -> bool:
        """Whether nights are on another host, and this one fetches their products."""
        return self.transfer.direction == "pull" and self.transfer.source is not None

    @property
    def is_fetched_from(self) -> bool:
        """Whether nights are here, and another host fetches their products."""
        return self.transfer.direction == "pull" and self.transfer.source is None

    def source_of(self, night: Path, pipeline: str) -> Source | None:
        """Return where a night is (`night` is its folder there) that this host fetches; None: here."""
        if not self.fetches:
            return None
        user, name, _ = read_place(Path(f"{self.transfer.source}:/any"))
        return Source(self._host(user, name), night, self.host_name(pipeline))

    def _host(self, user: str, name: str) -> Host:
        ssh = self.transfer.ssh
        limit_kib_s = None if ssh.limit_mb_s is None else max(1, round(ssh.limit_mb_s * 1e6 / 1024))
        return Host(name, user, ssh.port, ssh.identity_file, ssh.known_hosts, ssh.options, limit_kib_s)

    def place(self, pipeline: str) -> Path:
        """Return where the products of `pipeline` go as it is written, with a host if it has one."""
        return self.pipelines[pipeline].destination or self.transfer.destination

    def parameters(self, state: str) -> Mapping[str, Any]:
        """Return the parameters of a state, with shared blocks resolved."""
        given = self.states[state].parameters
        return getattr(self, given) if isinstance(given, str) else given

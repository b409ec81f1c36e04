"""Which part of a pipeline is this host's: the states it takes products to, where nights and copies are, and how.

One host does all of it, or two share it (``transfer.direction: pull``): nights are on one, and the other fetches
their products and does the rest.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ledger.config.blocks import PipelineConfig, StateConfig, Transfer, read_place
from stages.base import Host, Source


@dataclass(frozen=True, slots=True)
class Site:
    """What of a pipeline is this host's part, and where the rest is.

    Attributes
    ----------
    pipeline : str
        The pipeline.
    is_main : bool
        Whether it is the main one, whose nights a date means.
    part : str
        ``all``; ``nights``, if another host fetches products from here; ``copies``, if this one fetches them.
    states : tuple of str
        All states of the pipeline, in order.
    sending : str or None
        The state in which products are at the destination first; None: they are not sent.
    root : Path
        The folder of nights, on the host that has them.
    place : Path
        Where products go, as it is configured: with a host if it has one.
    destination : Path
        The folder that products go to, on the host that has it.
    destination_name : str
        What the host of that folder is called, also there; empty: it is here, and has no name.
    destination_host : Host or None
        How the destination is reached; None: it is here.
    nights_host : Host or None
        How nights are reached; None: they are here.
    other : str
        What the host that does the rest is called; empty if there is none.
    """

    pipeline: str
    is_main: bool
    part: Literal["all", "nights", "copies"]
    states: tuple[str, ...]
    sending: str | None
    root: Path
    place: Path
    destination: Path
    destination_name: str
    destination_host: Host | None
    nights_host: Host | None
    other: str

    @property
    def has_nights(self) -> bool:
        """Whether nights are on this host."""
        return self.nights_host is None

    @property
    def has_copies(self) -> bool:
        """Whether the destination is on this host."""
        return self.destination_host is None

    @property
    def sends(self) -> bool:
        """Whether this host takes products to the destination, by sending or by fetching them."""
        return self.part != "nights"

    def reaches(self, state: str) -> bool:
        """Whether it is this host that takes files to `state`."""
        if self.part == "all":
            return True
        is_sent = self.sending is not None and self.states.index(state) >= self.states.index(self.sending)
        return is_sent is (self.part == "copies")

    def goes_on_at(self, state: str) -> str:
        """Return on which host files in `state` go on, as an addition to a command; empty if it is this one."""
        if self.sending is None or state not in self.states or not self.other:
            return ""
        following = self.states[self.states.index(state) + 1 :]
        return "" if self.reaches(following[0] if following else state) else f" (on {self.other})"

    def named(self, date: str) -> str:
        """Return the words that name a night to a command: its date, or its folder if a date may mean another one."""
        return f"--date {date}" if self.is_main else shlex.quote(str(self.root / date))

    def source_of(self, date: str) -> Source | None:
        """Return where a night is whose products this host fetches; None: here."""
        if self.nights_host is None:
            return None
        return Source(self.nights_host, self.root / date, self.destination_name)


def read_site(
    pipeline: str, declared: PipelineConfig, transfer: Transfer, states: Mapping[str, StateConfig], *, is_main: bool
) -> Site:
    """Return this host's part in a pipeline, as it is configured."""
    place = declared.destination or transfer.destination
    user, name, destination = read_place(place)
    part: Literal["all", "nights", "copies"] = "all"
    nights_host, other = None, ""
    destination_host = _host(transfer, user, name) if name else None
    if transfer.direction == "pull" and transfer.source is None:
        part, other = "nights", name
    elif transfer.direction == "pull":
        part, other, destination_host = "copies", str(transfer.source), None
        user_there, name_there, _ = read_place(Path(f"{transfer.source}:/any"))
        nights_host = _host(transfer, user_there, name_there)
    return Site(
        pipeline=pipeline,
        is_main=is_main,
        part=part,
        states=declared.states,
        sending=next((state for state in declared.states if states[state].requires == "copy"), None),
        root=declared.root,
        place=place,
        destination=destination,
        destination_name=name,
        destination_host=destination_host,
        nights_host=nights_host,
        other=other,
    )


def at(site: Site, transfer: Transfer, place: Path) -> Site:
    """Return a part with another destination."""
    user, name, destination = read_place(place)
    return replace(
        site,
        place=place,
        destination=destination,
        destination_name=name,
        destination_host=_host(transfer, user, name) if name else None,
    )


def _host(transfer: Transfer, user: str, name: str) -> Host:
    ssh = transfer.ssh
    limit_kib_s = None if ssh.limit_mb_s is None else max(1, round(ssh.limit_mb_s * 1e6 / 1024))
    return Host(name, user, ssh.port, ssh.identity_file, ssh.known_hosts, ssh.options, limit_kib_s)

"""Pages written: what was collected, put into templates, each file replaced when the new one is whole."""

import os
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ledger.clock import show_us
from ledger.config.model import Config
from ledger.disk import durable
from ledger.disk.access import writing
from ledger.errors import UsageError
from ledger.pages import pictures
from ledger.pages._words import Words
from ledger.pages.index import INDEX, Line, head, levels, line_of, read_lines
from ledger.pages.night import NightPage
from ledger.query.counts import HST, when
from ledger.text import counted, printable

if TYPE_CHECKING:
    from jinja2 import Environment

_REMEDY = "name another place with -o, correct report.folder, or the folder's owner, mode or mount"


def page_name(config: Config, pipeline: str, date: str) -> str:
    """Return the name of a night's page: its date, after its pipeline where that is not the main one."""
    return f"{date}.html" if pipeline == config.main else f"{pipeline}-{date}.html"


def environment() -> "Environment":
    """Return the templates.

    Raises
    ------
    UsageError
        If what fills them is not installed.
    """
    try:
        import jinja2  # noqa: PLC0415  not everybody has it, and no other command needs it
    except ImportError as exc:
        raise UsageError(
            "pages are made with jinja2, which is not installed; install ledger with its extra `report`: "
            "pip install 'ledger[report]'"
        ) from exc
    folder = files("ledger.pages") / "templates"
    loader = jinja2.FunctionLoader(lambda name: (folder / name).read_text(encoding="utf-8"))
    made = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    made.undefined = jinja2.StrictUndefined
    filters: dict[str, Any] = {
        "clock": _clock,
        "code": _code,
        "counted": counted,
        "hst": _hst,
        "number": lambda n: f"{n:,}",
        "printable": printable,
        "size": size,
        "us": show_us,
    }
    made.filters.update(filters)
    return made


def render_night(night: NightPage, line: Line) -> str:
    """Return the page of a night."""
    return _render("night.html", night=night, head=_safe(head(line)), words=Words(night), pictures=_pictures(night))


def render_index(lines: list[Line], instrument: str) -> str:
    """Return the index of nights."""
    small = {line.page: _safe(line.picture) for line in lines}
    several = len({line.pipeline for line in lines}) > 1
    told = {"lines": lines, "levels": levels(lines), "pictures": small, "several": several}
    return _render("index.html", instrument=instrument, **told)


def write_night(config: Config, night: NightPage, path: Path) -> int:
    """Write the page of a night; return its size, bytes.

    Raises
    ------
    UsageError
        If what fills templates is not installed.
    NotReady
        If the disk refuses it.
    """
    return _write(config, path, render_night(night, line_of(night, path.name)))


def write_index(config: Config, folder: Path) -> int:
    """Write the index of the pages in a folder; return how many there are.

    Raises
    ------
    UsageError, NotReady
        See :func:`write_night`.
    Unreachable
        If a page cannot be read.
    """
    lines = read_lines(folder)
    _write(config, folder / INDEX, render_index(lines, config.instrument.name))
    return len(lines)


def make_folder(folder: Path) -> None:
    """Make the folder that pages go to, if it is not there.

    Raises
    ------
    NotReady
        If the disk refuses it.
    """
    with writing(folder, _REMEDY):
        folder.mkdir(parents=True, exist_ok=True)


def size(n_bytes: int) -> str:
    """Return a size for people."""
    for unit, power in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if n_bytes >= power:
            return f"{n_bytes / power:,.1f} {unit}"
    return f"{n_bytes / 1e3:,.0f} kB"


def _write(config: Config, path: Path, text: str) -> int:
    content = text.encode(errors="backslashreplace")
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with writing(path, _REMEDY):
        try:
            durable.write_file(path, content, temporary, config.permissions.group)
        finally:
            temporary.unlink(missing_ok=True)
    return len(content)


def _render(template: str, **values: Any) -> str:
    return environment().get_template(template).render(**values)


def _pictures(night: NightPage) -> dict[str, Any]:
    """Return the pictures that there is something to see in, with what that is in words."""
    words, span = Words(night), Words(night).span
    if span is None:
        return {}
    drawn = {"timeline": pictures.timeline(night.summary.minutes, words.lanes, span, words.timeline)}
    if len(night.summary.cameras) == 2:
        first, second = night.summary.cameras
        if night.timings.offsets:
            drawn["offsets"] = pictures.offsets(night.timings, (first, second), span, words.offsets)
        if words.lacks:
            drawn["dropped"] = pictures.dropped(night.summary.minutes, (first, second), span, words.dropped)
    if night.timings.fold is not None:
        drawn["fold"] = pictures.fold(night.timings, words.fold)
    return {name: _safe(picture) for name, picture in drawn.items()}


def _safe(markup: str) -> Any:
    """Return markup that is escaped already."""
    from markupsafe import Markup  # noqa: PLC0415  comes with jinja2

    return Markup(markup)  # noqa: S704  made here, of escaped texts


def _clock(time_us: int) -> str:
    return f"{when(time_us):%H:%M}"


def _hst(time_us: int) -> str:
    return f"{when(time_us, HST):%H:%M}"


def _code(text: str) -> Any:
    """Return a text in which what stands between backquotes is set as code."""
    from markupsafe import escape  # noqa: PLC0415  comes with jinja2

    pieces = [str(escape(printable(piece))) for piece in text.split("`")]
    if len(pieces) % 2 == 0:
        return _safe("`".join(pieces))
    return _safe("".join(f"<code>{piece}</code>" if n % 2 else piece for n, piece in enumerate(pieces)))

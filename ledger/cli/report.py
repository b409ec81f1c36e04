"""``ledger report``."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ledger.cli.common import AsJson, app, open_store, read_config, watched
from ledger.cli.nights import DatesOption, EachNight, Folders, nights_named
from ledger.errors import Interrupted, NotReady, UsageError
from ledger.text import printable

if TYPE_CHECKING:
    from ledger.config.model import Config
    from ledger.disk.nights import NightFolder
    from ledger.pages.night import Collector


#: Of a page, where it says that it is one.
_HEAD_BYTES = 8192


@dataclass(frozen=True, slots=True)
class Written:
    """A page that was written: of which night, where, its size, and how the night stands."""

    pipeline: str
    date: str
    path: Path
    size_bytes: int
    level: str
    verdict: str

    def as_json(self) -> dict[str, Any]:
        """Return it as what JSON can hold."""
        facts = {"pipeline": self.pipeline, "date": self.date, "path": str(self.path), "size_bytes": self.size_bytes}
        return {**facts, "level": self.level, "verdict": self.verdict}


@app.command(epilog="Example: ledger report --date 20260102 -o night.html")
def report(
    folder: Folders = None,
    date: DatesOption = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="PLACE", help="A file, night.html; or a folder, which gets an index."),
    ] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="All nights.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are no pages of a ledger.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write nights as pages: one file each, which any browser shows without a network.

    Without -o, pages go to report.folder, or one page to this folder. In a folder, index.html lists all pages there.
    """
    from ledger.disk.places import refuse_among_data
    from ledger.night.pipeline import pipelines
    from ledger.pages.index import INDEX
    from ledger.pages.night import Collector
    from ledger.pages.publish import every_night
    from ledger.pages.write import environment, make_folder, page_name, write_index

    if output is not None and output.suffix and output.suffix.lower() not in (".html", ".htm") and not output.is_dir():
        raise UsageError(f"-o {output}: expected a name that ends in .html, or a folder")
    if every == bool(folder or date):
        raise UsageError("expected either nights (--date, or their folders) or --all")
    environment()
    config = read_config()
    done = EachNight[Written](_show, lambda _: True, folder, ["..", ".."] if every else date, as_json=as_json)
    with done, open_store(config) as store, watched(config, quiet=as_json, logs=False) as (reporter, stop):
        collector = Collector(store, config, pipelines(config))
        if every:
            nights = every_night(config, collector)
        else:
            nights = nights_named(config, folder, date, partial(typer.echo, err=True), store, needs_folders=False)
        place, is_folder = _place(config, output, n_nights=len(nights), every=every)
        refuse_among_data(config, place)
        if is_folder:
            make_folder(place)
            _refuse_others(place / INDEX, force=force)
        reporter.phase("report", len(nights))

        def write(night: "NightFolder") -> Written:
            if stop.signal_number is not None:
                raise Interrupted(stop.signal_number)
            path = place / page_name(config, night.pipeline, night.date) if is_folder or place == Path() else place
            _refuse_others(path, force=force)
            written = _write(config, collector, night, path)
            reporter.advance()
            return written

        done.do(nights, write)
        reporter.end()
        if is_folder:
            write_index(config, place)
    raise typer.Exit(done.status)


def _place(config: "Config", output: Path | None, *, n_nights: int, every: bool) -> tuple[Path, bool]:
    """Return where pages go, and whether that is a folder, with an index."""
    place = output or config.report.folder
    if place is None:
        if every or n_nights > 1:
            raise UsageError("pages of several nights go to a folder: name one with -o, or in report.folder")
        return Path(), False
    if output is None or output.is_dir() or output.suffix.lower() not in (".html", ".htm"):
        return place, True
    if every or n_nights > 1:
        raise UsageError(f"-o {output}: is a file, and pages of several nights go to a folder; name one")
    if not output.absolute().parent.is_dir():
        raise NotReady(f"-o {output}: no such folder {output.parent}; expected one that is there; make it first")
    return place, False


def _refuse_others(path: Path, *, force: bool) -> None:
    """Refuse to replace what is no page of ours."""
    from ledger.disk.access import translate_read_errors

    if force or not path.exists():
        return
    begin = b""
    if path.is_file():
        with translate_read_errors(path), path.open("rb") as file:
            begin = file.read(_HEAD_BYTES)
    if b'<meta name="generator" content="ledger">' not in begin:
        raise UsageError(f"{path}: is there already, and no page of a ledger; expected another place, or --force")


def _write(config: "Config", collector: "Collector", night: "NightFolder", path: Path) -> Written:
    from ledger.pages.write import write_night

    found = collector.collect(night)
    size_bytes = write_night(config, found, path)
    return Written(night.pipeline, night.date, path, size_bytes, found.level, found.verdict)


def _show(written: Written) -> None:
    size = f"{written.size_bytes / 1000:,.0f} kB"
    typer.echo(f"night {written.date} ({written.pipeline}): {printable(str(written.path))}, {size}: {written.verdict}")

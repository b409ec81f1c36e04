"""Queries that people ask again and again, and what a browser of databases is told of the ledger. Reads only."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: A query a file; its first line is a comment that says what it answers.
FOLDER = Path(__file__).parent / "queries"

#: Columns whose values a browser counts, by table or view.
_FACETS = {
    "observation": ["date", "target", "state", "camera", "flc", "filter_1", "program"],
    "file": ["pipeline", "kind", "state", "camera"],
    "night_status": ["pipeline", "state"],
    "quarantine": ["date", "reason"],
    "run": ["command", "host", "exit_status"],
    "entry": ["event", "edge"],
}


@dataclass(frozen=True, slots=True)
class Canned:
    """A query.

    Attributes
    ----------
    name : str
        Its name.
    title : str
        What it answers.
    sql : str
        The statement; SQLite and PostgreSQL take it.
    """

    name: str
    title: str
    sql: str


def canned() -> list[Canned]:
    """Return the queries, by name."""
    found = []
    for path in sorted(FOLDER.glob("*.sql")):
        title, _, sql = path.read_text(encoding="utf-8").partition("\n")
        found.append(Canned(path.stem, title.removeprefix("-- "), sql.rstrip()))
    return found


def datasette_metadata(database: str, relations: Sequence[tuple[str, str, Sequence[str]]]) -> dict[str, Any]:
    """Return what Datasette takes as ``--metadata`` of a ledger: queries, facets, and which rows come first.

    Parameters
    ----------
    database : str
        What Datasette calls it: the name of the file, without its ending.
    relations : sequence of (str, str, sequence of str)
        Tables and views: name, kind, columns.
    """
    tables: dict[str, dict[str, Any]] = {}
    for name, _, columns in relations:
        of_table: dict[str, Any] = {"facets": _FACETS[name]} if name in _FACETS else {}
        if "id" in columns:
            of_table["sort_desc"] = "id"
        if of_table:
            tables[name] = of_table
    queries = {each.name: {"title": each.title, "sql": each.sql} for each in canned()}
    return {
        "title": "ledger",
        "description": "Nights, files, frame IDs, copies, manifests, and all that happened to them.",
        "databases": {database: {"queries": queries, "tables": tables}},
    }

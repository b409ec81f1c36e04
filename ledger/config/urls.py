"""URLs of databases."""

import re
from typing import TYPE_CHECKING

from ledger.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

#: URLs that SQLite and libpq take as SQLAlchemy does; it takes apart all others.
PLAIN_URL = re.compile(
    r"sqlite:///[^?%]+"
    r"|postgresql(\+psycopg)?://([\w.-]+(:[\w.~-]*)?@)?[\w.-]*(:\d+)?(/[\w.-]*)?"
    r"(\?(host=(/|%2F)[\w./%-]*|port=\d+|sslmode=[\w-]+|connect_timeout=\d+)"
    r"(&(port=\d+|sslmode=[\w-]+|connect_timeout=\d+))*)?"
)


def parse_url(text: str) -> "URL":
    """Return `text` as a URL of a database that the ledger supports.

    Raises
    ------
    UsageError
        If it is no URL, or of another kind of database.
    """
    from sqlalchemy import make_url  # noqa: PLC0415  who reads a plain URL does not wait for SQLAlchemy
    from sqlalchemy.exc import ArgumentError  # noqa: PLC0415

    try:
        url = make_url(text)
    except ArgumentError:
        raise UsageError(
            f"database.url {text!r} is not a URL: expected sqlite:///PATH or postgresql+psycopg://USER@HOST/NAME"
        ) from None
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise UsageError(f"database.url names {url.get_backend_name()!r}: expected sqlite or postgresql+psycopg")
    if url.get_backend_name() == "sqlite" and not url.database:
        raise UsageError("database.url names no file: a ledger in memory would forget; expected sqlite:///PATH")
    return url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url

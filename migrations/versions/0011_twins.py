"""An index that duplicates are looked up by: raw files in use of one header and first time.

Without it each new raw file was compared with every one of all nights.

Revision ID: 0011
Revises: 0010
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels = None
depends_on = None

_IN_USE = sa.text("kind = 'raw' AND quarantine_reason IS NULL")


def upgrade() -> None:
    """Bring the schema to this revision."""
    columns = ["header_sha256", "first_us"]
    op.create_index("ix_file_twins", "file", columns, sqlite_where=_IN_USE, postgresql_where=_IN_USE)


def downgrade() -> None:
    """Take the schema back to the revision before."""
    op.drop_index("ix_file_twins", "file")

"""Indexes for what guards, laws and people look up: copies and lines of a product, and files by identity or name.

Without statistics SQLite preferred the index of a copy's night, and read all of that night's copies for each product.

Revision ID: 0007
Revises: 0006
"""

from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.create_index("ix_copy_night_id_identity", "copy", ["night_id", "identity"])
    op.drop_index("ix_copy_night_id", "copy")
    op.create_index("ix_file_identity", "file", ["identity"])
    op.create_index("ix_file_name", "file", ["name"])
    op.create_index("ix_manifest_line_identity", "manifest_line", ["identity"])


def downgrade() -> None:
    """Take the schema back to the revision before."""
    op.drop_index("ix_manifest_line_identity", "manifest_line")
    op.drop_index("ix_file_name", "file")
    op.drop_index("ix_file_identity", "file")
    op.create_index("ix_copy_night_id", "copy", ["night_id"])
    op.drop_index("ix_copy_night_id_identity", "copy")

"""Indexes that no query needs are dropped: a twentieth of an SQLite ledger.

Copies are asked for by night and identity, lines of receipts by frame ID, and lines of manifests by manifest or frame
ID. The file of an SQLite database does not shrink by it: new rows take the room.

Revision ID: 0016
Revises: 0015
"""

from alembic import op

revision: str = "0016"
down_revision: str | None = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.drop_index("ix_copy_identity_sha256", "copy")
    op.drop_index("ix_manifest_line_identity", "manifest_line")
    op.drop_index("ix_receipt_line_identity", "receipt_line")


def downgrade() -> None:
    """Take the schema back to the revision before."""
    op.create_index("ix_receipt_line_identity", "receipt_line", ["identity"])
    op.create_index("ix_manifest_line_identity", "manifest_line", ["identity"])
    op.create_index("ix_copy_identity_sha256", "copy", ["identity", "sha256"])

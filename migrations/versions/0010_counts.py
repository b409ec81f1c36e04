"""Indexes that `ledger status` counts from, without a look at the rows.

How many files and frames of a night are in each state, how many frame IDs it has, and the few files that are out of the
flow or failed.

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels = None
depends_on = None

_ODD = sa.text("quarantine_reason IS NOT NULL OR error IS NOT NULL OR is_discarded")


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.drop_index("ix_file_night_id_kind_state", "file")
    op.create_index("ix_file_counts", "file", ["night_id", "kind", "state", "n_frames", "lost_frames"])
    op.create_index("ix_file_odd", "file", ["night_id"], sqlite_where=_ODD, postgresql_where=_ODD)
    op.drop_index("ix_frame_id_night_id", "frame_id")
    op.create_index("ix_frame_id_night_id_status", "frame_id", ["night_id", "status"])


def downgrade() -> None:
    """Take the schema back to the revision before."""
    op.drop_index("ix_frame_id_night_id_status", "frame_id")
    op.create_index("ix_frame_id_night_id", "frame_id", ["night_id"])
    op.drop_index("ix_file_odd", "file")
    op.drop_index("ix_file_counts", "file")
    op.create_index("ix_file_night_id_kind_state", "file", ["night_id", "kind", "state"])

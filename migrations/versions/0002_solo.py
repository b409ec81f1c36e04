"""Products know whether their camera was on its own.

``file.solo`` tells products of solo files (not triggered, or the other camera was not running) from those of
triggered frames whose partner is missing.  Rows of before say neither: of those that are not synchronised, `ledger
summary` tells that they are not paired, and no more.  A night that is rolled back to raw and advanced again says it,
with the same products and frame IDs.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels = None
depends_on = None

# The table is altered in place (SQLite 3.35 and newer can): made anew and the old one dropped, as a batch
# would by itself, the rows of `lineage` would go with the old rows that they refer to (ON DELETE CASCADE).


def upgrade() -> None:
    """Bring the schema to this revision."""
    with op.batch_alter_table("file", schema=None, recreate="never") as batch_op:
        batch_op.add_column(sa.Column("solo", sa.Boolean(), nullable=True))


def downgrade() -> None:
    """Take the schema back to the revision before."""
    with op.batch_alter_table("file", schema=None, recreate="never") as batch_op:
        batch_op.drop_column("solo")

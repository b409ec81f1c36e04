"""A file that was removed on purpose says when: `ledger prune` does so, once it is proven elsewhere.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels = None
depends_on = None

# The table is altered in place, as in 0002.


def upgrade() -> None:
    """Bring the schema to this revision."""
    with op.batch_alter_table("file", schema=None, recreate="never") as batch_op:
        batch_op.add_column(sa.Column("pruned_us", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Take the schema back to the revision before."""
    with op.batch_alter_table("file", schema=None, recreate="never") as batch_op:
        batch_op.drop_column("pruned_us")

"""A product that failed says when it is tried again; one that was given up says so.

``file.next_retry_us`` is that time, ``file.is_discarded`` whether a product in quarantine holds up nothing any more.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels = None
depends_on = None

# The table is altered in place, as in 0002.


def upgrade() -> None:
    """Bring the schema to this revision."""
    with op.batch_alter_table("file", schema=None, recreate="never") as batch_op:
        batch_op.add_column(sa.Column("next_retry_us", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("is_discarded", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    """Take the schema back to the revision before."""
    with op.batch_alter_table("file", schema=None, recreate="never") as batch_op:
        batch_op.drop_column("is_discarded")
        batch_op.drop_column("next_retry_us")

"""Who began a run, and whether somebody asked it to stop.

Revision ID: 0014
Revises: 0013
"""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision: str = "0014"
down_revision: str | None = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema to this revision."""
    with op.batch_alter_table("run", recreate="never") as batch_op:
        batch_op.add_column(sa.Column("begun_by", sqlmodel.sql.sqltypes.AutoString(), nullable=True))
        batch_op.add_column(sa.Column("process", sqlmodel.sql.sqltypes.AutoString(), nullable=True))
        batch_op.add_column(sa.Column("stop_asked_us", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Take the schema back to the revision before."""
    with op.batch_alter_table("run", recreate="never") as batch_op:
        batch_op.drop_column("stop_asked_us")
        batch_op.drop_column("process")
        batch_op.drop_column("begun_by")

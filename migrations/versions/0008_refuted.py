"""A proof is refuted when its copy is read again and is not right: the next proof, and nothing else, ends that.

Looks of before are taken over: a copy that was found bad after it was proven is refuted.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels = None
depends_on = None

REFUTE = """
UPDATE copy
SET refuted_us = (SELECT MAX(at_us) FROM entry WHERE entry.identity = copy.identity
                  AND entry.night_id = copy.night_id AND event = 'unproven'),
    fault = COALESCE((SELECT error FROM file WHERE file.identity = copy.identity AND file.night_id = copy.night_id),
                     'it was not right when it was read again; `ledger history` says what was found')
WHERE withdrawn_us IS NULL
  AND EXISTS (SELECT 1 FROM entry WHERE entry.identity = copy.identity AND entry.night_id = copy.night_id
              AND event = 'unproven' AND at_us > copy.proven_us)
"""


def upgrade() -> None:
    """Bring the schema to this revision; the table is altered in place, as in 0002."""
    with op.batch_alter_table("copy", schema=None, recreate="never") as batch_op:
        batch_op.add_column(sa.Column("refuted_us", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("fault", sa.String(), nullable=True))
    op.create_index(
        "ix_copy_refuted",
        "copy",
        ["night_id"],
        sqlite_where=sa.text("refuted_us IS NOT NULL"),
        postgresql_where=sa.text("refuted_us IS NOT NULL"),
    )
    op.execute(REFUTE)


def downgrade() -> None:
    """Take the schema back to the revision before."""
    op.drop_index("ix_copy_refuted", "copy")
    with op.batch_alter_table("copy", schema=None, recreate="never") as batch_op:
        batch_op.drop_column("fault")
        batch_op.drop_column("refuted_us")

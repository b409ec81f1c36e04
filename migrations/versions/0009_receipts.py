"""What the archive says ends with a withdrawal, may be a contradiction, and may be said again in the same words.

A mail tells whom it was refused for. The same receipt may be read again, so its SHA-256 is not unique.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels = None
depends_on = None

# `receipt` is made anew by SQLite, so the lines that refer to it are put aside meanwhile. The other tables are altered
# in place, as in 0002.


def upgrade() -> None:
    """Bring the schema to this revision."""
    with op.batch_alter_table("mail", schema=None, recreate="never") as batch_op:
        batch_op.add_column(sa.Column("refused", sa.JSON(), server_default=sa.text("'[]'"), nullable=False))
    _put_aside()
    with op.batch_alter_table("receipt", schema=None) as batch_op:
        batch_op.drop_constraint("uq_receipt_sha256", type_="unique")
        batch_op.create_index("ix_receipt_sha256", ["sha256"])
    _make_lines(
        sa.Column("difference", sqlmodel.sql.sqltypes.AutoString(), nullable=True),
        sa.Column("withdrawn_us", sa.BigInteger(), nullable=True),
    )
    op.create_index("ix_receipt_line_identity", "receipt_line", ["identity"])
    _put_back("receipt_line_before")


def downgrade() -> None:
    """Take the schema back to the revision before: only what is confirmed now, and each receipt once, is kept."""
    _put_aside()
    of_last = "SELECT MAX(id) FROM receipt GROUP BY sha256"
    op.execute(f"DELETE FROM receipt WHERE id NOT IN ({of_last})")  # noqa: S608  names of ours
    with op.batch_alter_table("receipt", schema=None) as batch_op:
        batch_op.drop_index("ix_receipt_sha256")
        batch_op.create_unique_constraint("uq_receipt_sha256", ["sha256"])
    _make_lines()
    stands = "difference IS NULL AND withdrawn_us IS NULL AND receipt_id IN (SELECT id FROM receipt)"
    _put_back(f"receipt_line_before WHERE {stands}")
    with op.batch_alter_table("mail", schema=None, recreate="never") as batch_op:
        batch_op.drop_column("refused")


def _put_aside() -> None:
    op.execute("CREATE TABLE receipt_line_before AS SELECT * FROM receipt_line")
    op.drop_table("receipt_line")


def _make_lines(*more: sa.Column[object]) -> None:
    op.create_table(
        "receipt_line",
        sa.Column("receipt_id", sa.Integer(), nullable=False),
        sa.Column("frame_id", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("identity", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sqlmodel.sql.sqltypes.AutoString(), nullable=True),
        *more,
        sa.ForeignKeyConstraint(["receipt_id"], ["receipt.id"], name=op.f("fk_receipt_line_receipt_id_receipt")),
        sa.PrimaryKeyConstraint("receipt_id", "frame_id", name=op.f("pk_receipt_line")),
    )
    op.create_index(op.f("ix_receipt_line_frame_id"), "receipt_line", ["frame_id"])


def _put_back(source: str) -> None:
    names = "receipt_id, frame_id, identity, size_bytes, sha256"
    op.execute(f"INSERT INTO receipt_line ({names}) SELECT {names} FROM {source}")  # noqa: S608  names of ours
    op.execute("DROP TABLE receipt_line_before")

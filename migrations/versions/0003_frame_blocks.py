"""Frame IDs come from blocks of numbers, and say why they are late.

``frame_block`` holds the numbers that a sequence may yield; a sequence of before has one block, from 1 on.
``frame_sequence.from_date`` is the first night that gets numbers. ``frame_id.late_reason`` repeats what the entry
says. ``file.supplement`` tells which raw files were paired together, so that a night that was appended to comes back
as it was; of before, everything in a numbered night is taken to belong to its first numbering. ``folder_seen``
remembers which numbers were found on disk. The index of live identities is enough for all that is asked of
``frame_id.identity``.

Revision ID: 0003
Revises: 0002
"""

import json

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels = None
depends_on = None

# Tables are altered in place, as in 0002.

#: The last number of eight digits.
LAST_NUMBER = 99_999_999


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.create_table(
        "folder_seen",
        sa.Column("path", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("prefix", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("changed_ns", sa.BigInteger(), nullable=False),
        sa.Column("numbers", sa.JSON(), nullable=False),
        sa.Column("folders", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("path", "prefix", name=op.f("pk_folder_seen")),
    )
    op.create_table(
        "frame_block",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("prefix", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("first_number", sa.Integer(), nullable=False),
        sa.Column("last_number", sa.Integer(), nullable=False),
        sa.Column("authority", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("authority IN ('own', 'blocks')", name=op.f("ck_frame_block_authority")),
        sa.CheckConstraint("first_number >= 1 AND last_number >= first_number", name=op.f("ck_frame_block_numbers")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_frame_block")),
        sa.UniqueConstraint("prefix", "first_number", name=op.f("uq_frame_block_prefix_first_number")),
    )
    with op.batch_alter_table("file", schema=None, recreate="never") as batch_op:
        batch_op.add_column(sa.Column("supplement", sa.Integer(), nullable=True))
    with op.batch_alter_table("frame_sequence", schema=None, recreate="never") as batch_op:
        batch_op.add_column(sa.Column("from_date", sqlmodel.sql.sqltypes.AutoString(), nullable=True))
    with op.batch_alter_table("frame_id", schema=None, recreate="never") as batch_op:
        batch_op.add_column(sa.Column("late_reason", sqlmodel.sql.sqltypes.AutoString(), nullable=True))
        batch_op.drop_index("ix_frame_id_identity")
    _fill()


def _fill() -> None:
    connection = op.get_bind()
    connection.execute(
        sa.text(
            "INSERT INTO frame_block (prefix, first_number, last_number, authority, created_us)"
            " SELECT prefix, 1, :last, 'own', 0 FROM frame_sequence"
        ),
        {"last": LAST_NUMBER},
    )
    connection.execute(
        sa.text(
            "UPDATE file SET supplement = 0 WHERE kind = 'raw' AND quarantine_reason IS NULL"
            " AND state <> 'raw' AND night_id IN (SELECT id FROM night WHERE numbered_us IS NOT NULL)"
        )
    )
    connection.execute(sa.text("UPDATE frame_id SET late_reason = 'not on record' WHERE late"))
    late = connection.execute(
        sa.text(
            "SELECT frame_id.frame_id, entry.detail FROM frame_id JOIN entry"
            " ON entry.name = frame_id.frame_id AND entry.identity = frame_id.identity AND entry.event = 'assigned'"
            " WHERE frame_id.late"
        )
    ).all()
    for frame_id, detail in late:
        known = json.loads(detail) if isinstance(detail, str) else detail
        connection.execute(
            sa.text("UPDATE frame_id SET late_reason = :reason WHERE frame_id = :frame_id"),
            {"frame_id": frame_id, "reason": known.get("late") or "not on record"},
        )


def downgrade() -> None:
    """Take the schema back to the revision before."""
    with op.batch_alter_table("frame_id", schema=None, recreate="never") as batch_op:
        batch_op.create_index("ix_frame_id_identity", ["identity"], unique=False)
        batch_op.drop_column("late_reason")
    with op.batch_alter_table("frame_sequence", schema=None, recreate="never") as batch_op:
        batch_op.drop_column("from_date")
    with op.batch_alter_table("file", schema=None, recreate="never") as batch_op:
        batch_op.drop_column("supplement")
    op.drop_table("frame_block")
    op.drop_table("folder_seen")

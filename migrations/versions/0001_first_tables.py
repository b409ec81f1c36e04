"""first tables.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision: str = "0001"
down_revision: str | None = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.create_table(
        "frame_sequence",
        sa.Column("prefix", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("next_number", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("prefix", name=op.f("pk_frame_sequence")),
    )
    op.create_table(
        "night",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("pipeline", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("date", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("root", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("numbered_us", sa.BigInteger(), nullable=True),
        sa.Column("excluded_reason", sqlmodel.sql.sqltypes.AutoString(), nullable=True),
        sa.Column("streams_ns", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_night")),
        sa.UniqueConstraint("pipeline", "date", name=op.f("uq_night_pipeline_date")),
    )
    with op.batch_alter_table("night", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_night_date"), ["date"], unique=False)

    op.create_table(
        "run",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("command", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("arguments", sa.JSON(), nullable=False),
        sa.Column("host", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("boot", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("version", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("started_us", sa.BigInteger(), nullable=False),
        sa.Column("ended_us", sa.BigInteger(), nullable=True),
        sa.Column("exit_status", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
    )
    op.create_table(
        "state",
        sa.Column("pipeline", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("name", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("scope", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("stage", sqlmodel.sql.sqltypes.AutoString(), nullable=True),
        sa.Column("makes_products", sa.Boolean(), nullable=False),
        sa.Column("needs_frame_id", sa.Boolean(), nullable=False),
        sa.Column("needs_copy", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("pipeline", "name", name=op.f("pk_state")),
    )
    op.create_table(
        "copy",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("identity", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("night_id", sa.Integer(), nullable=False),
        sa.Column("host", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("path", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("sha256", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("tool", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("proven_us", sa.BigInteger(), nullable=False),
        sa.Column("withdrawn_us", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["night_id"], ["night.id"], name=op.f("fk_copy_night_id_night")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_copy")),
    )
    with op.batch_alter_table("copy", schema=None) as batch_op:
        batch_op.create_index("ix_copy_identity_sha256", ["identity", "sha256"], unique=False)
        batch_op.create_index(batch_op.f("ix_copy_night_id"), ["night_id"], unique=False)

    op.create_table(
        "edge",
        sa.Column("pipeline", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("kind", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("source", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("destination", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("name", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("direction", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.ForeignKeyConstraint(
            ["pipeline", "destination"],
            ["state.pipeline", "state.name"],
            name=op.f("fk_edge_pipeline_destination_state"),
        ),
        sa.ForeignKeyConstraint(
            ["pipeline", "source"],
            ["state.pipeline", "state.name"],
            name=op.f("fk_edge_pipeline_source_state"),
        ),
        sa.PrimaryKeyConstraint("pipeline", "kind", "source", "destination", name=op.f("pk_edge")),
    )
    op.create_table(
        "entry",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=True),
        sa.Column("night_id", sa.Integer(), nullable=True),
        sa.Column("identity", sqlmodel.sql.sqltypes.AutoString(), nullable=True),
        sa.Column("name", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("event", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("edge", sqlmodel.sql.sqltypes.AutoString(), nullable=True),
        sa.Column("source", sqlmodel.sql.sqltypes.AutoString(), nullable=True),
        sa.Column("destination", sqlmodel.sql.sqltypes.AutoString(), nullable=True),
        sa.Column("seconds", sa.Float(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["night_id"], ["night.id"], name=op.f("fk_entry_night_id_night")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_entry_run_id_run")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_entry")),
    )
    with op.batch_alter_table("entry", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_entry_identity"), ["identity"], unique=False)
        batch_op.create_index("ix_entry_night_id_event", ["night_id", "event"], unique=False)

    op.create_table(
        "file",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("night_id", sa.Integer(), nullable=False),
        sa.Column("pipeline", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("kind", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("state", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("identity", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("folder", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("name", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("camera", sa.Integer(), nullable=False),
        sa.Column("flc", sqlmodel.sql.sqltypes.AutoString(), nullable=True),
        sa.Column("synchronised", sa.Boolean(), nullable=False),
        sa.Column("group_number", sa.Integer(), nullable=True),
        sa.Column("n_frames", sa.Integer(), nullable=False),
        sa.Column("lost_frames", sa.Integer(), nullable=False),
        sa.Column("first_us", sa.BigInteger(), nullable=True),
        sa.Column("last_us", sa.BigInteger(), nullable=True),
        sa.Column("exposure_us", sa.BigInteger(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=True),
        sa.Column("timing_size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("timing_mtime_ns", sa.BigInteger(), nullable=True),
        sa.Column("header_sha256", sqlmodel.sql.sqltypes.AutoString(), nullable=True),
        sa.Column("timing_sha256", sqlmodel.sql.sqltypes.AutoString(), nullable=True),
        sa.Column("sha256", sqlmodel.sql.sqltypes.AutoString(), nullable=True),
        sa.Column("files", sa.JSON(), nullable=False),
        sa.Column("cards", sa.JSON(), nullable=False),
        sa.Column("quarantine_reason", sqlmodel.sql.sqltypes.AutoString(), nullable=True),
        sa.Column("error", sqlmodel.sql.sqltypes.AutoString(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.CheckConstraint("kind IN ('raw', 'product')", name=op.f("ck_file_kind")),
        sa.CheckConstraint("n_frames >= 0 AND lost_frames >= 0", name=op.f("ck_file_frames")),
        sa.ForeignKeyConstraint(["night_id"], ["night.id"], name=op.f("fk_file_night_id_night")),
        sa.ForeignKeyConstraint(
            ["pipeline", "state"], ["state.pipeline", "state.name"], name=op.f("fk_file_pipeline_state_state")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_file")),
        sa.UniqueConstraint("night_id", "folder", "name", name=op.f("uq_file_night_id_folder_name")),
        sa.UniqueConstraint("pipeline", "identity", name=op.f("uq_file_pipeline_identity")),
    )
    with op.batch_alter_table("file", schema=None) as batch_op:
        batch_op.create_index("ix_file_night_id_kind_state", ["night_id", "kind", "state"], unique=False)
        batch_op.create_index(batch_op.f("ix_file_quarantine_reason"), ["quarantine_reason"], unique=False)

    op.create_table(
        "frame_id",
        sa.Column("frame_id", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("prefix", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("identity", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("night_id", sa.Integer(), nullable=False),
        sa.Column("start_us", sa.BigInteger(), nullable=False),
        sa.Column("camera", sa.Integer(), nullable=False),
        sa.Column("flc", sqlmodel.sql.sqltypes.AutoString(), nullable=True),
        sa.Column("status", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("late", sa.Boolean(), nullable=False),
        sa.CheckConstraint("status IN ('live', 'withdrawn')", name=op.f("ck_frame_id_status")),
        sa.ForeignKeyConstraint(["night_id"], ["night.id"], name=op.f("fk_frame_id_night_id_night")),
        sa.PrimaryKeyConstraint("frame_id", name=op.f("pk_frame_id")),
        sa.UniqueConstraint("prefix", "number", name=op.f("uq_frame_id_prefix_number")),
    )
    with op.batch_alter_table("frame_id", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_frame_id_identity"), ["identity"], unique=False)
        batch_op.create_index(batch_op.f("ix_frame_id_night_id"), ["night_id"], unique=False)
        batch_op.create_index(
            "uq_frame_id_live_identity",
            ["identity"],
            unique=True,
            sqlite_where=sa.text("status = 'live'"),
            postgresql_where=sa.text("status = 'live'"),
        )

    op.create_table(
        "lease",
        sa.Column("night_id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=True),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("acquired_us", sa.BigInteger(), nullable=True),
        sa.Column("heartbeat_us", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["night_id"], ["night.id"], name=op.f("fk_lease_night_id_night")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_lease_run_id_run")),
        sa.PrimaryKeyConstraint("night_id", name=op.f("pk_lease")),
    )
    op.create_table(
        "manifest",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("night_id", sa.Integer(), nullable=False),
        sa.Column("name", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("sha256", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("made_us", sa.BigInteger(), nullable=False),
        sa.Column("withdrawn_us", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["night_id"], ["night.id"], name=op.f("fk_manifest_night_id_night")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_manifest")),
    )
    with op.batch_alter_table("manifest", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_manifest_night_id"), ["night_id"], unique=False)

    op.create_table(
        "lineage",
        sa.Column("product_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("raw_id", sa.Integer(), nullable=False),
        sa.Column("n_frames", sa.Integer(), nullable=False),
        sa.Column("runs", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["product_id"], ["file.id"], name=op.f("fk_lineage_product_id_file"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["raw_id"], ["file.id"], name=op.f("fk_lineage_raw_id_file")),
        sa.PrimaryKeyConstraint("product_id", "position", name=op.f("pk_lineage")),
    )
    with op.batch_alter_table("lineage", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_lineage_raw_id"), ["raw_id"], unique=False)

    op.create_table(
        "manifest_line",
        sa.Column("manifest_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("frame_id", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("identity", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("path", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["manifest_id"], ["manifest.id"], name=op.f("fk_manifest_line_manifest_id_manifest")),
        sa.PrimaryKeyConstraint("manifest_id", "position", name=op.f("pk_manifest_line")),
    )
    with op.batch_alter_table("manifest_line", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_manifest_line_frame_id"), ["frame_id"], unique=False)


def downgrade() -> None:
    """Bring the schema back to the revision before."""
    with op.batch_alter_table("manifest_line", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_manifest_line_frame_id"))

    op.drop_table("manifest_line")
    with op.batch_alter_table("lineage", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_lineage_raw_id"))

    op.drop_table("lineage")
    with op.batch_alter_table("manifest", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_manifest_night_id"))

    op.drop_table("manifest")
    op.drop_table("lease")
    with op.batch_alter_table("frame_id", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_frame_id_live_identity",
            sqlite_where=sa.text("status = 'live'"),
            postgresql_where=sa.text("status = 'live'"),
        )
        batch_op.drop_index(batch_op.f("ix_frame_id_night_id"))
        batch_op.drop_index(batch_op.f("ix_frame_id_identity"))

    op.drop_table("frame_id")
    with op.batch_alter_table("file", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_file_quarantine_reason"))
        batch_op.drop_index("ix_file_night_id_kind_state")

    op.drop_table("file")
    with op.batch_alter_table("entry", schema=None) as batch_op:
        batch_op.drop_index("ix_entry_night_id_event")
        batch_op.drop_index(batch_op.f("ix_entry_identity"))

    op.drop_table("entry")
    op.drop_table("edge")
    with op.batch_alter_table("copy", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_copy_night_id"))
        batch_op.drop_index("ix_copy_identity_sha256")

    op.drop_table("copy")
    op.drop_table("state")
    op.drop_table("run")
    with op.batch_alter_table("night", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_night_date"))

    op.drop_table("night")
    op.drop_table("frame_sequence")

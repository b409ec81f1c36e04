"""Views of the database that the code asks, as tables of SQLAlchemy; ``migrations/guards/views.sql`` declares them.

What plain SQL asks too (:mod:`ledger.query._questions`, ``ledger/audit/queries``, people) is a view, and stands there
once.
"""

from sqlalchemy import column, table

#: What the archive said last of each product.
ARCHIVE_WORD = table("archive_word", column("receipt_id"), column("frame_id"), column("night_id"), column("difference"))

#: Mails of each night that perhaps, or for some recipients, did not arrive.
MAIL_IN_DOUBT = table("mail_in_doubt", column("night_id"), column("mail_id"))

#: How far the numbering of each prefix has come.
NUMBERING = table("numbering", column("prefix"), column("from_date"), column("newest_date"))

#: Decisions to leave out files outside.
OUTSIDE_DECISION = table(
    "outside_decision", column("id"), column("pattern"), column("reason"), column("pipeline"), column("date")
)

#: Nights that this ledger has made products of.
PAIRED_NIGHT = table("paired_night", column("night_id"), column("pipeline"), column("date"))

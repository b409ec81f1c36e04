"""What states of one's own import from `stages.base` is there, wherever it is defined."""

import re
from pathlib import Path

from stages import base

PAGE = (Path(__file__).parents[2] / "docs" / "add-a-state.md").read_text(encoding="utf-8")


def test_what_the_page_names_stays_importable():
    (sentence,) = re.findall(r"What `stages\.base` names in `__all__` stays there: (.*?)\.\n", PAGE, flags=re.DOTALL)
    named = set(re.findall(r"`(\w+)`", sentence))
    assert {"Job", "Outcome", "BadInput", "Retry", "Irreversible", "Evidence", "TEMPORARY_PREFIX"} <= named
    assert named <= set(base.__all__)


def test_every_name_is_there():
    assert all(hasattr(base, name) for name in base.__all__)

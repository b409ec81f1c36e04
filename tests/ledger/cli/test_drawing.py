"""Tables on a terminal: nothing is cut, and no line is longer than it has to be."""

import pytest

from ledger.cli._drawing import Drawing, one_below_the_other, wrapped
from ledger.cli.output import show_table

COLUMNS = ("night", "raw files", "stands", "next")
ROWS = [
    ("20260102", "80", "finished", ""),
    ("20260103", "12345", "consolidated", "ledger advance --date 20260103"),
    ("20260104", "7", "raw", "ledger advance --date 20260104"),
]


def drawn(width: int, below: tuple[str, ...] = (), spare: tuple[str, ...] = ()) -> tuple[list[str], Drawing]:
    drawing = Drawing(COLUMNS, ROWS, width, right=("raw files",))
    drawing.narrow(below, spare)
    return [*drawing.head(), *drawing.body()], drawing


def test_a_table_that_fits_is_as_it_is():
    lines, drawing = drawn(80, ("next",), ("stands",))
    assert lines[0] == "night     raw files  stands        next"
    assert lines[1] == "20260102         80  finished"
    assert lines[2] == "20260103      12345  consolidated  ledger advance --date 20260103"
    assert drawing.left_out == []


def test_headings_of_numbers_are_broken_first():
    lines, _ = drawn(61, ("next",), ("stands",))
    assert lines[:2] == ["            raw", "night     files  stands        next"]
    assert lines[3] == "20260103  12345  consolidated  ledger advance --date 20260103"


def test_long_texts_have_lines_of_their_own():
    lines, drawing = drawn(60, ("next",), ("stands",))
    assert lines[1:] == [
        "night     files  stands",
        "20260102     80  finished",
        "20260103  12345  consolidated",
        "  next: ledger advance --date 20260103",
        "20260104      7  raw",
        "  next: ledger advance --date 20260104",
    ]
    assert drawing.left_out == []


def test_short_texts_stay_where_they_are():
    rows = [("a", "true"), ("b", "a text that is much too long for it")]
    drawing = Drawing(("key", "value"), rows, 20)
    drawing.narrow(("value",), ())
    assert [*drawing.head(), *drawing.body()] == [
        "key  value",
        "a    true",
        "b",
        "  value: a text that",
        "    is much too long",
        "    for it",
    ]


def test_columns_are_left_out_last_and_named():
    lines, drawing = drawn(25, ("next",), ("raw files", "stands"))
    assert drawing.left_out == ["raw files"]
    assert lines[0] == "night     stands"
    assert lines[3:5] == ["  next:", "    ledger advance --date 20260103"]
    assert not drawn(7, ("next",), ("raw files",))[1].fits


def test_what_rows_share_is_said_once():
    rows = [(f"{n}.fits", "no txt is beside it") for n in range(3)] + [("3.fits", "no frames are in it")]
    drawing = Drawing(("file", "reason"), rows, 12)
    drawing.narrow(("reason",), ())
    lines = list(drawing.body())
    assert lines[:3] == ["0.fits", "1.fits", "2.fits"]
    assert lines[3] == "  reason, of"
    assert " ".join(" ".join(lines).split()).count("no txt is beside it") == 1
    assert "of these 3: no txt is beside it 3.fits reason: no frames" in " ".join(" ".join(lines).split())


def test_some_columns_come_first():
    drawing = Drawing(COLUMNS, ROWS, 80)
    drawing.lead_with(("stands", "no such column", "night"))
    assert drawing.head()[0].split() == ["stands", "night", "raw", "files", "next"]
    assert next(drawing.body()).split() == ["finished", "20260102", "80"]


def test_wide_letters_count_twice():
    drawing = Drawing(("target", "n"), [("天の川", "1"), ("M31", "2")], 80)
    assert [*drawing.head(), *drawing.body()] == ["target  n", "天の川  1", "M31     2"]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a short one", ["a short one"]),
        ("  one that has to go on below", ["  one that has to go", "    on below"]),
        ("run `ledger advance --date D` now", ["run", "  `ledger advance --date D`", "  now"]),
        ("/a/path/that/is/longer/than/a/line", ["/a/path/that/is/longer/than/a/line"]),
        ('cards {"BITPIX":16,"NAXIS":3,"a":1}', ["cards", '  {"BITPIX":16,', '  "NAXIS":3,"a":1}']),
    ],
)
def test_lines_end_between_words_and_not_within_a_command(text, lines):
    assert wrapped(text, 20) == lines
    assert wrapped(text, None) == [text]


def test_values_one_below_the_other():
    sha256 = "0123456789abcdef"
    rows = [("a", "", sha256), ("b", "some words for it", sha256)]
    assert list(one_below_the_other(("name", "reason", "sha256"), rows, 20)) == [
        "name    a",
        "reason",
        "sha256",
        f"    {sha256}",
        "-" * 20,
        "name    b",
        "reason  some words",
        "        for it",
        "sha256",
        f"    {sha256}",
    ]
    assert len(list(one_below_the_other(("name", "reason", "sha256"), rows, None))) == 7


def test_where_there_is_no_terminal_columns_are_separated_by_tabs(capsys):
    show_table(("a", "b"), [(1, "two\nlines"), (None, "x" * 200)], below=("b",), spare=("a",), lead=("b",))
    assert capsys.readouterr().out == "a\tb\n1\ttwo\\nlines\n\t" + "x" * 200 + "\n"
    show_table(("a", "b"), [(1, "x" * 200), (2, "y")], vertical=True)
    assert capsys.readouterr().out == f"a  1\nb  {'x' * 200}\n{'-' * 40}\na  2\nb  y\n"

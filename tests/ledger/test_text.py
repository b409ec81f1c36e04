"""Names and texts about them in few lines."""

from ledger.text import alike


def test_names_with_the_very_same_text_share_a_line():
    down = "host: no connection; see whether `ssh -p 22 host true` gets there"
    lost = "host: no connection; see whether `ssh -p 2222 host true` gets there"
    found = [(f"VMPA0000000{n}", down) for n in range(5)] + [("VMPA00000009", lost)]
    assert alike(found) == [("VMPA00000000 and 4 more", down), ("VMPA00000009", lost)]
    assert alike(found[:1]) == found[:1]


def test_a_kind_with_many_texts_is_one_line():
    found = [(f"{n}.fits", f"row {n % 11} is missing") for n in range(22)]
    assert alike(found) == [("0.fits, 11.fits, 1.fits and 19 more", "row 0 is missing")]
    assert len(alike(found[:10])) == 10


def test_nothing_is_nothing():
    assert alike([]) == []

"""What headers say of a file; what a download makes of it is tested there."""

import pytest

from cometrep.byte_ranges import ByteRange, Facts


@pytest.mark.parametrize(
    ("header", "expected", "is_whole"),
    [
        ("bytes 0-6/7", ByteRange(0, 6, 7), True),
        (" bytes 3-6/7 ", ByteRange(3, 6, 7), False),
        ("bytes 0-5/7", ByteRange(0, 5, 7), False),
        ("bytes 0-6/*", ByteRange(0, 6, None), False),
        ("bytes */7", None, False),
        ("bytes 0-6", None, False),
        ("items 0-6/7", None, False),
        ("bytes 0-6/" + "9" * 19, None, False),
        ("", None, False),
    ],
)
def test_a_range_is_read_where_it_can_be(header: str, expected: ByteRange | None, *, is_whole: bool) -> None:
    """One without a total is never taken for all of the file."""
    came = ByteRange.of({"Content-Range": header})
    assert came == expected
    assert bool(came and came.is_whole) is is_whole


def test_a_type_is_visible_text_of_some_length_alone() -> None:
    """It goes into JSON, sidecars and the ledger as a host sends it; what was noted of a file still fits it."""
    headers = {"Content-Type": f"image/webp\x1b[31m;\u202e\xa0 name=\xe9{'x' * 1000}", "ETag": '"v1"'}
    facts = Facts.of(headers)
    assert facts.content_type == f"image/webp[31m; name={'x' * 1000}"[:200]
    assert facts.are_of(headers)

"""JSON values: their texts, and how deeply they are nested."""

import json

import pytest

from cometrep.json_values import change_texts, is_nested_too_deeply


def nested(depth: int) -> object:
    """Make lists in lists."""
    value: object = "end"
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "changed"),
    [
        ("a", "A"),
        ({"a": ["b", {"c": "d"}, 1, None]}, {"A": ["B", {"C": "D"}, 1, None]}),
        ([["a"], True, 1.5], [["A"], True, 1.5]),
        (None, None),
    ],
)
def test_every_text_is_changed(value: object, changed: object) -> None:
    """Names and texts at any depth are changed, in their order; all else stays."""
    assert json.dumps(change_texts(value, str.upper)) == json.dumps(changed)


def test_texts_at_any_depth_are_changed() -> None:
    """What is nested more deeply than recursion survives is gone through all the same."""
    value = change_texts(nested(10_000), str.upper)
    while isinstance(value, list):
        value = value[0]
    assert value == "END"


@pytest.mark.parametrize(("depth", "expected"), [(99, False), (100, True)])
def test_depth_counts_containers(depth: int, expected: bool) -> None:
    """A value of a hundred levels is too deep, one of ninety-nine is not."""
    assert is_nested_too_deeply(nested(depth)) is expected

"""What happens to a prediction, as values: the JSON of a batch's items."""

import pytest

from cometrep.events import ItemEnded
from cometrep.prediction import Prediction, SavedFile


def test_an_item_of_which_nothing_came_has_nulls() -> None:
    """Not empty texts: a script asks whether there is an id, and an error."""
    shown = ItemEnded("", "k", "line 1", "skipped", "").as_json()
    assert {name: shown[name] for name in ("schema_version", "key", "outcome", "files")} == {
        "schema_version": 1,
        "key": "k",
        "outcome": "skipped",
        "files": [],
    }
    rest = set(shown) - {"schema_version", "key", "outcome", "files", "data_removed"}
    assert rest == {*Prediction("", "").as_json()} - {"schema_version", "data_removed"}
    assert all(shown[name] is None for name in rest)


@pytest.mark.parametrize(("own", "error"), [({"code": "E005"}, {"code": "E005"}), (None, "it failed")])
def test_an_item_has_the_error_of_its_prediction(own: object, error: object) -> None:
    """As the API gave it, else what is told of the item."""
    seen = Prediction("p1", "failed", "a/b", error=own, logs="seed: 3")
    file = SavedFile("a.webp", 0, 1200, "0" * 64)
    shown = ItemEnded("p1", "k", "line 1", "failed", "it failed", (file,), seen).as_json()
    assert (shown["id"], shown["model"], shown["status"], shown["logs"]) == ("p1", "a/b", "failed", "seed: 3")
    assert (shown["error"], shown["files"]) == (error, [file.as_json()])

import pyarrow as pa
import pytest

from tasks.merge import FOUND, _grouped

PLACES = [("a", "1"), ("b", "1"), ("b", "2"), ("b", "3"), ("c", "1"), ("d", "1"), ("d", "2")]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_a_medium_is_listed_once_wherever_batches_end(size):
    batches = [
        pa.record_batch(
            [list(column) for column in zip(*PLACES[at : at + size], strict=True)],
            names=["media_id", "locator"],
        )
        for at in range(0, len(PLACES), size)
    ]
    found = pa.Table.from_batches(_grouped(batches), FOUND).to_pylist()
    expected: dict[str, list[str]] = {}
    for medium, place in PLACES:
        expected.setdefault(medium, []).append(place)
    assert [(row["media_id"], row["locators"]) for row in found] == list(expected.items())


def test_no_medium_is_listed_where_there_is_none():
    assert pa.Table.from_batches(_grouped([]), FOUND).num_rows == 0

"""How what is to be embedded is cut into shards."""

import pyarrow as pa
import pytest

from tasks.embed import tapered


@pytest.mark.parametrize(
    ("count", "sizes"),
    [
        # 486 of 64: 486, 422, 358, 294 are left, more than 256; then 230, 166, more than 128; then 102, 38
        (486, [64] * 4 + [32] * 4 + [16] * 4 + [16, 16, 6]),
        (200, [32] * 4 + [16] * 4 + [8]),
        (129, [32, 32, 16, 16, 16, 16, 1]),
        (128, [64, 64]),  # so few are done where they are
        (81, [64, 17]),
        (1, [1]),
        (0, []),
    ],
)
def test_shards_get_smaller_to_the_end_and_hold_every_row_once(count, sizes):
    rows = pa.table({"row": list(range(count))})
    found = list(tapered((rows.slice(start, 64) for start in range(0, count, 64)), count, 64))
    assert [len(table) for table in found] == sizes
    assert [row for table in found for row in table["row"].to_pylist()] == list(range(count))


def test_shards_of_a_row_stay_whole():
    found = tapered((pa.table({"row": [n]}) for n in range(9)), 9, 1)
    assert [table["row"].to_pylist() for table in found] == [[n] for n in range(9)]

"""Repeated keys, of more than memory holds."""

import numpy as np
import pyarrow as pa

from storage.database import cursor, database
from storage.repeats import first_rows


def test_keys_that_memory_cannot_hold_at_once_are_compared_in_parts():
    number = np.random.default_rng(0).integers(0, 150_000, 400_000)
    keys = pa.array([f"{n:064d}" for n in number])
    read = []

    def rows() -> pa.RecordBatchReader:
        read.append(1)
        table = pa.table({"place": np.arange(len(keys)), "id": keys})
        return pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=4096))

    with database("20MB"), cursor() as con:
        is_first, repeated = first_rows(con, rows, "id", len(keys))
    assert len(read) > 3  # it read for the hashes, in vain for all keys at once, and for each part
    assert np.flatnonzero(is_first).tolist() == np.sort(np.unique(number, return_index=True)[1]).tolist()
    assert repeated is not None and (number == int(repeated)).sum() > 1

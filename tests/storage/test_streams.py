import duckdb
import pyarrow as pa
import pyarrow.dataset as pds
import pytest

from storage.streams import Stream, mapped_files

ROWS = pa.table({"n": list(range(20_000)), "word": [f"w{n % 7}" for n in range(20_000)]})


@pytest.fixture
def files(tmp_path):
    paths = [str(tmp_path / f"{number}.arrow") for number in range(4)]
    for number, path in enumerate(paths):
        with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, ROWS.schema) as writer:
            writer.write_table(ROWS.slice(5000 * number, 5000), max_chunksize=300)
    return mapped_files(paths, ROWS.schema)


def test_a_reader_decides_how_far_is_read():
    made = []

    def batches():
        for number in range(1000):
            made.append(number)
            yield pa.record_batch([[number]], names=["n"])

    reader = Stream(pa.schema([("n", pa.int64())]), batches()).to_reader()
    for _ in range(10):
        reader.read_next_batch()
    assert len(made) == 10


def test_files_are_read_in_their_order(files):
    assert pa.Table.from_batches(files.to_batches()) == ROWS
    assert pa.Table.from_batches(files.to_batches(columns=["word"]))["word"] == ROWS["word"]
    assert files.count_rows() == len(ROWS)
    assert mapped_files([], ROWS.schema).count_rows() == 0


def test_the_engine_filters_files_as_it_filters_a_table(files):
    wanted = (pds.field("n") >= 4990) & (pds.field("n") < 15_010)
    expected = [word for n, word in enumerate(ROWS["word"].to_pylist()) if 4990 <= n < 15_010]
    assert files.to_table(columns=["word"], filter=wanted)["word"].to_pylist() == expected
    with duckdb.connect() as con:
        con.register("files", files)
        found = con.execute("SELECT count(*), sum(n) FROM files WHERE word = 'w3'").fetchone()
        assert found == (len(range(3, 20_000, 7)), sum(range(3, 20_000, 7)))
        assert con.execute("SELECT count(*) FROM files").fetchone() == (20_000,)


def test_a_file_that_is_gone_is_missed_at_once(tmp_path):
    with pytest.raises(FileNotFoundError):
        mapped_files([str(tmp_path / "gone.arrow")], ROWS.schema)

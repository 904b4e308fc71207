import pytest

from schemas.tables import MEDIA
from storage import lake as lakes
from storage.staging import Staging
from storage.workbench import workbench


@pytest.fixture
def bench(lake_dir):
    lake = lakes.open(lake_dir)
    with workbench(lake, None, Staging(lake.place, "run")) as opened:
        yield opened


@pytest.mark.parametrize("rows", [0, 1, 255, 256, 257, 5000])
def test_cuts_a_query_into_tables_of_one_size(bench, rows):
    tables = list(bench.tables(f"SELECT range AS n FROM range({rows}) ORDER BY n", size=256))
    assert [len(table) for table in tables] == [256] * (rows // 256) + ([rows % 256] if rows % 256 else [])
    assert [n for table in tables for n in table["n"].to_pylist()] == list(range(rows))


def test_an_empty_lake_has_empty_tables(bench):
    bench.add_base(MEDIA)
    assert bench.rows("SELECT count(*) FROM base_media") == [(0,)]


def test_a_query_reaches_no_file(bench, tmp_path):
    (tmp_path / "secret.csv").write_text("a\n1\n")
    with pytest.raises(Exception, match="(?i)permission|disabled"):
        bench.rows(f"SELECT * FROM read_csv('{tmp_path / 'secret.csv'}')")


def test_a_name_that_is_no_identifier_is_refused(bench):
    with pytest.raises(ValueError, match="cannot name a table"):
        bench.add_staged("x; DROP TABLE y", [], MEDIA.schema)

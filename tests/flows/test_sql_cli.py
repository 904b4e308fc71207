"""`xmodal sql` as a user types it, on a small lake."""

import io
import json
import sys

import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from flows.cli.sql import sql
from schemas.errors import DataError, NoSuchSnapshot, SqlError, SqlRefused
from storage.sql import Functions, contract, offer
from tests.storage.sql_lakes import Exact, filled

app = typer.Typer()
app.command()(sql)


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    return filled(str(tmp_path_factory.mktemp("sql") / "lake"))


@pytest.fixture
def ask(lake):
    """Run the command; errors of ours come through, as the entry point turns them into one line."""

    def run(*args, stdin=None):
        said = CliRunner().invoke(app, [*args, "--lake", lake.uri], input=stdin)
        if said.exception is not None and not isinstance(said.exception, SystemExit):
            raise said.exception
        return said

    return run


def test_rows_as_a_table_csv_and_json(ask):
    statement = "SELECT digest, width_px FROM media WHERE width_px >= 800 ORDER BY 1"
    said = ask(statement)
    assert said.exit_code == 0
    assert [line.split() for line in said.stdout.splitlines()[1:3]] == [["m008", "800"], ["m009", "900"]]
    assert "2 rows at s000003" in said.stdout
    assert ask(statement, "--format", "csv").stdout == '"digest","width_px"\n"m008",800\n"m009",900\n'
    assert json.loads(ask(statement, "--format", "json").stdout) == [
        {"digest": "m008", "width_px": 800}, {"digest": "m009", "width_px": 900},
    ]  # fmt: skip


def test_rows_as_files_whose_name_says_the_format(ask, tmp_path):
    for name, read in (
        ("r.parquet", pq.read_table),
        ("r.arrow", feather.read_table),
        ("r.feather", feather.read_table),
    ):
        assert ask("SELECT count(*) AS n FROM pairs", "--out", str(tmp_path / name)).exit_code == 0
        assert read(tmp_path / name).to_pylist() == [{"n": 10}]
    ask("SELECT 1 AS n", "-o", str(tmp_path / "r.json"))
    assert json.loads((tmp_path / "r.json").read_text()) == [{"n": 1}]
    with pytest.raises(DataError, match="name a format"):
        ask("SELECT 1", "--out", str(tmp_path / "r.xlsx"))
    assert not (tmp_path / "r.xlsx").exists()


def test_parquet_may_be_piped(ask):
    said = ask("SELECT 1 AS n", "--format", "parquet")
    assert pq.read_table(io.BytesIO(said.stdout_bytes)).to_pylist() == [{"n": 1}]


def test_statements_from_a_file_and_from_standard_input(ask, tmp_path):
    (tmp_path / "q.sql").write_text("-- how many\nSELECT count(*) AS n FROM media;\n")
    assert json.loads(ask("-f", str(tmp_path / "q.sql"), "--format", "json").stdout) == [{"n": 10}]
    assert json.loads(ask("-", "--format", "json", stdin="SELECT 2 AS n").stdout) == [{"n": 2}]
    with pytest.raises(DataError, match="one statement"):
        ask("SELECT 1", "-f", str(tmp_path / "q.sql"))
    with pytest.raises(DataError, match="one statement"):
        ask()


def test_parameters_are_json_or_else_texts(ask):
    said = ask("SELECT ? AS a, ? AS b, ? AS c", "-p", "5", "-p", "x'; --", "-p", "[1, 2]", "--format", "json")
    assert json.loads(said.stdout) == [{"a": 5, "b": "x'; --", "c": [1, 2]}]
    said = ask(
        "SELECT $w AS a, $v AS b", "--param", "w=a red = bicycle", "--param", "v=null", "--format", "json"
    )
    assert json.loads(said.stdout) == [{"a": "a red = bicycle", "b": None}]
    with pytest.raises(DataError, match="found both"):
        ask("SELECT ?", "-p", "a=1", "-p", "2")


def test_versions_limits_and_plans(ask):
    assert json.loads(
        ask("SELECT count(*) AS n FROM pairs WHERE kept", "--at", "v1", "--format", "json").stdout
    ) == [{"n": 10}]
    said = ask("SELECT digest FROM media", "--max-rows", "2")
    assert "2 rows, there are more" in said.stdout and "--max-rows" in said.stderr
    assert "there are more" not in ask("SELECT digest FROM media", "--max-rows", "0").stdout
    said = ask("SELECT digest FROM media WHERE width_px > 500", "--explain")
    assert "width_px > 500" in said.stdout and "plan:" in said.stdout
    with pytest.raises(SqlError, match="longer than 0.2 s"):
        ask(
            "SELECT count(*) FROM range(100000000) a, range(100000) b WHERE a.range + b.range = 7",
            "--timeout",
            "0.2",
        )
    with pytest.raises(DataError, match="lots"):
        ask("SELECT 1", "--memory", "lots")
    with pytest.raises(NoSuchSnapshot):
        ask("SELECT 1", "--at", "v9")


def test_refusals_and_hostile_cells(ask):
    with pytest.raises(SqlRefused):
        ask("COPY (SELECT 1) TO 'x.csv'")
    said = ask("SELECT '[red]\x1b[31m' || chr(7) AS \"[bold]x\", 'a' || chr(10) || 'b' AS t, NULL AS n")
    assert (
        "\x1b" not in said.stdout
        and "\x07" not in said.stdout
        and "[red]" in said.stdout
        and "[bold]x" in said.stdout
    )


def test_search_stands_in_a_statement(ask):
    offer("test", Functions({"search": Exact().search}, {"similarity": Exact().similarity}))
    try:
        said = ask(
            "SELECT m.digest, round(s.score, 3) AS score FROM search($words, k => 2) s JOIN media m USING (digest) ORDER BY 2 DESC",  # noqa: E501
            "-p", "words=a red bicycle", "--format", "json",
        )  # fmt: skip
        assert len(json.loads(said.stdout)) == 2
    finally:
        contract._OFFERED.clear()


def test_nothing_binary_is_written_to_a_terminal(ask, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdout", Terminal())
    with pytest.raises(DataError, match="no text"):
        sql("SELECT 1", form="arrow", lake="unused")


def test_an_empty_result_is_a_table_too(ask):
    said = ask("SELECT digest FROM media WHERE false")
    assert said.exit_code == 0 and "0 rows" in said.stdout

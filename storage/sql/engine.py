"""The embedded engine behind statements: locked, shared by the process, a cursor per statement."""

import atexit
import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import duckdb

from schemas.errors import SqlError, SqlRefused
from storage.scratch import kept
from storage.sql.contract import Limits
from storage.sql.kept import DATABASE, Kept

SPILL = "8GB"  # of disk, for what does not fit into memory
CONFIRMED = 1000  # texts, remembered not to be looked at again

# Relations that need nothing from outside.
TABLE_FUNCTIONS = frozenset(
    {"generate_series", "json_each", "json_tree", "range", "repeat", "repeat_row", "unnest"}
)
# Functions of the engine that say or change what is no business of a statement, and why.
DENIED: dict[str, str] = {
    **dict.fromkeys(
        ("current_setting", "getvariable", "getenv", "in_search_path", "current_query", "current_query_id",
         "current_connection_id", "current_transaction_id", "txid_current", "get_block_size", "current_schemas", "version",
         "current_user", "session_user", "user", "current_role", "current_catalog", "current_database", "current_schema"),
        "it tells about the engine or the machine",
    ),
    **dict.fromkeys(("nextval", "currval", "setval", "setseed", "write_log"), "it changes a state"),
    **dict.fromkeys(
        ("json_serialize_sql", "json_deserialize_sql", "json_serialize_plan", "json_execute_serialized_sql",
         "parse_duckdb_log_message", "stats", "vector_type", "create_sort_key", "icu_sort_key", "combine", "finalize",
         "to_aggregate_state", "combine_aggr", "invoke", "cast_to_type", "make_type", "get_type"),
        "it is for the engine's own use",
    ),
    **dict.fromkeys(("sleep_ms", "pg_sleep"), "it only waits"),
    **dict.fromkeys(
        ("getenv", "read_text", "read_blob", "read_csv", "read_csv_auto", "read_json", "read_json_auto", "read_parquet",
         "read_ndjson", "parquet_scan", "glob", "sniff_csv", "parquet_metadata", "parquet_schema", "parquet_file_metadata",
         "parquet_kv_metadata", "which_secret", "duckdb_secrets", "read_duckdb", "iceberg_scan", "delta_scan",
         "sqlite_scan", "postgres_scan", "mysql_scan", "st_read", "read_xlsx"),
        "it reads files, secrets or the environment",
    ),
    **dict.fromkeys(("query", "query_table"), "it runs a text as a statement"),
}  # fmt: skip
_DENIED_STARTS = ("__", "pg_", "has_", "inet_", "duckdb_", "pragma_", "icu_collate_", "collate_")
_NODES = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
_RELATIONS = {"BASE_TABLE", "SUBQUERY", "JOIN", "TABLE_FUNCTION", "EMPTY", "EXPRESSION_LIST", "PIVOT"}
_CLASSES = {
    "COLUMN_REF", "CONSTANT", "FUNCTION", "COMPARISON", "CONJUNCTION", "OPERATOR", "CASE", "CAST", "STAR", "SUBQUERY",
    "PARAMETER", "WINDOW", "BETWEEN", "COLLATE", "LAMBDA", "LAMBDA_REF", "POSITIONAL_REFERENCE", "TYPE",
}  # fmt: skip


@dataclass
class Engine:
    """A database in memory that reads nothing but what it is given.

    Args:
        con: The connection cursors are made from.
        functions: Names of scalar, aggregate and window functions a statement may call.
        kept: Columns asked for often.
        lock: Held where cursors are made.
    """

    con: duckdb.DuckDBPyConnection
    functions: frozenset[str]
    kept: Kept
    lock: threading.Lock = field(default_factory=threading.Lock)
    _confirmed: set[tuple[str, frozenset[str], frozenset[str]]] = field(default_factory=set)

    @contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open a connection of its own: what is registered there, nobody else sees."""
        with self.lock:
            con = self.con.cursor()
        try:
            yield con
        finally:
            con.close()

    def confirm(
        self,
        con: duckdb.DuckDBPyConnection,
        sql: str,
        *,
        tables: Iterable[str],
        functions: Iterable[str] = (),
    ) -> None:
        """Have the engine's own parser say what a text is, and refuse all but a query over what it was given.

        The text was written from a tree that another parser made. Where the two parsers disagree, this one is right.

        Args:
            con: A cursor.
            sql: The text to run.
            tables: Names it may read, those of its WITH included.
            functions: Names of functions it may call beside the engine's.

        Raises:
            SqlRefused: It is anything else.
            SqlError: The engine's parser does not take it.
        """
        asked = (sql, frozenset(tables), frozenset(functions))
        if asked in self._confirmed:
            return
        ((said,),) = con.execute("SELECT json_serialize_sql($sql)", {"sql": sql}).fetchall()
        found = json.loads(said)
        if found.get("error"):
            if found.get("error_type") == "not implemented":
                raise SqlRefused(f"the engine takes this for more than a query: {found.get('error_message')}")
            raise SqlError(f"cannot parse the statement: {found.get('error_message')}")
        if len(found["statements"]) != 1:
            raise SqlRefused(f"one statement at a time; the engine found {len(found['statements'])}")
        known = {name.lower() for name in tables}
        self._look(found["statements"][0]["node"], known, {name.lower() for name in functions})
        if len(self._confirmed) > CONFIRMED:
            self._confirmed.clear()
        self._confirmed.add(asked)

    def _look(self, tree: Any, tables: set[str], functions: set[str]) -> None:
        ahead = [(tree, False)]
        while ahead:
            node, is_relation = ahead.pop()
            if isinstance(node, list):
                ahead.extend((each, False) for each in node)
                continue
            if not isinstance(node, dict):
                continue
            kind = node.get("type")
            if isinstance(kind, str) and kind.endswith("_NODE") and kind not in _NODES:
                raise SqlRefused(f"the engine found {kind}, which is no query")
            if "class" in node and node["class"] not in _CLASSES:
                raise SqlRefused(f"the engine found {node['class']}, which no query needs")
            if "table_name" in node or kind == "TABLE_FUNCTION" or "from_table" in node:
                self._look_at_relation(node, tables)
            if "function_name" in node and not is_relation:
                self._look_at_function(node, functions)
            for name, child in node.items():
                ahead.append((child, kind == "TABLE_FUNCTION" and name == "function"))

    def _look_at_relation(self, node: dict[str, Any], tables: set[str]) -> None:
        source = node.get("from_table")
        if isinstance(source, dict) and source.get("type") not in _RELATIONS:
            raise SqlRefused(f"a statement cannot read from {source.get('type')}")
        if node.get("type") == "BASE_TABLE":
            if (
                node.get("schema_name")
                or node.get("catalog_name")
                or node["table_name"].lower() not in tables
            ):
                raise SqlRefused(f"no table is called {node['table_name'][:80]!r}; see SHOW TABLES")
        elif node.get("type") == "TABLE_FUNCTION":
            call = node["function"]
            if (
                call.get("schema")
                or call.get("catalog")
                or call["function_name"].lower() not in TABLE_FUNCTIONS
            ):
                raise SqlRefused(refusal(call["function_name"]))

    def _look_at_function(self, node: dict[str, Any], functions: set[str]) -> None:
        name = node[
            "function_name"
        ].lower()  # before a dot stands a schema or a column: x.upper() is upper(x)
        if name not in self.functions and name not in functions:
            raise SqlRefused(refusal(name))


def refusal(name: str) -> str:
    """Say why a function cannot be called."""
    said = name.lower()
    if why := DENIED.get(said):
        return f"{said}() cannot be called here: {why}"
    if said.startswith(_DENIED_STARTS):
        return f"{said}() cannot be called here: it tells about the engine or the machine"
    return f"no function is called {name[:80]!r} here"


_ENGINES: dict[tuple[str, int], Engine] = {}
_STARTING = threading.Lock()


def engine(limits: Limits) -> Engine:
    """Return the engine for these limits, started by the first statement that needs it."""
    wanted = (limits.memory, limits.cores)
    with _STARTING:
        if wanted not in _ENGINES:
            _ENGINES[wanted] = _started(*wanted)
        return _ENGINES[wanted]


def _stop(wanted: tuple[str, int], until: ExitStack) -> None:
    """Close an engine at exit: an open connection complains there, at length."""
    if (running := _ENGINES.pop(wanted, None)) is not None:
        running.con.close()
    until.close()


def _started(memory: str, threads: int) -> Engine:
    until = ExitStack()
    spill = kept("sql", until)
    atexit.register(_stop, wanted=(memory, threads), until=until)
    config: Mapping[str, Any] = {
        "memory_limit": memory,
        "threads": str(threads),
        "temp_directory": spill,
        "max_temp_directory_size": SPILL,
        "python_enable_replacements": "false",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "allow_community_extensions": "false",
        "allow_persistent_secrets": "false",
    }
    try:
        con = duckdb.connect(config=dict(config))
    except duckdb.Error as error:
        raise ValueError(
            f"the engine does not start with memory {memory!r} and {threads} threads: {error}"
        ) from error
    con.execute(f"ATTACH ':memory:' AS {DATABASE} (COMPRESS)")
    con.execute("SET GLOBAL TimeZone = 'UTC'")
    con.execute("SET enable_external_access = false")  # from here on, no files and no network
    con.execute("SET lock_configuration = true")  # and no way back
    rows = con.execute(
        "SELECT DISTINCT function_name FROM duckdb_functions() "
        "WHERE function_type IN ('scalar', 'aggregate', 'window', 'macro')"
    ).fetchall()
    allowed = {name for (name,) in rows if name not in DENIED and not name.startswith(_DENIED_STARTS)}
    extra = {"count_star", "unnest", "between", "list_value", "row", "struct_pack", "columns"}
    return Engine(con, frozenset(allowed | extra), Kept())

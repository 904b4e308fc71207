"""One statement from text to rows: parsed, checked, its functions run, its tables offered, its limits kept."""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from difflib import get_close_matches
from functools import partial, reduce
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from duckdb.func import ARROW, SPECIAL
from sqlglot import exp

from schemas.errors import SqlError, SqlRefused, XmodalError
from schemas.tables import EMBEDDINGS_PREFIX, LOGS
from storage.lake import Lake
from storage.quoting import quoted
from storage.sql import grammar, views
from storage.sql.bounds import bounded
from storage.sql.changes import changes
from storage.sql.contract import Functions, Limits, ScalarFunction, TableFunction, offered
from storage.sql.desk import FEW_IDS, Desk, Work, text_of
from storage.sql.engine import DENIED, TABLE_FUNCTIONS, engine
from storage.sql.grammar import Parsed
from storage.sql.reduction import Source, reductions
from storage.sql.result import Call, Result
from storage.sql.scans import readable
from storage.sql.views import Wish
from storage.sql.watch import WATCHER, Watch

RAW = "raw"  # raw.<table>: as it is stored
SNAPSHOT, DIFF = "snapshot", "diff"
BATCH = 16_384
EXPLAINED = pa.schema([pa.field("part", pa.string()), pa.field("detail", pa.string())])
LISTED = pa.schema(
    [
        pa.field("name", pa.string()),
        pa.field("kind", pa.string()),  # table | vectors | log | function
        pa.field("rows", pa.int64()),
        pa.field("columns", pa.list_(pa.string())),
    ]
)

Params = Sequence[Any] | Mapping[str, Any]


def sql(
    lake: Lake,
    statement: str,
    *,
    params: Params = (),
    at: str | None = None,
    functions: Mapping[str, TableFunction] | None = None,
    scalars: Mapping[str, ScalarFunction] | None = None,
    limits: Limits | None = None,
) -> Result:
    """Run one statement that reads.

    Args:
        lake: The lake.
        statement: SELECT, WITH, VALUES, FROM, DESCRIBE, SUMMARIZE, SHOW TABLES or EXPLAIN, in DuckDB's SQL.
        params: Values of `?` or `$1` in order, or of `$name` by name. They are bound, never written into the statement.
        at: Snapshot id, tag or digest that tables are read at; newest by default.
        functions: Table functions beside, or in place of, those that are offered.
        scalars: Scalar functions likewise.
        limits: What it may use.

    Raises:
        SqlRefused: It does more than read, or reaches for what is not in the lake.
        SqlError: It is wrong, or went over a limit.
        NoSuchTable: A version of the lake has no such table.
        NoSuchSnapshot: Nothing has this name.
    """
    started = time.perf_counter()
    bound = limits or Limits()
    parsed = grammar.parse(statement)
    values = grammar.bindings(parsed, params)
    running = engine(bound)
    given = Functions(_lowered(functions or {}), _lowered(scalars or {}))
    unknown = None
    if parsed.tree is not None:
        called = {call.name.lower() for call in parsed.tree.find_all(exp.Anonymous)}
        unknown = (
            called
            - running.functions
            - TABLE_FUNCTIONS
            - {SNAPSHOT, DIFF, *given.tables, *given.scalars}
            - DENIED.keys()
        )
    known = offered(unknown).and_those(given)
    with running.cursor() as con, WATCHER.watching(con, bound) as watch:
        work = Work(lake, running, con, watch.check, dry=parsed.explain == "plan")
        try:
            run = _Run(work, parsed, values, at, known, bound)
            result = _listing(run) if parsed.tree is None else run.result()
        except (duckdb.Error, pa.ArrowException, OSError, MemoryError) as error:
            raise translated(error, watch, bound) from error
        finally:
            work.close()
    return replace(result, seconds=time.perf_counter() - started)


@dataclass
class _Relation:
    """A table or function that a statement reads.

    Args:
        node: Where it stands.
        name: What the view behind it is called.
        table: The table; "" for a function.
        raw: As stored.
        desk: The snapshot it is read at.
        run: What gives the rows of a function.
        rows: The rows of a function, once it has run.
    """

    node: exp.Table
    name: str
    table: str
    raw: bool
    desk: Desk
    call: Callable[[], pa.Table] | None = None
    rows: pa.Table | None = None


@dataclass
class _Run:
    work: Work
    parsed: Parsed
    values: dict[str, Any]
    at: str | None
    functions: Functions
    limits: Limits
    calls: list[Call] = field(default_factory=list)
    relations: list[_Relation] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    scalars: dict[str, Callable[..., pa.Array]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.desk = Desk(self.work, self.work.snapshot(self.at))
        self.wish = Wish(self.parsed.names, self.parsed.whole_rows)

    def result(self) -> Result:
        """Run the statement."""
        assert self.parsed.tree is not None
        tree = self.parsed.tree
        bounded(tree)
        for node in list(tree.find_all(exp.Table)):
            self._resolve(node)
        if (rows := self._bare_count(tree)) is not None:
            name = tree.expressions[0].alias or "count_star()"
            return self._made(pa.table({name: pa.array([rows], pa.int64())}), grammar.written(tree))
        self._plug_scalars(tree)
        text = grammar.written(tree)
        names = {relation.name for relation in self.relations} | {
            cte.alias_or_name for cte in tree.find_all(exp.CTE)
        }
        self.work.engine.confirm(self.work.con, text, tables=names, functions=self.scalars)
        for relation in self.relations:
            self._call(relation)
        self._offer(self._reductions(tree))
        self.work.check()
        opening = {"describe": "DESCRIBE ", "summarize": "SUMMARIZE "}.get(self.parsed.kind, "")
        text = opening + text
        try:
            if self.parsed.explain:
                return self._explained(text)
            table, truncated = self._read(text)
        except duckdb.BinderException as error:
            raise SqlError(self._misnamed(error)) from error
        return self._made(table, text, truncated=truncated)

    def _made(self, table: pa.Table, text: str, *, truncated: bool = False, plan: str = "") -> Result:
        snapshot = self.desk.snapshot
        return Result(
            table,
            snapshot.snapshot_id if snapshot else None,
            tuple(self.work.reads),
            tuple(self.calls),
            truncated,
            sql=text,
            plan=plan,
            notes=tuple(self.notes),
        )

    def _bare_count(self, tree: exp.Query) -> int | None:
        """Return the rows of a stored table where they are all that is asked for: the table knows, the engine would count."""
        if self.parsed.kind != "query" or self.parsed.explain or len(self.relations) != 1:
            return None
        if not isinstance(tree, exp.Select) or _given(tree) != {"expressions", "from_"}:
            return None
        (relation,) = self.relations
        asked, source = tree.expressions[0].unalias(), tree.args["from_"].this
        is_count = (
            len(tree.expressions) == 1
            and isinstance(asked, exp.Anonymous)
            and asked.name.lower() == "count"
            and len(asked.expressions) == 1
            and isinstance(star := asked.expressions[0], exp.Star)
            and not _given(star)
        )
        is_plain = (
            source is relation.node and _given(source) == {"this", "alias"} and not source.alias_column_names
        )
        if not (
            is_count and is_plain and relation.raw and relation.call is None and relation.table not in LOGS
        ):
            return None
        if self.limits.rows == 0:
            return None
        return relation.desk.count(relation.table)

    # What it names

    def _resolve(self, node: exp.Table) -> None:
        """Have a relation's node name a view of ours, and note what the view is to show."""
        if isinstance(node.this, (exp.Func, exp.Anonymous)):
            self._resolve_call(node, node.this)
            return
        if not isinstance(node.this, exp.Identifier):
            return
        name, schema = node.name.lower(), node.db.lower()
        if not schema and _is_cte(node, name):
            if node.args.get("when") or node.args.get("version"):
                raise SqlError(f"{node.name} is a name of WITH; put AT behind the tables inside it")
            return
        if node.catalog or schema not in ("", RAW):
            raise SqlRefused(
                f"no schema is called {node.db!r}; tables stand alone, and as stored under {RAW}"
            )
        desk = self._travelled(node)
        self._relate(node, self._known(name, desk), desk, raw=schema == RAW)

    def _relate(self, node: exp.Table, table: str, desk: Desk, *, raw: bool) -> _Relation:
        relation = _Relation(node, f"view_{len(self.relations) + 1}", table, raw, desk)
        self.relations.append(relation)
        alias = node.alias or table
        node.set("this", exp.to_identifier(relation.name, quoted=True))
        for place in ("db", "catalog", "when", "version"):
            node.set(place, None)
        if not node.alias:
            columns = node.args["alias"].args.get("columns") if node.args.get("alias") else None
            node.set("alias", exp.TableAlias(this=exp.to_identifier(alias, quoted=True), columns=columns))
        if raw and (select := node.find_ancestor(exp.Select)):
            for column in select.find_all(exp.Column):
                if column.db.lower() == RAW:
                    column.set("db", None)
        return relation

    def _known(self, name: str, desk: Desk) -> str:
        """Return the table of a name.

        Raises:
            SqlRefused: Nothing has this name.
        """
        has = list(desk.snapshot.versions) if desk.snapshot else []
        if name in LOGS or name in has:
            return name
        elsewhere = desk.snapshot is not None and any(name in s.versions for s in self.work.lake.snapshots())
        if elsewhere or name.startswith(EMBEDDINGS_PREFIX):
            desk.columns(name)  # says that this version has none
        near = get_close_matches(name, [*has, *LOGS, *self.functions.tables], n=1)
        hint = f"; did you mean {near[0]}?" if near else "; see SHOW TABLES"
        raise SqlRefused(f"no table is called {name[:80]!r}{hint} Files and other databases cannot be read")

    def _travelled(self, node: exp.Table) -> Desk:
        """Return the snapshot that AT or FOR VERSION AS OF asks for."""
        asked = node.args.get("when") or node.args.get("version")
        if asked is None:
            return self.desk
        kind = str(asked.args.get("kind") if isinstance(asked, exp.HistoricalData) else asked.name).upper()
        value = self._constant(asked.expression, "AT")
        if isinstance(asked, exp.HistoricalData) and str(asked.this).upper() != "AT":
            raise SqlError(
                f"versions are AT (TAG => 'v3') or FOR VERSION AS OF 's000002'; found {asked.this}"
            )
        if node.name.lower() in LOGS:
            raise SqlError(f"{node.name} is a log: it stands outside snapshots and has no versions")
        if kind == "TIMESTAMP":
            return Desk(self.work, self.work.at_time(_moment(value)))
        return Desk(self.work, self.work.snapshot(text_of(value)))

    def _resolve_call(self, node: exp.Table, call: exp.Expr) -> None:
        name = call.name.lower() if isinstance(call, exp.Anonymous) else ""
        if name == SNAPSHOT:
            args, named = self._arguments(name, call)
            if named or len(args) != 2 or not isinstance(args[0], str):
                raise SqlError("snapshot('pairs', 'v3') takes a table and a snapshot id, tag or digest")
            raw, table = _raw_name(args[0])
            desk = Desk(self.work, self.work.snapshot(text_of(args[1])))
            if table in LOGS:
                raise SqlError(f"{table} is a log: it stands outside snapshots and has no versions")
            self._relate(node, self._known(table, desk), desk, raw=raw)
        elif name == DIFF or name in self.functions.tables:
            args, named = self._arguments(name, call)
            relation = self._relate(node, name, self.desk, raw=False)
            relation.table = ""
            run = self._diff if name == DIFF else self._plugged(name)
            said = ", ".join(
                [*map(_short, args), *(f"{key} => {_short(value)}" for key, value in named.items())]
            )
            relation.call = self._once(name, said, lambda: run(*args, **named))

    def _plugged(self, name: str) -> Callable[..., pa.Table]:
        def run(*args: Any, **named: Any) -> pa.Table:
            return self.functions.tables[name](self.work.lake, self.desk.snapshot, *args, **named)

        return run

    def _once(self, name: str, said: str, run: Callable[[], pa.Table]) -> Callable[[], pa.Table]:
        """Return a call that runs once for the same arguments in one statement."""

        def call() -> pa.Table:
            for relation in self.relations:
                if (
                    relation.rows is not None
                    and relation.call is not None
                    and getattr(relation.call, "said", 0) == (name, said)
                ):
                    return relation.rows
            started = time.perf_counter()
            try:
                rows = run()
            except (TypeError, ValueError) as error:
                raise SqlError(f"{name}({said}): {error}") from error
            if not isinstance(rows, pa.Table):
                raise SqlError(f"{name}() gave {type(rows).__name__} where an Arrow table is due")
            self.calls.append(Call(name, said, rows.num_rows, time.perf_counter() - started))
            self.work.check()
            return rows.select(readable(rows.schema))

        call.said = (name, said)  # type: ignore[attr-defined]
        return call

    def _diff(self, *args: Any, **named: Any) -> pa.Table:
        if len(args) != 3 or named or not isinstance(args[0], str):
            raise TypeError("takes a table and two snapshot ids, tags or digests: diff('pairs', 'v2', 'v3')")
        raw, table = _raw_name(args[0])
        old, new = (Desk(self.work, self.work.snapshot(text_of(ref))) for ref in args[1:])
        if table in LOGS:
            raise SqlError(f"{table} is a log: it stands outside snapshots and has no versions")
        if not old.has(table) and not new.has(table):
            self._known(table, new)
        dry, self.work.dry = self.work.dry, False
        try:
            return changes(self.work.con, old, new, table, raw=raw)
        finally:
            self.work.dry = dry

    def _arguments(self, name: str, call: exp.Expr) -> tuple[list[Any], dict[str, Any]]:
        args: list[Any] = []
        named: dict[str, Any] = {}
        for each in call.expressions:
            if isinstance(each, (exp.Kwarg, exp.PropertyEQ)):
                key = each.this.name.lower()
                if key in named:
                    raise SqlError(f"{name}() was given {key} twice")
                named[key] = self._constant(each.expression, f"{name}()")
            elif named:
                raise SqlError(f"{name}() was given a plain argument behind a named one")
            else:
                args.append(self._constant(each, f"{name}()"))
        return args, named

    def _constant(self, node: exp.Expr, where: str) -> Any:
        """Return the value of an expression without columns."""
        if isinstance(node, exp.Paren):
            return self._constant(node.this, where)
        if isinstance(node, exp.Literal):
            if node.is_string:
                return node.name
            return int(node.name) if node.name.isdigit() else float(node.name)
        if isinstance(node, exp.Boolean):
            return bool(node.this)
        if isinstance(node, exp.Null):
            return None
        if isinstance(node, exp.Placeholder):
            return self.values[node.name.lower()]
        if isinstance(node, exp.Neg) and isinstance(node.this, exp.Literal) and not node.this.is_string:
            return -self._constant(node.this, where)
        if node.find(exp.Column, exp.Query, exp.Table, exp.Star) is not None:
            said = grammar.written(node)[:60]
            hint = f"; write '{said}' for a text" if isinstance(node, exp.Column) else ""
            raise SqlError(f"arguments of {where} are constants or parameters; found {said}{hint}")
        text = f"SELECT {grammar.written(node)}"
        self.work.engine.confirm(self.work.con, text, tables=())
        asked = {each.name.lower() for each in node.find_all(exp.Placeholder)}
        bound = {name: value for name, value in self.values.items() if name in asked}
        ((value,),) = self.work.con.execute(text, bound or None).fetchall()
        return value

    # What is plugged in

    def _plug_scalars(self, tree: exp.Expr) -> None:
        made: dict[tuple[str, str], str] = {}
        for call in list(tree.find_all(exp.Anonymous)):
            name = call.name.lower()
            if isinstance(call.parent, exp.Table):
                continue
            if name in self.functions.tables or name in (SNAPSHOT, DIFF):
                raise SqlError(
                    f"{name}() gives rows: it stands behind FROM or JOIN, with constants as arguments"
                )
            if name not in self.functions.scalars:
                continue
            columns: list[exp.Expr] = []
            given = list(call.expressions)
            while given and (not columns or given[0].find(exp.Column) is not None):
                columns.append(given.pop(0))
            if not columns:
                raise SqlError(f"{name}() takes a column first")
            args, named = self._arguments(name, exp.Anonymous(this=name, expressions=given))
            said = repr((len(columns), args, sorted(named.items(), key=lambda item: item[0])))
            if (name, said) not in made:
                made[name, said] = self._plug(name, args, named)
            plugged: exp.Expr = exp.Anonymous(
                this=made[name, said], expressions=[column.copy() for column in columns]
            )
            if isinstance(call.parent, exp.Select) and call.arg_key == "expressions":
                plugged = exp.alias_(plugged, name, quoted=True)
            call.replace(plugged)

    def _plug(self, name: str, args: list[Any], named: dict[str, Any]) -> str:
        try:
            compute = self.functions.scalars[name](self.work.lake, self.desk.snapshot, *args, **named)
        except (TypeError, ValueError) as error:
            raise SqlError(f"{name}(): {error}") from error
        self.work.check()

        def vectorised(*columns: pa.ChunkedArray) -> pa.Array:
            whole = [column.combine_chunks() for column in columns]
            known = reduce(pc.and_, (column.is_valid() for column in whole))
            places = pc.indices_nonzero(known)
            if not len(places):
                return pa.nulls(len(known), pa.float64())
            found = pc.cast(compute(*(column.take(places) for column in whole)), pa.float64())
            if len(found) != len(places):
                raise SqlError(f"{name}() gave {len(found)} numbers for {len(places)} rows")
            return pc.replace_with_mask(pa.nulls(len(known), pa.float64()), known, found)

        unique = f"{name}_{uuid.uuid4().hex}"  # cursors share what is created
        self.work.con.create_function(
            unique, vectorised, None, "DOUBLE", type=ARROW, null_handling=SPECIAL
        )  # whole columns, of any type
        self.work.borrowed.append(partial(self.work.con.remove_function, unique))
        self.scalars[unique] = compute
        return unique

    def _call(self, relation: _Relation) -> None:
        if relation.call is None:
            return
        relation.rows = relation.call()
        names = [name.lower() for name in relation.rows.column_names]
        if len(set(names)) < len(names):
            raise SqlError(
                f"a function gave two columns of one name: {', '.join(relation.rows.column_names)}"
            )

    # What it reads

    def _reductions(self, tree: exp.Expr) -> dict[int, dict[str, pa.Array]]:
        """Return {id of a node: {stored column: the only values that matter}}; see `storage.sql.reduction`."""
        if not any(relation.rows is not None for relation in self.relations):
            return {}
        sources: dict[int, Source] = {}
        sets: list[pa.Array] = []
        for relation in self.relations:
            if relation.rows is not None:
                ids = {}
                for name, column in zip(relation.rows.column_names, relation.rows.columns, strict=True):
                    if pa.types.is_string(column.type) and relation.rows.num_rows <= FEW_IDS:
                        ids[name.lower()] = len(sets)
                        sets.append(pc.unique(column).drop_null())
                sources[id(relation.node)] = Source(
                    frozenset(map(str.lower, relation.rows.column_names)), ids
                )
            elif relation.table not in LOGS:
                sources[id(relation.node)] = self._source(relation)
        sizes = {number: len(values) for number, values in enumerate(sets)}
        found = reductions(tree, sources, sizes)
        return {node: {column: sets[name] for column, name in its.items()} for node, its in found.items()}

    def _source(self, relation: _Relation) -> Source:
        stored = relation.desk.columns(relation.table)
        texts = {field.name.lower(): field.name for field in stored if pa.types.is_string(field.type)}
        if relation.raw:
            return Source(frozenset(name.lower() for name in stored.names), stored=texts)
        digest = views.digest_of(relation.table, stored.names)
        shown = {name.lower() for name in views.shown(relation.desk, relation.table)}
        own = {name: column for name, column in texts.items() if name in shown}
        return Source(frozenset(shown), stored=own | ({"digest": digest} if digest else {}))

    def _offer(self, only: Mapping[int, Mapping[str, pa.Array]]) -> None:
        for relation in self.relations:
            self.work.check()
            if relation.rows is not None:
                self.work.con.register(relation.name, relation.rows)
                continue
            desk, table = relation.desk, relation.table
            restricted = only.get(id(relation.node))
            if table in LOGS:
                query = views.of_log(desk, table, self.wish, raw=relation.raw)
            elif relation.raw:
                query = views.of_raw(desk, table, self.wish, restricted)
            else:
                query = views.of_table(desk, table, self.wish, restricted)
            self.work.con.execute(f"CREATE TEMP VIEW {quoted(relation.name)} AS {query}")

    # How it runs

    def _read(self, text: str) -> tuple[pa.Table, bool]:
        """Run it and return its rows, no more than the limit, and whether there were more."""
        most = self.limits.rows
        batch = BATCH if most is None else max(1, min(BATCH, most + 1))
        relation = self.work.con.sql(text, params=self._bound())
        if relation is None:
            raise SqlError("the statement gives no rows")
        reader = relation.to_arrow_reader(batch)
        held: list[pa.RecordBatch] = []
        rows = size = 0
        try:
            for part in reader:
                self.work.check()
                held.append(part)
                rows += len(part)
                size += part.nbytes
                if size > self.limits.result_bytes:
                    raise SqlError(
                        f"the result has more than {self.limits.result_bytes} bytes after {rows} rows; "
                        "ask for fewer columns or rows, or raise the limit"
                    )
                if most is not None and rows > most:
                    break
        finally:
            reader.close()
        table = pa.Table.from_batches(held, schema=reader.schema)
        truncated = most is not None and rows > most
        return (table.slice(0, most) if truncated else table), truncated

    def _bound(self) -> dict[str, Any] | None:
        """Return the values that what is left of the statement asks for."""
        assert self.parsed.tree is not None
        asked = {node.name.lower() for node in self.parsed.tree.find_all(exp.Placeholder)}
        return {name: value for name, value in self.values.items() if name in asked} or None

    def _explained(self, text: str) -> Result:
        plan = self.work.con.execute(f"EXPLAIN {text}", self._bound()).fetchall()[-1][1]
        started = time.perf_counter()
        table, _ = self._read(text)
        took = time.perf_counter() - started
        snapshot = self.desk.snapshot
        lines = [("snapshot", snapshot.snapshot_id if snapshot else "none yet")]
        lines += [
            ("call", f"{call.name}({call.args}): {call.rows} rows, {call.seconds:.3f} s")
            for call in self.calls
        ]
        analyzed = self.parsed.explain == "analyze"
        for read in self.work.reads:
            version = f"version {read.version}" + (f" of {read.snapshot_id}" if read.snapshot_id else "")
            where = {
                "lance": "scanned by Lance", "memory": "kept in memory", "ids": "looked up by id",
            }[read.source]  # fmt: skip
            said = f"{read.table}, {version}, {where}: columns {', '.join(read.columns) or 'none'}"
            said += f"; filters {' AND '.join(read.filters)}" if read.filters else ""
            rows = (
                f"; {read.rows} rows" if read.source == "ids" or (analyzed and read.source == "lance") else ""
            )
            lines.append(("read", said + rows))
        if analyzed:
            lines.append(("result", f"{table.num_rows} rows, {took:.3f} s"))
        lines.append(("plan", plan))
        return self._made(
            pa.Table.from_pylist(
                [dict(zip(EXPLAINED.names, line, strict=True)) for line in lines], schema=EXPLAINED
            ),
            text,
            plan=plan,
        )

    def _misnamed(self, error: duckdb.Error) -> str:
        said = _plain(error)
        if "not found" not in said and "does not have a column" not in said:
            return said
        known = []
        for relation in self.relations:
            names = relation.rows.column_names if relation.rows is not None else None
            if names is None and relation.table not in LOGS:
                shown = views.shown(relation.desk, relation.table)
                names = relation.desk.columns(relation.table).names if relation.raw else shown
            if names:
                known.append(f"{relation.node.alias_or_name} has {', '.join(names)}")
        return f"{said.split(' Candidate bindings')[0]} {'; '.join(dict.fromkeys(known))}"


def _lowered(functions: Mapping[str, Any]) -> dict[str, Any]:
    return {name.lower(): each for name, each in functions.items()}


def _listing(run: _Run) -> Result:
    """Return what SHOW TABLES shows."""
    desk = run.desk
    lines: list[dict[str, Any]] = []
    for table in sorted(desk.snapshot.versions) if desk.snapshot else []:
        kind = "vectors" if table.startswith(EMBEDDINGS_PREFIX) else "table"
        assert desk.snapshot is not None
        lines.append(
            {
                "name": table,
                "kind": kind,
                "rows": desk.snapshot.row_counts.get(table),
                "columns": views.shown(desk, table),
            }
        )
    for table in LOGS:
        log = run.work.lake.latest(table)
        names = LOGS[table].schema.names if log is None else log.schema.names
        lines.append(
            {"name": table, "kind": "log", "rows": 0 if log is None else log.count_rows(), "columns": names}
        )
    for name in sorted([*run.functions.tables, *run.functions.scalars, DIFF, SNAPSHOT]):
        lines.append({"name": name, "kind": "function", "rows": None, "columns": None})
    return run._made(pa.Table.from_pylist(lines, schema=LISTED), "SHOW TABLES")


def _given(node: exp.Expr) -> set[str]:
    """Return the names of a node's parts that are there."""
    return {name for name, part in node.args.items() if part}


def _is_cte(node: exp.Expr, name: str) -> bool:
    """Say whether a name is one of WITH where it stands: an earlier one, or an enclosing statement's."""
    child: exp.Expr = node
    above = node.parent
    while above is not None:
        if isinstance(above, exp.With):
            for cte in above.expressions:
                if cte is child:
                    if above.args.get("recursive") and cte.alias.lower() == name:
                        return True
                    break
                if cte.alias.lower() == name:
                    return True
        else:
            within = above.args.get("with_") or above.args.get("with")
            if (
                within is not None
                and within is not child
                and any(cte.alias.lower() == name for cte in within.expressions)
            ):
                return True
        child, above = above, above.parent
    return False


def _raw_name(name: str) -> tuple[bool, str]:
    schema, _, table = name.lower().rpartition(".")
    if schema not in ("", RAW):
        raise SqlError(f"no schema is called {schema!r}; tables stand alone, and as stored under {RAW}")
    return schema == RAW, table


def _moment(value: object) -> datetime:
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)
    try:
        return datetime.fromisoformat(str(value))
    except ValueError as error:
        raise SqlError(
            f"AT (TIMESTAMP => ...) takes a time such as '2026-01-31 12:00'; found {value!r}"
        ) from error


def _short(value: object) -> str:
    said = repr(value)
    return said if len(said) <= 80 else f"{said[:77]}..."


def translated(error: BaseException, watch: Watch, limits: Limits) -> XmodalError:
    """Return an error of the engine as one of ours."""
    said = _plain(error)
    if watch.over or "INTERRUPT" in said:
        over = watch.over or "was interrupted"
        return SqlError(f"the statement {over}; ask for less, or raise the limit")
    if isinstance(error, (duckdb.OutOfMemoryException, MemoryError)) or "Out of Memory" in said:
        return SqlError(
            f"the statement needs more memory than {limits.memory}; ask for less, or raise the limit"
        )
    if isinstance(error, duckdb.PermissionException):
        return SqlRefused(f"files and other databases cannot be read: {said}")
    return SqlError(said)


def _plain(error: BaseException) -> str:
    """Return what the engine says, in one line, without the statement it quotes."""
    said = str(error).split("\n\nLINE ")[0]
    return " ".join(said.split())[:600] or type(error).__name__


__all__ = ["sql", "translated"]

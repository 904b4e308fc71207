"""SQL over a lake: one statement that reads, over any snapshot, with functions that engines plug in.

`sql(lake, "SELECT ...")`, or `lake.sql("SELECT ...")`. See docs/sql.md.
"""

from storage.sql.contract import Functions, Limits, ScalarFunction, TableFunction, offer, offered
from storage.sql.door import sql
from storage.sql.result import Call, Result
from storage.sql.scans import Read

__all__ = [
    "Call",
    "Functions",
    "Limits",
    "Read",
    "Result",
    "ScalarFunction",
    "TableFunction",
    "offer",
    "offered",
    "sql",
]

"""Expectations that Great Expectations lacks. Importing this takes seconds: only what validates does."""

import io
import logging
import os
from functools import lru_cache
from typing import Any

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # before it is imported: it would ask the network

import great_expectations as gx  # noqa: E402
import pandas as pd  # noqa: E402
from great_expectations.core.batch_definition import BatchDefinition  # noqa: E402
from great_expectations.data_context.types.base import ProgressBarsConfig  # noqa: E402
from great_expectations.execution_engine import PandasExecutionEngine  # noqa: E402
from great_expectations.expectations import core  # noqa: E402
from great_expectations.expectations.expectation import (  # noqa: E402
    ColumnAggregateExpectation,
    ColumnMapExpectation,
)
from great_expectations.expectations.expectation import (  # noqa: E402
    Expectation as GxExpectation,
)
from great_expectations.expectations.metrics import (  # noqa: E402
    ColumnAggregateMetricProvider,
    ColumnMapMetricProvider,
    column_aggregate_value,
    column_condition_partial,
)
from PIL import Image  # noqa: E402

from schemas.quality import Expectation  # noqa: E402


class UnitVectors(ColumnMapMetricProvider):
    """Whether each vector, given by its length, is of unit length."""

    condition_metric_name = "column_values.unit_vectors"
    condition_value_keys = ("tolerance",)

    @column_condition_partial(engine=PandasExecutionEngine)
    def _pandas(
        cls,
        column: pd.Series,
        tolerance: float,
        **kwargs: Any,  # noqa: N805 - GX's form
    ) -> pd.Series:
        return (column - 1).abs() <= tolerance


class ExpectColumnValuesToBeUnitVectors(ColumnMapExpectation):
    """Expect vectors of unit length. The column holds their lengths, which cost a batch far less than they do."""

    map_metric = "column_values.unit_vectors"
    success_keys = ("mostly", "tolerance")
    args_keys = ("column", "tolerance")
    tolerance: float = 1e-3


class Decodes(ColumnMapMetricProvider):
    """Whether each value is the bytes of a picture that can be opened and read to its end."""

    condition_metric_name = "column_values.decodes"
    condition_value_keys = ()

    @column_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column: pd.Series, **kwargs: Any) -> pd.Series:  # noqa: N805 - GX's form
        return pd.Series([_decodes(value) for value in column], index=column.index, dtype=bool)


def _decodes(data: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(data), formats=("WEBP", "PNG", "JPEG")) as image:
            image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
    return True


class ExpectColumnValuesToDecode(ColumnMapExpectation):
    """Expect pictures that can be opened."""

    map_metric = "column_values.decodes"
    success_keys = ("mostly",)
    args_keys = ("column",)


class Measure(ColumnAggregateMetricProvider):
    """The number that stands in the one row of a table of measurements."""

    metric_name = "column.measure"

    @column_aggregate_value(engine=PandasExecutionEngine)
    def _pandas(cls, column: pd.Series, **kwargs: Any) -> float:  # noqa: N805 - GX's form
        if len(column) != 1:
            raise ValueError(f"a measurement is one number, found {len(column)}")
        return float(column.iloc[0])


class ExpectMeasureToBeBetween(ColumnAggregateExpectation):
    """Expect a number that was measured over a whole table to lie within bounds."""

    metric_dependencies = ("column.measure",)
    success_keys = ("min_value", "max_value")
    args_keys = ("column", "min_value", "max_value")
    min_value: float | None = None
    max_value: float | None = None

    def _validate(
        self,
        metrics: dict[str, Any],
        runtime_configuration: dict[str, Any] | None = None,
        execution_engine: Any = None,
    ) -> dict[str, Any]:
        value = metrics["column.measure"]
        above = self.min_value is None or value >= self.min_value
        below = self.max_value is None or value <= self.max_value
        return {"success": bool(value == value and above and below), "result": {"observed_value": value}}


def of_column(expectation: Expectation) -> GxExpectation:
    """Return what Great Expectations calls a check of single rows."""
    params, column = expectation.params, expectation.column
    said: dict[str, Any] = {"column": column, "meta": {"name": expectation.name}}
    match expectation.check:
        case "not-null":
            return core.ExpectColumnValuesToNotBeNull(**said)
        case "between":
            return core.ExpectColumnValuesToBeBetween(
                min_value=params.get("low"), max_value=params.get("high"), **said
            )
        case "matches":
            return core.ExpectColumnValuesToMatchRegex(regex=params["regex"], **said)
        case "in-set":
            return core.ExpectColumnValuesToBeInSet(value_set=list(params["values"]), **said)
        case "unit-vectors":
            tolerance = params.get("tolerance", 1e-3)
            return ExpectColumnValuesToBeUnitVectors(tolerance=tolerance, **said)
        case "decodes":
            return ExpectColumnValuesToDecode(**said)
    raise ValueError(f"{expectation.name}: {expectation.check} is not a check of single rows")


def of_measure(expectation: Expectation) -> GxExpectation:
    """Return the expectation on a number that was measured elsewhere; its column is the expectation's name."""
    return ExpectMeasureToBeBetween(
        column=expectation.name,
        min_value=expectation.at_least,
        max_value=expectation.highest,
        meta={"name": expectation.name},
    )


@lru_cache(maxsize=1)
def batches() -> BatchDefinition:
    """Return what turns a frame into a batch; it keeps nothing and shows no bars."""
    for name in (
        "great_expectations",
        "great_expectations.data_context.types.base",
    ):  # the second sets its own
        logging.getLogger(name).setLevel(logging.WARNING)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    source = context.data_sources.add_pandas("rows")
    return source.add_dataframe_asset("rows").add_batch_definition_whole_dataframe("rows")


def validated(definition: BatchDefinition, frame: pd.DataFrame, suite: list[Any]) -> list[Any]:
    """Return a result per expectation, in no order. Offending rows are named by their place: by a key takes GX far longer."""
    form: dict[str, Any] = {
        "result_format": "COMPLETE", "include_unexpected_rows": False, "partial_unexpected_count": 0,
    }  # fmt: skip
    batch = definition.get_batch(batch_parameters={"dataframe": frame})
    return list(
        batch.validate(gx.ExpectationSuite(name="rows", expectations=suite), result_format=form).results
    )


def exception_of(result: Any) -> str:
    """Return what an expectation raised; "" if it did not."""
    info = result.exception_info or {}
    found = (
        [info] if "raised_exception" in info else [each for each in info.values() if isinstance(each, dict)]
    )
    said = [str(each.get("exception_message")) for each in found if each.get("raised_exception")]
    return " ".join(said[0].split())[:500] if said else ""

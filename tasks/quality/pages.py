"""Great Expectations' own pages (Data Docs) of what a check found, made from the rows of the log."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import great_expectations as gx
from great_expectations.core.expectation_validation_result import (
    ExpectationSuiteValidationResult,
    ExpectationValidationResult,
)
from great_expectations.core.run_identifier import RunIdentifier
from great_expectations.data_context.types.resource_identifiers import (
    ExpectationSuiteIdentifier,
    ValidationResultIdentifier,
)
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

from schemas.errors import DataError
from schemas.quality import Expectation
from storage.scratch import scratch
from tasks.quality import expectations as ours

_SITE = "quality"


def write_pages(rows: Sequence[Mapping[str, Any]], folder: Path) -> Path:
    """Write the pages of one check and return the first. They load scripts and fonts from the network when opened.

    Args:
        rows: Rows of `quality` of one check.
        folder: An empty folder, or none yet.

    Raises:
        DataError: The folder holds something.
    """
    if folder.exists() and any(folder.iterdir()):
        raise DataError(f"{folder} is not empty; name a folder that is, or none yet")
    with scratch("pages") as root:
        context = gx.get_context(mode="file", project_root_dir=root)
        context.delete_data_docs_site("local_site")
        store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder.resolve())}
        site: Any = {
            "class_name": "SiteBuilder", "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
            "store_backend": store,
        }  # fmt: skip
        context.add_data_docs_site(_SITE, site)
        for table in sorted({row["table"] for row in rows}):
            _add(context, table, [row for row in rows if row["table"] == table])
        context.build_data_docs(site_names=[_SITE])
    return folder / "index.html"


def _add(context: Any, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    run = RunIdentifier(run_name=rows[0]["snapshot_id"], run_time=rows[0]["checked_at"])
    told = [row for row in rows if row["status"] != "skipped"]
    passed = sum(row["status"] == "passed" for row in told)
    result = ExpectationSuiteValidationResult(
        success=passed == len(told),
        results=[_result(row) for row in told],
        suite_name=table,
        statistics={
            "evaluated_expectations": len(told), "successful_expectations": passed,
            "unsuccessful_expectations": len(told) - passed,
            "success_percent": 100 * passed / len(told) if told else None,
        },
        meta={
            "run_id": run, "great_expectations_version": gx.__version__, "batch_spec": {}, "batch_markers": {},
            "active_batch_definition": {},
        },
    )  # fmt: skip
    context.suites.add(
        gx.ExpectationSuite(name=table, expectations=[_configured(row).to_domain_obj() for row in rows])
    )
    name = ValidationResultIdentifier(
        expectation_suite_identifier=ExpectationSuiteIdentifier(table),
        run_id=run,
        batch_identifier=f"{rows[0]['snapshot_id']}-{table}",
    )
    context.validation_results_store.set(name, result)


def _configured(row: Mapping[str, Any]) -> ExpectationConfiguration:
    said = json.loads(row["parameters"])
    bounds = dict(part.split(" ") for part in row["threshold"].split(", ") if part)
    expectation = Expectation.model_validate(
        {
            "name": row["name"], "table": "embeddings" if row["table"].startswith("embeddings_") else row["table"],
            "check": said.pop("check"), "column": row["column"], "params": said, "severity": row["severity"],
            "at_least": bounds.get("at_least"), "at_most": bounds.get("at_most"),
        }
    )  # fmt: skip
    of_rows = row["expectation"] != "expect_measure_to_be_between"
    made = ours.of_column(expectation) if of_rows else ours.of_measure(expectation)
    configuration = made.configuration
    configuration.severity = row["severity"]
    return configuration


def _result(row: Mapping[str, Any]) -> ExpectationValidationResult:
    found: dict[str, Any] = {"observed_value": row["observed"]}
    if row["unexpected"] is not None:
        found |= {
            "element_count": row["rows"], "unexpected_count": row["unexpected"],
            "unexpected_percent": 100 * row["share"], "partial_unexpected_list": list(row["offending"] or ()),
        }  # fmt: skip
    raised = row["status"] == "raised"
    return ExpectationValidationResult(
        success=row["status"] == "passed",
        expectation_config=_configured(row),
        result=found,
        exception_info={
            "raised_exception": raised, "exception_message": row["reason"] if raised else None, "exception_traceback": None,
        },
        meta={},
    )  # fmt: skip

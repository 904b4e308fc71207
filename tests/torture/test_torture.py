"""The short form of `make torture`: a few of its kills and faults, and that its own checks can fail."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import lance
import pyarrow as pa
import pytest
from prefect.settings import PREFECT_API_URL

from schemas.tables import SNAPSHOTS
from storage import lake as lakes
from tests.torture.faults import DO, Faults, Skipped
from tests.torture.kills import Killer
from tests.torture.report import rows_of_log, tables
from tests.torture.world import Case, Lost, World

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_server")]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, prefect_server: None) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("torture"), PREFECT_API_URL.value())
    yield made
    made.stop()


@pytest.mark.parametrize("seed", [2, 24])  # at an event, after a time
def test_a_run_killed_at_a_point_drawn_from_a_seed_is_made_good(world, seed):
    outcome = Killer(world).run(seed, "driver")
    assert outcome.lost == ""
    assert outcome.fell == "killed"


@pytest.mark.parametrize(
    "fault", ["disk full: 50%", "reader: gc keeping one version", "damage: manifest cut short"]
)
def test_a_fault_is_made_good(world, fault):
    name, variant = fault.split(": ")
    try:
        fell, then = DO[name](Faults(world), variant)
    except Skipped as why:
        pytest.skip(str(why))
    assert fell and then


def last_snapshot(lake: lakes.Lake) -> pa.Table:
    return pa.Table.from_pylist([lake.head().as_row()], schema=SNAPSHOTS.schema)


def test_what_the_checks_look_for_they_find(world):
    """A row twice, a row less, files that nothing names: each must be seen, or no outcome means anything."""
    case = Case(world, "planted", "earlier")
    assert case.run().wait() == 0
    case.check_end()
    lake = lakes.open(case.uri)
    stray = case.lake / "media.lance" / "data" / "stray.lance"
    for plant, said in (
        (lambda: shutil.copy(next(stray.parent.iterdir()), stray), "left behind"),
        (
            lambda: lance.write_dataset(last_snapshot(lake), f"{case.uri}/snapshots.lance", mode="append"),
            "stand twice",
        ),
        (lambda: lake.move_tag("latest", "s000001"), "differ from those|tags are"),
    ):
        plant()
        with pytest.raises(Lost, match=said):
            case.check_end()
        stray.unlink(missing_ok=True)
        log = lance.dataset(f"{case.uri}/snapshots.lance")
        if log.count_rows() > 2:
            lance.dataset(f"{case.uri}/snapshots.lance", version=log.version - 1).restore()


def test_the_report_counts_what_the_log_says(tmp_path: Path):
    log = tmp_path / "log.jsonl"
    log.write_text(
        '{"seed": 1, "victim": "driver", "point": "p", "fell": "killed", "seen": "before", "lost": "", "wall_s": 1.0}\n'
        '{"seed": 2, "victim": "driver", "point": "p", "fell": "killed", "seen": "after", "lost": "gone", "wall_s": 3.0}\n'
        '{"fault": "disk full", "variant": "20%", "fell": "failed: OSError", "then": "whole", "lost": "", "wall_s": 2.0}\n'
    )
    kills, faults = tables(rows_of_log(log))
    assert "| driver | 2 | 2 | 0 | 0 | 1 | 1 | 1 of 2 |" in kills
    assert "| disk full | 20% | failed: OSError | whole |" in faults

"""What people say of decisions: verdicts are rows, win over every rule, and can be withdrawn."""

import getpass
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.digests import key
from schemas.errors import DataError
from schemas.tables import DECISIONS, MEDIA, PAIRS, SOURCES, TEXTS, VERDICTS
from storage.lake import Lake
from storage.workbench import Workbench
from tasks.decide import KEPT, KEPT_PAIRS, Decided, kept_sql, offer_people
from tasks.ingest import Planned
from tasks.merge import NOW, WAS_NEAR, WAS_SAID, Merged, merged_bench
from tasks.run import Job, Run

Say = Literal["keep", "drop", "withdraw"]
SUBJECTS = {"media": MEDIA, "text": TEXTS, "pair": PAIRS}

# The present state, as the snapshot has it.
_AS_IT_IS = {
    "now_sources": "SELECT source_id, source, locator, fingerprint, media_id, text_ids, status, "
    "CASE WHEN status = 'quarantined' THEN reason END AS quarantine_reason, present, _rowaddr AS address, false AS is_reread, "
    "outcome AS was_outcome, reason AS was_reason, present AS was_present FROM addressed_sources",
    "now_media": "SELECT media_id, modality, width_px, height_px, phash, locators, present, _rowaddr AS address, "
    f"false AS is_fresh, false AS is_moved, {WAS_NEAR.format(b='b')}, {WAS_SAID.format(b='b')} FROM addressed_media b",
    "now_texts": f"SELECT text_id, text, present, _rowaddr AS address, {WAS_SAID.format(b='b')} FROM addressed_texts b",
    "now_pairs": "SELECT pair_id, media_id, text_id, role, present, _rowaddr AS address, role AS was_role, "
    f"{WAS_SAID.format(b='b')} FROM addressed_pairs b",
    "fresh_media": "SELECT NULL::VARCHAR AS media_id, NULL::VARCHAR AS source_id WHERE false",
    "clusters": "SELECT media_id, cluster_id FROM base_media WHERE present AND phash IS NOT NULL",
}


@dataclass(frozen=True)
class Statement:
    """What a person says of subjects.

    Args:
        say: keep or drop them, or withdraw what was said of them.
        subjects: Ids of media, texts, pairs or decisions; the first characters are enough where they name one.
        person: Who says so.
        comment: Why, in their words.
    """

    say: Say
    subjects: tuple[str, ...]
    person: str = ""
    comment: str = ""


def whoever() -> str:
    """Return the name of the user this process runs as, or "someone" where the system does not know."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "someone"


def find(lake: Lake, named: Sequence[str], at: str | None = None) -> list[tuple[str, str, str]]:
    """Return (subject, subject id, rule) of ids or beginnings of ids; the rule only where a decision was named.

    Raises:
        DataError: One names nothing, or several things.
    """
    return [_found(lake, name, at) for name in named]


def _found(lake: Lake, name: str, at: str | None) -> tuple[str, str, str]:
    if not name.isalnum() or len(name) < 6:
        raise DataError(f"{name!r} is no id: give at least 6 of its letters and digits")
    upper = name[:-1] + chr(ord(name[-1]) + 1)
    found: list[tuple[str, str, str]] = []
    for table, columns in (
        ("decisions", ["decision_id", "subject", "subject_id", "rule"]),
        *((spec.name, [spec.key]) for spec in SUBJECTS.values()),
    ):
        within = f"{columns[0]} >= '{name}' AND {columns[0]} < '{upper}'"
        for row in lake.read(table, at=at, columns=columns, where=within).to_pylist():
            if table == "decisions":
                found.append((row["subject"], row["subject_id"], row["rule"]))
            else:
                subject = next(s for s, spec in SUBJECTS.items() if spec.name == table)
                found.append((subject, row[columns[0]], ""))
    if not found:
        raise DataError(f"no medium, text, pair or decision has an id that starts with {name!r}")
    if len({what[:2] for what in found}) > 1:
        raise DataError(
            f"{name!r} starts {len(found)} ids, such as {found[0][1]} and {found[1][1]}; give more of it"
        )
    return found[0]


@task(cache_policy=NO_CACHE)
def state(job: Job, statement: Statement) -> Decided:
    """Stage the verdicts, and what is kept now that they stand beside the rules' decisions."""
    run = job.run
    with job.ledger.step("review") as step:
        merged = Merged(_nothing_new(run))
        with merged_bench(run, merged) as bench:
            people = run.staging.write(_rows(run, bench, statement), "decided", "people.arrow")
            bench.add_base(DECISIONS)
            bench.execute("CREATE TEMP VIEW drops AS SELECT * FROM base_decisions WHERE active")
            offer_people(bench, [people])
            kept = {}
            for subject in ("media", "text"):
                path = bench.stage(kept_sql(subject), "decided", f"kept-{subject}.arrow", schema=KEPT)
                bench.add_staged(f"kept_{subject}", [path], KEPT)
                kept[subject] = path
            kept["pair"] = bench.stage(KEPT_PAIRS, "decided", "kept-pair.arrow", schema=KEPT)
            step.count(statement.say, len(statement.subjects))
    return Decided(merged, (), (), kept, people=(people,))


def _nothing_new(run: Run) -> Planned:
    """Stage the snapshot as the present state."""
    from storage.workbench import workbench

    with workbench(run.lake, run.base, run.staging) as bench:
        bench.add_base(MEDIA)
        bench.add_addressed(SOURCES, MEDIA, TEXTS, PAIRS)
        for name, sql in _AS_IT_IS.items():
            bench.stage(sql, "merged", f"{name}.arrow", schema=NOW[name])
    run.staging.write(pa.table({"source_id": pa.array([], pa.string())}), "removed.arrow")
    return Planned((), items=0, listed=0, removed=0)


def _rows(run: Run, bench: Workbench, statement: Statement) -> pa.Table:
    """Return rows of `verdicts`: those said before that no longer stand, and the new ones."""
    bench.add_base(VERDICTS)
    now = datetime.now(UTC)
    found: list[dict[str, object]] = []
    for subject, subject_id, rule in find(
        run.lake, statement.subjects, run.base.snapshot_id if run.base else None
    ):
        before = bench.table(
            "SELECT * EXCLUDE (row_digest) FROM base_verdicts WHERE subject_id = ?", [subject_id]
        )
        standing = [row for row in before.to_pylist() if row["active"]]
        if statement.say == "withdraw" and not standing:
            raise DataError(
                f"nobody's verdict stands on {subject} {subject_id[:16]}; there is nothing to withdraw"
            )
        found += [row | {"active": False, "run_id": run.run_id} for row in standing]
        if statement.say != "withdraw":
            found.append(
                {
                    "verdict_id": key(subject_id, str(len(before))),
                    "subject": subject,
                    "subject_id": subject_id,
                    "verdict": statement.say,
                    "person": statement.person or whoever(),
                    "comment": statement.comment,
                    "about": rule,
                    "active": True,
                    "made_at": now,
                    "run_id": run.run_id,
                }
            )
    unique = {row["verdict_id"]: row for row in found}
    return pa.Table.from_pylist(list(unique.values()), schema=VERDICTS.schema)

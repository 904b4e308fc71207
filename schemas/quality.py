"""What rows of each table are expected to be, and how a recipe changes that."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.digests import params_digest
from schemas.errors import REASONS

Severity = Literal["critical", "warning"]
Status = Literal["passed", "failed", "raised", "skipped"]
Check = Literal[
    # Row by row, over shards. What is measured is the share of rows that fail.
    "not-null", "between", "matches", "in-set", "unit-vectors", "decodes",
    # Over the whole table, once. The same share.
    "columns", "unique", "exists-in", "none-where",
    # Over the whole table, once: a number of its own.
    "count", "share-where", "median", "largest-share", "folder-balance", "noise-rate", "noise-interval", "novelty",
    "score-drift", "mix-drift",
]  # fmt: skip
OF_ROWS = frozenset({"not-null", "between", "matches", "in-set", "unit-vectors"})
OF_SHARES = OF_ROWS | {"decodes", "columns", "unique", "exists-in", "none-where"}
EMBEDDINGS = "embeddings"  # stands for every table of vectors that a snapshot has
TABLES = (
    "sources", "media", "texts", "pairs", "scores", "decisions", "verdicts", "divisions", "reasons", "repairs",
    "captions", "served", "rewrites", "quarantine", EMBEDDINGS,
)  # fmt: skip

# What a check must be told, and what it may be told.
_NEEDS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    name: (frozenset(needs.split()), frozenset(takes.split()))
    for name, needs, takes in (
        ("not-null", "", ""), ("between", "", "low high"), ("matches", "regex", ""), ("in-set", "values", ""),
        ("unit-vectors", "", "tolerance"), ("decodes", "", "sample seed"), ("columns", "", ""), ("unique", "", ""),
        ("exists-in", "tables", "subject"), ("none-where", "condition", ""), ("count", "", "among"),
        ("share-where", "condition", "among min_rows"), ("median", "", "among min_rows"),
        ("largest-share", "", "among min_rows"), ("folder-balance", "", "role min_rows"), ("noise-rate", "", ""),
        ("noise-interval", "", ""), ("novelty", "", "min_rows"), ("score-drift", "", "min_rows"),
        ("mix-drift", "", "among min_rows"),
    )
}  # fmt: skip
_OF_A_COLUMN = OF_ROWS | {"decodes", "unique", "exists-in", "median", "largest-share", "mix-drift"}


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Expectation(_Frozen):
    """One thing that a table is expected to be.

    Args:
        name: "<table>.<what>"; names it in recipes, results and on the command line.
        table: The table; `embeddings` stands for every table of vectors.
        check: How it is checked.
        column: The column, where one is looked at.
        params: What the check must be told: `low` and `high`, a `regex`, `values`, a `condition` in SQL ...
        at_least: Lowest number that passes.
        at_most: Highest number that passes. Where rows are looked at one by one the number is the share that fails, and
            without a threshold none may.
        severity: critical: the tag does not move to a snapshot that fails. warning: it is shown.
        about: What it means, for a person.
    """

    name: str = Field(pattern=r"^[a-z_]+\.[a-z0-9-]+$")
    table: str
    check: Check
    column: str = ""
    params: dict[str, Any] = Field(default_factory=dict)
    at_least: float | None = None
    at_most: float | None = None
    severity: Severity = "warning"
    about: str = ""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.table not in TABLES:
            raise ValueError(f"{self.name}: no table is called {self.table!r}; known: {', '.join(TABLES)}")
        needs, takes = _NEEDS[self.check]
        if missing := sorted(needs - self.params.keys()):
            raise ValueError(f"{self.name}: {self.check} needs params.{missing[0]}")
        if strangers := sorted(self.params.keys() - needs - takes):
            known = ", ".join(sorted(needs | takes)) or "nothing"
            raise ValueError(f"{self.name}: {self.check} takes no {strangers[0]!r}; it takes {known}")
        if self.check in _OF_A_COLUMN and not self.column:
            raise ValueError(f"{self.name}: {self.check} looks at a column; name it")
        if self.check == "exists-in" and (
            odd := sorted(set(self.params["tables"]) - {"media", "texts", "pairs"})
        ):
            raise ValueError(
                f"{self.name}: what is named is looked up in media, texts or pairs, not in {odd[0]!r}"
            )
        if self.check not in OF_SHARES and self.at_least is None and self.at_most is None:
            raise ValueError(f"{self.name}: {self.check} needs at_least or at_most")
        return self

    @property
    def highest(self) -> float | None:
        """Highest number that passes; None: there is no such bound."""
        none_may_fail = self.check in OF_SHARES and self.at_least is None and self.at_most is None
        return 0.0 if none_may_fail else self.at_most

    @property
    def threshold(self) -> str:
        """The threshold as results write it, e.g. "at_most 0.5"."""
        bounds = (("at_least", self.at_least), ("at_most", self.highest))
        return ", ".join(f"{name} {bound:g}" for name, bound in bounds if bound is not None)

    def passes(self, value: float) -> bool:
        """Say whether a number is within the threshold. A number that is not one is not."""
        above = self.at_least is None or value >= self.at_least
        below = self.highest is None or value <= self.highest
        return value == value and above and below


class Change(_Frozen):
    """What a recipe says differently of an expectation; what it leaves out stays.

    Args:
        severity: critical or warning.
        at_least: Lowest number that passes.
        at_most: Highest number that passes.
        params: Replaces the parameters it names.
    """

    severity: Severity | None = None
    at_least: float | None = None
    at_most: float | None = None
    params: dict[str, Any] = Field(default_factory=dict)


class QualityRecipe(_Frozen):
    """What a snapshot is expected to be before a tag moves to it: the suite that ships, changed by name.

    Args:
        change: {expectation: what is different}.
        skip: Expectations that are not checked.
        add: Further expectations.
    """

    change: dict[str, Change] = Field(default_factory=dict)
    skip: tuple[str, ...] = ()
    add: tuple[Expectation, ...] = ()

    @model_validator(mode="after")
    def _names_what_there_is(self) -> Self:
        known = {expectation.name for expectation in SUITE}
        for name in (*self.change, *self.skip):
            if name not in known:
                raise ValueError(f"no expectation is called {name!r}; known: {', '.join(sorted(known))}")
        names = [*known, *(expectation.name for expectation in self.add)]
        if twice := sorted(name for name in set(names) if names.count(name) > 1):
            raise ValueError(f"two expectations are called {twice[0]!r}; use change for one that ships")
        self.suite()
        return self

    def suite(self) -> tuple[Expectation, ...]:
        """Return the expectations in force, those that ship first."""
        kept = (_changed(each, self.change.get(each.name)) for each in SUITE if each.name not in self.skip)
        return (*kept, *self.add)

    @property
    def digest(self) -> str:
        """Digest over all that decides a result; not over what a person is told about it."""
        return params_digest(
            {each.name: each.model_dump(mode="json", exclude={"about"}) for each in self.suite()}
        )


def _changed(expectation: Expectation, change: Change | None) -> Expectation:
    if change is None:
        return expectation
    said = change.model_dump(exclude_none=True, exclude={"params"})
    return Expectation.model_validate(
        expectation.model_dump() | said | {"params": expectation.params | change.params}
    )


def _critical(names: Iterable[Mapping[str, Any]]) -> tuple[Expectation, ...]:
    return tuple(Expectation.model_validate({"severity": "critical", **said}) for said in names)


def _structure(table: str, key: str) -> tuple[Expectation, ...]:
    """Return what holds of every table: its columns are there with their types, and its key is a key."""
    return _critical(
        (
            {"name": f"{table}.columns", "table": table, "check": "columns",
             "about": "Every column is there and has its type."},
            {"name": f"{table}.key", "table": table, "check": "not-null", "column": key, "about": "Every row has a key."},
            {"name": f"{table}.unique", "table": table, "check": "unique", "column": key, "about": "No key stands twice."},
        )
    )  # fmt: skip


def _of_subject(table: str) -> tuple[Expectation, ...]:
    """Return that what a row speaks of is there: media, texts or pairs, as `subject` says."""
    tables = {"media": "media", "text": "texts", "pair": "pairs"}
    return _critical(
        {"name": f"{table}.{subject}-exists", "table": table, "check": "exists-in", "column": "subject_id",
         "params": {"tables": [of], "subject": subject}, "about": f"What is said of a {subject} is said of one that is there."}
        for subject, of in tables.items()
    )  # fmt: skip


_HERE = "present"
_KEPT = "present AND kept IS NOT false"
# Licences that let anyone use and share the work, with or without naming the author. A recipe lists its own.
OPEN_LICENCES = (
    "CC0", "CC0-1.0", "CC-PDDC", "PDM-1.0", "public domain", "Public Domain", "CC-BY", "CC-BY-2.0", "CC-BY-2.5", "CC-BY-3.0",
    "CC-BY-4.0", "CC-BY-SA", "CC-BY-SA-2.0", "CC-BY-SA-2.5", "CC-BY-SA-3.0", "CC-BY-SA-4.0", "MIT", "Apache-2.0",
    "Unlicense", "OFL-1.1",
)  # fmt: skip

SUITE: tuple[Expectation, ...] = (
    *_structure("sources", "source_id"),
    *_structure("media", "media_id"),
    *_structure("texts", "text_id"),
    *_structure("pairs", "pair_id"),
    *_structure("scores", "score_id"),
    *_structure("decisions", "decision_id"),
    *_structure("quarantine", "quarantine_id"),
    *_structure(EMBEDDINGS, "item_id"),
    *_of_subject("scores"),
    *_of_subject("decisions"),
    *_critical(
        (
            {"name": "media.id", "table": "media", "check": "matches", "column": "media_id",
             "params": {"regex": "^[0-9a-f]{64}$"}, "about": "A medium's id is the SHA-256 of its bytes."},
            {"name": "media.thumbnails-decode", "table": "media", "check": "decodes", "column": "thumbnail",
             "params": {"sample": 200, "seed": 0}, "about": "Thumbnails, of a sample, are pictures that can be opened."},
            {"name": "texts.text", "table": "texts", "check": "not-null", "column": "text", "about": "A text has words."},
            {"name": "texts.origin", "table": "texts", "check": "in-set", "column": "origin",
             "params": {"values": ["raw", "file-name", "synthetic"]}, "about": "It is known where a text came from."},
            {"name": "pairs.media-exists", "table": "pairs", "check": "exists-in", "column": "media_id",
             "params": {"tables": ["media"]}, "about": "The medium of every pair is there."},
            {"name": "pairs.text-exists", "table": "pairs", "check": "exists-in", "column": "text_id",
             "params": {"tables": ["texts"]}, "about": "The text of every pair is there."},
            {"name": "scores.finite", "table": "scores", "check": "none-where",
             "params": {"condition": "isnan(value) OR isinf(value)"}, "about": "A score is a number, or null."},
            {"name": "embeddings.item-exists", "table": EMBEDDINGS, "check": "exists-in", "column": "item_id",
             "params": {"tables": ["media", "texts"]}, "about": "What a vector stands for is there."},
            {"name": "embeddings.unit-vectors", "table": EMBEDDINGS, "check": "unit-vectors", "column": "vector",
             "params": {"tolerance": 0.001}, "about": "Vectors have the table's width, are finite, and of unit length."},
        )
    ),
    *(
        Expectation.model_validate(said)
        for said in (
            {"name": "sources.outcome", "table": "sources", "check": "in-set", "column": "outcome",
             "params": {"values": ["kept", "merged", "filtered", "quarantined", "removed"]},
             "about": "What became of an item is one of five things."},
            {"name": "sources.merged", "table": "sources", "check": "share-where", "at_most": 0.5,
             "params": {"condition": "outcome = 'merged'", "among": _HERE, "min_rows": 100},
             "about": "Share of the items that repeat another one's bytes."},
            {"name": "sources.quarantined", "table": "sources", "check": "share-where", "at_most": 0.5,
             "params": {"condition": "outcome = 'quarantined'", "among": _HERE, "min_rows": 100},
             "about": "Share of the items that were refused."},
            {"name": "media.size", "table": "media", "check": "between", "column": "size_bytes", "params": {"low": 1},
             "about": "A medium has bytes."},
            {"name": "media.width", "table": "media", "check": "between", "column": "width_px", "params": {"low": 1},
             "about": "A picture has width."},
            {"name": "media.height", "table": "media", "check": "between", "column": "height_px", "params": {"low": 1},
             "about": "A picture has height."},
            {"name": "media.phash", "table": "media", "check": "matches", "column": "phash",
             "params": {"regex": "^[0-9a-f]{16}$"}, "about": "A difference hash has 64 bits."},
            {"name": "media.says-why", "table": "media", "check": "none-where",
             "params": {"condition": "present AND kept IS false AND dropped_by IS NULL"},
             "about": "What was dropped says by which rule."},
            {"name": "media.kept", "table": "media", "check": "share-where", "at_least": 0.05,
             "params": {"condition": "kept IS NOT false", "among": _HERE, "min_rows": 100},
             "about": "Share of the media that are kept."},
            {"name": "media.near-duplicates", "table": "media", "check": "share-where", "at_most": 0.5,
             "params": {"condition": "cluster_id <> media_id", "among": _KEPT, "min_rows": 100},
             "about": "Share of the kept media that another one, nearly the same, stands for."},
            {"name": "media.licence-allowed", "table": "media", "check": "in-set", "column": "licence",
             "params": {"values": list(OPEN_LICENCES)}, "about": "A licence that is stated is one of those allowed."},
            {"name": "media.folder-balance", "table": "media", "check": "folder-balance", "at_most": 0.5,
             "params": {"role": "folder", "min_rows": 100},
             "about": "Share of the kept media that have the most frequent folder or category, of those that have one."},
            {"name": "texts.length", "table": "texts", "check": "between", "column": "length_chars",
             "params": {"low": 1, "high": 20_000}, "about": "A text is no longer than the sources are allowed."},
            {"name": "texts.median-length", "table": "texts", "check": "median", "column": "length_chars",
             "at_least": 3, "at_most": 400, "params": {"among": _KEPT, "min_rows": 100},
             "about": "Middle length of the kept texts, in characters."},
            {"name": "texts.language", "table": "texts", "check": "matches", "column": "language",
             "params": {"regex": "^[a-z]{2,8}$"}, "about": "A language is a BCP 47 primary subtag, or und."},
            {"name": "texts.language-known", "table": "texts", "check": "share-where", "at_most": 0.9,
             "params": {"condition": "language = 'und'", "among": _KEPT, "min_rows": 100},
             "about": "Share of the kept texts whose language nobody knows."},
            {"name": "texts.language-mix", "table": "texts", "check": "mix-drift", "column": "language", "at_most": 0.2,
             "params": {"among": _KEPT, "min_rows": 100},
             "about": "Share of the kept texts that would have to change language to give the mix of the snapshot before."},
            {"name": "texts.novelty", "table": "texts", "check": "novelty", "at_least": 0.1, "params": {"min_rows": 20},
             "about": "Distinct texts the platform wrote that no source has, to kept pairs with such texts."},
            {"name": "pairs.role", "table": "pairs", "check": "not-null", "column": "role",
             "about": "It is known what a text is to its medium."},
            {"name": "pairs.says-why", "table": "pairs", "check": "none-where",
             "params": {"condition": "present AND kept IS false AND dropped_by IS NULL"},
             "about": "What was dropped says by which rule."},
            {"name": "pairs.kept", "table": "pairs", "check": "share-where", "at_least": 0.05,
             "params": {"condition": "kept IS NOT false", "among": _HERE, "min_rows": 100},
             "about": "Share of the pairs that are kept."},
            {"name": "pairs.role-mix", "table": "pairs", "check": "mix-drift", "column": "role", "at_most": 0.2,
             "params": {"among": _KEPT, "min_rows": 100},
             "about": "Share of the kept pairs that would have to change role to give the mix of the snapshot before."},
            {"name": "scores.drift", "table": "scores", "check": "score-drift", "at_most": 0.2, "params": {"min_rows": 100},
             "about": "Largest gap between a scorer's values now and in the snapshot before (Kolmogorov-Smirnov)."},
            {"name": "divisions.noise-rate", "table": "divisions", "check": "noise-rate", "at_most": 0.6,
             "about": "Upper end of the estimated share of pairs whose text does not belong."},
            {"name": "divisions.noise-interval", "table": "divisions", "check": "noise-interval", "at_most": 0.5,
             "about": "Width of that estimate's 95 % interval."},
            {"name": "quarantine.reason", "table": "quarantine", "check": "in-set", "column": "reason",
             "params": {"values": sorted(REASONS)}, "about": "A refusal has one of the known reasons."},
        )
    ),
)  # fmt: skip

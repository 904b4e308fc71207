"""Arrow schemas of every table: the only place a column is named.

Two kinds. *Content* tables are named by a snapshot and covered by its digest; each has one key and a
`row_digest` (16 bytes) over the columns that decide what the row says. *Log* tables are append-only records
of what was done and stand outside snapshots.

Times are UTC microseconds. Digests are lower-case hex. Lists are sorted, so that equal content is equal bytes.
"""

from dataclasses import dataclass

import pyarrow as pa

from schemas.errors import NoSuchTable

TIME = pa.timestamp("us", tz="UTC")
STRINGS = pa.list_(pa.string())


@dataclass(frozen=True)
class TableSpec:
    """A table's columns, its key, and which columns do not count as content.

    Args:
        name: Table name in the lake.
        schema: Arrow schema, without `row_digest`.
        key: Column that identifies a row.
        derived: Columns that follow from the others (or say only when and by whom): left out of `row_digest`,
            so the same input gives the same digest on another machine and another day.
    """

    name: str
    schema: pa.Schema
    key: str
    derived: frozenset[str] = frozenset()

    @property
    def stored(self) -> pa.Schema:
        """The schema on disk: the columns and `row_digest`."""
        return self.schema.append(pa.field("row_digest", pa.binary(16)))

    @property
    def content_columns(self) -> list[str]:
        """Columns the row's digest covers, sorted."""
        return sorted(set(self.schema.names) - self.derived)


def _key(name: str) -> pa.Field:
    return pa.field(name, pa.string(), nullable=False)


# One row per input item: a file, a tar sample, a manifest row, a URL. Counts reconcile over `outcome`.
SOURCES = TableSpec(
    "sources",
    pa.schema(
        [
            _key("source_id"),  # key(source name, locator)
            pa.field("source", pa.string()),  # the source's name in the recipe
            pa.field(
                "locator", pa.string()
            ),  # where inside it: relative path, tar!member, URL, manifest entry
            pa.field(
                "fingerprint", pa.string()
            ),  # size, time and text digest: unchanged means not read again
            pa.field("media_id", pa.string()),  # null: a text alone, or quarantined
            pa.field("text_ids", STRINGS),
            pa.field("status", pa.string()),  # ok | quarantined
            pa.field("outcome", pa.string()),  # kept | merged | filtered | quarantined | removed
            pa.field("reason", pa.string()),  # rule or quarantine reason behind the outcome
            pa.field("present", pa.bool_()),  # false: no longer in the source; the row stays
            pa.field("run_id", pa.string()),
        ]
    ),
    key="source_id",
    derived=frozenset({"fingerprint", "run_id"}),
)

# One row per distinct medium of any modality.
MEDIA = TableSpec(
    "media",
    pa.schema(
        [
            _key("media_id"),  # SHA-256 of the bytes
            pa.field("modality", pa.string()),  # image | audio | video | document | score | pose | molecule
            pa.field("media_type", pa.string()),  # from the bytes, e.g. image/png
            pa.field("size_bytes", pa.int64()),
            pa.field("width_px", pa.int32()),  # after EXIF orientation; null where there is no picture
            pa.field("height_px", pa.int32()),
            pa.field("duration_s", pa.float64()),  # null where there is no time
            pa.field("colour_mode", pa.string()),  # the decoder's name: RGB, RGBA, CMYK, I;16, P, LA ...
            pa.field("orientation", pa.int8()),  # EXIF 1-8 as found; already applied
            pa.field("frames", pa.int32()),
            pa.field("animated", pa.bool_()),  # only the first frame was taken
            pa.field("has_alpha", pa.bool_()),  # composited on white
            pa.field("phash", pa.string()),  # 64-bit difference hash, 16 hex digits; null without a picture
            pa.field(
                "cluster_id", pa.string()
            ),  # media_id that stands for its near-duplicates; itself if alone
            pa.field("thumbnail", pa.binary()),  # WebP
            pa.field("uri", pa.string()),  # where the bytes are: media store, or left in place
            pa.field("decoder", pa.string()),  # name and version
            pa.field("concept", pa.string()),  # same concept in other modalities, where the source says so
            pa.field("licence", pa.string()),
            pa.field("credit", pa.string()),  # whom the source names as origin
            pa.field("locators", STRINGS),  # every place it was found at: exact duplicates are merged here
            pa.field("extra", pa.string()),  # further columns of the source, JSON
            pa.field("present", pa.bool_()),
            pa.field("kept", pa.bool_()),
            pa.field("dropped_by", pa.string()),  # first rule that dropped it, in recipe order
            pa.field("run_id", pa.string()),
        ]
    ),
    key="media_id",
    derived=frozenset({"thumbnail", "uri", "decoder", "run_id"}),
)

# One row per distinct (text, language, origin).
TEXTS = TableSpec(
    "texts",
    pa.schema(
        [
            _key("text_id"),
            pa.field("text", pa.string()),  # NFC, whitespace kept
            pa.field("language", pa.string()),  # BCP 47 primary subtag; "und" if unknown
            pa.field("language_from", pa.string()),  # declared | detected
            pa.field("origin", pa.string()),  # raw | file-name | synthetic
            pa.field("generator", pa.string()),  # what wrote it, when synthetic
            pa.field("length_chars", pa.int32()),
            pa.field("present", pa.bool_()),
            pa.field("kept", pa.bool_()),
            pa.field("dropped_by", pa.string()),
            pa.field("run_id", pa.string()),
        ]
    ),
    key="text_id",
    derived=frozenset({"run_id"}),
)

# One row per link between a medium and a text.
PAIRS = TableSpec(
    "pairs",
    pa.schema(
        [
            _key("pair_id"),  # key(media_id, text_id)
            pa.field("media_id", pa.string()),
            pa.field("text_id", pa.string()),
            pa.field(
                "role", pa.string()
            ),  # what the text is to the medium: caption, title, keywords, folder ...
            pa.field("present", pa.bool_()),
            pa.field("kept", pa.bool_()),
            pa.field("dropped_by", pa.string()),
            pa.field("run_id", pa.string()),
        ]
    ),
    key="pair_id",
    derived=frozenset({"run_id"}),
)

# The method under which `scores` has what a study of correspondence says of a pair, P(true), whoever its scorer is.
CONSENSUS = "consensus"

# Long: the eightieth scorer changes no schema.
SCORES = TableSpec(
    "scores",
    pa.schema(
        [
            _key("score_id"),  # key(subject_id, method, params_digest)
            pa.field("subject", pa.string()),  # media | text | pair
            pa.field("subject_id", pa.string()),
            pa.field("method", pa.string()),
            pa.field("params_digest", pa.string()),
            pa.field("inputs", pa.string()),  # what it was computed from; the value is a function of this
            pa.field("value", pa.float32()),
            pa.field("run_id", pa.string()),
        ]
    ),
    key="score_id",
    derived=frozenset({"value", "run_id"}),
)

# One row per rule that spoke against a subject.
DECISIONS = TableSpec(
    "decisions",
    pa.schema(
        [
            _key("decision_id"),  # key(subject_id, rule, rule_digest)
            pa.field("subject", pa.string()),
            pa.field("subject_id", pa.string()),
            pa.field("verdict", pa.string()),  # drop | flag
            pa.field("rule", pa.string()),
            pa.field("method", pa.string()),
            pa.field("params_digest", pa.string()),
            pa.field("value", pa.float32()),
            pa.field("threshold", pa.string()),  # e.g. "at_least 32"
            pa.field("rule_digest", pa.string()),  # over method, parameters and thresholds
            pa.field("position", pa.int32()),  # of the rule in the recipe: the first that drops is the reason
            pa.field("active", pa.bool_()),  # false: a later run of the recipe no longer says so
            pa.field("run_id", pa.string()),
        ]
    ),
    key="decision_id",
    derived=frozenset({"value", "run_id", "threshold"}),
)

# One row per statement of a person on a subject; the active one wins over every rule.
VERDICTS = TableSpec(
    "verdicts",
    pa.schema(
        [
            _key("verdict_id"),  # key(subject_id, how many statements came before)
            pa.field("subject", pa.string()),  # media | text | pair
            pa.field("subject_id", pa.string()),
            pa.field("verdict", pa.string()),  # keep | drop
            pa.field("person", pa.string()),
            pa.field("comment", pa.string()),
            pa.field("about", pa.string()),  # the rule it answers, where there is one
            pa.field("active", pa.bool_()),  # false: withdrawn, or a later statement took its place
            pa.field("made_at", TIME),
            pa.field("run_id", pa.string()),
        ]
    ),
    key="verdict_id",
    derived=frozenset({"made_at", "run_id"}),
)

# One row per division of pairs into clean, disputed and noisy: how it was done and how far to trust it.
DIVISIONS = TableSpec(
    "divisions",
    pa.schema(
        [
            _key("division_id"),  # key(rule_digest)
            pa.field("scorer", pa.string()),
            pa.field("divider", pa.string()),
            pa.field("params", pa.string()),  # JSON of the recipe's part
            pa.field("rule_digest", pa.string()),
            pa.field("inputs", pa.string()),  # digest over pairs, vectors, classes and verdicts
            pa.field("separable", pa.bool_()),  # false: nothing is dropped by it
            pa.field("why", pa.string()),
            pa.field("noise_rate", pa.float32()),  # null: cannot tell
            pa.field("noise_rate_low", pa.float32()),  # 95 % interval
            pa.field("noise_rate_high", pa.float32()),
            pa.field("pairs", pa.int64()),
            pa.field("clean", pa.int64()),
            pa.field("disputed", pa.int64()),
            pa.field("noisy", pa.int64()),
            pa.field("reliability", pa.string()),  # JSON [{said, found, n}]: P(true) said and found, by bin
            pa.field(
                "components", pa.string()
            ),  # JSON: the scores by bin and the two kinds in them; `tasks.correspond`
            pa.field("active", pa.bool_()),
            pa.field("run_id", pa.string()),
        ]
    ),
    key="division_id",
    derived=frozenset(
        {
            "why",
            "noise_rate",
            "noise_rate_low",
            "noise_rate_high",
            "clean",
            "disputed",
            "noisy",
            "reliability",
            "components",
            "run_id",
        }
    ),
)

# One row per thing a person needs to judge a doubtful pair in a second.
REASONS_OF_PAIRS = TableSpec(
    "reasons",
    pa.schema(
        [
            _key("reason_id"),  # key(pair_id, kind, method, position)
            pa.field("pair_id", pa.string()),
            pa.field("kind", pa.string()),  # scorer | better-text | better-media | rule
            pa.field("method", pa.string()),  # the scorer or rule
            pa.field("position", pa.int32()),  # order within the kind
            pa.field("value", pa.float32()),  # score, similarity, or count behind the rule
            pa.field("own", pa.float32()),  # the pair's own value beside it, where that says something
            pa.field("ref_id", pa.string()),  # text_id or media_id it points to
            pa.field("said", pa.string()),  # in words
            pa.field("active", pa.bool_()),
            pa.field("run_id", pa.string()),
        ]
    ),
    key="reason_id",
    derived=frozenset({"value", "own", "said", "run_id"}),
)

# One row per proposed remedy, beside the raw text and never over it.
REPAIRS = TableSpec(
    "repairs",
    pa.schema(
        [
            _key("repair_id"),  # key(pair_id, method, params_digest)
            pa.field("pair_id", pa.string()),  # the pair to mend
            pa.field("media_id", pa.string()),
            pa.field("kind", pa.string()),  # rematch | pseudo-caption | soft-label
            pa.field("method", pa.string()),
            pa.field("params_digest", pa.string()),
            pa.field("text_id", pa.string()),  # the text proposed; null: the pair's own, with another weight
            pa.field("label", pa.float32()),  # y in [0, 1]: how true to take it in training
            pa.field("applied", pa.bool_()),  # the recipe serves it in place of the pair's own text
            pa.field("active", pa.bool_()),
            pa.field("run_id", pa.string()),
        ]
    ),
    key="repair_id",
    derived=frozenset({"label", "run_id"}),
)

# One row per draft of a caption, refused and rewritten ones too: what wrote it, from what, and what was found of it.
# The last draft of a generator for a medium is also a text (origin synthetic) and a pair, kept if it was accepted.
CAPTIONS = TableSpec(
    "captions",
    pa.schema(
        [
            _key("caption_id"),  # key(media_id, generator, params_digest, attempt)
            pa.field("media_id", pa.string()),
            pa.field("text_id", pa.string()),  # null: no text came of it, or it was rewritten
            pa.field("text", pa.string()),
            pa.field("language", pa.string()),
            pa.field("generator", pa.string()),  # name of the captioner
            pa.field("version", pa.string()),
            pa.field("params", pa.string()),  # JSON
            pa.field("params_digest", pa.string()),
            pa.field("attempt", pa.int8()),  # 1, or 2 after a rewrite
            pa.field("status", pa.string()),  # accepted | refused | rewritten | failed
            pa.field("reason", pa.string()),  # why refused, rewritten or failed
            pa.field("parents", STRINGS),  # texts and media it was made from; a rewrite names its first draft
            pa.field("statements", pa.string()),  # JSON [{text, kind, confidence, support, parents}]
            pa.field("slots", pa.string()),  # JSON [{head, attributes, assertion}] of its factual phrases
            pa.field("facts", pa.string()),  # JSON of what the captioner measured on the way
            pa.field("scores", pa.string()),  # JSON {assessor: score}
            pa.field("cost", pa.string()),  # JSON {unit: amount}
            pa.field(
                "learned_from", pa.string()
            ),  # digest of the pairs a captioner learnt from; "" if it did not
            pa.field("inputs", pa.string()),  # digest of the medium and the texts the captioner could read
            pa.field("active", pa.bool_()),
            pa.field("run_id", pa.string()),
        ]
    ),
    key="caption_id",
    derived=frozenset({"statements", "facts", "scores", "cost", "run_id"}),
)

# One row per text that a use is given for a medium, raw and synthetic ranked together.
SERVED = TableSpec(
    "served",
    pa.schema(
        [
            _key("served_id"),  # MD5 of media_id, use and text_id with a blank between: made in SQL
            pa.field("media_id", pa.string()),
            pa.field("text_id", pa.string()),
            pa.field("use", pa.string()),  # search | training | display, or what the recipe names
            pa.field("rank", pa.int32()),  # 1 is best
            pa.field("score", pa.float32()),
            pa.field("origin", pa.string()),  # raw | file-name | synthetic
            pa.field("active", pa.bool_()),
            pa.field("run_id", pa.string()),
        ]
    ),
    key="served_id",
    derived=frozenset({"score", "run_id"}),
)

# One row per text made from another by a known change: hard negatives and paraphrases, for training and evaluation.
REWRITES = TableSpec(
    "rewrites",
    pa.schema(
        [
            _key("rewrite_id"),  # key(text_id, media_id, method, params_digest, text)
            pa.field("media_id", pa.string()),
            pa.field("text_id", pa.string()),  # the text it was made from
            pa.field("text", pa.string()),
            pa.field("kind", pa.string()),  # colour | count | object | form ...
            pa.field("before", pa.string()),
            pa.field("after", pa.string()),
            pa.field("is_true", pa.bool_()),  # whether it still fits the medium
            pa.field("method", pa.string()),
            pa.field("params_digest", pa.string()),
            pa.field("active", pa.bool_()),
            pa.field("run_id", pa.string()),
        ]
    ),
    key="rewrite_id",
    derived=frozenset({"run_id"}),
)

# One row per refused input.
QUARANTINE = TableSpec(
    "quarantine",
    pa.schema(
        [
            _key("quarantine_id"),  # key(source_id, fingerprint, stage, reason)
            pa.field("source_id", pa.string()),
            pa.field("source", pa.string()),
            pa.field("locator", pa.string()),
            pa.field("stage", pa.string()),  # list | fetch | decode | text
            pa.field("reason", pa.string()),  # a key of schemas.errors.REASONS
            pa.field("error_class", pa.string()),
            pa.field("message", pa.string()),
            pa.field("media_id", pa.string()),  # digest of the bytes, where they could be read
            pa.field("size_bytes", pa.int64()),
            pa.field("decoder", pa.string()),
            pa.field("active", pa.bool_()),  # false: since replayed with success, changed, or removed
            pa.field("quarantined_at", TIME),
            pa.field("run_id", pa.string()),
        ]
    ),
    key="quarantine_id",
    derived=frozenset({"message", "decoder", "quarantined_at", "run_id", "quarantine_id"}),
)


def embeddings(table: str, dim: int) -> TableSpec:
    """Spec of an encoder's table; the width of its vectors is part of the type.

    Args:
        table: "embeddings_<encoder>".
        dim: D, width of the vectors.
    """
    return TableSpec(
        table,
        pa.schema(
            [
                _key("item_id"),  # media_id or text_id
                pa.field("side", pa.string()),  # media | text
                pa.field("modality", pa.string()),
                pa.field("encoder_digest", pa.string()),  # EncoderIdentity.digest
                pa.field("vector", pa.list_(pa.float32(), dim)),  # unit length
                pa.field("run_id", pa.string()),
            ]
        ),
        key="item_id",
        derived=frozenset({"vector", "run_id"}),
    )


def tokens(table: str, dim: int) -> TableSpec:
    """Spec of a table of token vectors: what items are compared by part by part, and one vector to find them by.

    Args:
        table: "tokens_<name>".
        dim: d, width of the vectors.
    """
    return TableSpec(
        table,
        pa.schema(
            [
                _key("item_id"),  # media_id or text_id
                pa.field("side", pa.string()),  # media | text
                pa.field("modality", pa.string()),
                pa.field("encoder_digest", pa.string()),  # of what made the tokens, heads included
                pa.field("vector", pa.list_(pa.float32(), dim)),  # of the whole, unit length
                pa.field("tokens", pa.list_(pa.list_(pa.float32(), dim))),  # unit length each, in order
                pa.field("run_id", pa.string()),
            ]
        ),
        key="item_id",
        derived=frozenset({"vector", "tokens", "run_id"}),
    )


def codes(table: str, bits: int) -> TableSpec:
    """Spec of a table of binary codes of both sides; their length is part of the type.

    Args:
        table: "codes_<name>".
        bits: Of a code; a multiple of 8.
    """
    return TableSpec(
        table,
        pa.schema(
            [
                _key("item_id"),  # media_id or text_id
                pa.field("side", pa.string()),  # media | text
                pa.field("modality", pa.string()),
                pa.field("coder_digest", pa.string()),  # of the coder's state and of the encoders behind it
                pa.field("code", pa.list_(pa.uint8(), bits // 8)),  # the first bit is the highest
                pa.field("run_id", pa.string()),
            ]
        ),
        key="item_id",
        derived=frozenset({"code", "run_id"}),
    )


# Logs: append-only, outside snapshots.
RUNS = TableSpec(
    "runs",
    pa.schema(
        [
            _key("run_id"),
            pa.field("flow", pa.string()),
            pa.field("status", pa.string()),  # committed | unchanged | failed
            pa.field("recipe", pa.string()),  # name
            pa.field("recipe_json", pa.string()),
            pa.field("recipe_digest", pa.string()),
            pa.field("code_version", pa.string()),
            pa.field("encoders", pa.string()),  # JSON list of identities
            pa.field("read_snapshot", pa.string()),
            pa.field("written_snapshot", pa.string()),
            pa.field("versions_read", pa.string()),  # JSON {table: version}
            pa.field("versions_written", pa.string()),
            pa.field("counts", pa.string()),  # JSON {step: {reason or outcome: n}}
            pa.field(
                "costs", pa.string()
            ),  # JSON [{step, wall_s, cpu_s, gpu_s, read_bytes, written_bytes, items}]
            pa.field("cost_per_1000_kept", pa.string()),  # JSON {wall_s, cpu_s, gpu_s}
            pa.field("message", pa.string()),
            pa.field("started_at", TIME),
            pa.field("finished_at", TIME),
        ]
    ),
    key="run_id",
)

SNAPSHOTS = TableSpec(
    "snapshots",
    pa.schema(
        [
            _key("snapshot_id"),  # "s000001": order of commit
            pa.field("parent_id", pa.string()),
            pa.field("digest", pa.string()),  # over the content of every table: equal content, equal digest
            pa.field("versions", pa.string()),  # JSON {table: Lance version}
            pa.field("digests", pa.string()),  # JSON {table: digest}
            pa.field("row_counts", pa.string()),  # JSON {table: rows}
            pa.field("recipe_digest", pa.string()),
            pa.field("run_id", pa.string()),
            pa.field("created_at", TIME),
        ]
    ),
    key="snapshot_id",
)

# The last row of a name is where the tag points; earlier rows are where it pointed.
TAGS = TableSpec(
    "tags",
    pa.schema(
        [
            _key("move_id"),
            pa.field("tag", pa.string()),
            pa.field("snapshot_id", pa.string()),  # null: the tag was removed
            pa.field("run_id", pa.string()),
            pa.field("moved_at", TIME),
        ]
    ),
    key="move_id",
)

# One row per number a bench measured.
METRICS = TableSpec(
    "metrics",
    pa.schema(
        [
            _key("metric_id"),
            pa.field("bench", pa.string()),
            pa.field("corpus", pa.string()),
            pa.field("protocol", pa.string()),  # how noise was planted; never compare across protocols
            pa.field("rate", pa.float32()),
            pa.field("seed", pa.int64()),
            pa.field("subject", pa.string()),  # a scorer, the consensus, or "arm: <remedy>"
            pa.field("metric", pa.string()),
            pa.field("value", pa.float64()),
            pa.field("recipe", pa.string()),  # JSON of the bench's plan
            pa.field("code_version", pa.string()),
            pa.field("data", pa.string()),  # digest of the snapshot the vectors came from
            pa.field("run_id", pa.string()),
            pa.field("measured_at", TIME),
        ]
    ),
    key="metric_id",
)

# One row per measurement of an index over vectors. A row speaks of the index whose parts it names, in any snapshot.
INDEXES = TableSpec(
    "indexes",
    pa.schema(
        [
            _key("measure_id"),
            pa.field("table", pa.string()),
            pa.field(
                "parts", pa.string()
            ),  # identities of its parts, sorted, joined by commas; "" if dropped
            pa.field("kind", pa.string()),  # IVF_RQ | IVF_FLAT
            pa.field("action", pa.string()),  # built | extended | measured | dropped
            pa.field(
                "settings", pa.string()
            ),  # JSON [{side, depth, filtered, nprobes, refine, recall, ... ms}]
            pa.field("floor", pa.float64()),  # recall the recipe asks for
            pa.field("recall", pa.float64()),  # at 10, the worst of the directions; null: not measured
            pa.field("recall_filtered", pa.float64()),  # the same, one row in ten passing
            pa.field("p50_exact_ms", pa.float64()),
            pa.field("p50_index_ms", pa.float64()),
            pa.field("rows_trained", pa.int64()),  # when it was last trained rather than extended
            pa.field("rows_covered", pa.int64()),
            pa.field("build_s", pa.float64()),
            pa.field("size_bytes", pa.int64()),
            pa.field("alert", pa.string()),  # what is wrong with it; "" if nothing is
            pa.field("active", pa.bool_()),  # false: dropped
            pa.field("snapshot_id", pa.string()),  # that it was measured for
            pa.field("run_id", pa.string()),
            pa.field("measured_at", TIME),
        ]
    ),
    key="measure_id",
)

# One row per expectation and table of a check: what was found of a snapshot, and whether that was good enough.
QUALITY = TableSpec(
    "quality",
    pa.schema(
        [
            _key("quality_id"),  # key(snapshot_id, suite_digest, table, name, when)
            pa.field("snapshot_id", pa.string()),
            pa.field("suite_digest", pa.string()),  # over the suite; a snapshot is checked once by each
            pa.field("run_id", pa.string()),
            pa.field("against", pa.string()),  # snapshot that drift is measured against; "" without one
            pa.field("table", pa.string()),
            pa.field("name", pa.string()),  # as recipes call it
            pa.field("expectation", pa.string()),  # as Great Expectations calls it
            pa.field("column", pa.string()),
            pa.field("parameters", pa.string()),  # JSON
            pa.field("severity", pa.string()),  # critical | warning
            pa.field("status", pa.string()),  # passed | failed | raised | skipped
            pa.field("observed", pa.float64()),  # null: nothing was measured
            pa.field("threshold", pa.string()),  # e.g. "at_most 0.5"
            pa.field("rows", pa.int64()),  # looked at, without nulls where nulls do not count
            pa.field("unexpected", pa.int64()),  # of them; null where no row is at fault by itself
            pa.field("share", pa.float64()),  # unexpected / rows
            pa.field("offending", STRINGS),  # ids of at most 20 of them
            pa.field("reason", pa.string()),  # what was found, in words: why it failed, raised or was skipped
            pa.field("checked_at", TIME),
        ]
    ),
    key="quality_id",
)

CONTENT: dict[str, TableSpec] = {
    spec.name: spec
    for spec in (
        SOURCES,
        MEDIA,
        TEXTS,
        PAIRS,
        SCORES,
        DECISIONS,
        VERDICTS,
        DIVISIONS,
        REASONS_OF_PAIRS,
        REPAIRS,
        CAPTIONS,
        SERVED,
        REWRITES,
        QUARANTINE,
    )
}
LOGS: dict[str, TableSpec] = {spec.name: spec for spec in (RUNS, SNAPSHOTS, TAGS, METRICS, INDEXES, QUALITY)}
EMBEDDINGS_PREFIX = "embeddings_"
TOKENS_PREFIX = "tokens_"
CODES_PREFIX = "codes_"


def spec_of(table: str, *, dim: int | None = None) -> TableSpec:
    """Return the spec of a table by name; one of vectors, tokens or codes also needs its width.

    Raises:
        NoSuchTable: No table has this name.
    """
    if table in CONTENT:
        return CONTENT[table]
    if table in LOGS:
        return LOGS[table]
    if table.startswith(EMBEDDINGS_PREFIX) and dim is not None:
        return embeddings(table, dim)
    if table.startswith(TOKENS_PREFIX) and dim is not None:
        return tokens(table, dim)
    if table.startswith(CODES_PREFIX) and dim is not None:
        return codes(table, dim)
    raise NoSuchTable(
        f"no table is called {table!r}; known: {', '.join([*CONTENT, *LOGS])}, embeddings_<encoder>"
    )

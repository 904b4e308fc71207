"""Why a row differs between two snapshots: the rule, threshold, person, captioner, scorer, encoder or input behind it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from schemas.tables import CODES_PREFIX, EMBEDDINGS_PREFIX, TOKENS_PREFIX
from storage.sides import Sides
from storage.sql.views import SUBJECTS

Kind = Literal["rule", "person", "caption", "score", "encoder", "input", "method", "content"]

# Beyond what a diff says of a row, the columns that tell its cause.
TELLING: dict[str, tuple[str, ...]] = {
    "media": ("kept", "dropped_by"),
    "texts": ("kept", "dropped_by", "origin", "generator"),
    "pairs": ("kept", "dropped_by", "media_id", "text_id"),
    "scores": ("method", "params_digest"),
    "decisions": ("rule", "verdict", "threshold"),
    "verdicts": ("person", "verdict"),
    "captions": ("generator", "version", "params_digest", "status"),
    "sources": ("source", "outcome"),
    "quarantine": ("source", "reason"),
    "divisions": ("scorer", "divider"),
    "reasons": ("kind", "method"),
    "repairs": ("kind", "method"),
    "served": ("use", "origin"),
    "rewrites": ("kind", "method"),
}
_PERSON = "person"  # what `dropped_by` says where a person's verdict drops


@dataclass(frozen=True)
class Cause:
    """Why rows differ.

    Args:
        kind: rule: a rule of the recipe. person: a verdict. caption: a captioner. score: a scorer. encoder: of vectors.
            input: what came into or left the sources. method: another method of the recipe. content: the row itself.
        name: The rule, person, captioner, scorer ...; the columns, where content changed.
        before: Threshold, version or digest of parameters before; None where there was none.
        after: The same after.
        effect: What became of the rows.
        rows: How many.
    """

    kind: Kind
    name: str
    before: str | None
    after: str | None
    effect: str
    rows: int = 0

    @property
    def said(self) -> str:
        """The cause in words, without the number of rows: "min-side at_least 32 -> 64: dropped"."""
        return f"{self.name}{_arrow(self.before, self.after)}: {self.effect}"


def cause_of(sides: Sides, table: str, told: Mapping[str, Any]) -> Cause:
    """Return the cause of rows of which the same is told."""
    if table in SUBJECTS:
        return _of_subject(sides, told)
    change = told["change"]

    def now(column: str) -> Any:
        value = told.get(f"new_{column}")
        return told.get(f"old_{column}") if value is None else value

    if table == "scores":
        before, after = _params(
            sides.distinct("scores", ("method", "params_digest")), now("method"), now("params_digest")
        )
        return Cause("score", now("method"), before, after, change)
    if table == "decisions":
        old, new = sides.rules()
        rule = now("rule")
        own = _plain(rule, now("threshold"))
        before = own if change == "removed" else old.get(rule)
        after = new.get(rule) if change == "removed" else own
        return Cause("rule", rule, before, after, f"{now('verdict')} {change}")
    if table == "verdicts":
        effect = "withdrawn" if change == "removed" else f"says {now('verdict')}"
        return Cause("person", now("person") or "a person", None, None, effect)
    if table == "captions":
        made = {"version": now("version"), "params": now("params_digest"), "generator": now("generator")}
        return _of_captioner(sides, made, f"{now('status')} {change}")
    if table.startswith((EMBEDDINGS_PREFIX, TOKENS_PREFIX, CODES_PREFIX)):
        column = next((name for name in telling(table) if f"new_{name}" in told and name != "side"), "")
        digests = [
            sorted(str(value)[:8] for (value,) in side if value) for side in sides.distinct(table, (column,))
        ]
        before, after = (", ".join(side) or None for side in digests)
        return Cause("encoder", f"{table.partition('_')[2]} of {now('side')}", before, after, change)
    if table == "sources":
        if change == "changed" and told["old_outcome"] != told["new_outcome"]:
            effect = f"{told['old_outcome']} is now {told['new_outcome']}"
        else:
            effect = {"added": "new", "removed": "gone"}.get(change, f"changed in {told['columns']}")
        return Cause("input", now("source") or "", None, None, effect)
    if table == "quarantine":
        return Cause(
            "input",
            now("reason") or "",
            None,
            None,
            {"added": "refused", "removed": "no longer refused"}.get(change, change),
        )
    names = [str(now(column)) for column in telling(table) if now(column) is not None]
    effect = change if change != "changed" else f"changed in {told['columns']}"
    return Cause("method" if names else "content", " ".join(names) or table, None, None, effect)


def _of_subject(sides: Sides, told: Mapping[str, Any]) -> Cause:
    """Return why a medium, text or pair differs."""
    change, old_rule, new_rule = told["change"], told["old_rule"], told["new_rule"]
    beside = f" with its {'medium' if told['beside'] == 'media' else 'text'}" if told["beside"] else ""
    synthetic = told["origin"] == "synthetic"
    if change == "removed":
        if synthetic:
            return _of_captioner(sides, told, "removed")
        return Cause("input", "left its source", None, None, "removed")
    if change == "added":
        against = told["new_kept"] is False and new_rule is not None
        if synthetic:
            return _of_captioner(sides, told, f"added, dropped by {new_rule}" if against else "added")
        if against:
            return _of_drop(sides, told, f"added, dropped{beside}")
        return Cause(
            "input", "back in its source" if told["was_there"] else "new in its source", None, None, "added"
        )
    if told["old_kept"] and told["new_kept"] is False and new_rule is not None:
        return _of_drop(sides, told, f"dropped{beside}")
    if told["old_kept"] is False and told["new_kept"] and old_rule is not None:
        effect = f"kept again{beside}"
        if told["new_verdict"] == "keep":
            return Cause("person", told["new_person"] or "a person", old_rule, "keep", effect)
        if old_rule == _PERSON:
            return Cause("person", told["old_person"] or "a person", "drop", None, effect)
        old, new = sides.rules()
        return _ruled(
            sides,
            old_rule,
            _plain(old_rule, told["old_said"]) or old.get(old_rule),
            new.get(old_rule),
            effect,
        )
    if new_rule is not None and new_rule != old_rule:
        return _of_drop(sides, told, f"dropped by it{beside}, before by {old_rule}")
    return Cause("content", told["columns"], None, None, "changed")


def _of_drop(sides: Sides, told: Mapping[str, Any], effect: str) -> Cause:
    rule = told["new_rule"]
    if rule == _PERSON:
        return Cause("person", told["new_person"] or "a person", None, "drop", effect)
    old, new = sides.rules()
    return _ruled(sides, rule, old.get(rule), _plain(rule, told["new_said"]) or new.get(rule), effect)


def _ruled(sides: Sides, rule: str, before: str | None, after: str | None, effect: str) -> Cause:
    """Return a rule as the cause; where its threshold is the same, with whether the rest of it is."""
    return Cause("rule", rule, before, after, effect + (sides.altered(rule) if before == after else ""))


def _of_captioner(sides: Sides, told: Mapping[str, Any], effect: str) -> Cause:
    """Return a captioner as the cause, by version; by parameters too, where the version is the same and they are not."""
    name = told["generator"] or "a captioner"
    sets = sides.distinct("captions", ("generator", "version", "params_digest"))
    old, new = ({(version, params) for its, version, params in side if its == name} for side in sets)
    if told.get("version") and "removed" not in effect:
        new = {(told["version"], told.get("params"))}
    by_version = (
        {version for version, _ in old} != {version for version, _ in new} or old == new or not old or not new
    )
    before, after = (
        sorted(
            {
                f"version {version}" if by_version else f"version {version} ({str(params)[:8]})"
                for version, params in side
            }
        )
        for side in (old, new)
    )
    return Cause("caption", name, ", ".join(before) or None, ", ".join(after) or None, effect)


def _params(
    sets: tuple[set[tuple[Any, ...]], set[tuple[Any, ...]]], method: str, params: str
) -> tuple[str | None, str | None]:
    """Return a scorer's parameters before and after, in short."""
    old, new = ({its for name, its in side if name == method} for side in sets)
    if params in old and params in new:
        return params[:8], params[:8]
    before = [params] if params in old else sorted(old)
    after = [params] if params in new else sorted(new)
    return ", ".join(one[:8] for one in before) or None, ", ".join(one[:8] for one in after) or None


def telling(table: str) -> tuple[str, ...]:
    """Return the columns of a table that tell the cause beyond what a diff says of a row."""
    if table.startswith((EMBEDDINGS_PREFIX, TOKENS_PREFIX)):
        return ("encoder_digest", "side")
    return ("coder_digest", "side") if table.startswith(CODES_PREFIX) else TELLING.get(table, ())


def _plain(rule: str | None, threshold: str | None) -> str | None:
    """Return a threshold without the subject's own words and score, which decisions on captions repeat."""
    if rule is None or threshold is None or not rule.startswith("caption: "):
        return threshold
    return re.sub(r'( of "(?:(?! of "|" is ).)*")? is -?\d+(\.\d+)?, under ', " under ", threshold)


def _arrow(before: str | None, after: str | None) -> str:
    """Say "at_least 32 -> 64" of "at_least 32" and "at_least 64"."""
    if before is None and after is None:
        return ""
    if before == after:
        return f" {after}"
    if before is None or after is None:
        return f" {before} (gone)" if after is None else f" {after} (new)"
    words, others = before.split(" "), after.split(" ")
    same = 0
    while same < min(len(words), len(others)) - 1 and words[same] == others[same]:
        same += 1
    return f" {before} -> {' '.join(others[same:])}"

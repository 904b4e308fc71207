"""`xmodal decisions`: which rule spoke against what."""

from collections import Counter
from typing import Annotated

import typer

from flows.cli.output import AtOption, JsonOption, LakeOption, lake_uri, print_json, say, show

app = typer.Typer(help="Which rule spoke against what, and why.", no_args_is_help=True)


@app.command("list")
def list_decisions(
    lake: LakeOption = None,
    rule: Annotated[str | None, typer.Option(help="List the subjects of this rule.")] = None,
    at: AtOption = None,
    limit: Annotated[int, typer.Option(min=1, help="How many subjects to list.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Count decisions by rule, or list one rule's subjects with score, threshold and texts."""
    from storage import lake as lakes

    opened = lakes.open(lake_uri(lake))
    rows = [
        row
        for row in opened.read("decisions", at=at).to_pylist()
        if row["active"] and rule in (None, row["rule"])
    ]
    if as_json:
        print_json(rows)
        return
    if rule is None:
        counts = Counter((row["rule"], row["verdict"], row["subject"], row["threshold"]) for row in rows)
        show(
            "",
            ("rule", "verdict", "subject", "threshold", "n"),
            [(*what, n) for what, n in counts.most_common()],
        )
        return
    texts = dict(
        zip(
            *(
                opened.read("texts", at=at, columns=["text_id", "text"])[c].to_pylist()
                for c in ("text_id", "text")
            ),
            strict=True,
        )
    )
    pairs = {
        row["pair_id"]: texts[row["text_id"]]
        for row in opened.read("pairs", at=at, columns=["pair_id", "text_id"]).to_pylist()
    }
    listed = [
        (row["subject"], row["subject_id"][:16], f"{row['value']:.3f}" if row["value"] is not None else "", row["threshold"],
         (texts | pairs).get(row["subject_id"], "")[:70])
        for row in sorted(rows, key=lambda row: (row["value"] is None, row["value"] or 0))[:limit]
    ]  # fmt: skip
    show(rule, ("subject", "id", "score", "threshold", "text"), listed)
    say(f"{len(listed)} of {len(rows)}")

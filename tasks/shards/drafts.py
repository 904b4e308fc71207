"""Drafts under judgement: what was written, what is found of it, what of it passed, and the one rewrite."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from schemas.digests import key, params_digest
from schemas.recipes import CaptionRecipe, Gate, MethodRef
from tasks.assessors import ASSESSORS
from tasks.assessors.contract import Assessed, Drafts, Encode
from tasks.captioners._reading import admitted, without
from tasks.captioners.contract import Draft, Failure, Medium, Statement
from tasks.catalog import build
from tasks.negatives import REWRITERS

CONFIDENCE, VECTOR = "confidence", "vector"  # what may refuse a draft beside a gate


@dataclass
class Judged:
    """A draft, and what is found of it.

    Args:
        medium: Row of the medium it is about.
        captioner: Number of its captioner in the recipe.
        draft: What was written.
        statements: What it says, one by one.
        attempt: 1, or 2 for a rewrite.
        first: Key of the draft it was rewritten from.
        scores: What each assessor gave it, NaN where that cannot tell.
        support: What each assessor that looks at statements gave those. (S,)
        refused: Why it is refused, for a person; "" where it is not.
        refused_by: The assessor that refused it first, or `CONFIDENCE` or `VECTOR`.
        rewritten: Whether another draft was made of it.
        negatives: Texts that differ from it in one attribute and are wrong.
    """

    medium: int
    captioner: int
    draft: Draft
    statements: tuple[Statement, ...]
    attempt: int = 1
    first: str = ""
    scores: dict[str, float] = field(default_factory=dict)
    support: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    refused: str = ""
    refused_by: str = ""
    rewritten: bool = False
    negatives: list[str] = field(default_factory=list)

    @property
    def status(self) -> Literal["accepted", "refused", "rewritten"]:
        """What becomes of it."""
        if not self.refused:
            return "accepted"
        return "rewritten" if self.rewritten else "refused"

    def refuse(self, by: str, why: str) -> None:
        """Refuse it; the first reason stays."""
        if not self.refused:
            self.refused, self.refused_by = why, by

    def hear_captioner(self) -> None:
        """Refuse it if its captioner does not believe one of its statements itself.

        That is how odd texts come in (markup, instructions, refusals), which no other gate need notice.
        """
        for statement in self.statements:
            if not statement.confidence > 0:
                self.refuse(CONFIDENCE, f'its captioner has no confidence in "{statement.text}"')

    def note(self, gate: Gate, found: Assessed, row: int) -> None:
        """Write down what an assessor found in a row, and refuse the draft if it fails the gate."""
        name, score = gate.method.name, float(found.score[row])
        self.scores[name] = score
        if found.per_phrase is not None:
            self.support[name] = np.asarray(found.per_phrase[row], np.float32)
        if gate.phrases and found.per_phrase is not None:
            worst = int(np.argmin(np.nan_to_num(self.support[name], nan=1.0)))
            value = float(self.support[name][worst])
            if value < gate.at_least:
                said = self.statements[worst].text
                self.refuse(name, f'{name} of "{said}" is {value:.2f}, under {gate.at_least:g}')
        elif np.isnan(score):
            if gate.missing == "refuse":
                self.refuse(name, f"{name} cannot tell")
        elif score < gate.at_least:
            self.refuse(name, f"{name} is {score:.2f}, under {gate.at_least:g}")

    def passed(self, gates: Sequence[Gate]) -> tuple[Statement, ...]:
        """Return the statements that their captioner believes and that pass every gate that looks at statements."""
        good = np.array([statement.confidence > 0 for statement in self.statements], bool)
        for gate in gates:
            if gate.phrases and gate.method.name in self.support:
                good &= ~(self.support[gate.method.name] < gate.at_least)
        return tuple(statement for statement, keep in zip(self.statements, good, strict=True) if keep)

    def rewrite(self, gates: Sequence[Gate], caption_id: str) -> "Judged | None":
        """Return a new draft that says only what passed; None where that changes nothing or leaves nothing.

        Args:
            gates: The gates it was judged by.
            caption_id: Its own key.
        """
        passed = self.passed(gates)
        if len(passed) == len(self.statements):
            return None
        draft = without(self.draft, passed)
        if isinstance(draft, Draft):
            draft = admitted(draft)  # words that were apart stand side by side now
        if isinstance(draft, Failure) or draft.text == self.draft.text:
            return None
        self.rewritten = True
        return Judged(self.medium, self.captioner, draft, draft.statements, attempt=2, first=caption_id)


@dataclass(frozen=True)
class Judge:
    """Judges drafts about media as a recipe asks, and rewrites once what is refused.

    Gates whose assessor must see all texts at once are left for later.

    Args:
        recipe: Captioners, gates, rewriters and languages.
        media: The N media.
        raw: For each, the texts it came with.
        gallery_vec: (M, D) unit, float32; media that texts must be told from.
        own: (N,) int64; row of the gallery that holds each medium. Not looked at where a medium has no vector.
        encode: Encodes texts into the same space.
    """

    recipe: CaptionRecipe
    media: Sequence[Medium]
    raw: Sequence[Sequence[str]]
    gallery_vec: NDArray[np.float32]
    own: NDArray[np.int64]
    encode: Encode

    def __call__(self, written: Sequence[Judged]) -> list[Judged]:
        """Note on each draft what is found of it, and return all, the rewrites last."""
        self._assess(written)
        again = [
            rewrite
            for one in written
            if one.refused and (rewrite := one.rewrite(self.recipe.gates, self.caption_id(one)))
        ]
        self._assess(again)
        return [*written, *again]

    def caption_id(self, one: Judged) -> str:
        """Return the key of a draft."""
        return caption_id(self.media[one.medium].media_id, self.recipe.captioners[one.captioner], one.attempt)

    def _assess(self, written: Sequence[Judged]) -> None:
        vectors = [self.media[one.medium].vector for one in written]
        for one, vector in zip(written, vectors, strict=True):
            one.hear_captioner()
            if vector is None:
                one.refuse(VECTOR, "no vector of the medium to judge it by")
        judged = [one for one, vector in zip(written, vectors, strict=True) if vector is not None]
        if not judged:
            return
        for one in judged:
            one.negatives = self._negatives(one.draft)
        drafts = self._drafts(judged, [vector for vector in vectors if vector is not None], written)
        for gate in self.recipe.gates:
            assessor = build(ASSESSORS, gate.method)
            if assessor.scope == "table":
                continue  # decided when all shards are there
            found = assessor(drafts)
            for row, one in enumerate(judged):
                one.note(gate, found, row)

    def _negatives(self, draft: Draft) -> list[str]:
        if draft.language != "en":
            return []
        made = [
            rewrite.text
            for ref in self.recipe.rewriters
            if (rewriter := build(REWRITERS, ref)).makes == "negative"
            for rewrite in rewriter([draft.text], facts=[dict(draft.facts)])
        ]
        return sorted(set(made) - {draft.text})

    def _drafts(
        self, judged: Sequence[Judged], vectors: Sequence[NDArray[np.float32]], everyone: Sequence[Judged]
    ) -> Drafts:
        names = [ref.name for ref in self.recipe.captioners]
        evidence = []
        for one in judged:
            by_other: dict[int, list[str]] = {}
            for other in everyone:
                if other.medium == one.medium and other.captioner != one.captioner:
                    by_other.setdefault(other.captioner, []).append(other.draft.text)
            evidence.append([by_other[number] for number in sorted(by_other)])
        return Drafts(
            texts=[one.draft.text for one in judged],
            phrases=[[statement.text for statement in one.statements] for one in judged],
            media_vec=np.stack(vectors),
            gallery_vec=self.gallery_vec,
            own=np.array([self.own[one.medium] for one in judged], np.int64),
            encode=self.encode,
            negatives=[one.negatives for one in judged],
            evidence=evidence,
            generator=[names[one.captioner] for one in judged],
            raw=[self.raw[one.medium] for one in judged],
            language=[self.recipe.languages[0]] * len(judged),
        )


def caption_id(media_id: str, ref: MethodRef, attempt: int) -> str:
    """Return the key of a draft."""
    return key(media_id, ref.name, params_digest(ref.model_dump(mode="json")), str(attempt))

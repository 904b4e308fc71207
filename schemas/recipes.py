"""What to run: frozen, validated, stored in `runs` with the result."""

from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas import yaml_text
from schemas.digests import params_digest
from schemas.errors import RecipeError
from schemas.quality import QualityRecipe


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MethodRef(_Frozen):
    """A method by name, with the parameters that differ from its defaults."""

    name: str
    params: dict[str, Any] = Field(default_factory=dict)


class SourceRef(_Frozen):
    """Where raw media come from.

    Args:
        name: Names the source in `sources`; part of every item's identity, so keep it when the place moves.
        kind: folder, manifest, webdataset, urls, or corpus (one of `xmodal corpora list`).
        location: A path, an fsspec URL ("s3://bucket/prefix"), or the corpus's name.
        options: Further keyword arguments of the reader.
    """

    name: str
    kind: Literal["folder", "manifest", "webdataset", "urls", "corpus"]
    location: str
    options: dict[str, Any] = Field(default_factory=dict)


class Rule(_Frozen):
    """A threshold on a score. A subject whose score lies outside is dropped, or flagged.

    Args:
        method: The filter or scorer.
        at_least: Lowest score that passes.
        at_most: Highest score that passes.
        at_most_quantile: Highest score that passes, as a quantile of the scores of all subjects, in (0, 1].
        floor: A quantile never cuts below this score.
        verdict: What being outside means.
    """

    method: MethodRef
    at_least: float | None = None
    at_most: float | None = None
    at_most_quantile: float | None = Field(None, gt=0, le=1)
    floor: float | None = None
    verdict: Literal["drop", "flag"] = "drop"

    @model_validator(mode="after")
    def _has_a_threshold(self) -> Self:
        if self.at_least is None and self.at_most is None and self.at_most_quantile is None:
            raise ValueError(f"rule {self.method.name!r} needs at_least, at_most or at_most_quantile")
        return self


class InspectRecipe(_Frozen):
    """What is kept of each medium besides its facts."""

    thumbnail_px: int = Field(
        320, ge=0, le=2048, description="Longer side of the thumbnail; encoders see it. 0: no thumbnails."
    )
    thumbnail_quality: int = Field(85, ge=1, le=100, description="WebP quality.")
    text_max_chars: int = Field(20_000, gt=0, description="Longer texts go to quarantine.")
    detect_language: bool = Field(True, description="Guess the language of texts whose source does not say.")


class NearDuplicates(_Frozen):
    """Which media count as the same picture: difference hashes at most `max_distance` bits apart."""

    max_distance: int = Field(3, ge=0, le=7)
    verdict: Literal["drop", "flag"] = "flag"


class Features(_Frozen):
    """Encoders of which neither saw the other side: what one learnt of wrong pairs the other cannot confirm."""

    media: MethodRef
    text: MethodRef


class CorrespondenceRecipe(_Frozen):
    """How pairs whose text does not belong are found, and what becomes of them.

    Args:
        scorer: Says how likely each pair is true.
        divider: Turns its scores into probabilities, and says when they tell nothing.
        roles: Roles of the texts that are judged (title, caption ...); empty: all.
        label_role: Role of the texts that name a medium's class, for scorers that use classes.
        noisy_below: P(true) at or under which a pair is noisy.
        clean_above: P(true) from which it is clean; between the two it is disputed, and flagged.
        wanted_precision: Share of the noisy pairs that must be wrong, as far as people's verdicts show with 95 %
            confidence; what they do not vouch for is disputed. None: verdicts are not asked.
        noisy: What becomes of noisy pairs. keep: flagged. weight: flagged, with a soft label to train with.
            repair: dropped, with proposals served in their place. drop: dropped.
        repairs: Methods that propose texts for noisy pairs; applied where `noisy` is repair.
        soft_label: Rule for soft labels, written where `noisy` is weight.
        features: Encoders whose vectors are studied instead of the recipe's; their tables are kept like its own. An
            encoder of both sides that was trained on pairs like these vouches for those that are wrong in the
            same way each time.
    """

    scorer: MethodRef = MethodRef(name="consensus")
    divider: MethodRef = MethodRef(name="self-injected")
    roles: tuple[str, ...] = ()
    label_role: str = "folder"
    noisy_below: float = Field(0.2, ge=0, le=1)
    clean_above: float = Field(0.5, ge=0, le=1)
    wanted_precision: float | None = Field(None, gt=0, lt=1)
    noisy: Literal["keep", "weight", "repair", "drop"] = "drop"
    repairs: tuple[MethodRef, ...] = ()
    soft_label: MethodRef = MethodRef(name="ncr")
    features: Features | None = None

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.noisy_below > self.clean_above:
            raise ValueError(f"noisy_below {self.noisy_below:g} exceeds clean_above {self.clean_above:g}")
        if self.noisy == "repair" and not self.repairs:
            raise ValueError("noisy: repair needs a method under repairs (rematch, pseudo-caption)")
        return self


class CurationRecipe(_Frozen):
    """A curation from raw media to a tagged snapshot.

    Args:
        name: Names the recipe in `runs`.
        sources: Where the raw media come from.
        inspect: What is kept of each medium.
        near_duplicates: How near-duplicates are found; none: not looked for.
        filters: Rules on media and texts, in order; the first that drops is the reason.
        encoder: Maps media and texts to one space; none: no embeddings, no pair rules.
        pair_rules: Rules on the correspondence of pairs, in order.
        correspondence: How mismatched pairs are found and treated, after the rules; none: they are not.
        quality: What the snapshot is expected to be before the tag moves to it; none: it is not checked.
        tag: Tag that moves to the new snapshot.
        shard_rows: Items in a shard.
    """

    name: str
    sources: tuple[SourceRef, ...] = Field(min_length=1)
    inspect: InspectRecipe = InspectRecipe()
    near_duplicates: NearDuplicates | None = NearDuplicates()
    filters: tuple[Rule, ...] = ()
    encoder: MethodRef | None = None
    pair_rules: tuple[Rule, ...] = ()
    correspondence: CorrespondenceRecipe | None = None
    quality: QualityRecipe | None = QualityRecipe()
    tag: str = "latest"
    shard_rows: int = Field(256, ge=1)

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        names = [source.name for source in self.sources]
        if len(set(names)) != len(names):
            raise ValueError(f"two sources share a name: {', '.join(names)}")
        if self.encoder is not None and not self.inspect.thumbnail_px:
            raise ValueError("encoders see thumbnails: give inspect.thumbnail_px, or name no encoder")
        for part in ("pair_rules", "correspondence"):
            if getattr(self, part) and self.encoder is None:
                raise ValueError(f"{part} need vectors: name an encoder")
        return self

    @property
    def digest(self) -> str:
        """Digest over everything that can change the result; not names, places, checks, tag or shard size."""
        left_out: Any = {
            "name": True,
            "tag": True,
            "shard_rows": True,
            "quality": True,
            "sources": {"__all__": {"location"}},
        }
        return params_digest(self.model_dump(mode="json", exclude=left_out))


class Gate(_Frozen):
    """A threshold that a draft of a caption must pass.

    Args:
        method: The assessor.
        at_least: Lowest score that passes.
        phrases: Every statement must pass, where the assessor looks at statements; else the text as a whole.
        missing: What becomes of a draft the assessor can say nothing of.
    """

    method: MethodRef
    at_least: float = Field(ge=0, le=1)
    phrases: bool = False
    missing: Literal["pass", "refuse"] = "pass"


class Use(_Frozen):
    """Which texts a use is given for a medium.

    Args:
        prefer: raw: raw texts first, synthetic ones to fill up. synthetic: the other way round. best: by score alone.
        most: Texts a medium at most.
    """

    prefer: Literal["raw", "synthetic", "best"] = "raw"
    most: int = Field(1, ge=1)


class CaptionRecipe(_Frozen):
    """Synthetic texts for media of a snapshot: who writes them, what they must pass, who is served which.

    Args:
        name: Names the recipe in `runs`.
        captioners: Who writes, in order. Each writes about every wanted medium.
        encoder: Its vectors judge the drafts; the snapshot must have those of the media.
        of: missing: media without a kept raw text of the `usable` roles. all: every kept medium.
        usable: Roles of raw texts that make a caption unnecessary, and that learners learn from.
        reads: Roles of a medium's own raw texts that captioners may read, dropped ones too.
        languages: Languages drafts are checked for, first the one wanted.
        gates: What a draft must pass. Refused once it is rewritten without what was refused; refused twice it
            stays as refused, with the reason, and is never served.
        near: Media a text must be told from, drawn from the corpus.
        rewriters: What makes hard negatives and paraphrases of accepted texts.
        serve: Which texts each use is given, raw and synthetic ones ranked together.
        limit: Media at most, by id; none: all.
        tag: Tag of the snapshot to read, which moves to the new one.
        shard_rows: Media in a shard.
    """

    name: str
    captioners: tuple[MethodRef, ...] = Field(min_length=1)
    encoder: MethodRef = MethodRef(name="lite")
    of: Literal["missing", "all"] = "missing"
    usable: tuple[str, ...] = ("caption", "title")
    reads: tuple[str, ...] = ()
    languages: tuple[str, ...] = Field(("en",), min_length=1)
    gates: tuple[Gate, ...] = (
        Gate(method=MethodRef(name="substance"), at_least=1),
        Gate(method=MethodRef(name="support"), at_least=0.5, phrases=True),
        Gate(method=MethodRef(name="flip"), at_least=0.5),
    )
    near: int = Field(1000, ge=2)
    rewriters: tuple[MethodRef, ...] = (MethodRef(name="flip-attribute"),)
    serve: dict[str, Use] = Field(
        default_factory=lambda: {
            "search": Use(prefer="best", most=3),
            "training": Use(prefer="raw"),
            "display": Use(prefer="raw"),
        }
    )
    limit: int | None = Field(None, ge=1)
    tag: str = "latest"
    shard_rows: int = Field(64, ge=1)

    @property
    def digest(self) -> str:
        """Digest over everything that can change the result; not name, tag or shard size."""
        return params_digest(self.model_dump(mode="json", exclude={"name", "tag", "shard_rows"}))


class ScheduleRecipe(_Frozen):
    """How long and how fast a head is trained; see `tasks.training.fit.Schedule`."""

    epochs: int = Field(15, ge=1)
    batch_size: int = Field(256, ge=2)
    learning_rate: float = Field(3e-3, gt=0)
    weight_decay: float = Field(1e-2, ge=0)
    patience: int = Field(3, ge=1)


class TrainRecipe(_Frozen):
    """A head a side, trained on vectors that a snapshot has.

    Args:
        name: Names the recipe in the checkpoint.
        encoder: Whose vectors of media; the lake must have them.
        text_encoder: Whose vectors of texts, where the two sides come from different encoders; none: `encoder`.
        roles: Roles of the texts to train on; empty: all.
        head: Trained once a side.
        loss: What is made small.
        schedule: How.
        noisy: What becomes of pairs that the study of correspondence doubts. drop: only kept pairs are trained on.
            weight: those it dropped count by their P(true). soft: P(true) stays on the pair and the rest of its
            target goes where a teacher sees a match.
        held_out: Share of near-duplicate groups that is kept apart and tested on.
        trusted_at_least: Training stops early by pairs that people called right, when there are at least so many.
        seed: Of the first weights and of the order of rows.
        tag: Snapshot or tag to read.
    """

    name: str
    encoder: MethodRef = MethodRef(name="lite")
    text_encoder: MethodRef | None = None
    roles: tuple[str, ...] = ()
    head: MethodRef = MethodRef(name="linear")
    loss: MethodRef = MethodRef(name="info-nce")
    schedule: ScheduleRecipe = ScheduleRecipe()
    noisy: Literal["drop", "weight", "soft"] = "drop"
    held_out: float = Field(0.1, gt=0, lt=1)
    trusted_at_least: int = Field(20, ge=2)
    seed: int = Field(0, ge=0)
    tag: str = "latest"


class IndexRecipe(_Frozen):
    """When vectors get an index, and how good it must be.

    Recall is measured against full comparison, on vectors of the table that are not found themselves: those of texts
    look for media and the other way, and each side for its own.

    Args:
        at_least_rows: Vectors of a side from which the table gets an index; it loses it again below half of that.
        floor: Least recall at 10 and at 100; below it search compares everything, and maintenance raises an alert.
        margin: A setting is taken from this much above the floor, where there is one.
        kinds: Kinds of index, in order; the next is built where one does not reach the floor.
        queries: Queries a direction.
        probes: Partitions looked at, to choose from.
        refine: Candidates looked at closely, as multiples of what is wanted, to choose from.
        retrain_at: Share of rows added since training from which the index is trained anew rather than extended.
        seed: Of the choice of queries.
    """

    at_least_rows: int = Field(50_000, ge=2)
    floor: float = Field(0.95, gt=0, le=1)
    margin: float = Field(0.01, ge=0, lt=1)
    kinds: tuple[Literal["IVF_RQ", "IVF_FLAT"], ...] = Field(("IVF_RQ", "IVF_FLAT"), min_length=1)
    queries: int = Field(100, ge=1)
    probes: tuple[int, ...] = Field((5, 10, 20, 50, 100), min_length=1)
    refine: tuple[int, ...] = Field((3, 10, 30), min_length=1)
    retrain_at: float = Field(0.5, gt=0)
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        for name in ("probes", "refine"):
            if min(getattr(self, name)) < 1:
                raise ValueError(f"{name} are at least 1; found {min(getattr(self, name))}")
        return self


_R = TypeVar("_R", bound=_Frozen)


def load_recipe(path: str | Path) -> CurationRecipe:
    """Read a recipe of a curation from YAML.

    A relative `location` of a folder, manifest or tar is resolved against the recipe file's folder.

    Raises:
        RecipeError: The file is missing, is not YAML, or does not fit `CurationRecipe`.
    """
    recipe = load(path, CurationRecipe)
    return recipe.model_copy(
        update={"sources": tuple(_resolved(s, Path(path).parent) for s in recipe.sources)}
    )


def load(path: str | Path, model: type[_R]) -> _R:
    """Read a recipe of any kind from YAML, as it stands.

    Raises:
        RecipeError: The file is missing, is not YAML, or does not fit the model.
    """
    path = Path(path)
    try:
        found = yaml_text.read(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecipeError(f"no recipe at {path}; `xmodal methods --recipes` lists those that ship") from error
    except ValueError as error:
        raise RecipeError(f"{path} is not YAML that can be taken: {error}") from error
    try:
        return model.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "recipe"
        raise RecipeError(f"{path}: {where}: {first['msg']} (found {first['input']!r:.80})") from error


def _resolved(source: SourceRef, folder: Path) -> SourceRef:
    if source.kind == "corpus" or "://" in source.location or Path(source.location).is_absolute():
        return source
    return source.model_copy(update={"location": str((folder / source.location).resolve())})

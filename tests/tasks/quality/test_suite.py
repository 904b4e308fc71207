"""The suite that ships, and what a recipe may say of it."""

import pytest
from pydantic import ValidationError

from schemas.quality import SUITE, Change, Expectation, QualityRecipe
from schemas.recipes import CurationRecipe, load_recipe

LICENCE = "media.licence-allowed"


def test_names_are_unique_and_every_expectation_says_what_it_means():
    names = [each.name for each in SUITE]
    assert len(set(names)) == len(names)
    assert [each.name for each in SUITE if not each.about.endswith((".", ")."))] == []


def test_a_recipe_relaxes_turns_off_and_adds():
    more = {
        "name": "pairs.enough",
        "table": "pairs",
        "check": "count",
        "at_least": 1000,
        "severity": "critical",
    }
    changed = {LICENCE: {"severity": "critical", "at_most": 0.1, "params": {"values": ["CC0-1.0"]}}}
    recipe = QualityRecipe.model_validate({"change": changed, "skip": ["pairs.role"], "add": [more]})
    suite = {each.name: each for each in recipe.suite()}
    assert suite.keys() == {each.name for each in SUITE} - {"pairs.role"} | {"pairs.enough"}
    assert (suite[LICENCE].severity, suite[LICENCE].threshold) == ("critical", "at_most 0.1")
    assert suite[LICENCE].params == {"values": ["CC0-1.0"]}
    assert suite["pairs.enough"].threshold == "at_least 1000"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"skip": ["pairs.rolle"]}, "no expectation is called 'pairs.rolle'"),
        ({"change": {"nothing.x": {}}}, "no expectation is called 'nothing.x'"),
        (
            {"add": [{"name": "pairs.role", "table": "pairs", "check": "count", "at_least": 1}]},
            "two expectations",
        ),
        (
            {"add": [{"name": "a.b", "table": "pears", "check": "count", "at_least": 1}]},
            "no table is called 'pears'",
        ),
        ({"add": [{"name": "a.b", "table": "pairs", "check": "none-where"}]}, "needs params.condition"),
        ({"add": [{"name": "a.b", "table": "pairs", "check": "count"}]}, "needs at_least or at_most"),
        ({"add": [{"name": "a.b", "table": "pairs", "check": "unique"}]}, "name it"),
        (
            {
                "add": [
                    {
                        "name": "a.b",
                        "table": "pairs",
                        "check": "exists-in",
                        "column": "media_id",
                        "params": {"tables": ["medias"]},
                    }
                ]
            },
            "not in 'medias'",
        ),
        ({"change": {"media.size": {"params": {"lowest": 3}}}}, "takes no 'lowest'; it takes high, low"),
    ],
)
def test_what_makes_no_sense_is_refused_when_the_recipe_is_read(said, why):
    with pytest.raises(ValidationError, match=why):
        QualityRecipe.model_validate(said)


def test_what_is_checked_is_no_content_so_a_relaxed_recipe_does_no_work_again():
    recipe = CurationRecipe.model_validate(
        {"name": "a", "sources": [{"name": "s", "kind": "folder", "location": "x"}]}
    )
    relaxed = recipe.model_copy(update={"quality": QualityRecipe(skip=("pairs.role",))})
    assert recipe.digest == relaxed.digest
    assert recipe.quality is not None and recipe.quality.digest != relaxed.quality.digest


def test_the_words_of_an_expectation_are_not_part_of_the_digest():
    one = Expectation(name="pairs.n", table="pairs", check="count", at_least=1)
    digests = {
        QualityRecipe(add=(one.model_copy(update={"about": about}),)).digest for about in ("", "words")
    }
    assert len(digests) == 1


@pytest.mark.parametrize(("said", "expected"), [("null", None), ("{skip: [pairs.role]}", ("pairs.role",))])
def test_a_recipe_of_yaml_may_turn_checks_off(tmp_path, said, expected):
    file = tmp_path / "r.yaml"
    file.write_text(f"name: a\nsources: [{{name: s, kind: folder, location: x}}]\nquality: {said}\n")
    quality = load_recipe(file).quality
    assert (quality and quality.skip) == expected


@pytest.mark.parametrize(
    ("value", "passes"), [(0.1, False), (0.2, True), (0.5, True), (0.6, False), (float("nan"), False)]
)
def test_thresholds_include_their_ends_and_a_number_that_is_none_fails(value, passes):
    one = Expectation(name="texts.x", table="texts", check="median", column="c", at_least=0.2, at_most=0.5)
    assert one.passes(value) is passes


def test_without_a_threshold_no_row_may_fail():
    one = Expectation(name="pairs.x", table="pairs", check="not-null", column="role")
    assert (one.threshold, one.passes(0), one.passes(0.001)) == ("at_most 0", True, False)
    assert Change().model_dump(exclude_none=True) == {"params": {}}

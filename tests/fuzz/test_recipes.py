"""Recipes: whatever a file holds, it is a recipe or a RecipeError that says why, and it cannot grow past its size."""

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.hostile_files import DAMAGE
from flows.recipes import __path__ as recipes_path
from schemas.errors import RecipeError
from schemas.recipes import CaptionRecipe, CurationRecipe, TrainRecipe, load, load_recipe
from tests.fuzz.budget import budget

SHIPPED = [path.read_text() for path in sorted(Path(recipes_path[0]).glob("*.yaml"))]
LINES = [
    "name: a",
    "name: [",
    "sources: []",
    "sources: &a [*a]",
    "tag: !!python/object/apply:os.system ['true']",
    "shard_rows: 1_000",
    "shard_rows: 9" * 50,
    "encoder: {name: hashing, params: {dim: .nan}}",
    "tag: 2001-99-99",
    "tag: 2001-01-01 99:99:99",
    "near_duplicates: ~",
    "? [a]\n: b",
    "<<: *b",
    "a: &b {c: 1}",
    "tag: 0b",
    "tag: 1:99:99",
    "- a",
    "\t",
    "%YAML 9.9\n---",
    "---\n---",
    "tag: !!binary '***'",
    "tag: !!set {a}",
    "tag: !!omap [a: 1]",
    "tag: !!int ''",
    "tag: !!float x",
    'tag: "\\ud800"',
    "quality: {a: b}",
    "correspondence: {noisy: x}",
    "filters: [{method: {name: min-side}, at_least: 1e999}]",
    "1: 2",
    "tag: !!timestamp x",
    "tag: 'a\n\nb'",
    "...",
    "\x00",
    "\ufeff",
    "!!map",
    "tag: 2020-02-30",
    "tag: 190:20:30.15",
    "tag: 0x_",
    "tag: _",
]
lines = st.one_of(
    st.sampled_from(LINES),
    st.text(max_size=20),
    st.sampled_from([line for text in SHIPPED for line in text.splitlines()]),
)


def tried(path: Path, model: type) -> None:
    try:
        load(path, model)
    except RecipeError as error:
        assert str(path) in str(error) and len(str(error)) < 2000


@budget(150)
@given(
    text=st.one_of(st.lists(lines, max_size=8).map("\n".join), st.binary(max_size=60)),
    model=st.sampled_from([CurationRecipe, CaptionRecipe, TrainRecipe]),
)
def test_made_up(tmp_path_factory, text, model):
    path = tmp_path_factory.getbasetemp() / "made-up.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    tried(path, model)


@budget(100)
@given(text=st.sampled_from(SHIPPED), kind=st.sampled_from(sorted(DAMAGE)), seed=st.integers(0, 1 << 30))
def test_shipped_and_damaged(tmp_path_factory, text, kind, seed):
    path = tmp_path_factory.getbasetemp() / "damaged.yaml"
    path.write_bytes(DAMAGE[kind](random.Random(seed), text.encode(), text.encode()))
    tried(path, CurationRecipe)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name: " + "[" * 50_000, "nested"),
        ("a: " * 3 + "1", "YAML"),
        ("&a [*a]", "refers to itself"),
        (
            "\n".join(
                f"{a}: &{a} [{', '.join([f'*{b}'] * 10)}]"
                for a, b in zip("hgfedcba", "ihgfedcb", strict=True)
            ).replace("*i", "lol"),
            "grows",
        ),
        ("tag: 2001-99-99", "YAML"),
    ],
)
def test_bombs_are_refused(tmp_path, text, says):
    path = tmp_path / "bomb.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=says):
        load_recipe(path)


def test_names_within_a_recipe_still_work(tmp_path):
    path = tmp_path / "anchors.yaml"
    path.write_text(
        "name: a\nsources:\n- &s {name: s, kind: folder, location: /media}\n- {<<: *s, name: t}\n"
    )
    assert [source.name for source in load_recipe(path).sources] == ["s", "t"]

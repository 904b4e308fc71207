"""What holds for every reader."""

import dataclasses
import typing

import pytest

from schemas.errors import SourceError, UnknownMethod
from schemas.recipes import SourceRef
from tasks.sources import SOURCES, reader


def test_every_kind_of_a_recipe_but_corpus_has_a_reader():
    kinds = typing.get_args(SourceRef.model_fields["kind"].annotation)
    assert set(SOURCES) == set(kinds) - {"corpus"}
    with pytest.raises(UnknownMethod):
        reader(SourceRef(name="s", kind="corpus", location="x"))


@pytest.mark.parametrize("kind", sorted(SOURCES))
def test_is_a_frozen_dataclass_that_cites_its_source_and_opens_nothing_before_its_call(kind, tmp_path):
    missing = reader(SourceRef(name="s", kind=kind, location=str(tmp_path / "none.csv")))
    assert missing.source.url.startswith("https://")
    with pytest.raises(dataclasses.FrozenInstanceError):
        missing.location = "elsewhere"
    with pytest.raises(SourceError, match="none"):
        list(missing())

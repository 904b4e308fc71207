"""What every corpus says of itself."""

from pathlib import Path

import pytest

from tasks.corpora import CORPORA, manifest_if_here


def test_the_catalog_is_sorted_and_names_match() -> None:
    assert list(CORPORA) == sorted(CORPORA) == ["clipart", "demo", "openmoji", "stamps"]


@pytest.mark.parametrize("name", CORPORA)
def test_a_corpus_says_what_it_is_in_a_line(name: str) -> None:
    corpus = CORPORA[name]
    assert corpus.about and "\n" not in corpus.about
    assert corpus.licence in {"CC-BY-SA-4.0", "CC-PDDC", "GPL-2.0-or-later"}
    assert corpus.media_count > 0


def test_only_the_demo_is_here_without_fetching(tmp_path: Path) -> None:
    assert [name for name in CORPORA if manifest_if_here(name, tmp_path)] == ["demo"]

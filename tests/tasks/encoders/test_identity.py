"""When vectors are stale and when they are not."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.encoders.hashing import Hashing
from tasks.encoders.hf_dual import HfDual
from tasks.encoders.identity import EncoderIdentity, identity


def test_default_parameters_give_the_plain_table() -> None:
    assert identity(Hashing()).table == "embeddings_hashing"
    assert identity(Hashing(dim=64, seed=0)) == identity(Hashing())


def test_changed_parameters_give_a_table_and_a_digest_of_their_own() -> None:
    plain, wide, other = identity(Hashing()), identity(Hashing(dim=128)), identity(Hashing(seed=1))
    assert len({plain.digest, wide.digest, other.digest}) == 3
    assert len({plain.table, wide.table, other.table}) == 3
    assert wide.table.removeprefix("embeddings_hashing_").isalnum()
    assert len(wide.table) == len("embeddings_hashing_") + 8


@pytest.mark.parametrize("change", [{"batch_size": 2}, {"device": "cpu"}, {"dtype": "bfloat16"}], ids=str)
def test_how_it_is_run_does_not_count(clip: str, change: dict[str, object]) -> None:
    assert identity(replace(HfDual(clip), **change)) == identity(HfDual(clip))  # type: ignore[arg-type]


def test_what_comes_out_counts(clip: str, siglip: str) -> None:
    assert identity(HfDual(clip, max_length=4)).table != identity(HfDual(clip)).table
    assert identity(HfDual(clip)).table != identity(HfDual(siglip)).table


def test_moving_a_folder_changes_nothing(clip: str, tmp_path: Path) -> None:
    moved = shutil.copytree(clip, tmp_path / "elsewhere")
    assert identity(HfDual(str(moved))) == identity(HfDual(clip))


def test_weights_count_in_the_digest() -> None:
    one = EncoderIdentity("lite", {}, "a" * 64, 8)
    assert one.digest != replace(one, weights_digest="b" * 64).digest
    assert one.digest != replace(one, dim=9).digest
    assert one.table == replace(one, weights_digest="b" * 64).table == "embeddings_lite"

"""What to run when items shall also be found by binary codes, or token by token."""

from pydantic import Field

from schemas.digests import params_digest
from schemas.recipes import MethodRef, _Frozen


class CodesRecipe(_Frozen):
    """Binary codes of what an encoder's vectors stand for.

    Args:
        name: Names the recipe in `runs`.
        encoder: Whose vectors, by the encoder's or its table's name; the one with most by default.
        method: Learns the codes.
        pairs: Kept pairs it learns from, at most.
        alone: Media, and texts, without a partner it learns from, at most.
        relearn: Learn again from what is kept now; the codes that are there are made anew if that changes anything.
        seed: Of what is drawn where there is more.
        tag: Tag that moves along.
    """

    name: str = "codes"
    encoder: str | None = None
    method: MethodRef = MethodRef(name="reconstruction-relations")
    pairs: int = Field(20_000, ge=2)
    alone: int = Field(20_000, ge=0)
    relearn: bool = False
    seed: int = Field(0, ge=0)
    tag: str = "latest"

    @property
    def digest(self) -> str:
        """Digest over everything that can change what is learnt."""
        return params_digest(self.model_dump(mode="json", exclude={"name", "tag", "relearn"}))


class TokensRecipe(_Frozen):
    """Vectors of the parts of pictures and texts, from frozen backbones and two heads trained on kept pairs.

    Args:
        name: Names the recipe in `runs`.
        pairs: Kept pairs that are learnt from, at most, one a medium and one a text; 46 kB of memory each.
        epochs: Times each is seen.
        relearn: Train again on what is kept now; the tokens that are there are made anew if that changes anything.
        seed: Of the start and the order.
        tag: Tag that moves along.
        shard_rows: Items in a shard.
    """

    name: str = "tokens"
    pairs: int = Field(4096, ge=2)
    epochs: int = Field(15, ge=1)
    relearn: bool = False
    seed: int = Field(0, ge=0)
    tag: str = "latest"
    shard_rows: int = Field(256, ge=1)

    @property
    def encoder(self) -> None:
        """The encoder of the run: none, tokens have backbones of their own."""
        return None

    @property
    def digest(self) -> str:
        """Digest over everything that can change what is learnt."""
        left_out = {"name", "tag", "relearn", "shard_rows"}
        return params_digest(self.model_dump(mode="json", exclude=left_out))

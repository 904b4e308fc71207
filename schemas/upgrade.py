"""What to run when an encoder takes another's place."""

from pydantic import Field

from schemas.digests import params_digest
from schemas.recipes import MethodRef, _Frozen


class UpgradeRecipe(_Frozen):
    """From one encoder to another, without a day on which nothing is found.

    Args:
        name: Names the recipe in `runs`.
        old: The encoder whose vectors are there, by its own or its table's name.
        new: The encoder to go over to.
        bridge: Leads queries of the new one to old vectors.
        texts: Texts the bridge learns from, at most.
        media: Media that are encoded before all others: the bridge learns from them too, and they say how cosines of
            the two spaces compare.
        held_out: Share of near-duplicate groups whose media and texts the bridge does not learn from.
        tested: Media of those groups, at most, that every state is measured on.
        step: Share of the media that are encoded from one snapshot to the next.
        seed: Of what the bridge draws.
        tag: Tag that moves along.
        shard_rows: Items in a shard.
    """

    name: str = "upgrade"
    old: str
    new: MethodRef
    bridge: MethodRef = MethodRef(name="procrustes")
    texts: int = Field(50_000, ge=10)
    media: int = Field(200, ge=2)
    held_out: float = Field(0.1, gt=0, lt=1)
    tested: int = Field(300, ge=2)
    step: float = Field(0.25, gt=0, le=1)
    seed: int = Field(0, ge=0)
    tag: str = "latest"
    shard_rows: int = Field(256, ge=1)

    @property
    def encoder(self) -> MethodRef:
        """The encoder of the run: the new one."""
        return self.new

    @property
    def digest(self) -> str:
        """Digest over everything that can change the bridge; not name, tag, steps or shard size."""
        left_out = {"name", "tag", "step", "shard_rows"}
        return params_digest(self.model_dump(mode="json", exclude=left_out))

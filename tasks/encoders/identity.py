"""Who made a vector: what an encoder's table is called and when its vectors are stale."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from schemas.digests import params_digest
from schemas.tables import EMBEDDINGS_PREFIX
from tasks.encoders.contract import Encoder

EXECUTION = {"execution": True}  # metadata of a field that says how to run, not what comes out
PLACE = {"place": True}  # metadata of a field that may hold a local folder: its content counts, not its path


@dataclass(frozen=True)
class EncoderIdentity:
    """What decides an encoder's vectors.

    Args:
        name: The encoder's name in recipes.
        params: Its parameters, those of execution left out.
        weights_digest: SHA-256 hex over its weights; "" without weights.
        dim: D, width of the vectors.
        custom: Some parameter differs from its default; such encoders have tables of their own.
    """

    name: str
    params: Mapping[str, Any]
    weights_digest: str
    dim: int
    custom: bool = False

    @property
    def digest(self) -> str:
        """32 hex digits; vectors of equal digests may be compared."""
        return params_digest(
            {"name": self.name, "params": self.params, "weights_digest": self.weights_digest, "dim": self.dim}
        )

    @property
    def table(self) -> str:
        """Name of its table: "embeddings_<name>", and 8 digits more when parameters were changed."""
        suffix = f"_{params_digest(self.params)[:8]}" if self.custom else ""
        return f"{EMBEDDINGS_PREFIX}{self.name.replace('-', '_')}{suffix}"


def identity(encoder: Encoder) -> EncoderIdentity:
    """Return who the encoder is. Reads its weights' digest, and so may fetch them.

    A local folder is named by what it holds: moving it changes nothing, changing a file changes the table.

    Raises:
        EncoderError: The weights cannot be read.
    """
    weights = encoder.weights_digest()
    params: dict[str, Any] = {}
    custom = False
    for spec in fields(encoder):  # type: ignore[arg-type]  # every method is a dataclass
        if spec.metadata.get("execution"):
            continue
        value = getattr(encoder, spec.name)
        default = spec.default_factory() if spec.default_factory is not MISSING else spec.default
        custom = custom or value != default
        is_folder = spec.metadata.get("place") and Path(value).is_dir()
        params[spec.name] = f"sha256:{weights[:16]}" if is_folder else value
    return EncoderIdentity(encoder.name, params, weights, encoder.dim, custom)

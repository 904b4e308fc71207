"""Encoders: where is an item in the shared space?"""

from tasks.catalog import catalog
from tasks.encoders.contract import Encoder
from tasks.encoders.hashing import Hashing
from tasks.encoders.hf_dual import HfDual
from tasks.encoders.identity import EncoderIdentity, identity
from tasks.encoders.lite import Lite

__all__ = ["ENCODERS", "Encoder", "EncoderIdentity", "identity"]

ENCODERS: dict[str, type[Encoder]] = catalog(
    Hashing,
    HfDual,
    Lite,
)

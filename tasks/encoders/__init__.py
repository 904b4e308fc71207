"""Encoders: where is an item in the shared space?"""

from tasks.catalog import catalog
from tasks.encoders.contract import Encoder
from tasks.encoders.efficientnet_lite0 import EfficientNetLite0
from tasks.encoders.hashing import Hashing
from tasks.encoders.hf_dual import HfDual
from tasks.encoders.identity import EncoderIdentity, identity
from tasks.encoders.lite import Lite
from tasks.encoders.minilm import MiniLM

__all__ = ["ENCODERS", "Encoder", "EncoderIdentity", "identity"]

ENCODERS: dict[str, type[Encoder]] = catalog(
    EfficientNetLite0,
    Hashing,
    HfDual,
    Lite,
    MiniLM,
)

"""What does a medium show? `media -> drafts`, or why there is none."""

from tasks.captioners.concepts import Concepts
from tasks.captioners.contract import Captioner
from tasks.captioners.hf_vision2seq import HfVision2Seq
from tasks.captioners.keywords import Keywords
from tasks.captioners.labels import Labels
from tasks.captioners.openai_compatible import OpenaiCompatible
from tasks.captioners.prefix import Prefix
from tasks.captioners.retrieve import Retrieve
from tasks.captioners.translate import Translate
from tasks.catalog import catalog

CAPTIONERS: dict[str, type[Captioner]] = catalog(
    Concepts,
    HfVision2Seq,
    Keywords,
    Labels,
    OpenaiCompatible,
    Prefix,
    Retrieve,
    Translate,
)

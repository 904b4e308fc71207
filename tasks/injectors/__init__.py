"""What if these pairs were wrong? `PairBatch, rate, seed -> Injection`, in a named protocol."""

from tasks.catalog import catalog
from tasks.injectors.caption import CaptionInjector
from tasks.injectors.contract import Injector
from tasks.injectors.hard import HardInjector
from tasks.injectors.image import ImageInjector
from tasks.injectors.pair import PairInjector
from tasks.injectors.words import WordsInjector

INJECTORS: dict[str, type[Injector]] = catalog(
    CaptionInjector,
    HardInjector,
    ImageInjector,
    PairInjector,
    WordsInjector,
)

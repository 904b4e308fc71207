"""Is this item good on its own? `pa.Table -> (N,)` score."""

from tasks.catalog import catalog
from tasks.filters.aspect import Aspect
from tasks.filters.boilerplate import Boilerplate
from tasks.filters.contract import Filter
from tasks.filters.file_name_like import FileNameLike
from tasks.filters.language import Language
from tasks.filters.length_chars import LengthChars
from tasks.filters.length_words import LengthWords
from tasks.filters.many_texts import ManyTexts
from tasks.filters.min_side import MinSide
from tasks.filters.rare_token import RareToken
from tasks.filters.shared_text import SharedText
from tasks.filters.sharpness import Sharpness
from tasks.filters.size_bytes import SizeBytes
from tasks.filters.uniformity import Uniformity

FILTERS: dict[str, type[Filter]] = catalog(
    Aspect,
    Boilerplate,
    FileNameLike,
    Language,
    LengthChars,
    LengthWords,
    ManyTexts,
    MinSide,
    RareToken,
    SharedText,
    Sharpness,
    SizeBytes,
    Uniformity,
)

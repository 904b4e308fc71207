"""Words about the picture as a picture: what it is drawn as, how nice it is, who made it, its file's number."""

import re

from tasks.factual._lexicon import phrases_of, words_of
from tasks.factual._tokens import Token

_ALWAYS = words_of(
    "clipart cliparts clip-art clip-arts svg svgs png pngs jpg jpeg gif bmp webp eps vector vectors vectorized"
    " icon icons openclipart shutterstock istock istockphoto getty gettyimages flickr wikimedia hd uhd hdr 4k"
    " 8k wallpaper wallpapers printable editable scalable downloadable royalty-free high-quality"
    " high-resolution hi-res high-res line-art lineart close-up closeup photorealistic"
)
_NICE = words_of(
    "beautiful lovely nice cute amazing stunning gorgeous awesome wonderful pretty fantastic funny adorable"
    " charming simple detailed professional premium best perfect favorite favourite elegant marvelous superb"
)
_PICTURES = words_of(
    "photo photos photograph photographs photography picture pictures image images illustration illustrations"
    " drawing drawings painting paintings sketch sketches graphic graphics cartoon cartoons render rendering"
    " renderings artwork artworks art portrait portraits snapshot snapshots pic pics screenshot screenshots"
    " doodle doodles watercolor watercolour depiction"
)
_DRAWN = words_of("cartoon vector clipart clip-art icon watercolor watercolour hand-drawn stylized")
_INTRODUCES = words_of(
    "of showing depicting shows depicts featuring features displaying that which representing"
)
_SETS = words_of("collection set pack theme series example examples sheet bundle menu library gallery")
_VARIOUS = words_of("various assorted misc miscellaneous several random")
_MAKERS = words_of(
    "created drawn made designed photographed painted illustrated uploaded posted submitted sketched"
    " contributed traced rendered produced converted shot"
)
_PROGRAMS = words_of("inkscape sodipodi illustrator photoshop gimp blender canva coreldraw sketchup potrace")
_PHRASES = phrases_of(
    "isolated on a white background,isolated on white background,isolated on a transparent background,"
    "isolated on transparent background,isolated on white,isolated on black,on a white background,"
    "on white background,on a transparent background,on transparent background,on a black background,"
    "with copy space,copy space,clip art,clip arts,line art,stock photo,stock photos,stock photography,"
    "stock image,stock images,stock vector,stock illustration,royalty free,public domain,creative commons,"
    "free download,for free,high quality,high resolution,close up,black and white photo,"
    "black and white photograph,black and white picture,black and white drawing,"
    "black and white illustration,b and w,b & w,b / w"
)
_PHRASES_BY_WORD: dict[str, list[tuple[str, ...]]] = {}
for _phrase in sorted(_PHRASES, key=len, reverse=True):
    _PHRASES_BY_WORD.setdefault(_phrase[0], []).append(_phrase)

_FILE_NAME = re.compile(r"(?:img|dsc[nf]?|pict|mvc|scan|hash|p)\d{3,}|\d{7,}|0\d+")
_HEX = re.compile(r"(?=.{0,40}\d)(?=.{0,40}[a-f])[0-9a-f]{8,40}")
_FILE_WORDS = words_of("img dsc dscn dscf pict mvc")
_EXTENSIONS = words_of("png jpg jpeg gif svg bmp webp tif tiff eps pdf ai")
_DATES = words_of("mon tue wed thu fri sat sun jan feb mar apr may jun jul aug sep sept oct nov dec")
# What a number belongs to: "letter 5" is no fifth file.
_NUMBERED = words_of(
    "number no letter digit war route apollo formula channel day chapter page keycap size age line level"
    " part grade card area highway version windows boeing airbus type class mark top under plus minus times"
)
_NEVER_FREE_BEFORE = words_of("of from kick kicks fall throw throws hand style speech bird range")
_NAME_WORDS = 5
_LEAD_WORDS = 12  # looked back over; without an end, a text of one word again and again would cost its square


def mark_style(words: list[Token]) -> None:
    """Give the words of style and boilerplate the role "style"."""
    lows = [word.low for word in words]
    for i, low in enumerate(lows):
        if low in _PHRASES_BY_WORD:
            _mark_phrase(words, lows, i)
        if low in _ALWAYS or (low in _NICE and not _starts(lows, i, ("pretty", "much"))):
            words[i].role = "style"
        elif low[0].isdigit() or low[0] in "#." or low in _FILE_WORDS or low == "©":
            _mark_file(words, lows, i)
        elif _FILE_NAME.fullmatch(low) or (len(low) > 7 and _HEX.fullmatch(low)):
            words[i].role = "style"
    for i, low in enumerate(lows):
        if low in _PICTURES and _is_style(words, i):
            words[i].role = "style"
    for i, low in enumerate(lows):
        if (
            (low in _SETS and (_styled(words, i - 1) or _styled(words, i + 1)))
            or (low in _VARIOUS and _styled(words, i + 1))
            or (low == "free" and _is_free_of_charge(words, i))
        ):
            words[i].role = "style"
        elif low == "by":
            _mark_credit(words, i)
        elif low in _PROGRAMS and i > 1 and lows[i - 1] in ("with", "in", "using"):
            for word in words[i - 2 if lows[i - 2] in _MAKERS else i - 1 : i + 1]:
                word.role = "style"
        elif low == "part" and _starts(lows, i, ("part", "of", "the")) and _begins(words, i):
            _mark_part_of(words, lows, i)
        elif low == "(":
            _mark_date(words, i)
    _mark_last_number(words)


def _mark_phrase(words: list[Token], lows: list[str], i: int) -> None:
    for phrase in _PHRASES_BY_WORD[lows[i]]:
        if _starts(lows, i, phrase):
            for word in words[i : i + len(phrase)]:
                word.role = "style"
            return


def _mark_file(words: list[Token], lows: list[str], i: int) -> None:
    low, following = lows[i], lows[i + 1 : i + 3]
    ends_name = low == "." and following and following[0] in _EXTENSIONS
    if (ends_name and words[i + 1].start == words[i].end) or (
        low == "#" and following and following[0].isdigit()
    ):
        words[i].role = words[i + 1].role = "style"
    elif low in _FILE_WORDS and any(next_.isdigit() for next_ in following):
        for word in words[i : i + 2 + (not following[0].isdigit())]:
            word.role = "style"
    elif low == "©":
        for word in words[i : i + _NAME_WORDS]:
            if word.role in ("stop", "dash", "comma", "open", "close"):
                break
            word.role = "style"
    elif _FILE_NAME.fullmatch(low) or _HEX.fullmatch(low):
        words[i].role = "style"


def _is_style(words: list[Token], i: int) -> bool:
    """Whether a word for a picture speaks of this picture, not of one that is shown in it."""
    after = words[i + 1] if i + 1 < len(words) else None
    if after is not None and after.low in _INTRODUCES:
        return _begins(words, i) or _styled(words, i - 1) or _styled_run(words, i)
    if words[i].low in _DRAWN and after is not None and after.role == "noun":
        return True
    if after is not None and after.role in ("noun", "verb"):
        return False  # a picture frame, a drawing board
    before = words[i - 1] if i else None
    return before is None or before.role in ("noun", "style", "stop", "dash", "open") or _begins(words, i)


def _styled_run(words: list[Token], i: int) -> bool:
    """Whether the noun phrase that ends in word `i` begins a sentence: "old family photo of"."""
    for j in range(i - 1, max(-1, i - 5), -1):
        if words[j].role not in ("noun", "style", "conjunction"):
            return _begins(words, j + 1)
    return i <= 4


def _begins(words: list[Token], i: int) -> bool:
    """Whether nothing but articles, praise and "this is" stand between word `i` and its sentence's start."""
    for j in range(i - 1, max(-1, i - 1 - _LEAD_WORDS), -1):
        if words[j].role in ("stop", "dash"):
            return True
        if words[j].role not in ("determiner", "pronoun", "copula", "style", "open", "quote", "adverb"):
            return False
    return i <= _LEAD_WORDS


def _styled(words: list[Token], i: int) -> bool:
    return 0 <= i < len(words) and words[i].role == "style"


def _is_free_of_charge(words: list[Token], i: int) -> bool:
    after = words[i + 1] if i + 1 < len(words) else None
    if after is not None and after.low in _NEVER_FREE_BEFORE:
        return False
    if _styled(words, i - 1) or _styled(words, i + 1):
        return True
    return _begins(words, i) and after is not None and after.role == "noun"


def _mark_credit(words: list[Token], i: int) -> None:
    """Mark "by" and the maker behind it, where it is a maker: after style, "made by", or a name that ends it."""
    made = i > 0 and (words[i - 1].low in _MAKERS or words[i - 1].role == "style")
    end = i + 1
    while end < len(words) and end - i <= _NAME_WORDS and words[end].role not in ("stop", "dash", "comma"):
        if words[end].role in ("open", "close"):
            break
        end += 1
    name = [word for word in words[i + 1 : end] if word.role != "mark"]
    if not name or name[0].role == "determiner":
        return
    if not made:
        ends = end == len(words) or (words[end].role == "stop" and end + 1 == len(words))
        before = words[i - 1] if i else None
        if not ends or len(name) > 4 or not all(word.text[0].isupper() for word in name):
            return
        if before is None or before.role != "noun" or before.low.endswith(("ed", "en", "rn")):
            return
        if before.low == name[0].low:
            return  # side by side
    for word in words[i - 1 if made else i : end]:
        word.role = "style"


def _mark_part_of(words: list[Token], lows: list[str], i: int) -> None:
    for j in range(i + 3, min(i + 9, len(words))):
        if lows[j] in ("collection", "set", "series"):
            for word in words[i : j + 1]:
                word.role = "style"
            return
        if words[j].role in ("stop", "comma"):
            return


def _mark_date(words: list[Token], i: int) -> None:
    """Mark a bracket with nothing in it but a date."""
    inside: list[Token] = []
    for word in words[i + 1 : i + 12]:
        if word.role == "close":
            if inside and any(each.low in _DATES for each in inside):
                for each in inside:
                    each.role = "style"
            return
        if word.low not in _DATES and not word.low[0].isdigit():
            return
        inside.append(word)


def _mark_last_number(words: list[Token]) -> None:
    """Mark the number at the end of a title: "scissors 2". A sentence ends in a full stop and keeps its own."""
    if not 2 <= len(words) <= 8:
        return
    last, before = words[-1], words[-2]
    if last.low.isdigit() and before.role in ("noun", "style", "dash", "close") and len(last.low) <= 3:
        named = words[-3] if before.role == "dash" and len(words) > 2 else before
        if named.low not in _NUMBERED and not any(word.role in ("determiner", "stop") for word in words):
            last.role = "style"


def _starts(lows: list[str], i: int, phrase: tuple[str, ...]) -> bool:
    return tuple(lows[i : i + len(phrase)]) == phrase

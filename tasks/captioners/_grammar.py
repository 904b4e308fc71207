"""Sentences for what was seen: a few forms, chosen by a digest so that a medium keeps its own."""

import hashlib
import re
from dataclasses import dataclass

from tasks.captioners.contract import Statement

NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}
LINE_DRAWING = "black-and-white line drawing"

# "{}" is where the thing goes. The words of the style stand in the second field.
_OF_A_THING = {
    "photo": (("{}", ""), ("a photo of {}", "photo"), ("{} in a photo", "photo")),
    "drawing": (("a drawing of {}", "drawing"), ("{}, drawn", "drawn"), ("{} in a drawing", "drawing")),
    "icon": (("an icon of {}", "icon"), ("{} as an icon", "icon"), ("{}, drawn as an icon", "icon")),
    "line drawing": (
        (f"a {LINE_DRAWING} of {{}}", LINE_DRAWING),
        (f"{{}} as a {LINE_DRAWING}", LINE_DRAWING),
        (f"{{}}, a {LINE_DRAWING}", LINE_DRAWING),
    ),
    "": (("{}", ""), ("a picture of {}", ""), ("{} in a picture", "")),
}
_ON = ((" on {} ", "{} background"), (" against {} ", "{} background"), (", the ", "background {}"))
_READS = (' with the words "{}"', ', which reads "{}"', ' with the writing "{}"')

# Things one has some of.
# fmt: off
_MASS = frozenset({
    "food", "bread", "fruit", "hay", "corn", "guacamole", "mashed potato", "dough", "chocolate sauce", "eggnog",
    "carbonara", "rapeseed", "hair spray", "perfume", "chain mail", "ice cream", "broccoli", "trifle",
})
_ONLY_PLURAL = frozenset({"parallel bars"})
_IRREGULAR = {
    "mouse": "mice", "goose": "geese", "ox": "oxen", "person": "people", "mongoose": "mongooses",
    "wolf": "wolves", "loaf": "loaves", "scarf": "scarves", "knife": "knives", "half": "halves", "leaf": "leaves",
    "calf": "calves", "sheep": "sheep", "fish": "fish", "goldfish": "goldfish", "clownfish": "clownfish",
    "jellyfish": "jellyfish", "starfish": "starfish", "pufferfish": "pufferfish", "lionfish": "lionfish",
    "bison": "bison", "salmon": "salmon", "aircraft": "aircraft", "watercraft": "watercraft", "man": "men",
    "fungus": "fungi", "platypus": "platypuses", "piano": "pianos", "radio": "radios", "kimono": "kimonos",
    "sombrero": "sombreros", "banjo": "banjos", "cello": "cellos", "patio": "patios", "yo-yo": "yo-yos",
    "flamingo": "flamingos", "armadillo": "armadillos", "dingo": "dingos", "poncho": "ponchos",
    "espresso": "espressos", "burrito": "burritos", "swine": "swine", "species": "species",
}
# fmt: on


@dataclass(frozen=True)
class Part:
    """Words of a draft and how sure they are.

    Args:
        text: The words.
        confidence: Probability that they are true, in [0, 1].
    """

    text: str
    confidence: float


@dataclass(frozen=True)
class Seen:
    """What may be said, each None or empty where it may not.

    Args:
        thing: A word for what it is, singular.
        colours: Terms of its colours, the largest first.
        count: How many there are, 2 to 6.
        count_confidence: Probability of the count.
        shape: "tall" or "wide" where that is striking.
        style: A key of the forms: "photo", "drawing", "icon", "line drawing" or "".
        style_confidence: Probability of the style.
        background: Term of the background where it is worth saying.
        writing: What can be read in it.
    """

    thing: Part | None = None
    colours: tuple[Part, ...] = ()
    count: int = 0
    count_confidence: float = 0.0
    shape: Part | None = None
    style: str = ""
    style_confidence: float = 0.0
    background: Part | None = None
    writing: Part | None = None


def say(seen: Seen, media_id: str, seed: int) -> tuple[str, tuple[Statement, ...]]:
    """Return a caption and its statements in the order of the caption; "" and none where too little was seen.

    A style alone is too little, but that of a line drawing.
    """
    dice = hashlib.blake2b(f"{seed}\0{media_id}".encode("utf-8", "surrogatepass"), digest_size=3).digest()
    if not (seen.thing or seen.colours or seen.count or seen.writing or seen.style == "line drawing"):
        return "", ()
    if seen.thing or seen.count:
        text, statements = _thing(seen, _OF_A_THING[seen.style][dice[0] % 3])
    else:
        text, statements = _no_thing(seen, dice[0])
    if seen.background:
        lead, form = _ON[dice[1] % 3]
        words = form.format(seen.background.text)
        text += lead.format(article(words)) + words
        statements.append(Statement(words, "colour", seen.background.confidence))
    if seen.writing:
        text += _READS[dice[2] % 3].format(seen.writing.text)
        statements.append(Statement(seen.writing.text, "writing", seen.writing.confidence))
    return text, tuple(statements)


def article(words: str) -> str:
    """Return "a" or "an", by how the words begin when spoken."""
    if re.match(r"(?i)(uni(?!n[ -])|eu|uten|uku|one\b)", words):
        return "a"
    return "an" if re.match(r"(?i)([aeiou]|hour|heir)", words) else "a"


def plural(noun: str) -> str:
    """Return the plural of a singular noun of any number of words; of "pair of jeans", it is the pair's."""
    if noun in _ONLY_PLURAL:
        return noun
    head, of, rest = noun.partition(" of ")
    first, space, last = head.rpartition(" ")
    if last in _IRREGULAR:
        made = _IRREGULAR[last]
    elif re.search(r"(s|x|z|ch|sh|[^aeiou]o)$", last):
        made = last + "es"
    elif re.search(r"[^aeiou]y$", last):
        made = last[:-1] + "ies"
    elif last.endswith("man") and last not in ("talisman", "human"):
        made = last[:-3] + "men"
    else:
        made = last + "s"
    return first + space + made + of + rest


def countable(noun: str) -> bool:
    """Whether one can count it as it stands."""
    return noun not in _MASS and noun not in _ONLY_PLURAL


def _thing(seen: Seen, form: tuple[str, str]) -> tuple[str, list[Statement]]:
    """Return "a drawing of two red apples" and its statements."""
    noun = seen.thing.text if seen.thing else "thing"
    said = []
    if seen.count and countable(noun):
        noun = plural(noun)
        said.append(Statement(NUMBERS[seen.count], "count", seen.count_confidence))
    if seen.shape:
        said.append(Statement(seen.shape.text, "orientation", seen.shape.confidence))
    colours, words = _colours(seen, noun)
    if seen.thing:
        said += [*colours, Statement(noun, "object", seen.thing.confidence)]
    else:
        said += colours
    phrase = " ".join(part for part in (seen.shape.text if seen.shape else "", words, noun) if part)
    if seen.count and countable(noun):
        phrase = f"{NUMBERS[seen.count]} {phrase}"
    elif countable(noun):
        phrase = f"{article(phrase)} {phrase}"
    frame, style = form
    before = frame.index("{}") > frame.index(style) if style else False
    about = [Statement(style, "style", seen.style_confidence)] if style else []
    return frame.format(phrase), [*about, *said] if before else [*said, *about]


def _no_thing(seen: Seen, die: int) -> tuple[str, list[Statement]]:
    """Return "a red and white drawing" and its statements."""
    colours, words = _colours(seen, "")
    noun = LINE_DRAWING if seen.style == "line drawing" else seen.style or "picture"
    about = [Statement(noun, "style", seen.style_confidence)] if seen.style else []
    if not words:
        return f"{article(noun)} {noun}", about
    if die % 2:
        return f"{article(words)} {words} {noun}", [*colours, *about]
    return f"{article(noun)} {noun} in {words}", [*about, *colours]


def _colours(seen: Seen, noun: str) -> tuple[list[Statement], str]:
    """Return the statements on colours and "red and white"; a colour that is in the noun is not said again."""
    parts = [part for part in seen.colours if part.text not in noun.split()]
    said = [Statement(part.text, "colour", part.confidence) for part in parts]
    return said, " and ".join(part.text for part in parts)

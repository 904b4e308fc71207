"""What an attribute can be turned into so that nobody would take the one for the other."""

from tasks.factual._lexicon import words_of
from tasks.factual.attributes import AGE, COLOUR, MATERIAL, PATTERN, POSITION, SHAPE, SIZE, STATE

# Colours by the family a person puts them in, and families that one may take for the other.
_FAMILIES = {
    "red": "red crimson scarlet maroon burgundy ruby reddish",
    "green": "green emerald olive lime greenish",
    "blue": "blue azure navy indigo bluish aqua cyan turquoise teal",
    "yellow": "yellow gold golden amber blond blonde yellowish",
    "orange": "orange peach salmon coral",
    "purple": "purple violet lilac lavender mauve magenta",
    "pink": "pink",
    "brown": "brown brunette",
    "beige": "beige tan khaki cream",
    "black": "black",
    "white": "white ivory",
    "gray": "gray grey silver silvery",
}
_NEAR = {
    "red": "orange pink brown purple",
    "green": "blue yellow",
    "blue": "green purple gray black",
    "yellow": "orange white green beige",
    "orange": "red yellow brown pink",
    "purple": "blue pink red",
    "pink": "red purple white orange",
    "brown": "orange red black gray beige",
    "beige": "yellow brown white orange pink gray",
    "black": "brown gray blue",
    "white": "yellow gray pink",
    "gray": "white black blue brown",
}
_FAMILY_OF = {word: family for family, words in _FAMILIES.items() for word in words.split()}
_SHADES = ("teal", "turquoise", "aqua", "cyan")  # green to some, blue to others; not near any other
_BASIC = ("red", "green", "blue", "yellow", "orange", "purple", "pink", "brown", "black", "white")
_HAIR = ("blond", "black", "brown", "red")

_OTHERS: dict[str, dict[str, str]] = {
    SIZE: {
        "small little tiny mini miniature micro": "large huge",
        "big large huge giant gigantic enormous massive oversized": "small tiny",
        "tall": "short",
        "short": "tall long",
        "long": "short",
        "wide": "narrow",
        "narrow": "wide",
        "thin slim": "thick",
        "thick": "thin",
        "fat chubby": "thin",
    },
    MATERIAL: {
        "wooden": "metal glass plastic stone",
        "metal metallic iron steel bronze copper": "wooden glass plastic stone",
        "plastic rubber": "wooden metal glass stone",
        "glass porcelain ceramic": "wooden metal leather",
        "stone brick concrete marble clay": "wooden glass plastic",
        "paper cardboard": "metal glass stone wooden",
        "leather denim cotton woolen woollen silk straw": "metal plastic glass",
        "chocolate": "wooden glass stone",
    },
    AGE: {
        "young teenage newborn baby": "old",
        "elderly aged": "young",
        "adult": "newborn",
        "new modern": "old",
        "ancient antique vintage old-fashioned": "modern",
    },
    SHAPE: {
        "round circular spherical oval": "square triangular",
        "square rectangular": "round triangular",
        "triangular pointed pointy": "round",
        "hexagonal octagonal": "round triangular",
        "straight": "curved wavy",
        "curved curly wavy spiral": "straight",
        "heart-shaped star-shaped": "square triangular",
    },
    PATTERN: {
        "striped stripy stripey tartan": "spotted",
        "spotted dotted polka-dot floral": "striped",
        "checked checkered chequered plaid": "spotted floral",
    },
    STATE: {
        "open opened": "closed",
        "closed shut": "open",
        "empty": "full",
        "full": "empty",
        "happy excited smiling laughing": "sad angry",
        "sad crying": "happy laughing",
        "angry scared worried": "happy",
        "calm": "angry",
        "wet": "dry",
        "dry": "wet",
        "hot": "cold",
        "cold": "hot",
        "lit": "unlit",
        "unlit": "lit",
        "clean": "dirty",
        "dirty": "clean",
        "broken cracked torn": "intact",
        "asleep": "awake",
        "awake": "asleep",
        "sleeping": "running jumping",
        "sitting seated": "standing running",
        "standing": "sitting lying",
        "lying": "standing",
        "walking running jumping": "sleeping sitting",
        "flying": "swimming sleeping",
        "swimming": "flying sleeping",
        "dancing singing": "sleeping",
        "frowning": "smiling",
        "raw": "cooked",
        "cooked": "raw",
        "folded": "unfolded",
        "snowy": "sunny",
        "sunny": "snowy",
        "peeled": "unpeeled",
        "sliced bitten": "whole",
        "ripe": "unripe",
        "unripe rotten": "ripe",
    },
    POSITION: {
        "left leftmost": "right",
        "right rightmost": "left",
        "top": "bottom",
        "bottom": "top",
        "upper": "lower",
        "lower": "upper",
        "front": "back",
        "back rear": "front",
        "inner": "outer",
        "outer": "inner",
        "horizontal": "vertical",
        "vertical": "horizontal",
        "above": "below",
        "below under underneath beneath": "above",
        "inside": "outside",
        "outside": "inside",
    },
}
_OTHER = {
    (kind, word): tuple(others.split())
    for kind, groups in _OTHERS.items()
    for words, others in groups.items()
    for word in words.split()
}

# Beings are old and young; things are old and new.
_BEINGS = words_of(
    "man woman person people boy girl child lady gentleman king queen prince princess witch wizard monk nun nurse"
    " doctor farmer sailor soldier teacher mother father grandmother grandfather couple dog cat horse cow bull"
    " sheep goat pig lion tiger bear wolf fox deer rabbit mouse rat bird duck goose chicken hen rooster owl eagle"
    " frog turtle tortoise snake lizard fish shark whale dolphin elephant monkey gorilla donkey camel giraffe zebra"
    " kangaroo koala hedgehog squirrel tree lord fellow guy human elf pirate clown cowboy fisherman musician"
)


def others(kind: str, word: str, head: str) -> tuple[str, ...]:
    """Return what a lower-case attribute may become; empty where nothing is clearly different.

    Args:
        kind: Kind of the attribute; counts are not told here.
        word: The attribute.
        head: The noun it belongs to.
    """
    if kind == COLOUR:
        natural = head == "hair" or word in ("blond", "blonde", "brunette")
        return tuple(c for c in (_HAIR if natural else _BASIC) if not may_be_taken_for(c, word))
    if kind == AGE and word == "old":
        return ("young",) if head in _BEINGS else ("new",)
    if kind == AGE and word == "young" and head not in _BEINGS:
        return ()
    return _OTHER.get((kind, word), ())


def may_be_taken_for(colour: str, other: str) -> bool:
    """Whether a person may call the one colour the other. Words that are no colours are taken for none."""
    one, two = _FAMILY_OF.get(colour, colour), _FAMILY_OF.get(other, other)
    if one == two:
        return True
    if colour in _SHADES or other in _SHADES:
        return {one, two} == {"blue", "green"}
    return two in _NEAR.get(one, "").split() or one in _NEAR.get(two, "").split()

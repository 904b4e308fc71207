"""Words that give a noun a property, by the kind of property."""

from tasks.factual._lexicon import phrases_of, words_of

COLOUR, COUNT, SIZE, MATERIAL, AGE, SHAPE, PATTERN, STATE, POSITION = KINDS = (
    "colour",
    "count",
    "size",
    "material",
    "age",
    "shape",
    "pattern",
    "state",
    "position",
)

# Spelt as in texts. A word that can be a noun too stands in NOUNS_TOO as well.
_WORDS = {
    COLOUR: (
        "red green blue yellow orange purple pink brown black white gray grey violet crimson scarlet maroon"
        " burgundy ruby turquoise teal cyan aqua azure navy indigo magenta lilac lavender mauve beige tan cream"
        " ivory khaki olive lime emerald gold golden silver silvery amber peach salmon coral reddish bluish"
        " greenish yellowish blond blonde brunette"
    ),
    SIZE: (
        "small little tiny mini miniature micro big large huge giant gigantic enormous massive tall short long"
        " wide narrow thin thick slim fat chubby oversized"
    ),
    MATERIAL: (
        "wooden metal metallic plastic paper glass stone brick leather bronze iron steel cotton woolen woollen"
        " concrete ceramic clay rubber chocolate marble copper cardboard porcelain straw silk denim"
    ),
    AGE: "old young new ancient baby adult elderly modern antique vintage teenage newborn aged old-fashioned",
    SHAPE: (
        "round square circular triangular rectangular oval spherical curved straight pointed pointy spiral"
        " hexagonal octagonal curly wavy cylindrical"
    ),
    PATTERN: (
        "striped stripy stripey checkered chequered checked spotted dotted plaid floral patterned camouflage"
        " colorful colourful multicolored multicoloured multicolor rainbow polka-dot plain tartan"
    ),
    STATE: (
        "open opened closed shut broken empty full happy sad angry dead alive living wet dry hot cold frozen lit"
        " unlit asleep awake clean dirty sliced folded rotten ripe unripe raw cooked hungry tired drunk melted"
        " cracked bare naked shiny burnt burned winged fluffy furry bald bearded feathered excited surprised"
        " scared worried calm decorated bent torn rusty snowy sunny cloudy blurry whole bitten peeled seated"
    ),
    POSITION: (
        "left right top bottom upper lower front back rear middle center centre central inner outer leftmost"
        " rightmost upside-down horizontal vertical sideways diagonal"
    ),
}

ATTRIBUTES: dict[str, str] = {word: kind for kind, words in _WORDS.items() for word in words.split()}

# Attributes of what stands before them: "a cat above a dog".
RELATIONS = words_of("above below under underneath beneath behind beside inside outside")

# Last in their phrase these are the thing itself: an orange, a glass, the front.
NOUNS_TOO = words_of(
    "orange violet ruby turquoise lavender lilac cream olive lime emerald gold silver amber peach salmon coral"
    " ivory khaki indigo navy blonde brunette metal plastic paper glass stone brick leather bronze iron steel"
    " cotton concrete clay rubber chocolate marble copper cardboard porcelain straw silk denim mini miniature"
    " giant micro adult baby newborn antique square oval spiral plaid tartan camouflage rainbow living cold"
    " top bottom front back rear middle center centre diagonal"
)

# Pairs that name one thing; neither word says anything of the other.
COMPOUNDS = frozenset(
    phrases_of(
        "orange juice,orange tree,orange slice,orange peel,orange blossom,lime tree,lime slice,lime juice,"
        "peach tree,olive tree,olive branch,olive oil,rainbow trout,rainbow flag,gold medal,silver medal,"
        "bronze medal,bald eagle,bell bottom,bell bottoms,cream cheese,cream puff,lavender field,salmon fillet,"
        "coral reef,ruby slippers,hot dog,hot dogs,hot air,hot pepper,hot spring,hot springs,hot rod,hot pot,"
        "hot chocolate,dry erase,dry cleaning,dry dock,full moon,full stop,half moon,top hat,top hats,tank top,"
        "front page,back pack,back yard,right angle,giant panda,giant pandas,little finger,big top,big dipper,"
        "short story,short circuit,long jump,high heel,square root,square dance,round trip,paper clip,paper clips,"
        "paper plane,glass eye,iron cross,rubber stamp,rubber duck,rubber ducky,brick layer,stone age,bronze age,"
        "iron age,ice cream,new york,new zealand,new jersey,new mexico,new guinea,new delhi,new orleans,"
        "new england,new south,new caledonia,new hampshire,new year,new years,new testament,new brunswick,"
        "old testament,baby bottle,baby carriage,baby stroller,baby buggy,baby shower,baby food,baby crib,"
        "left turn,right turn,straight razor,long island,magnifying glass,running shirt,running shoe,"
        "running shoes,swimming pool,swimming trunks,sleeping bag,rocking chair,rocking horse,flying saucer,"
        "climbing frame,playing card,playing cards,boiling point,looking glass,melting pot,walking stick,"
        "walking boot,working day,black hole,black hawk,white house,green card,red cross,red panda,"
        "brown university,open source,cold war,dead end,lower case,upper case,wet suit,living room,center stage,"
        "one way,two way,back door,front door,plain text,dry ice,whole note,cold cuts,upper class"
    )
)

_NUMBER_WORDS = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    " eighteen nineteen twenty"
)
NUMBERS: dict[str, int] = {word: value for value, word in enumerate(_NUMBER_WORDS.split(), start=1)} | {
    "thirty": 30,
    "forty": 40,
    "fifty": 50,
    "hundred": 100,
}

# Two of one kind that make one thing: a pair of them is no count of two.
ONE_AS_A_PAIR = words_of(
    "pants trousers jeans shorts tights leggings glasses sunglasses spectacles goggles binoculars scissors"
    " pliers tweezers tongs shears clippers pajamas pyjamas overalls underpants briefs headphones earphones"
    " pantyhose slacks"
)

# -ing words that are things or name what a thing is for, not what it is doing.
NOT_DOING = words_of(
    "ring king wing string spring thing ceiling pudding clothing lightning evening morning earring sibling"
    " duckling sapling building painting wedding drawing ping bling sling swing sting railing awning dumpling"
    " stocking viking icing herring starling gosling hatchling nestling inkling darling sterling shilling"
    " washing sewing vending measuring shopping frying ironing parking hiking mixing rolling cutting fishing"
    " camping cooking baking dining meeting logging sailing skiing cycling knitting writing filing carving"
    " filling dressing frosting topping seasoning plumbing wiring lighting heating packaging crossing opening"
    " beginning ending setting landing bearing covering flooring roofing scaffolding shelving tubing bedding"
    " greeting being nothing something anything everything outing clearing engraving etching boxing magnifying"
    " warning advertising printing diving bowling racing highlighting chewing cunning during wyoming beijing"
    " lettering marking"
)


def is_doing(word: str) -> bool:
    """Whether a lower-case word is an -ing form that says what something does."""
    return word.endswith("ing") and len(word) > 5 and word not in NOT_DOING and not word.endswith("-ing")


def kind_of(word: str) -> str | None:
    """Return the kind of attribute a lower-case word is, None for other words. Counts are not told here."""
    kind = ATTRIBUTES.get(word)
    if kind is None and word.endswith("-shaped"):
        return SHAPE
    return STATE if kind is None and is_doing(word) else kind

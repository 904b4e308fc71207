"""Words that may stand for each other in any caption, and nouns too wide to be wrong."""

from tasks.factual._lexicon import words_of

_SETS = (
    "big large,bunny rabbit,bike bicycle,airplane aeroplane,automobile car,couch sofa,gray grey,"
    "colorful colourful,multicolored multicoloured,fireman firefighter,policeman police-officer,"
    "tombstone gravestone headstone,taxi cab,doughnut donut,ladybug ladybird,hamburger burger,fridge refrigerator,"
    "laptop notebook-computer,spectacles eyeglasses,kid child,infant baby,tv television,flashlight torch,"
    "wrench spanner,eggplant aubergine,zucchini courgette,trousers pants,crayfish crawfish,truck lorry,"
    "motorbike motorcycle,puma cougar,orca killer-whale,hippo hippopotamus,rhino rhinoceros,chimp chimpanzee,"
    "round circular,scared frightened,tiny minuscule,smiling grinning"
)
# Of these sets only words that are as common, and mean nothing else, stand in for one another in a text.
_SAFE = words_of(
    "big large bunny rabbit bike bicycle airplane aeroplane couch sofa gray grey colorful colourful multicolored"
    " multicoloured fireman firefighter tombstone gravestone doughnut donut ladybug ladybird fridge refrigerator"
    " eggplant aubergine motorbike motorcycle hippo hippopotamus rhino rhinoceros chimp chimpanzee scared frightened"
)
_GROUPS = [each.split() for each in _SETS.split(",")]
SAME: dict[str, tuple[str, ...]] = {
    word: tuple(other for other in group if other != word) for group in _GROUPS for word in group
}
STANDS_FOR: dict[str, tuple[str, ...]] = {
    word: tuple(other for other in same if other in _SAFE) for word, same in SAME.items() if word in _SAFE
}

# A bird may be an owl: such nouns neither replace another nor are replaced.
WIDE = words_of(
    "animal bird fish mammal insect bug reptile amphibian creature beast pet plant flower tree fruit vegetable food"
    " meal vehicle car boat ship machine device tool thing object item stuff toy person people man woman men women"
    " boy girl child kid baby adult human someone character figure building house place scene view symbol sign"
    " letter number word piece part pair group set collection row side top bottom front back half head body face"
    " color colour shape line pattern design style logo background clothing clothes furniture instrument drink"
    " container box bag rodent dog monkey stone rock music game sport weapon gun money coin note point kind type"
    " sort day time year world one two three land water picture image photo icon drawing"
)
# Near each other, or one a kind of the other: not wrong for sure.
_NEAR = (
    "rabbit hare,mouse rat,frog toad,turtle tortoise,alligator crocodile,donkey mule,cow bull ox calf,hen chicken"
    " rooster chick,sheep lamb ram,goat kid,duck drake duckling,goose gander gosling,bee wasp hornet,moth butterfly,"
    "crow raven blackbird,seal walrus,dolphin porpoise orca whale,mug cup,hat cap,shoe boot sneaker,sofa armchair,"
    "bus coach,train locomotive engine,plane airplane jet aircraft airliner,rocket spaceship,castle fortress palace fort tower,"
    "knife dagger sword,rifle pistol revolver,pumpkin squash gourd,orange mandarin tangerine clementine,lemon lime,"
    "grave tombstone gravestone headstone monument marker,star asterisk,sea ocean,street road,forest woods,"
    "jacket coat,bowl dish plate,pot pan,computer laptop desktop,telephone phone cellphone,shirt t-shirt blouse,"
    "camel dromedary,marmot squirrel,deer doe buck stag caribou reindeer elk moose wapiti,"
    "leopard jaguar cheetah panther,pony horse,puppy dog,kitten cat,mushroom toadstool cep,guitar bass,violin viola"
    " fiddle cello,trumpet horn bugle,king emperor,queen princess,seagull gull,pigeon dove,pants jeans trousers"
    " shorts,glasses sunglasses spectacles goggles,rose flower,screwdriver driver,football ball soccer"
)
NEAR: dict[str, frozenset[str]] = {}
for _group in _NEAR.split(","):
    for _word in _group.split():
        NEAR[_word] = NEAR.get(_word, frozenset()) | frozenset(_group.split())


def may_be_the_same(one: str, other: str) -> bool:
    """Whether what is called by the one lower-case singular noun may be called by the other."""
    if one == other or other in SAME.get(one, ()) or other in NEAR.get(one, ()):
        return True
    short, long = sorted((one, other), key=len)
    return len(short) > 2 and (long.endswith(short) or long.startswith(short))

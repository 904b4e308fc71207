"""Closed classes: the words that hold phrases apart. Whatever is in none of them is taken for a noun."""


def words_of(line: str) -> frozenset[str]:
    """Return the words of a line as a set: lists of words read better as text."""
    return frozenset(line.split())


def phrases_of(line: str) -> list[tuple[str, ...]]:
    """Return the phrases of a line, commas between them, each as its words."""
    return [tuple(phrase.split()) for phrase in line.split(",")]


DETERMINERS = words_of(
    "a an the this that these those my your his her its our their some any each every another other others"
    " all both such what which whose several many few much more most no-one various certain own same"
)
PRONOUNS = words_of(
    "i you he she it we they me him them us who whom myself yourself himself herself itself themselves mine"
    " yours hers ours theirs something someone somebody anything anyone anybody everything everyone everybody"
    " otherwise there here one's"
)
PREPOSITIONS = words_of(
    "of in on at with from for to by over near next onto into through across along around against off up down"
    " toward towards between than as like about after before during per via upon within among amongst amid past"
    " until till since out versus vs using above below under underneath beneath behind beside besides inside"
    " outside opposite w atop alongside"
)
# A place ends what "no" or "maybe" reaches: in "no dog in the house" the house is there.
PLACES = words_of(
    "in on at near over above below under underneath beneath behind beside inside outside between against along"
    " across around from into onto through within among amongst amid next atop alongside upon"
)
CONJUNCTIONS = words_of("and or nor plus & + / |")
CLAUSE_ENDS = words_of(
    "but however except although though yet whereas while because unless if so then therefore instead rather"
    " which who that where when"
)
COPULAS = words_of("is are was were be been am 's ’s")
AUXILIARIES = words_of(
    "has have had having do does did will would shall should can could must may might get gets got getting being"
    " ought need dare let lets let's going goes go"
)
# Verbs that say nothing by themselves that a picture would show otherwise.
VERBS = words_of(
    "show shows shown showing depict depicts depicted depicting feature features featuring contain"
    " contains containing include includes including hold holds holding held wear wears wearing worn use"
    " uses used using make makes made making see sees seen look looks looking looked stand stands stood"
    " sit sits sat lie lies lay run runs ran walk walks walked eat eats eating ate take takes taking took"
    " taken give gives giving given carry carries carrying carried put puts putting keep keeps kept"
    " keeping come comes came coming become becomes became want wants wanted say says said saying know"
    " knows known think thinks thought mean means meant call calls called named titled surround surrounds"
    " surrounded cover covers covered fill fills filled consist consists consisting represent represents"
    " representing represented symbolize symbolizes hatched found made located based seen parked attached"
    " placed taken written drawn cut try tries trying tried ride rides rode live lives lived grow grows"
    " grew grown fly flies flew jump jumps jumped play plays played sleep sleeps slept smile smiles smiled"
    " dance dances danced swim swims swam drink drinks drank hang hangs hung remain remains fell falls"
    " brings bring brought remember remembers close closes stop stops turn turns work works point points"
    " wash washes bark barks bite bites climb climbs chase chases push pushes pull pulls kick kicks throw"
    " throws touch touches rest rests lean leans wait waits"
)
# Nouns as often as not: verbs only right behind a noun and before a determiner, preposition or adverb.
VERBS_OR_NOUNS = words_of(
    "show shows feature features hold holds use uses look looks stand stands sit lie lies run runs walk walks"
    " cover covers cut play plays ride rides fly flies jump jumps sleep smile smiles dance dances swim drink"
    " drinks fill fills call calls close closes falls fell live lives lay named make makes try make put puts"
    " want wants mean means come comes take takes give gives eat eats see sees say says know bring brings stop stops turn"
    " turns work works point points wash washes bark barks bite bites climb climbs chase chases push pushes pull"
    " pulls kick kicks throw throws touch touches rest rests lean leans wait waits"
)
ADVERBS = words_of(
    "very really quite so instead too just also now already still only even again always often usually ever almost nearly"
    " not rather fully partly partially completely highly slightly brightly darkly lightly newly badly freshly"
    " heavily mostly mainly originally simply actually finally together away forward apart alone later"
    " yes oh hey please then thus hence indeed perhaps maybe soon once twice first last well extremely somewhat"
    " bit merely necessarily clearly visibly directly approximately roughly exactly softly widely closely"
    " certainly definitely surely"
    " how why where when kind type sort lot lots etc etcetera eg ie amp"
)
MODIFIERS_OF_COLOUR = words_of(
    "light dark pale bright deep vivid neon pastel hot sky navy royal forest baby snow off"
)

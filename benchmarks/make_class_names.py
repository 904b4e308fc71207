"""Make the class names of the captioner `labels`: `python -m benchmarks.make_class_names --help`.

Packages to fetch and unpack first (nothing is downloaded here):

    --classes      the timm wheel (PyPI): synset ids of the 1,000 ImageNet classes in the order of the outputs
    --wordnet      usr/share/wordnet of Debian wordnet-base (WordNet 3.0): nouns and what they are kinds of

Writes `tasks/captioners/imagenet_hypernyms.json`: for each class its synset id, a plain name, and those of its
hypernyms that people use, the most specific first. Which hypernyms those are is the table `KEPT` below: the
others are levels that nobody names ('whole', 'placental', 'durables') or that say nothing ('device').
"""

import argparse
import json
import zipfile
from pathlib import Path

OUT = Path(__file__).parents[1] / "tasks" / "captioners" / "imagenet_hypernyms.json"
SYNSETS = "timm/data/_info/imagenet_synsets.txt"

# Hypernyms by their offset in WordNet 3.0, as captions would say them; countable wherever English allows it.
# fmt: off
KEPT = {
    "00015388": "animal", "02084071": "dog", "02087122": "hunting dog", "02103406": "working dog",
    "02104523": "sheepdog", "02092468": "terrier", "02087551": "hound", "02085374": "toy dog",
    "02101108": "spaniel", "02099029": "retriever", "02100399": "setter", "02113335": "poodle",
    "02096756": "schnauzer", "02111626": "spitz", "02114100": "wolf", "02118333": "fox", "02131653": "bear",
    "02121620": "cat", "02121808": "domestic cat", "02127808": "big cat", "02469914": "primate",
    "02484322": "monkey", "02470325": "ape", "02329401": "rodent", "02395003": "pig", "02419796": "antelope",
    "02062017": "sea mammal", "01861778": "mammal", "01874434": "marsupial", "02503517": "elephant",
    "02437136": "camel", "02374451": "horse", "02411705": "sheep", "02324045": "rabbit",
    "02355227": "squirrel", "02441326": "weasel-like animal", "02509815": "lesser panda",
    "01503061": "bird", "02000954": "wading bird", "01524359": "songbird", "01604330": "bird of prey",
    "01795088": "grouse", "01816887": "parrot", "02008041": "heron", "02021795": "seabird",
    "01845132": "waterfowl", "01529672": "finch", "02022684": "shorebird", "02002075": "stork",
    "01661091": "reptile", "01726692": "snake", "01674464": "lizard", "01662784": "turtle",
    "01697178": "crocodile", "01627424": "amphibian", "01639765": "frog", "01629276": "salamander",
    "02512053": "fish", "01482330": "shark", "01495701": "ray", "01767661": "arthropod", "02159955": "insect",
    "02164464": "beetle", "02274259": "butterfly", "01772222": "spider", "01974773": "crustacean",
    "01976957": "crab", "01982650": "lobster", "01905661": "invertebrate", "01940736": "mollusc",
    "04524313": "vehicle", "03791235": "motor vehicle", "02958343": "car",
    "04490091": "truck", "02924116": "bus", "04520170": "van", "04464852": "tracked vehicle", "03684823": "locomotive",
    "04530566": "watercraft", "04194289": "ship", "02858304": "boat", "04128837": "sailing ship",
    "02686568": "aircraft", "04341686": "structure", "02913152": "building", "03046257": "clock",
    "04437953": "timepiece", "04555897": "watch", "03800933": "musical instrument", "04338517": "stringed instrument",
    "04586932": "wind instrument", "03915437": "percussion instrument", "03614532": "keyboard instrument",
    "03467517": "guitar", "02891788": "brass instrument", "03249569": "drum", "02778669": "ball",
    "04285146": "piece of sports equipment", "03405725": "piece of furniture", "04161981": "seat",
    "03001627": "chair", "04379243": "table", "02766320": "cot", "03082979": "computer",
    "03918480": "personal computer", "03985232": "portable computer", "03278248": "electronic device",
    "04401088": "telephone", "02942699": "camera", "03528263": "household appliance",
    "03620052": "kitchen appliance", "03101986": "cooking utensil", "03990474": "pot", "02876657": "bottle",
    "02883344": "box", "02773037": "bag", "02801525": "basin", "03636248": "lamp", "04451818": "tool",
    "03489162": "hand tool", "04565375": "weapon", "03467984": "gun", "04608567": "writing implement",
    "03906997": "pen", "03051540": "piece of clothing", "03502509": "piece of headgear", "03497657": "hat",
    "02954340": "cap", "03513137": "helmet", "03380867": "piece of footwear", "04199027": "shoe",
    "02872752": "boot", "03057021": "coat", "04371563": "swimsuit", "03815615": "tie", "03236735": "dress",
    "04230808": "skirt", "03540267": "piece of hosiery", "02898711": "bridge", "03327234": "fence",
    "04105068": "roof", "03743902": "monument", "02739668": "piece of armor", "04381994": "piece of tableware",
    "03797390": "mug", "04574999": "wheel", "04202417": "shop", "03953416": "place of worship",
    "03733925": "measuring instrument",
    "02851099": "blind", "04151581": "screen", "03094503": "container", "03294048": "piece of equipment",
    "03563967": "implement", "02834778": "bicycle", "02970849": "cart",
    "00021265": "food", "07555863": "food", "07557434": "dish", "07705711": "fruit or vegetable",
    "07705931": "fruit", "13134947": "fruit", "07707451": "vegetable", "07679356": "bread",
    "07609840": "dessert", "07881800": "drink", "07747607": "orange", "07715561": "squash",
    "07697100": "burger", "12992868": "fungus", "00017222": "plant", "11669921": "flower",
    "00007846": "person", "09287968": "landscape", "09366317": "hill",
}

# Where WordNet's first word is bookish, ambiguous, or says more than such a picture shows.
NAMES = {
    "n01514668": "rooster", "n01608432": "bird of prey", "n01698640": "alligator", "n01697457": "crocodile",
    "n01983481": "lobster", "n02056570": "penguin", "n02437312": "camel", "n02389026": "horse",
    "n02510455": "panda", "n02509815": "red panda", "n02134084": "polar bear", "n02133161": "black bear",
    "n02123045": "tabby cat", "n02395406": "pig", "n02412080": "ram", "n02012849": "crane",
    "n01820546": "lorikeet", "n01677366": "iguana", "n01682714": "chameleon", "n01694178": "chameleon",
    "n01847000": "duck", "n01855672": "goose", "n01930112": "worm", "n01883070": "wombat",
    "n02279972": "monarch butterfly", "n02276258": "butterfly", "n02277742": "butterfly",
    "n02281406": "sulphur butterfly", "n02281787": "butterfly", "n02325366": "rabbit", "n02326432": "hare",
    "n02328150": "rabbit", "n02356798": "squirrel", "n02071294": "orca", "n02066245": "whale",
    "n02233338": "cockroach", "n02088466": "bloodhound", "n02108089": "boxer dog",
    "n02497673": "lemur", "n02514041": "barracuda", "n02640242": "sturgeon", "n02655020": "pufferfish",
    "n02607072": "clownfish", "n01871265": "tusked animal", "n01744401": "snake", "n02606052": "reef fish",
    "n02536864": "salmon",
    "n02690373": "airplane", "n02687172": "aircraft carrier",
    "n02704792": "amphibious vehicle", "n02708093": "clock", "n02747177": "trash can", "n02783161": "pen",
    "n02786058": "adhesive bandage", "n02788148": "banister", "n02797295": "wheelbarrow", "n02804414": "cradle",
    "n02807133": "swimming cap", "n02814533": "station wagon", "n02814860": "lighthouse",
    "n02817516": "bearskin hat", "n02823428": "beer bottle", "n02835271": "tandem bicycle",
    "n02841315": "pair of binoculars", "n02870880": "bookcase", "n02877765": "bottle cap",
    "n02879718": "bow", "n02892201": "brass plate", "n02892767": "bra", "n02930766": "taxi",
    "n02939185": "cauldron", "n02951585": "can opener", "n02963159": "cardigan", "n02974003": "wheel",
    "n02977058": "cash machine", "n02992529": "mobile phone", "n03000134": "wire fence",
    "n03014705": "chest", "n03016953": "chest of drawers", "n03028079": "church", "n03032252": "movie theater",
    "n03062245": "cocktail shaker", "n03063599": "mug", "n03063689": "coffee pot",
    "n03110669": "cornet", "n03126707": "crane", "n03127747": "crash helmet", "n03131574": "cot",
    "n03187595": "telephone", "n03207743": "dishcloth", "n03250847": "drumstick", "n03297495": "coffee machine",
    "n03314780": "powder compact", "n03325584": "feather boa", "n03337140": "filing cabinet",
    "n03345487": "fire engine", "n03388043": "fountain", "n03393912": "freight car",
    "n03425413": "fuel pump", "n03443371": "goblet", "n03452741": "piano",
    "n03476684": "hair clip", "n03483316": "hairdryer", "n03485407": "handheld computer",
    "n03494278": "harmonica", "n03496892": "combine harvester", "n03529860": "home theater",
    "n03590841": "carved pumpkin", "n03594734": "pair of jeans", "n03595614": "shirt",
    "n03598930": "jigsaw puzzle", "n03599486": "rickshaw", "n03623198": "knee pad", "n03627232": "knot",
    "n03642806": "laptop", "n03657121": "lens cap", "n03673027": "ocean liner", "n03680355": "loafer",
    "n03690938": "bottle of lotion", "n03691459": "loudspeaker", "n03692522": "magnifying glass",
    "n03706229": "compass", "n03710193": "mailbox", "n03710637": "swimsuit", "n03710721": "swimsuit",
    "n03729826": "match", "n03769881": "minibus", "n03782006": "monitor",
    "n03788365": "mosquito net", "n03793489": "computer mouse", "n03803284": "muzzle",
    "n03804744": "nail", "n03825788": "teat", "n03854065": "organ", "n03871628": "packet",
    "n03877472": "pair of pajamas", "n03884397": "panpipe", "n03888605": "parallel bars",
    "n03902125": "payphone", "n03924679": "photocopier", "n03929855": "spiked helmet",
    "n03930630": "pickup truck", "n03942813": "table tennis ball", "n03944341": "pinwheel",
    "n03950228": "pitcher", "n03954731": "woodworking plane", "n03958227": "plastic bag", "n03967562": "plow",
    "n03970156": "plunger", "n03976467": "Polaroid camera", "n03977966": "police van", "n03983396": "bottle",
    "n04004767": "printer", "n04033901": "quill pen", "n04037443": "racing car", "n04039381": "racket",
    "n04040759": "radiator", "n04067472": "reel", "n04069434": "camera", "n04070727": "fridge",
    "n04074963": "remote control", "n04116512": "eraser", "n04118776": "ruler", "n04131690": "salt shaker",
    "n04141076": "saxophone", "n04141975": "scale", "n04152593": "screen", "n04228054": "ski",
    "n04238763": "slide rule", "n04243546": "slot machine", "n04252077": "snowmobile",
    "n04254120": "soap dispenser", "n04258138": "solar dish", "n04264628": "space bar",
    "n04285008": "sports car", "n04286575": "spotlight", "n04310018": "steam locomotive",
    "n04335435": "tram", "n04350905": "suit", "n04355933": "pair of sunglasses", "n04356056": "pair of sunglasses",
    "n04357314": "bottle of sunscreen", "n04371430": "pair of swimming trunks", "n04389033": "tank",
    "n04399382": "teddy bear", "n04404412": "television", "n04456115": "torch", "n04462240": "toy shop",
    "n04493381": "tub", "n04515003": "piano", "n04517823": "vacuum cleaner", "n04554684": "washing machine",
    "n04579145": "whisky jug", "n04591157": "tie", "n04592741": "wing", "n04599235": "piece of wool",
    "n04525038": "piece of velvet", "n04606251": "shipwreck", "n04613696": "yurt", "n06359193": "web page",
    "n06785654": "crossword", "n06874185": "traffic light", "n07248320": "book", "n07584110": "bowl of soup",
    "n07614500": "ice cream", "n07615774": "ice lolly", "n07697537": "hot dog", "n07684084": "loaf of bread",
    "n07714571": "cabbage", "n07742313": "apple", "n07711569": "mashed potato", "n07718472": "cucumber",
    "n07734744": "mushroom", "n07802026": "hay", "n07892512": "glass of red wine", "n07920052": "cup of coffee",
    "n07930864": "cup", "n09193705": "mountain", "n09332890": "lakeside", "n09421951": "sandbar",
    "n09835506": "baseball player", "n10148035": "bridegroom", "n10565667": "diver",
    "n11879895": "rapeseed", "n12144580": "corn", "n13133613": "corn", "n12620546": "rose hip",
    "n12768682": "chestnut", "n12998815": "mushroom", "n15075141": "roll of toilet paper",
    "n04522168": "vase", "n04485082": "tripod", "n03935335": "piggy bank", "n03476991": "hair spray",
}
# fmt: on

LICENCE = """\
WordNet 3.0 Copyright 2006 by Princeton University. All rights reserved.

This software and database is being provided to you, the LICENSEE, by Princeton University under the following \
license. By obtaining, using and/or copying this software and database, you agree that you have read, \
understood, and will comply with these terms and conditions.: Permission to use, copy, modify and distribute \
this software and database and its documentation for any purpose and without fee or royalty is hereby granted, \
provided that you agree to comply with the following copyright notice and statements, including the disclaimer, \
and that the same appear on ALL copies of the software, database and documentation, including modifications \
that you make for internal use or for distribution. THIS SOFTWARE AND DATABASE IS PROVIDED "AS IS" AND PRINCETON \
UNIVERSITY MAKES NO REPRESENTATIONS OR WARRANTIES, EXPRESS OR IMPLIED. BY WAY OF EXAMPLE, BUT NOT LIMITATION, \
PRINCETON UNIVERSITY MAKES NO REPRESENTATIONS OR WARRANTIES OF MERCHANT-ABILITY OR FITNESS FOR ANY PARTICULAR \
PURPOSE OR THAT THE USE OF THE LICENSED SOFTWARE, DATABASE OR DOCUMENTATION WILL NOT INFRINGE ANY THIRD PARTY \
PATENTS, COPYRIGHTS, TRADEMARKS OR OTHER RIGHTS. The name of Princeton University or Princeton may not be used \
in advertising or publicity pertaining to distribution of the software and/or database. Title to copyright in \
this software, database and any associated documentation shall at all times remain with Princeton University \
and LICENSEE agrees to preserve same."""
MODIFIED = "Modified: 1,000 nouns and the hypernyms people use, some under other names; no definitions."


def main() -> None:
    """Write the names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--classes", type=Path, required=True)
    parser.add_argument("--wordnet", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    synsets = zipfile.ZipFile(given.classes).read(SYNSETS).decode().split()
    given.out.write_text(table(synsets, given.wordnet / "data.noun"), encoding="utf-8")
    print(f"{given.out}: {len(synsets)} classes, {given.out.stat().st_size:,} bytes")


def table(synsets: list[str], nouns: Path) -> str:
    """Return the JSON text: one class a line.

    Raises:
        ValueError: A class is not in WordNet, or a table above names what is no class or hypernym of one.
    """
    words, parents = read_nouns(nouns)
    if unknown := [synset for synset in synsets if synset[1:] not in words]:
        raise ValueError(f"not in {nouns}: {', '.join(unknown[:5])}; WordNet 3.0 is needed")
    above = {synset: ancestors(synset[1:], parents) for synset in synsets}
    used = {offset for offsets in above.values() for offset in offsets}
    strangers = [f"n{offset}" for offset in KEPT if offset not in used] + sorted(NAMES.keys() - above.keys())
    if strangers:
        raise ValueError(f"not among the classes or their hypernyms: {', '.join(strangers)}")
    size = {kept: sum(kept in offsets for offsets in above.values()) for kept in KEPT}
    order = sorted(KEPT, key=lambda offset: (size[offset], offset))
    place = {offset: row for row, offset in enumerate(order)}  # the most specific first, everywhere
    lines = []
    for synset in synsets:
        name = NAMES.get(synset, words[synset[1:]][0].replace("_", " "))
        rows = sorted(place[offset] for offset in above[synset] - {synset[1:]} if offset in place)
        lines.append(json.dumps([synset, name, rows], ensure_ascii=False))
    hypernyms = [json.dumps([f"n{offset}", KEPT[offset]]) for offset in order]
    head = {"licence": LICENCE, "modified": MODIFIED}
    body = json.dumps(head, indent=1, ensure_ascii=False).removesuffix("\n}")
    return (
        body
        + ',\n "hypernyms": [\n  '
        + ",\n  ".join(hypernyms)
        + '\n ],\n "classes": [\n  '
        + ",\n  ".join(lines)
        + "\n ]\n}\n"
    )


def read_nouns(path: Path) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return the words of each noun synset and the offsets of its hypernyms. Format: wndb(5WN)."""
    words: dict[str, list[str]] = {}
    parents: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("  "):  # the licence
            continue
        fields = line.split(" | ")[0].split()
        count = int(fields[3], 16)
        words[fields[0]] = fields[4 : 4 + 2 * count : 2]
        pointers = fields[5 + 2 * count :]
        parents[fields[0]] = [
            pointers[i + 1] for i in range(0, len(pointers), 4) if pointers[i] in ("@", "@i")
        ]
    return words, parents


def ancestors(offset: str, parents: dict[str, list[str]]) -> set[str]:
    """Return the offsets of a synset and of everything it is a kind of."""
    found: set[str] = set()
    todo = [offset]
    while todo:
        here = todo.pop()
        if here not in found:
            found.add(here)
            todo += parents[here]
    return found


if __name__ == "__main__":
    main()

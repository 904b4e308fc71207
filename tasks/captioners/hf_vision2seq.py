"""Any captioner of the Hugging Face hub or of a local folder: BLIP, GIT, Florence-2, LLaVA and their kin."""

import contextlib
import functools
import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from schemas.errors import EncoderError
from schemas.source import Source
from tasks.captioners._untrusted import drafted, message_of, refusal_of
from tasks.captioners.contract import Corpus, Draft, Failure, Medium
from tasks.encoders import _hub
from tasks.encoders.hf_dual import middle
from tasks.encoders.identity import EXECUTION, PLACE

FILES = (*_hub.FILES, "generation_config.json", "chat_template*")
ASKED_OF_CHATS = "Describe this picture in one plain sentence. Say only what can be seen."
ASKED_OF_FLORENCE = "<CAPTION>"
_OPENING = threading.Lock()  # lru_cache alone lets two threads open the same weights at once


@dataclass(frozen=True)
class HfVision2Seq:
    """Lets a pretrained captioner write one text a picture.

    Weights are read as safetensors only and no code of the model's repository is run. They are opened once
    per process and device, at the first call; making the object is free.

    The one statement of a draft is the draft as a whole. Its confidence is the geometric mean of the
    probabilities the model gave to the tokens it wrote, the closing one included: how usual the words are to
    the model, not yet how often it is right.

    Only tokens written after the prompt are read, and a prompt that the model repeats at their head is left
    out. Batched and alone a picture gets the same text, but for ties within rounding of the device's sums.

    Args:
        model: A local folder, or a hub id such as "Salesforce/blip-image-captioning-base". Florence-2 in the
            form that transformers itself reads ("florence-community/Florence-2-base").
        revision: Commit of the hub id, 40 hex digits: a branch may move. None for a folder.
        prompt: What the model is asked, or what the caption starts with where a model continues texts; set into
            the model's chat template where it has one. None: `ASKED_OF_CHATS` with a chat template, "<CAPTION>"
            for Florence-2, nothing otherwise; "" is nothing anywhere.
        max_new_tokens: Tokens written at most; a text that was stopped there has the fact "finished": false.
        num_beams: Beams of the search; 1 takes the likeliest token each time.
        do_sample: Draws tokens by their probability; seeded by picture, one picture at a time.
        seed: Seed of the draws.
        language: BCP 47 primary subtag of what the model writes.
        device: "auto" is the first GPU where there is one, else the processor; or any name torch knows.
        dtype: Of weights and sums. "auto" is bfloat16 on a GPU and float32 elsewhere.
        batch_size: Pictures at once. Halved for a batch that does not fit into memory.

    Raises:
        ValueError: A hub id without such a revision, a folder with one, or a number under 1.
    """

    name: ClassVar[str] = "hf-vision2seq"
    source: ClassVar[Source] = Source(
        title="BLIP: Bootstrapping Language-Image Pre-training for Unified Vision-Language Understanding and"
        " Generation",
        authors="Li et al.",
        year=2022,
        url="https://arxiv.org/abs/2201.12086",
        departs="any captioner, through transformers; greedy by default; confidence from token probabilities;"
        " pictures over 8 times as long as wide are cut to their middle",
    )
    version: ClassVar[str] = "1"
    learns: ClassVar[bool] = False
    modalities: ClassVar[frozenset[str]] = frozenset({"image"})

    model: str = field(metadata=PLACE)
    revision: str | None = None
    prompt: str | None = None
    max_new_tokens: int = 60
    num_beams: int = 1
    do_sample: bool = False
    seed: int = 0
    language: str = "en"
    device: str = field(default="auto", metadata=EXECUTION)
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = field(default="auto", metadata=EXECUTION)
    batch_size: int = field(default=8, metadata=EXECUTION)

    def __post_init__(self) -> None:
        for name in ("max_new_tokens", "num_beams", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, but is {getattr(self, name)}")
        if self.dtype not in ("auto", "float32", "float16", "bfloat16"):
            raise ValueError(f"dtype must be auto, float32, float16 or bfloat16, but is {self.dtype!r}")
        if wrong := _hub.unpinned(self.model, self.revision):
            raise ValueError(wrong)

    def learn(self, corpus: Corpus) -> Self:
        """Return itself: the weights are what they are."""
        return self

    def weights_digest(self) -> str:
        """Return SHA-256 hex over weights, configuration, tokenizer, processor and chat template files.

        Raises:
            EncoderError: The files cannot be read or fetched.
        """
        folder = _hub.folder_of(self.model, self.revision, FILES)
        return _hub.digest_of(folder, _stamp(folder))

    def __call__(self, media: Sequence[Medium]) -> list[Draft | Failure]:
        """Return a draft, or why there is none, for each medium in order.

        Failures: bad-picture, empty, not-text, not-finite (the model's sums overflowed), model-error (it
        cannot take this picture).

        Raises:
            EncoderError: The model cannot be opened, is incomplete, writes no texts about pictures or needs
                code of its own.
        """
        if not media:
            return []
        opened = self._opened()
        facts: dict[str, object] = {
            "model": self.model if self.revision else Path(self.model).resolve().name,
            "revision": self.revision or f"sha256:{self.weights_digest()}",
        }
        with opened.busy:
            asked = opened.asked(self.prompt)
            facts["prompt_digest"] = hashlib.sha256((asked or "").encode()).hexdigest()
            drafts: list[Draft | Failure | None] = [refusal_of(medium) for medium in media]
            rows = [row for row, refused in enumerate(drafts) if refused is None]
            size = 1 if self.do_sample else self.batch_size
            for start in range(0, len(rows), size):
                batch = rows[start : start + size]
                written = self._written(opened, asked, [media[row].picture for row in batch])
                for row, one in zip(batch, written, strict=True):
                    drafts[row] = one if isinstance(one, Failure) else self._draft(one, facts)
        return [draft for draft in drafts if draft is not None]

    def _draft(self, written: "_Written", facts: Mapping[str, object]) -> Draft | Failure:
        if not np.isfinite(written.confidence):
            return Failure(
                "not-finite",
                f"the model's probabilities are {written.confidence}; check the weights, and under dtype"
                " float16 try bfloat16 or float32",
            )
        return drafted(
            without_prompt(written.text, self.prompt or ""),
            confidence=written.confidence,
            language=self.language,
            facts={**facts, "finished": written.finished},
            cost={"completion_tokens": float(written.tokens)},
        )

    def _opened(self) -> "_Opened":
        import torch

        device = self.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype: str = self.dtype
        if dtype == "auto":
            dtype = "bfloat16" if torch.device(device).type == "cuda" else "float32"
        folder = _hub.folder_of(self.model, self.revision, FILES)
        with _OPENING:
            return _open(folder, _stamp(folder), device, dtype)

    def _written(
        self, opened: "_Opened", asked: str | None, pictures: Sequence[NDArray[np.uint8]]
    ) -> list["_Written | Failure"]:
        """Return what is written of each picture; a batch that fails is halved until the bad one is alone."""
        try:
            return list(self._generated(opened, asked, pictures))
        except Exception as error:  # processors and models raise anything at a picture they cannot take
            if len(pictures) == 1:
                return [Failure("model-error", message_of(f"{type(error).__name__}: {error}"))]
        half = len(pictures) // 2  # outside the handler: the error would keep the failed batch in memory
        first = self._written(opened, asked, pictures[:half])
        return first + self._written(opened, asked, pictures[half:])

    def _generated(
        self, opened: "_Opened", asked: str | None, pictures: Sequence[NDArray[np.uint8]]
    ) -> list["_Written"]:
        import torch

        model = opened.model
        inputs = opened.inputs([middle(picture) for picture in pictures], asked)
        with torch.inference_mode(), contextlib.ExitStack() as drawing:
            if self.do_sample:
                devices = [model.device] if model.device.type == "cuda" else []
                drawing.enter_context(torch.random.fork_rng(devices=devices))
                torch.manual_seed(_seed(self.seed, pictures[0]))
            output = model.generate(
                **inputs,
                max_new_tokens=self.max_new_tokens,
                num_beams=self.num_beams,
                do_sample=self.do_sample,
                return_dict_in_generate=True,
                output_scores=True,
            )
            beams = getattr(output, "beam_indices", None)
            log_probability = model.compute_transition_scores(
                output.sequences, output.scores, beams, normalize_logits=True
            ).cpu()  # (B, T), T tokens written
        tokens = output.sequences[:, -log_probability.shape[1] :].cpu()
        return [
            opened.read(row.tolist(), scores, self.max_new_tokens)
            for row, scores in zip(tokens, log_probability.double(), strict=True)
        ]


@dataclass(frozen=True)
class _Written:
    """What a model wrote of one picture.

    Args:
        text: The text, special tokens left out.
        confidence: Geometric mean of the tokens' probabilities, in [0, 1] or NaN.
        tokens: How many tokens, the closing one included.
        finished: Whether the model closed the text by itself.
    """

    text: str
    confidence: float
    tokens: int
    finished: bool


@dataclass(frozen=True)
class _Opened:
    """A model in memory and what prepares its inputs.

    Args:
        model: The model, on its device.
        processor: Prepares pictures and texts.
        stops: Tokens that close a text.
        busy: One call at a time: fast tokenizers and several models keep state between calls.
    """

    model: Any
    processor: Any
    stops: frozenset[int]
    busy: threading.Lock

    @property
    def chats(self) -> bool:
        return bool(getattr(self.processor, "chat_template", None))

    def asked(self, prompt: str | None) -> str | None:
        """Return the text that goes in with each picture; None for none.

        Raises:
            EncoderError: The chat template refuses the prompt.
        """
        if not self.chats:
            florence = self.model.config.model_type == "florence2"
            return (ASKED_OF_FLORENCE if florence and prompt is None else prompt) or None
        said = (
            [{"type": "text", "text": ASKED_OF_CHATS if prompt is None else prompt}] if prompt != "" else []
        )
        conversation = [{"role": "user", "content": [{"type": "image"}, *said]}]
        try:
            return str(self.processor.apply_chat_template(conversation, add_generation_prompt=True))
        except Exception as error:  # templates are programs, and jinja's errors no family
            raise EncoderError(f"the model's chat template refuses the prompt: {error}") from error

    def inputs(self, pictures: Sequence[NDArray[np.uint8]], asked: str | None) -> Any:
        from PIL import Image

        images: list[Any] = [Image.fromarray(np.ascontiguousarray(picture)) for picture in pictures]
        if asked is None:
            inputs = self.processor(images=images, return_tensors="pt")
        else:
            settings: dict[str, Any] = {"padding": True, "return_tensors": "pt"}
            if self.chats:
                images = [[image] for image in images]  # else some take all pictures for one text's
                start = self.processor.tokenizer.bos_token
                settings["add_special_tokens"] = not (start and asked.startswith(start))
            inputs = self.processor(images=images, text=[asked] * len(images), **settings)
            if self.model.config.model_type == "git":
                # GIT goes on from the prompt, and its tokenizer closes every text. BLIP drops the mark itself.
                inputs = type(inputs)(
                    {name: part if name == "pixel_values" else part[:, :-1] for name, part in inputs.items()}
                )
                inputs.pop("token_type_ids", None)
        return inputs.to(self.model.device, self.model.dtype)

    def read(self, tokens: Sequence[int], log_probability: Any, most: int) -> "_Written":
        """Return a row of a batch up to its closing token; what follows is padding."""
        closed = next((place + 1 for place, token in enumerate(tokens) if token in self.stops), None)
        used = closed or len(tokens)
        # BART and its kin put the closing token where the room ends, whether or not all was said
        forced = (
            getattr(self.model.generation_config, "forced_eos_token_id", None) is not None and used == most
        )
        return _Written(
            text=self.processor.tokenizer.decode(tokens[:used], skip_special_tokens=True),
            confidence=float(log_probability[:used].mean().exp()),
            tokens=used,
            finished=closed is not None and not forced,
        )


def without_prompt(text: str, prompt: str) -> str:
    """Return the text without a prompt that it repeats at its head."""
    text, prompt = text.strip(), prompt.strip()
    rest = text[len(prompt) :]
    repeated = prompt and text[: len(prompt)].casefold() == prompt.casefold() and not rest[:1].isalnum()
    return rest.lstrip(" :,\n") if repeated else text


def _seed(seed: int, picture: NDArray[np.uint8]) -> int:
    digest = hashlib.sha256(f"{seed} {picture.shape} ".encode() + picture.tobytes()).digest()
    return int.from_bytes(digest[:7], "big")


def _stops(model: Any) -> frozenset[int]:
    """Return the tokens that close a text."""
    if model.config.model_type == "blip":
        return frozenset({int(model.config.text_config.sep_token_id)})  # by `generate`, whatever else is set
    closing = getattr(model.generation_config, "eos_token_id", None)
    if closing is None:
        closing = getattr(model.config.get_text_config(), "eos_token_id", None)
    several = closing if isinstance(closing, list | tuple) else [closing]
    return frozenset(int(token) for token in several if token is not None)


def _stamp(folder: Path) -> _hub.Stamp:
    stamp = _hub.stamp_of(folder, FILES)
    words = {
        name for name, _, _ in stamp if name.startswith(("tokenizer", "vocab")) or name.endswith(".model")
    }
    if not words - {"tokenizer_config.json"}:  # transformers would make up an empty one
        raise EncoderError(f"{folder} holds no tokenizer; save the processor beside the model")
    return stamp


def _own_code(folder: Path) -> str:
    """Return what to say of a model that brings code of its own; "" where it brings none."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError:
        return ""
    if not isinstance(config, dict) or "auto_map" not in config:
        return ""
    return (
        f"; it asks for code of its own repository ({config.get('model_type')!r} through auto_map), which is never"
        " run: take a version that transformers itself reads"
    )


@functools.lru_cache(maxsize=2)
def _open(folder: Path, stamp: _hub.Stamp, device: str, dtype: str) -> _Opened:
    from safetensors import SafetensorError
    from transformers import AutoModelForImageTextToText, AutoProcessor

    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    loaded: Any  # a pair, as `output_loading_info` asks; the annotations do not say so
    try:
        loaded = AutoModelForImageTextToText.from_pretrained(
            folder, use_safetensors=True, dtype=dtype, output_loading_info=True, **local
        )
        # torchvision resizes a little differently, and its presence must not decide a caption
        processor = AutoProcessor.from_pretrained(folder, backend="pil", **local)
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as error:
        raise EncoderError(f"cannot open {folder} as a captioner{_own_code(folder)}: {error}") from error
    model, report = loaded
    _hub.require_whole(folder, report, _own_code(folder))
    if not hasattr(processor, "tokenizer") or not hasattr(processor, "image_processor"):
        raise EncoderError(
            f"{folder} holds {type(processor).__name__}, but a captioner needs a processor of pictures and"
            " texts; save one beside the model (processor.save_pretrained)"
        )
    if not model.config.is_encoder_decoder:
        processor.tokenizer.padding_side = "left"  # what is written goes on from the last token
    return _Opened(model.eval().to(device), processor, _stops(model), threading.Lock())

"""Tiny random captioners, saved as users have them, and a server that answers as it is told."""

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessorPil,
    BlipProcessor,
    CLIPImageProcessorPil,
    Florence2Config,
    Florence2ForConditionalGeneration,
    Florence2Processor,
    GitConfig,
    GitForCausalLM,
    GitProcessor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessorPil,
    LlavaNextProcessor,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from tasks.captioners.contract import Medium

WORDS = (
    "a",
    "red",
    "blue",
    "square",
    "circle",
    "dog",
    "barks",
    "on",
    "the",
    "sea",
    "photo",
    "of",
    "what",
    ":",
)
TINY = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
PIXELS = {"image_size": 32, "patch_size": 8}
IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %} {{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %} :{% endif %}"
)


def tokenizer(*special: str, closes: bool = True, **settings: Any) -> PreTrainedTokenizerFast:
    """A tokenizer of whole words: [CLS] w1 w2 ... and [SEP], where it closes texts."""
    names = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[DEC]", *special, *WORDS]
    words = Tokenizer(models.WordLevel({word: index for index, word in enumerate(names)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]" if closes else "[CLS] $A", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    named = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    return PreTrainedTokenizerFast(tokenizer_object=words, **named, **settings)


def save(folder: Path, model: Any, processor: Any, *, spread: float, seed: int) -> str:
    """Save a model whose weights are spread widely, so that unlike pictures get unlike texts."""
    chance = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1 or name.endswith("embedding"):  # all that is drawn at random
                weight.normal_(0, spread, generator=chance)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


def clip_pictures() -> CLIPImageProcessorPil:
    return CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})


@pytest.fixture(scope="session")
def blip(tmp_path_factory: pytest.TempPathFactory) -> str:
    words = tokenizer()
    text = {**TINY, "encoder_hidden_size": 32, "vocab_size": len(words), "max_position_embeddings": 96}
    config = BlipConfig(
        text_config={**text, **IDS, "bos_token_id": 4, "sep_token_id": 2, "projection_dim": 16},
        vision_config={**TINY, **PIXELS, "projection_dim": 16},
        projection_dim=16,
    )
    pictures = BlipImageProcessorPil(size={"height": 32, "width": 32})
    folder = tmp_path_factory.mktemp("blip")
    return save(
        folder, BlipForConditionalGeneration(config), BlipProcessor(pictures, words), spread=0.12, seed=2
    )


@pytest.fixture(scope="session")
def git(tmp_path_factory: pytest.TempPathFactory) -> str:
    words = tokenizer(model_input_names=["input_ids", "attention_mask"])
    sizes = {**TINY, **IDS, "vocab_size": len(words), "max_position_embeddings": 96}
    config = GitConfig(vision_config={**TINY, **PIXELS}, **sizes)
    folder = tmp_path_factory.mktemp("git")
    return save(folder, GitForCausalLM(config), GitProcessor(clip_pictures(), words), spread=0.2, seed=2)


def tiny_llava(folder: Path, template: str | None = TEMPLATE) -> str:
    image = {"image_token": "<image>"}
    words = tokenizer(
        "<image>", closes=False, bos_token="[CLS]", eos_token="[SEP]", extra_special_tokens=image
    )
    text = {**TINY, **IDS, "model_type": "llama", "vocab_size": len(words), "max_position_embeddings": 256}
    config = LlavaConfig(
        vision_config={**TINY, **PIXELS, "model_type": "clip_vision_model", "projection_dim": 16},
        text_config={**text, "num_key_value_heads": 4},
        image_token_index=words.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
        vision_feature_layer=-1,
    )
    processor = LlavaProcessor(
        clip_pictures(),
        words,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
    )
    return save(folder, LlavaForConditionalGeneration(config), processor, spread=0.2, seed=2)


@pytest.fixture(scope="session")
def make_llava() -> Callable[..., str]:
    """Save one into a folder, with another chat template or with none."""
    return tiny_llava


@pytest.fixture(scope="session")
def llava(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_llava(tmp_path_factory.mktemp("llava"))


@pytest.fixture(scope="session")
def llava_next(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Looks at pictures in tiles: how many tokens a picture takes goes by its shape."""
    words = tokenizer(
        "<image>",
        closes=False,
        bos_token="[CLS]",
        eos_token="[SEP]",
        extra_special_tokens={"image_token": "<image>"},
    )
    grid = [[32, 64], [64, 32], [64, 64]]
    tiles = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    text = {**TINY, **IDS, "model_type": "llama", "vocab_size": len(words), "max_position_embeddings": 512}
    config = LlavaNextConfig(
        vision_config={**TINY, **PIXELS, "model_type": "clip_vision_model", "projection_dim": 16},
        text_config={**text, "num_key_value_heads": 4},
        image_token_index=words.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=grid,
        vision_feature_layer=-1,
    )
    processor = LlavaNextProcessor(
        LlavaNextImageProcessorPil(**tiles, image_grid_pinpoints=grid),
        words,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )
    model = LlavaNextForConditionalGeneration(config)
    return save(tmp_path_factory.mktemp("llava_next"), model, processor, spread=0.2, seed=2)


@pytest.fixture(scope="session")
def florence(tmp_path_factory: pytest.TempPathFactory) -> str:
    image = {"image_token": "<image>"}
    words = tokenizer("<image>", bos_token="[CLS]", eos_token="[SEP]", extra_special_tokens=image)
    pictures = CLIPImageProcessorPil(size={"height": 32, "width": 32}, do_center_crop=False)
    pictures.image_seq_length = 17  # 4 x 4 patches and their mean
    vision = {
        "depths": [1, 1],
        "patch_size": [7, 3],
        "patch_stride": [4, 2],
        "patch_padding": [3, 1],
        "patch_prenorm": [False, True],
        "embed_dim": [16, 32],
        "num_heads": [2, 4],
        "num_groups": [2, 4],
        "window_size": 4,
        "projection_dim": 32,
        "max_temporal_embeddings": 4,
        "max_position_embeddings": 16,
    }
    layers = {f"{side}_{what}": n for side in ("encoder", "decoder") for what, n in {
        "layers": 1, "ffn_dim": 48, "attention_heads": 4,
    }.items()}  # fmt: skip
    text = {**IDS, **layers, "model_type": "bart", "vocab_size": len(words), "d_model": 32}
    config = Florence2Config(
        vision_config=vision,
        text_config={**text, "max_position_embeddings": 96, "decoder_start_token_id": 1},
        image_token_id=words.convert_tokens_to_ids("<image>"),
    )
    folder = tmp_path_factory.mktemp("florence")
    processor = Florence2Processor(pictures, words)
    return save(folder, Florence2ForConditionalGeneration(config), processor, spread=0.3, seed=0)


@pytest.fixture
def media() -> list[Medium]:
    """Twelve pictures of unlike sizes and colours."""
    chance = np.random.default_rng(0)
    shapes = [(40, 30), (33, 64), (3, 3), (1, 50), (32, 32), (90, 45)] * 2
    colours = chance.integers(0, 206, (12, 1, 1, 3), dtype=np.uint8)
    return [
        Medium(f"m{row}", colour + chance.integers(0, 50, (*shape, 3), dtype=np.uint8))
        for row, (shape, colour) in enumerate(zip(shapes, colours, strict=True))
    ]


@dataclass
class Request:
    """What the server received."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def completion(content: Any, **fields: Any) -> dict[str, Any]:
    """What a chat-completions endpoint answers; further fields go into the choice."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "tiny-2026-01-01",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content},
                "finish_reason": "stop",
                **fields,
            }
        ],
        "usage": {"prompt_tokens": 800, "completion_tokens": 20, "total_tokens": 820},
    }


@dataclass
class Endpoint:
    """A real server on loopback; `answer` says how it answers the n-th request, n from 0."""

    url: str = ""
    requests: list[Request] = field(default_factory=list)
    answer: Callable[["Answers", int], None] = lambda answers, n: answers.say(completion("A red square."))


class Answers(http.server.BaseHTTPRequestHandler):
    """One request to the endpoint."""

    endpoint: Endpoint
    counting: threading.Lock

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.counting:
            n = len(self.endpoint.requests)
            self.endpoint.requests.append(Request(self.path, dict(self.headers.items()), body))
        try:
            self.endpoint.answer(self, n)
        except (BrokenPipeError, ConnectionResetError):  # the caller has gone
            self.close_connection = True

    def say(
        self, body: Any, status: int = 200, content_type: str | None = "application/json", **headers: str
    ) -> None:
        """Answer with a body: bytes as they are, anything else as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        if content_type:
            self.send_header("Content-Type", content_type)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    made = Endpoint()
    handler = type("Answering", (Answers,), {"endpoint": made, "counting": threading.Lock()})
    with _Server(("127.0.0.1", 0), handler) as server:
        made.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield made
        server.shutdown()
        thread.join()

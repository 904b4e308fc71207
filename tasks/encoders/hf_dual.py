"""Any dual encoder of the Hugging Face hub or of a local folder: CLIP, SigLIP, CLAP, ALIGN, Chinese-CLIP."""

import functools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from schemas.errors import EncoderError, InvalidParameter
from schemas.source import Source
from tasks.encoders._hub import FILES, Stamp, digest_of, folder_of, require_whole, stamp_of, unpinned
from tasks.encoders.contract import Items, kind_of
from tasks.encoders.identity import EXECUTION, PLACE

T = TypeVar("T")
KINDS = frozenset({"text", "image", "audio"})
BYTES_PER_ITEM = 128 << 20  # activations of one picture in CLIP ViT-L/14 at 336 pixels take about 95 MB
LARGEST_BATCH = {"cpu": 32, "cuda": 512}  # beyond it neither gains
LARGEST_ASPECT = 8
_OPENING = threading.Lock()  # lru_cache alone lets two threads open the same weights at once


class _Modalities:
    """On the class: what dual encoders take. On an instance: what this model takes."""

    def __get__(self, encoder: "HfDual | None", owner: type) -> frozenset[str]:
        if encoder is None:
            return KINDS
        config = encoder._config
        towers = (("text_config", "text"), ("vision_config", "image"), ("audio_config", "audio"))
        return frozenset(kind for tower, kind in towers if hasattr(config, tower))


@dataclass(frozen=True)
class HfDual:
    """Encodes each side with a pretrained model's own tower and projection.

    Weights are read as safetensors only and no code of the model's repository is run. They are opened once
    per process and device, at the first call; making the object is free.

    Args:
        model: A local folder, or a hub id such as "google/siglip-base-patch16-224".
        revision: Commit of the hub id, 40 hex digits: a branch may move. None for a folder.
        max_length: Tokens of a text that are read. None: as many as the model can.
        device: "auto" is the first GPU where there is one, else the processor; or any name torch knows.
        dtype: Under "float16" and "bfloat16" the maths runs in autocast; weights and vectors stay float32.
        batch_size: Items at once. None: by free memory. Halved when memory runs out.

    Raises:
        InvalidParameter: A hub id without such a revision, a folder with one, or a number under 1.
    """

    name: ClassVar[str] = "hf-dual"
    source: ClassVar[Source] = Source(
        title="Learning Transferable Visual Models From Natural Language Supervision",
        authors="Radford et al.",
        year=2021,
        url="https://arxiv.org/abs/2103.00020",
        departs="any dual encoder, through transformers; CLAP hears the first seconds, not a random crop;"
        " pictures over 8 times as long as wide are cut to that before CLIP cuts its square",
    )
    modalities: ClassVar[frozenset[str]] = _Modalities()  # type: ignore[assignment]  # reads as one

    model: str = field(metadata=PLACE)
    revision: str | None = None
    max_length: int | None = None
    device: str = field(default="auto", metadata=EXECUTION)
    dtype: Literal["float32", "float16", "bfloat16"] = field(default="float32", metadata=EXECUTION)
    batch_size: int | None = field(default=None, metadata=EXECUTION)

    def __post_init__(self) -> None:
        for name in ("max_length", "batch_size"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise InvalidParameter(f"{name} must be at least 1, but is {number}")
        if wrong := unpinned(self.model, self.revision):
            raise InvalidParameter(wrong)

    @property
    def dim(self) -> int:
        """D, width of the vectors; read from the model's configuration."""
        text = self._config.text_config
        width = getattr(self._config, "projection_dim", None) or getattr(text, "projection_size", None)
        return int(width or text.hidden_size)  # SigLIP projects to nothing narrower

    @property
    def sampling_rate_hz(self) -> int | None:
        """Samples per second the sounds must have; None when the model takes no sounds."""
        return self._opened().sounds.sampling_rate if "audio" in self.modalities else None

    def weights_digest(self) -> str:
        """Return SHA-256 hex over weights, configuration, tokenizer and processor files.

        Raises:
            EncoderError: The files cannot be read or fetched.
        """
        return digest_of(self._folder, stamp_of(self._folder, FILES))

    def __call__(self, items: Items) -> NDArray[np.float32]:
        """Return unit vectors of texts, pictures or sounds. Shape (N, D), float32.

        Raises:
            EncoderError: The weights cannot be opened, are incomplete, have no tower for such items, or give
                something that is not a direction.
            ValueError: The items are not of one kind.
        """
        kind = kind_of(items)
        if not kind:
            return np.empty((0, self.dim), dtype=np.float32)
        if kind not in self.modalities:
            takes = ", ".join(sorted(self.modalities))
            raise EncoderError(f"{self.model!r} encodes {takes}, but the items are {kind}")
        opened = self._opened()
        size = self.batch_size or batch_size_for(opened.model.device)
        vectors = np.concatenate(in_batches(lambda batch: self._encode(opened, kind, batch), items, size))
        return unit(vectors, self.model, self.dim)

    @property
    def _folder(self) -> Path:
        return folder_of(self.model, self.revision, FILES)

    @property
    def _config(self) -> Any:
        return _config(self._folder, stamp_of(self._folder, FILES))

    def _opened(self) -> "_Opened":
        import torch

        device = self.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        with _OPENING:
            return _open(self._folder, stamp_of(self._folder, FILES), device)

    def _encode(self, opened: "_Opened", kind: str, items: Sequence[Any]) -> NDArray[np.float32]:
        import torch

        inputs, features = {
            "text": lambda: (opened.of_texts(items, self.max_length), opened.model.get_text_features),
            "image": lambda: (opened.of_pictures(items), opened.model.get_image_features),
            "audio": lambda: (opened.of_sounds(items), opened.model.get_audio_features),
        }[kind]()
        device = opened.model.device
        autocast = self.dtype != "float32"
        with (
            torch.inference_mode(),
            torch.autocast(device.type, getattr(torch, self.dtype), enabled=autocast),
        ):
            output = features(**inputs.to(device))
        pooled = getattr(output, "pooler_output", output)  # a bare tensor before transformers 5
        vectors: NDArray[np.float32] = pooled.float().cpu().numpy()
        return vectors


@dataclass(frozen=True)
class _Opened:
    """A model in memory and what prepares its inputs."""

    model: Any
    tokenizer: Any
    pictures: Any
    sounds: Any
    tokenizing: threading.Lock  # two threads setting a fast tokenizer's padding fail: "Already borrowed"

    def of_texts(self, texts: Sequence[str], max_length: int | None) -> Any:
        config = self.model.config
        positions = config.text_config.max_position_embeddings
        if config.model_type == "clap":
            positions -= config.text_config.pad_token_id + 1  # RoBERTa counts positions from there
        longest = min(positions, self.tokenizer.model_max_length, max_length or positions)
        # SigLIP was trained on texts padded to full length, without a mask.
        padding = "max_length" if config.model_type.startswith("siglip") else "longest"
        with self.tokenizing:
            return self.tokenizer(
                list(texts), padding=padding, truncation=True, max_length=longest, return_tensors="pt"
            )

    def of_pictures(self, pictures: Sequence[NDArray[np.uint8]]) -> Any:
        if getattr(self.pictures, "do_center_crop", False):
            pictures = [middle(picture) for picture in pictures]
        return self.pictures(images=list(pictures), input_data_format="channels_last", return_tensors="pt")

    def of_sounds(self, sounds: Sequence[NDArray[np.float32]]) -> Any:
        reader = self.sounds
        first = [sound[: reader.nb_max_samples] for sound in sounds]
        inputs = reader(first, sampling_rate=reader.sampling_rate, return_tensors="pt")
        inputs["is_longer"] = inputs["is_longer"] & False  # the extractor marks one of the batch at random
        return inputs


def middle(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the picture's middle, at most 8 times as long as wide.

    CLIP scales the short side to its size and then cuts out the middle square: a line of 1 x 10,000 pixels
    would first grow to 224 x 2,240,000.
    """
    height, width = picture.shape[:2]
    longest = LARGEST_ASPECT * min(height, width)
    top, left = max(0, height - longest) // 2, max(0, width - longest) // 2
    return picture[top : top + longest, left : left + longest]


def unit(vectors: NDArray[np.float32], model: str, dim: int) -> NDArray[np.float32]:
    """Return the vectors at unit length.

    Raises:
        EncoderError: They are not `dim` wide, or some have no direction.
    """
    if vectors.shape[1] != dim:
        raise EncoderError(f"{model!r} is configured for vectors of {dim} but gave {vectors.shape[1]}")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if lost := int((~np.isfinite(lengths) | (lengths == 0)).sum()):
        raise EncoderError(
            f"{model!r} gave no direction (NaN, infinite or zero) for {lost} of {len(vectors)} items;"
            " check the weights, and under dtype float16 try bfloat16 or float32"
        )
    return np.asarray(vectors / lengths, dtype=np.float32)


def batch_size_for(device: Any) -> int:
    """Return how many items a quarter of the device's free memory holds."""
    if device.type == "cuda":
        import torch

        free = torch.cuda.mem_get_info(device)[0]
    else:
        import psutil

        free = psutil.virtual_memory().available
    return int(min(max(1, free // 4 // BYTES_PER_ITEM), LARGEST_BATCH.get(device.type, 32)))


def in_batches(encode: Callable[[Sequence[Any]], T], items: Sequence[Any], batch_size: int) -> list[T]:
    """Return what `encode` gives for each run of `batch_size` items; halves the size when memory runs out."""
    done: list[T] = []
    start = 0
    while start < len(items):
        try:
            done.append(encode(items[start : start + batch_size]))
        except (RuntimeError, MemoryError) as error:
            if batch_size == 1 or not _is_out_of_memory(error):
                raise
        else:
            start += batch_size
            continue
        batch_size //= 2
        _give_back_memory()
    return done


def _is_out_of_memory(error: Exception) -> bool:
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or "can't allocate memory" in str(error) or "not enough memory" in str(error)


def _give_back_memory() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@functools.lru_cache(maxsize=64)
def _config(folder: Path, stamp: Stamp) -> Any:
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise EncoderError(f"{folder} has a configuration that transformers cannot read: {error}") from error
    if not hasattr(config, "text_config"):
        raise EncoderError(
            f"{folder} holds {config.model_type!r}, which is no dual encoder of texts and media"
        )
    return config


@functools.lru_cache(maxsize=2)
def _open(folder: Path, stamp: Stamp, device: str) -> _Opened:
    from safetensors import SafetensorError
    from transformers import AutoFeatureExtractor, AutoImageProcessor, AutoModel, AutoTokenizer

    config = _config(folder, stamp)
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        model, report = AutoModel.from_pretrained(
            folder, use_safetensors=True, dtype="float32", output_loading_info=True, **local
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, **local)
        pictures = sounds = None
        if hasattr(config, "vision_config"):
            # torchvision resizes a little differently, and its presence must not decide a vector
            pictures = AutoImageProcessor.from_pretrained(folder, backend="pil", **local)  # type: ignore[no-untyped-call]
        if hasattr(config, "audio_config"):
            sounds = AutoFeatureExtractor.from_pretrained(folder, **local)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as error:
        raise EncoderError(f"cannot open {folder}: {error}") from error
    require_whole(folder, report)
    if not hasattr(model, "get_text_features"):
        raise EncoderError(
            f"{folder} holds {config.model_type!r}, which is no dual encoder of texts and media"
        )
    return _Opened(model.eval().to(device), tokenizer, pictures, sounds, threading.Lock())

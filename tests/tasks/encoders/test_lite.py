"""The head's arithmetic by naive loops, the pictures' preparation, and that words and drawings meet."""

import json
import math
import struct

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tasks.encoders import _lite_features
from tasks.encoders._lite_features import image_features, image_views, square, text_features
from tasks.encoders.lite import HEAD, HINGE, Lite, class_shares, open_head

TEXTS = ["a red apple", "A brown bear.", "the flag of France"]


def picture(seed: int, width: int = 90, height: int = 60) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 200, (height, width, 3)).astype(np.uint8)


def unit(vector: list[float]) -> list[float]:
    length = math.sqrt(sum(x * x for x in vector))
    return [x / length for x in vector]


def dot(left: list[float], right: list[float]) -> float:
    return sum(x * y for x, y in zip(left, right, strict=True))


def joined(bridge: list[float], trained: list[float], share: float) -> list[float]:
    return [math.sqrt(share) * x for x in unit(bridge)] + [math.sqrt(1 - share) * x for x in unit(trained)]


def hubness(vector: list[float], anchors: list[list[float]], nearest: int) -> float:
    return sum(sorted((dot(vector, anchor) for anchor in anchors), reverse=True)[:nearest]) / nearest / 2


def test_places_a_text_as_the_formula_says() -> None:
    head = {name: tensor.tolist() for name, tensor in open_head(HEAD).items()}
    (said,) = text_features(TEXTS[:1]).tolist()
    centred = [x - mean for x, mean in zip(said, head["text_mean"], strict=True)]
    trained = [dot(centred, list(column)) for column in zip(*head["text_map"], strict=True)]
    both = joined(said, trained, head["bridge_share"])
    hub = hubness(both, head["anchor_media"], int(head["anchor_neighbours"])) - head["text_hubness"]
    np.testing.assert_allclose(Lite()(TEXTS[:1])[0], unit([*both, -hub / HINGE, HINGE]), atol=1e-4)


def test_places_a_picture_as_the_formula_says() -> None:
    head = {name: tensor.tolist() for name, tensor in open_head(HEAD).items()}
    seen = image_features([picture(0)])
    (pooled,), (logits,) = seen.pooled.tolist(), seen.logits.tolist()
    above = [logit - prior for logit, prior in zip(logits, head["class_prior"], strict=True)]
    odds = [math.exp((logit - max(above)) / head["bridge_temperature"]) for logit in above]
    kept = sorted(range(1000), key=lambda index: -odds[index])[: int(head["bridge_classes"])]
    bridge = [sum(odds[index] * head["class_text"][index][axis] for index in kept) for axis in range(384)]
    scaled = [(x - m) / s for x, m, s in zip(pooled, head["image_mean"], head["image_scale"], strict=True)]
    trained = [
        dot(scaled, list(column)) + bias
        for column, bias in zip(zip(*head["image_map"], strict=True), head["image_bias"], strict=True)
    ]
    both = joined(bridge, trained, head["bridge_share"])
    hub = hubness(both, head["anchor_text"], int(head["anchor_neighbours"])) - head["media_hubness"]
    np.testing.assert_allclose(Lite()([picture(0)])[0], unit([*both, HINGE, -hub / HINGE]), atol=1e-4)


def test_keeps_the_largest_class_shares_as_they_are() -> None:
    shares = class_shares(np.log(np.array([[1, 2, 3, 4]], np.float32)), temperature=1.0, classes=2)
    np.testing.assert_allclose(shares, [[0, 0, 0.3, 0.4]], atol=1e-6)


def test_a_vector_does_not_depend_on_its_batch() -> None:
    pictures = [picture(seed) for seed in range(5)]
    np.testing.assert_allclose(Lite(batch_size=2)(pictures), Lite(batch_size=5)(pictures), atol=1e-4)
    np.testing.assert_allclose(Lite()([TEXTS[2]])[0], Lite()(TEXTS)[2], atol=1e-4)


def test_crops_to_the_content_and_centres_it_on_white() -> None:
    page = np.full((100, 300, 3), 255, np.uint8)
    page[10:30, 200:280] = 0  # 80 x 20 of ink in a corner
    ink = square(page).min(axis=2) < 128
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    assert square(page).shape == (224, 224, 3)
    assert len(columns) == pytest.approx(0.96 * 224, abs=2)  # a margin of 0.02 on both sides
    assert len(rows) == pytest.approx(0.96 * 224 / 4, abs=2)  # one quarter as high as wide
    assert rows.mean() == pytest.approx(111.5, abs=1)


@pytest.mark.parametrize("paper", [0, 255])
def test_keeps_a_picture_of_one_colour(paper: int) -> None:
    vector = Lite()([np.full((1, 7, 3), paper, np.uint8)])
    assert np.isfinite(vector).all()


def test_white_space_around_a_drawing_changes_little() -> None:
    drawing = picture(3)
    on_paper = np.full((200, 250, 3), 255, np.uint8)
    on_paper[100:160, 20:110] = drawing
    close, wide = Lite()([drawing, on_paper])
    assert close @ wide > 0.99


def test_a_picture_lies_where_its_mirror_image_does() -> None:
    # Once prepared it is 108 of 224 px wide: as much white on the left as on the right.
    lopsided = np.full((120, 60, 3), 90, np.uint8)
    lopsided[10:60, :30] = picture(5, width=30, height=50)
    lopsided[70:110, 40:55] = (200, 30, 30)
    drawn, mirrored = Lite()([lopsided, lopsided[:, ::-1]])
    np.testing.assert_allclose(drawn, mirrored, atol=2e-3)
    (seen,), (turned,) = image_views([lopsided])
    assert seen @ turned < 0.99 * np.linalg.norm(seen) * np.linalg.norm(
        turned
    )  # of itself the backbone tells


def test_opens_the_sentence_network_in_silence(capfd: pytest.CaptureFixture[str]) -> None:
    _lite_features._open_text_network.cache_clear()
    text_features(TEXTS[:1])
    assert capfd.readouterr() == ("", "")


def test_a_drawn_thing_is_nearest_its_own_name() -> None:
    traffic_light = Image.new("RGB", (120, 300), "white")
    pen = ImageDraw.Draw(traffic_light)
    pen.rounded_rectangle((10, 10, 110, 290), 15, fill="black")
    for top, colour in ((20, "red"), (105, "yellow"), (190, "lime")):
        pen.ellipse((20, top, 100, top + 80), fill=colour)
    names = ["A traffic light.", "A horse.", "A bowl of soup.", "A violin.", "A mushroom."]
    media, texts = Lite()([np.asarray(traffic_light)]), Lite()(names)
    assert names[int((texts @ media.T).argmax())] == "A traffic light."


def test_refuses_a_batch_of_nothing() -> None:
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        Lite(batch_size=0)


def test_the_head_is_small_and_names_its_recipe() -> None:
    content = HEAD.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])  # the safetensors format: 8 bytes of length, then JSON
    metadata = json.loads(content[8 : 8 + length])["__metadata__"]
    assert len(content) <= 4_000_000
    assert len(metadata["recipe_sha256"]) == 64

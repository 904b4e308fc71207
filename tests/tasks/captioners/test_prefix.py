"""The decoder, its search and its loss against loops, and a captioner that learns what vectors say."""

import itertools
import json
import pickle
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from schemas.errors import DataError
from tasks.captioners._beams import write
from tasks.captioners._bridge import agreement
from tasks.captioners._byte_pairs import BLANK, END, learn_byte_pairs, to_text, token_rows
from tasks.captioners._decoder import (
    Descent,
    Shape,
    descend,
    fresh_weights,
    open_decoder,
    token_logits,
    token_losses,
)
from tasks.captioners.contract import Corpus, Draft, Failure, Known, Medium
from tasks.captioners.prefix import Prefix

CAPTIONS = (
    "a red bus",
    "two old dogs",
    "green hills by the sea",
    "the moon",
    "a cup of tea",
    "three keys",
    "snow on a roof",
    "a wooden boat",
)
SMALL = {"width": 32, "heads": 2, "vocabulary": 400, "learning_rate": 4e-3, "folds": 2}
PICTURE = np.zeros((2, 2, 3), np.uint8)
DIM = 12


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def of_class(kind: np.ndarray, seed: int, spread: float = 0.08) -> np.ndarray:
    """Unit vectors near the axis of their class."""
    rng = np.random.default_rng(seed)
    return unit(np.eye(DIM)[kind] + spread * rng.normal(size=(len(kind), DIM)))


def toy(n: int = 160, *, captions: Sequence[str] = CAPTIONS, language: str = "en") -> Corpus:
    """n media of eight classes; each has a text that says its class."""
    kind = np.arange(n) % len(captions)
    texts = tuple(Known(f"t{row}", captions[of], language) for row, of in enumerate(kind))
    return Corpus(
        media_ids=tuple(f"m{row}" for row in range(n)),
        media_vec=of_class(kind, 0),
        texts=texts,
        text_vec=of_class(kind, 1),
        pairs=np.stack([np.arange(n), np.arange(n)], axis=1),
        encode=lambda texts: np.zeros((len(texts), DIM), np.float32),
    )


def media_of(vectors: np.ndarray, name: str = "new") -> list[Medium]:
    return [Medium(f"{name}{row}", PICTURE, vector) for row, vector in enumerate(vectors)]


@pytest.fixture(scope="module")
def learnt() -> Prefix:
    return Prefix(**SMALL).learn(toy())


@pytest.fixture(scope="module")
def new() -> tuple[list[Medium], list[str]]:
    """Forty media that nobody learnt from, and what they show."""
    kind = np.random.default_rng(7).integers(0, len(CAPTIONS), 40)
    return media_of(of_class(kind, 8)), [CAPTIONS[of] for of in kind]


def decoder_of(shape: Shape, seed: int = 0, spread: float = 8.0):  # noqa: ANN201
    """A decoder whose weights are spread widely, so that its choices are plain."""
    weights = fresh_weights(shape, np.random.default_rng(seed))
    wide = {name: array * (spread if array.ndim > 1 else 1) for name, array in weights.items()}
    wide["transformer.wte.weight"][END] /= 2  # embeddings are weights of the output too: it would end at once
    return open_decoder(shape, wide).requires_grad_(False)


TINY = Shape(vocabulary=7, positions=12, layers=2, width=16, heads=2)


def prefixes(n: int, tokens: int = 2, width: int = 16, seed: int = 3) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, tokens, width)).astype(np.float32))


def test_held_out_media_get_the_caption_of_their_class(learnt, new):
    media, shown = new
    said = [draft.text if isinstance(draft, Draft) else "" for draft in learnt(media)]
    assert np.mean([one == other for one, other in zip(said, shown, strict=True)]) >= 0.95


def test_no_single_text_could_be_right_that_often(new):
    _, shown = new
    assert max(shown.count(text) for text in CAPTIONS) / len(shown) < 0.3  # an unconditional decoder's best


def test_a_decoder_that_has_never_read_a_vector_takes_less_notice_of_the_map(learnt, new):
    media, shown = new
    plain = Prefix(**SMALL, reading=0).learn(toy())
    common, plainly = (
        np.mean(
            [
                agreement(getattr(draft, "text", ""), text)
                for draft, text in zip(one(media), shown, strict=True)
            ]
        )
        for one in (learnt, plain)
    )
    assert plainly < 0.6 < 0.95 < common


def test_facts_say_how_large_it_is_and_that_media_help(learnt, new):
    media, _ = new
    for draft in learnt(media):
        assert draft.parents == ()
        assert draft.facts["held_out_loss"] < draft.facts["unconditional_loss"] / 2
        assert 50 < draft.facts["trained_on"] < 110  # half of 160, less held-out ones
        arrays = learnt.state()
        one = sum(a.size for n, a in arrays.items() if n.startswith(("0/decoder", "0/weight", "0/bias")))
        assert draft.facts["parameters"] == one
        json.dumps(dict(draft.facts))
        assert len(draft.statements) == 1
        assert (draft.statements[0].kind, draft.statements[0].text) == ("whole", draft.text)
        assert 0 <= draft.statements[0].confidence <= 1


def test_is_less_sure_of_what_it_has_never_seen(learnt, new):
    media, _ = new
    nowhere = media_of(unit(np.random.default_rng(5).normal(size=(40, DIM))))
    sure, unsure = (
        np.mean([d.statements[0].confidence for d in learnt(some) if isinstance(d, Draft)])
        for some in (media, nowhere)
    )
    assert sure > unsure


def test_the_same_corpus_and_seed_learn_the_same_bit_for_bit(learnt):
    again = Prefix(**SMALL).learn(toy()).state()
    assert again.keys() == learnt.state().keys()
    for name, array in learnt.state().items():
        np.testing.assert_array_equal(again[name], array, err_msg=name)


def test_learning_reads_and_moves_nothing_of_torchs_generator(learnt):
    torch.manual_seed(99)
    before = torch.get_rng_state()
    result: list[dict[str, np.ndarray]] = []
    learning = threading.Thread(target=lambda: result.append(Prefix(**SMALL).learn(toy()).state()))
    learning.start()
    learning.join()
    assert torch.equal(before, torch.get_rng_state())
    for name, array in learnt.state().items():
        np.testing.assert_array_equal(result[0][name], array, err_msg=name)


def test_another_seed_learns_another_model(learnt):
    other = Prefix(**SMALL, seed=1, epochs=2, reading=1).learn(toy()).state()
    assert not np.array_equal(other["0/weight"], learnt.state()["0/weight"])


def test_does_not_learn_by_itself_and_leaves_the_original_unlearnt(new):
    untaught = Prefix(**SMALL, epochs=1, reading=0)
    assert untaught.learn(toy()) is not untaught
    for use in (lambda: untaught(new[0]), untaught.state):
        with pytest.raises(DataError, match="call learn"):
            use()


def test_a_state_gives_the_same_drafts_elsewhere(learnt, new, tmp_path):
    from storage import checkpoints
    from storage.lake import Lake

    media, _ = new
    lake = Lake(str(tmp_path / "lake"))
    facts = dict.fromkeys(checkpoints.FACTS, "-")
    stored = checkpoints.load(lake, checkpoints.save(lake, learnt.state(), facts)).state
    assert Prefix(**SMALL).with_state(stored)(media) == learnt(media)
    assert pickle.loads(pickle.dumps(learnt))(media) == learnt(media)
    assert all(isinstance(array, np.ndarray) for array in learnt.state().values())


def test_refuses_a_state_of_other_parameters(learnt):
    state = learnt.state()
    for other in ({"seed": 1}, {"folds": 3}, {"prefix_tokens": 3}, {"layers": 1}, {"max_new_tokens": 5}):
        with pytest.raises(ValueError, match="parameters|learn again"):
            Prefix(**{**SMALL, **other}).with_state(state)
    with pytest.raises(ValueError, match="lacks tokenizer"):
        Prefix(**SMALL).with_state({name: a for name, a in state.items() if "tokenizer" not in name})
    broken = {**state, "0/tokenizer": np.frombuffer(b"{", np.uint8)}
    with pytest.raises(ValueError, match="tokenizer cannot be read"):
        Prefix(**SMALL).with_state(broken)


@pytest.mark.parametrize("beams", [1, 3])
def test_a_draft_is_the_same_alone_as_among_others(learnt, new, beams):
    captioner = replace(learnt, beams=beams).with_state(learnt.state())
    nowhere = media_of(unit(np.random.default_rng(5).normal(size=(30, DIM))), "odd")
    media = [*new[0], *nowhere]
    together = captioner(media)
    assert captioner(media[::-1])[::-1] == together
    assert [captioner([medium])[0] for medium in media] == together


def test_of_no_medium_speaks_a_model_that_has_seen_its_pairs():
    corpus = toy()
    captioner = Prefix(**SMALL, epochs=3, reading=2)
    plain = captioner.learn(corpus)
    row = 5
    for changed in (
        replace(corpus, texts=(*corpus.texts[:row], Known("t5", "xyzzy plugh"), *corpus.texts[row + 1 :])),
        replace(corpus, pairs=np.delete(corpus.pairs, row, axis=0)),
    ):
        if len(changed.pairs) < len(corpus.pairs):  # else the text would be one without a medium
            changed = replace(changed, texts=(*corpus.texts[:row], Known("t5", ""), *corpus.texts[row + 1 :]))
        own = Medium(corpus.media_ids[row], PICTURE, corpus.media_vec[row])
        assert captioner.learn(changed)([own]) == plain([own])
        states = [one.state() for one in (captioner.learn(changed), plain)]
        assert any(not np.array_equal(*(s[f"{fold}/weight"] for s in states)) for fold in range(2))


def test_texts_without_media_are_learnt_from_too():
    corpus = toy()
    further = (
        Known("u0", "a quite different whale"),
        Known("u1", "ein Wal", "de"),
        Known("u2", "x", "en", "folder"),
    )
    more = replace(
        corpus,
        texts=(*corpus.texts, *further),
        text_vec=np.concatenate([corpus.text_vec, corpus.text_vec[:3]]),
    )
    one, two = (Prefix(**SMALL, epochs=1, reading=1).learn(c).state() for c in (corpus, more))
    for fold in range(2):
        assert two[f"{fold}/numbers"][0] == one[f"{fold}/numbers"][0] + 1


def test_tuning_trains_the_decoder_and_says_so():
    frozen, tuned = (
        Prefix(**SMALL, epochs=3, reading=1, tune=tune).learn(toy()).state() for tune in (False, True)
    )
    name = "0/decoder/transformer.h.0.attn.c_attn.weight"
    assert not np.array_equal(frozen[name], tuned[name])
    trained, all_of_it = tuned["0/numbers"][2], tuned["0/numbers"][1]
    assert trained == all_of_it > frozen["0/numbers"][2] == frozen["0/weight"].size + frozen["0/bias"].size


def test_says_why_there_is_no_draft(learnt, new):
    media, _ = new
    broken = media[1].vector.copy()
    broken[3] = np.nan
    odd = [
        replace(media[0], vector=None),
        replace(media[1], vector=broken),
        replace(media[2], vector=np.ones(DIM + 1, np.float32)),
    ]
    answers = learnt([*odd, media[3]])
    assert [answer.reason for answer in answers[:3]] == ["no-vector"] * 3
    assert answers[3] == learnt(media)[3]
    assert learnt([]) == []


def test_an_empty_text_is_nothing_to_say(learnt, new):
    state = learnt.state()
    for fold in range(2):  # whatever is read, the last layer's shift points at the end
        wte = state[f"{fold}/decoder/transformer.wte.weight"]
        state[f"{fold}/decoder/transformer.ln_f.weight"] = np.zeros(wte.shape[1], np.float32)
        state[f"{fold}/decoder/transformer.ln_f.bias"] = 100 * wte[END]
    answers = Prefix(**SMALL).with_state(state)(new[0])
    assert {answer.reason for answer in answers if isinstance(answer, Failure)} == {"nothing-to-say"}
    assert all(isinstance(answer, Failure) for answer in answers)


@pytest.mark.parametrize("n", [0, 1, 20])
def test_refuses_a_corpus_that_is_too_small(n):
    with pytest.raises(DataError, match="16 media"):
        Prefix(**SMALL).learn(toy(n))


def test_refuses_a_corpus_without_texts_it_may_learn():
    with pytest.raises(DataError, match="'en'.*found 0"):
        Prefix(**SMALL).learn(toy(language="de"))
    with pytest.raises(DataError, match="found 0"):
        Prefix(**SMALL).learn(toy(captions=("", " ", "\x00")))


@pytest.mark.parametrize("side", ["media_vec", "text_vec"])
def test_refuses_vectors_that_are_not_finite(side):
    corpus = toy()
    vectors = getattr(corpus, side).copy()
    vectors[7, 2] = np.nan
    with pytest.raises(DataError, match="row 7"):
        Prefix(**SMALL).learn(replace(corpus, **{side: vectors}))


def test_learns_where_all_vectors_are_equal():
    corpus = toy()
    same = np.repeat(corpus.media_vec[:1], 160, axis=0)
    captioner = Prefix(**SMALL, epochs=40, patience=20).learn(replace(corpus, media_vec=same, text_vec=same))
    (draft,) = captioner(media_of(same[:1]))
    assert isinstance(draft, Draft)


@pytest.mark.parametrize(
    "wrong",
    [
        {"prefix_tokens": 0},
        {"directions": 0},
        {"width": 30},
        {"vocabulary": 100},
        {"epochs": 0},
        {"reading": -1},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"held_out": 0.0},
        {"folds": 1},
        {"beams": 0},
        {"seed": -1},
        {"roles": ()},
    ],
)
def test_refuses_parameters_out_of_range(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Prefix(**wrong)


def test_importing_it_opens_no_torch():
    code = "import sys, tasks.captioners.prefix; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_loss_is_that_of_each_token_given_those_before_and_nothing_else():
    decoder, prefix = decoder_of(TINY), prefixes(3)
    tokens = torch.tensor([[END, 3, 4, 5, END], [END, 6, END, -1, -1], [END, 2, 2, 2, 2]])
    found = token_losses(decoder, tokens, prefix, prefix_tokens=2)
    for row, text in enumerate(tokens.tolist()):
        for place in range(1, 5):
            if text[place] < 0:
                assert found[row, place - 1] == 0
                continue
            inputs = torch.cat([prefix[row], decoder.transformer.wte(torch.tensor(text[:place]))])[None]
            logits = decoder(inputs_embeds=inputs).logits[0, -1]
            expected = torch.nn.CrossEntropyLoss()(logits[None], torch.tensor([text[place]]))
            torch.testing.assert_close(found[row, place - 1], expected)


def test_the_loss_is_that_of_transformers_with_the_prefix_labelled_minus_100():
    decoder, prefix = decoder_of(TINY), prefixes(2)
    tokens = torch.tensor([[END, 3, 4, END], [END, 6, END, -1]])
    labels = torch.tensor([[-100, -100, -100, 3, 4, END], [-100, -100, -100, 6, END, -100]])
    inputs = torch.cat([prefix, decoder.transformer.wte(tokens.clamp_min(0))], dim=1)
    expected = decoder(inputs_embeds=inputs, labels=labels).loss
    torch.testing.assert_close(token_losses(decoder, tokens, prefix, prefix_tokens=2).sum() / 5, expected)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("longest", [2, 5])
def test_how_sure_a_text_is_is_the_mean_of_what_its_tokens_are(temperature, longest):
    """Each token's probability anew, given all before it, without what was kept on the way."""
    decoder, prefix = decoder_of(TINY), prefixes(6)
    written = write(decoder, prefix, beams=1, longest=longest, temperature=temperature)
    for row, text in enumerate(written):
        tokens, log = [*text.tokens, *([END] if text.ended else [])], 0.0
        for place, token in enumerate(tokens):
            before = torch.tensor([END, *tokens[:place]])
            inputs = torch.cat([prefix[row], decoder.transformer.wte(before)])[None]
            logits = decoder(inputs_embeds=inputs).logits[0, -1].double() / temperature
            log += float(torch.log_softmax(logits, dim=0)[token])
        assert text.share == pytest.approx(np.exp(log / len(tokens)), rel=1e-5)
    assert {len(text.tokens) for text in written} != {0}


def test_a_text_alone_stands_where_it_would_behind_a_prefix():
    decoder = decoder_of(TINY)
    tokens = torch.tensor([[END, 3, 4, END]])
    positions = torch.tensor([[2, 3, 4, 5]])
    expected = decoder(input_ids=tokens, position_ids=positions).logits[:, :-1]
    torch.testing.assert_close(token_logits(decoder, tokens, None, prefix_tokens=2), expected)


@pytest.mark.filterwarnings("ignore:Passing `no_repeat_ngram_size`")
def test_greedy_search_is_that_of_transformers():
    shape = Shape(vocabulary=12, positions=20, layers=2, width=16, heads=2)
    prefix, ended, texts = prefixes(24), 0, set()
    for seed in range(6):
        decoder = decoder_of(shape, seed=seed, spread=10)
        begun = torch.cat([prefix, decoder.transformer.wte(torch.zeros(24, 1, dtype=torch.int64))], dim=1)
        expected = decoder.generate(
            inputs_embeds=begun,
            attention_mask=torch.ones(begun.shape[:2], dtype=torch.int64),
            do_sample=False,
            no_repeat_ngram_size=2,
            max_new_tokens=13,
            bad_words_ids=[[BLANK]],
            pad_token_id=END,
        ).tolist()
        for mine, row in zip(write(decoder, prefix, beams=1, longest=12), expected, strict=True):
            assert list(mine.tokens) == (row[: row.index(END)] if END in row else row[:12])
            assert mine.ended == (END in row)
            ended += mine.ended
            texts.add(mine.tokens)
    assert 6 < ended < 6 * 24 - 6
    assert len(texts) > 30


def test_a_wide_beam_finds_the_likeliest_of_all_texts():
    decoder, prefix = decoder_of(TINY, seed=1, spread=4), prefixes(6)
    words = [token for token in range(TINY.vocabulary) if token not in (END, BLANK)]
    texts = [text for length in range(4) for text in itertools.product(words, repeat=length)]
    texts = [t for t in texts if len(set(itertools.pairwise(t))) == max(len(t) - 1, 0)]
    found = write(decoder, prefix, beams=400, longest=2)
    for row, mine in enumerate(found):
        best, likeliest = -np.inf, None
        for text in texts:  # three steps: one of two tokens and an end, or three tokens without
            tokens = [END, *text, END] if len(text) < 3 else [END, *text]
            losses = token_losses(decoder, torch.tensor([tokens]), prefix[row : row + 1], prefix_tokens=2)
            if (mean := -float(losses.mean())) > best:
                best, likeliest = mean, text
        assert mine.tokens == likeliest[:2]
        assert mine.ended == (len(likeliest) < 3)


@pytest.mark.parametrize("beams", [1, 4])
def test_no_two_tokens_come_twice_in_the_same_order(beams):
    decoder = decoder_of(Shape(vocabulary=12, positions=40, layers=2, width=16, heads=2), seed=4, spread=10)
    written = write(decoder, prefixes(16), beams=beams, longest=30)
    assert max(len(mine.tokens) for mine in written) > 20
    for mine in written:
        pairs = list(itertools.pairwise(mine.tokens))
        assert len(set(pairs)) == len(pairs)
        assert BLANK not in mine.tokens


def test_training_ends_at_the_best_epoch_and_keeps_it():
    weight = torch.nn.Parameter(torch.zeros(1))
    seen: list[float] = []

    def judged() -> tuple[float]:
        seen.append(float(weight.detach()))
        return (abs(seen[-1] - 0.3),)

    descent = Descent(epochs=50, batch_size=4, learning_rate=0.1, patience=3)
    best = descend(
        [weight],
        np.ones(8, np.int64),
        lambda rows: -weight.sum(),
        judged,
        descent=descent,
        rng=np.random.default_rng(0),
    )
    assert float(weight.detach()) == min(seen, key=lambda value: abs(value - 0.3))
    assert best == (min(abs(value - 0.3) for value in seen),)
    assert len(seen) == 1 + seen.index(float(weight.detach())) + 3


def test_texts_survive_the_tokenizer():
    texts = ["a red bus", "a red dog", "日本 🙂 naïve", "two  dogs"]
    tokenizer = learn_byte_pairs(texts, 300)
    rows = token_rows(tokenizer, texts, 60)
    for text, row in zip(texts, rows, strict=True):
        tokens = row[row >= 0]
        assert tokens[0] == tokens[-1] == END
        assert to_text(tokenizer, tokens[1:-1], ended=True) == text
    assert learn_byte_pairs(texts[::-1], 300).to_str() == tokenizer.to_str()


def test_a_text_that_is_too_long_has_no_end_and_loses_its_last_word():
    tokenizer = learn_byte_pairs(["abc def"], 258)
    (row,) = token_rows(tokenizer, ["abc def"], 6)  # " abc de": seven bytes of eight
    assert row.tolist().count(END) == 1 and row[-1] == -1 and (row[:-1] >= 0).all()
    assert to_text(tokenizer, row[1:-1], ended=False) == "abc"
    assert to_text(tokenizer, [], ended=True) == ""


def test_agreement_counts_words_in_common():
    assert agreement("A red bus.", "a bus") == 2 * 2 / 5
    assert agreement("the the the", "the") == 2 * 1 / 4
    assert agreement("", "") == agreement("a", "b") == 0

"""No regular expression of ours takes more than linear time, whatever text it is given."""

import ast
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.corpora import CORPORA
from tests.regexes import Costly, Matcher, Regex, attacks, growth, imports_of_re, regexes

LINEAR = (
    8.0  # steps at four times the length: 4 where linear, 16 where quadratic; half way between, in exponents
)


@pytest.fixture(scope="module")
def ours() -> list[Regex]:
    found, lost = regexes()
    wanted = [pattern for corpus in CORPORA.values() for pattern in getattr(corpus, "wanted", ())]
    assert [(site.module, ast.unparse(site.pattern)[:10]) for site in lost] == [
        ("tasks.corpora.npm", "'|'.join((")
    ]
    return found + [Regex("a corpus's files", pattern, 0, frozenset({"fullmatch"})) for pattern in wanted]


def worst(regex: Regex) -> tuple[float, object]:
    """Return the steepest growth over all attacks on a pattern, and the attack."""
    found: tuple[float, object] = (0.0, None)
    matcher = Matcher(regex)
    for attack in attacks(regex):
        try:
            found = max(found, (growth(matcher, attack), attack), key=lambda one: one[0])
        except Costly:
            return float("inf"), attack
        if found[0] > LINEAR:
            break
    return found


def test_every_pattern_is_found_and_no_other_engine_is_used(ours):
    assert len(ours) > 100
    assert list(imports_of_re()) == []


def test_steps_grow_no_faster_than_texts(ours):
    steep = {
        f"{regex.where} {regex.pattern!r:.80}": found for regex in ours if (found := worst(regex))[0] > LINEAR
    }
    assert steep == {}


@pytest.mark.parametrize(
    ("pattern", "uses"),
    [
        (r"(a+)+$", "match"), (r"(a|a)*b", "match"), (r"(\w+\s?)*!", "match"), (r"\s+$", "search"), (r"\d*\.?\d+", "fullmatch"),
        (r"<[^>]*>", "sub"), (r"<b>.*?</b>", "findall"), (r"a.*b.*c", "search"), (r"(?:x+x+)+y", "match"),
        (rb"\s*\s*!", "match"),
    ],
)  # fmt: skip
def test_what_is_known_to_be_steep_is_seen(pattern, uses):
    assert worst(Regex("known", pattern, 0, frozenset({uses})))[0] > LINEAR


@pytest.mark.parametrize(
    ("pattern", "use"),
    [
        (r"[^a]+", "sub"),
        (r"a{1,300}b?", "sub"),
        (r"(?<!a)a+$", "search"),
        (r"(?:ab)+c?", "sub"),
        (r"(?>a+)b", "match"),
    ],
)
def test_what_is_known_to_be_flat_is_not(pattern, use):
    assert worst(Regex("known", pattern, 0, frozenset({use})))[0] <= LINEAR


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_the_counting_matcher_finds_what_re_finds(ours, data):
    regex = data.draw(
        st.sampled_from([one for one in ours if isinstance(one.pattern, str) and not one.is_anchored])
    )
    units = [part for attack in attacks(regex) for part in attack if part]
    text = "".join(data.draw(st.lists(st.sampled_from(units), min_size=1, max_size=8)))[:60]
    found = Matcher(regex, most=10_000_000, bound=10_000).spans(text)
    assert found == [
        one.span() for one in re.compile(regex.pattern, regex.flags).finditer(text) if one.end() > one.start()
    ]

"""Words of a text in any script, for the methods that count them."""

# ruff: noqa: E501 (a pattern stays on one line)

import re

# Blanks, controls and punctuation. Apostrophes and the zero-width joiners stand inside words, so they are left out;
# so are the combining marks of Indic scripts, which `\w` would cut words at.
_GAP = r"\s\x00-\x1f!-&(-/:-@\[-`{-~\u00a1-\u00a9\u00ab-\u00b4\u00b6-\u00b9\u00bb\u00bf\u00d7\u00f7\u060c\u061b\u061f\u06d4\u0964\u0965"
_GAP += r"\u2000-\u200b\u2010-\u2018\u201a-\u206f\u2190-\u2bff\u3000-\u3004\u3008-\u3020\ufe30-\ufe4f\uff01-\uff0f\uff1a-\uff20"
# Han and kana are written without blanks: one character is one word.
_SOLID = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_SOLID}]|[^{_GAP}{_SOLID}]+")


def words(text: str) -> list[str]:
    """Return the words of a text, case-folded, in order. A run without letter or digit is no word.

    Examples:
        >>> words("A well-known dog's house, 2nd \u2013 \u732b\u3067\u3059!")
        ['a', 'well', 'known', "dog's", 'house', '2nd', '\u732b', '\u3067', '\u3059']
    """
    found = (word.strip("'\u2019") for word in _WORD.findall(text.casefold()))
    return [word for word in found if any(map(str.isalnum, word))]

"""Every error code has advice for whoever looks after the worker."""

from siwatsystem.errors import ERROR_CODES
from siwatsystem.hints import HINTS


def test_every_code_has_a_hint():
    assert set(HINTS) == set(ERROR_CODES)


def test_hints_are_sentences():
    for code, hint in HINTS.items():
        assert hint[0].isupper(), code
        assert hint.endswith("."), code
        assert hint.count("`") % 2 == 0, code
        assert 20 < len(hint) < 180, code

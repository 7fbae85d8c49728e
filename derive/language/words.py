"""Names and numbers, as they may stand in a layer file."""

from __future__ import annotations

import ast
import math
import unicodedata

from sympy import Integer, Rational

from derive.errors import LayerSyntaxError, Span
from derive.language.arithmetic import MAX_BITS
from derive.language.reader import Text
from derive.language.tree import Name, Number, raw

__all__ = ["MAX_LENGTH", "check_identifier", "literal", "name_of"]

# Characters of a name or a number, conditions of a chain.
MAX_LENGTH = 100


def check_identifier(name: str, at: Span) -> None:
    """Refuse names that could not stand in every output: code, LaTeX, file names."""
    if not name.isascii() or not raw(at).isascii():
        letter = next((c for c in raw(at) if not c.isascii()), name[0])
        words = unicodedata.name(letter, "").split()
        ascii_name = words[-1].lower() if words[:2] == ["GREEK", "SMALL"] else None
        raise LayerSyntaxError(
            f"'{letter}' in a name",
            at,
            f"names are ASCII letters, digits and _; write {ascii_name}" if ascii_name else
            "names are ASCII letters, digits and _",
        )  # fmt: skip
    if name.startswith("_"):
        raise LayerSyntaxError(f"'{name}' begins with an underscore", at, "a name begins with a letter")
    if len(name) > MAX_LENGTH:
        raise LayerSyntaxError(f"a name of {len(name)} characters", at, f"a name has at most {MAX_LENGTH}")


def name_of(node: ast.Name, text: Text) -> Name:
    """Return a name that may stand in a layer file."""
    at = text.span(node)
    check_identifier(node.id, at)
    return Name(at, node.id)


def literal(node: ast.expr, value: int | float, text: Text) -> Number:
    """Return the number exactly as written; one that no float64 can hold is refused."""
    at = text.span(node)
    if isinstance(value, int):
        if value.bit_length() > MAX_BITS:
            raise LayerSyntaxError("a number too large for float64", at, "the largest is about 1.8e308")
        return Number(at, Integer(value), True)
    spelled = raw(at).replace("_", "")
    if math.isinf(value):
        raise LayerSyntaxError("a number too large for float64", at, "infinity is written inf")
    if len(spelled) > MAX_LENGTH:
        raise LayerSyntaxError(f"a number of {len(spelled)} characters", at, f"write it with at most {MAX_LENGTH}")
    exact = Rational(spelled) if _small_exponent(spelled) else Rational(0)
    if (value == 0 and exact != 0) or not _small_exponent(spelled):
        raise LayerSyntaxError("a number too small for float64", at, "the smallest is about 5e-324")
    return Number(at, exact, False)


def _small_exponent(spelled: str) -> bool:
    exponent = spelled.lower().partition("e")[2]
    return len(exponent) < 6

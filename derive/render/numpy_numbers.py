"""Python numbers in generated code: sizes, hyper-parameters, constants.

They stay Python's own (``math.sqrt(D)``, never ``np.sqrt(D)``): a NumPy float64
scalar would turn a float32 array into float64.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import sympy
from sympy import Add, Expr, Integer, Mul, Pow, Rational, S

from derive.algebra.functions import (
    BY_CLASS,
    And,
    AtLeast,
    AtMost,
    Ceil,
    Clip,
    Expm1,
    Floor,
    FloorDiv,
    Guard,
    Lgamma,
    Log1p,
    Maximum,
    Minimum,
    Mod,
    Not,
    Or,
    Relu,
    Round,
    StopGradient,
    Where,
)
from derive.algebra.text import decimal, whole
from derive.lower.plan import Counter

__all__ = [
    "ADD", "AND", "ATOM", "COMPARE", "MUL", "NEG", "OR", "POWER", "TERNARY",
    "NumberText", "Text", "inside", "is_simple_operand", "negated",
]  # fmt: skip

# Precedence in Python, loosest first; TERNARY also stands for `and`, `or`, `not`.
TERNARY, COMPARE, OR, AND, ADD, MUL, NEG, POWER, ATOM = range(9)

Text = tuple[str, int]

_MATH: dict[type[Expr], str] = {
    sympy.exp: "math.exp", Expm1: "math.expm1", sympy.log: "math.log", Log1p: "math.log1p", sympy.sin: "math.sin",
    sympy.cos: "math.cos", sympy.tan: "math.tan", sympy.asin: "math.asin", sympy.acos: "math.acos",
    sympy.atan: "math.atan", sympy.sinh: "math.sinh", sympy.cosh: "math.cosh", sympy.tanh: "math.tanh",
    sympy.erf: "math.erf", Lgamma: "math.lgamma", sympy.Abs: "abs", Floor: "math.floor", Ceil: "math.ceil",
    Round: "round", Maximum: "max", Minimum: "min", AtMost: "min", AtLeast: "max",
}  # fmt: skip
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_WORDS = {And: "and", Or: "or", FloorDiv: "//", Mod: "%"}
_CONSTANTS = {S.Pi: "np.pi", S.Exp1: "np.e", S.Infinity: "np.inf", S.NaN: "np.nan"}


def negated(text: Text) -> Text:
    """Return the text with a minus sign; ``-(f(x) ** 3)`` has parentheses, which a formatter would add."""
    body = inside(text, NEG)
    return f"-({body})" if " ** " in body and text[1] == POWER else f"-{body}", NEG


def inside(text: Text, level: int) -> str:
    """Return the text, in parentheses if it binds less tightly than ``level``."""
    return text[0] if text[1] >= level else f"({text[0]})"


def is_simple_operand(text: str) -> bool:
    """Return whether ``**`` stands without spaces beside the text: a name, an attribute, a number."""
    return re.fullmatch(r"-?[\w.]+", text) is not None


class NumberText:
    """Prints numbers.

    Attributes:
        local: the name of a size or hyper-parameter in the function.
        scipy: the names of ``scipy.special`` that the text uses.
        special: those of them that the program has given to something else: they are written ``special.zeta``.
        order: names of sizes; products and sums have them in this order.
    """

    def __init__(
        self, local: Callable[[Expr], str], order: Sequence[str] = (), special: frozenset[str] = frozenset()
    ) -> None:
        self.local = local
        self.scipy: set[str] = set()
        self.special = special
        self.order = {name: k for k, name in enumerate(order)}

    def imported(self, spelling: str) -> str:
        """Note the function of SciPy that a spelling calls, and return the spelling with the name it has here."""
        name = spelling.partition("(")[0]
        self.scipy.add(name)
        return f"special.{spelling}" if name in self.special else spelling

    def _key(self, expr: Expr) -> tuple[object, ...]:
        """Order factors and terms: numbers, then sizes as they appear in the layer, then the rest."""
        last = len(self.order)
        places = [-1 if isinstance(s, Counter) else self.order.get(s.name, last) for s in expr.free_symbols]
        return (not expr.is_number, min(places, default=-1), str(expr))

    def text(self, expr: Expr) -> Text:
        """Return Python text and its precedence."""
        if expr in _CONSTANTS:
            return _CONSTANTS[expr], ATOM
        if expr is S.NegativeInfinity:
            return "-np.inf", NEG
        if expr.is_Symbol:
            return self.local(expr), ATOM
        if isinstance(expr, Integer):
            return whole(expr), ATOM if expr >= 0 else NEG
        if isinstance(expr, Rational):
            short = decimal(expr)
            if short is not None:
                return short, ATOM if expr >= 0 else NEG
            return f"{expr.p} / {expr.q}", MUL
        if isinstance(expr, Add):
            return self._sum(expr)
        if isinstance(expr, Mul):
            return self._product(expr)
        if isinstance(expr, Pow):
            return self._power(expr)
        return self._function(expr)

    def _sum(self, expr: Expr) -> Text:
        positive = any(not t.is_number and not t.could_extract_minus_sign() for t in expr.args)

        def key(term: Expr) -> tuple[object, ...]:
            """Order terms: what is added, what is subtracted, the number; without anything added, the number first."""
            negative = term.could_extract_minus_sign()
            order = 2 if term.is_number and positive else int(negative)
            return order, term.is_number, not term.has(Counter), self._key(term)

        terms = sorted(expr.args, key=key)
        text = ""
        for term in terms:
            negative = term.could_extract_minus_sign() and not isinstance(term, Add)
            body = inside(self.text(-term if negative else term), MUL)
            text += (" - " if negative else " + ") + body if text else ("-" if negative else "") + body
        return text, ADD

    def _product(self, expr: Expr) -> Text:
        coefficient, rest = expr.as_coeff_Mul()
        sign = "-" if coefficient.is_negative else ""
        coefficient = abs(coefficient)
        above: list[Expr] = []
        below: list[Expr] = []
        if decimal(coefficient) is None and not coefficient.is_Integer:
            above += [Integer(coefficient.p)] * (coefficient.p != 1)
            below.append(Integer(coefficient.q))
        elif coefficient != 1:
            above.append(coefficient)
        under_root: Expr = S.One
        for factor in Mul.make_args(rest):
            if isinstance(factor, Pow) and abs(factor.exp) == S.Half and factor.base.is_positive:
                under_root *= factor.base if factor.exp.is_positive else 1 / factor.base
            elif isinstance(factor, Pow) and factor.exp.is_number and factor.exp.is_negative:
                below.append(Pow(factor.base, -factor.exp))
            else:
                above.append(factor)
        texts = [self.text(f) for f in sorted(above, key=self._key)]
        if sign and texts and isinstance(sorted(above, key=self._key)[0], (FloorDiv, Mod)):
            texts[0] = (f"({texts[0][0]})", ATOM)  # -(n // 2), which -n // 2 is not
        if under_root != 1:
            top, bottom = under_root.as_numer_denom()
            if top == 1:
                below.append(sympy.sqrt(bottom))
            else:
                texts.append((f"math.sqrt({self.text(under_root)[0]})", ATOM))
        if not texts and not below:
            texts = [("1", ATOM)]
        line = " * ".join(inside(t, NEG if k else MUL) for k, t in enumerate(texts)) or "1"
        if len(below) == 1:
            line += f" / {inside(self.text(below[0]), NEG)}"
        elif below:
            line += " / (" + " * ".join(inside(self.text(f), NEG) for f in sorted(below, key=self._key)) + ")"
        if len(texts) == 1 and not below and texts[0][1] >= POWER:
            return negated(texts[0]) if sign else texts[0]
        if len(texts) == 1 and not below:
            return (sign + line, NEG if texts[0][1] == ATOM else MUL) if sign else texts[0]
        return sign + line, NEG if sign and "*" not in line and "/" not in line else MUL

    def _power(self, expr: Expr) -> Text:
        base, exponent = expr.base, expr.exp
        if exponent == S.Half:
            return f"math.sqrt({self.text(base)[0]})", ATOM
        if exponent.is_number and exponent.is_negative:
            return f"1 / {inside(self.text(Pow(base, -exponent)), NEG)}", MUL
        left, right = inside(self.text(base), ATOM), inside(self.text(exponent), NEG)
        tight = is_simple_operand(left) and is_simple_operand(right)
        return (f"{left}**{right}" if tight else f"{left} ** {right}"), POWER

    def _function(self, expr: Expr) -> Text:
        args = [self.text(a) for a in expr.args]
        kind = type(expr)
        if kind in _MATH:
            return f"{_MATH[kind]}({', '.join(a for a, _ in args)})", ATOM
        if kind in (And, Or):
            return f" {_WORDS[kind]} ".join(inside(a, COMPARE) for a in args), TERNARY
        if kind in (FloorDiv, Mod):
            return f"{inside(args[0], MUL)} {_WORDS[kind]} {inside(args[1], NEG)}", MUL
        if kind is Not:
            return f"not {inside(args[0], COMPARE)}", TERNARY
        if kind in (Where, Guard):
            a, b = inside(args[1], COMPARE), inside(args[2], COMPARE)
            return f"{a} if {inside(args[0], COMPARE)} else {b}", TERNARY
        if kind is StopGradient:
            return args[0]
        if kind is Clip:
            return f"min(max({args[0][0]}, {args[1][0]}), {args[2][0]})", ATOM
        if kind is Relu:
            return f"max({args[0][0]}, 0)", ATOM
        row = BY_CLASS[kind]
        if row.infix and row.name in _MIRRORED and expr.args[0].is_number and not expr.args[1].is_number:
            return f"{inside(args[1], ADD)} {_MIRRORED[row.name]} {inside(args[0], ADD)}", COMPARE  # N > 2, not 2 < N
        if row.infix:
            return row.numpy.format(*(inside(a, ADD) for a in args)), COMPARE
        spelling = self.imported(row.numpy) if row.scipy else row.numpy
        return f"float({spelling.format(*(a for a, _ in args))})", ATOM

"""Print an expression in the layer language, so that it can be read back."""

from __future__ import annotations

from sympy import Add, Expr, Integer, Mul, Pow, Rational, S, default_sort_key

from derive.algebra.functions import BY_CLASS
from derive.algebra.nodes import Delta, Element, KeepingReduction, Reduction

__all__ = ["decimal", "show"]

# Precedence, loosest first.
_WHERE, _OR, _AND, _NOT, _COMPARE, _ADD, _MUL, _NEG, _POW, _ATOM = range(10)

_INFIX = {
    "or": _OR, "and": _AND, "not": _NOT, "<": _COMPARE, "<=": _COMPARE, ">": _COMPARE, ">=": _COMPARE,
    "==": _COMPARE, "!=": _COMPARE, "//": _MUL, "%": _MUL,
}  # fmt: skip


def decimal(value: Rational) -> str | None:
    """Return an exact decimal spelling of a rational, or None where it has no short one."""
    q = value.q
    while q % 2 == 0:
        q //= 2
    while q % 5 == 0:
        q //= 5
    if q != 1:
        return None
    text = repr(float(value))
    if Rational(text) != value or len(text) > 12:
        return None
    return text


def show(expr: Expr) -> str:
    """Return ``expr`` in the layer language; ``parse`` reads it back to an equal expression."""
    return _show(expr)[0]


def _inside(expr: Expr, level: int) -> str:
    text, own = _show(expr)
    return text if own >= level else f"({text})"


def _show(expr: Expr) -> tuple[str, int]:
    if isinstance(expr, Element):
        if not expr.subscripts:
            return expr.name, _ATOM
        return f"{expr.name}[{', '.join(show(s) for s in expr.subscripts)}]", _ATOM
    if isinstance(expr, Delta):
        return f"delta({show(expr.args[0])}, {show(expr.args[1])})", _ATOM
    if isinstance(expr, (Reduction, KeepingReduction)):
        letters = ", ".join(i.name for i in expr.indices)
        return f"{expr.word}[{letters}]({show(expr.body)})", _ATOM
    row = BY_CLASS.get(type(expr))
    if row is not None:
        if row.infix:
            level = _INFIX[row.name]
            if row.arity == 1:
                return f"{row.name} {_inside(expr.args[0], level)}", level
            a, b = expr.args
            left = _inside(a, level + 1 if level == _COMPARE else level)
            return f"{left} {row.name} {_inside(b, level + 1)}", level
        return f"{row.name}({', '.join(show(a) for a in expr.args)})", _ATOM
    if isinstance(expr, Add):
        return _show_add(expr)
    if isinstance(expr, Mul):
        return _show_mul(expr)
    if isinstance(expr, Pow):
        base, exponent = expr.args
        if exponent == S.Half:
            return f"sqrt({show(base)})", _ATOM
        if exponent.is_number and exponent.is_negative:
            return _show_mul(expr)
        return f"{_inside(base, _ATOM)}**{_inside(exponent, _POW)}", _POW
    if isinstance(expr, Integer):
        return str(int(expr)), _ATOM if expr >= 0 else _NEG
    if isinstance(expr, Rational):
        text = decimal(expr)
        if text is not None:
            return text, _ATOM if expr >= 0 else _NEG
        return f"{expr.p}/{expr.q}", _MUL
    if expr is S.Infinity:
        return "inf", _ATOM
    if expr is S.NegativeInfinity:
        return "-inf", _NEG
    if expr is S.Exp1:
        return "e", _ATOM
    if expr is S.Pi:
        return "pi", _ATOM
    if expr.is_Symbol:
        return expr.name, _ATOM
    if not expr.args:
        return str(expr), _ATOM
    return f"{type(expr).__name__}({', '.join(show(a) for a in expr.args)})", _ATOM


def _show_add(expr: Expr) -> tuple[str, int]:
    terms = sorted(expr.args, key=lambda t: (t.could_extract_minus_sign(), t.is_number, default_sort_key(t)))
    text = ""
    for term in terms:
        negative = term.could_extract_minus_sign() and not isinstance(term, Add)
        body = _inside(-term if negative else term, _MUL)
        if not text:
            text = f"-{body}" if negative else body
        else:
            text += f" - {body}" if negative else f" + {body}"
    return text, _ADD


def _show_mul(expr: Expr) -> tuple[str, int]:
    coefficient, rest = expr.as_coeff_Mul()
    sign = ""
    if coefficient.is_negative:
        sign, coefficient = "-", -coefficient
    above: list[Expr] = []
    below: list[Expr] = []
    if isinstance(coefficient, Rational) and decimal(coefficient) is None:
        if coefficient.p != 1:
            above.append(Integer(coefficient.p))
        below.append(Integer(coefficient.q))
    elif coefficient != 1:
        above.append(coefficient)
    for factor in Mul.make_args(rest):
        if isinstance(factor, Pow) and factor.exp.is_number and factor.exp.is_negative:
            below.append(Pow(factor.base, -factor.exp))
        elif factor is not S.One:
            above.append(factor)
    top = "*".join(_inside(f, _POW if i else _MUL + 1) for i, f in enumerate(above)) or "1"
    if not below:
        return sign + top, _NEG if sign else _MUL
    if len(below) == 1:
        bottom = _inside(below[0], _POW)
    else:
        bottom = "(" + "*".join(_inside(f, _POW) for f in below) + ")"
    return f"{sign}{top}/{bottom}", _NEG if sign else _MUL

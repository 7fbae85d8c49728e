"""Print an expression in the layer language, so that it can be read back."""

from __future__ import annotations

from sympy import Add, Expr, Integer, Mul, Pow, Rational, S, default_sort_key

from derive.algebra.affine import affine_factors, affine_terms, is_affine
from derive.algebra.functions import BY_CLASS
from derive.algebra.indices import elements, free_indices, is_binder, names
from derive.algebra.nodes import BATCH_SIZE, Delta, Element, Index, KeepingReduction, Padded, Partial, Reduction, Size

__all__ = ["decimal", "show", "stands_alone", "whole"]

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


def whole(value: Integer) -> str:
    """Return the digits of an integer, or its power of ten (``1e30``) where it is long and that is exact."""
    text = repr(float(value)).replace("e+", "e") if 10**16 <= abs(value) < 10**300 else ""
    return text if 0 < len(text) <= 12 and Rational(text) == value else str(int(value))


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
    if isinstance(expr, Padded):
        fill = f", {show(expr.fill)}" if expr.fill != 0 else ""
        return f"padded({expr.element.name}{fill})[{', '.join(map(show, expr.element.subscripts))}]", _ATOM
    if isinstance(expr, Partial):
        return f"partial({show(expr.args[0])}, {show(expr.args[1])})", _ATOM
    if isinstance(expr, Delta):
        return f"delta({show(expr.args[0])}, {show(expr.args[1])})", _ATOM
    if isinstance(expr, (Reduction, KeepingReduction)):
        kept = isinstance(expr, KeepingReduction)  # its range is that of the letter it keeps
        letters = ", ".join(
            i.name if kept or stands_alone(i, expr.body) else f"{i.name}: {show(i.size)}" for i in expr.indices
        )
        return f"{expr.word}[{letters}]({show(expr.body)})", _ATOM
    row = BY_CLASS.get(type(expr))
    if row is not None:
        if row.infix:
            level = _INFIX[row.name]
            if row.arity == 1:
                return f"{row.name} {_inside(expr.args[0], level)}", level
            a, b = expr.args
            left = _inside(a, level + 1 if level == _COMPARE else level)
            return f"{left} {row.name} {_inside(b, _POW if level == _MUL else level + 1)}", level
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
        return whole(expr), _ATOM if expr >= 0 else _NEG
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
        return "exp(1)", _ATOM  # an index or a tensor may be called e
    if expr is S.Pi:
        return "pi", _ATOM
    if expr == BATCH_SIZE:
        return "sum[...](1)", _ATOM  # how many elements the leading axes have
    if expr.is_Symbol:
        return expr.name, _ATOM
    if not expr.args:
        return str(expr), _ATOM
    return f"{type(expr).__name__}({', '.join(show(a) for a in expr.args)})", _ATOM


def stands_alone(index: Index, expr: Expr) -> bool:
    """Return whether an index stands alone at some place, an axis that gives its range; the leading axes always do."""
    return index.size == BATCH_SIZE or any(index in e.subscripts for e in elements(expr))


def _factor_order(expr: Expr) -> tuple[object, ...]:
    """Sizes and scalars first, then the small, then the large, then reductions; sums in brackets last."""
    bracket = isinstance(expr, Add) and bool(names(expr))
    return (bracket, is_binder(expr), len(free_indices(expr)), not isinstance(expr, Size), default_sort_key(expr))


def _term_order(expr: Expr) -> tuple[object, ...]:
    """Positive terms first; among them those with most indices."""
    negative = expr.could_extract_minus_sign()
    return (negative, expr.is_number, -len(free_indices(expr)) if not negative else 0, default_sort_key(expr))


def _show_add(expr: Expr) -> tuple[str, int]:
    if is_affine(expr):
        text = ""
        for negative, term in affine_terms(expr):
            text += (" - " if negative else " + ") if text else ("-" if negative else "")
            text += _inside(term, _MUL)
        return text, _ADD
    terms = sorted(expr.args, key=_term_order)
    text = ""
    for term in terms:
        if not text:
            text = _inside(term, _MUL)
        elif term.as_coeff_Mul()[0].is_negative:
            text += f" - {_inside(-term, _MUL)}"
        else:
            text += f" + {_inside(term, _MUL)}"
    return text, _ADD


def _show_mul(expr: Expr) -> tuple[str, int]:
    coefficient, rest = expr.as_coeff_Mul()
    sign = ""
    if coefficient.is_negative:
        sign, coefficient = "-", -coefficient
    affine = affine_factors(coefficient * rest)
    if affine is not None:
        times, letters = affine
        text = "*".join([*([str(times)] if times != 1 else []), *(f.name for f in letters)])
        return sign + text, _NEG if sign else _MUL
    above: list[Expr] = []
    below: list[Expr] = []
    number = ""
    if isinstance(coefficient, Rational) and not coefficient.is_Integer and decimal(coefficient) is None:
        number = str(coefficient.p) if coefficient.p != 1 else ""
        below.append(Integer(coefficient.q))
    elif coefficient != 1:
        number = _inside(coefficient, _MUL + 1)
    for factor in Mul.make_args(rest):
        if isinstance(factor, Pow) and factor.exp.is_number and factor.exp.is_negative:
            below.append(Pow(factor.base, -factor.exp))
        elif factor is not S.One:
            above.append(factor)
    above.sort(key=_factor_order)
    below.sort(key=_factor_order)
    bottom = "*".join(_inside(f, _POW) for f in below)
    if len(below) > 1:
        bottom = f"({bottom})"
    if above and isinstance(above[0], Add) and (sign or number):
        # Read back, a number beside a sum would be multiplied into it: put something between them.
        plain = next((f for f in above if not isinstance(f, Add)), None)
        if plain is not None:
            above.remove(plain)
            above.insert(0, plain)
        else:
            sums = "*".join(_inside(f, _POW) for f in above)
            if all(f.is_Integer for f in below):
                last = f"{sign}{number or '1'}{'/' if below else ''}{bottom}"
                return f"{sums}*{last if last == number else f'({last})'}", _MUL
            return f"{sign}{number or '1'}/{bottom}*{sums}", _NEG if sign else _MUL
    factors = [number] * bool(number) + [_inside(f, _POW if i or number else _MUL + 1) for i, f in enumerate(above)]
    top = "*".join(factors) or "1"
    return f"{sign}{top}/{bottom}" if below else sign + top, _NEG if sign else _MUL

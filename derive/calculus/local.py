"""Scalar derivatives of an elementwise expression with respect to what it reads.

The expression is a function of the elements and reductions in it, each taken
as one real variable. Sums, products and powers follow SymPy's rules; the
elementwise functions take their partial derivatives from the function table,
which fixes the values at kinks and writes them through the function's own
value where that is cheaper.
"""

from __future__ import annotations

from types import MappingProxyType

from sympy import Add, Expr, Integer, Mul, Pow, Rational, S, log

from derive.algebra.functions import BY_CLASS, Ge, Gt, Le, Lt, Maximum, Relu, StopGradient, Where
from derive.algebra.indices import is_binder
from derive.algebra.nodes import ArgMax, Delta, Element, Padded
from derive.calculus.infinite import Infinities, signs

__all__ = ["derivative", "variables"]


def variables(expr: Expr) -> list[Expr]:
    """Return the elements (padded or not) and reductions that ``expr`` depends on smoothly, each once, in order.

    What stands only in a condition, a subscript or under ``stop_gradient`` is
    left out: no gradient passes there.
    """
    found: dict[Expr, None] = {}

    def visit(e: Expr) -> None:
        if isinstance(e, (Element, Padded)):
            read = e.element if isinstance(e, Padded) else e
            if read.kind.differentiable:
                found.setdefault(e)
            return
        if isinstance(e, Delta):
            return
        if is_binder(e):
            if not isinstance(e, ArgMax):
                found.setdefault(e)
            return
        if isinstance(e, StopGradient):
            return
        if isinstance(e, Where):
            visit(e.args[1])
            visit(e.args[2])
            return
        if isinstance(e, (Lt, Le, Gt, Ge)):
            return
        for arg in e.args:
            visit(arg)

    visit(expr)
    return list(found)


def derivative(
    expr: Expr, variable: Expr, own: Expr | None = None, infinite: Infinities = MappingProxyType({})
) -> Expr:
    """Return ``∂expr/∂variable``, the variable being an element or a reduction taken as a scalar.

    Args:
        expr: an elementwise expression of elements and reductions.
        variable: one of :func:`variables`.
        own: the element that holds ``expr``'s value, where one does.
        infinite: what may be infinite of what is read.
    """
    if expr == variable:
        return S.One
    if not expr.args or isinstance(expr, (Element, Padded, Delta)) or is_binder(expr):
        return S.Zero
    if not expr.has(variable):
        return S.Zero
    if isinstance(expr, Add):
        return Add(*(derivative(a, variable, None, infinite) for a in expr.args))
    if isinstance(expr, Mul):
        terms = []
        for k, factor in enumerate(expr.args):
            inner = derivative(factor, variable, own if len(expr.args) == 1 else None, infinite)
            if inner != 0:
                terms.append(Mul(inner, *expr.args[:k], *expr.args[k + 1 :]))
        return Add(*terms)
    if isinstance(expr, Pow):
        return _power(expr, variable, own, infinite)
    if isinstance(expr, Where):
        condition, a, b = expr.args
        if own is not None and condition == Gt(a, S.Zero) and b == 0:  # relu, written out
            condition = Gt(own, S.Zero)
        return Where(condition, derivative(a, variable, None, infinite), derivative(b, variable, None, infinite))
    row = BY_CLASS.get(type(expr))
    assert row is not None, type(expr)
    value = expr if own is None else own
    partials = row.partials(expr.args, value)
    if row.at_infinity is not None and frozenset.intersection(*(signs(a, infinite) for a in expr.args)):
        partials = row.at_infinity(expr.args, value)
    if isinstance(expr, Relu) and own is not None:
        partials = (Gt(own, S.Zero),)  # the same truth value, of a number that is already there
    inner = [derivative(a, variable, None, infinite) for a in expr.args]
    return Add(*(p * i for p, i in zip(partials, inner, strict=True) if p != 0 and i != 0))


def _power(expr: Pow, variable: Expr, own: Expr | None, infinite: Infinities) -> Expr:
    base, exponent = expr.args
    if exponent.is_number and exponent > 1:
        # relu(x)**p with p > 1: relu(x)**(p - 1) is 0 where the derivative of relu is.
        inner = derivative(_positive_part(base) or base, variable, None, infinite)
    else:
        inner = derivative(base, variable, None, infinite)
    terms = []
    if inner != 0:
        terms.append(inner * exponent * _lowered(base, exponent, own))
    outer = derivative(exponent, variable, None, infinite)
    if outer != 0:
        terms.append(outer * log(base) * (expr if own is None else own))
    return Add(*terms)


def _positive_part(expr: Expr) -> Expr | None:
    """Return ``x`` of ``relu(x)`` or ``maximum(x, 0)``."""
    if isinstance(expr, Relu):
        return expr.args[0]
    if isinstance(expr, Maximum) and S.Zero in expr.args:
        return next((a for a in expr.args if a != 0), None)
    return None


_THROUGH_OWN: dict[Expr, Integer] = {
    # base^(p-1) as a power of own = base^p
    Rational(-1, 2): Integer(3),
    S.Half: Integer(-1),
    S.NegativeOne: Integer(2),
}


def _lowered(base: Expr, exponent: Expr, own: Expr | None) -> Expr:
    if own is not None and exponent in _THROUGH_OWN:
        return own ** _THROUGH_OWN[exponent]
    if not exponent.is_number and exponent.is_integer and exponent.is_nonnegative and not exponent.is_positive:
        # x**j of an index j: j*x**(j - 1) is 0 at j = 0, also where x is 0.
        return base ** Maximum(exponent - 1, S.Zero)
    return base ** (exponent - 1)

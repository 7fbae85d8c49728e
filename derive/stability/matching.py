"""Recognising parts of an expression: sets of terms and factors, and equality up to bound letters.

``exp(z[n, c])`` is a summand of ``sum[k](exp(z[n, k]))`` at ``k = c``;
:func:`place` finds that ``c``. It matches a *body* with bound indices against
an expression by reading off the subscripts that stand in their places, and
then compares both up to the letters of inner sums (:func:`alpha`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import product

from sympy import Abs, Add, Expr, Mul, Pow, Rational, S, cosh, exp, log, sqrt

from derive.algebra.functions import BY_CLASS, Erfc, LogCosh, LogSigmoid, Relu, Sigmoid, Softplus, Where
from derive.algebra.indices import free_indices, is_binder, substitute
from derive.algebra.nodes import (
    Element,
    Index,
    KeepingReduction,
    Kind,
    LogSoftmax,
    LogSumExp,
    Mean,
    Norm,
    Prod,
    Softmax,
    Std,
    Sum,
    Var,
)

__all__ = [
    "alpha",
    "depends",
    "difference",
    "exponential_part",
    "factors",
    "is_positive",
    "kept",
    "log_of",
    "log_sum",
    "masked_exponential",
    "place",
    "plain_log",
    "positive_log",
    "root_of_square",
    "same",
    "sum_over",
    "terms",
]

_CHOICES = 64


def terms(expr: Expr) -> tuple[Expr, ...]:
    """Return the terms of a sum ``a + b``; anything else is its own only term."""
    return tuple(Add.make_args(expr))


def factors(expr: Expr) -> tuple[Expr, ...]:
    """Return the factors of a product; anything else is its own only factor."""
    return tuple(Mul.make_args(expr))


@lru_cache(maxsize=65536)
def alpha(expr: Expr) -> Expr:
    """Return ``expr`` with bound letters by a fixed scheme: equal up to letters means equal after it."""
    if not expr.args or not _binds(expr):
        return expr
    if is_binder(expr):
        body = alpha(expr.body)
        level = _level(body)
        renames = {i: Index(f"_{level}_{k}", i.size) for k, i in enumerate(expr.indices)}
        body = substitute(body, renames)
        bound = tuple(renames.values())
        if isinstance(expr, KeepingReduction):
            return expr.func(body, bound, tuple(alpha(a) for a in expr.at))
        return expr.func(body, *bound)
    return expr.func(*map(alpha, expr.args))


@lru_cache(maxsize=65536)
def _binds(expr: Expr) -> bool:
    return is_binder(expr) or any(map(_binds, expr.args))


def _level(expr: Expr) -> int:
    """One more than the deepest nesting of binders in ``expr``."""
    inner = max((_level(a) for a in expr.args), default=0)
    return inner + 1 if is_binder(expr) else inner


def same(a: Expr, b: Expr) -> bool:
    """Return whether two expressions are equal up to the letters of bound indices."""
    return a == b or bool(alpha(a) == alpha(b))


def place(body: Expr, bound: Sequence[Index], target: Expr) -> dict[Index, Expr] | None:
    """Return expressions for ``bound`` with which ``body`` becomes ``target``, or None.

    Only what stands in ``target`` at a place of the bound index (as a
    subscript), or a free index of the same range, is tried.
    """
    if _values(body) != _values(target):
        return None
    for choice in _choices(body, bound, target):
        if same(substitute(body, choice), target):
            return choice
    return None


def _choices(body: Expr, bound: Sequence[Index], target: Expr) -> Iterator[dict[Index, Expr]]:
    if not bound:
        yield {}
        return
    free = free_indices(target)
    read: dict[tuple[str, int], list[Expr]] = {}
    for node in _nodes(target):
        if isinstance(node, Element):
            for axis, subscript in enumerate(node.subscripts):
                if free_indices(subscript) <= free:
                    read.setdefault((node.name, axis), []).append(subscript)
    candidates: list[dict[Expr, None]] = []
    for index in bound:
        mine: dict[Expr, None] = {}
        for node in _nodes(body):
            if isinstance(node, Element):
                for axis, subscript in enumerate(node.subscripts):
                    if subscript == index:
                        mine.update(dict.fromkeys(read.get((node.name, axis), ())))
        mine.update(dict.fromkeys(i for i in sorted(free, key=str) if i.size == index.size))
        candidates.append(mine)
    for number, choice in enumerate(product(*candidates)):
        if number == _CHOICES:
            return
        yield dict(zip(bound, choice, strict=True))


@lru_cache(maxsize=65536)
def _values(expr: Expr) -> frozenset[str]:
    """The names of the tensors whose values are read, those in subscripts aside."""
    if isinstance(expr, Element):
        return frozenset((expr.name,))
    return frozenset().union(*map(_values, expr.args))


def _nodes(expr: Expr) -> Iterator[Expr]:
    yield expr
    for arg in expr.args:
        yield from _nodes(arg)


def depends(expr: Expr, bound: Iterable[Index]) -> bool:
    """Return whether any of the indices is free in ``expr``."""
    return not free_indices(expr).isdisjoint(bound)


def difference(body: Expr, bound: Sequence[Index], target: Expr) -> tuple[dict[Index, Expr], Expr] | None:
    """Return where ``bound`` is read and ``target - body`` there, if their dependent terms agree.

    ``z[n, k] - m[n]`` and ``z[n, c]`` give ``{k: c}`` and ``m[n]``. None where
    the terms of ``body`` that depend on ``bound`` are not among ``target``'s.
    """
    moving = [t for t in terms(body) if depends(t, bound)]
    if not moving:
        return None
    key = moving[0]
    for term in terms(target):
        if _values(term) != _values(key):
            continue
        for choice in _choices(Add(*moving), bound, target):
            if not same(substitute(key, choice), term):
                continue
            rest = _less(target, substitute(body, choice))
            if _length(rest) <= len(terms(target)) + len(terms(body)) - 2 * len(moving):
                return choice, rest
    return None


def _length(expr: Expr) -> int:
    return 0 if expr == 0 else len(terms(expr))


def _less(a: Expr, b: Expr) -> Expr:
    """``a - b``, with terms that agree up to bound letters cancelled."""
    left = list(terms(a))
    taken: list[Expr] = []
    for term in terms(b):
        match = next((t for t in left if same(t, term)), None)
        if match is None:
            taken.append(term)
        else:
            left.remove(match)
    return Add(*left) - Add(*taken)


def kept(cls: type[KeepingReduction], body: Expr, bound: Sequence[Index], choice: Mapping[Index, Expr]) -> Expr:
    """Return the softmax (or log-softmax) of ``body`` read at ``choice``, in the letter it is read at if possible."""
    at = tuple(choice[i] for i in bound)
    plain = [a for a in at if isinstance(a, Index) and (a in bound or a not in free_indices(body))]
    if len(plain) == len(bound) == len(set(plain)):
        return cls(substitute(body, dict(choice)), at, at)
    return cls(body, bound, at)


def sum_over(expr: Expr) -> tuple[Expr, Expr, tuple[Index, ...]] | None:
    """Return ``(factor, body, bound)`` with ``expr = factor · sum[bound](body)``: sums, means, nested ones."""
    if not isinstance(expr, (Sum, Mean)):
        return None
    factor = S.One if isinstance(expr, Sum) else 1 / expr.count
    body, bound = expr.body, expr.indices
    inner = sum_over(body)
    if inner is not None and free_indices(inner[0]).isdisjoint(bound) and not set(inner[2]) & set(bound):
        return factor * inner[0], inner[1], (*bound, *inner[2])
    return factor, body, bound


def exponential_part(expr: Expr) -> tuple[Expr, Expr] | None:
    """Return ``(exponent, rest)`` with ``expr = rest · exp(exponent)``, or None where there is no exp."""
    exponents = [f.exp for f in factors(expr) if isinstance(f, exp)]
    if not exponents:
        return None
    return Add(*exponents), Mul(*(f for f in factors(expr) if not isinstance(f, exp)))


def masked_exponential(expr: Expr) -> tuple[Expr, Expr] | None:
    """``mask·w·exp(a)`` or ``where(mask, w·exp(a), 0)`` as the exponent ``where(mask, a, -inf)`` and ``w``."""
    masks: list[Expr] = []
    plain: list[Expr] = []
    for factor in factors(expr):
        if isinstance(factor, Where) and factor.args[2] == 0:
            masks.append(factor.args[0])
            plain.extend(factors(factor.args[1]))
        elif _is_truth(factor):
            masks.append(factor)
        else:
            plain.append(factor)
    split = exponential_part(Mul(*plain))
    if split is None or not masks:
        return None
    exponent = split[0]
    for mask in masks:
        exponent = Where(mask, exponent, S.NegativeInfinity)
    return exponent, split[1]


def _is_truth(expr: Expr) -> bool:
    """Whether the value is 0 or 1: a mask's element, a comparison."""
    if isinstance(expr, Element):
        return expr.kind is Kind.BOOL
    row = BY_CLASS.get(type(expr))
    return row is not None and row.infix and row.name not in ("//", "%")


def is_positive(expr: Expr) -> bool:
    """Return whether ``expr`` is known to be above 0 (as a real number).

    SymPy's assumptions know this too, but take milliseconds for a sum.
    """
    if isinstance(expr, Element) or not expr.args:
        return bool(expr.is_extended_positive)
    if isinstance(expr, (exp, cosh, Softmax, Sigmoid, Softplus, Erfc)):
        return True
    if isinstance(expr, (Sum, Mean, Prod)):
        return is_positive(expr.body)
    if isinstance(expr, Mul):
        return all(map(is_positive, expr.args))
    if isinstance(expr, Add):
        return all(map(_is_nonnegative, expr.args)) and any(map(is_positive, expr.args))
    return isinstance(expr, Pow) and is_positive(expr.base)


def _is_nonnegative(expr: Expr) -> bool:
    if isinstance(expr, (Abs, Norm, Relu, Var, Std)) or is_positive(expr):
        return True
    if isinstance(expr, (Sum, Mean, Prod)):
        return _is_nonnegative(expr.body)
    if isinstance(expr, Mul):
        return all(map(_is_nonnegative, expr.args))
    return isinstance(expr, Pow) and expr.exp.is_number and (expr.exp.is_even or not expr.exp.is_integer)


def log_of(expr: Expr) -> Expr | None:
    """Return a stable form of ``log(expr)`` if ``expr`` is a positive quantity made of exponentials, else None."""
    if isinstance(expr, exp):
        return expr.exp
    if isinstance(expr, Softmax):
        return LogSoftmax(*expr.args)
    if isinstance(expr, Sigmoid):
        return LogSigmoid(*expr.args)
    if isinstance(expr, cosh):
        return LogCosh(*expr.args)
    if isinstance(expr, (Sum, Mean)):
        return log_sum(expr)
    if isinstance(expr, Pow):
        inner = log_of(expr.base)
        return None if inner is None else expr.exp * inner
    if isinstance(expr, Mul):
        logs = {f: log_of(f) for f in expr.args}
        known = [value for value in logs.values() if value is not None]
        rest = Mul(*(f for f, value in logs.items() if value is None))
        return Add(*known, plain_log(rest)) if known and is_positive(rest) else None
    if isinstance(expr, Add):
        return _log_of_terms(expr)
    return None


def _log_of_terms(expr: Add) -> Expr | None:
    """``log(a + b + …)`` of positive terms of which one is an exponential: ``la + softplus(lb - la)``.

    A term may be masked, ``where(m, exp(b), 0)``. Where no term grows, but each could underflow (two softmaxes), it
    is taken in the same way. The first
    logarithm, ``la``, is one that is not -inf, as that of a sum is whose every term is masked.
    """
    logs = [value for value in map(_log_of_term, expr.args) if value is not None]
    if len(logs) < len(expr.args):
        return None
    if not any(map(_grows, expr.args)) and any(log_of(a) is None for a in expr.args):
        return None
    total, *others = sorted(logs, key=lambda value: (value.has(S.NegativeInfinity), not value.is_number, str(value)))
    for other in others:
        total = total + Softplus(other - total)
    return total


def _log_of_term(expr: Expr) -> Expr | None:
    """``log(expr)`` of a term that is positive, or 0 where a mask drops it: -inf there."""
    known = positive_log(expr)
    split = masked_exponential(expr) if known is None else None
    if split is None:
        return known
    weight = positive_log(split[1])
    return None if weight is None else split[0] + weight


def _grows(expr: Expr) -> bool:
    """Whether an exponential (or a sum of them) is a factor."""
    if isinstance(expr, (exp, cosh)):
        return True
    if isinstance(expr, (Sum, Mean)):
        return _grows(expr.body)
    if isinstance(expr, Where):
        return expr.args[2] == 0 and _grows(expr.args[1])
    return isinstance(expr, Mul) and any(map(_grows, expr.args))


def plain_log(expr: Expr) -> Expr:
    """Return ``log(expr)`` of a positive expression, ``-log(b)`` for ``1/b``."""
    if isinstance(expr, Pow) and expr.exp == -1:
        return -log(expr.base)
    return log(expr)


def positive_log(expr: Expr) -> Expr | None:
    """Return ``log(expr)`` of a positive expression, stable where it can be; None where it may not be positive."""
    known = log_of(expr)
    if known is not None:
        return known
    return plain_log(expr) if is_positive(expr) else None


def log_sum(expr: Expr) -> Expr | None:
    """Return ``log(sum(w·exp(a)))`` as a logsumexp, or None: no exp, or a weight that may not be positive."""
    found = sum_over(expr)
    if found is None:
        return None
    factor, body, bound = found
    if not _grows(body) or isinstance(body, cosh):
        return None
    split = masked_exponential(body) or exponential_part(body)
    if split is None:
        return None
    exponent, weight = split
    weight_log = positive_log(weight)
    if weight_log is None:
        return None
    return LogSumExp(exponent + weight_log, *bound) + plain_log(factor)


def root_of_square(expr: Expr) -> tuple[Expr, Expr] | None:
    """Return ``(a, c)`` with ``expr = c · a**2``, ``c`` a positive number, or None."""
    if isinstance(expr, Where):
        condition, *branches = expr.args
        roots = [(S.Zero, S.One) if b == 0 else root_of_square(b) for b in branches]
        if S.Zero not in branches or any(r is None for r in roots):
            return None
        number = max(r[1] for r in roots if r is not None)
        return Where(condition, *(r[0] for r in roots if r is not None)), number
    number, rest = expr.as_coeff_Mul()
    if not number.is_positive or rest is S.One:
        return None
    parts = []
    for factor in factors(rest):
        if _is_truth(factor) and factor is not rest:
            parts.append(factor)  # 0 and 1 are their own squares
            continue
        if not (isinstance(factor, Pow) and factor.exp.is_Integer and factor.exp.is_even):
            return None
        parts.append(Pow(factor.base, factor.exp / 2))
    root = sqrt(number)
    if isinstance(root, Rational):
        return root * Mul(*parts), S.One
    return Mul(*parts), number

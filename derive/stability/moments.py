"""Norms and variances: roots of sums of squares, and differences of means of squares.

    sqrt(sum[i](x[i]**2))            → norm[i](x[i])             gradient 0 at 0, not 0/0
    var[n](x[n])                     → mean[n]((x[n] - mu)**2)   mu is a statement of its own
    mean[n](x[n]**2) - mu**2         → mean[n]((x[n] - mu)**2)   no cancellation where |mu| is large

Sums divided by the number of terms, and by one less (Bessel's correction), are
the same rule. A root with something added inside (``sqrt(var + eps)``) is left
as it is.
"""

from __future__ import annotations

from sympy import Add, Expr, Mul, Pow, S, sqrt

from derive.algebra.indices import substitute
from derive.algebra.letters import readable
from derive.algebra.nodes import Index, Mean, Norm, Reduction, Std, Sum, Var
from derive.stability.matching import factors, root_of_square, same
from derive.stability.rule import Rule, rule

__all__ = ["MOMENTS", "NORMS"]


@rule(Pow)
def root_of_sum_of_squares(e: Expr) -> Expr | None:
    """sqrt(sum[i](x[i]**2)) = norm[i](x[i])

    Why: the derivative of the root is 0/0 where all x are 0; the norm's is 0 there.
    Holds: every real x.
    """
    base, exponent = e.args
    if not (isinstance(base, Sum) and exponent.is_Rational and exponent.q == 2):
        return None
    square = root_of_square(base.body)
    if square is None:
        return None
    root, number = square
    return (sqrt(number) * Norm(root, *base.indices)) ** (2 * exponent)


@rule(Var)
def variance(e: Expr) -> Expr | None:
    """var[n](x[n]) = mean[n]((x[n] - mean[m](x[m]))**2)

    Why: the mean is subtracted before squaring, so nothing cancels, and the mean is computed once.
    Holds: every real x.
    """
    return readable(Mean(_deviation(e) ** 2, *e.indices))


@rule(Std)
def standard_deviation(e: Expr) -> Expr | None:
    """std[n](x[n]) = sqrt(mean[n]((x[n] - mean[m](x[m]))**2))

    Why: the mean is subtracted before squaring, so nothing cancels, and the mean is computed once.
    Holds: every real x.
    """
    return sqrt(readable(Mean(_deviation(e) ** 2, *e.indices)))


def _deviation(e: Reduction) -> Expr:
    return e.body - _mean(e.body, e.indices)


def _mean(body: Expr, indices: tuple[Index, ...]) -> Expr:
    """The mean of ``body`` with letters of its own, so that it may stand inside a reduction over ``indices``."""
    letters = {i: Index(i.name + "'", i.size) for i in indices}
    return Mean(substitute(body, letters), *letters.values())


@rule(Add)
def mean_square_less_squared_mean(e: Expr) -> Expr | None:
    """mean[n](x[n]**2) - mean[n](x[n])**2 = mean[n]((x[n] - mean[m](x[m]))**2)

    Why: where the mean is large against the deviation, the difference of two large squares loses all digits.
    Holds: every real x; also as sums, divided by N or by N - 1.
    Source: Chan, Golub & LeVeque, "Algorithms for Computing the Sample Variance", 1983.
    """
    for term in e.args:
        for reduction in factors(term):
            if not isinstance(reduction, (Mean, Sum)):
                continue
            square = root_of_square(reduction.body)
            if square is None:
                continue
            root, number = square
            # in multiples of mean[n](root**2)
            weight = number * term / reduction * (reduction.count if isinstance(reduction, Sum) else 1)
            own = Mean(root, *reduction.indices)
            for other in e.args:
                if other is not term and weight + (_multiple_of_square(other, own) or S.Zero) == 0:
                    rest = Add(*(t for t in e.args if t is not term and t is not other))
                    body = number * (root - _mean(root, reduction.indices)) ** 2
                    return rest + term / reduction * readable(reduction.func(body, *reduction.indices))
    return None


@rule(Add)
def mean_product_less_product_of_means(e: Expr) -> Expr | None:
    """mean[n](x[n]*y[n]) - mean[n](x[n])*mean[n](y[n]) = mean[n]((x[n] - mean[m](x[m]))*(y[n] - mean[m](y[m])))

    Why: where the means are large against the deviations, the difference of two large products loses all digits.
    Holds: every real x and y.
    """
    for other in e.args:
        means = [f for f in factors(other) if isinstance(f, Mean)]
        if len(means) != 2:
            continue
        scale = Mul(*(f for f in factors(other) if f not in means))
        for term in e.args:
            own = next((f for f in factors(term) if isinstance(f, Mean)), None)
            if own is None or term is other or term / own + scale != 0:
                continue
            first, second = (_in_letters(m, own.indices) for m in means)
            if first is not None and second is not None and same(own.body, first * second):
                body = (first - _mean(first, own.indices)) * (second - _mean(second, own.indices))
                rest = Add(*(t for t in e.args if t is not term and t is not other))
                return rest + term / own * readable(Mean(body, *own.indices))
    return None


def _in_letters(mean: Mean, indices: tuple[Index, ...]) -> Expr | None:
    """The body of ``mean`` written with other bound letters; None where the ranges differ."""
    if [i.size for i in mean.indices] != [i.size for i in indices]:
        return None
    return substitute(mean.body, dict(zip(mean.indices, indices, strict=True)))


def _multiple_of_square(expr: Expr, mean: Mean) -> Expr | None:
    """``w`` with ``expr = w·mean**2``, where the mean may be a sum divided by the count; else None."""
    for factor in factors(expr):
        if not (isinstance(factor, Pow) and factor.exp == 2 and isinstance(factor.base, (Mean, Sum))):
            continue
        weight = Mul(*(f for f in factors(expr) if f is not factor))
        if same(Mean(*factor.base.args), mean):
            return weight * factor.base.count**2 if isinstance(factor.base, Sum) else weight
    return None


NORMS: tuple[Rule, ...] = (root_of_sum_of_squares,)

MOMENTS: tuple[Rule, ...] = (
    variance,
    standard_deviation,
    mean_square_less_squared_mean,
    mean_product_less_product_of_means,
)

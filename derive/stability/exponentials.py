"""Logarithms and quotients of sums of exponentials: logsumexp, softmax, log-softmax.

    log(sum[k](exp(z[n, k])))                  → logsumexp[k](z[n, k])
    exp(z[n, c]) / sum[k](exp(z[n, k]))        → softmax[c](z[n, c])
    z[n, c] - logsumexp[k](z[n, k])            → log_softmax[c](z[n, c])

Sums over several indices, means, nested sums, positive weights (their
logarithm moves inside), masks, a gather at the place that is read, and
further factors are all handled. A maximum that the user subtracted is
recognised as a shift that cancels.
"""

from __future__ import annotations

from sympy import Abs, Add, Expr, Mul, Pow, S, exp, log

from derive.algebra.functions import LogAddExp, LogSigmoid, Maximum, Relu, Sigmoid, Softplus, StopGradient
from derive.algebra.indices import free_indices, fresh, names, substitute
from derive.algebra.nodes import (
    Index,
    KeepingReduction,
    LogSoftmax,
    LogSumExp,
    Max,
    Mean,
    Min,
    Prod,
    Softmax,
    Sum,
)
from derive.stability.matching import (
    depends,
    difference,
    exponential_part,
    factors,
    is_positive,
    kept,
    log_of,
    log_sum,
    masked_exponential,
    plain_log,
    positive_log,
    same,
    sum_over,
    terms,
)
from derive.stability.rule import Rule, rule

__all__ = ["LOGARITHMS", "QUOTIENTS", "REMAINING_QUOTIENTS", "SHIFTS"]


# Logarithms


@rule(log)
def log_of_sum_of_exponentials(e: Expr) -> Expr | None:
    """log(sum[k](exp(a[k]))) = logsumexp[k](a[k])

    Why: exp overflows above 709, with the maximum subtracted first no term exceeds 1.
    Holds: every real a.
    Source: Blanchard, Higham & Higham, "Accurately Computing the Log-Sum-Exp and Softmax Functions", 2021.
    """
    return log_sum(e.args[0]) if isinstance(e.args[0], Sum) and _weight(e.args[0]) == 1 else None


@rule(log)
def log_of_mean_of_exponentials(e: Expr) -> Expr | None:
    """log(mean[k](exp(a[k]))) = logsumexp[k](a[k]) - log(K)

    Why: exp overflows above 709, with the maximum subtracted first no term exceeds 1.
    Holds: every real a; K is the number of terms.
    """
    return log_sum(e.args[0]) if isinstance(e.args[0], Mean) else None


@rule(log)
def log_of_weighted_sum_of_exponentials(e: Expr) -> Expr | None:
    """log(sum[k](w[k]*exp(a[k]))) = logsumexp[k](a[k] + log(w[k]))

    Why: exp overflows above 709, with the maximum subtracted first no term exceeds 1.
    Holds: w > 0.
    """
    return log_sum(e.args[0]) if isinstance(e.args[0], Sum) and _weight(e.args[0]) not in (None, 1) else None


def _weight(expr: Sum) -> Expr | None:
    found = sum_over(expr)
    split = exponential_part(found[1]) if found else None
    return split[1] if split else None


@rule(log)
def log_of_masked_sum_of_exponentials(e: Expr) -> Expr | None:
    """log(sum[k](where(m[k], exp(a[k]), 0))) = logsumexp[k](where(m[k], a[k], -inf))

    Why: exp overflows above 709, with the maximum subtracted first no term exceeds 1.
    Holds: every real a and every mask m; a comparison that multiplies the exponential is a mask too.
    """
    body = e.args[0]
    found = sum_over(body)
    return log_sum(body) if found and masked_exponential(found[1]) is not None else None


@rule(log)
def log_of_softmax(e: Expr) -> Expr | None:
    """log(softmax[c](a[c])) = log_softmax[c](a[c])

    Why: a small softmax underflows to 0, whose logarithm is -inf.
    Holds: every real a.
    """
    return log_of(e.args[0]) if isinstance(e.args[0], Softmax) else None


@rule(log)
def log_of_sum_with_exponential(e: Expr) -> Expr | None:
    """log(exp(a) + exp(b)) = a + softplus(b - a)

    Why: exp overflows above 709 where its logarithm is an ordinary number.
    Holds: every real a and b; any positive terms of which one is an exponential.
    """
    return log_of(e.args[0]) if isinstance(e.args[0], Add) else None


@rule(log)
def log_of_product_with_exponential(e: Expr) -> Expr | None:
    """log(p*exp(a)) = a + log(p)

    Why: the exponential overflows or underflows where its logarithm is an ordinary number.
    Holds: p > 0; also for a softmax, a sigmoid or a sum of exponentials in place of exp(a).
    """
    if not isinstance(e.args[0], (Mul, exp)):
        return None
    logs = {f: log_of(f) for f in factors(e.args[0])}
    known = [value for value in logs.values() if value is not None]
    rest = Mul(*(f for f, value in logs.items() if value is None))
    return Add(*known, plain_log(rest)) if known else None


@rule(log)
def log_of_power_of_exponentials(e: Expr) -> Expr | None:
    """log(1/sum[k](exp(a[k]))) = -logsumexp[k](a[k])

    Why: the sum overflows where its logarithm is an ordinary number.
    Holds: every real a; any power of anything whose logarithm has a stable form.
    """
    return log_of(e.args[0]) if isinstance(e.args[0], Pow) else None


@rule(log)
def log_of_prod(e: Expr) -> Expr | None:
    """log(prod[n](p[n])) = sum[n](log(p[n]))

    Why: a product of many probabilities underflows to 0.
    Holds: p > 0.
    """
    body = e.args[0]
    if isinstance(body, Prod) and is_positive(body.body):
        return Sum(log(body.body), *body.indices)
    return None


@rule(exp)
def exp_of_log_softmax(e: Expr) -> Expr | None:
    """exp(log_softmax[c](a[c])) = softmax[c](a[c])

    Why: the softmax is computed directly, without going through a logarithm.
    Holds: every real a.
    """
    return Softmax(*e.exp.args) if isinstance(e.exp, LogSoftmax) else None


# Quotients


@rule(Mul)
def softmax_quotient(e: Expr) -> Expr | None:
    """exp(a[c])/sum[k](exp(a[k])) = softmax[c](a[c])

    Why: inf/inf where an exponential overflows, with the maximum subtracted first no term exceeds 1.
    Holds: every real a.
    Source: Blanchard, Higham & Higham, "Accurately Computing the Log-Sum-Exp and Softmax Functions", 2021.
    """
    for divisor in _divisors(e):
        rest = Mul(*(f for f in e.args if f is not divisor))
        new = _over_exponentials(rest, divisor.base)
        if new is not None:
            return new
    return None


@rule(Mul)
def softmax_weighted_sum(e: Expr) -> Expr | None:
    """sum[k](exp(a[k])*v[k])/sum[j](exp(a[j])) = sum[k](softmax[k](a[k])*v[k])

    Why: inf/inf where an exponential overflows, with the maximum subtracted first no term exceeds 1.
    Holds: every real a.
    """
    for divisor in _divisors(e):
        for factor in e.args:
            if not isinstance(factor, (Sum, Mean)) or not factor.has(exp):
                continue
            clash = {i.name for i in free_indices(divisor)}
            taken = clash | {i.name for i in free_indices(factor.body)}
            renames: dict[Expr, Expr] = {i: fresh(i, taken) for i in factor.indices if i.name in clash}
            body = substitute(factor.body, renames)
            bound = tuple(renames.get(i, i) for i in factor.indices)
            new = _over_exponentials(body, divisor.base)
            if new is not None:
                others = Mul(*(f for f in e.args if f is not divisor and f is not factor))
                return others * factor.func(new, *bound)
    return None


@rule(Mul)
def softmax_with_further_terms(e: Expr) -> Expr | None:
    """exp(a[c])/(b + sum[k](exp(a[k]))) = softmax[c](a[c])*sigmoid(logsumexp[k](a[k]) - log(b))

    Why: inf/inf where an exponential overflows.
    Holds: every real a, and b > 0; also for a weighted sum of the exponentials above.
    """
    for divisor in e.args:
        if not (isinstance(divisor, Pow) and divisor.exp == -1 and isinstance(divisor.base, Add)):
            continue
        for term in divisor.base.args:
            if not (isinstance(term, (Sum, Mean)) and term.has(exp)):
                continue
            own = log_of(term)
            other = positive_log(Add(*(t for t in divisor.base.args if t is not term)))
            if own is None or other is None:
                continue
            quotient = Mul(*(f for f in e.args if f is not divisor), 1 / term)
            new = softmax_quotient.apply(quotient) or softmax_weighted_sum.apply(quotient)
            if new is not None:
                return new * Sigmoid(own - other)
    return None


def _divisors(e: Expr) -> list[Pow]:
    """The factors ``1/sum(…exp…)``."""
    inverse = [f for f in e.args if isinstance(f, Pow) and f.exp == -1]
    return [f for f in inverse if isinstance(f.base, (Sum, Mean)) and f.base.has(exp)]


def _over_exponentials(numerator: Expr, divisor: Expr) -> Expr | None:
    """``numerator / divisor`` as a softmax times what is left, or None."""
    found = sum_over(divisor)
    assert found is not None
    scale, body, bound = found
    for split in (exponential_part, masked_exponential):
        below, above = split(body), split(numerator)
        if below is None or above is None:
            continue
        matched = difference(below[0], bound, above[0])
        if matched is None:
            continue
        choice, shift = matched
        exponent, left = below[0], list(factors(above[1]))
        weight = below[1]
        if weight != 1:
            weight_log = positive_log(weight)
            if weight_log is None:
                continue
            exponent = exponent + weight_log
            for factor in factors(substitute(weight, choice)):
                inside = next((f for f in left if same(f, factor)), None)
                if inside is None:
                    left.append(1 / factor)
                else:
                    left.remove(inside)
        return Mul(*left) * exp(shift) * kept(Softmax, exponent, bound, choice) / scale
    return None


@rule(Mul)
def sigmoid_quotient(e: Expr) -> Expr | None:
    """exp(a)/(exp(a) + exp(b)) = sigmoid(a - b)

    Why: inf/inf where an exponential overflows.
    Holds: every real a and b; any positive terms, at least one of them an exponential.
    """
    for divisor in e.args:
        if not (isinstance(divisor, Pow) and divisor.exp == -1 and isinstance(divisor.base, Add)):
            continue
        if log_of(divisor.base) is None:
            continue
        for factor in e.args:
            own = log_of(factor) if factor is not divisor else None
            if own is None:
                continue
            others = [t for t in divisor.base.args if not same(t, factor)]
            if len(others) == len(divisor.base.args) - 1:
                other = positive_log(Add(*others))
                if other is not None:
                    rest = Mul(*(f for f in e.args if f is not factor and f is not divisor))
                    return rest * Sigmoid(own - other)
    return None


@rule(Pow)
def reciprocal_of_sum_with_exponential(e: Expr) -> Expr | None:
    """1/(1 + exp(x)) = sigmoid(-x)

    Why: the exponential overflows, and the derivative becomes inf/inf.
    Holds: every real x; with another positive constant c, 1/(c + exp(x)) = sigmoid(log(c) - x)/c.
    """
    base, exponent = e.args
    if not (isinstance(base, Add) and exponent.is_Integer and exponent.is_negative):
        return None
    growing = [t for t in base.args if exponential_part(t) is not None]
    constant = Add(*(t for t in base.args if exponential_part(t) is None))
    if len(growing) != 1 or not constant.is_number or not constant.is_positive:
        return None
    own = log_of(growing[0])
    if own is None:
        return None
    return Sigmoid(log(constant) - own) ** (-exponent) * constant**exponent


@rule(Mul)
def exponential_times_sigmoid(e: Expr) -> Expr | None:
    """exp(x)*sigmoid(-x) = sigmoid(x)

    Why: inf*0 where the exponential overflows.
    Holds: every real x.
    """
    for power in e.args:
        sigmoid, count = power.as_base_exp()
        if not (isinstance(sigmoid, Sigmoid) and count.is_Integer and count.is_positive):
            continue
        x = sigmoid.args[0]
        for factor in e.args:
            if isinstance(factor, exp) and len(terms(factor.exp + x)) < len(terms(factor.exp)) + (factor.exp + x == 0):
                rest = Mul(*(f for f in e.args if f is not factor and f is not power))
                return rest * exp(factor.exp + x) * Sigmoid(-x) * sigmoid ** (count - 1)
    return None


@rule(Mul)
def product_of_exponentials(e: Expr) -> Expr | None:
    """exp(a)*exp(-b) = exp(a - b)

    Why: inf*0 where the first overflows and the second underflows.
    Holds: every real a and b.
    """
    powers = [f for f in e.args if isinstance(f, exp)]
    if len(powers) < 2 or not any(t.could_extract_minus_sign() for f in powers for t in terms(f.exp)):
        return None
    return Mul(*(f for f in e.args if not isinstance(f, exp))) * exp(Add(*(f.exp for f in powers)))


@rule(Mul)
def quotient_of_exponentials(e: Expr) -> Expr | None:
    """exp(a)/sum[k](exp(b[k])) = exp(a - logsumexp[k](b[k]))

    Why: inf/inf where both overflow.
    Holds: every real a and b.
    """
    numerator = [f for f in e.args if isinstance(f, exp)]
    if not numerator:
        return None
    for divisor in e.args:
        if isinstance(divisor, Pow) and divisor.exp == -1:
            below = log_of(divisor.base)
            if below is not None and divisor.base.has(exp):
                rest = Mul(*(f for f in e.args if f is not numerator[0] and f is not divisor))
                return rest * exp(numerator[0].exp - below)
    return None


# Differences and shifts


@rule(Add)
def less_its_logsumexp(e: Expr) -> Expr | None:
    """a[c] - logsumexp[k](a[k]) = log_softmax[c](a[c])

    Why: where a is large the difference of two large numbers loses digits, and its derivative is simpler.
    Holds: every real a.
    """
    for term in e.args:
        weight, lse = term.as_coeff_Mul()
        if not (isinstance(lse, LogSumExp) and weight.is_number and weight != 0):
            continue
        # e = others + weight·lse = -weight·(target - lse)
        target = Add(*(-t / weight for t in e.args if t is not term))
        matched = difference(lse.body, lse.indices, target)
        if matched is not None:
            choice, rest = matched
            return -weight * (kept(LogSoftmax, lse.body, lse.indices, choice) + rest)
    return None


def _is_maximum(expr: Expr) -> bool:
    """Whether the value is a maximum (or minimum), as one subtracts before exponentials."""
    inner = expr.args[0] if isinstance(expr, StopGradient) else expr
    return isinstance(inner, (Max, Min))


def _maxima(body: Expr, bound: tuple[Index, ...]) -> Expr:
    """The terms of ``body`` that are maxima and the same for all ``bound``."""
    return Add(*(t for t in terms(body) if _is_maximum(t.as_coeff_Mul()[1]) and not depends(t, bound)))


@rule(Softmax)
def softmax_less_maximum(e: Expr) -> Expr | None:
    """softmax[c](a[c] - max[k](a[k])) = softmax[c](a[c])

    Why: what is subtracted from all terms cancels, and the softmax subtracts the maximum itself.
    Holds: every real a.
    """
    return _without_maxima(e)


@rule(LogSoftmax)
def log_softmax_less_maximum(e: Expr) -> Expr | None:
    """log_softmax[c](a[c] - max[k](a[k])) = log_softmax[c](a[c])

    Why: what is subtracted from all terms cancels, and the log-softmax subtracts the maximum itself.
    Holds: every real a.
    """
    return _without_maxima(e)


def _without_maxima(e: Expr) -> Expr | None:
    assert isinstance(e, KeepingReduction)
    shift = _maxima(e.body, e.indices)
    return None if shift == 0 else e.func(e.body - shift, e.indices, e.at)


@rule(Add)
def logsumexp_less_maximum(e: Expr) -> Expr | None:
    """b + logsumexp[k](a[k] - b) = logsumexp[k](a[k])

    Why: the shift cancels, and logsumexp subtracts the maximum itself.
    Holds: every real a and b.
    """
    for term in e.args:
        weight, lse = term.as_coeff_Mul()
        if not isinstance(lse, LogSumExp):
            continue
        for inner in terms(lse.body):
            if depends(inner, lse.indices):
                continue
            outer = next((t for t in e.args if same(t, -weight * inner)), None)
            if outer is not None:
                rest = Add(*(t for t in e.args if t is not term and t is not outer))
                return rest + weight * LogSumExp(lse.body - inner, *lse.indices)
    return None


@rule(Add)
def softplus_from_maximum(e: Expr) -> Expr | None:
    """maximum(x, 0) + softplus(-abs(x)) = softplus(x)

    Why: one function instead of two, without a kink in the middle.
    Holds: every real x.
    """
    for term in e.args:
        if not (isinstance(term, Softplus) and isinstance(-term.args[0], Abs)):
            continue
        for other in e.args:
            x = None
            if isinstance(other, Relu):
                x = other.args[0]
            elif isinstance(other, Maximum) and S.Zero in other.args:
                x = next(a for a in other.args if a != 0 or other.args == (0, 0))
            if x is not None and same(Abs(x), -term.args[0]):
                return Add(*(t for t in e.args if t is not term and t is not other), Softplus(x))
    return None


@rule(Add)
def logaddexp_from_softplus(e: Expr) -> Expr | None:
    """a + softplus(b - a) = logaddexp(a, b)

    Why: inf - inf where both are -inf, as the logarithm of what is 0 is.
    Holds: every real a and b.
    """
    for term in e.args:
        weight, softplus = term.as_coeff_Mul()
        if not isinstance(softplus, Softplus):
            continue
        inside = terms(softplus.args[0])
        less = [t for t in inside if -weight * t in e.args]
        a, b = Add(*(-t for t in less)), Add(*(t for t in inside if t not in less))
        if names(a) and names(b):
            rest = Add(*(t for t in e.args if t is not term and t not in [-weight * u for u in less]))
            return rest + weight * LogAddExp(a, b)
    return None


@rule(Add)
def difference_of_log_sigmoids(e: Expr) -> Expr | None:
    """log_sigmoid(x) - log_sigmoid(-x) = x

    Why: the logit of a sigmoid is its argument.
    Holds: every real x.
    """
    for term in e.args:
        weight, inner = term.as_coeff_Mul()
        if isinstance(inner, LogSigmoid):
            other = -weight * LogSigmoid(-inner.args[0])
            if other in e.args:
                return Add(*(t for t in e.args if t != term and t != other)) + weight * inner.args[0]
    return None


LOGARITHMS: tuple[Rule, ...] = (
    log_of_sum_of_exponentials,
    log_of_mean_of_exponentials,
    log_of_masked_sum_of_exponentials,
    log_of_weighted_sum_of_exponentials,
    log_of_softmax,
    log_of_sum_with_exponential,
    log_of_product_with_exponential,
    log_of_power_of_exponentials,
    log_of_prod,
    exp_of_log_softmax,
)

QUOTIENTS: tuple[Rule, ...] = (
    softmax_quotient,
    softmax_weighted_sum,
    softmax_with_further_terms,
    sigmoid_quotient,
    reciprocal_of_sum_with_exponential,
    exponential_times_sigmoid,
)

SHIFTS: tuple[Rule, ...] = (
    less_its_logsumexp,
    softmax_less_maximum,
    log_softmax_less_maximum,
    logsumexp_less_maximum,
    softplus_from_maximum,
    difference_of_log_sigmoids,
)

REMAINING_QUOTIENTS: tuple[Rule, ...] = (product_of_exponentials, quotient_of_exponentials, logaddexp_from_softplus)

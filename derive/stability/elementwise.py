"""Elementwise formulas that overflow or cancel as they stand in a textbook.

    1/(1 + exp(-x))   → sigmoid(x)         exp(x) - 1         → expm1(x)
    log(1 + exp(x))   → softplus(x)        1 + erf(u)         → erfc(-u)
    log(cosh(x))      → log_cosh(x)        t*log(t/q)         → xlogy(t, t) - t*log(q)
"""

from __future__ import annotations

from sympy import Abs, Add, Expr, Mul, Pow, S, cosh, erf, exp, log, sinh, sqrt, tanh

from derive.algebra.functions import Erfc, Expm1, Log1p, LogCosh, LogNdtr, LogSigmoid, Sigmoid, Softplus, Where, XLogY
from derive.algebra.indices import names
from derive.stability.matching import exponential_part, factors, is_positive, log_of, plain_log, terms
from derive.stability.rule import Rule, rule

__all__ = ["DIFFERENCES", "LOGS", "PRODUCTS", "REMAINDERS", "SATURATIONS"]


# Logarithms


@rule(log)
def log_of_sigmoid(e: Expr) -> Expr | None:
    """log(sigmoid(x)) = log_sigmoid(x)

    Why: the sigmoid underflows to 0, whose logarithm is -inf.
    Holds: every real x.
    """
    return log_of(e.args[0]) if isinstance(e.args[0], Sigmoid) else None


@rule(log)
def log_of_cosh(e: Expr) -> Expr | None:
    """log(cosh(x)) = log_cosh(x)

    Why: cosh overflows above 710.
    Holds: every real x.
    """
    return log_of(e.args[0]) if isinstance(e.args[0], cosh) else None


@rule(log)
def log_of_two_exponentials(e: Expr) -> Expr | None:
    """log(exp(x) + exp(-x)) = log_cosh(x) + log(2)

    Why: the exponentials overflow above 709.
    Holds: every real x.
    """
    found = _even_pair(e.args[0])
    if found is None:
        return None
    factor, x = found
    return LogCosh(x) + log(2 * factor) if is_positive(factor) else None


def _even_pair(expr: Expr) -> tuple[Expr, Expr] | None:
    """``(f, x)`` with ``expr = f·(exp(x) + exp(-x))``."""
    if not (isinstance(expr, Add) and len(expr.args) == 2):
        return None
    a, b = map(exponential_part, expr.args)
    if a is None or b is None or a[1] != b[1] or a[0] + b[0] != 0:
        return None
    return a[1], b[0] if a[0].could_extract_minus_sign() else a[0]


@rule(log)
def log_of_expm1(e: Expr) -> Expr | None:
    """log(expm1(x)) = x + log(-expm1(-x))

    Why: expm1 overflows above 709 where its logarithm is an ordinary number.
    Holds: x > 0.
    Source: Mächler, "Accurately computing log(1 - exp(-|a|))", 2012.
    """
    if not isinstance(e.args[0], Expm1):
        return None
    x = e.args[0].args[0]
    return x + log(-Expm1(-x))


@rule(log)
def log_of_one_minus_tanh_squared(e: Expr) -> Expr | None:
    """log(1 - tanh(x)**2) = -2*log_cosh(x)

    Why: tanh rounds to 1 beyond 20, and log(0) is -inf.
    Holds: every real x.
    """
    match = _one_plus(e.args[0])
    if match is None:
        return None
    scale, other = match
    minus, power = other.as_coeff_Mul()
    if minus == -1 and isinstance(power, Pow) and power.exp == 2 and isinstance(power.base, tanh):
        return log(scale) - 2 * LogCosh(power.base.args[0])
    return None


@rule(log)
def log_of_one_plus_tanh(e: Expr) -> Expr | None:
    """log(1 + tanh(x)) = log_sigmoid(2*x) + log(2)

    Why: tanh rounds to -1 below -20, and log(0) is -inf.
    Holds: every real x.
    """
    match = _one_plus(e.args[0])
    if match is None:
        return None
    scale, other = match
    sign, inner = other.as_coeff_Mul()
    if abs(sign) == 1 and isinstance(inner, tanh):
        return LogSigmoid(2 * sign * inner.args[0]) + log(2 * scale)
    return None


@rule(log)
def log_of_erfc(e: Expr) -> Expr | None:
    """log(erfc(x)) = log_ndtr(-sqrt(2)*x) + log(2)

    Why: erfc underflows to 0 above 26, whose logarithm is -inf.
    Holds: every real x.
    """
    number, inner = e.args[0].as_coeff_Mul()
    if isinstance(inner, Erfc) and number.is_positive:
        return LogNdtr(-sqrt(2) * inner.args[0]) + log(2 * number)
    return None


def _one_plus(expr: Expr) -> tuple[Expr, Expr] | None:
    """``(c, x)`` with ``expr = c·(1 + x)``, ``c`` a positive number."""
    constant, rest = expr.as_coeff_Add()
    if not constant.is_positive or rest is S.Zero:
        return None
    return constant, Add(*(t / constant for t in terms(rest)))


@rule(Log1p)
def log1p_of_exponential(e: Expr) -> Expr | None:
    """log1p(exp(x)) = softplus(x)

    Why: the exponential overflows above 709 where the result is x.
    Holds: every real x.
    """
    inner = log_of(e.args[0])
    return None if inner is None or not e.args[0].has(exp, cosh) else Softplus(inner)


# Sums and differences


@rule(Add)
def exponential_less_one(e: Expr) -> Expr | None:
    """f*exp(x) - f = f*expm1(x)

    Why: near x = 0 the difference of two nearly equal numbers loses its digits.
    Holds: every real x.
    """
    for term in e.args:
        split = exponential_part(term)
        if split is None:
            continue
        exponent, factor = split
        if -factor in e.args and len(terms(exponent)) >= 1:
            rest = Add(*(t for t in e.args if t is not term and t != -factor))
            return rest + factor * Expm1(exponent)
    return None


@rule(Add)
def expm1_plus_one(e: Expr) -> Expr | None:
    """f*expm1(x) + f = f*exp(x)

    Why: where exp(x) is small the sum of f and a number close to -f loses its digits.
    Holds: every real x.
    """
    for term in e.args:
        for factor in factors(term):
            if isinstance(factor, Expm1):
                other = Mul(*(f for f in factors(term) if f is not factor))
                if other in e.args:
                    rest = Add(*(t for t in e.args if t is not term and t != other))
                    return rest + other * exp(factor.args[0])
    return None


@rule(Add)
def constant_cancelled_in_a_branch(e: Expr) -> Expr | None:
    """1 + where(m, x, expm1(y)) = where(m, 1 + x, exp(y))

    Why: where exp(y) is small the sum of 1 and a number close to -1 loses its digits.
    Holds: every real x and y; either branch, and with a factor.
    """
    constant, rest = e.as_coeff_Add()
    for term in terms(rest) if constant != 0 else ():
        weight, inner = term.as_coeff_Mul()
        if not isinstance(inner, Where):
            continue
        condition, *branches = inner.args
        sums = [constant + weight * branch for branch in branches]
        shorter = [expm1_plus_one.apply(s) if isinstance(s, Add) else None for s in sums]
        if any(shorter):
            new = Where(condition, *(b if a is None else a for a, b in zip(shorter, sums, strict=True)))
            return Add(*(t for t in terms(rest) if t is not term)) + new
    return None


@rule(Add)
def one_plus_erf(e: Expr) -> Expr | None:
    """1 + erf(x) = erfc(-x)

    Why: erf rounds to -1 below -6, where the sum loses all its digits.
    Holds: every real x; with a minus, 1 - erf(x) = erfc(x).
    """
    constant, rest = e.as_coeff_Add()
    for term in terms(rest) if constant != 0 else ():
        weight, inner = term.as_coeff_Mul()
        if isinstance(inner, erf) and abs(weight) == abs(constant):
            others = Add(*(t for t in terms(rest) if t is not term))
            return others + constant * Erfc(-inner.args[0] * weight / constant)
    return None


@rule(Add)
def one_minus_sigmoid(e: Expr) -> Expr | None:
    """1 - sigmoid(x) = sigmoid(-x)

    Why: where the sigmoid is close to 1 the difference loses its digits.
    Holds: every real x.
    """
    constant, rest = e.as_coeff_Add()
    for term in terms(rest) if constant != 0 else ():
        weight, inner = term.as_coeff_Mul()
        if isinstance(inner, Sigmoid) and weight == -constant:
            return Add(*(t for t in terms(rest) if t is not term)) + constant * Sigmoid(-inner.args[0])
    return None


@rule(Add)
def twice_sigmoid_less_one(e: Expr) -> Expr | None:
    """2*sigmoid(x) - 1 = tanh(x/2)

    Why: near x = 0 the difference loses its digits.
    Holds: every real x.
    """
    constant, rest = e.as_coeff_Add()
    for term in terms(rest) if constant != 0 else ():
        weight, inner = term.as_coeff_Mul()
        if isinstance(inner, Sigmoid) and weight == -2 * constant:
            return Add(*(t for t in terms(rest) if t is not term)) - constant * tanh(inner.args[0] / 2)
    return None


@rule(Add)
def one_plus_tanh(e: Expr) -> Expr | None:
    """1 + tanh(x) = 2*sigmoid(2*x)

    Why: tanh rounds to -1 below -9 in float32, and the sum loses its digits long before.
    Holds: every real x; with a minus, 1 - tanh(x) = 2*sigmoid(-2*x).
    """
    constant, rest = e.as_coeff_Add()
    for term in terms(rest) if constant != 0 else ():
        weight, inner = term.as_coeff_Mul()
        if isinstance(inner, tanh) and abs(weight) == abs(constant):
            others = Add(*(t for t in terms(rest) if t is not term))
            return others + 2 * constant * Sigmoid(2 * inner.args[0] * weight / constant)
    return None


@rule(Add)
def difference_of_exponentials(e: Expr) -> Expr | None:
    """exp(x) - exp(-x) = 2*sinh(x)

    Why: near x = 0 the difference of two nearly equal numbers loses its digits.
    Holds: every real x.
    """
    split = {t: exponential_part(t) for t in e.args}
    for term, own in split.items():
        for other, its in split.items():
            if own is None or its is None or own[0].could_extract_minus_sign():
                continue
            if own[0] + its[0] == 0 and own[1] == -its[1]:
                rest = Add(*(t for t in e.args if t is not term and t is not other))
                return rest + 2 * own[1] * sinh(own[0])
    return None


# Products


@rule(Mul)
def tanh_from_exponentials(e: Expr) -> Expr | None:
    """expm1(x)*sigmoid(-x) = tanh(x/2)

    Why: inf*0 where the exponential overflows; it is (exp(x) - 1)/(exp(x) + 1).
    Holds: every real x.
    """
    for factor in e.args:
        if isinstance(factor, Expm1) and Sigmoid(-factor.args[0]) in e.args:
            x = factor.args[0]
            return Mul(*(f for f in e.args if f is not factor and f != Sigmoid(-x))) * tanh(x / 2)
    return None


@rule(Mul)
def sinh_over_cosh(e: Expr) -> Expr | None:
    """sinh(x)/cosh(x) = tanh(x)

    Why: inf/inf above 710.
    Holds: every real x; cosh(x) may be written (exp(x) + exp(-x))/2.
    """
    for factor in e.args:
        if not isinstance(factor, sinh):
            continue
        x = factor.args[0]
        for divisor in e.args:
            if not (isinstance(divisor, Pow) and divisor.exp == -1):
                continue
            pair = _even_pair(divisor.base)
            if isinstance(divisor.base, cosh) and divisor.base.args[0] in (x, -x):
                scale = S.One
            elif pair is not None and pair[1] in (x, -x):
                scale = 1 / (2 * pair[0])
            else:
                continue
            return Mul(*(f for f in e.args if f is not factor and f is not divisor)) * scale * tanh(x)
    return None


@rule(Mul)
def minus_softplus(e: Expr) -> Expr | None:
    """-softplus(-x) = log_sigmoid(x)

    Why: the logarithm of a sigmoid has a name.
    Holds: every real x.
    """
    number, rest = e.as_coeff_Mul()
    if number.is_negative:
        for factor in factors(rest):
            if isinstance(factor, Softplus) and _all_negative(factor.args[0]):
                return -number * Mul(*(f for f in factors(rest) if f is not factor)) * LogSigmoid(-factor.args[0])
    return None


def _all_negative(expr: Expr) -> bool:
    return all(t.as_coeff_Mul()[0].is_negative for t in terms(expr))


@rule(Mul)
def x_log_x(e: Expr) -> Expr | None:
    """t*log(t/q) = xlogy(t, t) - t*log(q)

    Why: 0*log(0) is nan where its limit is 0.
    Holds: t > 0 and q > 0, and in the limit t = 0.
    """
    for logarithm in e.args:
        if not isinstance(logarithm, (log, Log1p)):
            continue
        y = logarithm.args[0] if isinstance(logarithm, log) else 1 + logarithm.args[0]
        for x in e.args:
            if x not in factors(y) or not _may_vanish(x):
                continue
            others = Mul(*(f for f in e.args if f is not logarithm and f != x))
            rest = y / x
            return others * XLogY(x, x) + (0 if rest == 1 else e / logarithm * (log_of(rest) or plain_log(rest)))
    return None


@rule(Mul)
def x_log_x_in_a_sum(e: Expr) -> Expr | None:
    """t*(log(t) - q) = xlogy(t, t) - t*q

    Why: 0*log(0) is nan where its limit is 0.
    Holds: t > 0, and in the limit t = 0.
    """
    for total in e.args:
        for term in total.args if isinstance(total, Add) else ():
            _, logarithm = term.as_coeff_Mul()
            if not isinstance(logarithm, log):
                continue
            if any(x in e.args and _may_vanish(x) for x in factors(logarithm.args[0])):
                outer = Mul(*(f for f in e.args if f is not total))
                return outer * term + outer * Add(*(t for t in total.args if t is not term))
    return None


def _may_vanish(expr: Expr) -> bool:
    return bool(names(expr)) and not isinstance(expr, (log, Log1p)) and not is_positive(expr)


# Derivatives written in the value of the function


@rule(Add)
def one_minus_tanh_squared(e: Expr) -> Expr | None:
    """1 - tanh(x)**2 = 4*exp(-2*abs(x))/(1 + exp(-2*abs(x)))**2

    Why: where tanh is close to 1 or -1 the difference loses its digits.
    Holds: every real x.
    """
    constant, rest = e.as_coeff_Add()
    for term in terms(rest) if constant != 0 else ():
        weight, square = term.as_coeff_Mul()
        if weight == -constant and isinstance(square, Pow) and square.exp == 2 and isinstance(square.base, tanh):
            decay = exp(-2 * Abs(square.base.args[0]))
            return Add(*(t for t in terms(rest) if t is not term)) + 4 * constant * decay / (1 + decay) ** 2
    return None


# What is left when everything else has been recognised


@rule(log)
def log_of_one_plus(e: Expr) -> Expr | None:
    """log(1 + x) = log1p(x)

    Why: 1 + x drops the digits of a small x.
    Holds: x > -1.
    """
    constant, rest = e.args[0].as_coeff_Add()
    return Log1p(rest) if constant == 1 and rest is not S.Zero and names(rest) else None


@rule(log)
def log_of_one_plus_over_one_minus(e: Expr) -> Expr | None:
    """log((1 + x)/(1 - x)) = log1p(x) - log1p(-x)

    Why: near x = 0 the quotient is close to 1 and drops the digits of x.
    Holds: -1 < x < 1, which is where the logarithm is real.
    """
    if not (isinstance(e.args[0], Mul) and len(e.args[0].args) == 2):
        return None
    below, above = sorted(e.args[0].args, key=lambda f: not (isinstance(f, Pow) and f.exp == -1))
    if not (isinstance(below, Pow) and below.exp == -1):
        return None
    over, under = _one_plus(above), _one_plus(below.base)
    if over is None or under is None or over[1] != -under[1]:
        return None
    return Log1p(over[1]) - Log1p(under[1]) + log(over[0] / under[0])


@rule(Pow)
def reciprocal_of_cosh(e: Expr) -> Expr | None:
    """1/cosh(x) = exp(-log_cosh(x))

    Why: cosh overflows above 710, and the derivative becomes inf/inf.
    Holds: every real x.
    """
    base, exponent = e.args
    if not (exponent.is_number and exponent.is_negative):
        return None
    if isinstance(base, cosh):
        return exp(exponent * LogCosh(base.args[0]))
    pair = _even_pair(base)
    if pair is not None and is_positive(pair[0]):
        return exp(exponent * LogCosh(pair[1])) * (2 * pair[0]) ** exponent
    return None


@rule(Pow)
def reciprocal_of_exponentials(e: Expr) -> Expr | None:
    """1/sum[k](exp(a[k])) = exp(-logsumexp[k](a[k]))

    Why: the sum overflows, and the derivative becomes inf/inf.
    Holds: every real a.
    """
    base, exponent = e.args
    if not (exponent.is_number and exponent.is_negative and base.has(exp)):
        return None
    inner = log_of(base)
    return None if inner is None else exp(exponent * inner)


LOGS: tuple[Rule, ...] = (
    log_of_sigmoid,
    log_of_cosh,
    log_of_two_exponentials,
    log_of_expm1,
    log_of_one_minus_tanh_squared,
    log_of_one_plus_tanh,
    log_of_erfc,
    log1p_of_exponential,
)

DIFFERENCES: tuple[Rule, ...] = (
    exponential_less_one,
    expm1_plus_one,
    constant_cancelled_in_a_branch,
    one_plus_erf,
    one_plus_tanh,
    one_minus_sigmoid,
    twice_sigmoid_less_one,
    difference_of_exponentials,
)

SATURATIONS: tuple[Rule, ...] = (one_minus_sigmoid, one_minus_tanh_squared)

PRODUCTS: tuple[Rule, ...] = (
    tanh_from_exponentials,
    sinh_over_cosh,
    minus_softplus,
    x_log_x,
    x_log_x_in_a_sum,
)

REMAINDERS: tuple[Rule, ...] = (
    log_of_one_plus,
    log_of_one_plus_over_one_minus,
    reciprocal_of_cosh,
    reciprocal_of_exponentials,
)

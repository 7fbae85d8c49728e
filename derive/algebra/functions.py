"""The elementwise functions: one row each in one table.

The parser, the calculus, the printers, the checker and the tests all read
``FUNCTIONS``. Adding a function is adding a row: its name in the layer
language, its SymPy class, its partial derivatives (with the value at kinks as
frameworks have it), its spellings, its value in multiprecision, and where to
sample it.

``+ - * / **`` are SymPy's ``Add``, ``Mul`` and ``Pow``; ``sqrt(x)`` is
``x**(1/2)``, ``rsqrt(x)`` is ``x**(-1/2)``, ``square(x)`` is ``x**2``. Truth
values are the numbers 0 and 1, so that a comparison may stand in a product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sympy
from sympy import Expr, Integer, Rational, S

__all__ = [
    "And",
    "AtLeast",
    "AtMost",
    "BY_CLASS",
    "BY_NAME",
    "Ceil",
    "Clip",
    "Eq",
    "Erfc",
    "Expm1",
    "FUNCTIONS",
    "Floor",
    "FloorDiv",
    "Ge",
    "Gt",
    "Guard",
    "Heaviside",
    "Le",
    "Lgamma",
    "Log1p",
    "LogAddExp",
    "LogCosh",
    "LogNdtr",
    "LogSigmoid",
    "Lt",
    "Maximum",
    "Minimum",
    "Mod",
    "Ne",
    "Not",
    "Or",
    "Relu",
    "Round",
    "Row",
    "Sigmoid",
    "Sign",
    "Softplus",
    "StopGradient",
    "Where",
    "XLogY",
]


class _Real(sympy.Function):
    """A function of real arguments with a real value; it evaluates nothing by itself."""

    @classmethod
    def eval(cls, *args: Any) -> Any:
        return None

    def _eval_is_extended_real(self) -> bool:
        return True

    def fdiff(self, argindex: int = 1) -> Expr:
        row = BY_CLASS[type(self)]
        return row.partials(self.args, self)[argindex - 1]

    def _sympystr(self, printer: Any) -> str:
        # SymPy's printer goes by the class's name, and takes Heaviside for its own.
        from derive.algebra.text import show

        return show(self)


class _NonNegative(_Real):
    def _eval_is_extended_nonnegative(self) -> bool:
        return True


class _Truth(_Real):
    def _eval_is_integer(self) -> bool:
        return True

    def _eval_is_extended_nonnegative(self) -> bool:
        return True


class Expm1(_Real):
    """exp(x) - 1."""


class Log1p(_Real):
    """log(1 + x)."""


class Sign(_Real):
    """-1, 0 or 1."""


class Sigmoid(_NonNegative):
    """1/(1 + exp(-x))."""

    def _eval_is_extended_positive(self) -> bool:
        return True


class LogSigmoid(_Real):
    """log(1/(1 + exp(-x)))."""


class Softplus(_NonNegative):
    """log(1 + exp(x))."""


class LogAddExp(_Real):
    """log(exp(a) + exp(b)), also where both are -inf."""


class LogCosh(_NonNegative):
    """log(cosh(x))."""


class Erfc(_NonNegative):
    """1 - erf(x). SymPy's own ``erfc`` turns erfc(-x) into 2 - erfc(x), which loses what it is for."""


class Lgamma(_Real):
    """log(gamma(x)). SymPy's own ``loggamma`` turns that of an integer, a size say, into log(gamma(n)), which overflows."""


class LogNdtr(_Real):
    """log(erfc(-x/sqrt(2))/2), the logarithm of the standard normal distribution function."""


class Relu(_NonNegative):
    """maximum(x, 0)."""


class Maximum(_Real):
    """The larger of two; the gradient of equals is half to each."""


class Minimum(_Real):
    """The smaller of two; the gradient of equals is half to each."""


class Clip(_Real):
    """minimum(maximum(x, lo), hi); the gradient passes at the bounds."""


class Where(_Real):
    """where(condition, a, b): a where the condition holds, else b."""

    @classmethod
    def eval(cls, condition: Any, a: Any, b: Any) -> Any:
        if condition is S.One:
            return a
        if condition is S.Zero:
            return b
        if a == b:
            return a
        return None


class AtMost(_Real):
    """x, which is known to be at most the bound wherever the value is used.

    Beyond the bound it gives the bound, so that nothing overflows in a branch
    of a ``where`` that is not taken. Its derivative is 1, at the bound too.
    """


class AtLeast(_Real):
    """x, which is known to be at least the bound wherever the value is used; see :class:`AtMost`."""


class Guard(_Real):
    """where(condition, a, b), one of a and b being a number that is never used: the other's derivative is 1.

    ``log(guard(x > 0, x, 1))`` is log(x) in a branch that is taken where x > 0.
    """


class Heaviside(_NonNegative):
    """The unit step with the value 1/2 at 0: the derivative of maximum(x, 0) by halves."""


class XLogY(_Real):
    """x*log(y), and 0 where x is 0."""


class Floor(_Real):
    """The largest integer not above x."""

    def _eval_is_integer(self) -> bool:
        return True


class Ceil(_Real):
    """The smallest integer not below x."""

    def _eval_is_integer(self) -> bool:
        return True


class Round(_Real):
    """The nearest integer, halves to even."""

    def _eval_is_integer(self) -> bool:
        return True


class FloorDiv(_Real):
    """floor(a/b)."""

    @classmethod
    def eval(cls, a: Any, b: Any) -> Any:
        if a.is_Integer and b.is_Integer and b != 0:
            return Integer(int(a) // int(b))
        if b is S.One and a.is_integer:
            return a
        return None

    def _eval_is_integer(self) -> bool:
        return True


class Mod(_Real):
    """a - b*floor(a/b), of the sign of b."""

    @classmethod
    def eval(cls, a: Any, b: Any) -> Any:
        if a.is_Integer and b.is_Integer and b != 0:
            return Integer(int(a) % int(b))
        return None

    def _eval_is_integer(self) -> bool | None:
        return True if self.args[0].is_integer and self.args[1].is_integer else None


class StopGradient(_Real):
    """Its argument; no gradient passes."""


class Lt(_Truth):
    """a < b."""


class Le(_Truth):
    """a <= b."""


class Gt(_Truth):
    """a > b."""


class Ge(_Truth):
    """a >= b."""


class Eq(_Truth):
    """a == b."""


class Ne(_Truth):
    """a != b."""


class And(_Truth):
    """Both hold."""


class Or(_Truth):
    """At least one holds."""


class Not(_Truth):
    """It does not hold."""


Partials = Callable[[tuple[Expr, ...], Expr], tuple[Expr, ...]]


@dataclass(frozen=True, slots=True)
class Row:
    """One elementwise function.

    Attributes:
        name: its word in the layer language, or the operator (``<``, ``and``).
        cls: the SymPy class of its applications.
        arity: the number of arguments.
        partials: ``(args, own) -> `` one derivative an argument, written with
            the function's own value ``own`` where that is cheaper.
        numpy: spelling with ``{0}``, ``{1}``, … for the arguments; an argument
            is put in parentheses where ``{0}`` stands beside an operator.
        latex: spelling with ``{0}`` …; ``\\name`` alone is written as an operator.
        mp: value from an mpmath context and mpf arguments.
        meaning: what it is, for the documentation.
        domain: the interval, open, from which tests sample each argument.
        kinks: arguments at which it is not differentiable (arity 1).
        infix: whether the name stands between (or before) its arguments.
        analytic: whether NumPy's spelling takes complex arguments and is analytic.
        scipy: whether the spelling needs ``scipy.special``.
        at_infinity: the partials where both arguments of two may be the same infinity, whose difference is
            undefined; None where they are those of everywhere else.
    """

    name: str
    cls: type[Expr]
    arity: int
    partials: Partials
    numpy: str
    latex: str
    mp: Callable[..., Any]
    meaning: str
    domain: tuple[float, float] = (-3.0, 3.0)
    kinks: tuple[float, ...] = ()
    infix: bool = False
    analytic: bool = False
    scipy: bool = False
    at_infinity: Partials | None = None


def _flat(args: tuple[Expr, ...], own: Expr) -> tuple[Expr, ...]:
    return tuple(S.Zero for _ in args)


def _truth(name: str, cls: type[Expr], numpy: str, latex: str, test: Callable[..., bool], meaning: str) -> Row:
    arity = 1 if cls is Not else 2
    return Row(
        name, cls, arity, _flat, numpy, latex,
        lambda mp, *v: mp.mpf(1) if test(*v) else mp.mpf(0), meaning, infix=True,
    )  # fmt: skip


def _step(a: Expr, b: Expr) -> Expr:
    """The unit step of ``a - b``, 1/2 where they are equal, without the difference."""
    return Gt(a, b) + Eq(a, b) / 2


_FAR = Integer(-(10**30))
"""A number whose exponential is 0 beside that of any other, and that float32 has."""

_SQRT_PI = sympy.sqrt(sympy.pi)
_HALF = Rational(1, 2)

FUNCTIONS: tuple[Row, ...] = (
    Row("exp", sympy.exp, 1, lambda a, own: (own,),
        "np.exp({0})", r"\exp", lambda mp, x: mp.exp(x), "the exponential", analytic=True),
    Row("expm1", Expm1, 1, lambda a, own: (sympy.exp(a[0]),),
        "np.expm1({0})", r"\operatorname{expm1}", lambda mp, x: mp.expm1(x), "exp(x) - 1", analytic=True),
    Row("log", sympy.log, 1, lambda a, own: (1 / a[0],),
        "np.log({0})", r"\log", lambda mp, x: mp.log(x) if x > 0 else (mp.ninf if x == 0 else mp.nan),
        "the natural logarithm", domain=(0.1, 4.0), analytic=True),
    Row("log1p", Log1p, 1, lambda a, own: (1 / (1 + a[0]),),
        "np.log1p({0})", r"\operatorname{log1p}",
        lambda mp, x: mp.log1p(x) if x > -1 else (mp.ninf if x == -1 else mp.nan),
        "log(1 + x)", domain=(-0.9, 4.0), analytic=True),
    Row("abs", sympy.Abs, 1, lambda a, own: (Sign(a[0]),),
        "np.abs({0})", r"\left|{0}\right|", lambda mp, x: abs(x), "the absolute value; derivative 0 at 0", kinks=(0.0,)),
    Row("sign", Sign, 1, _flat,
        "np.sign({0})", r"\operatorname{sign}", lambda mp, x: mp.sign(x), "-1, 0 or 1; passes no gradient", kinks=(0.0,)),
    Row("sin", sympy.sin, 1, lambda a, own: (sympy.cos(a[0]),),
        "np.sin({0})", r"\sin", lambda mp, x: mp.sin(x), "the sine (radians)", analytic=True),
    Row("cos", sympy.cos, 1, lambda a, own: (-sympy.sin(a[0]),),
        "np.cos({0})", r"\cos", lambda mp, x: mp.cos(x), "the cosine (radians)", analytic=True),
    Row("tan", sympy.tan, 1, lambda a, own: (1 + own**2,),
        "np.tan({0})", r"\tan", lambda mp, x: mp.tan(x), "the tangent (radians)", domain=(-1.4, 1.4), analytic=True),
    Row("asin", sympy.asin, 1, lambda a, own: (1 / sympy.sqrt(1 - a[0] ** 2),),
        "np.arcsin({0})", r"\arcsin", lambda mp, x: mp.asin(x) if abs(x) <= 1 else mp.nan,
        "the inverse sine (radians)", domain=(-0.9, 0.9), analytic=True),
    Row("acos", sympy.acos, 1, lambda a, own: (-1 / sympy.sqrt(1 - a[0] ** 2),),
        "np.arccos({0})", r"\arccos", lambda mp, x: mp.acos(x) if abs(x) <= 1 else mp.nan,
        "the inverse cosine (radians)", domain=(-0.9, 0.9), analytic=True),
    Row("atan", sympy.atan, 1, lambda a, own: (1 / (1 + a[0] ** 2),),
        "np.arctan({0})", r"\arctan", lambda mp, x: mp.atan(x), "the inverse tangent (radians)", analytic=True),
    Row("sinh", sympy.sinh, 1, lambda a, own: (sympy.cosh(a[0]),),
        "np.sinh({0})", r"\sinh", lambda mp, x: mp.sinh(x), "the hyperbolic sine", analytic=True),
    Row("cosh", sympy.cosh, 1, lambda a, own: (sympy.sinh(a[0]),),
        "np.cosh({0})", r"\cosh", lambda mp, x: mp.cosh(x), "the hyperbolic cosine", analytic=True),
    Row("tanh", sympy.tanh, 1, lambda a, own: (1 - own**2,),
        "np.tanh({0})", r"\tanh", lambda mp, x: mp.tanh(x), "the hyperbolic tangent", analytic=True),
    Row("sigmoid", Sigmoid, 1, lambda a, own: (own * (1 - own),),
        "expit({0})", r"\sigma", lambda mp, x: 1 / (1 + mp.exp(-x)), "1/(1 + exp(-x))", scipy=True),
    Row("log_sigmoid", LogSigmoid, 1, lambda a, own: (Sigmoid(-a[0]),),
        "log_expit({0})", r"\log\sigma",
        lambda mp, x: -mp.log1p(mp.exp(-x)) if x > 0 else x - mp.log1p(mp.exp(x)), "log(sigmoid(x))", scipy=True),
    Row("softplus", Softplus, 1, lambda a, own: (Sigmoid(a[0]),),
        "np.logaddexp(0, {0})", r"\operatorname{softplus}",
        lambda mp, x: x + mp.log1p(mp.exp(-x)) if x > 0 else mp.log1p(mp.exp(x)), "log(1 + exp(x))"),
    Row("logaddexp", LogAddExp, 2, lambda a, own: (Sigmoid(a[0] - a[1]), Sigmoid(a[1] - a[0])),
        "np.logaddexp({0}, {1})", r"\operatorname{logaddexp}",
        lambda mp, x, y: max(x, y) + (0 if x == y == mp.ninf else mp.log1p(mp.exp(-abs(x - y)))),
        "log(exp(a) + exp(b)); where both are -inf, no gradient",
        at_infinity=lambda a, own: (Sigmoid(a[0] - AtLeast(a[1], _FAR)), Sigmoid(a[1] - AtLeast(a[0], _FAR)))),
    Row("log_ndtr", LogNdtr, 1,
        lambda a, own: (sympy.exp(-(a[0] ** 2) / 2 - own) / sympy.sqrt(2 * sympy.pi),),
        "log_ndtr({0})", r"\log\Phi", lambda mp, x: mp.log(mp.erfc(-x / mp.sqrt(2)) / 2),
        "the logarithm of the standard normal distribution function", scipy=True),
    Row("log_cosh", LogCosh, 1, lambda a, own: (sympy.tanh(a[0]),),
        "np.abs({0}) + np.log1p(np.expm1(-2 * np.abs({0})) / 2)", r"\log\cosh",
        lambda mp, x: abs(x) + mp.log1p(mp.expm1(-2 * abs(x)) / 2), "log(cosh(x))"),
    Row("relu", Relu, 1, lambda a, own: (Gt(a[0], S.Zero),),
        "np.maximum({0}, 0)", r"\operatorname{relu}", lambda mp, x: x if x > 0 else mp.mpf(0),
        "maximum(x, 0); derivative 0 at 0", kinks=(0.0,)),
    Row("erf", sympy.erf, 1, lambda a, own: (2 / _SQRT_PI * sympy.exp(-(a[0] ** 2)),),
        "erf({0})", r"\operatorname{erf}", lambda mp, x: mp.erf(x), "the error function", scipy=True, analytic=True),
    Row("erfc", Erfc, 1, lambda a, own: (-2 / _SQRT_PI * sympy.exp(-(a[0] ** 2)),),
        "erfc({0})", r"\operatorname{erfc}", lambda mp, x: mp.erfc(x), "1 - erf(x)", scipy=True, analytic=True),
    Row("lgamma", Lgamma, 1, lambda a, own: (sympy.digamma(a[0]),),
        "gammaln({0})", r"\log\Gamma", lambda mp, x: mp.log(abs(mp.gamma(x))) if x < 0 else mp.loggamma(x),
        "the logarithm of the gamma function", domain=(0.3, 4.0), scipy=True),
    Row("digamma", sympy.digamma, 1, lambda a, own: (sympy.polygamma(1, a[0]),),
        "digamma({0})", r"\psi", lambda mp, x: mp.digamma(x), "the derivative of lgamma", domain=(0.3, 4.0), scipy=True),
    Row("polygamma", sympy.polygamma, 2, lambda a, own: (S.Zero, sympy.polygamma(a[0] + 1, a[1])),
        "polygamma({0}, {1})", r"\psi^{{({0})}}\left({1}\right)", lambda mp, n, x: mp.psi(int(n), x),
        "the n-th derivative of digamma (derivatives of lgamma only)", domain=(0.3, 4.0), scipy=True),
    Row("maximum", Maximum, 2, lambda a, own: (Heaviside(a[0] - a[1]), Heaviside(a[1] - a[0])),
        "np.maximum({0}, {1})", r"\max\left({0}, {1}\right)", lambda mp, x, y: max(x, y),
        "the larger of two; of equals, half the gradient to each",
        at_infinity=lambda a, own: (_step(a[0], a[1]), _step(a[1], a[0]))),
    Row("minimum", Minimum, 2, lambda a, own: (Heaviside(a[1] - a[0]), Heaviside(a[0] - a[1])),
        "np.minimum({0}, {1})", r"\min\left({0}, {1}\right)", lambda mp, x, y: min(x, y),
        "the smaller of two; of equals, half the gradient to each",
        at_infinity=lambda a, own: (_step(a[1], a[0]), _step(a[0], a[1]))),
    Row("clip", Clip, 3, lambda a, own: (And(Ge(a[0], a[1]), Le(a[0], a[2])), And(Lt(a[0], a[1]), Lt(a[1], a[2])),
        Or(Gt(a[0], a[2]), Gt(a[1], a[2]))),
        "np.clip({0}, {1}, {2})", r"\operatorname{clip}\left({0}, {1}, {2}\right)",
        lambda mp, x, lo, hi: min(max(x, lo), hi), "minimum(maximum(x, lo), hi), so hi where lo is larger; the gradient passes at the bounds"),
    Row("where", Where, 3, lambda a, own: (S.Zero, Where(a[0], S.One, S.Zero), Where(a[0], S.Zero, S.One)),
        "np.where({0}, {1}, {2})", r"\operatorname{where}\left({0}, {1}, {2}\right)",
        lambda mp, c, x, y: x if c else y, "where(condition, a, b)"),
    Row("at_most", AtMost, 2, lambda a, own: (S.One, S.Zero),
        "np.minimum({0}, {1})", r"\min\left({0}, {1}\right)", lambda mp, x, y: min(x, y),
        "x, known to be at most the bound where it is used; derivative 1 (branches of where only)"),
    Row("at_least", AtLeast, 2, lambda a, own: (S.One, S.Zero),
        "np.maximum({0}, {1})", r"\max\left({0}, {1}\right)", lambda mp, x, y: max(x, y),
        "x, known to be at least the bound where it is used; derivative 1 (branches of where only)"),
    Row("guard", Guard, 3, lambda a, own: (S.Zero, S.One, S.One),
        "np.where({0}, {1}, {2})", r"\operatorname{where}\left({0}, {1}, {2}\right)",
        lambda mp, c, x, y: x if c else y,
        "where(condition, a, b) with a number that is never used; derivative 1 (branches of where only)"),
    Row("heaviside", Heaviside, 1, _flat,
        "np.heaviside({0}, 0.5)", r"\operatorname{H}", lambda mp, x: (mp.sign(x) + 1) / 2,
        "the unit step, 1/2 at 0 (derivatives of maximum and minimum only)", kinks=(0.0,)),
    Row("xlogy", XLogY, 2, lambda a, own: (sympy.log(a[1]), a[0] / a[1]),
        "xlogy({0}, {1})", r"{0}\log {1}", lambda mp, x, y: mp.mpf(0) if x == 0 else x * mp.log(y),
        "x*log(y), 0 where x is 0", domain=(0.1, 4.0), scipy=True),
    Row("floor", Floor, 1, _flat,
        "np.floor({0})", r"\left\lfloor {0}\right\rfloor", lambda mp, x: mp.floor(x),
        "the largest integer not above; passes no gradient", kinks=(-2.0, -1.0, 0.0, 1.0, 2.0)),
    Row("ceil", Ceil, 1, _flat,
        "np.ceil({0})", r"\left\lceil {0}\right\rceil", lambda mp, x: mp.ceil(x),
        "the smallest integer not below; passes no gradient", kinks=(-2.0, -1.0, 0.0, 1.0, 2.0)),
    Row("round", Round, 1, _flat,
        "np.round({0})", r"\operatorname{round}", lambda mp, x: mp.nint(x),
        "the nearest integer, halves to even; passes no gradient", kinks=(-2.5, -1.5, -0.5, 0.5, 1.5, 2.5)),
    Row("stop_gradient", StopGradient, 1, _flat,
        "{0}", r"\operatorname{sg}", lambda mp, x: x, "its argument; passes no gradient"),
    Row("//", FloorDiv, 2, _flat,
        "{0} // {1}", r"\left\lfloor {0} / {1}\right\rfloor", lambda mp, x, y: mp.floor(x / y),
        "floor(a/b); passes no gradient", infix=True),
    Row("%", Mod, 2, lambda a, own: (S.One, -Floor(a[0] / a[1])),
        "{0} % {1}", r"{0} \bmod {1}", lambda mp, x, y: x - y * mp.floor(x / y), "the remainder, of b's sign", infix=True),
    _truth("<", Lt, "{0} < {1}", "{0} < {1}", lambda a, b: a < b, "1 where a < b"),
    _truth("<=", Le, "{0} <= {1}", r"{0} \le {1}", lambda a, b: a <= b, "1 where a <= b"),
    _truth(">", Gt, "{0} > {1}", "{0} > {1}", lambda a, b: a > b, "1 where a > b"),
    _truth(">=", Ge, "{0} >= {1}", r"{0} \ge {1}", lambda a, b: a >= b, "1 where a >= b"),
    _truth("==", Eq, "{0} == {1}", "{0} = {1}", lambda a, b: a == b, "1 where a = b"),
    _truth("!=", Ne, "{0} != {1}", r"{0} \ne {1}", lambda a, b: a != b, "1 where a and b differ"),
    _truth("and", And, "{0} & {1}", r"{0} \wedge {1}", lambda a, b: bool(a and b), "both hold"),
    _truth("or", Or, "{0} | {1}", r"{0} \vee {1}", lambda a, b: bool(a or b), "one holds"),
    _truth("not", Not, "~{0}", r"\neg {0}", lambda a: not a, "it does not hold"),
)  # fmt: skip

BY_NAME: dict[str, Row] = {row.name: row for row in FUNCTIONS}
BY_CLASS: dict[type[Expr], Row] = {row.cls: row for row in FUNCTIONS}

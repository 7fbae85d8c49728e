"""How each elementwise function is written in C.

The plain ones are C's own (type-generic, from ``<tgmath.h>``); the others are
small functions, kept in ``templates/c/functions``, that a file has only where
it uses them.
"""

from __future__ import annotations

from dataclasses import dataclass

import sympy
from sympy import Expr

from derive.algebra import functions as f
from derive.nests.pieces import Decay, ErfcBy

__all__ = ["HELPERS", "SPELLINGS", "TRUTHS", "VECTOR_FUNCTIONS", "Spelling", "needed"]


@dataclass(frozen=True, slots=True)
class Spelling:
    """A C expression with ``{0}``, ``{1}``, … for the arguments, and the functions of ours that it calls."""

    text: str
    helpers: tuple[str, ...] = ()


def _call(name: str, arity: int = 1) -> Spelling:
    arguments = ", ".join(f"{{{k}}}" for k in range(arity))
    return Spelling(f"{name}({arguments})", (name,))


SPELLINGS: dict[type[Expr], Spelling] = {
    sympy.exp: _call("exponential"),
    f.Expm1: Spelling("expm1({0})"),
    sympy.log: Spelling("log({0})"),
    f.Log1p: Spelling("log1p({0})"),
    sympy.Abs: Spelling("fabs({0})"),
    f.Sign: _call("sign"),
    sympy.sin: Spelling("sin({0})"),
    sympy.cos: Spelling("cos({0})"),
    sympy.tan: Spelling("tan({0})"),
    sympy.asin: Spelling("asin({0})"),
    sympy.acos: Spelling("acos({0})"),
    sympy.atan: Spelling("atan({0})"),
    sympy.sinh: Spelling("sinh({0})"),
    sympy.cosh: Spelling("cosh({0})"),
    sympy.tanh: Spelling("tanh({0})"),
    f.Sigmoid: _call("sigmoid"),
    f.LogSigmoid: _call("log_sigmoid"),
    f.Softplus: _call("softplus"),
    f.LogAddExp: _call("logaddexp", 2),
    f.LogNdtr: _call("log_ndtr"),
    f.LogCosh: _call("log_cosh"),
    f.Relu: _call("relu"),
    sympy.erf: Spelling("erf({0})"),
    f.Erfc: Spelling("erfc({0})"),
    ErfcBy: _call("erfc_by", 2),
    Decay: _call("decay"),
    f.Lgamma: Spelling("lgamma({0})"),
    sympy.digamma: _call("digamma"),
    sympy.polygamma: _call("polygamma", 2),
    f.Maximum: _call("maximum", 2),
    f.Minimum: _call("minimum", 2),
    f.Clip: Spelling("minimum(maximum({0}, {1}), {2})", ("minimum", "maximum")),
    f.AtMost: _call("at_most", 2),
    f.AtLeast: _call("at_least", 2),
    f.Heaviside: _call("heaviside"),
    f.XLogY: _call("xlogy", 2),
    f.Floor: Spelling("floor({0})"),
    f.Ceil: Spelling("ceil({0})"),
    f.Round: Spelling("rint({0})"),
    f.FloorDiv: _call("floor_quotient", 2),
    f.Mod: _call("floor_remainder", 2),
}

TRUTHS: dict[type[Expr], str] = {
    f.Lt: "<", f.Le: "<=", f.Gt: ">", f.Ge: ">=", f.Eq: "==", f.Ne: "!=", f.And: "&&", f.Or: "||",
}  # fmt: skip

# What each function of ours calls; the order is that of definition.
HELPERS: dict[str, tuple[str, ...]] = {
    "square": (),
    "floor_divide": (),
    "floor_modulo": ("floor_divide",),
    "first_inside": (),
    "stop_inside": (),
    "aligned": (),
    "taken": ("aligned",),
    "thread_limit": (),
    "thread_number": (),
    "thread_count": ("thread_limit",),
    "gemm": (),
    "sign": (),
    "decay": (),
    "exponential": (),
    "erfc_by": (),
    "sigmoid": ("decay",),
    "log_sigmoid": ("decay",),
    "softplus": ("decay",),
    "log_cosh": (),
    "logaddexp": ("decay",),
    "log_ndtr": (),
    "relu": (),
    "maximum": (),
    "minimum": (),
    "at_most": (),
    "at_least": (),
    "heaviside": (),
    "xlogy": (),
    "zeta": (),
    "digamma": (),
    "polygamma": ("zeta", "digamma"),
    "floor_quotient": (),
    "floor_remainder": (),
}

# Functions of which a C library may have a version for vectors.
VECTOR_FUNCTIONS = (
    "exp", "log", "pow", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh",
    "expm1", "log1p", "erf", "erfc",
)  # fmt: skip


def needed(used: set[str]) -> list[str]:
    """Return the functions of ours that are used, with those that they call, in order of definition."""
    found: set[str] = set()
    work = list(used)
    while work:
        name = work.pop()
        if name not in found:
            found.add(name)
            work += HELPERS[name]
    return [name for name in HELPERS if name in found]

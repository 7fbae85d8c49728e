"""The kind of a formula's value: truth values, integers, or real numbers.

Integer literals, sizes and ``Int`` hyper-parameters are plain numbers: they
take the kind of what they meet, so that ``where(x[n] > 0, 1, 0)`` is real and
``t[n] + 1`` is an integer.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache

from sympy import Abs, Add, Expr, Integer, Mul, Pow

from derive.algebra import functions as f
from derive.algebra.nodes import ArgMax, Element, Hyper, Index, Kind, Max, Min, Padded, Prod, Size, Sum

__all__ = ["Class", "class_of", "kind_of"]


class Class(IntEnum):
    """What a value is; of two, the result is the larger one."""

    NUMBER = 0
    BOOL = 1
    INT = 2
    REAL = 3


_TRUTHS = (f.Lt, f.Le, f.Gt, f.Ge, f.Eq, f.Ne, f.And, f.Or, f.Not)
_OF_ARGUMENTS = (Add, Abs, f.FloorDiv, f.Mod, f.Maximum, f.Minimum, f.Clip, f.Sign, f.StopGradient, f.Relu)


def kind_of(expr: Expr) -> Kind:
    """Return the kind of a statement with this right side: Bool, Int or Real."""
    return {Class.BOOL: Kind.BOOL, Class.INT: Kind.INT}.get(class_of(expr), Kind.REAL)


@lru_cache(maxsize=4096)
def class_of(expr: Expr) -> Class:
    """Return what the value of an expression is."""
    match expr:
        case Element() | Hyper():
            number = Class.NUMBER if isinstance(expr, Hyper) else Class.INT
            return {Kind.INT: number, Kind.BOOL: Class.BOOL}.get(expr.kind, Class.REAL)
        case Padded():
            fill = Class.BOOL if expr.fill in (0, 1) and class_of(expr.element) is Class.BOOL else class_of(expr.fill)
            return max(class_of(expr.element), fill)
        case Index() | ArgMax():
            return Class.INT
        case Size() | Integer():
            return Class.NUMBER
        case f.Where():
            return max(class_of(expr.args[1]), class_of(expr.args[2]))
        case Sum() | Prod() | Max() | Min():
            return Class.INT if class_of(expr.body) in (Class.BOOL, Class.INT) else Class.REAL
        case Pow():
            base, exponent = expr.args
            return class_of(base) if isinstance(exponent, Integer) and exponent > 0 else Class.REAL
        case Mul():
            classes = {class_of(arg) for arg in expr.args}
            return Class.BOOL if classes == {Class.BOOL} else _counted(max(classes))
    if isinstance(expr, _TRUTHS):
        return Class.BOOL
    if isinstance(expr, _OF_ARGUMENTS):
        return _counted(max(map(class_of, expr.args)))
    return Class.REAL


def _counted(kind: Class) -> Class:
    """Arithmetic on truth values gives integers."""
    return Class.INT if kind is Class.BOOL else kind

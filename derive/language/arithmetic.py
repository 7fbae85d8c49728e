"""Operators on SymPy expressions, with exact numbers kept small and real.

SymPy computes with constants as they meet: ``10**10**10`` would fill the
memory, ``log(-1)`` is imaginary, ``1/0`` infinite. Each is refused here, at
the operator that would do it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import sympy
from sympy import Expr, Integer, Rational, S

from derive.algebra.functions import BY_NAME
from derive.errors import LayerSyntaxError, Span

__all__ = ["MAX_BITS", "apply", "check_range", "checked", "operate", "power"]

# Numerators and denominators of everything that float64 holds have at most 1076 bits.
MAX_BITS = 1100
_FLOAT_BITS = 1024
_FACTORIAL_LIKE = ("lgamma", "digamma", "polygamma")


def operate(operator: str, operands: Sequence[Expr], at: Span) -> Expr:
    """Return the value of an operator of the language.

    Raises:
        LayerSyntaxError: a constant is too large, infinite or not real.
    """
    return checked(_guarded(lambda: _operated(operator, operands, at), at), at)


def _operated(operator: str, operands: Sequence[Expr], at: Span) -> Expr:
    value: Expr
    match operator, operands:
        case "+", (a, b):
            value = a + b
        case "-", (a, b):
            value = a - b
        case "*", (a, b):
            value = a * b
        case "/", (a, b):
            _check_divisor(b, at)
            value = a / b
        case "**", (a, b):
            value = power(a, b, at)
        case "neg", (a,):
            value = -a
        case "pos", (a,):
            value = a
        case _:
            if operator in ("//", "%"):
                _check_divisor(operands[1], at)
            value = BY_NAME[operator].cls(*operands)
    return value


def apply(name: str, arguments: Sequence[Expr], at: Span) -> Expr:
    """Return the value of an elementwise function; ``sqrt``, ``rsqrt`` and ``square`` are powers.

    Raises:
        LayerSyntaxError: a constant is too large, infinite or not real.
    """
    if name in _POWERS:
        return checked(_guarded(lambda: power(arguments[0], _POWERS[name], at), at), at)
    if name in _FACTORIAL_LIKE and all(a.is_number for a in arguments):
        largest = 1000 if len(arguments) == 1 else 20
        if any(abs(a) > largest if a.is_Rational else a.is_finite is False for a in arguments):
            raise LayerSyntaxError(f"'{name}' of a constant above {largest}", at, "write its value")
    if name == "exp" and arguments[0].has(sympy.log) and _bits(arguments[0]) > 12:
        raise LayerSyntaxError("a constant too large", at, _TOO_LARGE)
    make: Callable[..., Expr] = BY_NAME[name].cls
    return checked(_guarded(lambda: make(*arguments), at), at)


def _guarded(compute: Callable[[], Expr], at: Span) -> Expr:
    """Compute; where SymPy itself gives up on a constant, that is an error of the text."""
    try:
        return compute()
    except (ArithmeticError, NotImplementedError, RecursionError, TypeError, ValueError):
        raise LayerSyntaxError("a value that can't be computed", at, _TOO_LARGE) from None


_POWERS: dict[str, Expr] = {"sqrt": S.Half, "rsqrt": -S.Half, "square": Integer(2)}
_TOO_LARGE = "constants are exact; write a number of this size as a literal, such as 1e30"


def power(base: Expr, exponent: Expr, at: Span) -> Expr:
    """Return ``base**exponent`` where no constant in it explodes."""
    if base.is_zero and exponent.is_negative:
        raise LayerSyntaxError("a division by zero", at)
    size = max((abs(number) for number in exponent.atoms(Rational)), default=Integer(0))
    if size > 16:
        # (2*x)**n multiplies 2 out; (x + 2)**n stays as it is.
        inner = base.base if isinstance(base, sympy.Pow) else base
        numbers = inner if inner.is_number else inner.as_independent(sympy.Symbol, as_Add=False)[0]
        if size * _bits(numbers) > MAX_BITS:
            raise LayerSyntaxError("a constant too large", at, _TOO_LARGE)
    return base**exponent


def _bits(expr: Expr) -> int:
    """Return the length of the longest number in an expression; 1 has none."""
    return max((max(abs(int(n.p)) - 1, int(n.q) - 1, 0).bit_length() for n in expr.atoms(Rational)), default=0)


def check_range(expr: Expr, at: Span) -> Expr:
    """Return an expression whose constants float64 holds."""
    for number in expr.atoms(Rational):
        if number.is_finite and abs(int(number.p)) >> _FLOAT_BITS >= int(number.q):
            raise LayerSyntaxError("a constant too large", at, "the largest number of float64 is about 1.8e308")
    return expr


def _check_divisor(divisor: Expr, at: Span) -> None:
    if divisor.is_zero:
        raise LayerSyntaxError("a division by zero", at)


def checked(value: Expr, at: Span) -> Expr:
    """Return a value that is real and, where it is a number, of bounded length."""
    for constant in (value.as_coeff_Mul()[0], value.as_coeff_Add()[0]):
        if isinstance(constant, Rational) and _bits(constant) > MAX_BITS:
            raise LayerSyntaxError("a constant too large", at, _TOO_LARGE)
    if isinstance(value, Rational):
        return value
    imaginary = value.has(S.ImaginaryUnit, S.ComplexInfinity, S.NaN, sympy.AccumBounds)
    if imaginary or (value.is_number and value.is_extended_real is False):
        raise LayerSyntaxError("a value that is not a real number", at, "it lies outside the domain of the function")
    return value

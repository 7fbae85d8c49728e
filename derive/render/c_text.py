"""Expressions in C: real ones in ``real``, places and sizes in ``ptrdiff_t``.

    (real)0.5 * (gamma[d] * dy[n * D + d] - mean)

A number without a point is an ``int`` and takes the type of what it meets; all
others are cast, since a plain ``0.5`` would turn a whole expression to double.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import sympy
from sympy import Add, Expr, Integer, Mul, Pow, S

from derive.algebra import functions as f
from derive.algebra.indices import free_indices
from derive.algebra.nodes import BATCH_SIZE, Delta, Element, Hyper, Index, Kind, Padded, Size
from derive.algebra.windows import Quotient
from derive.nests.pieces import Apart
from derive.render.c_functions import SPELLINGS, TRUTHS

__all__ = ["Text"]

_OR, _AND, _EQUAL, _LESS, _SUM, _PRODUCT, _UNARY, _ATOM = range(1, 9)
_CHOICE = 0
_LEVELS = {"||": _OR, "&&": _AND, "==": _EQUAL, "!=": _EQUAL, "<": _LESS, "<=": _LESS, ">": _LESS, ">=": _LESS}
_SIZED = (f.Maximum, f.Minimum)
Text_ = tuple[str, int]


def _atom(text: Text_, least: int = _ATOM) -> str:
    return text[0] if text[1] >= least else f"({text[0]})"


@dataclass(slots=True)
class Text:
    """Writes the expressions of one function.

    Attributes:
        names: the C name of each tensor, size and hyper-parameter.
        shapes: the axes of each array; () for a number behind a pointer. A variable is not in it.
        letters: the C name of each loop's letter, in scope.
        used: functions of ours that were written.
    """

    names: Mapping[str, str]
    shapes: Mapping[str, tuple[Expr, ...]]
    letters: dict[Index, str] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    # Integers

    def is_int(self, e: Expr) -> bool:
        """Return whether a value is computed in integers."""
        if isinstance(e, (Index, Size, Integer)):
            return True
        if isinstance(e, Hyper):
            return e.kind in (Kind.INT, Kind.BOOL)
        if isinstance(e, Element):
            return not e.kind.differentiable
        if isinstance(e, Padded):
            return self.is_int(e.element)
        if isinstance(e, (*TRUTHS, f.Not, Delta)):
            return True
        if isinstance(e, (Add, Mul, f.FloorDiv, f.Mod, f.Floor, f.Ceil, f.Round, sympy.Abs, *_SIZED)):
            return all(map(self.is_int, e.args))
        if isinstance(e, (f.Where, f.Guard)):
            return all(map(self.is_int, e.args[1:]))
        if isinstance(e, f.StopGradient) or type(e) is Apart:
            return self.is_int(e.args[0])
        if isinstance(e, Pow):
            return self.is_int(e.base) and e.exp.is_Integer and bool(e.exp >= 0)
        return False

    def whole(self, e: Expr) -> str:
        """Return an integer expression, to stand alone."""
        return self._whole(e)[0]

    def factor(self, e: Expr) -> str:
        """Return an integer expression, to stand as the right factor of a product."""
        return _atom(self._whole(e))

    def _whole(self, e: Expr) -> Text_:
        if isinstance(e, Integer):
            return str(e), _ATOM if e >= 0 else _UNARY
        if isinstance(e, Index):
            return self.letters[e], _ATOM
        if isinstance(e, Size):
            return ("batch" if e == BATCH_SIZE else self.names[e.name]), _ATOM
        if isinstance(e, Hyper):
            return self.names[e.name], _ATOM
        if isinstance(e, (Element, Padded)):
            return self._read(e)
        if isinstance(e, Add):
            return self._sum(e, self._whole)
        if isinstance(e, Mul):
            number, rest = e.as_coeff_Mul()
            factors = sorted(Mul.make_args(rest), key=lambda x: (bool(free_indices(x)) ^ True, str(x)))
            parts = [_atom(self._whole(x), _PRODUCT + (k > 0)) for k, x in enumerate(factors)]
            if number == -1:
                return f"-{parts[0]}" + "".join(f" * {p}" for p in parts[1:]), _PRODUCT if parts[1:] else _UNARY
            return " * ".join(([str(number)] if number != 1 else []) + parts), _PRODUCT
        if isinstance(e, Quotient):
            return f"{_atom(self._whole(e.args[0]), _PRODUCT)} / {_atom(self._whole(e.args[1]))}", _PRODUCT
        if isinstance(e, (f.FloorDiv, f.Mod)):
            name = "floor_divide" if isinstance(e, f.FloorDiv) else "floor_modulo"
            self.used.add(name)
            return f"{name}({', '.join(map(self.whole, e.args))})", _ATOM
        if isinstance(e, (*TRUTHS, f.Not, Delta)):
            return self._truth(e)
        if isinstance(e, (f.Where, f.Guard)):
            return self._choice(*(self._whole(a) for a in e.args[1:]), condition=e.args[0])
        if isinstance(e, _SIZED):
            a, b = map(self._whole, e.args)
            op = ">" if isinstance(e, f.Maximum) else "<"
            return f"{_atom(a, _SUM)} {op} {_atom(b, _SUM)} ? {a[0]} : {b[0]}", _CHOICE
        if isinstance(e, sympy.Abs):
            a = self._whole(e.args[0])
            return f"{_atom(a, _SUM)} < 0 ? -{_atom(a)} : {a[0]}", _CHOICE
        if isinstance(e, Pow) and e.exp.is_Integer and e.exp > 0:
            return " * ".join([_atom(self._whole(e.base))] * int(e.exp)), _PRODUCT
        if isinstance(e, (f.Floor, f.Ceil, f.Round, f.StopGradient, Apart)):
            return self._whole(e.args[0])
        raise AssertionError(f"render: no integer expression in C: {e}")

    # Real numbers

    def value(self, e: Expr) -> str:
        """Return a real expression, to stand alone."""
        return self._real(e.args[0] if type(e) is Apart else e)[0]

    def typed(self, e: Expr, *, real: bool) -> str:
        """Return an expression of a number of that kind."""
        return self.value(e) if real else self.whole(e)

    def _real(self, e: Expr) -> Text_:
        if isinstance(e, Integer) and abs(e) < 2**24:
            return str(e), _ATOM if e >= 0 else _UNARY
        if e in (S.Infinity, S.NegativeInfinity):
            return ("INFINITY", _ATOM) if e == S.Infinity else ("-INFINITY", _UNARY)
        if e.is_number and not e.has(Element, Index):
            return self._number(float(e))
        if isinstance(e, Hyper) and e.kind.differentiable:
            return self.names[e.name], _ATOM
        if self.is_int(e):
            if isinstance(e, (*TRUTHS, f.Not, Delta)):
                return self._truth(e)
            return f"(real){_atom(self._whole(e))}", _UNARY
        if isinstance(e, (Element, Padded)):
            return self._read(e)
        if isinstance(e, Add):
            return self._sum(e, self._real)
        if isinstance(e, Mul):
            return self._product(e)
        if isinstance(e, Pow):
            return self._power(e.base, e.exp)
        if isinstance(e, f.StopGradient) or type(e) is Apart:
            text = self._real(e.args[0])
            return (f"({text[0]})", _ATOM) if type(e) is Apart else text
        if isinstance(e, (f.Where, f.Guard)):
            return self._choice(*(self._real(a) for a in e.args[1:]), condition=e.args[0])
        if isinstance(e, (*TRUTHS, f.Not, Delta)):
            return self._truth(e)
        spelling = SPELLINGS.get(type(e))
        if spelling is None and isinstance(e, f.FloorDiv):
            spelling = SPELLINGS[f.FloorDiv]
        if spelling is not None:
            self.used.update(spelling.helpers)
            args = [self.value(a) for a in e.args]
            if "{" in spelling.text and not spelling.helpers and isinstance(e.args[0], Integer):
                args = [f"(real){a}" for a in args]
            return spelling.text.format(*args), _ATOM
        raise AssertionError(f"render: no expression in C: {e!r}")

    def _number(self, value: float) -> Text_:
        if value < 0:
            text, _ = self._number(-value)
            return f"-{text}", _UNARY
        return f"(real){value!r}", _UNARY

    def _sum(self, e: Expr, write: object) -> Text_:
        plus: list[tuple[tuple[object, ...], Expr]] = []
        minus: list[tuple[tuple[object, ...], Expr]] = []
        for term in e.args:
            negative = term.as_coeff_Mul()[0].is_negative or term == S.NegativeInfinity
            key = (-len(free_indices(term)), not isinstance(term, Apart), str(term))
            (minus if negative else plus).append(((term.is_number, *key), -term if negative else term))
        plus.sort(key=lambda item: item[0])
        minus.sort(key=lambda item: item[0])
        assert callable(write)
        parts = [_atom(write(t), _SUM) for _, t in plus]
        text = " + ".join(parts)
        for _, t in minus:
            part = _atom(write(t), _PRODUCT)
            text = f"{text} - {part}" if text else f"-{_atom(write(t))}"
        return text, _SUM

    def _product(self, e: Expr) -> Text_:
        number, rest = S.One, []
        below: list[Expr] = []
        for factor in Mul.make_args(e):
            if factor.is_number:
                number *= factor
            elif isinstance(factor, Pow) and factor.exp.is_number and factor.exp.is_negative:
                below.append(Pow(factor.base, -factor.exp))
            else:
                rest.append(factor)
        negative = bool(number.is_negative)
        number = abs(number)
        rest.sort(key=lambda x: (len(free_indices(x)), not isinstance(x, Element), str(x)))
        parts: list[str] = []
        if number.is_Rational and not number.is_Integer and number.p == 1 and number.q < 2**20:
            below.insert(0, Integer(number.q)) if rest and not below else parts.append(self._number(float(number))[0])
        elif number != 1:
            parts.append(self._real(number)[0])
        if below and below[0].is_Integer and rest:
            parts.append(self._number(float(number))[0])
            below = below[1:]
        parts += [_atom(self._real(x), _UNARY if k + len(parts) else _PRODUCT) for k, x in enumerate(rest)]
        if not parts:
            parts = ["1"]
        text, level = " * ".join(parts), _PRODUCT
        if len(parts) == 1 and not below:
            level = _UNARY
        if below:
            under = [self._real(x) for x in below]
            divisor = (
                _atom(under[0], _UNARY) if len(under) == 1 else "(" + " * ".join(_atom(u, _UNARY) for u in under) + ")"
            )
            text = f"{text} / {divisor}"
        return (f"-{text}", _PRODUCT if level == _PRODUCT else _UNARY) if negative else (text, level)

    def _power(self, base: Expr, exponent: Expr) -> Text_:
        if exponent.is_number and exponent.is_negative:
            return f"1 / {_atom(self._real(Pow(base, -exponent)))}", _PRODUCT
        text = self._real(base.args[0] if type(base) is Apart else base)
        plain = isinstance(base, Element)
        if exponent == S.Half:
            return f"sqrt({text[0]})", _ATOM
        if exponent == Integer(2):
            if plain:
                return f"{text[0]} * {text[0]}", _PRODUCT
            self.used.add("square")
            return f"square({text[0]})", _ATOM
        if exponent == Integer(3) and plain:
            return f"{text[0]} * {text[0]} * {text[0]}", _PRODUCT
        if exponent == Integer(4):
            self.used.add("square")
            inner = f"{text[0]} * {text[0]}" if plain else f"square({text[0]})"
            return f"square({inner})", _ATOM
        if exponent == sympy.Rational(3, 2) and plain:
            return f"{text[0]} * sqrt({text[0]})", _PRODUCT
        first = f"(real){text[0]}" if isinstance(base, Integer) else text[0]
        second = f"(real){self.whole(exponent)}" if isinstance(exponent, Integer) else self.value(exponent)
        return f"pow({first}, {second})", _ATOM

    # Either

    def _choice(self, a: Text_, b: Text_, *, condition: Expr) -> Text_:
        return f"{_atom(self._condition(condition), _OR)} ? {_atom(a, _OR)} : {_atom(b, _CHOICE)}", _CHOICE

    def _condition(self, e: Expr) -> Text_:
        if isinstance(e, (*TRUTHS, f.Not, Delta)):
            return self._truth(e)
        return self._whole(e) if self.is_int(e) else self._real(e)

    def _truth(self, e: Expr) -> Text_:
        if isinstance(e, f.Not):
            return f"!{_atom(self._condition(e.args[0]))}", _UNARY
        op = "==" if isinstance(e, Delta) else TRUTHS[type(e)]
        if op in ("&&", "||"):
            a, b = map(self._condition, e.args)
            return f"{_atom(a, _EQUAL)} {op} {_atom(b, _EQUAL)}", _LEVELS[op]  # && in || wants parentheses
        write = self._whole if all(map(self.is_int, e.args)) else self._real
        a, b = map(write, e.args)
        return f"{_atom(a, _SUM)} {op} {_atom(b, _SUM)}", _LEVELS[op]

    def inside(self, place: Expr, size: Expr) -> str:
        """Return the condition that a place lies inside an axis."""
        if size == 1 and isinstance(place, Add):
            minus = Add(*(-t for t in place.args if t.as_coeff_Mul()[0].is_negative))
            a, b = self._whole(place + minus), self._whole(minus)
            return f"{_atom(a, _SUM)} == {_atom(b, _SUM)}"
        text = self._whole(place)
        return f"{_atom(text, _SUM)} >= 0 && {_atom(text, _SUM)} < {_atom(self._whole(size), _SUM)}"

    def _read(self, e: Expr) -> Text_:
        if isinstance(e, Padded):
            element = e.element
            tests = [
                self.inside(s, n)
                for s, n in zip(element.subscripts, self.shapes[element.name], strict=True)
                if not (isinstance(s, Index) and s.size == n)
            ]
            if not tests:
                return self._read(element)
            fill = self.whole(e.fill) if self.is_int(element) else self.value(e.fill)
            return f"{' && '.join(tests)} ? {self._read(element)[0]} : {fill}", _CHOICE
        assert isinstance(e, Element)
        return self.access(e.name, e.subscripts), _ATOM

    def access(self, name: str, subscripts: Sequence[Expr]) -> str:
        """Return an element of an array, or a variable."""
        own = self.names[name]
        if name not in self.shapes:
            return own
        return f"{own}[{self.offset(subscripts, self.shapes[name])}]"

    def offset(self, subscripts: Sequence[Expr], shape: Sequence[Expr]) -> str:
        """Return the number of an element: ``(n * C + c) * H + i``."""
        result: Text_ | None = None
        for subscript, size in zip(subscripts, shape, strict=True):
            own = self._whole(subscript)
            if own[0] == "0" and result is None:
                continue
            if result is None:
                result = own
                continue
            length = _atom(self._whole(size))
            head = f"{_atom(result, _PRODUCT if result[1] == _PRODUCT else _UNARY)} * {length}"
            result = (head, _PRODUCT) if own[0] == "0" else (f"{head} + {_atom(own, _SUM)}", _SUM)
        return "0" if result is None else result[0]

"""One expression of the index calculus as one whole-array expression.

``lower(expr, order)`` gives an array *placed* in ``order`` (see
:mod:`derive.lower.layout`). Sums go to :mod:`derive.lower.contraction`, reads
with subscripts other than distinct indices to :mod:`derive.lower.gather`.

The order of factors and terms is ours, not SymPy's: numbers first, then the
arrays with the fewest axes, then those that are defined first; what is
subtracted comes after what is added. That is cheap (a product of small arrays
stays small) and how one writes it: ``gamma * rstd / N * (N * dy - dbeta)``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import sympy
from sympy import Add, Expr, Integer, Mul, Pow, Rational, S

from derive.algebra.functions import (
    BY_CLASS,
    BY_NAME,
    And,
    Clip,
    Eq,
    Floor,
    FloorDiv,
    Ge,
    Gt,
    Guard,
    Le,
    Lt,
    Maximum,
    Minimum,
    Mod,
    Ne,
    Not,
    Or,
    Sign,
    StopGradient,
    Where,
    _Truth,
)
from derive.algebra.indices import elements, free_indices, names
from derive.algebra.nodes import (
    ArgMax,
    Delta,
    Element,
    Index,
    KeepingReduction,
    Kind,
    LogSumExp,
    Max,
    Mean,
    Min,
    Norm,
    Prod,
    Reduction,
    Std,
    Sum,
    Var,
)
from derive.algebra.text import show
from derive.lower.affine import Ranges
from derive.lower.arrays import (
    Apply,
    Array,
    Assign,
    Axis,
    Binary,
    Cast,
    Dtype,
    Function,
    Helper,
    Name,
    Number,
    Range,
    Read,
    Reduce,
    Transpose,
    Unary,
)
from derive.lower.layout import join, natural_order, place
from derive.lower.plan import Counter
from derive.lower.scalars import is_number
from derive.lower.scans import Accumulated, accumulated

__all__ = ["Expressions", "as_real", "contracts", "is_truth", "number", "separate"]

_METHODS: dict[type[Expr], str] = {
    Sum: "sum", Mean: "mean", Prod: "prod", Max: "max", Min: "min", Var: "var", Std: "std", ArgMax: "argmax",
}  # fmt: skip
_HELPERS = {Norm: Function.NORM, LogSumExp: Function.LOGSUMEXP}
# Functions with whole values at whole arguments.
_WHOLE = (sympy.Abs, Sign, Maximum, Minimum, Clip)

_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}


def as_real(array: Array) -> Array:
    """Return the array in the working precision, if it isn't already."""
    if array.dtype in (Dtype.REAL, Dtype.NUMBER):
        return array
    return Cast(array.axes, Dtype.REAL, (array,))


def is_truth(expr: Expr) -> bool:
    """Return whether an expression has truth values: a comparison or an element of a mask."""
    return isinstance(expr, _Truth) or (isinstance(expr, Element) and expr.kind is Kind.BOOL)


def number(value: Expr | int) -> Number:
    """Return a Python number as an array without axes."""
    return Number((), Dtype.NUMBER, value=sympy.sympify(value))


class Expressions:
    """Lowers expressions; knows of the names in which order they are defined, and their sizes.

    Attributes:
        shapes: the sizes of every tensor's axes, in order of definition.
        positions: the place of a name in that order.
        nonpositive: names whose values are at most 0.
        masked: names of softmaxes whose rows may be masked altogether, read only under their masks.
        timed: names whose values at the steps of a loop are rows of an axis, and the place of that axis.
        ranges: what is known of the sizes.
        taken: the names in use.
        before: what has to be computed before the statement that is being lowered.
        large: the names among these that are deleted after it.
        grouped: whether axes may be merged for a matrix product though no windows are among the factors.
        spare: arrays that nobody reads again, each until it is handed on as the array of another name.
        handed: those that have been.
        matrices: the names of arrays with merged axes, by what they are made of; every function has its own.
        centred: the names of deviations from a mean, and the indices of the mean.
    """

    def __init__(
        self,
        shapes: Mapping[str, tuple[Expr, ...]],
        nonpositive: frozenset[str] = frozenset(),
        masked: frozenset[str] = frozenset(),
        timed: Mapping[str, int] | None = None,
        ranges: Ranges | None = None,
        taken: set[str] | None = None,
    ) -> None:
        self.shapes = dict(shapes)
        self.nonpositive = nonpositive
        self.masked = masked
        self.timed = timed or {}
        self.ranges = ranges or Ranges()
        self.taken = taken if taken is not None else set(shapes)
        self.before: list[Assign] = []
        self._locals: dict[Array, str] = {}
        self._counters: dict[str, Counter] = {}
        self._windows: dict[str, frozenset[Index]] = {}
        self._passed: dict[str, str] = {}
        self.large: set[str] = set()
        self.grouped = False
        self.spare: set[str] = set()
        self.handed: set[str] = set()
        self.matrices: dict[object, str] = {}
        self.centred: dict[str, tuple[Index, ...]] = {}
        self.positions = {name: k for k, name in enumerate(shapes)}

    def lower(self, expr: Expr, order: Sequence[Axis]) -> Array:
        """Return ``expr`` placed in ``order``, which has all its free indices."""
        if is_number(expr):
            return number(expr)
        if isinstance(expr, Element):
            from derive.lower.gather import element

            return element(self, expr, order)
        if isinstance(expr, Index):
            return place(Range((expr,), Dtype.INT, size=expr.size), order)
        if isinstance(expr, Add):
            return self._add(expr, order)
        if isinstance(expr, Mul):
            negative, array = self._product(expr, order)
            return self._negated(array) if negative else array
        if isinstance(expr, Pow):
            return self._power(expr.base, expr.exp, order)
        if isinstance(expr, Delta):
            return self.lower(Eq(*expr.args), order)
        if isinstance(expr, Reduction):
            return place(self.reduction(expr, order), order)
        if isinstance(expr, Accumulated):
            return place(accumulated(self, expr, tuple(order)), order)
        assert not isinstance(expr, KeepingReduction), f"lower: {show(expr)} inside an expression"
        return self._function(expr, order)

    def local(self, stem: str, array: Array, offsets: Sequence[Index] = (), *, large: bool = False) -> Array:
        """Return an array under a name of its own, which ``before`` gives it; the same array has the same name.

        Args:
            stem: of the name.
            array: what the name stands for.
            offsets: where it is a view of windows, the letters by which these are moved.
            large: whether the name is deleted after the statement.
        """
        if large:
            name = self._passing(stem, array)
        elif array in self._locals:
            name = self._locals[array]
        else:
            name = self._locals[array] = self.fresh(stem)
        if offsets:
            self._windows[name] = frozenset(offsets)
        if large:
            self.large.add(name)
        assignment = Assign(name, array)
        if assignment not in self.before:
            self.before.append(assignment)
        return Name(array.axes, array.dtype, name=name)

    def _passing(self, stem: str, array: Array) -> str:
        """Return a name for one statement; the next one may use it for another array."""
        held = {a.name: a.value for a in self.before}
        number = 1
        while True:
            key = stem if number == 1 else f"{stem}{number}"
            if key not in self._passed:
                self._passed[key] = self.fresh(key)
            name = self._passed[key]
            if held.get(name, array) == array:
                return name
            number += 1

    def window_name(self, array: Array) -> str | None:
        """Return the name of the view of windows of which an array has the axes, or None."""
        array = array.args[0] if isinstance(array, Transpose) else array
        return array.name if isinstance(array, Name) and array.name in self._windows else None

    def is_window(self, array: Array) -> bool:
        """Return whether an array is a view of windows."""
        return self.window_name(array) is not None

    def window_letters(self, array: Array) -> frozenset[Index]:
        """Return the letters by which the windows are moved."""
        return self._windows.get(self.window_name(array) or "", frozenset())

    def counter(self, letter: Index) -> Counter:
        """Return the counter of a loop over a letter, the same for all loops over that letter."""
        if letter.name not in self._counters:
            self._counters[letter.name] = Counter(self.fresh(letter.name))
        return self._counters[letter.name]

    def fresh(self, stem: str) -> str:
        """Return a name that nothing has."""
        name, number = stem, 2
        while name in self.taken:
            name, number = f"{stem}{number}", number + 1
        self.taken.add(name)
        return name

    def full(self, expr: Expr, outer: Sequence[Axis]) -> Array:
        """Return ``expr`` with its own natural axes, ties broken by ``outer``."""
        return self.lower(expr, natural_order([expr], outer))

    # The order of factors and terms

    def key(self, expr: Expr) -> tuple[object, ...]:
        """Order expressions of equal rank: reads, ``1 - t``, functions, sums; then what is defined first; then text."""
        last = len(self.positions)
        places = tuple(sorted(self.positions.get(n, last) for n in names(expr)))
        base = expr.base if isinstance(expr, Pow) else expr
        looks = 0 if isinstance(base, Element) else 2
        if isinstance(base, Add):
            looks = 1 if all(is_number(t) or isinstance(t.as_coeff_Mul()[1], Element) for t in base.args) else 3
        return (looks, places or (last,), show(expr))

    # Arithmetic

    def binary(self, op: str, a: Array, b: Array) -> Array:
        """Return ``a op b`` for an arithmetic operator, in the dtype that it should have."""
        if isinstance(a, Number) and isinstance(b, Number):
            x, y = a.value, b.value
            return number({"+": x + y, "-": x - y, "*": x * y, "/": x / y, "**": x**y}[op])
        kinds = {a.dtype, b.dtype}
        if Dtype.REAL in kinds:
            if op == "*" and a.dtype is Dtype.BOOL:
                a, b = b, a
            if not kinds <= {Dtype.REAL, Dtype.NUMBER, Dtype.BOOL}:
                a, b = as_real(a), as_real(b)
            return Binary(join((a, b)), Dtype.REAL, (a, b), op=op)
        if kinds == {Dtype.BOOL} and op == "*":
            return Binary(join((a, b)), Dtype.BOOL, (a, b), op="&")
        whole = Dtype.INT in kinds and all(
            x.dtype in (Dtype.INT, Dtype.BOOL) or (isinstance(x, Number) and x.value.is_integer) for x in (a, b)
        )
        if whole and op in ("+", "-", "*"):
            return Binary(join((a, b)), Dtype.INT, (a, b), op=op)
        a, b = as_real(a), as_real(b)
        return Binary(join((a, b)), Dtype.REAL, (a, b), op=op)

    def _negated(self, array: Array) -> Array:
        if isinstance(array, Number):
            return number(-array.value)
        if array.dtype is Dtype.BOOL:
            array = as_real(array)
        if isinstance(array, Binary) and array.op in ("*", "/"):
            first = array.args[0]
            if isinstance(first, (Number, Read)) or (isinstance(first, Binary) and first.op in ("*", "/")):
                return replace(array, args=(self._negated(first), array.args[1]))
        return Unary(array.axes, array.dtype, (array,), op="-")

    def _add(self, expr: Expr, order: Sequence[Axis]) -> Array:
        parts = _joined_choices(expr.args)
        if len(parts) == 1:
            return self.lower(parts[0], order)
        constant = Add(*(t for t in parts if is_number(t)))
        rest = [t for t in parts if not is_number(t)]
        if constant == 1 and len(rest) == 1 and isinstance(-rest[0], _Truth):
            return self._truth(Not(-rest[0]), order)
        plus: list[tuple[tuple[object, ...], Expr]] = []
        minus: list[tuple[tuple[object, ...], Expr]] = []
        for term in rest:
            coefficient, _ = term.as_coeff_Mul()
            rank = len(free_indices(term))
            if coefficient.is_negative:
                minus.append(((rank, *self.key(-term)), -term))
            else:
                plus.append(((-rank, *self.key(term)), term))
        if constant != 0:
            if constant.could_extract_minus_sign() and plus:
                minus.insert(0, ((0,), -constant))
            else:
                plus.append(((-99,) if constant.is_Integer else (1,), constant))
        plus.sort(key=lambda item: item[0])
        minus.sort(key=lambda item: item[0])
        result: Array | None = None
        for _, term in plus:
            array = self.lower(term, order)
            result = array if result is None else self.binary("+", result, array)
        for _, term in minus:
            array = self.lower(term, order)
            result = self._negated(array) if result is None else self.binary("-", result, array)
        assert result is not None
        return result

    def _product(self, expr: Expr, order: Sequence[Axis]) -> tuple[bool, Array]:
        """Return whether the product is negative, and its absolute value."""
        coefficient, _ = expr.as_coeff_Mul()
        negative = bool(coefficient.is_negative)
        if negative:
            expr = -expr
        above: list[Expr] = []
        below: list[Expr] = []
        numbers = S.One
        divisor = S.One
        for factor in Mul.make_args(expr):
            if is_number(factor):
                top, bottom = _fraction(factor)
                numbers, divisor = numbers * top, divisor * bottom
            elif isinstance(factor, Pow) and factor.exp.is_number and factor.exp.is_negative:
                below.append(Pow(factor.base, -factor.exp))
            elif isinstance(factor, Pow) and isinstance(factor.base, Element) and factor.exp in (2, 3):
                above += [factor.base] * int(factor.exp)
            else:
                above.append(factor)
        if not above and not below:
            return negative, number(expr)
        numbers, divisor = _without_root(numbers, divisor)
        chosen = self._chosen(numbers / divisor, above, below, order)
        if chosen is not None:
            return negative, chosen
        result: Array | None = None
        if numbers != 1:
            result, divisor = number(numbers / divisor), S.One
        above = [_as_truth(f) for f in above]
        truths = [f for f in above if is_truth(f)]
        rest = [f for f in above if f not in truths]
        for rank in sorted({len(free_indices(f)) for f in (*rest, *below)}):
            for factor in sorted((f for f in rest if len(free_indices(f)) == rank), key=self.key):
                array = self.lower(factor, order)
                result = array if result is None else self.binary("*", result, array)
            if divisor != 1 and result is not None:
                result, divisor = self.binary("/", result, number(divisor)), S.One
            under = sorted((f for f in below if len(free_indices(f)) <= rank), key=self.key)
            if under and (result is not None or not any(len(free_indices(f)) > rank for f in rest)):
                below = [f for f in below if f not in under]
                result = self.binary("/", result or number(1), self.lower(Mul(*under), order))
        for factor in sorted(truths, key=self.key):
            array = self.lower(factor, order)
            if result is not None and result.dtype is not Dtype.REAL:
                result = as_real(result) if not isinstance(result, Number) else result
                array = as_real(array) if isinstance(result, Number) else array
            result = array if result is None else self.binary("*", result, array)
        if below:
            assert result is not None
            result = self.binary("/", result, self.lower(Mul(*below), order))
        assert result is not None
        if divisor != 1:
            result = self.binary("/", result, number(divisor))
        return negative, result

    def _chosen(self, numbers: Expr, above: list[Expr], below: list[Expr], order: Sequence[Axis]) -> Array | None:
        """Return ``where(c, dy, s*dy)`` for ``dy * where(c, 1, s)``, whose numbers would be float64."""
        picks = [f for f in above if isinstance(f, Where) and all(map(is_number, f.args[1:])) and not is_number(f)]
        picks = [f for f in picks if f.args[1:] != (S.One, S.Zero)]
        rest = [f for f in above if f not in picks]
        if len(picks) != 1 or below or not rest:
            return None
        test, a, b = picks[0].args
        if not (S.Zero in (a, b) or (len(rest) == 1 and isinstance(rest[0], Element))):
            return None
        if not any(element.kind.differentiable for f in rest for element in elements(f)):
            return None
        return self.lower(Where(test, Mul(numbers, a, *rest), Mul(numbers, b, *rest)), order)

    def _power(self, base: Expr, exponent: Expr, order: Sequence[Axis]) -> Array:
        if exponent.is_number and exponent.is_negative:
            return self.binary("/", number(1), self.lower(Pow(base, -exponent), order))
        array = self.lower(base, order)
        if isinstance(exponent, Integer) and array.dtype is Dtype.BOOL:
            return array
        if isinstance(exponent, Integer) and 2 <= exponent <= 4:
            if exponent == 4:
                return self._square(self._square(array))
            if exponent == 2:
                return self._square(array)
            if isinstance(array, Read):
                return self.binary("*", self._square(array), array)
        if not (isinstance(exponent, Integer) and array.dtype is Dtype.INT):
            array = as_real(array)
        if exponent == S.Half:
            return Apply(array.axes, Dtype.REAL, (array,), spelling="np.sqrt({0})")
        if isinstance(exponent, Rational) and exponent.q == 2 and exponent < 4 and isinstance(array, Read):
            whole = self._power(base, exponent - S.Half, order) if exponent > 2 else array
            return self.binary("*", whole, Apply(array.axes, Dtype.REAL, (array,), spelling="np.sqrt({0})"))
        other = as_real(self.lower(exponent, order))
        return Binary(join((array, other)), array.dtype if array.dtype is Dtype.INT else Dtype.REAL,
                      (array, other), op="**")  # fmt: skip

    def _square(self, array: Array) -> Array:
        if isinstance(array, Read):
            return self.binary("*", array, array)
        return Apply(array.axes, array.dtype, (array,), spelling="np.square({0})")

    # Functions

    def _function(self, expr: Expr, order: Sequence[Axis]) -> Array:
        row = BY_CLASS[type(expr)]
        if isinstance(expr, StopGradient):
            return self.lower(expr.args[0], order)
        if isinstance(expr, _Truth):
            return self._truth(expr, order)
        if isinstance(expr, (Where, Guard)):
            return self._where(expr, order)
        args = tuple(self.lower(a, order) for a in expr.args)
        if isinstance(expr, (FloorDiv, Mod)):
            whole = all(a.dtype is Dtype.INT or (isinstance(a, Number) and a.value.is_integer) for a in args)
            if not whole:
                args = tuple(as_real(a) for a in args)
            dtype = Dtype.INT if whole else Dtype.REAL
            return Binary(join(args), dtype, args, op="//" if isinstance(expr, FloorDiv) else "%")
        if isinstance(expr, _WHOLE) and all(
            a.dtype is Dtype.INT or (isinstance(a, Number) and a.value.is_integer) for a in args
        ):
            return Apply(join(args), Dtype.INT, args, spelling=row.numpy)
        if isinstance(expr, Floor) and args[0].dtype is Dtype.INT:
            return args[0]
        args = tuple(as_real(a) for a in args)
        if isinstance(expr, sympy.polygamma) and isinstance(expr.args[0], Integer):
            return self._polygamma(int(expr.args[0]), args[1])
        return Apply(join(args), Dtype.REAL, args, spelling=row.numpy, scipy=row.scipy)

    def _polygamma(self, n: int, x: Array) -> Array:
        """The n-th derivative of digamma is (-1)**(n+1) n! zeta(n+1, x); SciPy's polygamma knows no float32."""
        if n == 0:
            return Apply(x.axes, Dtype.REAL, (x,), spelling=BY_NAME["digamma"].numpy, scipy=True)
        value: Array = Apply(x.axes, Dtype.REAL, (number(n + 1), x), spelling="zeta({0}, {1})", scipy=True)
        factor = sympy.factorial(n)
        if factor != 1:
            value = self.binary("*", number(factor), value)
        return value if n % 2 else self._negated(value)

    def _truth(self, expr: Expr, order: Sequence[Axis]) -> Array:
        """Return a comparison, or a combination of them, as an array of truth values."""
        if isinstance(expr, (And, Or)):
            a, b = (self._condition(x, order) for x in expr.args)
            return Binary(join((a, b)), Dtype.BOOL, (a, b), op="&" if isinstance(expr, And) else "|")
        if isinstance(expr, Not):
            inner = self._condition(expr.args[0], order)
            return Unary(inner.axes, Dtype.BOOL, (inner,), op="~")
        a, b = (self.lower(x, order) for x in expr.args)
        op = BY_CLASS[type(expr)].name
        if isinstance(a, Number) and not isinstance(b, Number):  # x > 0 rather than 0 < x
            a, b, op = b, a, _MIRRORED[op]
        return Binary(join((a, b)), Dtype.BOOL, (a, b), op=op)

    def _condition(self, expr: Expr, order: Sequence[Axis]) -> Array:
        """Return an expression as truth values: what isn't 0 holds."""
        array = self.lower(expr, order)
        if array.dtype is Dtype.BOOL or isinstance(array, Number):
            return array
        return Binary(array.axes, Dtype.BOOL, (array, number(0)), op="!=")

    def _where(self, expr: Expr, order: Sequence[Axis]) -> Array:
        simple = _as_truth(expr)
        if simple is not expr:
            return self._truth(simple, order)
        test, *branches = expr.args
        if isinstance(test, (Gt, Ge, Lt, Le)) and test.args == tuple(branches):
            larger = isinstance(test, (Gt, Ge))
            return self._function((Maximum if larger else Minimum)(*branches), order)
        condition = self._condition(test, order)
        a, b = (self.lower(x, order) for x in branches)
        kinds = {a.dtype, b.dtype}
        if Dtype.REAL in kinds:
            a, b = as_real(a), as_real(b)
            dtype = Dtype.REAL
        elif kinds == {Dtype.BOOL}:
            dtype = Dtype.BOOL
        elif kinds <= {Dtype.INT, Dtype.NUMBER} and all(x.is_integer for x in branches):
            if isinstance(a, Number) and isinstance(b, Number) and (a.value, b.value) == (1, 0):
                return condition
            dtype = Dtype.INT
        else:
            dtype = Dtype.WIDE
            if kinds != {Dtype.NUMBER}:
                a, b, dtype = as_real(a), as_real(b), Dtype.REAL
        numbers = isinstance(a, Number) + isinstance(b, Number)
        if isinstance(condition, Number) and a.axes == b.axes and numbers != 1:  # one: it would keep Python's type
            if numbers:
                dtype = Dtype.NUMBER
            return Apply(join((a, b)), dtype, (condition, a, b), spelling="({1} if {0} else {2})")
        return Apply(join((condition, a, b)), dtype, (condition, a, b), spelling="np.where({0}, {1}, {2})")

    # Reductions

    def reduction(self, expr: Reduction, order: Sequence[Axis]) -> Array:
        """Return a reduction, not placed yet: its axes are distinct indices in some order."""
        bound = expr.indices
        from derive.lower.contraction import contraction

        if isinstance(expr, Sum):
            outside, terms = separate(expr.body, bound)
            if outside != 1:
                return self.full(Mul(outside, Sum(terms, *bound)), order)
            if isinstance(terms, Add) and any(contracts(t, bound) for t in terms.args):
                return self.full(Add(*(_summed(t, bound) for t in terms.args)), order)
            return contraction(self, Mul.make_args(terms), bound, order)
        if isinstance(expr, Mean):
            outside, terms = separate(expr.body, bound)
            if outside != 1:
                return self.full(Mul(outside, Mean(terms, *bound)), order)
            if any(contracts(t, bound) for t in Add.make_args(terms)):
                return self.full(Sum(terms, *bound) / expr.count, order)
        return self.reduced(expr, order)

    def reduced(self, expr: Reduction, order: Sequence[Axis]) -> Array:
        """Return a reduction of the whole body, computed elementwise first."""
        inner = natural_order([expr.body], (*order, *expr.indices))
        body = self.lower(expr.body, inner)
        assert set(body.indices) == set(inner), f"lower: axes of {show(expr.body)}"
        body = replace(body, axes=inner) if body.axes != inner else body
        left = tuple(i for i in inner if i not in expr.indices)
        if isinstance(expr, (Norm, LogSumExp)):
            return Helper(left, Dtype.REAL, (as_real(body),), function=_HELPERS[type(expr)], over=expr.indices)
        if isinstance(expr, (Var, Std)):
            body = as_real(body)
        dtype = body.dtype
        if isinstance(expr, ArgMax) or (isinstance(expr, (Sum, Prod)) and dtype is Dtype.BOOL):
            dtype = Dtype.INT
        elif isinstance(expr, Mean) and dtype in (Dtype.BOOL, Dtype.INT):
            dtype = Dtype.WIDE
        return Reduce(left, dtype, (body,), op=_METHODS[type(expr)], over=expr.indices)


def _fraction(factor: Expr) -> tuple[Expr, Expr]:
    """Split a number into numerator and denominator, a short decimal left whole."""
    from derive.algebra.text import decimal

    if isinstance(factor, Rational) and not isinstance(factor, Integer):
        return (factor, S.One) if decimal(factor) is not None else (Integer(factor.p), Integer(factor.q))
    if isinstance(factor, Pow) and factor.exp.is_number and factor.exp.is_negative:
        return S.One, Pow(factor.base, -factor.exp)
    return factor, S.One


def _as_truth(expr: Expr) -> Expr:
    """Write a choice between truth values with and, or, not: where(c, a, 0) is ``c and a``."""
    if not isinstance(expr, Where):
        return expr
    test, a, b = expr.args[0], _as_truth(expr.args[1]), _as_truth(expr.args[2])
    if not isinstance(test, _Truth):
        return expr
    if (a, b) == (S.One, S.Zero):
        return test
    if (a, b) == (S.Zero, S.One):
        return _negation(test)
    if isinstance(a, _Truth) and b in (S.Zero, S.One):
        return And(test, a) if b == 0 else Or(_negation(test), a)
    if isinstance(b, _Truth) and a in (S.Zero, S.One):
        return And(_negation(test), b) if a == 0 else Or(test, b)
    return expr


def _negation(test: Expr) -> Expr:
    """Return ``not test``; of a comparison of order that is no comparison, because of nan."""
    if isinstance(test, Eq):
        return Ne(*test.args)
    if isinstance(test, Ne):
        return Eq(*test.args)
    return test.args[0] if isinstance(test, Not) else Not(test)


def _joined_choices(terms: Sequence[Expr]) -> tuple[Expr, ...]:
    """where(c, a, 0) + where(c, 0, b) is where(c, a, b), and a truth value is where(c, 1, 0)."""
    found: dict[Expr, list[tuple[Expr, Expr, Expr]]] = {}
    for term in terms:
        choice = next((f for f in Mul.make_args(term) if isinstance(f, Where)), None)
        if choice is not None and S.Zero in choice.args[1:]:
            rest = term / choice
            test, a, b = choice.args
            found.setdefault(test, []).append((term, rest * a, rest * b))
    result = list(terms)
    for test, choices in found.items():
        choices += [(t, t / test, S.Zero) for t in result if test in Mul.make_args(t)]
        a = [c for _, c, _ in choices if c != 0]
        b = [c for _, _, c in choices if c != 0]
        if len(choices) > 1 and a and b:
            result = [t for t in result if t not in [c for c, _, _ in choices]]
            result.append(Where(test, Add(*a), Add(*b)))
    return tuple(result)


def _without_root(numbers: Expr, divisor: Expr) -> tuple[Expr, Expr]:
    """sqrt(2)/2 * x is x / sqrt(2)."""
    coefficient, rest = numbers.as_coeff_Mul()
    if isinstance(rest, Pow) and rest.exp == S.Half and isinstance(rest.base, Integer):
        scale = coefficient * rest.base
        if scale.is_Integer:
            return scale, divisor * rest
    return numbers, divisor


def separate(body: Expr, bound: Sequence[Index]) -> tuple[Expr, Expr]:
    """Split a product into what has no bound index and the rest."""
    outside = [f for f in Mul.make_args(body) if not free_indices(f).intersection(bound)]
    inside = [f for f in Mul.make_args(body) if free_indices(f).intersection(bound)]
    return Mul(*outside), Mul(*inside)


def contracts(term: Expr, bound: Sequence[Index]) -> bool:
    """Return whether a term is best summed as a matrix product: no factor has all its indices."""
    factors = Mul.make_args(term)
    whole = frozenset().union(*map(free_indices, factors))
    return bool(whole.intersection(bound)) and not any(free_indices(f) == whole for f in factors)


def _summed(term: Expr, bound: Sequence[Index]) -> Expr:
    inside = free_indices(term)
    over = [i for i in bound if i in inside]
    times = Mul(*(i.size for i in bound if i not in inside))
    return times * (Sum(term, *over) if over else term)

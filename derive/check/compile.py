"""One element of one expression at a time, as a tree of Python closures.

``mean[n](x[n, d])`` becomes a function without arguments that reads ``d`` from
a list of current index values, lets ``n`` run, reads ``x`` from a dictionary
and returns a number. What it returns is what the formula says as it is
written: ``log(sum[k](exp(z[k])))`` takes those exponentials and that
logarithm. Nothing of the derivation, the simplifier or the array code takes
part, and SymPy is asked for nothing once the closures stand.

The numbers come from an mpmath context: ``multiprecision()`` with 50 digits,
or ``floats()``. A value outside the domain of a function is nan; ``where``
evaluates the selected branch only; a product with a Kronecker delta that is 0
is 0 without looking at the other factors.

A reduction or a transcendental function is kept in a table by the values of
its free indices, so ``mu[d]`` inside a loop over ``n`` is computed once a
``d``. Each table knows the tensors it came from, and is emptied when one of
them changes. The table of ``stop_gradient`` is not: when an input is moved to
see what changes, what it holds stays where it was.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import product
from random import Random
from typing import Any

import sympy
from sympy import Add, Expr, Integer, Mul, Pow, Rational, S

from derive.algebra.functions import (
    BY_CLASS,
    And,
    AtLeast,
    AtMost,
    Ceil,
    Clip,
    Eq,
    Floor,
    FloorDiv,
    Ge,
    Gt,
    Guard,
    Heaviside,
    Le,
    Lt,
    Maximum,
    Minimum,
    Mod,
    Ne,
    Not,
    Or,
    Relu,
    Round,
    Sign,
    StopGradient,
    Where,
    XLogY,
)
from derive.algebra.indices import elements, free_indices, names
from derive.algebra.nodes import (
    ArgMax,
    Delta,
    Element,
    Hyper,
    Index,
    KeepingReduction,
    Max,
    Min,
    Norm,
    Padded,
    Reduction,
    Size,
    Std,
    Sum,
)
from derive.algebra.text import show
from derive.check.contexts import rounded
from derive.check.instance import Instance
from derive.check.pieces import EDGES, EXACT, KINKS, SIDES, STRUCTURAL
from derive.check.ranges import over_all, picked
from derive.check.reads import element, padded, subscripts
from derive.check.reductions import KEEPING, REDUCTIONS

__all__ = ["Closure", "Compiler", "UndefinedError"]

Number = Any
Closure = Callable[[], Number]


class UndefinedError(Exception):
    """The inputs are no ones to try a layer at: a whole number is divided by 0, which a comparison would hide."""


_CONSTANTS: dict[Expr, Callable[[Any], Number]] = {
    S.Pi: lambda mp: +mp.pi,
    S.Exp1: lambda mp: +mp.e,
    S.Infinity: lambda mp: mp.inf,
    S.NegativeInfinity: lambda mp: mp.ninf,
    S.NaN: lambda mp: mp.nan,
    S.ComplexInfinity: lambda mp: mp.nan,
}

# Functions whose value is cheaper to compute than to look up.
_CHEAP: tuple[type, ...] = (
    Sign, Relu, Heaviside, sympy.Abs, Maximum, Minimum, Clip, Floor, Ceil, Round, AtMost, AtLeast, Guard,
    Lt, Le, Gt, Ge, Eq, Ne, Not,
)  # fmt: skip


@lru_cache(maxsize=65536)
def _moves(expr: Expr) -> bool:
    """Return whether the value depends on real data, and not on labels, masks and indices alone."""
    return any(element.kind.differentiable for element in elements(expr))


class Compiler:
    """Closures over one set of arrays.

    Attributes:
        arrays: the tensors' current values by name; whoever changes one empties
            the tables that read it (:meth:`forget`).
        kink: the smallest distance, so far, of an argument from a corner or jump.
        edge: the smallest distance, so far, from the edge of a domain or a pole.
        noise: where roundings come from, each operation's result being rounded; None for none.
        sides: the pieces of piecewise functions that were met, each with a number for the function.
    """

    def __init__(self, instance: Instance, context: Any, *, watch: bool = False, noise: Random | None = None) -> None:
        self.instance = instance
        self.context = context
        self.watch = watch
        self.noise = noise
        self.arrays: dict[str, Any] = {}
        self.env: list[Any] = []
        self.tables: list[tuple[dict[Any, Any], frozenset[str]]] = []
        self.held: list[dict[Any, Any]] = []
        self.kink = float("inf")
        self.edge = float("inf")
        self.sides: set[tuple[int, int]] = set()
        self._slots: dict[Index, int] = {}
        self._closures: dict[Expr, Closure] = {}

    def forget(self, changed: frozenset[str] | None = None) -> None:
        """Empty the tables that read one of these tensors (None: all, and those of ``stop_gradient``)."""
        for table, reads in self.tables:
            if changed is None or reads & changed:
                table.clear()
        if changed is None:
            for table in self.held:
                table.clear()

    def slot(self, index: Index) -> int:
        """Return the place of an index' current value in ``env``."""
        if index not in self._slots:
            self._slots[index] = len(self.env)
            self.env.append(None)
        return self._slots[index]

    def closure(self, expr: Expr) -> Closure:
        """Return a function that gives the value at the current index values."""
        found = self._closures.get(expr)
        if found is None:
            found = self._compile(expr)
            if self.noise is not None and expr.args and not isinstance(expr, EXACT):
                found = self._noisy(found, self.noise)
            self._closures[expr] = found
        return found

    def _noisy(self, compute: Closure, noise: Random) -> Closure:
        """Return ``compute`` with its floats rounded up or down at random, as float32 would."""

        def value() -> Number:
            x = compute()
            return rounded(x, noise) if isinstance(x, float) else x

        return value

    def _compile(self, expr: Expr) -> Closure:
        if isinstance(expr, Element):
            return element(self, expr)
        if isinstance(expr, Padded):
            return padded(self, expr)
        if isinstance(expr, Index):
            env, place = self.env, self.slot(expr)
            return lambda: env[place]
        if isinstance(expr, Size):
            return self._constant(self.instance.extent(expr))
        if isinstance(expr, Hyper):
            value = self.instance.hypers[expr.name]
            return self._constant(self.context.mpf(value) if isinstance(value, float) else int(value))
        if isinstance(expr, Integer):
            return self._constant(int(expr))
        if isinstance(expr, Rational):
            return self._constant(self.context.mpf(expr.p) / expr.q)
        if expr in _CONSTANTS:
            return self._constant(_CONSTANTS[expr](self.context))
        if isinstance(expr, Add):
            return _total([self.closure(a) for a in expr.args])
        if isinstance(expr, Mul):
            return self._product(expr)
        if isinstance(expr, Pow):
            return self._power(expr)
        if isinstance(expr, Delta):
            a, b = map(self.closure, expr.args)
            return lambda: 1 if a() == b() else 0
        if isinstance(expr, Reduction):
            return self._remembered(expr, self._guarded(self._reduction(expr)))
        if isinstance(expr, KeepingReduction):
            return self._keeping(expr)
        if type(expr) in BY_CLASS:
            return self._function(expr)
        raise AssertionError(f"check: {type(expr).__name__} in {show(expr)} has no evaluation")

    @staticmethod
    def _constant(value: Number) -> Closure:
        return lambda: value

    def _remembered(self, expr: Expr, compute: Closure, *, hold: bool = False) -> Closure:
        """Return ``compute`` with a table of its values by the values of the free indices.

        ``hold`` keeps the table when an input is moved.
        """
        env = self.env
        places = sorted(self.slot(i) for i in free_indices(expr))
        table: dict[Any, Any] = {}
        if hold:
            self.held.append(table)
        else:
            self.tables.append((table, names(expr)))
        if len(places) == 1:
            (one,) = places

            def look_up() -> Number:
                key = env[one]
                if key not in table:
                    table[key] = compute()
                return table[key]
        else:

            def look_up() -> Number:
                key = tuple([env[p] for p in places])
                if key not in table:
                    table[key] = compute()
                return table[key]

        return look_up

    def _note_kink(self, distance: Any) -> None:
        if STRUCTURAL < distance < self.kink:
            self.kink = float(distance)

    def _note_edge(self, distance: Any) -> None:
        if STRUCTURAL < distance < self.edge:
            self.edge = float(distance)

    # Arithmetic

    def _product(self, expr: Mul) -> Closure:
        deltas = [self.closure(f) for f in expr.args if isinstance(f, Delta)]
        above, below = [], []
        for factor in expr.args:
            if isinstance(factor, Delta):
                continue
            if isinstance(factor, Pow) and factor.exp is S.NegativeOne and not (self.watch and _moves(factor)):
                below.append(self.closure(factor.base))
            else:
                above.append(self.closure(factor))
        value = _times(above) if above else self._constant(1)
        if below:
            value = self._quotient(value, _times(below), even=False)
        if not deltas:
            return value

        def picked() -> Number:
            for delta in deltas:
                if not delta():
                    return 0
            return value()

        return picked

    def _quotient(self, above: Closure, below: Closure, *, even: bool) -> Closure:
        """Return the quotient; over 0 it is inf where the denominator can't be negative, else nan."""
        mpf, at_zero = self.context.mpf, self.context.inf if even else self.context.nan

        def divide() -> Number:
            b = below()
            if b == 0:
                return above() * at_zero
            a = above()
            return a / (mpf(b) if isinstance(b, int) else b)

        return divide

    def _power(self, expr: Pow) -> Closure:
        base, exponent = self.closure(expr.base), expr.exp
        if self.watch and _moves(expr.base) and not (exponent.is_Integer and exponent.is_nonnegative):
            inner = base

            def base() -> Number:
                x = inner()
                self._note_edge(abs(x))
                return x

        if isinstance(exponent, Integer):
            return self._integer_power(base, int(exponent))
        if abs(exponent) == S.Half:
            root = self._remembered(expr, self._root(base))
            if exponent == S.Half:
                return root
            return self._quotient(self._constant(1), root, even=True)
        power, mp = self.closure(exponent), self.context

        def general() -> Number:
            x, p = base(), mp.mpf(power())
            if p == int(p) if abs(p) < 1e6 else False:
                p = int(p)
                return x**p if p >= 0 else (1 / mp.mpf(x) ** -p if x != 0 else mp.nan)
            if x > 0:
                return mp.mpf(x) ** p
            if x == 0 and p != 0:
                return mp.mpf(0) if p > 0 else mp.inf
            return mp.nan

        return self._remembered(expr, self._guarded(general))

    def _integer_power(self, base: Closure, n: int) -> Closure:
        if n == -1:
            return self._quotient(self._constant(1), base, even=False)
        if n < 0:
            return self._quotient(self._constant(1), self._integer_power(base, -n), even=n % 2 == 0)
        if n == 2:

            def square() -> Number:
                x = base()
                return x * x

            return square
        return self._guarded(lambda: base() ** n)

    def _root(self, base: Closure) -> Closure:
        sqrt, nan = self.context.sqrt, self.context.nan

        def root() -> Number:
            x = base()
            return sqrt(x) if x >= 0 else nan

        return root

    # Elementwise functions

    def _guarded(self, compute: Closure) -> Closure:
        """Return ``compute`` with nan where it has no value: a pole, an overflow of floats."""
        nan = self.context.nan

        def value() -> Number:
            try:
                return compute()
            except (ZeroDivisionError, OverflowError, ValueError):
                return nan

        return value

    def _function(self, expr: Expr) -> Closure:
        cls, mp = type(expr), self.context
        args = [self.closure(a) for a in expr.args]
        if cls is Where:
            condition, yes, no = args
            return lambda: yes() if condition() else no()
        if cls is And:
            a, b = args
            return lambda: 1 if a() and b() else 0
        if cls is Or:
            a, b = args
            return lambda: 1 if a() or b() else 0
        if cls is StopGradient:
            return self._remembered(expr, args[0], hold=True)
        if cls in (FloorDiv, Mod):
            compute = self._whole_division(cls, *args)
        elif cls is XLogY:
            compute = self._xlogy(*args)
        elif cls is sympy.log and len(args) == 2:
            log = BY_CLASS[sympy.log].mp
            compute = lambda: log(mp, args[0]()) / log(mp, args[1]())  # noqa: E731
        else:
            compute = _applied(BY_CLASS[cls].mp, mp, args)
        if self.watch and _moves(expr):
            compute = self._watched(cls, compute, args)
        compute = self._guarded(compute)
        return compute if cls in _CHEAP else self._remembered(expr, compute)

    def _watched(self, cls: type, compute: Closure, args: list[Closure]) -> Closure:
        """Return ``compute``, noting kinks, edges and sides."""
        kink, edge, side = KINKS.get(cls), EDGES.get(cls), SIDES.get(cls)
        if kink is None and edge is None:
            return compute
        number = len(self._closures)

        def watched() -> Number:
            at = [a() for a in args]
            if kink is not None:
                self._note_kink(kink(*at))
            if edge is not None:
                self._note_edge(edge(*at))
            if side is not None:
                self.sides.add((number, side(*at)))
            return compute()

        return watched

    def _whole_division(self, cls: type, a: Closure, b: Closure) -> Closure:
        mp, row = self.context, BY_CLASS[cls]

        def divide() -> Number:
            x, y = a(), b()
            if y == 0 and self.watch:
                raise UndefinedError(f"{cls.__name__} by 0")
            if isinstance(x, int) and isinstance(y, int):
                return x // y if cls is FloorDiv else x % y
            return row.mp(mp, x, y)

        return divide

    def _xlogy(self, a: Closure, b: Closure) -> Closure:
        mp, log = self.context, BY_CLASS[sympy.log].mp

        def xlogy() -> Number:
            x = a()
            return mp.mpf(0) if x == 0 else x * log(mp, b())

        return xlogy

    # Reductions

    def _reduction(self, expr: Reduction) -> Closure:
        mp, reduce = self.context, REDUCTIONS[type(expr)]
        if isinstance(expr, Sum):
            few = picked(self, expr)
            if few is not None:
                return lambda: reduce(mp, few())
        loop = over_all(self, expr.indices, self.closure(expr.body))
        if self.watch and _moves(expr.body):
            if isinstance(expr, (Max, Min, ArgMax)):
                return lambda: reduce(mp, self._ranked(loop(), least=isinstance(expr, Min)))
            if isinstance(expr, (Norm, Std)):

                def rooted() -> Number:
                    value = reduce(mp, loop())
                    self._note_edge(value)
                    return value

                return rooted
        return lambda: reduce(mp, loop())

    def _ranked(self, values: list[Number], *, least: bool) -> list[Number]:
        """Note how far the largest (least) value is from the next one; return the values."""
        ordered = sorted(values, reverse=not least)
        if len(ordered) > 1:
            self._note_kink(abs(ordered[0] - ordered[1]))
        return values

    def _keeping(self, expr: KeepingReduction) -> Closure:
        mp = self.context
        loop = over_all(self, expr.indices, self.closure(expr.body))
        keys = [tuple(k) for k in product(*(self.instance.values(i) for i in expr.indices))]
        of_table = KEEPING[type(expr)]

        # The whole row is computed once for the values of the indices that stay free, whatever is read of it.
        def compute() -> dict[Any, Number]:
            try:
                return dict(zip(keys, of_table(mp, loop()), strict=True))
            except (ZeroDivisionError, OverflowError, ValueError):
                return dict.fromkeys(keys, mp.nan)

        row = self._remembered(Sum(expr.body, *expr.indices), compute)
        at = subscripts(self, expr.at)
        return lambda: row()[at()]


def _total(terms: list[Closure]) -> Closure:
    if len(terms) == 2:
        a, b = terms
        return lambda: a() + b()

    def total() -> Number:
        value = terms[0]()
        for term in terms[1:]:
            value = value + term()
        return value

    return total


def _times(factors: list[Closure]) -> Closure:
    if len(factors) == 1:
        return factors[0]
    if len(factors) == 2:
        a, b = factors
        return lambda: a() * b()

    def times() -> Number:
        value = factors[0]()
        for factor in factors[1:]:
            value = value * factor()
        return value

    return times


def _applied(function: Callable[..., Number], mp: Any, args: list[Closure]) -> Closure:
    if len(args) == 1:
        (a,) = args
        return lambda: function(mp, a())
    return lambda: function(mp, *[a() for a in args])

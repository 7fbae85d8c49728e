"""A layer's forward pass, formula by formula, with the arrays of any library.

What a person would type into PyTorch or JAX: a sum of products is an
``einsum``, a mean is a mean, a window is as many slices as it has offsets, a
recurrence is a loop. No closed form and nothing of the derivation is in it, so
the library's own differentiation has the layer's formulas to work on, and
nothing else.

    forward = Forward(layer, instance, numpy_namespace("float32"))
    (y,) = forward(x, gamma, beta)

An array's axes are in the order in which the indices were opened: those of the
statement, then those of each sum on the way in. ``...`` is one axis meanwhile.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import sympy
from sympy import Add, Expr, Integer, Mul, Pow, Rational, S

from derive.algebra.functions import (
    And,
    AtLeast,
    AtMost,
    Eq,
    FloorDiv,
    Ge,
    Gt,
    Guard,
    Heaviside,
    Le,
    Lt,
    Mod,
    Ne,
    Not,
    Or,
    Where,
    XLogY,
)
from derive.algebra.indices import free_indices, substitute
from derive.algebra.nodes import (
    ArgMax,
    Delta,
    Element,
    Hyper,
    Index,
    KeepingReduction,
    LogSumExp,
    Max,
    Mean,
    Min,
    Norm,
    Padded,
    Prod,
    Reduction,
    Size,
    Softmax,
    Std,
    Sum,
    Var,
)
from derive.algebra.text import show
from derive.bench.namespaces import Namespace
from derive.bench.reads import Reads, Value
from derive.check.instance import Instance
from derive.language.layer import Layer, Statement
from derive.language.loops import Loop, loops

__all__ = ["Forward", "NotRun"]


class NotRun(Exception):
    """A library cannot run this layer; the text says why."""


_CONSTANTS = {S.Pi: math.pi, S.Exp1: math.e, S.Infinity: math.inf, S.NegativeInfinity: -math.inf}
_COMPARISONS: dict[type, Callable[[Any, Any], Any]] = {
    Lt: lambda a, b: a < b,
    Le: lambda a, b: a <= b,
    Gt: lambda a, b: a > b,
    Ge: lambda a, b: a >= b,
    Eq: lambda a, b: a == b,
    Ne: lambda a, b: a != b,
    Delta: lambda a, b: a == b,
}
_TRUTHS = (*_COMPARISONS, And, Or, Not)
_REDUCTIONS = {Mean: "mean", Max: "max", Min: "min", Prod: "prod"}


class Forward:
    """The forward pass of one layer at one choice of sizes, to be called with the library's arrays.

    Args:
        layer: as it was written.
        instance: the sizes and hyper-parameters.
        space: the library.
    """

    def __init__(self, layer: Layer, instance: Instance, space: Namespace) -> None:
        self.layer, self.instance, self.space = layer, instance, space

    def __call__(self, *arrays: Any) -> tuple[Any, ...]:
        """Return the outputs, one an entry of ``layer.returns``, for the parameters in order."""
        run = _Run(self.layer, self.instance, self.space, arrays)
        return tuple(
            self.space.reshape(run.tensor(name), self.instance.shape(self.layer.axes(name)))
            for name in self.layer.returns
        )


class _Run:
    """One run: the arrays so far, and the indices that stand at a number meanwhile."""

    def __init__(self, layer: Layer, instance: Instance, space: Namespace, arrays: Sequence[Any]) -> None:
        self.instance, self.space = instance, space
        self.at: dict[Index, int] = {}
        self.tensors: dict[str, Any] = {}
        self.carried = {s.name: s for s in layer.statements if s.carry is not None}
        self.steps: dict[str, dict[int, Any]] = {}
        self.reads = Reads(self)
        for parameter, array in zip(layer.parameters, arrays, strict=True):
            flat = [instance.extent(size) for size in parameter.axes]
            self.tensors[parameter.name] = array if list(array.shape) == flat else space.reshape(array, flat)
        for piece in loops(layer.statements):
            if isinstance(piece, Loop):
                self._loop(piece)
            else:
                self.tensors[piece.name] = self._statement(piece, piece.indices)

    def tensor(self, name: str) -> Any:
        return self.tensors[name]

    def extent(self, size: Expr) -> int:
        return self.instance.extent(size)

    def _statement(self, statement: Statement, indices: tuple[Index, ...]) -> Any:
        value = self.value(statement.expr, indices)
        shape = [self.extent(i.size) for i in indices]
        array = self.space.full(shape, value.array) if value.is_number else self.aligned(value, indices)
        if statement.kind.differentiable:
            array = self.space.real(array)
        return array if list(array.shape) == shape else self.space.broadcast(array, shape)

    def _loop(self, loop: Loop) -> None:
        length = self.extent(loop.index.size)
        order = range(length) if loop.step == 1 else range(length - 1, -1, -1)
        for statement in loop.statements:
            steps = self.steps[statement.name] = {}
            if statement.carry is not None:
                rest = self._others(statement, self._letter(statement))
                steps[-1 if statement.carry.step == 1 else length] = self._start(statement, rest)
        for t in order:
            for statement in loop.statements:
                letter = self._letter(statement, loop)
                self.at = {letter: t}
                rest = self._others(statement, letter)
                self.steps[statement.name][t] = self._statement(statement, rest)
        self.at = {}
        for statement in loop.statements:
            steps = self.steps.pop(statement.name)
            place = statement.indices.index(self._letter(statement, loop))
            self.tensors[statement.name] = self.space.stack([steps[t] for t in range(length)], place)

    @staticmethod
    def _letter(statement: Statement, loop: Loop | None = None) -> Index:
        if statement.carry is not None:
            return statement.carry.index
        assert loop is not None
        return loop.index

    @staticmethod
    def _others(statement: Statement, letter: Index) -> tuple[Index, ...]:
        return tuple(i for i in statement.indices if i != letter)

    def _start(self, statement: Statement, rest: tuple[Index, ...]) -> Any:
        assert statement.carry is not None
        value = self.value(statement.carry.start, rest)
        shape = [self.extent(i.size) for i in rest]
        array = self.space.full(shape, value.array) if value.is_number else self.aligned(value, rest)
        return self.space.broadcast(self.space.real(array), shape)

    def with_start(self, name: str) -> Any:
        """Return a recurrence's elements with its start before the first step, or after the last."""
        statement = self.carried[name]
        assert statement.carry is not None
        letter = statement.carry.index
        place = statement.indices.index(letter)
        start = self.space.stack([self._start(statement, self._others(statement, letter))], place)
        both = [start, self.tensors[name]]
        return self.space.concatenate(both if statement.carry.step == 1 else both[::-1], place)

    # Values

    def aligned(self, value: Value, scope: Sequence[Index]) -> Any:
        """Return the array with an axis for every index of the scope, of length 1 where it does not depend on it."""
        if value.is_number:
            return value.array
        shape = [self.extent(i.size) if i in value.axes else 1 for i in scope]
        return self.space.reshape(value.array, shape) if len(shape) != len(value.axes) else value.array

    def _together(self, values: Sequence[Value], scope: Sequence[Index]) -> tuple[list[Any], tuple[Index, ...]]:
        axes = tuple(i for i in scope if any(i in v.axes for v in values))
        return [self.aligned(v, axes) for v in values], axes

    def value(self, expr: Expr, scope: tuple[Index, ...]) -> Value:
        """Return the value of an expression whose free indices are in the scope, or stand at a number."""
        if isinstance(expr, (Element, Padded)):
            return self.reads.read(expr, scope)
        if isinstance(expr, Index):
            return self._index(expr)
        if isinstance(expr, Size):
            return Value(self.extent(expr))
        if isinstance(expr, Hyper):
            return Value(self.instance.hypers[expr.name])
        if isinstance(expr, Integer):
            return Value(int(expr) if abs(int(expr)) < 2**53 else float(expr))
        if isinstance(expr, Rational):
            return Value(expr.p / expr.q)
        if isinstance(expr, sympy.Float):
            return Value(float(expr))
        if expr in _CONSTANTS:
            return Value(_CONSTANTS[expr])
        if isinstance(expr, Add):
            return self._sum_of(expr, scope)
        if isinstance(expr, Mul):
            return self._product(expr, scope)
        if isinstance(expr, Pow):
            return self._power(expr, scope)
        if isinstance(expr, Sum):
            return self._sum(expr, scope)
        if isinstance(expr, Reduction):
            return self._reduction(expr, scope)
        if isinstance(expr, KeepingReduction):
            return self._keeping(expr, scope)
        return self._function(expr, scope)

    def _index(self, index: Index) -> Value:
        if index in self.at:
            return Value(self.at[index])
        return Value(self.space.arange(self.extent(index.size)), (index,))

    def _real(self, value: Value) -> Value:
        return value if value.is_number else Value(self.space.real(value.array), value.axes)

    def real(self, expr: Expr, scope: tuple[Index, ...]) -> Value:
        """Return the value as real numbers: labels, indices and truth values are cast."""
        value = self.value(expr, scope)
        exact = isinstance(expr, (Element, Index, Padded, *_TRUTHS, FloorDiv, Mod, ArgMax)) or expr.is_integer
        return self._real(value) if exact else value

    def _sum_of(self, expr: Add, scope: tuple[Index, ...]) -> Value:
        positive = [t for t in expr.args if not t.could_extract_minus_sign()]
        negative = [-t for t in expr.args if t.could_extract_minus_sign()]
        values = [self.real(t, scope) for t in (*positive, *negative)]
        arrays, axes = self._together(values, scope)
        total = arrays[0] if positive else -arrays[0]
        for k, array in enumerate(arrays[1:], 1):
            total = total + array if k < len(positive) else total - array
        return Value(total, axes)

    def _product(self, expr: Mul, scope: tuple[Index, ...]) -> Value:
        above = [a for a in expr.args if not (isinstance(a, Pow) and a.exp == -1)]
        below = [a.base for a in expr.args if isinstance(a, Pow) and a.exp == -1]
        values = [self.real(a, scope) for a in (*above, *below)]
        values[: len(above)] = sorted(values[: len(above)], key=lambda v: len(v.axes))
        arrays, axes = self._together(values, scope)
        total = arrays[0] if above else 1 / arrays[0]
        for k, array in enumerate(arrays[1:], 1):
            total = total * array if k < len(above) else total / array
        return Value(total, axes)

    def _power(self, expr: Pow, scope: tuple[Index, ...]) -> Value:
        base, exponent = self.real(expr.base, scope), expr.exp
        if base.is_number and exponent.is_number:
            return Value(float(base.array) ** float(exponent))
        if exponent == S.Half:
            return Value(self.space.sqrt(base.array), base.axes)
        if exponent == -S.Half:
            return Value(1 / self.space.sqrt(base.array), base.axes)
        if exponent == 2:
            return Value(base.array * base.array, base.axes)
        if exponent == -1:
            return Value(1 / base.array, base.axes)
        if exponent.is_Integer:
            return Value(base.array ** int(exponent), base.axes)
        values = [base, self.real(exponent, scope)]
        (a, b), axes = self._together(values, scope)
        return Value(a**b, axes)

    def _truth(self, expr: Expr, scope: tuple[Index, ...]) -> Value:
        value = self.value(expr, scope)
        if isinstance(expr, _TRUTHS):
            return value
        return Value(value.array != 0, value.axes)

    def _function(self, expr: Expr, scope: tuple[Index, ...]) -> Value:
        cls, space = type(expr), self.space
        if cls in (And, Or, Not):
            arrays, axes = self._together([self._truth(a, scope) for a in expr.args], scope)
            if cls is Not:
                return Value(arrays[0] == False, axes)  # noqa: E712  # of arrays and of numbers alike
            return Value(arrays[0] & arrays[1] if cls is And else arrays[0] | arrays[1], axes)
        if cls in _COMPARISONS:
            (a, b), axes = self._together([self.value(a, scope) for a in expr.args], scope)
            return Value(_COMPARISONS[cls](a, b), axes)
        if cls in (FloorDiv, Mod):
            (a, b), axes = self._together([self.value(a, scope) for a in expr.args], scope)
            return Value(a // b if cls is FloorDiv else a % b, axes)
        if cls in (Where, Guard):
            condition = self._truth(expr.args[0], scope)
            values = [condition, *(self.real(a, scope) for a in expr.args[1:])]
            (test, a, b), axes = self._together(values, scope)
            if condition.is_number and not hasattr(test, "shape"):
                return values[1] if test else values[2]
            return Value(space.where(test, a, b), axes)
        if cls in (AtMost, AtLeast):
            return self.real(expr.args[0], scope)
        values = [self.real(a, scope) for a in expr.args]
        if all(v.is_number for v in values):
            return Value(float(expr.func(*map(sympy.sympify, (v.array for v in values))).evalf()))
        arrays, axes = self._together(values, scope)
        if cls is XLogY:
            safe = space.where(arrays[0] == 0, 1.0, arrays[1])
            return Value(arrays[0] * space.functions[sympy.log](safe), axes)
        if cls is Heaviside:
            return Value((space.real(arrays[0] > 0) + space.real(arrays[0] >= 0)) / 2, axes)
        if cls is sympy.log and len(arrays) == 2:
            raise NotRun("a logarithm to another base")
        if cls not in space.functions:
            raise NotRun(f"{show(expr)} has no counterpart in it")
        return Value(space.functions[cls](*arrays), axes)

    # Reductions

    def _sum(self, expr: Sum, scope: tuple[Index, ...]) -> Value:
        bound = expr.indices
        inner = (*scope, *bound)
        factors = list(expr.body.args) if isinstance(expr.body, Mul) else [expr.body]
        below = [a.base for a in factors if isinstance(a, Pow) and a.exp == -1 and not _depends(a, bound)]
        factors = [a for a in factors if not (isinstance(a, Pow) and a.exp == -1 and not _depends(a, bound))]
        outer = [a for a in factors if not _depends(a, bound)]
        within = [a for a in factors if _depends(a, bound)]
        values = [self.real(a, inner) for a in within]
        every = {i for v in values for i in v.axes}
        if len(values) > 1 and not any(every <= {*v.axes} for v in values):
            result = self._contracted(values, bound, inner)
        elif values:
            body = Value(*self._multiplied(values, inner))
            result = self._reduced("sum", body, bound)
        else:
            result = Value(math.prod(self.extent(i.size) for i in bound))
        missing = [i for i in bound if values and i not in every]
        if missing:
            result = Value(result.array * math.prod(self.extent(i.size) for i in missing), result.axes)
        if outer:
            arrays, axes = self._together([*(self.real(a, scope) for a in outer), result], scope)
            result = Value(math.prod(arrays[1:], start=arrays[0]), axes)
        for divisor in below:
            (a, b), axes = self._together([result, self.real(divisor, scope)], scope)
            result = Value(a / b, axes)
        return result

    def _multiplied(self, values: Sequence[Value], scope: Sequence[Index]) -> tuple[Any, tuple[Index, ...]]:
        arrays, axes = self._together(values, scope)
        return math.prod(arrays[1:], start=arrays[0]), axes

    def _contracted(self, values: Sequence[Value], bound: Sequence[Index], scope: Sequence[Index]) -> Value:
        letters: dict[Index, str] = {}
        for value in values:
            for index in value.axes:
                letters.setdefault(index, chr(ord("a") + len(letters)))
        axes = tuple(i for i in scope if i in letters and i not in bound)
        spec = ",".join("".join(letters[i] for i in v.axes) for v in values)
        spec += "->" + "".join(letters[i] for i in axes)
        return Value(self.space.einsum(spec, [v.array for v in values]), axes)

    def _reduced(self, name: str, value: Value, bound: Sequence[Index]) -> Value:
        places = tuple(k for k, i in enumerate(value.axes) if i in bound)
        rest = tuple(i for i in value.axes if i not in bound)
        return Value(self.space.reduce(name, value.array, places), rest) if places else value

    def _full(self, expr: Expr, bound: tuple[Index, ...], scope: tuple[Index, ...]) -> Value:
        """Return the value with an axis for each bound index, whether it depends on it or not."""
        value = self.real(expr, (*scope, *bound))
        axes = tuple(i for i in (*scope, *bound) if i in value.axes or i in bound)
        shape = [self.extent(i.size) for i in axes]
        if value.is_number:
            return Value(self.space.full(shape, value.array), axes)
        array = self.aligned(value, axes)
        return Value(array if list(array.shape) == shape else self.space.broadcast(array, shape), axes)

    def _reduction(self, expr: Reduction, scope: tuple[Index, ...]) -> Value:
        bound, space = expr.indices, self.space
        value = self._full(expr.body, bound, scope)
        places = tuple(k for k, i in enumerate(value.axes) if i in bound)
        rest = tuple(i for i in value.axes if i not in bound)
        if type(expr) in _REDUCTIONS:
            return self._reduced(_REDUCTIONS[type(expr)], value, bound)
        if isinstance(expr, LogSumExp):
            return Value(space.logsumexp(value.array, places), rest)
        if isinstance(expr, Norm):
            return Value(space.sqrt(space.reduce("sum", value.array * value.array, places)), rest)
        if isinstance(expr, (Var, Std)):
            mean = self._reduced("mean", value, bound)
            (a, m), axes = self._together([value, mean], value.axes)
            centred = a - m
            variance = self._reduced("mean", Value(centred * centred, axes), bound)
            return Value(space.sqrt(variance.array), rest) if isinstance(expr, Std) else variance
        if isinstance(expr, ArgMax) and len(bound) == 1:
            return Value(space.argmax(value.array, places[0]), rest)
        raise NotRun(f"{show(expr)} over several indices")

    def _keeping(self, expr: KeepingReduction, scope: tuple[Index, ...]) -> Value:
        bound = expr.indices
        taken = {*scope, *self.at}
        # The letter may be the statement's own: softmax[c](z[n, c]) is read at c.
        own = tuple(Index(f"{i.name}'", i.size) for i in bound) if taken & {*bound} else bound
        body = expr.body
        if own != bound:
            body = substitute(body, dict(zip(bound, own, strict=True)))
        value = self._full(body, own, scope)
        if len(own) == 1:
            axis = value.axes.index(own[0])
            function = self.space.softmax if isinstance(expr, Softmax) else self.space.log_softmax
            array = function(value.array, axis)
        else:
            array = self._over_several(expr, value, own)
        return self.reads.at(Value(array, value.axes), dict(zip(own, expr.at, strict=True)), scope)

    def _over_several(self, expr: KeepingReduction, value: Value, own: Sequence[Index]) -> Any:
        space = self.space
        outer = [i for i in value.axes if i not in own]
        order = [*outer, *own]
        moved = space.permute(value.array, [value.axes.index(i) for i in order])
        flat = space.reshape(moved, [*(self.extent(i.size) for i in outer), -1])
        function = space.softmax if isinstance(expr, Softmax) else space.log_softmax
        array = space.reshape(function(flat, len(outer)), [self.extent(i.size) for i in order])
        return space.permute(array, [order.index(i) for i in value.axes])


def _depends(expr: Expr, bound: Sequence[Index]) -> bool:
    return bool(free_indices(expr) & {*bound})

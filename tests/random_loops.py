"""Random recurrences as forward statements: any order of reading, several starts, time at any place."""

from __future__ import annotations

from random import Random

import sympy
from sympy import Expr, Rational, S

from derive.algebra.functions import Gt, Maximum, Sigmoid, Where
from derive.algebra.nodes import (
    BATCH,
    BATCH_SIZE,
    Element,
    Index,
    Kind,
    LogSumExp,
    Max,
    Mean,
    Size,
    Softmax,
    Sum,
    Tensor,
)
from derive.calculus.program import Program
from derive.language.layer import Carry, Layer, Parameter, Statement

__all__ = ["PARAMETERS", "random_loop"]

T, N, D = Size("T"), Size("N"), Size("D")
t, n, d, k = Index("t", T), Index("n", N), Index("d", D), Index("k", D)
PARAMETERS: dict[str, tuple[Kind, tuple[Expr, ...]]] = {
    "x": (Kind.REAL, (T, N, D)),
    "z": (Kind.REAL, (BATCH_SIZE, T, D)),
    "h0": (Kind.REAL, (N, D)),
    "w": (Kind.REAL, (D, D)),
    "a": (Kind.REAL, ()),
    "m": (Kind.BOOL, (T, N)),
    "y": (Kind.INT, (T, N)),
}


def _element(name: str, *subscripts: Expr) -> Element:
    kind = PARAMETERS[name][0] if name in PARAMETERS else Kind.REAL
    return Element(Tensor(name, kind), *subscripts)


class _Loop:
    """A loop of a few names, and what reads it afterwards."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.batch = self.random.random() < 0.25
        self.step = self.random.choice((1, 1, -1))
        rest = [BATCH, d] if self.batch else self.random.choice(([n, d], [d, n], [d]))
        place = self.random.randint(1 if self.batch else 0, len(rest))
        self.indices = (*rest[:place], t, *rest[place:])
        self.names = ["u", "v", "s"][: self.random.randint(1, 3)]
        self.carried = [name for name in self.names if self.random.random() < 0.7] or self.names[:1]

    def read(self, name: str, at: Expr, letter: Index = d) -> Element:
        """A name's element at a time, with another letter for ``d``."""
        places = {t: at, d: letter}
        return _element(name, *(places.get(i, i) for i in self.indices))

    def leaf(self, others: list[str], letter: Index) -> Expr:
        """What a statement reads: a name now or one step before, or a parameter."""
        choices: list[Expr] = [self.read(name, t, letter) for name in others]
        choices += [self.read(name, t - self.step, letter) for name in self.carried]
        choices += [_element("w", letter, letter), _element("a"), _element("w", 0, letter)]
        if n in self.indices:
            choices += [_element("x", t, n, letter), _element("h0", n, letter)]
            choices += [_element("w", _element("y", t, n), letter)]
        if self.batch:
            choices += [_element("z", BATCH, t, letter)] * 2
        return self.random.choice(choices)

    def value(self, others: list[str], depth: int, letter: Index = d) -> Expr:
        """An expression whose values stay small."""
        if depth == 0:
            return self.leaf(others, letter)
        a = self.value(others, depth - 1, letter)
        kind = self.random.randrange(10)
        if kind < 3:
            return sympy.tanh(a + self.value(others, depth - 1, letter))
        if kind == 3:
            return Sigmoid(a) * self.value(others, depth - 1, letter) / 2
        if kind == 4:
            test = _element("m", t, n) if n in self.indices else Gt(self.leaf(others, letter), 0)
            return Where(test, a, self.leaf(others, letter))
        if kind == 5 and letter == d:
            inner = self.value(others, depth - 1, k)
            return sympy.tanh(Sum(inner * _element("w", k, d), k))
        if kind == 6 and letter == d:
            kinds = (LogSumExp, Max, Mean)
            return sympy.tanh(a + self.random.choice(kinds)(self.value(others, depth - 1, k), k))
        if kind == 7:
            return Maximum(a, self.leaf(others, letter) / 2)
        if kind == 8 and letter == d:
            return Softmax(self.value(others, depth - 1, k) + _element("a"), (k,), (d,)) + a / 3
        return a / 2 + self.leaf(others, letter) / 3

    def start(self) -> Expr:
        """The value before the first step."""
        choices: list[Expr] = [S.Zero, Rational(1, 2), _element("a"), _element("w", 0, d)]
        if n in self.indices:
            choices += [_element("h0", n, d), Sum(_element("h0", n, k) * _element("w", k, d), k)]
        return self.random.choice(choices)

    def statements(self) -> list[Statement]:
        """The loop, and a statement that reads it afterwards."""
        result: list[Statement] = []
        for place, name in enumerate(self.names):
            expr = self.value(self.names[:place], self.random.randint(1, 3))
            if name in self.carried:
                # Each reads all: one loop, in which the order of reading is anything.
                for other in self.carried:
                    if self.random.random() < 0.6 or other == name:
                        expr = expr + self.read(other, t - self.step) / 4
                result.append(Statement(name, self.indices, expr, carry=Carry(t, self.step, self.start())))
            else:
                result.append(Statement(name, self.indices, expr))
        out: Expr = S.Zero
        for name in self.names:
            reads = [self.read(name, t)]
            if name in self.carried:
                last = T - 1 if self.step == 1 else S.Zero
                reads += [self.read(name, t - self.step), self.read(name, last), S.Zero]
            out = out + self.random.choice(reads)
        out = out + self.read(self.carried[0], t - (self.step if self.random.random() < 0.4 else 0))
        return [*result, Statement("out", self.indices, out)]


def random_loop(seed: int) -> Program:
    """A random loop as a program without a backward; its results are ``out`` and perhaps names of the loop."""
    loop = _Loop(seed)
    statements = loop.statements()
    returns = ("out", *(name for name in loop.names if loop.random.random() < 0.2))
    parameters = tuple(Parameter(name, kind, axes) for name, (kind, axes) in PARAMETERS.items())
    layer = Layer("loop", "", parameters, (), (T, N, D), (), tuple(statements), returns)
    return Program(layer, layer.statements, (), returns, tuple(f"d{name}" for name in returns), ())

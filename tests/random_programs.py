"""Random programs in the whole vocabulary of nodes, small enough for the loop evaluator."""

from __future__ import annotations

from random import Random

import sympy
from sympy import Add, Expr, Integer, Mul, Pow, Rational

from derive.algebra import functions as f
from derive.algebra import nodes as nd
from derive.algebra.nodes import BATCH, Element, Hyper, Index, Kind, Size, Tensor
from derive.calculus.program import Program
from derive.language.layer import HyperParameter, Layer, Parameter, Statement

N, C, D, S = (Size(name) for name in "NCDS")
SIZES = {"N": 3, "C": 4, "D": 2, "S": 5}
BATCH_SIZE = nd.BATCH_SIZE

PARAMETERS = (
    Parameter("x", Kind.REAL, (N, D)),
    Parameter("z", Kind.REAL, (N, C)),
    Parameter("w", Kind.REAL, (D, C)),
    Parameter("q", Kind.REAL, (D, D)),
    Parameter("u", Kind.REAL, (D,)),
    Parameter("a", Kind.REAL, ()),
    Parameter("k", Kind.REAL, (N, D, C)),
    Parameter("h", Kind.REAL, (BATCH_SIZE, S, D)),
    Parameter("g", Kind.REAL, (BATCH_SIZE, D)),
    Parameter("t", Kind.INT, (N,)),
    Parameter("r", Kind.INT, (BATCH_SIZE,)),
    Parameter("m", Kind.BOOL, (N, D)),
)
HYPERS = (HyperParameter("eps", Kind.REAL, 0.5), HyperParameter("p", Kind.INT, 2))
_BY_NAME = {p.name: p for p in PARAMETERS}
_LETTERS = {N: "nm", C: "ck", D: "dj", S: "sv"}
_FUNCTIONS = (sympy.tanh, f.Sigmoid, sympy.Abs, f.Relu, f.Sign, f.Softplus, f.LogSigmoid, sympy.sin, f.Floor, f.LogCosh)
_REDUCTIONS = (
    nd.Sum,
    nd.Sum,
    nd.Sum,
    nd.Mean,
    nd.Max,
    nd.Min,
    nd.Prod,
    nd.LogSumExp,
    nd.Norm,
    nd.Var,
    nd.Std,
    nd.ArgMax,
)
_COMPARISONS = (f.Lt, f.Le, f.Gt, f.Ge, f.Eq, f.Ne)


class Maker:
    """Makes random expressions over indices that are in scope."""

    def __init__(self, seed: int, *, deltas: bool) -> None:
        self.random = Random(seed)
        self.deltas = deltas
        self.more: list[tuple[str, tuple[Index, ...]]] = []

    def fresh(self, size: Expr, scope: tuple[Index, ...]) -> Index | None:
        if size == BATCH_SIZE:
            return None if BATCH in scope else BATCH
        used = {i.name for i in scope}
        for letter in (*_LETTERS[size], *(f"{_LETTERS[size][0]}{k}" for k in range(2, 9))):
            if letter not in used:
                return Index(letter, size)
        return None

    def expr(self, scope: tuple[Index, ...], depth: int) -> Expr:
        choose = self.random.random()
        if depth <= 0 or choose < 0.12:
            return self.leaf(scope)
        if choose < 0.32:
            return Add(*(self.expr(scope, depth - 1) for _ in range(self.random.randint(2, 3))))
        if choose < 0.56:
            return Mul(*(self.expr(scope, depth - 1) for _ in range(self.random.randint(2, 3))))
        if choose < 0.62:
            return self.power(scope, depth)
        if choose < 0.72:
            return self.random.choice(_FUNCTIONS)(self.expr(scope, depth - 1))
        if choose < 0.80:
            return self.choice(scope, depth)
        if choose < 0.84:
            return self.keeping(scope, depth)
        return self.reduction(scope, depth)

    def power(self, scope: tuple[Index, ...], depth: int) -> Expr:
        exponent = self.random.choice([2, 3, 4, -1, Rational(1, 2), Rational(-1, 2), Rational(3, 2), -2])
        base = self.expr(scope, depth - 1)
        return Pow(base, exponent) if exponent in (2, 3, 4) else Pow(1 + sympy.tanh(base) ** 2, exponent)

    def choice(self, scope: tuple[Index, ...], depth: int) -> Expr:
        a, b = self.expr(scope, depth - 1), self.expr(scope, depth - 1)
        test = self.truth(scope, depth - 1)
        kind = self.random.randrange(5)
        if kind == 0:
            return test * a
        if kind == 1:
            return 1 - test
        if kind == 2:
            return f.Where(
                test, self.random.choice([Integer(1), Integer(0), Rational(1, 2)]), self.random.choice([0, 2])
            )
        if kind == 3:
            return f.Maximum(a, b)
        return f.Where(test, a, b)

    def truth(self, scope: tuple[Index, ...], depth: int) -> Expr:
        kind = self.random.randrange(5)
        if kind == 0 and depth > 0:
            return f.And(self.truth(scope, depth - 1), f.Not(self.truth(scope, depth - 1)))
        if kind == 1:
            plain = [i for i in scope if i != BATCH]
            if len(plain) > 1:
                return self.random.choice(_COMPARISONS)(*self.random.sample(plain, 2))
        if kind == 2:
            return self.read("m", scope) or f.Gt(self.leaf(scope), 0)
        return self.random.choice(_COMPARISONS)(self.expr(scope, depth - 1), self.leaf(scope))

    def keeping(self, scope: tuple[Index, ...], depth: int) -> Expr:
        kind = self.random.choice((nd.Softmax, nd.LogSoftmax))
        at = [i for i in scope if i != BATCH]
        if not at:
            return self.leaf(scope)
        place = self.random.choice(at)
        bound = self.fresh(place.size, scope)
        assert bound is not None
        inner = tuple(bound if i == place else i for i in scope)
        return kind(self.expr(inner, depth - 1), (bound,), (place,))

    def reduction(self, scope: tuple[Index, ...], depth: int) -> Expr:
        sizes = self.random.sample([N, C, D, S, BATCH_SIZE], self.random.randint(1, 2))
        bound = []
        for size in sizes:
            index = self.fresh(size, (*scope, *bound))
            if index is not None:
                bound.append(index)
        if not bound:
            return self.leaf(scope)
        kind = self.random.choice(_REDUCTIONS)
        if kind is nd.ArgMax:
            bound = [i for i in bound if i != BATCH][:1]
            if not bound:
                return self.leaf(scope)
        inner = (*scope, *bound)
        if kind is nd.Sum and self.random.random() < 0.7:
            body = Mul(*(self.expr(self.some(inner), depth - 2) for _ in range(self.random.randint(2, 4))))
        else:
            body = self.expr(inner, depth - 1)
        return kind(body, *bound)

    def some(self, scope: tuple[Index, ...]) -> tuple[Index, ...]:
        return tuple(i for i in scope if self.random.random() < 0.7) or scope[-1:]

    def leaf(self, scope: tuple[Index, ...]) -> Expr:
        kind = self.random.random()
        if kind < 0.08:
            return self.random.choice(
                [Integer(2), Rational(1, 3), Rational(-3, 4), Hyper("eps"), N, sympy.sqrt(D), Hyper("p", Kind.INT)]
            )
        if kind < 0.13 and [i for i in scope if i != BATCH]:
            return self.random.choice([i for i in scope if i != BATCH])
        if self.deltas and kind < 0.25:
            plain = [i for i in scope if i.size == C]
            label = self.read("t", scope)
            if plain and label is not None:
                return nd.Delta(self.random.choice(plain), label)
            pair = [i for i in scope if i.size == D]
            if len(pair) > 1:
                return nd.Delta(*pair[:2])
            if pair:
                return nd.Delta(pair[0], self.random.choice([0, 1]))
        names = [*_BY_NAME, *(n for n, _ in self.more)]
        for _ in range(6):
            found = self.read(self.random.choice(names), scope)
            if found is not None:
                return found
        return Element(Tensor("a"))

    def read(self, name: str, scope: tuple[Index, ...]) -> Expr | None:
        if name in _BY_NAME:
            kind, axes = _BY_NAME[name].kind, _BY_NAME[name].axes
        else:
            kind, axes = Kind.REAL, tuple(i.size for i in dict(self.more)[name])
        subscripts: list[Expr] = []
        for size in axes:
            fitting: list[Expr] = [i for i in scope if i.size == size]
            if size != BATCH_SIZE and self.random.random() < 0.06:
                fitting = [Integer(self.random.randrange(SIZES[size.name]))]
            if name in ("z", "w", "k") and size == C and self.random.random() < 0.3:
                label = self.read(self.random.choice("tr"), scope)
                fitting = [label] if label is not None else fitting
            if not fitting:
                return None
            subscripts.append(self.random.choice(fitting))
        return Element(Tensor(name, kind), *subscripts)

    def statement(self, name: str, indices: tuple[Index, ...], depth: int) -> Statement:
        statement = Statement(name, indices, self.expr(indices, depth))
        self.more.append((name, indices))
        return statement


_TARGETS = {
    "y": ((Index("n", N), Index("c", C)), (BATCH, Index("s", S)), (Index("d", D),), (), (BATCH,), (Index("n", N),)),
    "v": ((Index("n", N), Index("d", D)), (BATCH, Index("d", D)), (Index("n", N),), (BATCH,)),
}


def gradient_indices(parameter: Parameter) -> tuple[Index, ...]:
    """Return letters for the axes of a parameter."""
    result: list[Index] = []
    for size in parameter.axes:
        used = {i.name for i in result}
        if size == BATCH_SIZE:
            result.append(BATCH)
        else:
            result.append(next(Index(c, size) for c in _LETTERS[size] if c not in used))
    return tuple(result)


def random_program(seed: int, depth: int = 3) -> Program:
    """Return a program whose backward is any formula at all: lowering does not know what a derivative is."""
    maker = Maker(seed, deltas=False)
    rng = Random(seed + 1)
    forward = [
        maker.statement("v", rng.choice(_TARGETS["v"]), depth),
        maker.statement("y", rng.choice(_TARGETS["y"]), depth),
    ]
    maker.deltas = True
    maker.more.append(("dy", forward[-1].indices))
    backward = [maker.statement("b", rng.choice(_TARGETS["v"]), depth)]
    reals = [p for p in PARAMETERS if p.kind.differentiable]
    drawn = rng.sample(reals, 2)
    chosen = [p for p in reals if p in drawn]
    backward += [maker.statement(f"d{p.name}", gradient_indices(p), depth) for p in chosen]
    layer = Layer("random", "", PARAMETERS, HYPERS, (N, C, D, S), (), tuple(forward), ("y",))
    return Program(
        layer, tuple(forward), tuple(backward), ("y",), ("dy",), tuple((p.name, f"d{p.name}") for p in chosen)
    )

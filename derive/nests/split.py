"""Statements as pieces: reductions taken out of expressions, softmax written out, deltas landed.

    y[n] = sum[d](x[n, d]**2)/D + b[n]
        sum_x[n] = 0;  sum_x[n] += x[n, d]**2;  y[n] = sum_x[n]/D + b[n]

Reductions of other kinds are in :mod:`derive.nests.reductions`, deltas in
:mod:`derive.nests.landing`, products of matrices in :mod:`derive.nests.products`.
What can't be taken apart stays as it is: a delta is then a comparison. So there
is a piece for every expression.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import sympy
from sympy import Add, Expr, Mul, S

from derive.algebra.functions import And, Ge, Lt, Where
from derive.algebra.indices import free_indices, names, rebuild, substitute
from derive.algebra.nodes import (
    BATCH,
    ArgMax,
    Delta,
    Element,
    Index,
    KeepingReduction,
    Kind,
    Padded,
    Reduction,
    Softmax,
    Sum,
)
from derive.language.layer import Statement
from derive.language.loops import Loop, loops
from derive.lower.affine import Ranges, affine
from derive.lower.layout import natural_order
from derive.lower.prepare import settled
from derive.lower.scalars import is_number
from derive.nests.inline import with_decays
from derive.nests.landing import scattered
from derive.nests.pieces import Letters, Piece, Temporary
from derive.nests.products import Operands, arranged, operands
from derive.nests.reductions import kept, reduced

__all__ = ["Splitter"]


class Splitter:
    """Turns statements into pieces, in order.

    Args:
        shapes: the axes of every tensor that is handed in.
        ranges: what is known of the sizes.
        taken: names that temporaries may not have; theirs are added.
        labels: ``(integer tensor, size)`` that are checked to lie inside when the function is called.

    Attributes:
        pieces: what came out so far.
        tensors: everything that is computed, by name.
    """

    def __init__(
        self, shapes: dict[str, tuple[Expr, ...]], ranges: Ranges, taken: set[str], labels: Iterable[tuple[str, Expr]]
    ) -> None:
        self.shapes = shapes
        self.ranges = ranges
        self.taken = taken
        self.labels = set(labels)
        self.pieces: list[Piece] = []
        self.tensors: dict[str, Temporary] = {}
        self._known: dict[Expr, Element] = {}
        self._stored: dict[tuple[Expr, Letters], Element] = {}
        self.tops: dict[tuple[Expr, Letters], tuple[str, str]] = {}
        self._loop: Loop | None = None
        self._group = self._count = 0
        self.formula = ""
        self._stem = ""

    # Statements

    def split(self, statements: Sequence[Statement]) -> list[Piece]:
        """Return the pieces of the forward or of the backward statements."""
        self.pieces, self._known, self._stored, self.tops = [], {}, {}, {}
        for statement in statements:
            self._declare(statement.name, statement.indices, statement.kind, statement)
        for piece in loops(statements):
            if isinstance(piece, Loop):
                self._recurrence(piece)
            else:
                self._statement(piece)
        return self.pieces

    def _recurrence(self, loop: Loop) -> None:
        for statement in loop.statements:
            self._start(statement)
        self._group += 1
        outer, self.pieces = self.pieces, []
        self._loop = loop
        for statement in loop.statements:
            own = _own_letter(statement, loop)
            if own != loop.index:
                statement = _with_letter(statement, own, loop.index)
            self._statement(statement)
        self._loop = None
        inside = [p for p in self.pieces if loop.index in p.loops]
        outer += [p for p in self.pieces if loop.index not in p.loops]
        outer += [
            replace(p, loops=(loop.index, *(i for i in p.loops if i != loop.index)), step=loop.step, group=self._group)
            for p in inside
        ]
        self.pieces = outer

    def _start(self, statement: Statement) -> None:
        """Compute the start of a recurrence where it is more than an element."""
        carry = statement.carry
        if carry is None:
            return
        start = settled(carry.start)
        if not is_number(start) and not isinstance(start, Element):
            indices = tuple(i for i in statement.indices if i != carry.index)
            name = self._name(f"{statement.name}_start")
            self._declare(name, indices, statement.kind)
            self.formula = f"{name} = {start}"
            self.assign(name, indices, self._started(start))
            start = self.tensors[name].element
        self.tensors[statement.name] = replace(self.tensors[statement.name], carry=replace(carry, start=start))

    def _statement(self, statement: Statement) -> None:
        if statement.carry is not None and self.tensors[statement.name].carry == statement.carry:
            self._start(statement)
        self.formula = str(replace(statement, carry=None))
        self._stem = statement.name
        self.assign(statement.name, statement.indices, self._started(settled(statement.expr)))

    def _started(self, expr: Expr) -> Expr:
        """Return the expression with reads before the first step of a recurrence as its start."""

        if not expr.args:
            return expr
        if isinstance(expr, Padded):
            return self._start_or(expr, expr.element, expr.fill)
        new = rebuild(expr, map(self._started, expr.args))
        return self._start_or(new, new, None) if isinstance(new, Element) else new

    def _start_or(self, read: Expr, element: Element, fill: Expr | None) -> Expr:
        """Return a read, or before the first step of a recurrence its start, with ``fill`` outside of the others."""
        tensor = self.tensors.get(element.name)
        if tensor is None or tensor.carry is None:
            return read
        axis = tensor.indices.index(tensor.carry.index)
        place = element.subscripts[axis]
        if isinstance(place, Index):
            return read
        others: dict[Index, Expr] = {
            i: s for k, (i, s) in enumerate(zip(tensor.indices, element.subscripts, strict=True)) if k != axis
        }
        start = substitute(tensor.carry.start, dict(others))
        if fill is not None:
            outside = [s for i, s in others.items() if not self.inside(s, i.size)]
            start = Padded(start, fill) if isinstance(start, Element) else start
            for i, s in others.items():
                if s in outside and not isinstance(start, Padded):
                    start = Where(And(Ge(s, S.Zero), Lt(s, i.size)), start, fill)
        first = S.Zero if tensor.carry.step == 1 else S.NegativeOne
        last = tensor.carry.index.size
        started = Ge(place, S.Zero) if tensor.carry.step == 1 else Lt(place, last)
        if fill is not None and not self._is_step(place, tensor.carry.step):
            # Before the start, and past the other end, there is nothing.
            before = Ge(place, first - 1) if tensor.carry.step == 1 else Lt(place, last + 1)
            start = Where(before, start, fill)
        return Where(started, read, start)

    def _is_step(self, place: Expr, step: int) -> bool:
        """Return whether a place is that of the step before an index."""
        return any(place == i - step for i in free_indices(place))

    @property
    def steps(self) -> frozenset[Index]:
        """The letter of the recurrence that is being split, if any."""
        return frozenset((self._loop.index,)) if self._loop is not None else frozenset()

    # Names

    def _name(self, stem: str) -> str:
        name, number = stem, 2
        while name in self.taken:
            name, number = f"{stem}{number}", number + 1
        self.taken.add(name)
        return name

    def _declare(self, name: str, indices: Letters, kind: Kind, statement: Statement | None = None) -> None:
        self.tensors[name] = Temporary(name, indices, kind, statement.carry if statement is not None else None)
        self.shapes[name] = tuple(i.size for i in indices)

    def temporary(self, stem: str, indices: Letters, kind: Kind = Kind.REAL) -> str:
        """Return the name of a new tensor."""
        name = self._name(stem)
        self._declare(name, indices, kind)
        return name

    def add(
        self, name: str, subscripts: Sequence[Expr], op: str, expr: Expr, letters: Iterable[Index], **more: Any
    ) -> None:
        """Append a piece, its loops in the order of memory."""
        expr = with_decays(expr)
        piece = Piece(name, tuple(subscripts), op, expr, tuple(letters), formula=self.formula, **more)
        self._count += 1
        self.pieces.append(replace(piece, loops=self.ordered(piece), number=self._count))

    def ordered(self, piece: Piece) -> Letters:
        """Return the loops of a piece so that the innermost ones step through neighbours."""
        reads = piece.reads
        accesses = [piece.subscripts, *(e.subscripts for e in reads)]
        far: dict[Index, int] = {}
        seen: dict[Index, int] = {}
        for subscripts in accesses:
            for k, subscript in enumerate(subscripts):
                letters = sorted(free_indices(subscript), key=str)
                if len(letters) > 1:
                    found = affine(subscript)
                    if found is not None:
                        letters = [i for i, _ in self.ranges.offsets(found.letters, S.One)]
                        letters = self.positions(letters)
                for place, letter in enumerate(letters):
                    distance = 2 * (len(subscripts) - 1 - k) + (1 if place else 0)
                    far[letter] = max(far.get(letter, -1), distance)
                    seen.setdefault(letter, len(seen))
        return tuple(sorted(piece.loops, key=lambda i: (i != BATCH, -far.get(i, 99), seen.get(i, 0), i.name)))

    def ordered_letters(self, expr: Expr, letters: Letters) -> Letters:
        """Return those of the letters that the expression has, in the order of memory where it is read."""
        free = free_indices(expr)
        return self.ordered(Piece("", (), "=", expr, tuple(i for i in letters if i in free)))

    def operand(self, expr: Expr, indices: Letters) -> Element:
        """Return a temporary that holds an operand of a product."""
        if (expr, indices) not in self._stored:
            stem = "_".join(sorted(names(expr))[:2])
            name = self.temporary(f"{stem}_columns" if expr.has(Padded) else f"{stem}_matrix", indices)
            self.assign(name, indices, expr)
            self._stored[expr, indices] = self.tensors[name].element
        return self._stored[expr, indices]

    def positions(self, letters: Sequence[Index]) -> list[Index]:
        """Return the letters of a window: its position first, then its offsets."""
        return sorted(letters, key=lambda i: (self.ranges.is_small(i), i.name))

    # Expressions

    def assign(self, name: str, indices: Letters, expr: Expr) -> None:
        if expr.has(Delta) and scattered(self, name, indices, expr):
            return
        if isinstance(expr, Reduction):
            reduced(self, name, indices, expr)
            return
        if isinstance(expr, KeepingReduction) and set(expr.indices) <= set(indices) and expr.at == expr.indices:
            kept(self, name, indices, expr)
            return
        plain, sums = self._products(expr, indices)
        if sums:
            first = True
            if plain != 0:
                self.add(name, indices, "=", self.lifted(plain, indices), indices)
                first = False
            for alpha, inner in sums:
                self.sum(name, indices, inner, alpha, first=first)
                first = False
            return
        self.add(name, indices, "=", self.lifted(expr, indices), indices)

    def _products(self, expr: Expr, indices: Letters) -> tuple[Expr, list[tuple[Expr, Sum]]]:
        """Divide an expression into the sums that are matrix products, each with its factor, and the rest."""
        rest: list[Expr] = []
        sums: list[tuple[Expr, Sum]] = []
        for term in Add.make_args(expr):
            inside = [f for f in Mul.make_args(term) if isinstance(f, Sum)]
            alpha = Mul(*(f for f in Mul.make_args(term) if f not in inside))
            alone = len(inside) == 1 and not free_indices(alpha) and not alpha.has(Reduction, KeepingReduction)
            if alone and free_indices(inside[0]) == set(indices) and self._is_product(inside[0]):
                sums.append((alpha, inside[0]))
                continue
            rest.append(term)
        return Add(*rest), sums

    def _is_product(self, expr: Sum) -> bool:
        return any(operands(term, expr.indices) is not None for term in Add.make_args(expr.body))

    def lifted(self, expr: Expr, order: Sequence[Index] = ()) -> Expr:
        """Return the expression with a temporary for every reduction."""
        if not expr.args or isinstance(expr, (Element, Padded)) or is_number(expr):
            return expr
        if isinstance(expr, (Reduction, KeepingReduction)):
            return self._temporary_for(expr, order)
        if isinstance(expr, Add):
            letters = free_indices(expr)
            own = natural_order([expr], order)
            if letters:
                rest, sums = self._products(expr, own)
                if len(sums) > 1:
                    together = Add(*(a * s for a, s in sums))
                    if together not in self._known:
                        name = self.temporary(f"pre_{self._stem}", own)
                        self.assign(name, own, together)
                        self._known[together] = self.tensors[name].element
                    return self.lifted(rest, order) + self._known[together]
        return rebuild(expr, (self.lifted(a, order) for a in expr.args))

    def _temporary_for(self, expr: Expr, order: Sequence[Index]) -> Expr:
        if isinstance(expr, KeepingReduction):
            return self._kept_at(expr, order)
        if expr not in self._known:
            indices = natural_order([expr], order)
            stem = "_".join([getattr(expr, "word", "sum"), *sorted(names(expr))[:2]])
            name = self.temporary(stem, indices, Kind.INT if isinstance(expr, ArgMax) else Kind.REAL)
            self.assign(name, indices, expr)
            self._known[expr] = self.tensors[name].element
        return self._known[expr]

    def _kept_at(self, expr: KeepingReduction, order: Sequence[Index]) -> Expr:
        missing = [i for i in expr.indices if i not in free_indices(expr.body)]
        if missing:
            count = sympy.Mul(*(i.size for i in missing))
            rest = [k for k, i in enumerate(expr.indices) if i not in missing]
            indices, at = tuple(expr.indices[k] for k in rest), tuple(expr.at[k] for k in rest)
            inner = expr.func(expr.body, indices, at) if rest else (S.One if isinstance(expr, Softmax) else S.Zero)
            inner = self.lifted(inner, order)
            return inner / count if isinstance(expr, Softmax) else inner - sympy.log(count)
        whole = expr.func(expr.body, expr.indices, expr.indices)
        if whole not in self._known:
            indices = natural_order([expr.body], order)
            name = self.temporary("p" if isinstance(expr, Softmax) else "logp", indices)
            kept(self, name, indices, whole)
            self._known[whole] = self.tensors[name].element
        return substitute(self._known[whole], dict(zip(expr.indices, expr.at, strict=True)))

    # Sums

    def sum(self, name: str, indices: Letters, expr: Sum, alpha: Expr, *, first: bool = True) -> None:
        """Append the pieces of ``name[indices] (+)= alpha * sum``."""
        bound = expr.indices
        body = self.lifted(expr.body, (*indices, *bound))
        plain: list[Expr] = []
        for term in Add.make_args(body):
            found = operands(term, bound)
            if found is None or not self._product(name, indices, found, alpha, first=first):
                plain.append(term)
            else:
                first = False
        if plain:
            if first:
                self.add(name, indices, "=", S.Zero, indices)
            self.accumulate(name, indices, alpha * Add(*plain), (*indices, *bound), ())

    def accumulate(
        self,
        name: str,
        subscripts: Sequence[Expr],
        body: Expr,
        letters: Iterable[Index],
        conditions: tuple[tuple[Expr, Expr], ...],
    ) -> None:
        """Append ``name[subscripts] += body``; a factor that is 0 outside its tensor is a condition."""
        factors: list[Expr] = []
        for factor in Mul.make_args(body):
            base = factor.base if factor.is_Pow and factor.exp.is_Integer and factor.exp > 0 else factor
            if isinstance(base, Padded) and base.fill == 0:
                element = base.element
                conditions += tuple(
                    (s, n)
                    for s, n in zip(element.subscripts, self.shapes[element.name], strict=True)
                    if not self.inside(s, n)
                )
                factor = factor.func(element, factor.exp) if factor.is_Pow else element
            factors.append(factor)
        conditions = tuple(dict.fromkeys(conditions))
        self.add(name, subscripts, "+=", Mul(*factors), letters, conditions=conditions)

    def _product(self, name: str, indices: Letters, found: Operands, alpha: Expr, *, first: bool) -> bool:
        """Append a sum that is a matrix product; False where it is none after all."""
        made = arranged(self, indices, found)
        if made is None:
            return False
        product, letters, target, outer = made
        product = replace(product, alpha=alpha * product.alpha)
        direct = target is None and outer == 1
        if target is None:
            target = indices
        where = name if direct else self.temporary(f"product_{self._stem}", target)
        if not direct:
            product = replace(product, alpha=S.One)
        reads = Mul(product.a, product.b)
        own = (*product.rows, *product.columns, *product.inner)
        within = tuple(i for i in letters if i not in product.inner)
        accumulated = [i for i in letters if i not in target]
        if (first or not direct) and accumulated:
            self.add(where, target, "=", S.Zero, target)
        op = "=" if (first or not direct) and not accumulated else "+="
        assert not set(within) & set(own)
        self.add(where, target, op, reads, within, product=product)
        if not direct:
            element = self.tensors[where].element
            self.add(name, indices, "=" if first else "+=", alpha * outer * element, indices)
        return True

    # Deltas

    def inside(self, place: Expr, size: Expr) -> bool:
        """Return whether a place surely lies in 0 … size-1."""
        if isinstance(place, Index):
            return self.ranges.is_at_least(size - place.size)
        if isinstance(place, Element):
            return (place.name, size) in self.labels
        form = affine(place)
        if form is None:
            return is_number(place) and self.ranges.is_at_least(place) and self.ranges.is_at_least(size - 1 - place)
        return self.ranges.is_at_least(form.least) and self.ranges.is_at_least(
            self.ranges.upper(size - 1 - form.largest)
        )



def _own_letter(statement: Statement, loop: Loop) -> Index:
    return statement.carry.index if statement.carry is not None else loop.index


def _with_letter(statement: Statement, old: Index, new: Index) -> Statement:
    change: dict[Expr, Expr] = {old: new}
    carry = statement.carry
    if carry is not None:
        carry = replace(carry, index=new)
    return replace(
        statement,
        indices=tuple(new if i == old else i for i in statement.indices),
        expr=substitute(statement.expr, change),
        carry=carry,
    )

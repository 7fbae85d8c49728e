"""Where tensors live: an axis whose letter is a common loop of all that touch it is dropped.

    for n:                              for n:
        s[n] = 0                            real s = 0;
        for d: s[n] += x[n, d]              for d: s += x[n, d]
        y[n] = s[n]/D                       y[n] = s/D

What has no axes left is a variable in that loop; what has some is a buffer in
the workspace; what is handed in stays as it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import sympy
from sympy import Add, Expr, Mul, S

from derive.algebra.indices import free_indices, rebuild
from derive.algebra.nodes import Element, Index, Padded, Tensor
from derive.algebra.nodes import Kind as Elements
from derive.lower.affine import affine
from derive.nests.fuse import Leaf, Nest, Tree
from derive.nests.hoist import hoisted
from derive.nests.nodes import Buffer, Comment, Gemm, Kind, Local, Loop, Matrix, Node, Range, Store, Threads
from derive.nests.pieces import Letters, Piece, Temporary

__all__ = ["arrays", "stored"]

_KINDS = {Elements.INT: Kind.INT, Elements.BOOL: Kind.BOOL}
_ZERO: Mapping[str, Expr] = {"+=": S.Zero, "max": S.NegativeInfinity, "min": S.Infinity}


@dataclass(slots=True)
class _Place:
    """How a tensor is stored: the axes that are left, and for a variable the loops around it."""

    axes: tuple[int, ...]
    shape: tuple[Expr, ...]
    depth: int
    kind: Kind
    local: bool
    writes: int


def stored(
    trees: Sequence[Tree], tensors: Mapping[str, Temporary], handed: Mapping[str, tuple[Expr, ...]]
) -> tuple[tuple[Node, ...], tuple[Buffer, ...]]:
    """Return the nests as nodes, and the buffers that they need.

    Args:
        trees: from :func:`derive.nests.fuse.fused`.
        tensors: everything that is computed.
        handed: the shapes of the arrays that the function is called with.
    """
    places = _places(trees, tensors, handed)
    writer = _Writer(places, frozenset(handed))
    body = tuple(writer.nodes(trees, 0))
    buffers = [
        Buffer(n, p.kind, p.shape, each=n in writer.own)
        for n, p in places.items()
        if n not in handed and not p.local
    ]
    buffers += [Buffer(n, places[n].kind, places[n].shape, part=True) for n in writer.sums]
    return body, tuple(buffers)


def arrays(
    trees: Sequence[Tree], tensors: Mapping[str, Temporary], handed: Mapping[str, tuple[Expr, ...]]
) -> frozenset[str]:
    """Return the names of the temporaries that need an array."""
    places = _places(trees, tensors, handed)
    return frozenset(name for name, place in places.items() if name not in handed and not place.local)


def _places(
    trees: Sequence[Tree], tensors: Mapping[str, Temporary], handed: Mapping[str, tuple[Expr, ...]]
) -> dict[str, _Place]:
    paths: dict[str, list[tuple[tuple[Nest, ...], tuple[Expr, ...], str]]] = {}
    for path, piece in _leaves(trees, ()):
        for name, subscripts, op in _accesses(piece):
            paths.setdefault(name, []).append((path, subscripts, op))
    places: dict[str, _Place] = {}
    for name, uses in paths.items():
        if name in handed:
            kind = _KINDS.get(tensors[name].kind, Kind.REAL) if name in tensors else Kind.REAL
            places[name] = _Place(tuple(range(len(handed[name]))), handed[name], 0, kind, False, 0)
            continue
        tensor = tensors[name]
        common = _common([path for path, _, _ in uses])
        if tensor.carry is not None:  # what an earlier step computed is read again
            common = tuple(itertools.takewhile(lambda nest: nest.step == 0, common))
        letters = {nest.index for nest in common}
        axes = tuple(
            k
            for k in range(len(tensor.indices))
            if not any(all(subscripts[k] == letter for _, subscripts, _ in uses) for letter in letters)
        )
        shape = tuple(tensor.indices[k].size for k in axes)
        kind = _KINDS.get(tensor.kind, Kind.REAL)
        writes = sum(op != "" for _, _, op in uses)
        places[name] = _Place(axes, shape, len(common), kind, not axes, writes)
    return places


def _leaves(trees: Sequence[Tree], path: tuple[Nest, ...]) -> Iterator[tuple[tuple[Nest, ...], Piece]]:
    for tree in trees:
        if isinstance(tree, Leaf):
            yield path, tree.piece
        else:
            yield from _leaves(tree.children, (*path, tree))


def _accesses(piece: Piece) -> Iterator[tuple[str, tuple[Expr, ...], str]]:
    for element in piece.reads:
        yield element.name, element.subscripts, ""
    yield piece.name, piece.subscripts, piece.op


def _common(paths: Sequence[tuple[Nest, ...]]) -> tuple[Nest, ...]:
    first, *rest = paths
    count = len(first)
    for path in rest:
        same = 0
        while same < min(count, len(path)) and path[same] is first[same]:
            same += 1
        count = same
    return first[:count]


@dataclass(slots=True)
class _Writer:
    places: dict[str, _Place]
    handed: frozenset[str]
    own: set[str] = field(default_factory=set)
    sums: dict[str, None] = field(default_factory=dict)
    declared: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)

    def nodes(self, trees: Sequence[Tree], depth: int) -> list[Node]:
        """Return the nodes of a list of trees; variables are declared where they are first assigned."""
        result: list[Node] = []
        formula = ""
        for tree in trees:
            formulas = _formulas(tree)
            if depth == 0 and formulas and formulas != formula:
                result.append(Comment(tuple(formulas.split("\n"))))
                formula = formulas
            if isinstance(tree, Leaf):
                result.append(self._leaf(tree.piece))
            else:
                result += self._loop(tree, depth)
        return result

    def _loop(self, nest: Nest, depth: int) -> list[Node]:
        body = tuple(self.nodes(nest.children, depth + 1))
        inner = not any(isinstance(node, (Loop, Gemm)) for node in body)
        ranges: tuple[Range, ...] = ()
        conditions: tuple[tuple[Expr, Expr], ...] = ()
        before: list[Node] = []
        after: list[Node] = []
        if inner and nest.step == 0 and depth:
            filled = self._filled(body)
            if filled is not None:
                fill, body = filled
                before.append(Loop(nest.index, (fill,), simd=True))
        if inner:
            body, ranges, conditions = _restricted(nest.index, body)
            body, first, after = self._accumulators(nest.index, body)
            body, fixed = hoisted(nest.index, body, self._name)
            before += [*first, *fixed]
        reductions = tuple(
            dict.fromkeys(
                (node.op, node.name)
                for node in body
                if isinstance(node, Store)
                and node.shape is None
                and node.op in _ZERO
                and not _declared(node.name, body)
            )
        )
        threads = self._threads(nest) if depth == 0 and not nest.step else None
        simd = inner and nest.step == 0 and _independent(nest.index, body, {name for _, name in reductions})
        if threads is not None and not simd:
            reductions = tuple(dict.fromkeys((p.op, p.name) for _, p in _leaves([nest], ()) if self._is_outer(p)))
        if not (simd or threads):
            reductions = ()
        loop = Loop(nest.index, body, nest.step or 1, simd, reductions, threads, ranges, conditions)
        return [*before, loop, *after]

    def _filled(self, body: tuple[Node, ...]) -> tuple[Store, tuple[Node, ...]] | None:
        """Divide the copy of a padded read into its fill everywhere, and the elements where they lie inside."""
        match body:
            case (Store(op="=", value=Padded() as read, conditions=()) as store,) if store.shape:
                shape = self.places[read.element.name].shape
                inside = tuple(
                    (s, n)
                    for s, n in zip(read.element.subscripts, shape, strict=True)
                    if not (isinstance(s, Index) and s.size == n)
                )
                return replace(store, value=read.fill), (replace(store, value=read.element, conditions=inside),)
        return None

    def _is_outer(self, piece: Piece) -> bool:
        """Return whether a piece adds to a variable that is declared outside of all loops."""
        place = self.places[piece.name]
        return place.local and place.depth == 0

    def _threads(self, nest: Nest) -> Threads | None:
        """Return how an outermost loop is divided among threads, or None where it is not."""
        own: dict[str, None] = {}
        sums: dict[str, None] = {}
        work: Expr = S.Zero
        pieces = [piece for _, piece in _leaves([nest], ())]
        read = {e.name for piece in pieces for e in piece.reads}
        alone = not any(isinstance(child, Nest) for child in nest.children)
        if not read:  # zeros
            return None
        for path, piece in _leaves([nest], ()):
            if piece.product is not None:  # a library has threads of its own
                return None
            count = Mul(*(n.index.size for n in path))
            if len(Mul.make_args(count)) >= len(Mul.make_args(work)):
                work = count
            place = self.places[piece.name]
            if any(piece.subscripts[k] == nest.index for k in place.axes):
                continue
            if place.depth and piece.name not in self.handed:
                if not place.local:
                    own[piece.name] = None
            elif piece.op not in _ZERO or piece.name in read:
                return None
            elif not place.local and not (alone and nest.index not in _target_letters(piece)):
                if piece.op != "+=" or place.kind is not Kind.REAL:
                    return None
                sums[piece.name] = None
        self.own |= own.keys()
        self.sums |= sums
        return Threads(work, tuple(own), tuple(sums))

    def _name(self, stem: str) -> str:
        """Return a name that no tensor has."""
        name, number = stem, 2
        while name in self.places or name in self.names:
            name, number = f"{stem}{number}", number + 1
        self.names.add(name)
        return name

    def _accumulators(self, index: Index, body: tuple[Node, ...]) -> tuple[tuple[Node, ...], list[Node], list[Node]]:
        """Sum in a variable what is added to the same element in every iteration."""
        before: list[Node] = []
        after: list[Node] = []
        result: list[Node] = []
        for node in body:
            fixed = (
                isinstance(node, Store)
                and node.shape is not None
                and node.op in _ZERO
                and not any(index in free_indices(s) for s in node.subscripts)
                and not any(index in free_indices(p) for p, _ in node.conditions)
            )
            if not fixed:
                result.append(node)
                continue
            assert isinstance(node, Store)
            name = self._name(f"{node.name}_part")
            before.append(Local(name, Kind.REAL, _ZERO[node.op], constant=False))
            after.append(replace(node, value=Element(Tensor(name))))
            result.append(Store(name, None, (), node.op, node.value))
        return tuple(result), before, after

    def _leaf(self, piece: Piece) -> Node:
        place = self.places[piece.name]
        subscripts = tuple(piece.subscripts[k] for k in place.axes)
        if piece.product is not None:
            return self._gemm(piece)
        value = self._value(piece.expr)
        conditions = tuple((self._value(p), s) for p, s in piece.conditions)
        if place.local and piece.name not in self.declared and piece.op == "=":
            self.declared.add(piece.name)
            return Local(piece.name, place.kind, value, place.writes == 1)
        shape = None if place.local else place.shape
        return Store(piece.name, shape, tuple(map(self._value, subscripts)), piece.op, value, conditions, place.kind)

    def _value(self, expr: Expr) -> Expr:
        """Return an expression with the elements as they are stored."""
        if not expr.args:
            return expr
        new = rebuild(expr, map(self._value, expr.args))
        if isinstance(new, Element) and new.name in self.places:
            place = self.places[new.name]
            if len(place.axes) < len(new.subscripts):
                return Element(new.tensor, *(new.subscripts[k] for k in place.axes))
        return new

    def _gemm(self, piece: Piece) -> Gemm:
        product = piece.product
        assert product is not None
        rows, columns, inner = product.rows, product.columns, product.inner
        target = Element(Tensor(piece.name), *piece.subscripts)
        a = self._matrix(product.a, rows, inner)
        b = self._matrix(product.b, inner, columns)
        c = self._matrix(target, rows, columns)
        assert not c.transposed
        m, n, k = (sympy.Mul(*(i.size for i in letters)) for letters in (rows, columns, inner))
        return Gemm(a, b, c, m, n, k, self._value(product.alpha), 0 if piece.op == "=" else 1)

    def _matrix(self, element: Element, rows: Letters, columns: Letters) -> Matrix:
        place = self.places[element.name]
        subscripts = [element.subscripts[k] for k in place.axes]
        strides = [Mul(*place.shape[k + 1 :]) for k in range(len(place.shape))]
        own = {*rows, *columns}
        offset = Add(*(self._value(s) * d for s, d in zip(subscripts, strides, strict=True) if s not in own))
        by_letter = dict(zip(subscripts, strides, strict=True))
        transposed = subscripts[-1] in rows
        stride = by_letter[(columns if transposed else rows)[-1]]
        return Matrix(element.name, offset, stride, transposed)


def _target_letters(piece: Piece) -> frozenset[Index]:
    """Return the letters in the target of a piece and in its conditions."""
    return frozenset().union(*map(free_indices, (*piece.subscripts, *(p for p, _ in piece.conditions))))


def _formulas(tree: Tree) -> str:
    pieces = sorted((piece for _, piece in _leaves([tree], ())), key=lambda piece: piece.number)
    found = dict.fromkeys(piece.formula for piece in pieces if piece.formula)
    return "\n".join(found)


def _declared(name: str, body: Sequence[Node]) -> bool:
    return any(isinstance(node, Local) and node.name == name for node in body)


_Conditions = tuple[tuple[Expr, Expr], ...]


def _restricted(
    index: Index, body: tuple[Node, ...]
) -> tuple[tuple[Node, ...], tuple[Range, ...], _Conditions]:
    """Turn conditions of the one store of an innermost loop into restrictions of the loop, or of whether it runs."""
    match body:
        case (Store() as store,):
            pass
        case _:
            return body, (), ()
    ranges: list[Range] = []
    rest: list[tuple[Expr, Expr]] = []
    outer: list[tuple[Expr, Expr]] = []
    for place, size in store.conditions:
        form = affine(place)
        factors = dict(form.letters) if form is not None else {}
        if index in factors:
            factor = factors[index]
            ranges.append(Range(factor, sympy.expand(place - factor * index), size))
        elif index in free_indices(place):
            rest.append((place, size))
        else:
            outer.append((place, size))
    return (replace(store, conditions=tuple(rest)),), tuple(ranges), tuple(outer)


def _independent(index: Index, body: Sequence[Node], reductions: set[str]) -> bool:
    """Return whether no iteration touches what another writes."""
    own = {node.name for node in body if isinstance(node, Local)}
    for node in body:
        if not isinstance(node, Store) or node.name in own or node.name in reductions:
            continue
        if not any(_moves(s, index) for s in node.subscripts):
            return False
    return True


def _moves(subscript: Expr, index: Index) -> bool:
    """Return whether different values of the letter give different places."""
    if subscript == index:
        return True
    form = affine(subscript)
    return form is not None and index in dict(form.letters)


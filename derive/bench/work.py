"""What any backward pass of a layer has to do: bytes to move, products to take."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
from sympy import Expr, Mul

from derive.algebra.indices import free_indices
from derive.algebra.nodes import Delta, Index, Sum
from derive.calculus.program import Program
from derive.check.instance import Instance

__all__ = ["compulsory_bytes", "product_flops"]

Letters = frozenset[Index]


def compulsory_bytes(program: Program, arrays: Mapping[str, np.ndarray], cotangents: Mapping[str, np.ndarray]) -> int:
    """Return the bytes that every backward pass reads and writes.

    These are the cotangents, the inputs on which the gradients depend (or the
    saved values that stand for them), and the gradients, each once.

    Args:
        program: of the layer.
        arrays: the inputs by name.
        cotangents: of the outputs.
    """
    defined = {s.name: s for s in (*program.forward, *program.backward)}
    seen: set[str] = set()
    work = [name for _, name in program.gradients]
    while work:
        name = work.pop()
        if name not in seen:
            seen.add(name)
            if name in defined:
                work += defined[name].reads
    read = sum(array.nbytes for name, array in arrays.items() if name in seen and name not in defined)
    written = sum(arrays[name].nbytes for name, _ in program.gradients)
    return read + written + sum(array.nbytes for array in cotangents.values())


def product_flops(program: Program, instance: Instance) -> int:
    """Return the additions and multiplications of the backward's matrix products, in their cheapest order.

    A sum of products counts where no factor has all the indices; where one
    has, it is one pass over that factor, and bytes are what it costs.
    """
    return sum(
        _flops(node, frozenset(s.indices) | free_indices(node), instance)
        for s in program.backward
        for node in _sums(s.expr)
    )


def _sums(expr: Expr) -> Iterator[Sum]:
    if isinstance(expr, Sum):
        yield expr
    for arg in expr.args:
        yield from _sums(arg)


def _flops(node: Sum, around: Letters, instance: Instance) -> int:
    factors = Mul.make_args(node.body)
    deltas = [a for a in factors if isinstance(a, Delta)]
    letters = [free_indices(a) for a in factors if not isinstance(a, Delta)]
    letters = [each for each in letters if each]
    every = frozenset[Index]().union(*letters, *map(free_indices, deltas))
    carry_out = every - {*node.indices}
    if len(letters) < 2 or any(every - _solved(deltas) <= each for each in letters):
        return 0
    if deltas:
        return 2 * _count(every - _solved(deltas), instance)
    return _cheapest(letters, carry_out, instance)


def _solved(deltas: Sequence[Delta]) -> Letters:
    """Return one index a delta that it leaves no choice for."""
    found: set[Index] = set()
    for delta in deltas:
        alone = [a for a in delta.args if isinstance(a, Index) and a not in found]
        found |= {*alone[:1]}
    return frozenset(found)


def _count(letters: Letters, instance: Instance) -> int:
    return math.prod(instance.extent(i.size) for i in letters)


def _cheapest(letters: Sequence[Letters], out: Letters, instance: Instance) -> int:
    """Return the flops of the cheapest order of pairwise products."""
    if len(letters) < 2:
        return 0
    best = None
    for i, j in combinations(range(len(letters)), 2):
        rest = [each for k, each in enumerate(letters) if k not in (i, j)]
        both = letters[i] | letters[j]
        kept = both & out.union(*rest)
        elementwise = both <= letters[i] or both <= letters[j]
        total = (0 if elementwise else 2 * _count(both, instance)) + _cheapest([*rest, kept], out, instance)
        best = total if best is None else min(best, total)
    assert best is not None
    return best

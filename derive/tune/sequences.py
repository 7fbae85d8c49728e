"""Instructions that do with fewer passes together, or with a cheaper one instead.

    dz = p.copy(); dz[n, t] -= 1; dz *= c            dz = p * c; dz[n, t] -= c
    np.einsum("nj,bej->nbe", dh, w, optimize=True)   (dh @ w.reshape(B * E, H).T).reshape(N, B, E)
    np.add.at(dc, x, demb)                           np.add.at(dc.reshape(-1), places, demb.reshape(-1))

``einsum`` would look for the product itself, in more time than a small product
takes; ``add.at`` is several times as fast on one axis as on rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sympy import Expr, Mul

from derive.algebra.nodes import BATCH, BATCH_SIZE, Index
from derive.lower.arrays import (
    AddAt,
    Array,
    Assign,
    Binary,
    Contract,
    Copy,
    Dtype,
    Einsum,
    Fill,
    InPlace,
    Instruction,
    Name,
    Number,
    Regroup,
    Transpose,
    Update,
)
from derive.tune.idioms import Known
from derive.tune.tape import names_in

__all__ = ["as_product", "fewer_passes"]


def fewer_passes(code: Sequence[Instruction]) -> list[Instruction]:
    """Return the code with copies that are scaled at once, and scatters on one axis."""
    result = list(code)
    for k in range(len(result) - 2):
        scaled = _scaled_copy(*result[k : k + 3])
        if scaled is not None:
            result[k : k + 3] = scaled
            break
    zeros = {i.name for i in result if isinstance(i, Assign) and isinstance(i.value, Fill)}
    return [replace(i, flat=True) if isinstance(i, AddAt) and i.name in zeros and _by_rows(i) else i for i in result]


def _scaled_copy(first: Instruction, second: Instruction, third: Instruction) -> list[Instruction] | None:
    match first, second, third:
        case (
            Assign(name=name, value=Copy(args=(source,)) as copy),
            Update(name=changed, op=("+" | "-"), value=value),
            InPlace(name=last, op="*", value=factor),
        ) if name == changed == last and not factor.axes and name not in names_in(value) | names_in(factor):
            if isinstance(value, Number) and value.value == 1:
                new = factor
            else:
                new = Binary(value.axes, Dtype.REAL, (value, factor), op="*")
            whole = Binary(copy.axes, Dtype.REAL, (source, factor), op="*")
            return [Assign(name, whole), replace(second, value=new)]
    return None


def _by_rows(add: AddAt) -> bool:
    """Return whether one integer array addresses the first axis, and the others are whole."""
    return (
        add.op == "+"
        and add.axes == add.stored
        and len(add.axes) > 1
        and BATCH not in add.axes
        and isinstance(add.where[0], int)
        and all(w is None for w in add.where[1:])
        and isinstance(add.places[0], Name)
        and isinstance(add.value, Name)
        and len(add.value.axes) == len(add.places[0].axes) + len(add.axes) - 1
        and None not in (*add.value.axes, *add.places[0].axes)
        and add.value.axes[-1] == add.axes[-1]
    )


def as_product(array: Array, known: Known) -> Array:
    """Return an ``einsum`` of two arrays as a product of matrices where their axes allow it."""
    if not isinstance(array, Einsum) or len(array.args) != 2 or not array.optimize or array.dtype is not Dtype.REAL:
        return array
    a, b = array.args
    if BATCH in (*a.axes, *b.axes) or None in (*a.axes, *b.axes):
        return array
    if len(set(a.indices)) < len(a.axes) or len(set(b.indices)) < len(b.axes):
        return array
    bound = [i for i in a.indices if i in b.indices]
    if set(bound) & set(array.indices) or not bound:
        return array
    for left, right in ((a, b), (b, a)):
        rows = tuple(i for i in left.indices if i not in bound)
        columns = tuple(i for i in right.indices if i not in bound)
        sides = _side(left, rows), _side(right, columns)
        if array.axes != (*rows, *columns) or not rows or not columns or None in sides:
            continue
        if sides[0] is None or sides[1] is None or sides[0][1] != sides[1][1]:
            continue
        over = sides[0][1]
        merged = [group for group in (rows, columns, over) if len(group) > 1]
        if not merged or not all(known(i.size) for group in merged for i in group):
            continue
        if (len(rows) > 1 or len(columns) > 1) and not all(known(i.size) for i in (*rows, *columns)):
            continue
        m, n, k = (_merged(group) for group in (rows, columns, over))
        x, y = _matrix(left, rows, over, m, k, lead=True), _matrix(right, columns, over, n, k, lead=False)
        product: Array = Contract((m, n), Dtype.REAL, (x, y))
        return product if (m, n) == array.axes else Regroup(array.axes, Dtype.REAL, (product,))
    return array


def _side(array: Array, own: tuple[Index, ...]) -> tuple[bool, tuple[Index, ...]] | None:
    """Return whether the contracted axes come last, and these; None where they are not together."""
    count = len(array.axes) - len(own)
    if array.indices[: len(own)] == own:
        return True, array.indices[len(own) :]
    if array.indices[count:] == own:
        return False, array.indices[:count]
    return None


def _merged(group: tuple[Index, ...]) -> Index:
    if len(group) == 1:
        return group[0]
    size: Expr = Mul(*(i.size for i in group))
    assert not size.has(BATCH_SIZE)
    return Index("_".join(i.name for i in group), size)


def _matrix(
    array: Array, own: tuple[Index, ...], over: tuple[Index, ...], row: Index, inner: Index, *, lead: bool
) -> Array:
    """Return an array as a matrix, its own axes first if ``lead``, last otherwise."""
    first = array.indices[: len(own)] == own
    axes = (row, inner) if first else (inner, row)
    matrix = array if len(array.axes) == 2 else Regroup(axes, Dtype.REAL, (array,))
    if matrix is array:
        axes = array.indices  # type: ignore[assignment]
    return matrix if first == lead else Transpose(axes[::-1], Dtype.REAL, (matrix,))

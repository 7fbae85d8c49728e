"""The instructions of a loop: arrays made before it, the start, the statements of a step.

What a step computes goes straight into its row where one assignment does it
(``h[t + 1] = …``) and into a name of its own where the step reads it several
times or needs several lines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from sympy import Expr, Integer, S

from derive.algebra.nodes import Index
from derive.lower.arrays import (
    AddAt,
    Array,
    Assign,
    Blocks,
    Broadcast,
    CallBackward,
    CallForward,
    Cast,
    Copy,
    Delete,
    Dtype,
    Empty,
    Fill,
    ForLoop,
    Guarded,
    InPlace,
    Instruction,
    Into,
    Name,
    Number,
    PutAlong,
    Read,
    Regroup,
    Span,
    Transpose,
    Update,
    transform,
    values,
    walk,
)
from derive.lower.expressions import Expressions, as_real
from derive.lower.layout import rows
from derive.lower.plan import Shifted, Start, Step, Store, Unrolled
from derive.lower.statements import owned

__all__ = ["loop_code", "mapped", "shifted_code", "view"]

Lower = Callable[[Step], list[Instruction]]


def loop_code(lowerer: Expressions, loop: Unrolled, lower: Lower) -> list[Instruction]:
    """Return the instructions of a loop.

    Args:
        lowerer: for the starts.
        loop: what to compute.
        lower: gives the instructions of a statement; it is asked for the last one first.
    """
    groups = [lower(step) for step in reversed(loop.steps)]
    groups.reverse()
    body: list[Instruction] = []
    sparse: set[str] = set()
    for step, code in zip(loop.steps, groups, strict=True):
        if step.before is not None:
            statement = step.statement
            own = Name(statement.indices, Dtype.of(statement.kind), name=statement.name)
            body.insert(0, Assign(step.before, own))
        if step.store is None:
            body += code
            continue
        stored, zeros = _stored(step, step.store, code)
        body += stored
        if zeros:
            sparse.add(step.store.name)
    first: list[Instruction] = []
    for step in loop.steps:
        if step.store is not None:
            first.append(_made(step.store, zeros=step.store.name in sparse))
    for start in loop.starts:
        first.append(_start(lowerer, start))
    before, body = _matrices_apart(lowerer, loop, body)
    return [*first, *before, ForLoop(str(loop.counter.name), loop.size, loop.step, tuple(body))]


def _matrices_apart(
    lowerer: Expressions, loop: Unrolled, body: Sequence[Instruction]
) -> tuple[list[Instruction], list[Instruction]]:
    """Return assignments of the matrices that no step changes, ``wh.reshape(H, 4 * H)``, and the rest of the loop."""
    changing = {step.statement.name for step in loop.steps} | {step.before for step in loop.steps}
    changing |= {step.store.name for step in loop.steps if step.store is not None}
    changing |= {name for i in body for name in _written(i)}
    made: dict[Array, Assign] = {}

    def change(array: Array) -> Array:
        if not isinstance(array, Regroup) or not isinstance(array.args[0], (Read, Transpose)):
            return array
        nodes = list(walk(array))
        source = nodes[-1]
        if not isinstance(source, Read) or source.name in changing or not set(map(type, nodes)) <= _PLAIN:
            return array
        if array not in made:
            turned = tuple(source.axes.index(axis) for axis in array.args[0].axes)
            key = (source.name, turned, tuple(axis.size for axis in array.indices))
            if key not in lowerer.matrices:
                lowerer.matrices[key] = lowerer.fresh(f"{source.name}_matrix")
            made[array] = Assign(lowerer.matrices[key], array)
        return Name(array.axes, array.dtype, name=made[array].name)

    rest = [mapped(i, lambda value: transform(value, change)) for i in body]
    return list(made.values()), rest


_PLAIN: set[type[Array]] = {Regroup, Transpose, Read}


def _written(instruction: Instruction) -> set[str]:
    """Return the names that an instruction gives or changes."""
    if isinstance(instruction, (Guarded, ForLoop, Blocks)):
        return {name for i in instruction.body for name in _written(i)}
    return {instruction.name} if not isinstance(instruction, (CallForward, CallBackward)) else set()


def mapped(instruction: Instruction, change: Callable[[Array], Array]) -> Instruction:
    """Return an instruction with other values."""
    match instruction:
        case Guarded(body=body) | ForLoop(body=body):
            return replace(instruction, body=tuple(mapped(s, change) for s in body))
        case Update(places=places, value=value) | AddAt(places=places, value=value):
            return replace(instruction, places=tuple(map(change, places)), value=change(value))
        case PutAlong(at=at, value=value):
            return replace(instruction, at=change(at), value=change(value))
        case Assign(value=value) | InPlace(value=value) | Into(value=value):
            return replace(instruction, value=change(value))
        case Delete():
            return instruction
    raise AssertionError(f"lower: {instruction}")


def _made(store: Store, *, zeros: bool) -> Assign:
    dtype = Dtype.of(store.kind)
    array: Array = Fill(store.indices, dtype, value=S.Zero) if zeros else Empty(store.indices, dtype)
    return Assign(store.name, array)


def _start(lowerer: Expressions, start: Start) -> Instruction:
    if start.store is None:
        (code,) = owned(lowerer, start.statement, copy=start.statement.name in lowerer.handed)
        return code
    value = lowerer.lower(start.statement.expr, start.statement.indices)
    return _row(start.store, start.row, as_real(value) if start.store.kind.differentiable else value)


def _row(store: Store, row: Expr | Span, value: Array) -> Update:
    where = tuple(row if k == store.axis else None for k in range(len(store.indices)))
    return Update(store.name, store.indices, store.indices, where, (), "", _plain(value))


def _plain(value: Array) -> Array:
    """Return what gives the same when it is assigned to elements of an array."""
    if isinstance(value, Fill):
        return Number((), Dtype.NUMBER, value=value.value)
    return _plain(value.args[0]) if isinstance(value, (Broadcast, Cast, Copy)) else value


def _stored(step: Step, store: Store, code: Sequence[Instruction]) -> tuple[list[Instruction], bool]:
    """Return the instructions of a stored statement, and whether its array has to be made of zeros."""
    name = step.statement.name
    kept = Name(step.statement.indices, Dtype.of(store.kind), name=name)
    if step.named:
        return [*code, _row(store, step.row, kept)], False
    before = [i for i in code if isinstance(i, Assign) and i.name != name]
    after = [i for i in code if isinstance(i, Delete)]
    own = [i for i in code if i not in before and i not in after]
    if len(own) == 1:
        (instruction,) = own
        if isinstance(instruction, Assign):
            return [*before, _row(store, step.row, instruction.value), *after], False
        if isinstance(instruction, Guarded) and len(instruction.body) == 1 and isinstance(instruction.body[0], Assign):
            inner = _row(store, step.row, instruction.body[0].value)
            return [*before, replace(instruction, body=(inner,)), *after], False
    placed = _placed(step, store, code)
    if placed is not None:
        return placed, not _covered(code[1:])
    return [*code, _row(store, step.row, kept)], False


def _placed(step: Step, store: Store, code: Sequence[Instruction]) -> list[Instruction] | None:
    """Return updates of zeros as updates of the row itself, or None where it is anything else."""
    first, *updates = code
    name = step.statement.name
    if not (isinstance(first, Assign) and isinstance(first.value, Fill) and first.value.value == 0):
        return None
    result: list[Instruction] = []
    for update in updates:
        if not isinstance(update, Update) or update.axes != update.stored or update.name != name:
            return None
        if any(getattr(n, "name", None) == name for v in values(update) for n in walk(v)):
            return None
        where = (*update.where[: store.axis], step.row, *update.where[store.axis :])
        if update.places and _apart(where):
            return None
        result.append(replace(update, name=store.name, stored=store.indices, axes=store.indices, where=where))
    return result


def _covered(updates: Sequence[Instruction]) -> bool:
    """Return whether every element is assigned: whole slices at all places of one axis."""
    places: set[tuple[int, Expr]] = set()
    sizes: list[Expr] = []
    for update in updates:
        if not isinstance(update, Update) or update.op:
            return False
        at = [(k, w) for k, w in enumerate(update.where) if w is not None]
        if len(at) != 1 or not isinstance(at[0][1], Integer):
            return False
        ((axis, place),) = at
        places.add((axis, place))
        sizes = [index.size for index in update.axes]
    axes = {axis for axis, _ in places}
    return len(axes) == 1 and all((axis, Integer(k)) in places for axis in axes for k in range(_count(sizes[axis])))


def _count(size: Expr) -> int:
    """Return a size as a number; of a name, more than anybody writes out."""
    return int(size) if isinstance(size, Integer) else 10**6


def _apart(where: Sequence[object]) -> bool:
    """Return whether numbers and integer arrays stand apart, so that NumPy puts their axes first."""
    places = [k for k, w in enumerate(where) if w is not None]
    return places[-1] - places[0] + 1 != len(places)


def shifted_code(lowerer: Expressions, piece: Shifted, code: Sequence[Instruction]) -> list[Instruction]:
    """Return the instructions of a recurrence that is no loop; ``code`` computes all steps."""
    store = piece.store
    rows = Span(start=S.One) if store.shift else Span(stop=S.NegativeOne)
    made = [_made(store, zeros=False), _start(lowerer, piece.start)]
    if len(code) == 1 and isinstance(code[0], Assign):
        return [*made, _row(store, rows, code[0].value)]
    steps = Name(piece.statement.indices, Dtype.of(store.kind), name=piece.statement.name)
    return [*code, *made, _row(store, rows, steps)]


def view(store: Store) -> Array:
    """Return the array of all steps, without the row of the start."""
    array = Name(store.indices, Dtype.of(store.kind), name=store.name)
    over = store.indices[store.axis]
    letter = Index(over.name, over.size - int(store.longer))
    return rows(array, store.axis, letter, store.shift) if store.longer else array

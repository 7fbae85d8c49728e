"""A ``Program`` as an ``ArrayProgram``: statements in order, layouts, cache, sizes.

How an intermediate is stored is decided from its uses: statements are lowered
from the last to the first, and where every use wants the same units
(``rstd[:, None]``), the array is computed with them (``keepdims=True``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sympy import Expr, S

from derive.algebra.functions import AtLeast, AtMost, Guard, LogSigmoid
from derive.algebra.indices import rebuild
from derive.algebra.nodes import (
    BATCH_SIZE,
    Hyper,
    Index,
    LogSoftmax,
    Softmax,
)
from derive.calculus.program import Program
from derive.language.layer import Layer, Statement
from derive.lower.affine import Ranges
from derive.lower.arrays import (
    Apply,
    Array,
    ArrayFunction,
    ArrayProgram,
    Assign,
    Axis,
    Binary,
    Cast,
    Cotangent,
    Dtype,
    Dtypes,
    Expand,
    Field,
    Guarded,
    Input,
    Instruction,
    Name,
    Number,
    Part,
    Read,
    Rows,
    SizeOf,
    Unary,
    transform,
    values,
    walk,
)
from derive.lower.centred import centred
from derive.lower.expressions import Expressions
from derive.lower.labels import label_checks, nonempty_sizes
from derive.lower.memory import has_windows, peak
from derive.lower.offsets import windows_apart
from derive.lower.passes import by_function, function_of, joined, local_name, localized, owners, qualified
from derive.lower.plan import Piece, Plan, Shifted
from derive.lower.prepare import expressions, narrowed, prepared, without_aliases, without_dead
from derive.lower.recurrence import loop_names, planned
from derive.lower.scalars import is_number, sizes_in
from derive.lower.sharing import shared
from derive.lower.sizes import find_sizes, hypers_in, same_shape, shaped
from derive.lower.statements import lower_statement, once
from derive.lower.steps import loop_code, mapped, shifted_code, view
from derive.lower.windows import padded_apart

__all__ = ["lower"]

Units = tuple[bool, ...]


def lower(program: Program) -> ArrayProgram:
    """Turn forward and backward statements into whole-array operations."""
    layer, gradients = program.layer, program.gradients
    original = without_dead(without_aliases(joined(program)))
    program = narrowed(original)
    taken = {p.name for p in layer.parameters} | {h.name for h in layer.hypers} | set(program.cotangents)
    taken |= {s.name for s in (*program.forward, *program.backward)} | {s.name for s in layer.sizes}
    taken |= {local_name(name) for name in taken} | {name for p in program.passes for name, _ in p.given}
    ranges = Ranges(layer.derived, layer.sizes, layer.conditions)
    known = _axes(program)
    pads: dict[object, Statement] = {}
    forward = prepared(program.forward, taken)
    inside = loop_names(forward)
    forward = padded_apart(forward, ranges, known, taken, pads, inside)
    known |= {s.name: s.axes for s in forward}
    forward = windows_apart(forward, ranges, known, taken, inside)
    divided = []
    for function, statements in by_function(program.backward):
        part = prepared(statements, taken)
        inside = loop_names(part)
        part = padded_apart(part, ranges, known, taken, dict(pads), inside)
        divided.append((function, windows_apart(part, ranges, known, taken, inside)))
    owner = {s.name: f for f, statements in divided for s in statements}
    program = without_dead(replace(program, forward=forward, backward=tuple(s for _, part in divided for s in part)))
    known |= _axes(program)

    def windowed(statements: tuple[Statement, ...], own: Mapping[str, tuple[Expr, ...]]) -> tuple[Statement, ...]:
        part = padded_apart(statements, ranges, {**known, **own}, taken, {})
        return windows_apart(part, ranges, {**known, **own}, taken)

    plan = planned(program, taken, windowed)
    cotangents = _cotangents(program)
    # In products of equal rank, what comes first here is written first: dy * xhat.
    shapes: dict[str, tuple[Expr, ...]] = {name: tuple(i.size for i in indices) for name, indices in cotangents}
    shapes |= {p.name: p.axes for p in layer.parameters}
    for name, axes in (*plan.axes(plan.forward).items(), *plan.axes(plan.backward).items()):
        shapes[name] = tuple(i.size for i in axes)
    everything = (*program.forward, *program.backward, *plan.statements)
    logs = frozenset(s.name for s in everything if isinstance(s.expr, (LogSoftmax, LogSigmoid)))
    masked = frozenset(
        s.name
        for s in everything
        if s.name not in plan.axes(plan.forward) and type(s.expr) is Softmax and s.expr.body.has(S.NegativeInfinity)
    )
    work = _Layouts(Expressions(shapes, logs, masked, {name: s.axis for name, s in plan.stores.items()}, ranges, taken))
    # What a loop needs of all steps, and what it leaves, are products of one large matrix.
    work.lowerer.grouped = plan.unrolled
    work.lowerer.spare |= plan.last
    work.lowerer.centred = centred(s for s in plan.forward if isinstance(s, Statement))
    fixed = {*program.outputs, *program.returned, *plan.fixed}
    work.axes |= {name: store.indices for name, store in plan.stores.items()}
    later = [work.piece(p, fixed) for p in reversed(plan.backward)]
    earlier = [work.piece(p, fixed) for p in reversed(plan.forward)]
    inputs = {p.name: _letters(p.axes) for p in layer.parameters}
    fields = _cache(program, plan, work.axes)
    arrays = {f.name: f.axes for f in fields if f.axes is not None}
    expected = {name: Cotangent(name, shapes[name], same_shape(shapes[name], arrays)) for name, _ in cotangents}
    code: dict[str, list[Instruction]] = {}
    for function, group in zip(owners(plan.backward, owner), reversed(later), strict=True):
        code.setdefault(function, []).extend(shaped(work.resolved(i), arrays) for i in group)
    code = {function: shared(once(instructions), set(taken)) for function, instructions in code.items()}
    whole = once([shaped(work.resolved(i), inputs) for group in reversed(earlier) for i in group])
    forward_code = tuple(shared(whole, set(taken)))
    hypers = frozenset(h for s in program.backward for e in expressions(s) for h in _hypers(e))
    hypers = hypers.union(*map(hypers_in, code.values()))
    fields += tuple(Field(h.name, None, Dtype.NUMBER, h.symbol) for h in layer.hypers if h.symbol in hypers)
    sizes: dict[str, tuple[SizeOf, ...]] = {}
    lacking: dict[SizeOf, None] = {}
    for function in ("", *(p.name for p in program.passes)):
        given = [c for name, c in expected.items() if function_of(name) == function]
        sizes[function], missing = find_sizes(code.get(function, ()), arrays, given, layer.derived)
        lacking |= dict.fromkeys(missing)
    fields += tuple(
        Field(f.size.name if f.part is not Part.BATCH else "batch", None, Dtype.NUMBER, f.size) for f in lacking
    )
    labels = label_checks(layer, original)
    forward_sizes, lost = find_sizes(
        forward_code,
        inputs,
        (),
        layer.derived,
        [
            *lacking,
            *(SizeOf(s, Part.LENGTH) for x in labels for s in sizes_in(x.size)),
            *(SizeOf(s, Part.LENGTH) for c in layer.conditions for s in sorted(sizes_in(c.expr), key=str)),
        ],
    )
    assert not lost, f"lower: no parameter has the sizes {lost}"
    reals = [p.name for p in layer.parameters if p.kind.differentiable]
    precision = next((f.name for f in fields if f.axes is not None and f.dtype is Dtype.REAL), None)
    dtypes = Dtypes.EACH if len(reals) > 1 else Dtypes.ONE if precision is None else Dtypes.ARRAY
    formulas = {f: tuple(_formula(localized(s)) for s in part) for f, part in by_function(original.backward)}
    views = _views(program, plan)
    return ArrayProgram(
        name=layer.name,
        doc=layer.doc,
        source=_source(layer),
        inputs=tuple(Input(p.name, p.kind, p.axes) for p in layer.parameters),
        hypers=tuple((h.name, h.default) for h in layer.hypers),
        derived=tuple((d.size, d.expr) for d in layer.derived),
        forward=forward_code,
        backward=tuple(code.get("", ())),
        outputs=tuple(_output(program, name) for name in program.outputs),
        cotangents=tuple(expected[name] for name in program.cotangents),
        gradients=gradients,
        stages=tuple((of, name, shapes[name]) for of, name in program.stages),
        cache=fields,
        forward_sizes=forward_sizes,
        backward_sizes=sizes[""],
        dtypes=dtypes,
        precision=precision,
        labels=labels,
        nonempty=nonempty_sizes(layer, original),
        conditions=layer.conditions,
        memory=_memory(program, forward_code, code.get("", ()), fields),
        forward_formulas=tuple(map(_formula, original.forward)),
        backward_formulas=formulas[""],
        views=views,
        functions=tuple(
            ArrayFunction(
                p.name,
                tuple(code.get(p.name, ())),
                tuple((expected[qualified(p.name, name)], like) for name, like in p.given),
                tuple((of, qualified(p.name, name)) for of, name in p.results),
                sizes[p.name],
                formulas.get(p.name, ()),
                views,
            )
            for p in program.passes
        ),
    )


def _memory(
    program: Program, forward: Sequence[Instruction], backward: Sequence[Instruction], fields: Iterable[Field]
) -> tuple[tuple[Expr, ...], tuple[Expr, ...]] | None:
    if not has_windows((*forward, *backward)):
        return None
    kept = {*program.outputs, *(f.name for f in fields)}
    return peak(forward, kept), peak(backward, set(program.returned))


def _axes(program: Program) -> dict[str, tuple[Expr, ...]]:
    """Return the axes of every tensor of a program."""
    shapes = {name: tuple(i.size for i in indices) for name, indices in _cotangents(program)}
    shapes |= {p.name: p.axes for p in program.layer.parameters}
    return shapes | {s.name: s.axes for s in (*program.forward, *program.backward)}


def _results(program: Program) -> set[str]:
    return {*program.outputs, *program.returned}


def _views(program: Program, plan: Plan) -> tuple[tuple[str, Array], ...]:
    """Return the results whose arrays have a row more: without it."""
    found = {name: view(plan.stores[name]) for name in sorted(_results(program)) if name in plan.stores}
    return tuple((name, array) for name, array in found.items() if isinstance(array, Rows))


@dataclass(slots=True)
class _Layouts:
    """Lowers statements from last to first and decides how each array is stored.

    Attributes:
        uses: for every name, the units that its uses want, and the fewest axes of their contexts.
        stored: the units that each array is stored with, those that come first left out.
        axes: the axes that it really has.
    """

    lowerer: Expressions
    uses: dict[str, tuple[set[Units], int]] = field(default_factory=dict)
    stored: dict[str, Units] = field(default_factory=dict)
    axes: dict[str, tuple[Axis, ...]] = field(default_factory=dict)

    def piece(self, piece: Piece, fixed: set[str]) -> list[Instruction]:
        """Return the instructions of a statement or a loop; later ones have been lowered before."""
        if isinstance(piece, Statement):
            return self.instructions(piece, fixed)
        if isinstance(piece, Shifted):
            code = shifted_code(self.lowerer, piece, self.instructions(piece.statement, fixed))
        else:
            code = loop_code(self.lowerer, piece, lambda step: self.instructions(step.statement, fixed))
        self.note(code)
        return code

    def instructions(self, statement: Statement, fixed: set[str]) -> list[Instruction]:
        """Return the statement's instructions; later statements have been lowered before."""
        order: tuple[Axis, ...] = statement.indices
        wanted, room = self.uses.get(statement.name, (set(), 0))
        if statement.name not in fixed and len(wanted) == 1 and any(next(iter(wanted))):
            (units,) = wanted
            letters = iter(statement.indices)
            order = (None,) * (room - len(units)) + tuple(None if unit else next(letters) for unit in units)
        own = statement.name in fixed
        result = lower_statement(self.lowerer, statement, order, own=own)
        if result is None:
            order = statement.indices
            result = lower_statement(self.lowerer, statement, order, own=own)
        assert result is not None
        self.stored[statement.name] = _units(order)
        self.axes[statement.name] = _assigned_axes(result, statement) or order
        self.note(result)
        return result

    def note(self, code: Iterable[Instruction]) -> None:
        """Note how the names that are read are wanted."""
        for instruction in code:
            for value in values(instruction):
                for node in walk(value):
                    if isinstance(node, Read):
                        found, least = self.uses.get(node.name, (set(), node.room))
                        self.uses[node.name] = (found | {_units(node.axes)}, min(least, node.room))

    def resolved(self, instruction: Instruction) -> Instruction:
        """Return the instruction with reads as they are stored."""

        def change(array: Array) -> Array:
            return _lifted(self._read(array) if isinstance(array, Read) else array)

        return mapped(instruction, lambda value: transform(value, change))

    def _read(self, read: Read) -> Array:
        plain = read.indices
        stored = self.stored.get(read.name, (False,) * len(plain))
        if stored == _units(read.axes):
            return Name(read.axes, read.dtype, name=read.name)
        assert not any(stored), f"lower: {read.name} is stored with units and read without"
        return Expand(read.axes, read.dtype, (Name(plain, read.dtype, name=read.name),))


def _units(axes: Sequence[Axis]) -> Units:
    """Return where the units are, those that come first left out."""
    units = [axis is None for axis in axes]
    while units and units[0]:
        del units[0]
    return tuple(units)


def _assigned_axes(code: Sequence[Instruction], statement: Statement) -> tuple[Axis, ...] | None:
    """Return the axes of what is assigned to the statement's name."""
    for instruction in code:
        if isinstance(instruction, Guarded):
            found = _assigned_axes(instruction.body, statement)
            if found is not None:
                return found
        if isinstance(instruction, Assign) and instruction.name == statement.name:
            return instruction.value.axes
    return None


def _lifted(array: Array) -> Array:
    """``a[:, None] * b[:, None]`` is ``(a * b)[:, None]``."""
    if not isinstance(array, (Binary, Unary, Apply, Cast)):
        return array
    arrays = [a for a in array.args if not isinstance(a, Number) and a.axes]
    if not arrays or not all(isinstance(a, Expand) for a in arrays):
        return array
    first = arrays[0]
    if any(a.axes != first.axes or a.args[0].axes != first.args[0].axes for a in arrays):
        return array
    inner = first.args[0].axes
    args = tuple(a.args[0] if isinstance(a, Expand) else a for a in array.args)
    return Expand(first.axes, array.dtype, (replace(array, axes=inner, args=args),))


def _formula(statement: Statement) -> str:
    """Return the equation for people: a guard of a branch that is not taken changes no value that is."""
    return str(replace(statement, expr=_unguarded(statement.expr)))


def _unguarded(expr: Expr) -> Expr:
    if not expr.args:
        return expr
    if isinstance(expr, (AtMost, AtLeast)):
        return _unguarded(expr.args[0])
    if isinstance(expr, Guard):
        _, a, b = expr.args
        return _unguarded(b if is_number(a) else a)
    return rebuild(expr, (_unguarded(a) for a in expr.args))


def _source(layer: Layer) -> str:
    return Path(layer.source.name).name if layer.source is not None else f"{layer.name}.layer"


def _output(program: Program, name: str) -> tuple[str, tuple[Index, ...], Dtype]:
    statement = program.definition(name)
    if statement is None:
        parameter = program.layer.parameter(name)
        assert parameter is not None, f"lower: no output {name}"
        return name, _letters(parameter.axes), Dtype.of(parameter.kind)
    return name, statement.indices, Dtype.of(statement.kind)


def _letters(axes: Sequence[Expr]) -> tuple[Index, ...]:
    return tuple(Index("..." if a == BATCH_SIZE else f"i{k}", a) for k, a in enumerate(axes))


def _cotangents(program: Program) -> tuple[tuple[str, tuple[Index, ...]], ...]:
    """Return what backward and the further functions are handed in, with its indices."""
    given = list(zip(program.cotangents, program.outputs, strict=True))
    given += [(qualified(p.name, name), like) for p in program.passes for name, like in p.given]
    return tuple((name, _output(program, like)[1]) for name, like in given)


def _cache(program: Program, plan: Plan, axes: Mapping[str, tuple[Axis, ...]]) -> tuple[Field, ...]:
    """Return the arrays of forward that backward reads, in order of definition."""
    read = plan.read_backward
    fields = [Field(p.name, _letters(p.axes), Dtype.of(p.kind)) for p in program.layer.parameters if p.name in read]
    kinds = {s.name: s.kind for s in (*program.forward, *plan.statements)}
    fields += [Field(name, axes[name], Dtype.of(kinds[name])) for name in plan.axes(plan.forward) if name in read]
    return tuple(fields)


def _hypers(expr: Expr) -> set[Hyper]:
    if isinstance(expr, Hyper):
        return {expr}
    found: set[Hyper] = set()
    for arg in expr.args:
        found |= _hypers(arg)
    return found

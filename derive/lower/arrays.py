"""Array programs: whole-array operations whose axes are known.

    xhat[n, d] = (x[n, d] - mu[d]) * rstd[d]

is, as an array, ``(x - mu) * rstd``: a tree of operations, each with its axes.
An axis is an index of the calculus, or ``None`` for an axis of length 1 that is
kept for broadcasting. ``BATCH`` is one axis here and any number in NumPy, so it
is always the first, and positions are counted from the end.

Nothing here is text: the printers of ``derive.render`` turn these values into
the code of a target.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import TypeAlias

from sympy import Expr, S

from derive.algebra.nodes import BATCH, Index, Kind, Size
from derive.algebra.text import show
from derive.language.layer import Condition

__all__ = [
    "Accumulate",
    "AddAt",
    "Apply",
    "Array",
    "ArrayFunction",
    "ArrayProgram",
    "Assign",
    "Axis",
    "Binary",
    "Blocks",
    "Broadcast",
    "CallBackward",
    "CallForward",
    "Cast",
    "Contract",
    "Copy",
    "Cotangent",
    "Delete",
    "Dtype",
    "Dtypes",
    "Einsum",
    "Empty",
    "Entry",
    "Expand",
    "Field",
    "Fill",
    "ForLoop",
    "Function",
    "Guarded",
    "Helper",
    "InPlace",
    "Input",
    "Instruction",
    "Into",
    "Labels",
    "Name",
    "Number",
    "Ones",
    "Pad",
    "Part",
    "Purpose",
    "PutAlong",
    "Range",
    "Read",
    "Reduce",
    "Regroup",
    "Reshape",
    "Room",
    "Rows",
    "SizeOf",
    "Span",
    "Take",
    "TakeAlong",
    "Tensordot",
    "Transpose",
    "Unary",
    "Update",
    "Vecdot",
    "Windows",
    "transform",
    "values",
    "walk",
]

Axis = Index | None


class Dtype(Enum):
    """What NumPy makes of a value, as far as promotion goes."""

    REAL = "real"  # an array of the working precision
    INT = "int"
    BOOL = "bool"
    NUMBER = "number"  # a Python number: never promotes an array
    WIDE = "wide"  # float64 whatever the inputs: cast before use

    @staticmethod
    def of(kind: Kind) -> Dtype:
        """Return the dtype of a tensor of that kind."""
        return {Kind.INT: Dtype.INT, Kind.BOOL: Dtype.BOOL}.get(kind, Dtype.REAL)


@dataclass(frozen=True, slots=True)
class Array:
    """A value with its axes; ``args`` are the arrays it is computed from."""

    axes: tuple[Axis, ...]
    dtype: Dtype
    args: tuple[Array, ...] = ()

    @property
    def indices(self) -> tuple[Index, ...]:
        """The axes that are no units."""
        return tuple(axis for axis in self.axes if axis is not None)

    def __str__(self) -> str:
        inside = f"({', '.join(str(a) for a in self.args)})" if self.args else ""
        shape = f"[{', '.join('1' if a is None else a.name for a in self.axes)}]" if self.axes else ""
        return f"{self.word()}{inside}{shape}"

    def word(self) -> str:
        """Return the operation in a word."""
        return type(self).__name__.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Read(Array):
    """A tensor, wanted with units at some places; how it is stored is decided later.

    ``room`` is the number of axes of the context: that many it may have, the first ones units.
    """

    name: str
    room: int = 0

    def word(self) -> str:
        """Return the tensor's name."""
        return self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Name(Array):
    """A tensor as it is stored."""

    name: str

    def word(self) -> str:
        """Return the tensor's name."""
        return self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Number(Array):
    """A Python number: an expression of sizes, hyper-parameters and constants."""

    value: Expr

    def word(self) -> str:
        """Return the number."""
        return show(self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Range(Array):
    """0, 1, …, size-1 along an index."""

    size: Expr


@dataclass(frozen=True, slots=True, kw_only=True)
class Unary(Array):
    """``-a`` or ``~a``."""

    op: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary(Array):
    """``a op b``, broadcast: arithmetic, comparisons, ``&``, ``|``."""

    op: str

    def word(self) -> str:
        """Return the operator."""
        return self.op


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply(Array):
    """An elementwise function: its spelling with ``{0}``, ``{1}`` … for the arguments."""

    spelling: str
    scipy: bool = False

    def word(self) -> str:
        """Return the function."""
        return self.spelling.partition("(")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expand(Array):
    """The argument with units put in, so that it broadcasts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transpose(Array):
    """The argument's axes in another order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reshape(Array):
    """The argument with leading axes merged into one, the first of ``axes``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduce(Array):
    """``sum``, ``mean``, ``max`` … over ``over``; with units left in their place if ``keep``."""

    op: str
    over: tuple[Index, ...]
    keep: bool = False

    def word(self) -> str:
        """Return the reduction."""
        return self.op


class Function(Enum):
    """Small functions that a module carries along where it needs them."""

    NORM = "_norm"
    LOGSUMEXP = "_logsumexp"
    SOFTMAX = "_softmax"
    PAD = "_pad"


@dataclass(frozen=True, slots=True, kw_only=True)
class Helper(Array):
    """A reduction by one of the module's own small functions."""

    function: Function
    over: tuple[Index, ...]
    keep: bool = False

    def word(self) -> str:
        """Return the function's name."""
        return self.function.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract(Array):
    """``a @ b``: the last axis of ``a`` with the last but one of ``b`` (or its only one)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensordot(Array):
    """The last ``count`` axes of ``args[0]`` contracted with the first ones of ``args[1]``."""

    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Einsum(Array):
    """A product of the arguments, summed over the indices that ``axes`` lacks."""

    optimize: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Vecdot(Array):
    """``np.vecdot(a, b)``: the product of two arrays summed over the last axis; a unit in its place if ``keep``."""

    keep: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ones(Array):
    """A vector of ones, as long as the first or last axis of the argument: ``ones @ a``, ``a @ ones`` sum over it."""


@dataclass(frozen=True, slots=True)
class Span:
    """``start:stop:step``; None stands for an end of the axis."""

    start: Expr | None = None
    stop: Expr | None = None
    step: Expr = S.One

    @property
    def whole(self) -> bool:
        """Whether it is the axis itself."""
        return self.start is None and self.stop is None and self.step == 1

    @property
    def numbers(self) -> tuple[Expr, ...]:
        """What it is written with."""
        return tuple(n for n in (self.start, self.stop, self.step) if n is not None)


Entry: TypeAlias = int | Expr | Span | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Take(Array):
    """``args[0][…]``: one entry of ``where`` an axis.

    An entry is ``None`` for a whole axis, a ``Span`` for a slice, an ``Expr`` for
    a number, or the place in ``args`` of an integer array.
    """

    where: tuple[Entry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows(Array):
    """``sliding_window_view``: a view with one more axis, the last, for each window.

    ``along`` are the places of the axes along which the windows slide, ``lengths`` how long they are.
    """

    along: tuple[int, ...]
    lengths: tuple[Expr, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pad(Array):
    """The argument with ``fill`` around it: so many elements before and after, one pair an axis.

    Where a number is negative, so many elements are cut off.
    """

    widths: tuple[tuple[Expr, Expr], ...]
    fill: Expr = S.Zero


@dataclass(frozen=True, slots=True, kw_only=True)
class Regroup(Array):
    """``reshape``: the argument's elements in their order, along axes of the sizes of ``axes``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeAlong(Array):
    """``take_along_axis``: the axis of ``over`` read at the places ``args[1]``; a unit if ``keep``."""

    over: Index
    keep: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast(Array):
    """The argument in the working precision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broadcast(Array):
    """The argument repeated to the full shape (that of the array ``like``), as an array of its own."""

    like: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy(Array):
    """The argument as an array of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill(Array):
    """An array of one number, in the working precision, shaped as the array ``like``."""

    value: Expr
    like: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Empty(Array):
    """An array, shaped as the array ``like``, whose elements are all written later."""

    like: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Accumulate(Array):
    """Running sums, products … along ``over``: ``spelling(a, axis=…)``."""

    spelling: str
    over: Index


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows(Array):
    """The rows ``first``, … of an axis of the argument; ``last`` of them are left out at the end."""

    over: Index
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Assign:
    """``name = value``."""

    name: str
    value: Array

    def __str__(self) -> str:
        return f"{self.name} = {self.value}"


@dataclass(frozen=True, slots=True)
class Delete:
    """``del name``: a large array is not kept while the function goes on."""

    name: str

    def __str__(self) -> str:
        return f"del {self.name}"


@dataclass(frozen=True, slots=True)
class InPlace:
    """``name op= value``; ``name`` is an array that the function made itself.

    ``op`` is an arithmetic operator, or ``max`` or ``min`` for the larger or smaller of both.
    """

    name: str
    op: str
    value: Array

    def __str__(self) -> str:
        return f"{self.name} {self.op}= {self.value}"


@dataclass(frozen=True, slots=True)
class Update:
    """``name[…] op= value`` at places that are all different; ``op`` "" assigns.

    ``stored`` are the axes of ``name``, ``axes`` the same in the order in which they
    are addressed; ``where`` as in :class:`Take`, its integer
    arrays in ``places`` (counted from 1).
    """

    name: str
    stored: tuple[Index, ...]
    axes: tuple[Index, ...]
    where: tuple[Entry, ...]
    places: tuple[Array, ...]
    op: str
    value: Array

    def __str__(self) -> str:
        return f"{self.name}[{', '.join(map(str, self.places))}] {self.op}= {self.value}"


@dataclass(frozen=True, slots=True)
class AddAt:
    """``name[…] += value`` where places may repeat; each counts.

    ``flat``: one integer array addresses the first axis of an array in order, which
    is done on its elements one after the other.
    """

    name: str
    stored: tuple[Index, ...]
    axes: tuple[Index, ...]
    where: tuple[Entry, ...]
    places: tuple[Array, ...]
    op: str
    value: Array
    flat: bool = False

    def __str__(self) -> str:
        return f"{self.name}[{', '.join(map(str, self.places))}] {self.op}= {self.value} (each)"


@dataclass(frozen=True, slots=True)
class PutAlong:
    """``name[…, at, …] op= value``, one place a row, along the axis ``over``."""

    name: str
    axes: tuple[Index, ...]
    over: Index
    at: Array
    op: str
    value: Array

    def __str__(self) -> str:
        return f"{self.name}[along {self.over.name} at {self.at}] {self.op}= {self.value}"


@dataclass(frozen=True, slots=True)
class Guarded:
    """Statements in which ``where`` leaves values unused that may overflow or be nan."""

    ignore: tuple[str, ...]
    body: tuple[Instruction, ...]

    def __str__(self) -> str:
        return "\n".join(f"{s}  # ignore {', '.join(self.ignore)}" for s in self.body)


@dataclass(frozen=True, slots=True)
class ForLoop:
    """Statements for every step: ``counter`` is 0, …, size-1, or the last first where ``step`` is -1."""

    counter: str
    size: Expr
    step: int
    body: tuple[Instruction, ...]

    def __str__(self) -> str:
        steps = f"0 … {show(self.size - 1)}" if self.step == 1 else f"{show(self.size - 1)} … 0"
        return "\n    ".join([f"for {self.counter} in {steps}:", *map(str, self.body)])


@dataclass(frozen=True, slots=True)
class Room:
    """``name`` is the array that the caller gave for the gradient of ``parameter``, or a new one, not yet written.

    ``axes`` are its sizes, ``like`` an array of that shape, ``reads`` the names of the
    arrays that are still read when it is written to.
    """

    name: str
    parameter: str
    axes: tuple[Expr, ...]
    like: str | None
    reads: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name} = room for d{self.parameter}"


@dataclass(frozen=True, slots=True)
class Into:
    """``np.multiply(a, b, out=name)``: one operation, its result written to an array that is there."""

    name: str
    value: Array

    def __str__(self) -> str:
        return f"{self.name}[...] = {self.value}"


@dataclass(frozen=True, slots=True)
class Blocks:
    """Statements for some rows at a time: ``for rows, scratch in _blocks(of, 1):``.

    Attributes:
        rows: the name of the slice.
        of: the array whose rows are counted, of all that are read the widest.
        like: an array of the working precision.
        scratch: names of arrays as large as some rows of ``of``.
        parts: ``(name, array)``: what stands for the array's rows of the block.
        body: the statements.
    """

    rows: str
    of: Array
    like: str
    scratch: tuple[str, ...]
    parts: tuple[tuple[str, Array], ...]
    body: tuple[Instruction, ...]

    def __str__(self) -> str:
        return "\n    ".join([f"for rows of {self.of}:", *map(str, self.body)])


@dataclass(frozen=True, slots=True)
class CallForward:
    """``(a, b), cache = module.forward(x, w, eps=0.001)``: the forward of another layer's module.

    A result, or ``cache``, is None where nobody wants it.
    """

    module: str
    results: tuple[str | None, ...]
    cache: str | None
    arguments: tuple[Array, ...]
    keywords: tuple[tuple[str, Array], ...]

    def __str__(self) -> str:
        given = [*map(str, self.arguments), *(f"{name}={value}" for name, value in self.keywords)]
        results = ", ".join(name or "_" for name in self.results)
        return f"{results}; {self.cache or '_'} = {self.module}.forward({', '.join(given)})"


@dataclass(frozen=True, slots=True)
class CallBackward:
    """``dx, dw, db = module.backward(dy, cache)``: its backward; ``fields`` are the names of its gradients.

    A result is None where nobody wants it.
    """

    module: str
    results: tuple[str | None, ...]
    fields: tuple[str, ...]
    arguments: tuple[Array, ...]
    cache: str

    def __str__(self) -> str:
        given = ", ".join([*map(str, self.arguments), self.cache])
        return f"{', '.join(name or '_' for name in self.results)} = {self.module}.backward({given})"


Instruction = (
    Assign
    | Delete
    | InPlace
    | Into
    | Update
    | AddAt
    | PutAlong
    | Guarded
    | ForLoop
    | Blocks
    | Room
    | CallForward
    | CallBackward
)


@dataclass(frozen=True, slots=True)
class Labels:
    """An integer tensor whose elements must lie in 0 … size-1, the length of ``axis`` of ``of``."""

    name: str
    size: Expr


@dataclass(frozen=True, slots=True)
class Input:
    """A parameter as ``forward`` takes it; ``axes`` are sizes, ``BATCH_SIZE`` for ``...``."""

    name: str
    kind: Kind
    axes: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the cache: an array with its stored axes, or a number (``axes`` None).

    ``value`` is the number: a hyper-parameter or a size; ``BATCH_SIZE`` stands
    for the lengths of the batch axes. With ``module`` it is the cache of a call
    of that module.
    """

    name: str
    axes: tuple[Axis, ...] | None
    dtype: Dtype = Dtype.REAL
    value: Expr | None = None
    module: str | None = None


class Part(Enum):
    """What a size is needed as."""

    LENGTH = "length"  # the length of an axis
    BATCH = "batch"  # the lengths of the batch axes, a tuple
    COUNT = "count"  # the number of batch elements


@dataclass(frozen=True, slots=True)
class SizeOf:
    """Where a function finds a size: the axis of an array, the cache, or an expression of other sizes.

    Attributes:
        size: the size; ``BATCH_SIZE`` for what concerns the batch.
        part: what is wanted of it.
        source: the array that has it (None: a field of the cache, or ``value``).
        axes: the axes of ``source`` as stored, as sizes; None for a unit.
        value: the expression that gives it.
    """

    size: Size
    part: Part
    source: str | None = None
    axes: tuple[Expr | None, ...] = ()
    value: Expr | None = None


class Purpose(Enum):
    """What code is written for."""

    READING = "reading"
    SPEED = "speed"
    MEMORY = "memory"


class Dtypes(Enum):
    """How backward knows the dtypes of the gradients."""

    ARRAY = "array"  # one real input: any real array of the cache has its dtype
    ONE = "one"  # one real input, but no such array: the cache keeps its dtype
    EACH = "each"  # several real inputs: the cache keeps the dtype of each


@dataclass(frozen=True, slots=True)
class Cotangent:
    """A cotangent: its axes as sizes, and an array of the cache that has its shape."""

    name: str
    axes: tuple[Expr, ...]
    like: str | None


@dataclass(frozen=True, slots=True)
class ArrayFunction:
    """A further function of a module beside forward and backward.

    Attributes:
        name: of the function.
        code: the statements; its own names have the function's in front.
        given: what the caller hands in, in order, with the parameter or output whose shape each has.
        results: ``(parameter or output it belongs to, name)`` of what is returned.
        sizes: the sizes that the statements use as numbers, in order.
        formulas: the same in index notation, for people.
        views: of results whose arrays have a row more, the part that is the result.
    """

    name: str
    code: tuple[Instruction, ...]
    given: tuple[tuple[Cotangent, str], ...]
    results: tuple[tuple[str, str], ...]
    sizes: tuple[SizeOf, ...]
    formulas: tuple[str, ...]
    views: tuple[tuple[str, Array], ...] = ()


@dataclass(frozen=True, slots=True)
class ArrayProgram:
    """A module: what forward and backward compute, in order, and what lies between them.

    Attributes:
        name, doc, source: of the layer; ``source`` is the base name of its file.
        inputs: the tensors of ``forward``, in order.
        hypers: ``(name, default)``, in order.
        derived: ``(size, expression)`` of sizes that are computed.
        forward, backward: the statements.
        outputs: ``(name, axes, dtype)`` of the results.
        cotangents: one an output.
        forward_sizes, backward_sizes: the sizes that the statements use as numbers, in order.
        dtypes: how backward knows the dtypes of the gradients.
        precision: an array of the cache that has the working precision, if there is one.
        gradients: ``(parameter, name of its gradient)``.
        stages: ``(forward name, name of its adjoint, sizes)`` of intermediate results, returned after the gradients.
        cache: what backward reads of a forward pass.
        views: outputs and gradients that are part of a larger array.
        modules: the modules of the layers that are called, in order.
        labels: what must hold of integer inputs.
        conditions: what the sizes and hyper-parameters have to fulfil, in the order in which it can be tested.
        memory: the elements that forward and backward hold at most beside arguments, results and cache, as
            alternatives of which none is the largest for all sizes; None where it isn't said.
        nonempty: sizes that must not be 0, each with the reason.
        forward_formulas, backward_formulas: the same in index notation, for people.
        functions: further functions that read the same cache.
        purpose: what backward has been written for.
    """

    name: str
    doc: str
    source: str
    inputs: tuple[Input, ...]
    hypers: tuple[tuple[str, int | float | bool], ...]
    derived: tuple[tuple[Expr, Expr], ...]
    forward: tuple[Instruction, ...]
    backward: tuple[Instruction, ...]
    outputs: tuple[tuple[str, tuple[Index, ...], Dtype], ...]
    cotangents: tuple[Cotangent, ...]
    gradients: tuple[tuple[str, str], ...]
    cache: tuple[Field, ...]
    forward_sizes: tuple[SizeOf, ...]
    backward_sizes: tuple[SizeOf, ...]
    dtypes: Dtypes
    precision: str | None
    labels: tuple[Labels, ...]
    nonempty: tuple[tuple[Expr, str], ...]
    forward_formulas: tuple[str, ...]
    backward_formulas: tuple[str, ...]
    views: tuple[tuple[str, Array], ...] = ()
    modules: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()
    memory: tuple[tuple[Expr, ...], tuple[Expr, ...]] | None = None
    functions: tuple[ArrayFunction, ...] = ()
    stages: tuple[tuple[str, str, tuple[Expr, ...]], ...] = ()
    purpose: Purpose = Purpose.READING

    def __str__(self) -> str:
        lines = ["forward:", *(f"    {s}" for s in self.forward)]
        lines.append(f"cache: {', '.join(f.name for f in self.cache)}")
        lines += ["backward:", *(f"    {s}" for s in self.backward)]
        for function in self.functions:
            lines += [f"{function.name}:", *(f"    {s}" for s in function.code)]
        for function in self.functions:
            lines += [f"{function.name}:", *(f"    {s}" for s in function.code)]
        return "\n".join(lines) + "\n"


def walk(array: Array) -> Iterator[Array]:
    """Give the array and everything it is computed from."""
    yield array
    for arg in array.args:
        yield from walk(arg)


def transform(array: Array, change: Callable[[Array], Array]) -> Array:
    """Return the array with ``change`` applied to every part, innermost first."""
    args = tuple(transform(a, change) for a in array.args)
    if any(a is not b for a, b in zip(args, array.args, strict=True)):
        array = replace(array, args=args)
    return change(array)


def values(instruction: Instruction) -> tuple[Array, ...]:
    """Return the arrays that an instruction reads."""
    match instruction:
        case Guarded(body=body) | ForLoop(body=body):
            return tuple(v for s in body for v in values(s))
        case Blocks(of=of, parts=parts, body=body):
            return (of, *(part for _, part in parts), *(v for s in body for v in values(s)))
        case Update(places=places, value=value) | AddAt(places=places, value=value):
            return (*places, value)
        case PutAlong(at=at, value=value):
            return (at, value)
        case CallForward(arguments=arguments, keywords=keywords):
            return (*arguments, *(value for _, value in keywords))
        case CallBackward(arguments=arguments):
            return arguments
        case Delete() | Room():
            return ()
        case _:
            return (instruction.value,)


def has_batch(array: Array) -> bool:
    """Return whether the leading batch axes are among the array's."""
    return BATCH in array.axes

"""A ``Program`` as two C functions made of loop nests.

    CProgram
        forward, backward: Function
            arguments: what is handed in, in order
            buffers: arrays in the workspace
            body: nests; a nest is a tree of loops, with stores, locals and calls of a matrix product as leaves

Subscripts, sizes and values are SymPy expressions of the index calculus; an
array is C-contiguous and is addressed by one number a place.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from sympy import Expr

from derive.algebra.nodes import Index, Size
from derive.language.layer import Condition

__all__ = [
    "Argument",
    "Buffer",
    "CProgram",
    "Check",
    "Comment",
    "Function",
    "Gemm",
    "Kind",
    "Local",
    "Loop",
    "Matrix",
    "Node",
    "Range",
    "Role",
    "Store",
    "Threads",
]


class Role(Enum):
    """What an argument of a function is."""

    SIZE = "size"
    HYPER = "hyper"
    INPUT = "input"
    OUTPUT = "output"
    CACHE = "cache"
    COTANGENT = "cotangent"
    GRADIENT = "gradient"


class Kind(Enum):
    """The type of a number: ``real`` (float or double), ``ptrdiff_t``/``int64_t``, ``unsigned char``."""

    REAL = "real"
    INT = "int"
    BOOL = "bool"


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a function.

    Attributes:
        name: in C.
        role: sizes and hyper-parameters are handed by value, everything else by pointer.
        kind: of the number, or of the array's elements; Int arrays are ``int64_t``, Bool ones ``unsigned char``.
        shape: sizes of the axes of an array, in terms of sizes (derived ones too) and hyper-parameters;
            ``BATCH_SIZE`` stands for the product of the leading axes. () is one element.
        source: its name in the layer's program (``layer.hypers``, ``program.forward`` …).
    """

    name: str
    role: Role
    kind: Kind = Kind.REAL
    shape: tuple[Expr, ...] = ()
    source: str = ""

    @property
    def by_value(self) -> bool:
        """Whether it is a number rather than a pointer."""
        return self.role in (Role.SIZE, Role.HYPER)

    @property
    def written(self) -> bool:
        """Whether the function called with it writes it; a cache field is written by forward and read by backward."""
        return self.role in (Role.OUTPUT, Role.GRADIENT)


@dataclass(frozen=True, slots=True)
class Buffer:
    """An array in the workspace.

    Attributes:
        name, kind, shape: of the array.
        each: whether every thread has one of its own.
        part: whether it is what the threads after the first add up of the array ``name``.
    """

    name: str
    kind: Kind
    shape: tuple[Expr, ...]
    each: bool = False
    part: bool = False


@dataclass(frozen=True, slots=True)
class Threads:
    """How the iterations of a loop are divided among threads.

    Attributes:
        work: how many innermost iterations there are in all.
        own: buffers of which each thread uses its own.
        sums: arrays that are added to in every iteration: each thread adds up a part.
    """

    work: Expr
    own: tuple[str, ...] = ()
    sums: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Range:
    """``first <= i <= last`` where ``0 <= factor*i + start < size``; the factor's sign is known only when it runs.

    Restricts a loop so that a place lies inside its axis.
    """

    factor: Expr
    start: Expr
    size: Expr


@dataclass(frozen=True, slots=True)
class Loop:
    """``for (index = 0; index < size; ++index)``, or backwards where ``step`` is -1.

    Attributes:
        index: the letter.
        body: what is done at each step.
        step: 1 or -1.
        simd: whether iterations are independent but for ``reductions``.
        reductions: ``(operator, name)`` of the scalars that are accumulated.
        threads: where iterations may run in threads.
        ranges: restrictions.
        conditions: ``(place, size)``: nothing is done unless ``0 <= place < size``.
    """

    index: Index
    body: tuple[Node, ...]
    step: int = 1
    simd: bool = False
    reductions: tuple[tuple[str, str], ...] = ()
    threads: Threads | None = None
    ranges: tuple[Range, ...] = ()
    conditions: tuple[tuple[Expr, Expr], ...] = ()


@dataclass(frozen=True, slots=True)
class Store:
    """``name[subscripts] op value`` where all ``inside`` hold.

    Attributes:
        name: an argument, a buffer or a local.
        shape: sizes of the array's axes; None for a variable.
        subscripts: one an axis.
        op: ``=``, ``+=``, ``*=``, ``max`` or ``min``.
        value: what is stored.
        conditions: ``(place, size)``: stored only where ``0 <= place < size``.
        kind: of the element.
    """

    name: str
    shape: tuple[Expr, ...] | None
    subscripts: tuple[Expr, ...]
    op: str
    value: Expr
    conditions: tuple[tuple[Expr, Expr], ...] = ()
    kind: Kind = Kind.REAL


@dataclass(frozen=True, slots=True)
class Local:
    """A scalar variable; ``constant`` where it is never assigned again."""

    name: str
    kind: Kind
    value: Expr
    constant: bool = True


@dataclass(frozen=True, slots=True)
class Matrix:
    """A matrix inside an array: its first element, and the distance of its rows.

    ``transposed``: the rows of the product's operand lie along the array's contiguous axis.
    """

    name: str
    offset: Expr
    stride: Expr
    transposed: bool = False


@dataclass(frozen=True, slots=True)
class Gemm:
    """``c = alpha * a @ b + beta * c``, all real; ``m``, ``n``, ``k`` are the sizes."""

    a: Matrix
    b: Matrix
    c: Matrix
    m: Expr
    n: Expr
    k: Expr
    alpha: Expr
    beta: int


@dataclass(frozen=True, slots=True)
class Check:
    """Return ``code`` unless every element of an integer array lies in 0 … size-1."""

    name: str
    size: Expr
    code: int


@dataclass(frozen=True, slots=True)
class Comment:
    """Lines of a comment."""

    lines: tuple[str, ...]


Node = Loop | Store | Local | Gemm | Check | Comment


@dataclass(frozen=True, slots=True)
class Function:
    """``int name(arguments, void *workspace)``; 0, or the code of a failed check.

    Attributes:
        name: of the function in C; that of its workspace, in bytes, is ``<name>_workspace`` with the sizes and hypers.
        arguments: in order, without the workspace.
        derived: sizes that are computed from sizes and hyper-parameters, in order.
        buffers: arrays in the workspace, in order, each aligned to 64 bytes.
        body: the nests.
        labels: for every code from 1: the name of the integer input, and the size it has to stay below.
    """

    name: str
    arguments: tuple[Argument, ...]
    derived: tuple[tuple[Size, Expr], ...] = ()
    buffers: tuple[Buffer, ...] = ()
    body: tuple[Node, ...] = ()
    labels: tuple[tuple[str, Expr], ...] = ()


@dataclass(frozen=True, slots=True)
class CProgram:
    """The two functions of a layer.

    Attributes:
        layer: its name, which the functions' names start with.
        doc: the layer's docstring.
        source: the file it came from.
        forward, backward: the functions. The cache fields of ``forward`` (role CACHE) and the inputs
            and outputs that ``backward`` has among its arguments are what is kept between them.
        conditions: what sizes and hyper-parameters have to fulfil; Python checks it.
        nonempty: sizes that must not be 0, each with what needs it; Python checks it.
        gradients: ``(parameter, argument of backward)``, in order.
    """

    layer: str
    doc: str
    source: str
    forward: Function
    backward: Function
    conditions: tuple[Condition, ...] = ()
    nonempty: tuple[tuple[Expr, str], ...] = ()
    gradients: tuple[tuple[str, str], ...] = ()
    formulas: tuple[tuple[str, ...], tuple[str, ...]] = field(default=((), ()))

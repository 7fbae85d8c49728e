"""The names of one layer while it is resolved: tensors, hyper-parameters, sizes.

A name is one thing only. ``Scope`` gives what a name stands for, or the error
a user needs: where it was defined instead, or which known name is nearest.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches

from sympy import E, Expr, oo, pi

from derive.algebra.functions import FUNCTIONS
from derive.algebra.nodes import BATCH, BATCH_SIZE, Element, Index, Kind, Size, Tensor
from derive.algebra.text import show
from derive.errors import DerivationError, LayerSyntaxError, ShapeError, Span, UnknownNameError
from derive.language.layer import HyperParameter, Parameter
from derive.language.lengths import Lengths
from derive.language.tree import Axis, Dots, Name, Number, Target, written

__all__ = [
    "CONSTANTS",
    "FUNCTION_NAMES",
    "KEEPING",
    "RESERVED",
    "REDUCTIONS",
    "Known",
    "Scope",
    "Started",
    "axes_text",
    "count",
    "nearest",
]

CONSTANTS: dict[str, Expr] = {"pi": pi, "e": E, "inf": oo}
KEEPING = ("softmax", "log_softmax")
REDUCTIONS = (
    "sum", "mean", "prod", "max", "min", "var", "std", "logsumexp", "norm", "argmax", *KEEPING,
)  # fmt: skip
POWERS = ("sqrt", "rsqrt", "square")
FUNCTION_NAMES = frozenset((*(row.name for row in FUNCTIONS if not row.infix), *POWERS, "padded"))

# Names that a generated module uses itself.
RESERVED = frozenset(
    ("np", "numpy", "scipy", "math", "forward", "backward", "cache", "Cache", "Gradients", "NamedTuple", "nan")
)
# Python's own names that stay free: the reductions (var, sum, max …) and words that formulas use.
_FREE_BUILTINS = frozenset((*REDUCTIONS, "id", "input", "ord", "hash", "iter", "vars", "bin", "hex", "pow", "dir"))
_PYTHON = frozenset(name for name in dir(builtins) if name not in _FREE_BUILTINS)


@dataclass(frozen=True, slots=True)
class Known:
    """A tensor that has been defined: its shape, and where a hint says it came from."""

    tensor: Tensor
    axes: tuple[Expr, ...]
    story: str


@dataclass(frozen=True, slots=True)
class Declared:
    """A tensor whose shape was declared before its equation."""

    kind: Kind
    axes: tuple[Expr, ...]
    at: Span


@dataclass(frozen=True, slots=True)
class Started:
    """A recurrence whose equation is still to come.

    Attributes:
        name: of the tensor.
        position: the axis along which it runs.
        axes: the sizes, some of them open.
        letters: the start's letters, by the axis; None at the axis along which it runs.
        start: the value before the first step; None while the start is still to come too.
        kind: of the elements.
        at: where the start is written.
    """

    name: str
    position: int
    axes: tuple[Expr, ...]
    letters: tuple[Index | None, ...]
    start: Expr | None
    kind: Kind
    at: Span

    def earlier(self, letter: str) -> str:
        """Return ``h[t - 1, n]``."""
        return self._element(f"{letter} - 1")

    @property
    def story(self) -> str:
        """Where a hint says it came from."""
        return f"{self.name} starts as {self._element('-1')} on line {self.at.line}"

    def _element(self, time: str) -> str:
        return f"{self.name}[{', '.join(time if i is None else i.name for i in self.letters)}]"


def axes_text(axes: Iterable[Expr]) -> str:
    """Return ``[N, D]``."""
    return f"[{', '.join('...' if axis == BATCH_SIZE else show(axis) for axis in axes)}]"


def count(number: int, one: str, many: str = "") -> str:
    """Return ``1 axis``, ``2 axes``."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most alike, or None."""
    candidates = sorted(set(known))
    same = [c for c in candidates if c.lower() == name.lower()]
    found = same or get_close_matches(name, candidates, n=1, cutoff=0.6)
    return found[0] if found else None


class Scope(Lengths):
    """What the names of a layer stand for, from its signature on.

    Attributes:
        layer: the layer's name.
        tensors, hypers, sizes: by name.
        declared: shapes declared and not yet assigned.
        used: names that have been read.
        later: names that a statement of the layer assigns, with their places.
        starts: names that a statement of the layer starts, with its left side.
        started: recurrences that have a start and not yet an equation.
        carried: recurrences that have both.
        steps: the axis along which each recurrence runs.
        reads: for each name that a statement assigns, the names on its right side.
        places: where each element is read, by the name whose equation reads it.
        current: the name whose equation is being resolved.
        starting: whether it is the equation of a start.
    """

    def __init__(self, layer: str, later: dict[str, Span], starts: dict[str, Target]) -> None:
        super().__init__()
        self.layer = layer
        self.tensors: dict[str, Known] = {}
        self.hypers: dict[str, HyperParameter] = {}
        self.declared: dict[str, Declared] = {}
        self.used: set[str] = set()
        self.later = later
        self.starts = starts
        self.started: dict[str, Started] = {}
        self.carried: set[str] = set()
        self.steps: dict[str, int] = {}
        self.reads: dict[str, frozenset[str]] = {}
        self.places: dict[tuple[str, Element], Span] = {}
        self.current = ""
        self.starting = False

    @property
    def batched(self) -> bool:
        """Whether a tensor has batch axes."""
        return any(known.axes[:1] == (BATCH_SIZE,) for known in self.tensors.values())

    # Definitions

    def add_parameter(self, parameter: Parameter, at: Span) -> None:
        """Define a parameter."""
        self.check_new(Name(at, parameter.name), parameter.axes)
        shape = f"{parameter.kind.value}{axes_text(parameter.axes) if parameter.axes else ''}"
        story = f"{parameter.name} is declared as {parameter.name}: {shape} on line {at.line}"
        self.tensors[parameter.name] = Known(parameter.tensor, parameter.axes, story)

    def add_hyper(self, hyper: HyperParameter, at: Span) -> None:
        """Define a hyper-parameter."""
        self.check_new(Name(at, hyper.name), ())
        self.hypers[hyper.name] = hyper

    def add_derived(self, name: Name, expr: Expr) -> None:
        """Define a computed size."""
        self.check_new(name, None)
        self.define(name.id, expr, name.at)

    def add_tensor(self, name: str, kind: Kind, axes: tuple[Expr, ...], story: str) -> None:
        """Define an intermediate or a result."""
        self.tensors[name] = Known(Tensor(name, kind), axes, story)

    def axes(self, axes: tuple[Axis, ...], define: bool) -> tuple[Expr, ...]:
        """Return written axes as sizes; a size not seen before is defined, or an error."""
        found: list[Expr] = []
        for axis in axes:
            if isinstance(axis, Dots):
                if not define and not self.batched:
                    raise ShapeError("'...' without batch axes", axis.at, "no parameter of the layer has '...'")
                found.append(BATCH_SIZE)
            elif isinstance(axis, Number):
                found.append(axis.value)
            elif axis.id in self.sizes:
                found.append(self.sizes[axis.id])
            elif define:
                if axis.id in self.tensors:
                    raise UnknownNameError(
                        f"'{axis.id}' is a tensor", axis.at, "no name is both a size and something else"
                    )
                self.check_name(axis)
                found.append(self.sizes.setdefault(axis.id, Size(axis.id)))
            elif axis.id in self.hypers:
                raise UnknownNameError(
                    f"'{axis.id}' is a hyper-parameter, not a size", axis.at,
                    f"R = {axis.id} before this line defines a size R",
                )  # fmt: skip
            elif axis.id in self.tensors:
                raise UnknownNameError(
                    f"'{axis.id}' is a tensor, not a size", axis.at,
                    "a size is made of sizes, integers and Int hyper-parameters with + - * // %, as in P = N // 2",
                )  # fmt: skip
            elif axis.id not in self.later and not nearest(axis.id, self.sizes):
                known = f"known here: {', '.join(sorted(self.sizes))}; " if self.sizes else ""
                raise UnknownNameError(
                    f"unknown size '{axis.id}'", axis.at,
                    f"{known}{axis.id} = … before this line defines a size {axis.id}",
                )  # fmt: skip
            else:
                raise self.unknown(axis, "size", self.sizes)
        return tuple(found)

    def check_name(self, name: Name) -> None:
        """Refuse a name that code, or the language, uses for something else."""
        if name.id in RESERVED or name.id in _PYTHON:
            raise UnknownNameError(
                f"'{name.id}' is a name that generated code uses itself", name.at, "choose another name"
            )
        if name.id in FUNCTION_NAMES:
            raise UnknownNameError(f"'{name.id}' is a function of the language", name.at, "choose another name")

    def check_new(self, name: Name, axes: tuple[Expr, ...] | None) -> None:
        """Refuse a name that is taken (``axes`` None: a size)."""
        word = name.id
        if word in self.tensors or word in self.hypers or word in self.sizes:
            raise UnknownNameError(*self._taken(name))
        self.check_name(name)
        if axes == () and word in CONSTANTS:
            raise UnknownNameError(f"'{word}' is a constant of the language", name.at, "choose another name")
        if axes is not None:
            clash = self.gradient_clash(word)
            if clash:
                raise UnknownNameError(
                    f"'{clash[1]}' is the name of the gradient of '{clash[0]}'", name.at, "choose another name"
                )

    def gradient_clash(self, name: str) -> tuple[str, str] | None:
        """Return (tensor, its gradient's name) where ``name`` and another name are such a pair."""
        known = self.tensors.get(name[1:]) if name[0] == "d" else None
        if known is not None and known.tensor.kind.differentiable:
            return name[1:], name
        if f"d{name}" in self.tensors or f"d{name}" in self.hypers:
            return name, f"d{name}"
        return None

    def _is_given(self, size: str) -> bool:
        """Return whether a size stands in the signature."""
        return self.sizes[size] == Size(size) and all(d.size != self.sizes[size] for d in self.derived)

    def _taken(self, name: Name) -> tuple[str, Span, str]:
        word = name.id
        if word in self.sizes:
            what = "is a size of the parameters, found from the arrays" if self._is_given(word) else "is a size"
            return f"'{word}' {what}", name.at, "no name is both a size and something else: choose another one"
        if word in self.hypers:
            return f"'{word}' is a hyper-parameter", name.at, "each name is defined once: choose another one"
        story = self.tensors[word].story
        if " is declared as " in story:
            return f"'{word}' is a parameter", name.at, "each name is defined once: choose another one"
        return f"'{word}' is assigned twice", name.at, f"{story}; each name is assigned once"

    # Look-up

    def tensor(self, name: Name) -> Known:
        """Return the tensor of that name.

        Raises:
            UnknownNameError: there is none, or not yet.
            DerivationError: it is the one being defined.
        """
        known = self.tensors.get(name.id)
        if known is not None:
            self.used.add(name.id)
            return replace(known, axes=tuple(map(self.root, known.axes))) if self._roots else known
        if name.id == self.current:
            raise DerivationError(
                f"'{name.id}' reads itself", name.at,
                "each name is assigned once; a recurrence runs along an index: h[t] = … h[t - 1] …",
            )  # fmt: skip
        if name.id in self.hypers:
            raise ShapeError(
                f"hyper-parameter '{name.id}' is a scalar", name.at, f"read it without brackets: {name.id}"
            )
        if name.id in self.sizes:
            raise ShapeError(f"'{name.id}' is a size", name.at, f"read it without brackets: {name.id}")
        raise self.unknown(name, "tensor", self.tensors)

    def announce(self, name: str) -> Started | None:
        """Return a recurrence whose start is still to come, with what its left side and its declaration tell."""
        target = self.starts.get(name)
        if target is None or target.subscripts is None or name in self.tensors or name not in self.later:
            return None
        if name == self.current or not all(
            isinstance(s, (Name, Dots)) or written(s.at) == "-1" for s in target.subscripts
        ):
            return None
        declared = self.declared.get(name)
        axes: list[Expr] = []
        letters: list[Index | None] = []
        for k, subscript in enumerate(target.subscripts):
            letter = subscript.id if isinstance(subscript, Name) else "..." if isinstance(subscript, Dots) else None
            known = declared.axes[k] if declared is not None and k < len(declared.axes) else None
            size = BATCH_SIZE if letter == "..." else known if known is not None else self.open_size(letter or "t")
            axes.append(size)
            letters.append(None if letter is None else BATCH if letter == "..." else Index(letter, size))
        position = letters.index(None)
        kind = declared.kind if declared is not None else Kind.REAL
        self.started[name] = Started(name, position, tuple(axes), tuple(letters), None, kind, target.at)
        self.steps[name] = position
        return self.started[name]

    def started_tensor(self, started: Started) -> Known:
        """Return a recurrence whose equation is still to come as a tensor."""
        self.used.add(started.name)
        return Known(Tensor(started.name, started.kind), tuple(map(self.root, started.axes)), started.story)

    def unknown(self, name: Name, what: str, known: Iterable[str]) -> UnknownNameError | DerivationError:
        """Return the error of a name that stands for nothing here."""
        if name.id in self.later:
            line = self.later[name.id].line
            if self.current in self._reached(name.id):
                return DerivationError(
                    f"'{self.current}' needs '{name.id}' and '{name.id}' needs '{self.current}'", name.at,
                    f"'{name.id}' is assigned on line {line}; a recurrence reads earlier elements and has a start: "
                    f"{name.id}[-1] = …, {self.current}[t] = … {name.id}[t - 1] …",
                )  # fmt: skip
            return UnknownNameError(
                f"'{name.id}' is used before it is defined", name.at, f"it is assigned on line {line}"
            )
        near = nearest(name.id, known)
        if near:
            return UnknownNameError(f"unknown {what} '{name.id}'", name.at, f"did you mean '{near}'?")
        names = sorted(known)
        hint = f"known here: {', '.join(names)}" if 0 < len(names) <= 12 else None
        return UnknownNameError(f"unknown {what} '{name.id}'", name.at, hint)

    def _reached(self, name: str) -> set[str]:
        """Return the names that the equation of one reads, and those that theirs read."""
        found: set[str] = set()
        work = [name]
        while work:
            for other in self.reads.get(work.pop(), ()):
                if other not in found:
                    found.add(other)
                    work.append(other)
        return found

    def check_letter(self, letter: Name) -> None:
        """Refuse an index whose letter would be read as something else."""
        word = letter.id
        if not word[0].islower():
            raise LayerSyntaxError(f"'{word}' is not an index", letter.at, "indices are lower-case: x[n, d]")
        scalar = word in self.hypers or (word in self.tensors and not self.tensors[word].axes)
        if scalar:
            what = "hyper-parameter" if word in self.hypers else "scalar"
            raise UnknownNameError(
                f"'{word}' is a {what}, not an index", letter.at, "choose another letter for the index"
            )

    def scalar(self, name: Name) -> Expr | None:
        """Return what a bare name stands for, apart from indices: size, hyper-parameter or constant."""
        if name.id in self.hypers:
            self.used.add(name.id)
            return self.hypers[name.id].symbol
        if name.id in self.sizes:
            return self.sizes[name.id]
        return CONSTANTS.get(name.id)

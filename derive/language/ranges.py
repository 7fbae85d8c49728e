"""The range of every index of a statement, and whether its names fit.

An index ranges over the axis at whose place it stands alone. In

    y[n, d] = gamma[d] * sum[k](x[n, k] * w[k, d])

``n`` and ``d`` belong to the statement, ``k`` to its sum. Every read is
visited once, in reading order; the first place gives an index its range, each
further one has to agree. A reduction's letter hides the statement's; one that
keeps its index (``softmax[c]``) shares it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sympy import Expr

from derive.algebra.functions import BY_NAME
from derive.algebra.nodes import BATCH_SIZE, Kind
from derive.algebra.text import show
from derive.errors import DerivationError, LayerSyntaxError, ShapeError, Span, UnknownNameError
from derive.language.calls import Layers
from derive.language.scope import KEEPING, POWERS, REDUCTIONS, Known, Scope, count, nearest
from derive.language.sizes import at_least, is_size, size_value
from derive.language.tree import Call, Dots, Expression, Name, Number, Operation, Read, Reduce, Truth, written

__all__ = ["Letter", "Letters", "Ranges"]


@dataclass(slots=True)
class Letter:
    """An index letter and, once a place has given it, its range.

    Attributes:
        name: the letter; ``...`` for the batch axes.
        at: where it is introduced.
        size: the range.
        place: what gave the range: ``x, axis 1``.
    """

    name: str
    at: Span
    size: Expr | None = None
    place: str = ""


Letters = Mapping[str, Letter]


class Ranges:
    """The ranges of one statement's letters.

    Attributes:
        bound: for every reduction (by identity) the letters it introduces.
    """

    def __init__(self, scope: Scope, layers: Layers) -> None:
        self.scope = scope
        self.layers = layers
        self.bound: dict[int, dict[str, Letter]] = {}

    def visit(self, node: Expression, letters: Letters) -> None:
        """Visit an expression in which ``letters`` are bound.

        Raises:
            UnknownNameError, ShapeError, LayerSyntaxError: what is wrong with it first.
        """
        match node:
            case Read():
                self._read(node, letters)
            case Reduce():
                self._reduce(node, letters)
            case Call():
                self._call(node, letters)
            case Operation():
                for operand in node.operands:
                    self.visit(operand, letters)
            case Name():
                self._name(node, letters)
            case Truth():
                raise LayerSyntaxError(
                    f"{node.value} in a formula", node.at, f"write {int(node.value)}; a condition is a comparison"
                )

    def letter(self, node: Name | Dots) -> Letter:
        """Return a new letter; the range of ``...`` is known."""
        if isinstance(node, Dots):
            if not self.scope.batched:
                raise ShapeError("'...' without batch axes", node.at, "no tensor of the layer has '...'")
            return Letter("...", node.at, BATCH_SIZE)
        self.scope.check_letter(node)
        return Letter(node.id, node.at)

    def stand(self, letter: Letter, size: Expr, place: str, at: Span, story: str) -> None:
        """Let a letter stand alone on an axis of that size."""
        if letter.size is None:
            letter.size, letter.place = size, place
        elif letter.size != size:
            raise ShapeError(
                f"index '{letter.name}' runs over {show(letter.size)} ({letter.place}) and over {show(size)} ({place})",
                at,
                story,
            )

    # Names

    def _name(self, node: Name, letters: Letters) -> None:
        if node.id in letters:
            return
        known = self.scope.tensors.get(node.id)
        if known is not None:
            self.scope.used.add(node.id)
            if known.axes:
                raise ShapeError(
                    f"'{node.id}' has {_axes(known)} and is read without subscripts",
                    node.at,
                    f"write {_example(known)}",
                )
            return
        if self.scope.scalar(node) is None:
            raise self._unknown_name(node)

    def _unknown_name(self, node: Name) -> UnknownNameError | DerivationError:
        scope = self.scope
        if node.id == scope.current:
            return DerivationError(
                f"'{node.id}' reads itself: recurrences are not supported", node.at, "give each step a name of its own"
            )
        if node.id in ("True", "False", "None"):
            return UnknownNameError(f"unknown name '{node.id}'", node.at)
        if len(node.id) == 1 and node.id.islower() and node.id not in scope.later:
            return _only_right(node)
        return scope.unknown(node, "name", (*scope.tensors, *scope.hypers, *scope.sizes))

    # Reads

    def _read(self, node: Read, letters: Letters) -> None:
        if node.name.id in letters and node.name.id not in self.scope.tensors:
            raise ShapeError(
                f"index '{node.name.id}' has no subscripts", node.at, "an index is read by its letter alone"
            )
        known = self.scope.tensor(node.name)
        check_rank(known, node)
        for position, (subscript, size) in enumerate(zip(node.subscripts, known.axes, strict=True)):
            self._subscript(subscript, size, known, position, node, letters)

    def _subscript(
        self, node: Expression, size: Expr, known: Known, position: int, read: Read, letters: Letters
    ) -> None:
        match node:
            case Dots():
                if "..." not in letters:
                    raise UnknownNameError(
                        "'...' is on the right only", node.at, "put it on the left, or reduce over it: mean[...](…)"
                    )
            case Name(id=name) if name in letters:
                self.stand(letters[name], size, axis_name(known, position), read.at, known.story)
            case Name(id=name) if name in self.scope.tensors:
                inner = self.scope.tensor(node)
                if inner.axes:
                    raise ShapeError(
                        f"'{name}' has {_axes(inner)} and is read without subscripts",
                        node.at,
                        f"write {_example(inner)}; an index '{name}' would be on the left",
                    )
                self._check_integer(inner, node.at)
            case Name(id=name) if name not in self.scope.sizes and name not in self.scope.hypers:
                raise self._unknown_index(node)
            case Read():
                self._read(node, letters)
                self._check_integer(self.scope.tensors[node.name.id], node.at)
            case _:
                self._constant_subscript(node, size, known, position, letters)

    def _unknown_index(self, node: Name) -> Exception:
        if node.id[0].islower() and node.id not in self.scope.later and node.id != self.scope.current:
            return _only_right(node)
        return self.scope.unknown(node, "index", (*self.scope.sizes, *self.scope.hypers))

    def _check_integer(self, known: Known, at: Span) -> None:
        if known.tensor.kind is not Kind.INT:
            raise ShapeError(
                f"'{known.tensor.name}' is {known.tensor.kind.value} and can't be a subscript",
                at,
                f"only integers are; {known.story}",
            )

    def _constant_subscript(self, node: Expression, size: Expr, known: Known, position: int, letters: Letters) -> None:
        text = written(node.at)
        if isinstance(node, Number) and not node.integer:
            raise ShapeError(f"subscript '{text}' is not an integer", node.at, known.story)
        if not is_size(node, self.scope):
            self.visit(node, letters)
            if _mentions(node, letters):
                raise DerivationError(
                    f"affine subscript '{text}' is not supported",
                    node.at,
                    "a subscript is an index, a constant or a label",
                )
            raise DerivationError(
                f"subscript '{text}' is not supported", node.at, "give it a name first: s[n] = …, then x[s[n]]"
            )
        value = size_value(node, self.scope)
        if value.is_Integer and value < 0:
            raise ShapeError(
                f"subscript '{text}' is negative", node.at, f"count from the start, or write {show(size)} - {-value}"
            )
        if not at_least(self.scope.unfolded(value), 0) or not at_least(self.scope.unfolded(size - value), 1):
            raise ShapeError(
                f"subscript '{text}' may lie outside {axis_name(known, position)}, which has {show(size)} elements",
                node.at,
                f"inside for certain are 0 and {show(size)} - 1"
                if not size.is_Integer
                else f"it runs from 0 to {size - 1}",
            )

    # Reductions and calls

    def _reduce(self, node: Reduce, letters: Letters) -> None:
        word = node.word.id
        if word not in REDUCTIONS:
            if word in BY_NAME or word in POWERS:
                raise LayerSyntaxError(f"'{word}' takes no index", node.word.at, f"write {word}(…) of an element")
            near = nearest(word, REDUCTIONS)
            raise UnknownNameError(
                f"unknown reduction '{word}'", node.word.at,
                f"did you mean '{near}'?" if near else f"the reductions are {', '.join(REDUCTIONS)}",
            )  # fmt: skip
        names = [letter.id if isinstance(letter, Name) else "..." for letter in node.letters]
        for position, letter in enumerate(node.letters):
            if names[position] in names[:position]:
                raise LayerSyntaxError(f"index '{names[position]}' stands twice", letter.at, "name each index once")
        if word == "argmax" and (len(names) != 1 or names == ["..."]):
            raise LayerSyntaxError("'argmax' runs over one index", node.word.at, "write argmax[c](z[n, c])")
        if word in KEEPING:
            for letter, name in zip(node.letters, names, strict=True):
                if name not in letters:
                    raise UnknownNameError(
                        f"'{word}' keeps its index '{name}', which is not bound here", letter.at,
                        f"put '{name}' on the left, or reduce over it outside",
                    )  # fmt: skip
            self.visit(node.body, letters)
            return
        own = {name: self.letter(letter) for name, letter in zip(names, node.letters, strict=True)}
        if "..." in own and "..." in letters:
            raise LayerSyntaxError(
                f"'{word}[...]' stands where '...' is in use already",
                own["..."].at,
                f"give it a name in an equation of its own: s = {written(node.at)}",
            )
        self.bound[id(node)] = own
        self.visit(node.body, {**letters, **own})
        for name, introduced in own.items():
            if introduced.size is None:
                raise ShapeError(
                    f"index '{name}' has no range", introduced.at,
                    f"inside {word}[…] it stands alone on no axis; reduce over an index of a tensor that is read",
                )  # fmt: skip

    def _call(self, node: Call, letters: Letters) -> None:
        word = node.name.id
        layer = self.layers.on_elements(node.name, self.scope.layer)
        if layer is None:
            self._check_function(node)
        else:
            self.layers.check_elementwise(layer, node)
        for argument in node.arguments:
            if isinstance(argument, Name) and argument.id not in letters and layer is None:
                known = self.scope.tensors.get(argument.id)
                if known is not None and known.axes:
                    raise ShapeError(
                        f"'{word}' is a function of elements, and '{argument.id}' has {_axes(known)}",
                        argument.at,
                        f"write {word}({_example(known)})",
                    )
            self.visit(argument, letters)
        for _, value in node.keywords:
            self.check_constant(value)

    def _check_function(self, node: Call) -> None:
        word, given = node.name.id, len(node.arguments)
        row = BY_NAME.get(word)
        arity = 1 if word in POWERS else row.arity if row is not None and not row.infix else None
        if arity is None:
            raise self._unknown_function(node)
        if node.keywords:
            raise LayerSyntaxError(
                f"'{word}' takes no keyword",
                node.keywords[0][0].at,
                f"'{word}' is a function of {count(arity, 'argument')}",
            )
        if given != arity:
            raise LayerSyntaxError(
                f"'{word}' takes {count(arity, 'argument')}, got {given}", node.at,
                f"{word}: {row.meaning}" if row is not None else None,
            )  # fmt: skip

    def _unknown_function(self, node: Call) -> Exception:
        word = node.name.id
        if word in REDUCTIONS:
            other = {"max": "; of two numbers: maximum(a, b)", "min": "; of two numbers: minimum(a, b)"}.get(word, "")
            return LayerSyntaxError(
                f"'{word}' does not say over which index it runs", node.name.at, f"write {word}[i](…){other}"
            )
        if word in self.scope.tensors:
            return LayerSyntaxError(
                f"'{word}' is a tensor, not a function", node.name.at, "its elements are read as x[n]"
            )
        functions = [name for name, row in BY_NAME.items() if not row.infix]
        near = nearest(word, (*functions, *POWERS, *REDUCTIONS, *self.layers.names()))
        return UnknownNameError(
            f"unknown function '{word}'",
            node.name.at,
            f"did you mean '{near}'?" if near else "a new one is a layer of its own",
        )

    def check_constant(self, node: Expression) -> None:
        """Refuse a hyper-parameter's value that is not a constant to the caller."""
        match node:
            case Read() | Reduce():
                raise ShapeError(
                    f"'{written(node.at)}' is not a constant",
                    node.at,
                    "a hyper-parameter takes numbers, sizes and hyper-parameters",
                )
            case Name() if node.id in self.scope.tensors:
                raise ShapeError(
                    f"'{node.id}' is a tensor, not a constant",
                    node.at,
                    "a hyper-parameter takes numbers, sizes and hyper-parameters",
                )
            case Name():
                self._name(node, {})
            case Call():
                self._check_function(node)
                for argument in node.arguments:
                    self.check_constant(argument)
            case Operation():
                for operand in node.operands:
                    self.check_constant(operand)


def check_rank(known: Known, node: Read) -> None:
    """Refuse a read whose subscripts do not match the tensor's axes."""
    name, axes = known.tensor.name, known.axes
    if not axes:
        raise ShapeError(f"'{name}' is a scalar", node.at, f"read it without brackets: {name}")
    dots = isinstance(node.subscripts[0], Dots)
    batched = axes[0] == BATCH_SIZE
    if dots and not batched:
        raise ShapeError(f"'{name}' has no batch axes", node.subscripts[0].at, known.story)
    if batched and not dots:
        raise ShapeError(f"'{name}' is read without its batch axes", node.at, f"write {_example(known)}")
    if len(axes) != len(node.subscripts):
        raise ShapeError(
            f"'{name}' has {count(len(axes), 'axis', 'axes')}, got {count(len(node.subscripts), 'subscript')}",
            node.at,
            known.story,
        )


def _only_right(node: Name) -> UnknownNameError:
    return UnknownNameError(
        f"index '{node.id}' is on the right only", node.at, f"put it on the left, or reduce over it: sum[{node.id}](…)"
    )


def axis_name(known: Known, position: int) -> str:
    """Return ``x, axis 1``; behind batch axes they are counted from the end."""
    if known.axes[0] == BATCH_SIZE:
        position -= len(known.axes)
    return f"{known.tensor.name}, axis {position}"


def _axes(known: Known) -> str:
    return count(len(known.axes), "axis", "axes")


def _example(known: Known) -> str:
    """Return ``x[n, d]`` for a tensor of axes [N, D]."""
    letters: list[str] = []
    for axis in known.axes:
        letter = "..." if axis == BATCH_SIZE else show(axis).lower()
        while letter in letters or not (letter.isidentifier() or letter == "..."):
            letter = next(c for c in "ijklmpqrstuvwxyz" if c not in letters)
        letters.append(letter)
    return f"{known.tensor.name}[{', '.join(letters)}]"


def _mentions(node: Expression, letters: Letters) -> bool:
    match node:
        case Name():
            return node.id in letters
        case Operation():
            return any(_mentions(o, letters) for o in node.operands)
    return False

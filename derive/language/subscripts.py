"""What stands in the brackets of a read: indices, labels, constants and affine subscripts.

An index that stands alone takes the range of its axis. An affine subscript,
``2*p + r - pad``, gives no range; once every index has one, it has to lie
inside its axis, for which :mod:`derive.language.bounds` looks for a proof, or
be read through ``padded``. The time of a recurrence is the exception: ``t - 1``
in ``h[t - 1, n]`` runs over the steps of h, as ``t`` does, and before the first
stands h's start.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from sympy import Expr, S

from derive.algebra.indices import free_indices
from derive.algebra.nodes import Element, Index, Kind, Tensor
from derive.algebra.text import show
from derive.errors import DerivationError, LayerSyntaxError, ShapeError, Span, UnknownNameError
from derive.language.arithmetic import operate
from derive.language.letters import Letter, Letters, axis_count, axis_name, check_rank, example, only_right
from derive.language.quotients import extreme, moving_quotients, quotient_ranges
from derive.language.scope import CONSTANTS, Known, Scope, count
from derive.language.sizes import is_size, size_value
from derive.language.steps import check_earlier, without_start
from derive.language.tree import Dots, Expression, Name, Number, Operation, Read, raw, written

__all__ = ["Subscripts", "mentions"]

_AFFINE = "a subscript is a sum of indices times constants, 2*p + r - pad, or has i // s and i % s with a constant s"


@dataclass(frozen=True, slots=True)
class _Affine:
    """An affine subscript that waits for the ranges of its letters."""

    node: Expression
    form: Expr
    known: Known
    position: int
    letters: Letters
    padded: bool
    steps: bool


@dataclass(slots=True)
class Subscripts:
    """The subscripts of one statement.

    Attributes:
        scope: what names stand for.
        left: the letters of the left side.
    """

    scope: Scope
    left: frozenset[str] = frozenset()
    _affine: list[_Affine] = field(default_factory=list)

    def stand(self, letter: Letter, size: Expr, place: str, at: Span, story: str, padded: bool = False) -> None:
        """Let a letter stand alone on an axis of that size.

        Raises:
            ShapeError: it has another range, and not one that was declared and fits into the axis.
        """
        scope = self.scope
        size = scope.root(size)
        if letter.size is None:
            letter.size, letter.place = size, place
            return
        own = scope.root(letter.size)
        if own == size:
            return
        if scope.is_open(own):
            scope.bind(own, size)
            letter.place = place
        elif scope.is_open(size):
            scope.bind(size, own)
        elif not letter.declared or not (padded or scope.at_least(size - own)):
            raise ShapeError(
                f"index '{letter.name}' runs over {show(own)} ({letter.place}) and over {show(size)} ({place})",
                at,
                story,
            )

    def read(self, node: Read, letters: Letters, padded: bool = False) -> Known:
        """Visit an element that is read, and return its tensor.

        Raises:
            UnknownNameError, ShapeError, DerivationError: what is wrong with it first.
        """
        scope = self.scope
        started = scope.started.get(node.name.id) or scope.announce(node.name.id)
        if node.name.id in letters and started is None and node.name.id not in scope.tensors:
            raise ShapeError(
                f"index '{node.name.id}' has no subscripts", node.at, "an index is read by its letter alone"
            )
        if started is not None:
            known = scope.started_tensor(started)
        elif node.name.id == scope.current and node.name.id not in scope.tensors:
            raise without_start(node, partial(self._form, letters=letters), scope)
        else:
            known = scope.tensor(node.name)
        check_rank(known, node)
        for position, (subscript, size) in enumerate(zip(node.subscripts, known.axes, strict=True)):
            if started is not None and position == started.position:
                check_earlier(node, started, partial(self._form, letters=letters), self.left, scope)
            self._subscript(subscript, size, known, position, node, letters, padded)
        return known

    def _subscript(
        self, node: Expression, size: Expr, known: Known, position: int, read: Read, letters: Letters, padded: bool
    ) -> None:
        match node:
            case Dots():
                if "..." not in letters:
                    raise UnknownNameError(
                        "'...' is on the right only", node.at, "put it on the left, or reduce over it: mean[...](…)"
                    )
            case Name(id=name) if name in letters:
                self.stand(letters[name], size, axis_name(known, position), read.at, known.story, padded)
            case Name(id=name) if name in self.scope.tensors:
                inner = self.scope.tensor(node)
                if inner.axes:
                    raise ShapeError(
                        f"'{name}' has {axis_count(inner)} and is read without subscripts",
                        node.at,
                        f"write {example(inner)}; an index '{name}' would be on the left",
                    )
                self._check_integer(inner, node.at)
            case Name(id=name) if name not in self.scope.sizes and name not in self.scope.hypers:
                raise self._unknown_index(node)
            case Read():
                self._check_integer(self.read(node, letters), node.at)
                self._check_label(node)
            case _:
                self._computed(node, size, known, position, read, letters, padded)

    def _unknown_index(self, node: Name) -> Exception:
        if node.id[0].islower() and node.id not in self.scope.later and node.id != self.scope.current:
            return only_right(node)
        return self.scope.unknown(node, "index", (*self.scope.sizes, *self.scope.hypers))

    def _check_integer(self, known: Known, at: Span) -> None:
        if known.tensor.kind is not Kind.INT:
            raise ShapeError(
                f"'{known.tensor.name}' is {known.tensor.kind.value} and can't be a subscript",
                at,
                f"only integers are; {known.story}",
            )

    # Computed subscripts

    def _computed(
        self, node: Expression, size: Expr, known: Known, position: int, read: Read, letters: Letters, padded: bool
    ) -> None:
        """Take a subscript that is an expression: its form now, its place once the ranges are known."""
        if isinstance(node, Number) and not node.integer:
            raise ShapeError(f"subscript '{written(node.at)}' is not an integer", node.at, known.story)
        plain = {name: Index(name, S.One) for name in letters if name != "..."}
        value = self._value(node, plain, letters)
        self._check_linear(value, node)
        labels = value.atoms(Element)
        if labels and not padded:
            raise ShapeError(
                f"label '{written(node.at)}' may lie outside {axis_name(known, position)}", node.at,
                f"pad the read, padded({known.tensor.name})[…], or give the label a name first: "
                f"s[n] = …, then {known.tensor.name}[s[n]]",
            )  # fmt: skip
        time = self.scope.steps.get(known.tensor.name) == position
        if time and isinstance(value + 1, Index):
            letter = letters[(value + 1).name]
            whole = self.scope.root(size)
            if not letter.declared or self.scope.is_open(whole) or self.scope.root(letter.size or S.Zero) == whole:
                self.stand(letter, size, axis_name(known, position), read.at, known.story)
                return
        self._affine.append(_Affine(node, value.expand(), known, position, letters, padded, time))

    def _value(self, node: Expression, indices: Mapping[str, Expr], letters: Letters) -> Expr:
        """Return a subscript as an expression of index letters, labels, sizes and Int hyper-parameters."""
        scope = self.scope
        match node:
            case Number() if node.integer:
                return node.value
            case Name() if node.id in indices:
                return indices[node.id]
            case Name() if node.id in scope.tensors:
                known = scope.tensor(node)
                if known.axes:
                    raise ShapeError(
                        f"'{node.id}' has {axis_count(known)} and is read without subscripts", node.at,
                        f"write {example(known)}",
                    )  # fmt: skip
                self._check_integer(known, node.at)
                return Element(known.tensor)
            case Name() if node.id in scope.hypers and scope.hypers[node.id].kind is not Kind.INT:
                kind = scope.hypers[node.id].kind.value
                raise ShapeError(
                    f"hyper-parameter '{node.id}' is {kind} and can't be a subscript", node.at,
                    f"only integers are: {node.id}: Int = 1",
                )  # fmt: skip
            case Name():
                found = None if node.id in CONSTANTS else scope.scalar(node)
                if found is None:
                    raise self._unknown_index(node)
                return found
            case Read():
                known = self.read(node, letters)
                self._check_integer(known, node.at)
                self._check_label(node)
                return Element(Tensor(raw(node.at), Kind.INT))
            case Operation(operator="+" | "-" | "*" | "//" | "%" | "neg" | "pos"):
                values = [self._value(operand, indices, letters) for operand in node.operands]
                if node.operator in ("//", "%") and any(_moves(value) for value in values):
                    self._check_quotient(values, node)
                if node.operator == "*" and all(_moves(value) for value in values):
                    raise _not_affine(node)
                return operate(node.operator, values, node.at)
            case Operation() if is_size(node, scope):
                return size_value(node, scope)
            case Operation():
                raise _not_affine(node)
        raise DerivationError(
            f"subscript '{written(node.at)}' is not supported", node.at, "give it a name first: s[n] = …, then x[s[n]]"
        )

    def _check_label(self, node: Read) -> None:
        """Refuse a label that is read at a quotient."""
        for subscript in node.subscripts:
            if any(isinstance(part, Operation) and part.operator in ("//", "%") for part in operations(subscript)):
                raise DerivationError(
                    f"label '{written(node.at)}' is not supported", node.at,
                    "give it a name first: s[n] = …, then x[s[n]]",
                )  # fmt: skip

    def _check_quotient(self, values: list[Expr], node: Expression) -> None:
        """Refuse a quotient or a remainder unless it is of an affine subscript by a constant."""
        above, below = values
        if _moves(below) or above.atoms(Element) or moving_quotients(above):
            raise _not_affine(node)
        self._check_linear(above, node)

    def _check_linear(self, value: Expr, node: Expression) -> None:
        value = value.xreplace({part: Index(show(part), S.One) for part in moving_quotients(value)})
        for part in (*free_indices(value), *value.atoms(Element)):
            if value.coeff(part, 1).has(part) or value.expand().coeff(part, 2) != 0:
                raise _not_affine(node)

    # Once the ranges are known

    @property
    def waits(self) -> bool:
        """Whether the length of an axis with an affine subscript is not known yet."""
        return any(self.scope.is_open(self.scope.root(a.known.axes[a.position])) for a in self._affine)

    def likely(self, letter: Letter) -> Expr | None:
        """Return the range of a letter, or the length of an axis along which it moves one by one (``x[t - r]``)."""
        if letter.size is not None and not self.scope.is_open(self.scope.root(letter.size)):
            return self.scope.root(letter.size)
        plain = Index(letter.name, S.One)
        for affine in self._affine:
            if affine.letters.get(letter.name) is letter and affine.form.coeff(plain, 1) in (1, -1):
                size = self.scope.root(affine.known.axes[affine.position])
                return None if self.scope.is_open(size) else size
        return None

    def settle(self) -> None:
        """Prove that every affine subscript stays inside its axis.

        Raises:
            ShapeError: one may leave it, and is not padded.
        """
        waiting, self._affine = self._affine, []
        for affine in waiting:
            self._settle(affine)

    def _settle(self, affine: _Affine) -> None:
        scope, node, known = self.scope, affine.node, affine.known
        size = scope.root(known.axes[affine.position])
        ranges = {
            name: Index(name, scope.root(letter.size))
            for name, letter in affine.letters.items()
            if letter.size is not None and name != "..."
        }
        value = self._value(node, ranges, affine.letters)
        if moving_quotients(value):
            value = self._without_quotients(value, node)
        for index in sorted(free_indices(value), key=lambda i: i.name):
            scope.assume_stride(value.expand().coeff(index, 1), node.at)
        if affine.padded and not affine.steps:
            return
        text, place = written(node.at), axis_name(known, affine.position)
        letters = sorted(free_indices(value), key=lambda i: i.name)
        low, at_low = self._extreme(value, -1, node)
        if not scope.at_least(low):
            if affine.steps:
                raise ShapeError(
                    f"'{text}' may be the step before the first of '{known.tensor.name}'", node.at,
                    f"only t - 1 reads the start, and the last step is at {show(size - 1)}; "
                    f"a copy may be read anywhere: g[t] = {known.tensor.name}[t]",
                )  # fmt: skip
            if not letters:
                raise self._constant_outside(node, value, size, place)
            raise _outside(affine, low, None, at_low, scope)
        if affine.padded:
            return
        high, at_high = self._extreme(value, 1, node)
        if not scope.at_least(size - high, 1):
            if not letters:
                raise self._constant_outside(node, value, size, place)
            raise _outside(affine, high, size, at_high, scope)

    def _constant_outside(self, node: Expression, value: Expr, size: Expr, place: str) -> ShapeError:
        text = written(node.at)
        if value.is_Integer and value < 0:
            return ShapeError(
                f"subscript '{text}' is negative", node.at, f"count from the start, or write {show(size)} - {-value}"
            )
        return ShapeError(
            f"subscript '{text}' may lie outside {place}, which has {show(size)} elements",
            node.at,
            f"inside for certain are 0 and {show(size)} - 1"
            if not size.is_Integer
            else f"it runs from 0 to {size - 1}",
        )

    def _without_quotients(self, value: Expr, node: Expression) -> Expr:
        """Return a subscript with an index of its own for each quotient and each remainder."""
        scope = self.scope
        for part in moving_quotients(value):
            scope.assume(part.args[1], node.at)
            for index in sorted(free_indices(part.args[0]), key=lambda i: i.name):
                scope.assume_stride(part.args[0].expand().coeff(index, 1), node.at)
        ranges = quotient_ranges(value, scope)
        if ranges is None:
            raise ShapeError(
                f"what is divided in '{written(node.at)}' may be negative", node.at,
                "what is divided runs from 0 on: x[i // s]; "
                "an axis that is a circle is two reads, padded(x)[i + s] + padded(x)[i + s - N]",
            )  # fmt: skip
        return value.xreplace(ranges)

    def _extreme(self, value: Expr, side: int, node: Expression) -> tuple[Expr, dict[Index, Expr]]:
        """Return the least (-1) or largest (1) value of a subscript, and where it takes it."""
        found = extreme(value, side, self.scope)
        if not isinstance(found, tuple):
            raise ShapeError(
                f"whether '{written(node.at)}' stays inside depends on the sign of {show(found)}", node.at,
                "read it padded, padded(x)[…], zero outside",
            )  # fmt: skip
        return found

    def _form(self, node: Expression, letters: Letters) -> Expr | None:
        """Return a subscript as an expression of letters without ranges; None where it is none."""
        plain = {letter: Index(letter, S.One) for letter in letters if letter != "..."}
        try:
            return None if isinstance(node, Dots) else self._value(node, plain, letters)
        except (DerivationError, LayerSyntaxError, ShapeError):
            return None


def mentions(node: Expression, letters: Letters) -> bool:
    """Return whether an expression has one of the letters in it."""
    match node:
        case Name():
            return node.id in letters
        case Operation():
            return any(mentions(operand, letters) for operand in node.operands)
    return False


def operations(node: Expression) -> Iterator[Operation]:
    """Return the operators of a subscript, outermost first."""
    if isinstance(node, Operation):
        yield node
        for operand in node.operands:
            yield from operations(operand)


def _moves(value: Expr) -> bool:
    return bool(free_indices(value)) or bool(value.atoms(Element))


def _not_affine(node: Expression) -> LayerSyntaxError:
    return LayerSyntaxError(f"subscript '{written(node.at)}' is not affine", node.at, _AFFINE)


def _outside(affine: _Affine, value: Expr, size: Expr | None, found: Mapping[Index, Expr], scope: Scope) -> ShapeError:
    """Return the error of an affine subscript that may leave its axis, with where it does."""
    known, node = affine.known, affine.node
    where = ", ".join(f"{index.name} = {show(value)}" for index, value in found.items())
    if size is None:
        word = "reaches" if scope.at_least(-value, 1) else "may reach"
        reached, end = show(value), "elements from 0 on"
    else:
        beyond = scope.unfolded(value - size).expand()
        word = "reaches" if scope.at_least(beyond) else "may reach"
        reached = show(size + beyond) if beyond.is_Integer else show(value)
        end = count(int(size), "element") if size.is_Integer else f"{show(size)} elements"
    return ShapeError(
        f"'{written(node.at)}' {word} {reached} at {where}, and {axis_name(known, affine.position)} has {end}",
        node.at,
        f"read it padded, padded({known.tensor.name})[…], zero outside, or declare a shorter range: y: Real[P], P = …",
    )

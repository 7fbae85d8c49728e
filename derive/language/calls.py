"""Calls of other layers, written out in the caller.

``h = linear(x, w, b)`` puts the equations of ``linear`` in the place of the
call: its tensors become the caller's, its sizes what the caller's are, its
hyper-parameters numbers or the caller's expressions, its ``...`` the caller's
leading axes. A layer whose tensors are all ``[...]`` may also be called on
elements, ``gelu(h[n, d])``; then its formula is put in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice

from sympy import Expr, Integer, Rational, S, preorder_traversal

from derive.algebra.indices import is_binder
from derive.algebra.nodes import (
    BATCH,
    BATCH_SIZE,
    Hyper,
    Kind,
    Size,
    Tensor,
)
from derive.algebra.text import show
from derive.errors import LayerSyntaxError, ShapeError, Span, UnknownNameError
from derive.language.arithmetic import checked
from derive.language.instances import Instance, choose_letters
from derive.language.layer import Condition, HyperParameter, Layer, LayerCall, Parameter, Statement
from derive.language.scope import FUNCTION_NAMES, RESERVED, Known, Scope, axes_text, count, nearest
from derive.language.text import signature
from derive.language.tree import Call, Expression, Name, written

__all__ = ["MAX_EQUATIONS", "MAX_TERMS", "Layers", "inline", "inline_elements"]

MAX_TERMS = 5000
MAX_EQUATIONS = 2000


@dataclass(frozen=True, slots=True)
class Layers:
    """The layers that may be called: those of the same file, then the catalogue's.

    Attributes:
        own: names of the file's layers.
        find_own: one of them, resolved; raises where it is being resolved already.
        find_other: a layer of the catalogue, or None.
        other_names: names of the catalogue.
    """

    own: tuple[str, ...]
    find_own: Callable[[Name], Layer]
    find_other: Callable[[str], Layer | None]
    other_names: Callable[[], tuple[str, ...]]

    def names(self) -> tuple[str, ...]:
        """Return every name that may be called."""
        return (*self.own, *self.other_names())

    def on_elements(self, name: Name, caller: str) -> Layer | None:
        """Return the layer that ``name(x[n])`` means; None for a function of the language or no layer."""
        if name.id in self.own and (name.id != caller or name.id not in FUNCTION_NAMES):
            return self.find_own(name)
        return None if name.id in FUNCTION_NAMES else self.find_other(name.id)

    def on_tensors(self, name: Name) -> Layer | None:
        """Return the layer that ``h = name(x, w)`` means, or None."""
        return self.find_own(name) if name.id in self.own else self.find_other(name.id)

    def check_elementwise(self, layer: Layer, node: Call) -> None:
        """Refuse a call on elements of a layer that is not elementwise."""
        whole = f"in a statement of its own: h = {layer.name}({', '.join(p.name for p in layer.parameters)})"
        if any(p.axes not in ((), (BATCH_SIZE,)) for p in layer.parameters):
            raise LayerSyntaxError(f"'{layer.name}' is called on whole tensors", node.name.at, whole)
        if len(layer.returns) != 1 or any(_joins_elements(s.expr) for s in layer.statements):
            raise LayerSyntaxError(
                f"'{layer.name}' is not elementwise, it is called on whole tensors", node.name.at, whole
            )
        if len(node.arguments) != len(layer.parameters):
            raise _wrong_count(layer, node)
        for word, _ in node.keywords:
            _check_keyword(layer, word, tensors=False)


def _is_large(expr: Expr) -> bool:
    """Return whether an expression has more than MAX_TERMS nodes; it may be larger than memory, so count no further."""
    return next(islice(preorder_traversal(expr), MAX_TERMS, None), None) is not None


def _joins_elements(expr: Expr) -> bool:
    if is_binder(expr) or expr == BATCH_SIZE:
        return True
    return any(_joins_elements(arg) for arg in expr.args if arg != BATCH)


# Calls on elements


def inline_elements(layer: Layer, arguments: Iterable[Expr], hypers: Mapping[str, Expr], node: Call) -> Expr:
    """Return the formula of an elementwise layer with expressions for its tensors."""
    instance = Instance(node.at, hypers=_bound_hypers(layer, hypers, node))
    values: dict[str, Expr] = {p.name: a for p, a in zip(layer.parameters, arguments, strict=True)}
    for statement in layer.statements:
        instance.values = values
        values[statement.name] = checked(instance.expr(statement.expr), node.at)
        instance.memo.clear()
        if _is_large(values[statement.name]):
            raise LayerSyntaxError(
                f"the formula of '{layer.name}', written out, has more than {MAX_TERMS} parts",
                node.at,
                "give what it is called on a name first",
            )
    return values[layer.returns[0]]


# Calls on whole tensors


def inline(
    layer: Layer, node: Call, targets: tuple[Name, ...], hypers: Mapping[str, Expr], scope: Scope
) -> tuple[list[Statement], LayerCall]:
    """Write a call out.

    Args:
        layer: the callee.
        node: the call.
        targets: the names its results get.
        hypers: values given for hyper-parameters.
        scope: the caller's names; the results and the callee's intermediates are added.

    Returns:
        The callee's statements in the caller's names, and the call as it was.

    Raises:
        ShapeError: a rank, a size or a kind does not fit.
        UnknownNameError, LayerSyntaxError: the arguments do not fit the signature.
    """
    if len(targets) != len(layer.returns):
        raise ShapeError(
            f"'{layer.name}' returns {count(len(layer.returns), 'tensor')}, {len(targets)} on the left",
            node.at,
            f"it returns {', '.join(layer.returns)}",
        )
    if len(scope.tensors) + len(layer.statements) > MAX_EQUATIONS:
        raise LayerSyntaxError(f"the calls, written out, are more than {MAX_EQUATIONS} equations", node.at)
    actual = _bound_tensors(layer, node, scope)
    axes = _Unifier(layer, scope)
    for parameter, argument in zip(layer.parameters, actual, strict=True):
        axes.bind(parameter, *argument)
    instance = Instance(node.at, _bound_hypers(layer, hypers, node), scope.length, axes.sizes)
    instance.tensors = {p.name: known.tensor for p, (known, _) in zip(layer.parameters, actual, strict=True)}
    computed = {derived.size for derived in layer.derived}
    _adopt_conditions(layer, instance, scope, [c for c in layer.conditions if not c.expr.free_symbols & computed])
    _derived_sizes(layer, instance, scope)
    _adopt_conditions(layer, instance, scope, [c for c in layer.conditions if c.expr.free_symbols & computed])
    choose_letters(layer, instance, axes.batch or (), scope)
    names = dict(zip(layer.returns, (t.id for t in targets), strict=True))
    taken = set(names.values())
    for statement in layer.statements:
        if statement.name not in names:
            names[statement.name] = _free_name(statement.name, targets[0].id, taken, scope)
            taken.add(names[statement.name])
    for statement in layer.statements:  # a loop's are read before their turn
        instance.tensors[statement.name] = Tensor(names[statement.name], statement.kind)
    places = {t.id: t for t in targets}
    written_out = []
    for statement in layer.statements:
        new = instance.statement(statement, names[statement.name])
        if new.carry is not None:
            scope.steps[new.name] = new.indices.index(new.carry.index)
        if new.tensor != instance.tensors[statement.name]:
            instance.tensors[statement.name] = new.tensor
            instance.memo.clear()
        if new.name in places:
            scope.check_new(places[new.name], new.axes)
        shape = axes_text(new.axes) if new.axes else "a scalar"
        scope.add_tensor(
            new.name, new.kind, new.axes, f"{new.name} is {shape}, from {layer.name} on line {node.at.line}"
        )
        written_out.append(new)
    call = LayerCall(
        layer,
        tuple(known.tensor.name for known, _ in actual),
        tuple((hyper.name, hypers[hyper.name]) for hyper in layer.hypers if hyper.name in hypers),
        tuple(t.id for t in targets),
        tuple(s.name for s in written_out),
    )
    return written_out, call


def _bound_tensors(layer: Layer, node: Call, scope: Scope) -> list[tuple[Known, Span]]:
    """Return the tensor given for each parameter, and where it was given."""
    given: dict[str, Expression] = {}
    if len(node.arguments) > len(layer.parameters):
        raise _wrong_count(layer, node)
    for parameter, argument in zip(layer.parameters, node.arguments, strict=False):
        given[parameter.name] = argument
    for word, value in node.keywords:
        _check_keyword(layer, word, tensors=True)
        if layer.parameter(word.id) is not None:
            if word.id in given:
                raise LayerSyntaxError(f"'{word.id}' of {layer.name} is given twice", word.at, signature(layer))
            given[word.id] = value
    if len(given) < len(layer.parameters):
        raise _wrong_count(layer, node)
    found = []
    for parameter in layer.parameters:
        argument = given[parameter.name]
        if not isinstance(argument, Name):
            raise LayerSyntaxError(
                f"'{written(argument.at)}' is not the name of a tensor", argument.at,
                f"'{layer.name}' is called on whole tensors: give it a name first",
            )  # fmt: skip
        known = scope.tensor(argument)
        kind = known.tensor.kind
        if parameter.kind in (Kind.INT, Kind.BOOL) and kind is not parameter.kind:
            raise ShapeError(
                f"'{parameter.name}' of {layer.name} is {parameter.kind.value}, '{argument.id}' is {kind.value}",
                argument.at,
                signature(layer),
            )
        found.append((known, argument.at))
    return found


def _wrong_count(layer: Layer, node: Call) -> LayerSyntaxError:
    tensors = sum(1 for word, _ in node.keywords if layer.parameter(word.id) is not None)
    got = len(node.arguments) + tensors
    hint = signature(layer)
    if got > len(layer.parameters) and layer.hypers:
        hint += "; hyper-parameters are given by name"
    return LayerSyntaxError(f"'{layer.name}' takes {count(len(layer.parameters), 'tensor')}, got {got}", node.at, hint)


def _check_keyword(layer: Layer, word: Name, tensors: bool) -> None:
    names = [h.name for h in layer.hypers] + ([p.name for p in layer.parameters] if tensors else [])
    if word.id not in names:
        near = nearest(word.id, names)
        raise UnknownNameError(
            f"'{layer.name}' has no hyper-parameter '{word.id}'",
            word.at,
            f"did you mean '{near}'?" if near else signature(layer),
        )


def _bound_hypers(layer: Layer, given: Mapping[str, Expr], node: Call) -> dict[Hyper, Expr]:
    """Return a value for each hyper-parameter: what was given, or its default."""
    places = {word.id: value.at for word, value in node.keywords}
    found: dict[Hyper, Expr] = {}
    for hyper in layer.hypers:
        value = given.get(hyper.name)
        if value is None:
            value = _default(hyper)
        else:
            _check_hyper(hyper, value, layer, places[hyper.name])
        found[hyper.symbol] = value
    return found


def _default(hyper: HyperParameter) -> Expr:
    if isinstance(hyper.default, float):
        return Rational(str(hyper.default))
    return Integer(int(hyper.default))


def _check_hyper(hyper: HyperParameter, value: Expr, layer: Layer, at: Span) -> None:
    fits = {
        Kind.INT: value.is_integer,
        Kind.BOOL: value in (S.Zero, S.One) or (isinstance(value, Hyper) and value.kind is Kind.BOOL),
        Kind.POSITIVE: value.is_positive is not False,
        Kind.UNIT: value.is_positive is not False and (1 - value).is_positive is not False,
        Kind.REAL: True,
    }[hyper.kind]
    if not fits or value.is_finite is False:
        raise ShapeError(
            f"'{hyper.name}' of {layer.name} is {hyper.kind.value}, '{written(at)}' is not", at, signature(layer)
        )


class _Unifier:
    """Finds what the callee's sizes and batch axes are in the caller."""

    def __init__(self, layer: Layer, scope: Scope) -> None:
        self.layer = layer
        self.scope = scope
        self.sizes: dict[Expr, Expr] = {}
        self.batch: tuple[Expr, ...] | None = None
        self._places: dict[Expr, str] = {}
        self._batch_place = ""

    def bind(self, parameter: Parameter, known: Known, at: Span) -> None:
        """Let a tensor of the caller stand for a parameter."""
        formal, actual, name = parameter.axes, known.axes, known.tensor.name
        lead = len(actual) - len(formal)
        batched = formal[:1] == (BATCH_SIZE,)
        if batched:
            lead += 1
            formal = formal[1:]
        if lead < 0 or (lead and not batched) or BATCH_SIZE in actual[lead:]:
            raise ShapeError(
                f"'{name}' has shape {axes_text(actual)}, '{parameter.name}' of {self.layer.name} is "
                f"{axes_text(parameter.axes)}",
                at,
                known.story,
            )
        if batched:
            self._bind_batch(actual[:lead], name, at)
        for position, (size, other) in enumerate(zip(formal, actual[lead:], strict=True)):
            place = f"{name}, axis {position - len(formal) if BATCH_SIZE in actual else position + lead}"
            if isinstance(size, Size):
                bound = self.sizes.setdefault(size, other)
                first = self._places.setdefault(size, place)
                if bound != other:
                    raise ShapeError(
                        f"size '{show(size)}' of {self.layer.name} is {show(bound)} ({first}) "
                        f"and {show(other)} ({place})",
                        at,
                        signature(self.layer),
                    )
            elif size != other:
                raise ShapeError(
                    f"'{parameter.name}' of {self.layer.name} has {show(size)} elements on its axis, "
                    f"'{name}' has {show(other)} ({place})",
                    at,
                    signature(self.layer),
                )

    def _bind_batch(self, lead: tuple[Expr, ...], name: str, at: Span) -> None:
        if self.batch is None:
            self.batch, self._batch_place = lead, name
        elif lead != self.batch:
            raise ShapeError(
                f"the batch axes '...' of {self.layer.name} are {axes_text(self.batch)} ({self._batch_place}) "
                f"and {axes_text(lead)} ({name})",
                at,
                signature(self.layer),
            )


def _adopt_conditions(layer: Layer, instance: Instance, scope: Scope, conditions: Iterable[Condition]) -> None:
    """Take over what the callee takes for granted."""
    for condition in conditions:
        value = checked(instance.expr(condition.expr), instance.at)
        if not scope.adopt(Condition(value, f"{show(value + 1)} is at least 1")):
            raise ShapeError(f"'{layer.name}' takes for granted that {condition.text}", instance.at, signature(layer))


def _derived_sizes(layer: Layer, instance: Instance, scope: Scope) -> None:
    """Give each computed size of the callee its value in the caller."""
    for derived in layer.derived:
        value = checked(instance.expr(derived.expr), instance.at)
        known = scope.known_size(value)
        if known is not None and known.is_Integer and known < 1:
            raise ShapeError(f"size '{derived.size.name}' of {layer.name} is {known}", instance.at, signature(layer))
        if known is None:
            name = derived.size.name
            number = 2
            while name in scope.sizes or name in scope.tensors or name in scope.hypers or name in scope.later:
                name, number = f"{derived.size.name}{number}", number + 1
            scope.add_derived(Name(instance.at, name), value)
            known = scope.sizes[name]
        instance.sizes[derived.size] = known
        instance.memo.clear()


def _free_name(name: str, result: str, taken: set[str], scope: Scope) -> str:
    """Return the callee's own name where the caller has no use for it, else one made from the result's."""

    def free(candidate: str) -> bool:
        used = {*scope.tensors, *scope.hypers, *scope.sizes, *scope.later, *taken}
        clash = candidate[1:] in used if candidate[0] == "d" else False
        return not (candidate in used or candidate in RESERVED or clash or f"d{candidate}" in used)

    if free(name):
        return name
    number = 1
    while not free(candidate := f"{result}_{name}" + (str(number) if number > 1 else "")):
        number += 1
    return candidate

"""A parsed ``def`` to a ``Layer``: names, index ranges, shapes, calls written out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sympy import Expr

from derive.algebra.functions import Eq
from derive.algebra.indices import free_indices
from derive.algebra.nodes import BATCH_SIZE, Element, Index, Kind
from derive.algebra.text import show
from derive.errors import DerivationError, LayerSyntaxError, ShapeError, Span, UnknownNameError
from derive.language.arithmetic import check_range
from derive.language.calls import Layers, inline
from derive.language.expressions import Builder, index
from derive.language.kinds import kind_of
from derive.language.layer import HyperParameter, Layer, LayerCall, Parameter, Statement
from derive.language.letters import Letter
from derive.language.ranges import Ranges
from derive.language.recurrences import carried, check_start, in_loops, is_start, stand_start_declared, stand_started
from derive.language.scope import FUNCTION_NAMES, Declared, Scope, Started, axes_text, count
from derive.language.sizes import is_size, size_value
from derive.language.tree import (
    Assign,
    Call,
    Declare,
    Definition,
    Dots,
    Expression,
    Name,
    Number,
    Operation,
    Read,
    Return,
    Target,
    names_in,
    written,
)

__all__ = ["resolve"]


def resolve(definition: Definition, layers: Layers) -> Layer:
    """Resolve a layer: every name is known, every index has its range, every call is written out.

    Args:
        definition: the ``def``.
        layers: what it may call.

    Raises:
        DeriveError: the first thing that is wrong with it.
    """
    return _Resolver(definition, layers).layer()


class _Resolver:
    def __init__(self, definition: Definition, layers: Layers) -> None:
        self.definition = definition
        self.layers = layers
        later: dict[str, Span] = {}
        starts: dict[str, Target] = {}
        for statement in definition.body:
            if isinstance(statement, Assign):
                for target in statement.targets:
                    if is_start(target):
                        starts.setdefault(target.name.id, target)
                    else:
                        later.setdefault(target.name.id, target.at)
        self.scope = Scope(definition.name, later, starts)
        self.scope.reads = {
            target.name.id: frozenset(names_in(statement.value))
            for statement in definition.body
            if isinstance(statement, Assign)
            for target in statement.targets
            if not is_start(target)
        }
        self.statements: list[Statement] = []
        self.waiting: list[Ranges] = []
        self.waiting_letters: list[Letter] = []
        self.calls: list[LayerCall] = []

    def layer(self) -> Layer:
        """Return the layer."""
        definition, scope = self.definition, self.scope
        parameters = self._parameters()
        hypers = self._hypers()
        plain = tuple(scope.sizes.values())
        for statement in definition.body:
            match statement:
                case Declare():
                    self._declare(statement)
                case Assign():
                    self._assign(statement)
                case Return():
                    returns = self._return(statement)
        for name, declared in scope.declared.items():
            raise UnknownNameError(f"'{name}' is declared and never assigned", declared.at, f"write {name}[…] = …")
        for given in (*(p.name for p in definition.parameters), *(h.name for h in definition.hypers)):
            if given.id not in scope.used:
                raise UnknownNameError(
                    f"parameter '{given.id}' is never used", given.at, "use it in an equation, or remove it"
                )
        self._close()
        return Layer(
            name=definition.name,
            doc=definition.doc,
            parameters=parameters,
            hypers=hypers,
            sizes=plain,
            derived=tuple(scope.derived),
            statements=in_loops(self.statements, scope),
            returns=returns,
            conditions=tuple(scope.conditions),
            source=definition.source,
            span=definition.at,
            calls=tuple(self.calls),
        )

    # Signature

    def _parameters(self) -> tuple[Parameter, ...]:
        found = []
        for syntax in self.definition.parameters:
            axes = self.scope.axes(syntax.axes, define=True)
            parameter = Parameter(syntax.name.id, syntax.kind, axes, syntax.name.at)
            self.scope.add_parameter(parameter, syntax.name.at)
            found.append(parameter)
        return tuple(found)

    def _hypers(self) -> tuple[HyperParameter, ...]:
        found = []
        for syntax in self.definition.hypers:
            hyper = HyperParameter(syntax.name.id, syntax.kind, syntax.default, syntax.name.at)
            self.scope.add_hyper(hyper, syntax.name.at)
            found.append(hyper)
        return tuple(found)

    # Statements

    def _declare(self, syntax: Declare) -> None:
        name, scope = syntax.name, self.scope
        if name.id in scope.declared:
            raise UnknownNameError(f"'{name.id}' is declared twice", name.at, "remove one")
        if name.id in scope.tensors and name.id in scope.later:
            raise UnknownNameError(
                f"'{name.id}' is declared after it was assigned", name.at, "put the declaration before the equation"
            )
        axes = scope.axes(syntax.axes, define=False)
        scope.check_new(name, axes)
        if name.id not in scope.later:
            raise UnknownNameError(f"'{name.id}' is declared and never assigned", name.at, f"write {name.id}[…] = …")
        if syntax.kind in (Kind.POSITIVE, Kind.UNIT):
            raise LayerSyntaxError(
                f"'{name.id}' is computed and can't be promised to be {syntax.kind.value}", syntax.at, "write Real"
            )
        scope.declared[name.id] = Declared(syntax.kind, axes, name.at)

    def _assign(self, syntax: Assign) -> None:
        value = syntax.value
        bare = all(target.subscripts is None for target in syntax.targets)
        if isinstance(value, Call) and bare:
            layer = self._called(value, len(syntax.targets))
            if layer is not None:
                self._layer_call(syntax, value, layer)
                return
        if len(syntax.targets) != 1:
            if isinstance(value, Call) and value.name.id not in FUNCTION_NAMES:
                Ranges(self.scope, self.layers).visit(value, {})
            raise LayerSyntaxError(
                "several names on the left", syntax.at, "only a call of a layer gives several results: a, b = layer(x)"
            )
        target = syntax.targets[0]
        name = target.name
        if bare and name.id[0].isupper() and name.id not in self.scope.declared and is_size(value, self.scope):
            size = size_value(value, self.scope)
            if size.is_Integer and not 0 < size < 2**31:
                raise ShapeError(f"size '{name.id}' is {size}", syntax.at, "an axis has from one to 2**31 - 1 elements")
            self.scope.add_derived(name, size)
            return
        self._equation(target, value, syntax.at)

    def _equation(self, target: Target, value: Expression, at: Span) -> None:
        scope, name = self.scope, target.name
        if is_start(target):
            self._start(target, value, at)
            return
        ranges = Ranges(scope, self.layers)
        letters = self._left(target, ranges)
        started = scope.started.get(name.id)
        if started is not None and started.start is None:
            raise DerivationError(
                f"the start of '{name.id}' comes after its equation", started.at, f"put it before line {at.line}"
            )
        declared = scope.declared.pop(name.id, None)
        if started is None:
            scope.check_new(name, tuple(letters))
        if declared is not None:
            self._stand_declared(target, letters, declared, ranges)
        if started is not None:
            stand_started(target, letters, started, ranges)
        scope.current = name.id
        ranges.subscripts.left = frozenset(letters)
        self._check_whole_call(target, value)
        ranges.visit(value, letters)
        for letter in letters.values():
            if letter.size is None or (started is not None and scope.is_open(scope.root(letter.size))):
                hidden = any(letter.name in own for own in ranges.bound.values())
                raise ShapeError(
                    f"index '{letter.name}' has no range",
                    letter.at,
                    f"the '{letter.name}' of the reduction is its own: give one of them another letter"
                    if hidden
                    else f"it stands alone on no axis on the right; declare {_declaration(target, letters, ranges)}",
                )
        self._settle(ranges, letters)
        indices = {key: index(letter) for key, letter in letters.items()}
        built = check_range(Builder(scope, ranges.bound, self.layers, indices.values()).value(value, indices), value.at)
        scope.current = ""
        self._assume_strides(built, value.at)
        kind = kind_of(built)
        if started is not None and kind is not started.kind:
            raise ShapeError(
                f"'{name.id}' is {kind.value} and was taken as {started.kind.value}", value.at,
                f"declare it before its start: {name.id}: {kind.value}[…]",
            )  # fmt: skip
        if declared is not None and declared.kind in (Kind.INT, Kind.BOOL) and kind is not declared.kind:
            raise ShapeError(
                f"'{name.id}' is declared {declared.kind.value} and is {kind.value}", value.at,
                f"write {name.id}: {kind.value}",
            )  # fmt: skip
        axes = tuple(i.size for i in indices.values())
        shape = f"{name.id}[{', '.join(letters)}]" if letters else name.id
        scope.add_tensor(name.id, kind, axes, f"{name.id} was defined as {shape} on line {name.at.line}")
        new = Statement(name.id, tuple(indices.values()), built, kind, at)
        if started is not None:
            scope.carried.add(name.id)
            del scope.started[name.id]
            new = carried(new, started, scope)
        self.statements.append(new)

    def _start(self, target: Target, value: Expression, at: Span) -> None:
        """Take ``h[-1, n] = …``, the start of a recurrence."""
        scope, name = self.scope, target.name
        position = check_start(target, scope)
        others = tuple(s for k, s in enumerate(target.subscripts or ()) if k != position)
        ranges = Ranges(scope, self.layers)
        letters = self._left(Target(target.at, name, others), ranges)
        scope.check_new(name, tuple(map(str, others)))
        declared = scope.declared.get(name.id)
        if declared is not None:
            stand_start_declared(target, letters, declared, position, ranges)
        early = scope.started.get(name.id)
        if early is not None:
            others_early = [size for k, size in enumerate(early.axes) if k != position]
            for letter, size in zip(letters.values(), others_early, strict=True):
                ranges.subscripts.stand(letter, size, f"{name.id}, as it is read before", letter.at, early.story)
        scope.current, scope.starting = name.id, True
        ranges.visit(value, letters)
        for letter in letters.values():
            if letter.size is None:
                letter.size, letter.place = scope.open_size(letter.name), f"{name.id}, at its start"
        self._settle(ranges, letters)
        indices = {key: index(letter) for key, letter in letters.items()}
        built = check_range(Builder(scope, ranges.bound, self.layers, indices.values()).value(value, indices), value.at)
        scope.current, scope.starting = "", False
        places: list[Index | None] = list(indices.values())
        places.insert(position, None)
        time = early.axes[position] if early else declared.axes[position] if declared else scope.open_size("t")
        kind = declared.kind if declared is not None else Kind.REAL
        axes = tuple(time if i is None else i.size for i in places)
        scope.started[name.id] = Started(name.id, position, axes, tuple(places), built, kind, at)
        scope.steps[name.id] = position

    def _settle(self, ranges: Ranges, letters: dict[str, Letter]) -> None:
        """Put what is known of the ranges in, and prove what stays inside; where a range is open, later."""
        scope = self.scope
        unknown = False
        for letter in (*letters.values(), *(own for bound in ranges.bound.values() for own in bound.values())):
            if letter.size is not None:
                letter.size = scope.root(letter.size)
                if scope.is_open(letter.size):
                    unknown = True
                    self.waiting_letters.append(letter)
        if unknown or ranges.subscripts.waits:
            self.waiting.append(ranges)
        else:
            ranges.subscripts.settle()

    def _assume_strides(self, built: Expr, at: Span) -> None:
        """Take as conditions that a comparison ``i == p*stride + r`` has strides, as a subscript has."""
        for comparison in sorted(built.atoms(Eq), key=show):
            difference = (comparison.args[0] - comparison.args[1]).expand()
            if difference.is_integer and not difference.has(Element):
                for index in sorted(free_indices(difference), key=lambda i: i.name):
                    factor = difference.coeff(index, 1)
                    if not free_indices(factor):
                        self.scope.assume_stride(factor, at)

    def _close(self) -> None:
        """Settle what waited for the ranges of a recurrence."""
        scope = self.scope
        for letter in self.waiting_letters:
            if letter.size is None or scope.is_open(scope.root(letter.size)):
                raise ShapeError(
                    f"index '{letter.name}' has no range", letter.at,
                    "it stands on axes of recurrences alone; declare the shape of one: h: Real[T, N]",
                )  # fmt: skip
            letter.size = scope.root(letter.size)
        for ranges in self.waiting:
            ranges.subscripts.settle()
        self.statements = [
            replace(s, indices=tuple(map(scope.closed, s.indices)), expr=scope.closed(s.expr)) for s in self.statements
        ]

    def _left(self, target: Target, ranges: Ranges) -> dict[str, Letter]:
        """Return the letters of the left side."""
        letters: dict[str, Letter] = {}
        for subscript in target.subscripts or ():
            match subscript:
                case Name(id=size) if size in self.scope.sizes and self._assigned_again(target):
                    raise DerivationError(
                        f"an equation for one element, '{written(target.at)}', is not supported", subscript.at,
                        "a recurrence runs from the first step to the last, its start is h[-1, …]; "
                        "backwards in time, read the inputs at T - 1 - t",
                    )  # fmt: skip
                case Name() | Dots():
                    letter = ranges.letter(subscript)
                    if letter.name in letters:
                        raise LayerSyntaxError(
                            f"index '{letter.name}' stands twice on the left",
                            subscript.at,
                            "give each axis its own index",
                        )
                    letters[letter.name] = letter
                case Number() | Operation(operator="neg", operands=(Number(),)):
                    raise DerivationError(
                        f"an equation for one element, '{written(target.at)}', is not supported", subscript.at,
                        "the left side names a whole tensor, y[n, d]; the start of a recurrence is h[-1, …], before "
                        "its first step, and a first step of its own is where(t == 0, …, …)",
                    )  # fmt: skip
                case Read():
                    raise DerivationError(
                        f"a label on the left, '{written(subscript.at)}', is not supported", subscript.at,
                        "read by label instead: y[n] = x[t[n]]",
                    )  # fmt: skip
                case _:
                    raise DerivationError(
                        f"affine subscript '{written(subscript.at)}' on the left is not supported", subscript.at,
                        "the left side names a whole tensor: y[n, d]",
                    )  # fmt: skip
        return letters

    def _assigned_again(self, target: Target) -> bool:
        targets = [t for s in self.definition.body if isinstance(s, Assign) for t in s.targets]
        return sum(t.name.id == target.name.id for t in targets) > 1

    def _stand_declared(self, target: Target, letters: dict[str, Letter], declared: Declared, ranges: Ranges) -> None:
        name = target.name.id
        shape = axes_text(declared.axes) if declared.axes else "a scalar"
        story = f"{name} is declared as {shape} on line {declared.at.line}"
        if len(declared.axes) != len(letters):
            raise ShapeError(
                f"'{name}' is declared with {count(len(declared.axes), 'axis', 'axes')} and has {len(letters)} here",
                target.at,
                story,
            )
        for position, (letter, size) in enumerate(zip(letters.values(), declared.axes, strict=True)):
            if (letter.name == "...") != (size == BATCH_SIZE):
                raise ShapeError(f"'...' stands for the batch axes, index '{letter.name}' for one", letter.at, story)
            ranges.subscripts.stand(letter, size, f"{name}, axis {position}", letter.at, story)
            letter.declared = True

    # Calls of layers

    def _called(self, value: Call, results: int) -> Layer | None:
        """Return the layer that a call on whole tensors means; None where the call is a formula."""
        name, tensors = value.name, self.scope.tensors
        given = [tensors.get(a.id) if isinstance(a, Name) else None for a in value.arguments]
        whole = any(known is not None and known.axes for known in given)
        function = name.id in FUNCTION_NAMES and (name.id not in self.layers.own or name.id == self.definition.name)
        if function and not whole and results == 1:
            return None
        layer = self.layers.on_tensors(name)
        if layer is None:
            return None
        elementwise = all(p.axes in ((), (BATCH_SIZE,)) for p in layer.parameters)
        if elementwise and results == 1 and not all(known is not None for known in given):
            return None
        return layer

    def _layer_call(self, syntax: Assign, value: Call, layer: Layer) -> None:
        scope = self.scope
        targets = tuple(target.name for target in syntax.targets)
        for position, target in enumerate(targets):
            if any(target.id == other.id for other in targets[:position]):
                raise UnknownNameError(f"'{target.id}' is assigned twice", target.at, "each name is assigned once")
            scope.check_new(target, None)
        ranges = Ranges(scope, self.layers)
        hypers = {}
        for word, given in value.keywords:
            if layer.parameter(word.id) is None:
                ranges.check_constant(given)
                hypers[word.id] = Builder(scope, {}, self.layers).constant(given)
        declared = {t.id: d for t in targets if (d := scope.declared.pop(t.id, None))}
        scope.current = targets[0].id
        written_out, call = inline(layer, value, targets, hypers, scope)
        self.statements.extend(written_out)
        self.calls.append(call)
        scope.current = ""
        for target in targets:
            if target.id in declared:
                self._check_declared(target, declared[target.id])

    def _check_declared(self, target: Name, declared: Declared) -> None:
        axes = self.scope.tensors[target.id].axes
        if axes != declared.axes:
            raise ShapeError(
                f"'{target.id}' is declared as {axes_text(declared.axes)} and is {axes_text(axes)}",
                target.at,
                self.scope.tensors[target.id].story,
            )

    def _check_whole_call(self, target: Target, value: Expression) -> None:
        """Refuse ``h[n, d] = linear(x, w, b)`` with the form that is meant."""
        if not isinstance(value, Call) or target.subscripts is None or value.name.id in FUNCTION_NAMES:
            return
        tensors = self.scope.tensors
        if not all(isinstance(a, Name) and a.id in tensors and tensors[a.id].axes for a in value.arguments):
            return
        if value.arguments and self.layers.on_tensors(value.name) is not None:
            raise LayerSyntaxError(
                f"'{value.name.id}' is called on whole tensors",
                target.at,
                f"write {target.name.id} = {written(value.at)}",
            )

    # Return

    def _return(self, syntax: Return) -> tuple[str, ...]:
        scope = self.scope
        found: list[str] = []
        computed = {statement.name: statement for statement in self.statements}
        for name in syntax.names:
            if name.id in found:
                raise UnknownNameError(f"'{name.id}' is returned twice", name.at, "return each name once")
            if name.id not in computed:
                raise self._not_returnable(name)
            kind = computed[name.id].kind
            if not kind.differentiable:
                what = "integers" if kind is Kind.INT else "truth values"
                raise DerivationError(
                    f"'{name.id}' holds {what} and has no derivative", name.at,
                    "return Real tensors; where(condition, 1, 0) is one",
                )  # fmt: skip
            found.append(name.id)
        scope.used.update(found)
        return tuple(found)

    def _not_returnable(self, name: Name) -> UnknownNameError | DerivationError:
        scope = self.scope
        if name.id in scope.tensors:
            letters = scope.tensors[name.id].axes
            subscripts = f"[{', '.join(show(a).lower() for a in letters)}]" if letters else ""
            return UnknownNameError(
                f"'{name.id}' is a parameter, not a result",
                name.at,
                f"write y{subscripts} = {name.id}{subscripts}, return y",
            )
        if name.id in scope.sizes or name.id in scope.hypers:
            what = "a size" if name.id in scope.sizes else "a hyper-parameter"
            return UnknownNameError(f"'{name.id}' is {what}, not a result", name.at, "return a tensor")
        return scope.unknown(name, "tensor", [s.name for s in self.statements])


def _declaration(target: Target, letters: Mapping[str, Letter], ranges: Ranges) -> str:
    """Return a declaration of the left side, as far as its shape can be guessed."""
    sizes = []
    for letter in letters.values():
        size = ranges.subscripts.likely(letter)
        sizes.append(letter.name.upper() if size is None else "..." if size == BATCH_SIZE else show(size))
    return f"{target.name.id}: Real[{', '.join(sizes)}]"

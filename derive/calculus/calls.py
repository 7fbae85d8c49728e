"""A network whose calls stay calls: its own equations are derived, each layer's backward is called.

    h = linear(x, w, b)                      # not derived: linear has a backward of its own
    y[n, d] = x[n, d] + relu(h[n, d])        # derived as ever

The network is *opened* at its calls: what a call gives becomes a parameter,
and what it takes a result (``x_h`` is ``x`` as the call of ``h`` reads it):

    def opened(x, w, b, h):
        x_h[n, d] = x[n, d]
        y[n, d]   = x[n, d] + relu(h[n, d])
        return y, x_h, …

That is a layer like any other, so the one rule of reverse mode, the closed
forms and their cost model serve for it as they are. Its backward takes the
cotangents of its results (``dy`` from the caller, ``dx_h`` from the backward
of the call) and gives the cotangents of its parameters: ``dx = dx_h + dy``
and ``dh``, which the call's backward wants. :func:`woven` puts the calls back
between the equations: forward in order, backward in reverse, each once, with
the copies gone again.

What is left alone: no identity is used across a call. ``log(p)`` of a called
softmax is not made a log-softmax, as it is where the call is written out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from sympy import Expr

from derive.algebra.indices import names
from derive.algebra.nodes import Element, Kind, Padded, Tensor
from derive.calculus.adjoint import adjoint_name
from derive.calculus.local import variables
from derive.calculus.program import Program
from derive.calculus.repeats import reading
from derive.calculus.reverse import target_indices
from derive.errors import DeriveError
from derive.language.layer import Layer, LayerCall, Parameter, Statement
from derive.language.loops import Loop, flat, loops

__all__ = ["Item", "Opened", "Site", "Woven", "callees", "opened", "woven"]


@dataclass(frozen=True, slots=True)
class Site:
    """A call in an opened network.

    Attributes:
        call: as it was written.
        arguments: the names that are handed over, one a parameter of the callee.
        results: the names that it gives, one a result of the callee.
        cotangents: those of the results, handed to the callee's backward; () where that is not called.
        gradients: the names that the callee's gradients get, one a differentiable parameter of
            the callee; None where nobody wants it.
    """

    call: LayerCall
    arguments: tuple[str, ...]
    results: tuple[str, ...]
    cotangents: tuple[str, ...]
    gradients: tuple[str | None, ...]

    @property
    def differentiated(self) -> bool:
        """Whether the callee's backward is called."""
        return bool(self.cotangents)


@dataclass(frozen=True, slots=True)
class Opened:
    """A network opened at its calls.

    Attributes:
        network: as it was written.
        layer: its own equations; the calls' results are parameters, their arguments results.
        sites: the calls, in order.
        wanted: the parameters of ``layer`` whose gradients are needed.
        renamed: names that ``layer`` has for a tensor of the network: ``x_h`` for ``x``.
        only: those of them that nothing but one call reads: their cotangent is the tensor's.
    """

    network: Layer
    layer: Layer
    sites: tuple[Site, ...]
    wanted: tuple[str, ...]
    renamed: Mapping[str, str]
    only: frozenset[str]


Item = Statement | Site


@dataclass(frozen=True, slots=True)
class Woven:
    """A program with the calls at their places.

    Attributes:
        network: as it was written.
        program: of the opened network; its equations are in the order of ``forward`` and ``backward``.
        forward, backward: equations and calls in the order of computation.
        gradients: ``(parameter of the network, name of its gradient)``.
    """

    network: Layer
    program: Program
    forward: tuple[Item, ...]
    backward: tuple[Item, ...]
    gradients: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        lines = ["forward:", *(f"    {_shown(item)}" for item in self.forward)]
        lines += ["backward:", *(f"    {_shown(item, back=True)}" for item in self.backward)]
        return "\n".join(lines) + "\n"


def _shown(item: Item, *, back: bool = False) -> str:
    if isinstance(item, Statement):
        return str(item)
    name = item.call.layer.name
    if back:
        return f"{', '.join(g or '_' for g in item.gradients)} = {name}.backward({', '.join(item.cotangents)})"
    return f"{', '.join(item.results)} = {name}.forward({', '.join(item.arguments)})"


def callees(layer: Layer) -> tuple[Layer, ...]:
    """Return the layers that a network calls, and those that they call: each once, after what it calls itself.

    Raises:
        DeriveError: two of them, or one and the network, are different layers of one name.
    """
    found: dict[str, Layer] = {}
    known = {layer.name: layer}

    def visit(caller: Layer) -> None:
        for call in caller.calls:
            callee = call.layer
            other = known.setdefault(callee.name, callee)
            if other is not callee and other != callee:
                raise DeriveError(
                    f"{layer.name} calls two layers called '{callee.name}': both would be {callee.name}.py",
                    layer.span,
                    "give one of them another name, or write the calls out: generate without --calls",
                )
            if callee.name not in found:
                visit(callee)
                found[callee.name] = callee

    visit(layer)
    return tuple(found.values())


def opened(layer: Layer, wrt: Sequence[str]) -> Opened:
    """Open a network at its calls.

    Args:
        layer: with calls.
        wrt: the parameters whose gradients are wanted.
    """
    return _Opening(layer, wrt).opened()


class _Opening:
    def __init__(self, layer: Layer, wrt: Sequence[str]) -> None:
        self.layer = layer
        self.wrt = tuple(wrt)
        self.letters = target_indices(layer, layer.statements)
        self.letters |= {s.name: s.indices for s in layer.statements}
        self.kinds = {p.name: p.kind for p in layer.parameters} | {s.name: s.kind for s in layer.statements}
        self.taken = {*self.kinds, *map(adjoint_name, self.kinds), *(h.name for h in layer.hypers)}
        self.taken |= {s.name for s in layer.sizes} | {d.size.name for d in layer.derived}
        written_out = {name for call in layer.calls for name in call.statements}
        self.own = [s for s in layer.statements if s.name not in written_out]
        self.same: dict[str, str] = {}
        self.calls = self._distinct(self._live())

    def opened(self) -> Opened:
        """Return the opened network."""
        layer, active, reached = self.layer, self._active(), self._reached()
        inner = {r: self._free(f"{r}_{c.layer.name}") for c in self.calls for r in c.results if r in layer.returns}
        renamed = {name: result for result, name in inner.items()}
        # A returned result of a call is an equation, so that its cotangent is that of a result: y = y_linear.
        first = [self._copy(result, name, layer.axes(result)) for result, name in inner.items()]
        last = [self._copy(a, b, layer.axes(a)) for a, b in self.same.items() if a in layer.returns]
        parameters = [
            Parameter(inner.get(r, r), self.kinds[r], layer.axes(r)) for call in self.calls for r in call.results
        ]
        returns = list(layer.returns)
        computed = {s.name for s in self.own}
        sites: list[Site] = []
        for call in self.calls:
            arguments: list[str] = []
            gradients: list[str | None] = []
            live = active if reached.intersection(call.results) else set[str]()
            for parameter, argument in zip(call.layer.parameters, call.arguments, strict=True):
                real, known = parameter.kind.differentiable, self.kinds[argument].differentiable
                passed, gradient = argument, None
                if real and (argument in live or not known):  # integers that are handed over as real numbers, too
                    passed = self._free(f"{argument}_{call.results[0]}")
                    last.append(self._copy(passed, argument, layer.axes(argument)))
                if argument in live and real:
                    renamed[passed], gradient = argument, adjoint_name(passed)
                if passed not in returns and (passed != argument or argument in computed):
                    returns.append(passed)
                arguments.append(passed)
                if real:
                    gradients.append(gradient)
            results = tuple(inner.get(r, r) for r in call.results)
            called = any(g is not None for g in gradients)
            sites.append(
                Site(
                    call,
                    tuple(arguments),
                    results,
                    tuple(map(adjoint_name, results)) if called else (),
                    tuple(gradients),
                )
            )
        inside = replace(
            layer,
            parameters=(*layer.parameters, *parameters),
            statements=(*first, *(reading(s, self.same) for s in self.own), *last),
            returns=tuple(returns),
            calls=(),
        )
        wanted = (*self.wrt, *(r for site in sites if site.differentiated for r in site.results))
        reads = Counter(name for call in self.calls for name in call.arguments)
        reads.update(name for s in inside.statements if s.name not in renamed for name in _reads(s))
        only = frozenset(a for a, b in renamed.items() if reads[b] == 1 and b not in returns)
        return Opened(layer, inside, tuple(sites), wanted, renamed, only)

    def _live(self) -> list[LayerCall]:
        """Return the calls that a result of the network is made of."""
        needed = set(self.layer.returns)
        owner = {name: call for call in self.layer.calls for name in call.results}
        own = {s.name: s for s in self.own}
        work = list(needed)
        while work:
            name = work.pop()
            read = set(owner[name].arguments) if name in owner else _reads(own[name]) if name in own else set()
            work += read - needed
            needed |= read
        return [call for call in self.layer.calls if needed.intersection(call.results)]

    def _distinct(self, calls: Iterable[LayerCall]) -> list[LayerCall]:
        """Return the calls without those that repeat another one, whose results are read under its names."""
        seen: dict[object, LayerCall] = {}
        kept: list[LayerCall] = []
        for call in calls:
            call = replace(call, arguments=tuple(self.same.get(a, a) for a in call.arguments))
            first = seen.setdefault((call.layer, call.arguments, call.hypers), call)
            if first is call:
                kept.append(call)
            else:
                self.same |= dict(zip(call.results, first.results, strict=True))
        return kept

    def _active(self) -> set[str]:
        """Return the names that have a derivative by a wanted parameter."""
        active = set(self.wrt)
        steps: list[tuple[frozenset[str], tuple[str, ...]]] = []
        steps += [(_smooth(reading(s, self.same)), (s.name,)) for s in self.own if s.kind.differentiable]
        for call in self.calls:
            inputs = zip(call.layer.parameters, call.arguments, strict=True)
            steps.append((frozenset(a for p, a in inputs if p.kind.differentiable), call.results))
        count = -1
        while count != len(active):
            count = len(active)
            for read, results in steps:
                if read & active:
                    active.update(results)
        return active

    def _reached(self) -> set[str]:
        """Return the names by which a result of the network has a derivative."""
        own = {s.name: _smooth(reading(s, self.same)) for s in self.own if s.kind.differentiable}
        for call in self.calls:
            inputs = zip(call.layer.parameters, call.arguments, strict=True)
            own |= dict.fromkeys(call.results, frozenset(a for p, a in inputs if p.kind.differentiable))
        reached = {self.same.get(r, r) for r in self.layer.returns}
        work = list(reached)
        while work:
            further = own.get(work.pop(), frozenset()) - reached
            reached |= further
            work += further
        return reached

    def _copy(self, name: str, source: str, axes: tuple[Expr, ...]) -> Statement:
        """Return ``name[i, j] = source[i, j]``."""
        letters = self.letters[name if name in self.letters else source]
        assert tuple(i.size for i in letters) == axes, f"calls: {name} = {source}"
        kind = self.kinds.get(source, Kind.REAL)
        return Statement(name, letters, Element(Tensor(source, kind), *letters), Kind.REAL)

    def _free(self, name: str) -> str:
        """Return the name, numbered where it or its cotangent's is taken."""
        number, candidate = 2, name
        while candidate in self.taken or adjoint_name(candidate) in self.taken:
            number, candidate = number + 1, f"{name}{number}"
        self.taken |= {candidate, adjoint_name(candidate)}
        return candidate


def _reads(statement: Statement) -> frozenset[str]:
    start = names(statement.carry.start) if statement.carry is not None else frozenset()
    return names(statement.expr) | start


def _smooth(statement: Statement) -> frozenset[str]:
    """Return the names that a statement has a derivative by."""

    def visit(expr: Expr) -> Iterator[str]:
        for variable in variables(expr):
            if isinstance(variable, (Element, Padded)):
                yield variable.name if isinstance(variable, Element) else variable.element.name
            else:
                yield from visit(variable.body)

    start = visit(statement.carry.start) if statement.carry is not None else ()
    return frozenset((*visit(statement.expr), *start))


def woven(network: Opened, program: Program) -> Woven:
    """Put the calls of an opened network between the equations of its program.

    Args:
        network: opened.
        program: of ``network.layer``, simplified.
    """
    copies = {s.name for s in program.forward if s.name in network.renamed and _copied(s) == network.renamed[s.name]}
    copies |= {s.name for s in program.forward if network.renamed.get(_copied(s) or "") == s.name}
    forward_names = {a: b for a, b in network.renamed.items() if a in copies or b in copies}
    written, cotangents = _without_copies(program, network)
    forward = tuple(reading(s, forward_names) for s in program.forward if s.name not in copies)
    backward = tuple(reading(s, forward_names) for s in written)
    sites = [
        replace(
            site,
            arguments=tuple(forward_names.get(a, a) for a in site.arguments),
            results=tuple(forward_names.get(r, r) for r in site.results),
            cotangents=tuple(cotangents.get(c, c) for c in site.cotangents),
            gradients=tuple(g and cotangents.get(g, g) for g in site.gradients),
        )
        for site in network.sites
    ]
    layer = network.layer
    parameters = tuple(replace(p, name=forward_names.get(p.name, p.name)) for p in layer.parameters)
    layer = replace(
        layer,
        parameters=parameters,
        statements=tuple(reading(s, forward_names) for s in layer.statements if s.name not in copies),
    )
    forward_items = _in_order(_merged(forward, sites, network.network), _taken, _given)
    backward_items = _in_order(
        [*(s for s in sites[::-1] if s.differentiated), *loops(backward)], lambda s: s.cotangents, _gradients
    )
    gradients = {p: cotangents.get(g, g) for p, g in program.gradients}
    result = replace(
        program,
        layer=layer,
        forward=tuple(i for i in forward_items if isinstance(i, Statement)),
        backward=tuple(i for i in backward_items if isinstance(i, Statement)),
        outputs=tuple(forward_names.get(o, o) for o in program.outputs),
        cotangents=tuple(cotangents.get(c, c) for c in program.cotangents),
        gradients=tuple((forward_names.get(p, p), g) for p, g in gradients.items()),
    )
    own = {p.name for p in network.network.parameters}
    return Woven(
        network.network, result, forward_items, backward_items, tuple((p, g) for p, g in gradients.items() if p in own)
    )


def _copied(statement: Statement) -> str | None:
    """Return the name of what the statement only renames."""
    expr = statement.expr
    plain = isinstance(expr, Element) and expr.subscripts == statement.indices and expr.kind is statement.kind
    return expr.name if plain else None


def _without_copies(program: Program, network: Opened) -> tuple[list[Statement], dict[str, str]]:
    """Return backward without the statements that only rename a cotangent, and the names to read instead.

    What a call gives is the gradient itself where it is all of it
    (``dw, = …``, not ``dw = dw_h``), and a call takes the cotangent itself.
    """
    results = {g for p, g in program.gradients if network.network.parameter(p)}
    inner = {c for site in network.sites for c in site.cotangents}
    made = {g for site in network.sites for g in site.gradients if g is not None}
    names: dict[str, str] = {}
    kept: list[Statement] = []
    for statement in program.backward:
        source = _copied(statement)
        if statement.name in results | inner and source in made and source not in names:
            assert source is not None
            names[source] = statement.name
        elif statement.name in inner and source is not None:
            names[statement.name] = source
        else:
            kept.append(statement)

    def final(name: str) -> str:
        while name in names:
            name = names[name]
        return name

    taken = {*(s.name for s in kept), *program.cotangents, *results, *inner}
    for copy in sorted(network.only):
        whole = adjoint_name(network.renamed[copy])
        if adjoint_name(copy) in made and adjoint_name(copy) not in names and whole not in taken:
            names[adjoint_name(copy)] = whole
    names = {name: final(name) for name in names}
    return [reading(s, names) for s in kept], names


def _gradients(site: Site) -> tuple[str, ...]:
    return tuple(g for g in site.gradients if g is not None)


def _taken(site: Site) -> tuple[str, ...]:
    return site.arguments


def _given(site: Site) -> tuple[str, ...]:
    return site.results


def _merged(statements: Sequence[Statement], sites: Sequence[Site], network: Layer) -> list[Statement | Loop | Site]:
    """Return the equations and calls in the order in which the network has them."""
    place = {s.name: k for k, s in enumerate(network.statements)}
    merged: list[Statement | Loop | Site] = []
    waiting = sorted(sites, key=lambda site: place[site.call.results[0]], reverse=True)
    for piece in loops(statements):
        owners = piece.names if isinstance(piece, Loop) else {piece.name}
        first = min((place[name] for name in owners if name in place), default=-1)
        while waiting and place[waiting[-1].call.results[0]] < first:
            merged.append(waiting.pop())
        merged.append(piece)
    return [*merged, *reversed(waiting)]


def _in_order(
    pieces: Sequence[Statement | Loop | Site],
    reads: Callable[[Site], Iterable[str]],
    gives: Callable[[Site], Iterable[str]],
) -> tuple[Item, ...]:
    """Return the equations and calls so that each comes after what it reads, otherwise as given."""
    owner: dict[str, int] = {}
    for k, piece in enumerate(pieces):
        for name in gives(piece) if isinstance(piece, Site) else (s.name for s in flat([piece])):
            owner[name] = k
    done: set[int] = set()
    result: list[Item] = []

    def visit(k: int) -> None:
        if k in done:
            return
        done.add(k)
        piece = pieces[k]
        read = reads(piece) if isinstance(piece, Site) else sorted(frozenset().union(*map(_reads, flat([piece]))))
        for other in sorted({owner[name] for name in read if name in owner} - {k}):
            visit(other)
        result.extend([piece] if isinstance(piece, Site) else flat([piece]))

    for k in range(len(pieces)):
        visit(k)
    return tuple(result)

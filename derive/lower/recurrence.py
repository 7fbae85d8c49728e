"""Recurrences as loops over rows: what is kept, where, and what lives for one step only.

    h[-1, n, j] = h0[n, j]                          h = np.empty((T + 1, N, H)); h[0] = h0
    h[t, n, j] = tanh(a[t, n, j] + sum[k](…))       for t in range(T): h[t + 1] = np.tanh(a[t] + h[t] @ w)

Inside a loop the letter of time is a number (:class:`Counter`), so every
statement of the loop is one about arrays without that axis, and whatever can
be lowered at all can be lowered there. A name of the loop is

- *stored* where something outside reads it: an array with a row for every
  step, and one more for the start where something outside reads that too;
- *local* where nobody does, or only its last value is read: it has no time
  axis, and an earlier element is what it was before it is assigned again.

A recurrence that does not read itself is no loop: all rows but the start are
computed at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sympy import Expr, Pow, S

from derive.algebra.indices import elements, rebuild, substitute
from derive.algebra.nodes import Delta, Element, Index, KeepingReduction, Padded, Tensor
from derive.calculus.program import Program
from derive.language.layer import Statement
from derive.language.loops import Loop, loops
from derive.lower.hoist import hoisted
from derive.lower.plan import Counter, Piece, Plan, Shifted, Start, Step, Store, Unrolled
from derive.lower.prepare import expressions, prepared
from derive.lower.scans import scanned

__all__ = ["loop_names", "planned"]


# From statements and the axes of what they read beside the program's names, the same with arrays of windows apart.
Windowed = Callable[[tuple[Statement, ...], Mapping[str, tuple[Expr, ...]]], tuple[Statement, ...]]


def loop_names(statements: Sequence[Statement]) -> dict[str, frozenset[str]]:
    """Return the names of the loop that a statement belongs to, for those that belong to one."""
    pieces = (piece for piece in loops(statements) if isinstance(piece, Loop))
    return {s.name: piece.names for piece in pieces for s in piece.statements}


def planned(program: Program, taken: set[str], windowed: Windowed = lambda statements, _: statements) -> Plan:
    """Decide how the recurrences of a program are computed; new names are added to ``taken``.

    Args:
        program: padded reads are apart, but for those in a loop of its own names.
        taken: the names in use.
        windowed: prepares the windows and padded reads of the statements of a step.
    """
    forward, backward = _pieces(program.forward, taken), _pieces(program.backward, taken)
    if not any(isinstance(p, Loop) or p.carry is not None for p in (*forward, *backward)):
        return Plan(program.forward, program.backward, {}, frozenset())
    fixed = frozenset((*program.outputs, *program.returned))
    planner = _Planner(fixed, taken, windowed)
    for piece in (*forward, *backward):
        planner.note(piece, (*forward, *backward))
    return Plan(
        tuple(p for piece in forward for p in planner.pieces(piece)),
        tuple(p for piece in backward for p in planner.pieces(piece)),
        planner.stores,
        frozenset(planner.fixed),
        frozenset(planner.local[name] for name in planner.last),
    )


def _pieces(statements: Sequence[Statement], taken: set[str]) -> list[Statement | Loop]:
    """Return statements and loops; a loop that is a running sum or the like is a statement."""
    result: list[Statement | Loop] = []
    for piece in loops(statements):
        if isinstance(piece, Statement):
            result.append(piece)
            continue
        scan = scanned(piece)
        if scan is not None:
            result += scan
            continue
        before, loop = hoisted(piece, taken)
        result += [*prepared(before, taken), loop]
    return result


@dataclass(slots=True)
class _Planner:
    """Decides for every name of a loop how it is kept, and rewrites what reads it.

    Attributes:
        returned: the names of outputs and gradients.
        taken: the names in use.
        windowed: see :func:`planned`.
        stores, fixed: see :class:`Plan`.
        local: the names of the locals; those that are not stored have their own.
        last: the names whose value after the last step is that of the local, the place of time, and the last step.
        counters: one a letter.
    """

    returned: frozenset[str]
    taken: set[str]
    windowed: Windowed
    stores: dict[str, Store] = field(default_factory=dict)
    fixed: set[str] = field(default_factory=set)
    local: dict[str, str] = field(default_factory=dict)
    last: dict[str, tuple[int, Expr]] = field(default_factory=dict)
    counters: dict[str, Counter] = field(default_factory=dict)

    def note(self, piece: Statement | Loop, everything: Sequence[Statement | Loop]) -> None:
        """Decide how the names of a piece are kept, from all that read them elsewhere."""
        if isinstance(piece, Statement):
            if piece.carry is None:
                return
            members: tuple[Statement, ...] = (piece,)
            index, step = piece.carry.index, piece.carry.step
        else:
            members, index, step = piece.statements, piece.index, piece.step
        outside = _reads(p for p in everything if p is not piece)
        starts = [e for s in members if s.carry is not None for e in elements(s.carry.start)]
        alone = isinstance(piece, Statement)
        final = index.size - 1 if step == 1 else S.Zero
        for member in members:
            name, axis, carried = member.name, member.indices.index(index), member.carry is not None
            returned = name in self.returned
            self.local[name] = name
            reads = [e for e in (*outside.get(name, ()), *starts) if e.name == name]
            if not alone and not returned and not reads:
                continue
            others = [e for e in reads if e.subscripts[axis] != final]
            if not alone and not returned and carried and not others:
                self.last[name] = (axis, final)
                continue
            # After no step at all, the last value is the start.
            ends = len(others) < len(reads) and step == -1
            longer = carried and any(_reaches(e.subscripts[axis], index, step) for e in others)
            if carried and ends and not longer:
                longer = alone
                if not alone:
                    self.last[name] = (axis, final)
            rows = Index(index.name, index.size + 1) if longer else index
            indices = (*member.indices[:axis], rows, *member.indices[axis + 1 :])
            shift = int(longer and step == 1)
            self.stores[name] = Store(name, indices, axis, shift, longer, member.kind)
            self.local[name] = self._fresh(f"{name}_{index.name}")
            self.fixed |= {name, self.local[name]}

    def pieces(self, piece: Statement | Loop) -> list[Piece]:
        """Return a piece as it is computed."""
        if isinstance(piece, Loop):
            return [self._unrolled(piece)]
        expr = self._outside(piece.expr)
        if piece.carry is None:
            return [replace(piece, expr=expr)]
        store = self.stores[piece.name]
        if not store.longer:
            return [replace(piece, expr=expr, carry=None)]
        local, axis = self.local[piece.name], store.axis
        rest = (*piece.indices[:axis], *piece.indices[axis + 1 :])
        start = Statement(local, rest, self._outside(piece.carry.start), piece.kind)
        first = S.NegativeOne if piece.carry.step == 1 else piece.carry.index.size
        whole = Statement(local, piece.indices, expr, piece.kind)
        return [Shifted(whole, Start(start, store, store.row(first)), store)]

    def _outside(self, expr: Expr) -> Expr:
        """Return what reads the names of loops from outside, reading their rows."""
        return _mapped(expr, self._row)

    def _row(self, element: Element) -> Element:
        if element.name in self.last:
            axis, final = self.last[element.name]
            if element.subscripts[axis] == final:
                rest = (s for k, s in enumerate(element.subscripts) if k != axis)
                return Element(Tensor(self.local[element.name], element.kind), *rest)
        return self.stores[element.name].read(element) if element.name in self.stores else element

    def _unrolled(self, loop: Loop) -> Unrolled:
        index, step = loop.index, loop.step
        counter = self._counter(index)
        members = {s.name: s for s in loop.statements}
        axes = {s.name: s.indices.index(index) for s in loop.statements}
        bodies = {s.name: substitute(s.expr, {index: counter}) for s in loop.statements}
        named, earlier = self._names(loop, bodies, counter)

        def read(element: Element) -> Element:
            name = element.name
            if name not in members:
                return self._row(element)
            axis = axes[name]
            rest = tuple(s for k, s in enumerate(element.subscripts) if k != axis)
            now = element.subscripts[axis] == counter
            assert now or element.subscripts[axis] == counter - step, f"lower: {element} in a loop over {index}"
            if now and named[name]:
                return Element(Tensor(self.local[name], element.kind), *rest)
            if not now and name in earlier:
                return Element(Tensor(earlier[name], element.kind), *rest)
            return self.stores[name].read(element)

        starts: list[Start] = []
        steps: list[Step] = []
        views: list[Step] = []
        for member in loop.statements:
            name, axis = member.name, axes[member.name]
            store = self.stores.get(name)
            rest = tuple(i for k, i in enumerate(member.indices) if k != axis)
            local = self.local[name]
            before = earlier.get(name)
            if member.carry is not None:
                start = Statement(local, rest, self._outside(member.carry.start), member.kind)
                if store is not None and store.longer:
                    starts.append(Start(start, store, store.row(S.NegativeOne if step == 1 else index.size)))
                    if before is not None:
                        row = Element(Tensor(name, member.kind), *store.at(counter - step))
                        views.append(Step(Statement(before, rest, row, member.kind)))
                elif before is not None or name in self.last:
                    starts.append(Start(start))
                    self.fixed |= {local, before or local}
            body = Statement(local, rest, _mapped(bodies[name], read), member.kind)
            kept = S.Zero if store is None else store.row(counter)
            old = before if before != local and (store is None or not store.longer) else None
            steps.append(Step(body, store, kept, named[name], old))
        steps = self._windowed([*views, *steps])
        return Unrolled(counter, index.size, step, tuple(starts), tuple(steps))

    def _names(
        self, loop: Loop, bodies: Mapping[str, Expr], counter: Counter
    ) -> tuple[dict[str, bool], dict[str, str]]:
        """Return whether a name is a local, and the local that holds its earlier value, where there is one."""
        named: dict[str, bool] = {}
        earlier: dict[str, str] = {}
        order = {s.name: k for k, s in enumerate(loop.statements)}
        weights = _weights(bodies.values())
        padded = {e for body in bodies.values() for e in _padded(body)}
        for member in loop.statements:
            name, axis = member.name, member.indices.index(loop.index)
            store = self.stores.get(name)
            kept = store is not None and store.longer
            before = [
                order[reader]
                for reader, body in bodies.items()
                for e in elements(body)
                if e.name == name and e.subscripts[axis] == counter - loop.step
            ]
            own = [e for e in padded if e.name == name]
            now = any(e.subscripts[axis] == counter for e in own)
            then = any(e.subscripts[axis] == counter - loop.step for e in own)
            reads = sum(w for e, w in weights.items() if e.name == name and e.subscripts[axis] == counter)
            named[name] = store is None or reads > 1 or now or bool(before and not kept) or name in self.last
            stem = f"{name}_{'prev' if loop.step == 1 else 'next'}"
            if kept and then:
                earlier[name] = self._fresh(stem)
            elif before and not kept:
                place = order[name]
                late = max(before) > place or (max(before) == place and _takes_lines(member.expr)) or (now and then)
                earlier[name] = self._fresh(stem) if late else self.local[name]
        return named, earlier

    def _windowed(self, steps: Sequence[Step]) -> list[Step]:
        """Return the steps with statements of their own for padded arrays and windows."""
        known = {name: tuple(i.size for i in store.indices) for name, store in self.stores.items()}
        for step in steps:
            axes = tuple(i.size for i in step.statement.indices)
            known[step.statement.name] = axes
            if step.before is not None:
                known[step.before] = axes
        owners = {step.statement.name: step for step in steps}
        statements = self.windowed(tuple(step.statement for step in steps), known)
        return [replace(owners[s.name], statement=s) if s.name in owners else Step(s) for s in statements]

    def _counter(self, index: Index) -> Counter:
        """Return the counter of a loop, the same for all loops with that letter."""
        if index.name not in self.counters:
            self.counters[index.name] = Counter(self._fresh(index.name))
        return self.counters[index.name]

    def _fresh(self, stem: str) -> str:
        name, number = stem, 2
        while name in self.taken:
            name, number = f"{stem}{number}", number + 1
        self.taken.add(name)
        return name


def _reads(pieces: Iterable[Statement | Loop]) -> dict[str, list[Element]]:
    found: dict[str, list[Element]] = {}
    for piece in pieces:
        for statement in piece.statements if isinstance(piece, Loop) else (piece,):
            for expr in expressions(statement):
                for element in elements(expr):
                    found.setdefault(element.name, []).append(element)
    return found


def _reaches(subscript: Expr, index: Index, step: int) -> bool:
    """Return whether a subscript may be that of the start: all but a step, a number of one, or a place looked up."""
    if isinstance(subscript, (Index, Element)):
        return False
    if subscript.is_number or not subscript.free_symbols.intersection(_indices(subscript)):
        start = S.NegativeOne if step == 1 else index.size
        return bool(subscript == start)
    return True


def _indices(expr: Expr) -> set[Index]:
    return {s for s in expr.free_symbols if isinstance(s, Index)}


def _mapped(expr: Expr, change: Callable[[Element], Element]) -> Expr:
    """Return the expression with every element changed, innermost first; ``change`` adds no index."""
    if not expr.args:
        return expr
    expr = rebuild(expr, (_mapped(a, change) for a in expr.args))
    return change(expr) if isinstance(expr, Element) else expr


def _padded(expr: Expr) -> list[Element]:
    """Return the elements that are read padded."""
    own = [expr.element] if isinstance(expr, Padded) else []
    return [*own, *(e for a in expr.args for e in _padded(a))]


def _takes_lines(expr: Expr) -> bool:
    """Return whether a statement may take more than one assignment."""
    return expr.has(Delta) or isinstance(expr, KeepingReduction)


def _weights(bodies: Iterable[Expr]) -> dict[Element, int]:
    """Return how often each element is read; a square reads twice."""
    found: dict[Element, int] = {}

    def visit(expr: Expr, times: int) -> None:
        if isinstance(expr, Element):
            found[expr] = found.get(expr, 0) + times
        if isinstance(expr, Pow) and expr.exp.is_Integer:
            visit(expr.base, 2 * times)
            return
        for arg in expr.args:
            visit(arg, times)

    for body in bodies:
        visit(body, 1)
    return found

"""Give names to the intermediate results that a backward pass wants to read.

    xhat[n, d] = (x[n, d] - mu[d]) / sqrt(var[d] + eps)

becomes

    xc[n, d]   = x[n, d] - mu[d]
    rstd[d]    = 1/sqrt(var[d] + eps)
    xhat[n, d] = xc[n, d]*rstd[d]

so that each local derivative can be written through values that are already
computed. Named are: a nonlinear reduction and an expensive function inside a
larger expression, a root of a sum, a difference inside a product or a power,
what is normalized by a statistic of its own inside a longer product (``xhat``),
and the compound argument of a function whose derivative reads it. A name that
nothing but its one user reads in the end is written back into that user.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container
from dataclasses import replace

from sympy import (
    Abs,
    Add,
    Expr,
    Mul,
    Pow,
    S,
    acos,
    asin,
    atan,
    cos,
    cosh,
    erf,
    erfc,
    exp,
    log,
    sin,
    sinh,
    tan,
    tanh,
)

from derive.algebra.functions import BY_CLASS, Expm1, LogAddExp, LogSigmoid, Sigmoid, Softplus, StopGradient, Where
from derive.algebra.indices import elements, free_indices, is_binder, names, rebuild
from derive.algebra.nodes import (
    ArgMax,
    Delta,
    Element,
    Hyper,
    Index,
    LogSoftmax,
    LogSumExp,
    Max,
    Mean,
    Min,
    Norm,
    Padded,
    Prod,
    Softmax,
    Std,
    Sum,
    Var,
)
from derive.algebra.places import all_inside
from derive.algebra.terms import unify
from derive.calculus.deltas import with_deltas
from derive.calculus.hoisting import hoisted
from derive.calculus.program import Stage, Step
from derive.language.layer import Layer, Statement
from derive.language.loops import flat, loops

__all__ = ["name_intermediates"]

_OWN_REDUCTIONS = (Max, Min, Prod, LogSumExp, Norm, Softmax, LogSoftmax, Var, Std)
_EXPENSIVE = (
    exp, log, tanh, sin, cos, tan, sinh, cosh, asin, acos, atan, erf, erfc, Sigmoid, Softplus, LogSigmoid, Expm1,
    LogAddExp,
)  # fmt: skip


class _Names:
    """The names in use, and the statements made so far."""

    def __init__(self, layer: Layer) -> None:
        self.taken = {p.name for p in layer.parameters} | {s.name for s in layer.statements}
        self.taken |= {h.name for h in layer.hypers} | {s.name for s in layer.sizes}
        self.taken |= {d.size.name for d in layer.derived}
        self.taken |= {"d" + name for name in self.taken}
        self.by_value: dict[Expr, Element] = {}
        self.axes = {p.name: p.axes for p in layer.parameters} | {s.name: s.axes for s in layer.statements}
        self.made: list[Statement] = []
        self.steps: list[Step] = []
        self.current = ""
        self.places = {p.name: k for k, p in enumerate(layer.parameters)}
        self.spreads: set[str] = set()
        self.differences: set[str] = set()
        self.squares: set[str] = set()
        self.reciprocals: set[str] = set()
        self.behind: dict[str, frozenset[str]] = {}
        self.repeated: Counter[Expr] = Counter()
        for statement in layer.statements:
            self.repeated.update(_sums(statement.expr))

    def reading(self, expr: Expr) -> Element | None:
        """Return the name that holds a value, possibly under other letters: ``xc[m, d]`` for ``x[m, d] - mu[d]``."""
        known = self.by_value.get(expr)
        if known is not None:
            return known
        for value, target in self.by_value.items():
            mapping: dict[Expr, Expr] = {}
            variables = frozenset(target.subscripts)
            if type(value) is not type(expr) or not unify(value, expr, mapping, variables):
                continue
            if set(mapping) == variables and all_inside(mapping, [value], self.axes):
                return Element(target.tensor, *(mapping[s] for s in target.subscripts))
        return None

    def note(self, name: str, expr: Expr) -> None:
        """Remember what kind of value a name holds, and all that it depends on."""
        reads = names(expr)
        self.behind[name] = reads.union(*(self.behind.get(r, frozenset()) for r in reads))
        if _is_spread(expr, self.differences):
            self.spreads.add(name)
        elif isinstance(expr, Mean) and isinstance(expr.body, Pow) and expr.body.exp == 2:
            self.squares.add(name)
        if isinstance(expr, Pow) and expr.exp.is_negative:
            self.reciprocals.add(name)

    def choose(self, wish: str) -> str:
        name, number = wish, 2
        while name in self.taken or "d" + name in self.taken:
            name, number = f"{wish}{number}", number + 1
        self.taken |= {name, "d" + name}
        return name


def name_intermediates(
    layer: Layer, finished: int = 0
) -> tuple[tuple[Statement, ...], frozenset[str], tuple[Step, ...]]:
    """Return the layer's statements with intermediates named, the new names, and the steps.

    The first ``finished`` statements stay as they are; what they hold is read by its name.
    """
    layer = replace(layer, statements=with_deltas(layer.statements))
    names_ = _Names(layer)
    statements, before = hoisted(layer.statements, names_.choose)
    for statement in before:
        why = "it reads nothing of the loop, so it is computed for all steps before it"
        names_.steps.append(Step(Stage.NAME, statement.target, statement.expr, why))
    result: list[Statement] = []
    automatic: set[str] = set()
    done = {s.name for s in layer.statements[:finished]}
    for statement in statements:
        if statement.name in done:
            result.append(statement)
            if statement.kind.differentiable:
                if isinstance(statement.expr, Add) and _is_difference(statement.expr):
                    names_.differences.add(statement.name)
                names_.by_value.setdefault(statement.expr, statement.target)
                names_.note(statement.name, statement.expr)
            continue
        if not statement.kind.differentiable:
            result.append(statement)
            continue
        names_.current = statement.name
        expr = _visit_top(_with_repeated_named(statement, names_), names_)
        for made in names_.made:
            result.append(made)
            automatic.add(made.name)
        names_.made.clear()
        result.append(statement if expr is statement.expr else _with(statement, expr))
        if statement.carry is None:
            names_.by_value.setdefault(expr, statement.target)
        names_.note(statement.name, expr)
    return flat(loops(result)), frozenset(automatic), tuple(names_.steps)


def _is_spread(expr: Expr, differences: Container[str]) -> bool:
    """Whether a statement is a mean or a scaled sum of squared differences: a variance."""
    reductions = [f for f in Mul.make_args(expr) if isinstance(f, (Sum, Mean))]
    if len(reductions) != 1:
        return False
    body = reductions[0].body
    return isinstance(body, Pow) and body.exp == 2 and isinstance(body.base, Element) and body.base.name in differences


def _sums(expr: Expr) -> list[Expr]:
    """Every sum ``a + b`` in an expression, with repetitions."""
    found = [expr] if isinstance(expr, Add) else []
    for arg in expr.args:
        found += _sums(arg)
    return found


def _with(statement: Statement, expr: Expr) -> Statement:
    return replace(statement, expr=expr)


def _with_repeated_named(statement: Statement, state: _Names) -> Statement:
    """Name what a statement has written out more than once: the argument of ``gelu(sum[i](x[n, i]*w[i, j]))``."""
    expr = statement.expr
    while True:
        counts = Counter(_compounds(expr, frozenset()))
        repeated = [e for e, count in counts.items() if count > 1 and free_indices(e) <= set(statement.indices)]
        if not repeated:
            return statement if expr is statement.expr else _with(statement, expr)
        part = max(repeated, key=lambda e: (_nodes(e), str(e)))
        wish = _reduction_name(part) if isinstance(part, (Sum, Mean)) else f"pre_{state.current}"
        target = _name(_inside(part, statement.indices, state, linear=True), wish, statement.indices, state)
        expr = _replaced(expr, part, target)


def _compounds(expr: Expr, bound: frozenset[Index]) -> list[Expr]:
    """The sums in an expression, over indices and of terms with these, that do not depend on ``bound``."""
    if not expr.args or isinstance(expr, Element):
        return []
    found = []
    whole = isinstance(expr, (Sum, Mean)) or (isinstance(expr, Add) and expr.has(Sum, Mean))
    if whole and free_indices(expr).isdisjoint(bound) and any(e.kind.differentiable for e in elements(expr)):
        found.append(expr)
    inner = bound | set(expr.indices) if is_binder(expr) else bound
    for arg in expr.args[:1] if is_binder(expr) else expr.args:
        found += _compounds(arg, inner)
    return found


def _nodes(expr: Expr) -> int:
    return 1 + sum(map(_nodes, expr.args))


def _replaced(expr: Expr, part: Expr, target: Element) -> Expr:
    """Read ``part`` by its name, except where one of its letters is bound to something else."""
    if expr == part:
        return target
    if not expr.args or isinstance(expr, Element):
        return expr
    if is_binder(expr):
        if not free_indices(part).isdisjoint(expr.indices):
            return expr
        return rebuild(expr, (_replaced(expr.args[0], part, target), *expr.args[1:]))
    return rebuild(expr, (_replaced(a, part, target) for a in expr.args))


def _with_factors_named(body: Expr, bound: tuple[Index, ...], order: tuple[Index, ...], state: _Names) -> Expr:
    """Name ``gate[n, f]*up[n, f]`` in ``sum[f](gate[n, f]*up[n, f]*w[f, d])``: one contraction back serves both."""
    sized = [f for f in Mul.make_args(body) if any(e.kind.differentiable for e in elements(f))]
    for rest in sized:
        others = [f for f in sized if f is not rest]
        along = frozenset().union(*map(free_indices, others))
        whole = any(free_indices(f) == along for f in others)
        if len(others) < 2 or not whole or free_indices(rest) <= along or rest.has(Sum, Mean):
            continue
        if not along & free_indices(rest) & set(bound):
            continue
        product = _inside(Mul(*others), order, state, linear=False)
        factors = [f for f in Mul.make_args(body) if f not in others]
        return Mul(*factors, _name(product, f"pre_{state.current}", order, state))
    return body


def _visit_top(statement: Statement, state: _Names) -> Expr:
    """Name what is inside the statement's expression, not the expression itself."""
    order = statement.indices
    expr = statement.expr
    if not expr.args or isinstance(expr, Element):
        return expr
    return _inside(expr, order, state, linear=True)


def _inside(expr: Expr, order: tuple[Index, ...], state: _Names, *, linear: bool) -> Expr:
    """Rebuild ``expr`` with its parts read by name; ``expr`` itself stays an expression.

    ``linear``: sums and means among the terms are steps of their own already
    and need no name.
    """
    if not expr.args or isinstance(expr, (Element, Padded, Delta, ArgMax)):
        return expr
    if is_binder(expr):
        inner = tuple(i for i in order if i in free_indices(expr.body))
        inner = (*inner, *(i for i in expr.indices if i not in inner))  # softmax[s] keeps the s of the statement
        if isinstance(expr, (Sum, Mean)):
            body = _with_factors_named(expr.body, expr.indices, inner, state)
            return rebuild(expr, (_inside(body, inner, state, linear=True), *expr.args[1:]))
        return rebuild(expr, (_argument(expr.body, inner, state), *expr.args[1:]))
    if isinstance(expr, Add):
        return rebuild(expr, (_term(a, order, state, linear=linear) for a in expr.args))
    if isinstance(expr, Mul):
        sized = [f for f in expr.args if names(f)]
        product = rebuild(expr, (_factor(f, order, state, linear=linear and len(sized) == 1) for f in expr.args))
        return _with_normalized(product, order, state)
    if isinstance(expr, Pow):
        if isinstance(expr.base, Add) and _is_difference(expr.base):
            return rebuild(expr, (_factor(expr.base, order, state, linear=False), expr.exp))
        return rebuild(expr, (_part(expr.base, order, state), _part(expr.exp, order, state)))
    if isinstance(expr, Abs) and isinstance(expr.args[0], Add) and _is_difference(expr.args[0]):
        return Abs(_factor(_forwards(expr.args[0], state), order, state, linear=False))
    if isinstance(expr, Where):
        condition, *branches = expr.args
        return Where(condition, *(_branch(b, order, state) for b in branches))
    return rebuild(expr, (_argument(a, order, state) for a in expr.args))


def _argument(expr: Expr, order: tuple[Index, ...], state: _Names) -> Expr:
    """What a function or a nonlinear reduction is applied to: a name for a pre-activation.

    ``tanh(b[j] + sum[i](x[n, i]*w[i, j]))``: every gradient behind it reads the
    cotangent of the whole argument. Nothing is gained where one tensor is behind it.
    """
    if isinstance(expr, Add) and _is_difference(expr) and any(a.could_extract_minus_sign() for a in expr.args):
        return _factor(expr, order, state, linear=False)
    behind = {e.name for e in elements(expr) if e.kind.differentiable}
    if isinstance(expr, (Add, Mul, Sum, Mean)) and (len(behind) > 1 or expr.has(Sum, Mean)):
        new = _inside(expr, order, state, linear=True)
        known = state.by_value.get(new)
        return known if known is not None else _name(new, f"pre_{state.current}", order, state)
    return _part(expr, order, state)


def _branch(expr: Expr, order: tuple[Index, ...], state: _Names) -> Expr:
    """A branch of ``where``: its derivative is written into the same ``where``, so only contractions get a name."""
    return _argument(expr, order, state) if expr.has(Sum, Mean) else _part(expr, order, state)


def _with_normalized(expr: Expr, order: tuple[Index, ...], state: _Names) -> Expr:
    """Name what is normalized by a statistic of its own inside a longer product.

    ``gamma[d]*x[n, d]/rms[n]`` is ``gamma[d]*xhat[n, d]``: the gradients of
    ``gamma`` and of ``x`` both read ``xhat``.
    """
    factors = [f for f in Mul.make_args(expr) if names(f)]
    if len(factors) < 3:
        return expr
    for whole in factors:
        if not isinstance(whole, Element) or not whole.kind.differentiable or free_indices(whole) != free_indices(expr):
            continue
        sources = {whole.name} | state.behind.get(whole.name, frozenset())
        for statistic in factors:
            divides = isinstance(statistic, Pow) and statistic.exp.is_negative
            divides = divides or (isinstance(statistic, Element) and statistic.name in state.reciprocals)
            if not divides or not free_indices(statistic) < free_indices(whole):
                continue
            read = names(statistic)
            if not sources & read.union(*(state.behind.get(r, frozenset()) for r in read)):
                continue
            stem = whole.name[:-1] if whole.name in state.differences and whole.name.endswith("c") else whole.name
            rest = [f for f in Mul.make_args(expr) if f not in (whole, statistic)]
            product = whole * statistic
            return Mul(*rest, state.reading(product) or _name(product, f"{stem}hat", order, state))
    return expr


def _term(expr: Expr, order: tuple[Index, ...], state: _Names, *, linear: bool) -> Expr:
    """A term of a sum."""
    if linear and isinstance(expr, (Sum, Mean)):
        return _inside(expr, order, state, linear=True)
    if isinstance(expr, Mul):
        return _inside(expr, order, state, linear=linear)
    return _part(expr, order, state)


def _part(expr: Expr, order: tuple[Index, ...], state: _Names) -> Expr:
    """A proper part of a statement: named if it is worth a name."""
    if not expr.args or isinstance(expr, (Element, Padded, Delta, StopGradient, ArgMax)):
        return expr
    known = state.by_value.get(expr)
    if known is not None and isinstance(expr, (*_OWN_REDUCTIONS, *_EXPENSIVE, Pow)):
        return known
    if isinstance(expr, Add) and state.repeated.get(expr, 0) > 1 and _is_difference(expr):
        return _factor(expr, order, state, linear=False)
    wish = _worth(expr, state)
    new = _inside(expr, order, state, linear=False)
    known = state.by_value.get(new)
    if known is not None and not isinstance(new, (Element, Mul)):
        return known
    if wish is None or not names(new):
        return new
    return _name(new, wish(new), order, state)


def _factor(expr: Expr, order: tuple[Index, ...], state: _Names, *, linear: bool) -> Expr:
    """A factor of a product."""
    if linear and isinstance(expr, (Sum, Mean)):
        return _inside(expr, order, state, linear=True)
    power, base = S.One, expr
    if isinstance(expr, Pow) and expr.exp.is_Rational:
        base, power = expr.args
    if isinstance(base, Add) and _is_difference(base):
        new = _inside(base, order, state, linear=False)
        difference = state.reading(new) or _name(new, _difference_name(new), order, state)
        state.differences.add(difference.name)
        return difference**power
    if power.is_negative and type(base) in BY_CLASS and names(base):
        # A denominator is read once more for each derivative.
        new = _inside(base, order, state, linear=False)
        bottom = state.by_value.get(new) or _name(new, _function_name(new), order, state)
        return bottom**power
    if isinstance(base, Add) and power.is_Rational and power.q == 2 and (names(base)):
        new = _inside(base, order, state, linear=False)
        root = Pow(new, power)
        known = state.by_value.get(root)
        if known is not None:
            return known
        inverse = state.by_value.get(1 / root)
        if inverse is not None:
            return 1 / inverse
        return _name(root, _root_name(root, state), order, state)
    return _part(expr, order, state)


def _name(expr: Expr, wish: str, order: tuple[Index, ...], state: _Names) -> Element:
    indices = _axes(expr, order)
    name = state.choose(wish)
    statement = Statement(name, indices, expr)
    state.made.append(statement)
    target = statement.target
    state.by_value[expr] = target
    state.note(name, expr)
    state.steps.append(Step(Stage.NAME, target, expr, "give the intermediate result a name"))
    return target


def _axes(expr: Expr, order: tuple[Index, ...]) -> tuple[Index, ...]:
    """The free indices in the order of the element that has all of them, else in the given order."""
    free = free_indices(expr)
    for element in elements(expr):
        if frozenset(element.subscripts) == free and len(element.subscripts) == len(free):
            return element.subscripts
    return tuple(i for i in order if i in free)


def _is_difference(expr: Add) -> bool:
    """A sum of two or more elements with numeric or scalar factors: ``x[n, d] - mu[d]``."""
    sized = 0
    for term in expr.args:
        atoms = [f for f in Mul.make_args(term) if not f.is_number]
        if any(not isinstance(a, (Element, Hyper)) for a in atoms) or len(atoms) > 1:
            return False
        sized += sum(isinstance(a, Element) for a in atoms)
    return sized >= 2 and any(e.kind.differentiable for e in elements(expr))


def _forwards(expr: Expr, state: _Names) -> Expr:
    """``x - t`` for SymPy's ``t - x`` inside an even function: what is listed first comes first."""
    terms = {e.name: t for t in expr.args for e in elements(t)}
    first = min(terms, key=lambda name: state.places.get(name, len(state.places)))
    return -expr if terms[first].could_extract_minus_sign() else expr


def _difference_name(expr: Expr) -> str:
    """``xc`` for x less its own mean, ``diff`` for two others, ``total`` for what is added."""
    tensors = [e.name for e in elements(expr)]
    main = max(elements(expr), key=lambda e: len(e.subscripts))
    if len(tensors) == 2:
        other = next(e for e in elements(expr) if e is not main)
        if len(other.subscripts) < len(main.subscripts):
            return main.name + "c"
    return "diff" if any(term.could_extract_minus_sign() for term in expr.args) else "total"


def _root_name(root: Expr, state: _Names) -> str:
    inverse = root.exp.is_negative
    means = [e.name for e in elements(root)]
    if any(n in state.spreads or n.startswith("var") for n in means):
        return "rstd" if inverse else "std"
    if any(n in state.squares for n in means):
        return "rrms" if inverse else "rms"
    stem = means[0] if len(means) == 1 else "root"
    if root.base.has(Mean, Sum):
        return "rrms" if inverse else "rms"
    return f"r{stem}" if inverse else f"root_{stem}" if stem != "root" else "root"


def _stem(expr: Expr) -> str:
    read = [e.name for e in elements(expr) if e.kind.differentiable]
    return read[0] if read else ""


def _function_name(expr: Expr) -> str:
    if isinstance(expr, LogAddExp):
        return "lse"
    word = BY_CLASS[type(expr)].name
    stem = _stem(expr)
    if expr.args[0].could_extract_minus_sign():
        word += "_neg"
    return f"{word}_{stem}" if stem else f"{word}_value"


def _reduction_name(expr: Expr) -> str:
    word = {"softmax": "p", "log_softmax": "logp", "logsumexp": "lse"}.get(expr.word)
    factors = [f for f in Mul.make_args(expr.args[0]) if names(f)]
    if isinstance(expr, Sum) and len(factors) == 2 and all(isinstance(f, Element) for f in factors):
        return "_dot_".join(sorted(f.name for f in factors))
    return word or f"{expr.word}_{_stem(expr)}"


def _worth(expr: Expr, state: _Names) -> Callable[[Expr], str] | None:
    if isinstance(expr, _OWN_REDUCTIONS):
        return _reduction_name
    if isinstance(expr, (Sum, Mean)):
        return _reduction_name
    if isinstance(expr, _EXPENSIVE):
        return _function_name
    if isinstance(expr, Pow) and expr.exp.is_Rational and expr.exp.q == 2 and isinstance(expr.base, Add):
        return lambda e: _root_name(e, state)
    return None

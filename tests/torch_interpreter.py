"""Layer files run by PyTorch: an interpreter of their text that shares nothing with the program.

Python's ``ast`` reads the text. Every expression becomes a dense tensor with an
axis for each index in scope, every read an advanced indexing with broadcast
subscripts; PyTorch's autograd does the rest. Slow and simple on purpose.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

_UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "exp": torch.exp, "expm1": torch.expm1, "log": torch.log, "log1p": torch.log1p, "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt, "square": torch.square, "abs": torch.abs, "sign": torch.sign, "sin": torch.sin,
    "cos": torch.cos, "tan": torch.tan, "asin": torch.asin, "acos": torch.acos, "atan": torch.atan,
    "sinh": torch.sinh, "cosh": torch.cosh, "tanh": torch.tanh, "sigmoid": torch.sigmoid,
    "log_sigmoid": torch.nn.functional.logsigmoid, "softplus": lambda x: torch.logaddexp(x, torch.zeros_like(x)),
    "relu": torch.relu, "erf": torch.erf, "erfc": torch.erfc, "lgamma": torch.lgamma, "digamma": torch.digamma,
    "floor": torch.floor, "ceil": torch.ceil, "round": torch.round, "stop_gradient": torch.Tensor.detach,
}  # fmt: skip
_REDUCTIONS: dict[str, Callable[[Tensor, list[int]], Tensor]] = {
    "sum": lambda x, d: x.sum(d, keepdim=True),
    "mean": lambda x, d: x.mean(d, keepdim=True),
    "max": lambda x, d: x.amax(d, keepdim=True),
    "min": lambda x, d: x.amin(d, keepdim=True),
    "var": lambda x, d: x.var(d, correction=0, keepdim=True),
    "std": lambda x, d: x.var(d, correction=0, keepdim=True).sqrt(),
    "logsumexp": lambda x, d: x.logsumexp(d, keepdim=True),
    "norm": lambda x, d: x.square().sum(d, keepdim=True).sqrt(),
    "softmax": lambda x, d: (x - x.logsumexp(d, keepdim=True)).exp(),
    "log_softmax": lambda x, d: x - x.logsumexp(d, keepdim=True),
}
_KEEPING = ("softmax", "log_softmax")
_CONSTANTS = {"pi": math.pi, "e": math.e, "inf": math.inf}


@dataclass(frozen=True)
class _Scope:
    """What names mean at one place: tensors, sizes and hyper-parameters, and the axis and length of each index."""

    layers: Mapping[str, ast.FunctionDef]
    values: dict[str, Tensor]
    sizes: dict[str, int]
    hypers: dict[str, float]
    batch: tuple[int, ...] = ()
    indices: dict[str, tuple[int, int]] = field(default_factory=dict)
    rank: int = 0
    steps: dict[str, int] = field(default_factory=dict)
    history: dict[str, list[Tensor]] = field(default_factory=dict)
    along: int = 0


def run(text: str, name: str, tensors: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    """Return the outputs of a layer of a file, for parameters by name; hyper-parameters have their defaults."""
    layers = {d.name: d for d in ast.parse(text).body if isinstance(d, ast.FunctionDef)}
    return _call(layers, name, [tensors[a.arg] for a in layers[name].args.args], {})


def _call(
    layers: Mapping[str, ast.FunctionDef], name: str, tensors: list[Tensor], given: Mapping[str, float]
) -> tuple[Tensor, ...]:
    definition = layers[name]
    names = [a.arg for a in definition.args.args]
    scope = _Scope(layers, dict(zip(names, tensors, strict=True)), {}, {})
    for argument, tensor in zip(definition.args.args, tensors, strict=True):
        scope = _with_sizes(scope, argument, tensor)
    for argument, default in zip(definition.args.kwonlyargs, definition.args.kw_defaults, strict=True):
        scope.hypers[argument.arg] = given.get(argument.arg, ast.literal_eval(default) if default else math.nan)
    declared: dict[str, list[ast.expr]] = {}
    starts: dict[str, ast.Assign] = {}
    body = list(definition.body)
    while body:
        node = body.pop(0)
        if isinstance(node, ast.Return):
            results = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            return tuple(scope.values[_name(r)] for r in results)
        if isinstance(node, ast.AnnAssign):
            declared[_name(node.target)] = (
                _listed(node.annotation.slice) if isinstance(node.annotation, ast.Subscript) else []
            )
        elif isinstance(node, ast.Assign):
            target = node.targets[0]
            if (
                isinstance(node.value, ast.Call)
                and _called(node.value) in layers
                and not isinstance(target, ast.Subscript)
            ):
                hypers = {k.arg: _integer(k.value, scope) for k in node.value.keywords if k.arg}
                arguments = [scope.values[_name(a)] for a in node.value.args]
                outputs = _call(layers, _called(node.value), arguments, hypers)
                targets = target.elts if isinstance(target, ast.Tuple) else [target]
                scope.values.update(zip(map(_name, targets), outputs, strict=True))
            elif isinstance(target, ast.Name) and target.id[0].isupper():
                scope.sizes[target.id] = int(_integer(node.value, scope))
            elif _is_start(target):
                starts[_name(target)] = node
            elif starts and _reads_step(node, starts):
                group = [node]
                while body and isinstance(body[0], ast.Assign) and _belongs(body, starts, group):
                    group.append(body.pop(0))  # type: ignore[arg-type]
                _recur(scope, starts, group, declared)
                starts = {}
            else:
                scope.values[_name(target)] = _statement(scope, node, declared)
    raise AssertionError("a layer returns")


def _with_sizes(scope: _Scope, argument: ast.arg, tensor: Tensor) -> _Scope:
    if not isinstance(argument.annotation, ast.Subscript):
        return scope
    axes = _listed(argument.annotation.slice)
    if axes and isinstance(axes[0], ast.Constant) and axes[0].value is ...:
        axes = axes[1:]
        scope = replace(scope, batch=tuple(tensor.shape[: tensor.ndim - len(axes)]))
    for axis, length in zip(axes, tensor.shape[tensor.ndim - len(axes) :], strict=True):
        if isinstance(axis, ast.Name):
            scope.sizes[axis.id] = length
    return scope


def _statement(
    scope: _Scope, node: ast.Assign, declared: Mapping[str, list[ast.expr]], known: Mapping[str, int] | None = None
) -> Tensor:
    target = node.targets[0]
    letters = [s.id for s in _subscripts(target) if isinstance(s, ast.Name)]
    lengths = {**_lengths(scope, node, declared), **(known or {})}
    inner = _opened(scope, letters, lengths)
    value = _dense(_value(node.value, inner), inner, batch=_batched(target))
    return value.reshape((*scope.batch * _batched(target), *(lengths[i] for i in letters)))


def _batched(target: ast.expr) -> bool:
    return any(isinstance(s, ast.Constant) and s.value is ... for s in _subscripts(target))


def _opened(scope: _Scope, letters: list[str], lengths: Mapping[str, int]) -> _Scope:
    """Return the scope with one more axis at the end for each letter; the batch's axes come first."""
    rank = scope.rank or len(scope.batch)
    indices = dict(scope.indices)
    for k, letter in enumerate(letters):
        indices[letter] = (rank + k, lengths[letter])
    return replace(scope, indices=indices, rank=rank + len(letters))


def _dense(value: Tensor, scope: _Scope, *, batch: bool) -> Tensor:
    """Return the value with every index's whole axis, and the batch's where it is asked for."""
    value = value if value.ndim == scope.rank else _padded_rank(value, scope.rank)
    lengths = dict(scope.indices.values())
    if batch:
        lengths.update(enumerate(scope.batch))
    return value.expand([lengths.get(k, n) for k, n in enumerate(value.shape)])


def _padded_rank(value: Tensor, rank: int) -> Tensor:
    return value.reshape(*value.shape, *(1,) * (rank - value.ndim))


def _lengths(scope: _Scope, node: ast.Assign, declared: Mapping[str, list[ast.expr]]) -> dict[str, int]:
    """Return the length of every index of a statement: of the axes at whose places it stands alone, or declared."""
    found: dict[str, int] = {}
    name = _name(node.targets[0])
    letters = [s for s in _subscripts(node.targets[0]) if isinstance(s, ast.Name)]
    if name in declared:
        axes = [a for a in declared[name] if not (isinstance(a, ast.Constant) and a.value is ...)]
        found.update({i.id: int(_integer(a, scope)) for i, a in zip(letters, axes, strict=True)})
    for each in ast.walk(node.value):
        if isinstance(each, ast.Subscript):
            parts = _listed(each.slice)
            for part in parts:
                if isinstance(part, ast.Slice) and isinstance(part.lower, ast.Name) and part.upper is not None:
                    found[part.lower.id] = int(_integer(part.upper, scope))
            owner = each.value.args[0] if isinstance(each.value, ast.Call) else each.value
            if isinstance(owner, ast.Name) and owner.id in scope.values:
                tensor = scope.values[owner.id]
                if parts and isinstance(parts[0], ast.Constant) and parts[0].value is ...:
                    parts = parts[1:]
                for part, length in zip(parts, tensor.shape[tensor.ndim - len(parts) :], strict=True):
                    if isinstance(part, ast.Name) and not _is_label(part.id, scope):
                        found.setdefault(part.id, length)
    return found


def _is_label(name: str, scope: _Scope) -> bool:
    return name in scope.values and scope.values[name].ndim == 0


def _value(node: ast.expr, scope: _Scope) -> Tensor:
    """Return an expression over all indices in scope: a tensor whose axes are theirs or have length 1."""
    match node:
        case ast.Constant(value=bool() | int() | float() as number):
            return _scalar(float(number), scope)
        case ast.Name(id=name):
            return _named(name, scope)
        case ast.BinOp():
            left, right = _value(node.left, scope), _value(node.right, scope)
            return _BINARY[type(node.op)](left, right)
        case ast.UnaryOp(op=ast.USub()):
            return -_value(node.operand, scope)
        case ast.UnaryOp(op=ast.Not()):
            return _value(node.operand, scope).logical_not()
        case ast.BoolOp():
            values = [_value(v, scope).bool() for v in node.values]
            joined = values[0]
            for value in values[1:]:
                joined = joined & value if isinstance(node.op, ast.And) else joined | value
            return joined
        case ast.Compare():
            return _COMPARE[type(node.ops[0])](_value(node.left, scope), _value(node.comparators[0], scope))
        case ast.Subscript(value=ast.Call() as call):
            return _read(_name(call.args[0]), _listed(node.slice), scope, _fill(call, scope))
        case ast.Subscript():
            return _read(_name(node.value), _listed(node.slice), scope, None)
        case ast.Call(func=ast.Subscript() as head):
            return _reduction(_name(head.value), _listed(head.slice), node.args[0], scope)
        case ast.Call(func=ast.Name(id=name)) if name in scope.layers:
            arguments = torch.broadcast_tensors(*(_value(a, scope) for a in node.args))
            hypers = {k.arg: _integer(k.value, scope) for k in node.keywords if k.arg}
            (result,) = _call(scope.layers, name, list(arguments), hypers)
            return result
        case ast.Call():
            return _function(_called(node), [_value(a, scope) for a in node.args])
    raise AssertionError(ast.unparse(node))


def _fill(call: ast.Call, scope: _Scope) -> float:
    return float(_value(call.args[1], scope).reshape(())) if len(call.args) > 1 else 0.0


def _scalar(number: float, scope: _Scope) -> Tensor:
    return torch.full((1,) * scope.rank, number, dtype=torch.float64)


def _named(name: str, scope: _Scope) -> Tensor:
    if name in scope.steps:
        return _scalar(scope.steps[name], scope)
    if name in scope.indices:
        axis, length = scope.indices[name]
        return torch.arange(length, dtype=torch.float64).reshape(
            [length if k == axis else 1 for k in range(scope.rank)]
        )
    if name in scope.sizes:
        return _scalar(scope.sizes[name], scope)
    if name in scope.hypers:
        return _scalar(scope.hypers[name], scope)
    if name in scope.values:
        return scope.values[name].reshape((1,) * scope.rank)
    return _scalar(_CONSTANTS[name], scope)


def _read(name: str, subscripts: list[ast.expr], scope: _Scope, fill: float | None) -> Tensor:
    batched = bool(subscripts) and isinstance(subscripts[0], ast.Constant) and subscripts[0].value is ...
    places = [_value(s, scope).to(torch.int64) for s in (subscripts[1:] if batched else subscripts)]
    if name in scope.history:
        (step,) = {int(p) for p in places[scope.along].reshape(-1)}
        tensor = scope.history[name][step + 1]
        places = places[: scope.along] + places[scope.along + 1 :]
    else:
        tensor = scope.values[name]
    width = tensor.ndim - len(places)
    assert width == len(scope.batch) * batched, name
    front = [
        torch.arange(n).reshape([n if k == j else 1 for j in range(scope.rank)])
        for k, n in enumerate(tensor.shape[:width])
    ]
    inside = torch.ones((1,) * scope.rank, dtype=torch.bool)
    clipped = []
    for place, length in zip(places, tensor.shape[width:], strict=True):
        inside = inside & (place >= 0) & (place < length)
        clipped.append(place.clamp(0, length - 1))
    if fill is None:
        assert bool(inside.all()), f"{name}[{', '.join(map(ast.unparse, subscripts))}] leaves its axis"
    if not front and not clipped:
        return tensor.reshape((1,) * scope.rank)
    value = tensor[(*front, *clipped)]
    return value if fill is None else torch.where(inside, value, torch.full_like(value, fill))


def _reduction(name: str, heads: list[ast.expr], body: ast.expr, scope: _Scope) -> Tensor:
    batch = any(isinstance(head, ast.Constant) and head.value is ... for head in heads)
    heads = [head for head in heads if not isinstance(head, ast.Constant)]
    letters = [_name(head.lower if isinstance(head, ast.Slice) else head) for head in heads]
    if name in _KEEPING:
        return _REDUCTIONS[name](
            _dense(_value(body, scope), scope, batch=False), [scope.indices[i][0] for i in letters]
        )
    whole = ast.Assign([ast.Name("_")], ast.Call(ast.Subscript(ast.Name("_"), ast.Tuple(heads)), [body], []))
    inner = _opened(scope, letters, _lengths(scope, whole, {}))
    value = _dense(_value(body, inner), inner, batch=batch)
    axes = [*range(len(scope.batch) * batch), *range(scope.rank, inner.rank)]
    if name == "prod":
        for axis in axes:
            value = value.prod(axis, keepdim=True)
    elif name == "argmax":
        (axis,) = axes
        value = value.argmax(axis, keepdim=True).to(torch.float64)
    else:
        value = _REDUCTIONS[name](value, axes)
    return value.reshape(value.shape[: scope.rank])


def _function(name: str, arguments: list[Tensor]) -> Tensor:
    if name == "where":
        condition, *branches = arguments
        return torch.where(condition.bool(), *branches)
    if name == "clip":
        value, low, high = arguments
        return torch.clamp(value, float(low.reshape(-1)[0]), float(high.reshape(-1)[0]))
    if name in ("maximum", "minimum"):
        return getattr(torch, name)(*arguments)  # type: ignore[no-any-return]
    return _UNARY[name](arguments[0])


def _recur(
    scope: _Scope, starts: Mapping[str, ast.Assign], group: list[ast.Assign], declared: Mapping[str, list[ast.expr]]
) -> None:
    along = next(k for k, s in enumerate(_plain(next(iter(starts.values())).targets[0])) if isinstance(s, ast.UnaryOp))
    letter = _name(_plain(group[0].targets[0])[along])
    steps = next(n[letter] for node in group if letter in (n := _lengths(scope, node, declared)))
    lengths: dict[str, dict[str, int]] = {}
    for _ in group:  # a statement may know an axis by a name of the loop that comes later
        for node in group:
            known = {**_lengths(scope, node, declared), letter: steps}
            for read in (e for e in ast.walk(node.value) if isinstance(e, ast.Subscript)):
                axes = lengths.get(_name(read.value.args[0] if isinstance(read.value, ast.Call) else read.value), {})
                known.update(
                    {
                        place.id: n
                        for place, n in zip(_plain(read), axes.values(), strict=False)
                        if isinstance(place, ast.Name)
                    }
                )
            letters = [_name(s) for s in _plain(node.targets[0])]
            if all(i in known for i in letters):
                lengths[_name(node.targets[0])] = {i: known[i] for i in letters}
    history: dict[str, list[Tensor]] = {}
    for name, start in starts.items():
        axes = dict(zip(map(ast.unparse, _plain(start.targets[0])), lengths[name].values(), strict=True))
        history[name] = [_statement(scope, _without(start, along, name), {}, axes)]
    made: dict[str, list[Tensor]] = {_name(node.targets[0]): [] for node in group}
    shapes = {
        name: torch.empty((*scope.batch * _batched(node.targets[0]), *lengths[name].values()))
        for node in group
        if (name := _name(node.targets[0]))
    }
    for step in range(steps):
        inner = replace(scope, values={**scope.values, **shapes}, steps={letter: step}, along=along)
        for node in group:
            name = _name(node.targets[0])
            now = replace(inner, history=_so_far(history, made))
            made[name].append(_statement(now, _without(node, along, "_"), {}, lengths[name]))
    for name, values in made.items():
        front = shapes[name].ndim - len(lengths[name])
        scope.values[name] = torch.stack(values, front + along)


def _plain(target: ast.expr) -> list[ast.expr]:
    return [s for s in _subscripts(target) if not (isinstance(s, ast.Constant) and s.value is ...)]


def _without(node: ast.Assign, along: int, name: str) -> ast.Assign:
    """Return the statement without the axis of the recurrence on its left side."""
    kept = _subscripts(node.targets[0])
    kept.remove(_plain(node.targets[0])[along])
    return ast.Assign([ast.Subscript(ast.Name(name), ast.Tuple(kept))], node.value)


def _so_far(starts: Mapping[str, list[Tensor]], made: Mapping[str, list[Tensor]]) -> dict[str, list[Tensor]]:
    """Return the elements by step: the start at place 0, step t at place t + 1."""
    nothing = torch.zeros(())
    return {name: [*starts.get(name, [nothing]), *values] for name, values in made.items()}


def _is_start(target: ast.expr) -> bool:
    return any(isinstance(s, ast.UnaryOp) for s in _subscripts(target))


def _reads_step(node: ast.Assign, starts: Mapping[str, ast.Assign]) -> bool:
    return _name(node.targets[0]) in starts or any(
        isinstance(e, ast.Name) and e.id in starts for e in ast.walk(node.value)
    )


def _belongs(body: list[ast.stmt], starts: Mapping[str, ast.Assign], group: list[ast.Assign]) -> bool:
    """Whether the next statement is of the loop: a name with a start is still to come."""
    missing = set(starts) - {_name(g.targets[0]) for g in group}
    return bool(missing)


def _integer(node: ast.expr, scope: _Scope) -> float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.UnaryOp(op=ast.USub()):
            return -_integer(node.operand, scope)
        case ast.Name(id=name):
            return scope.sizes[name] if name in scope.sizes else scope.hypers[name]
        case ast.BinOp():
            left, right = _integer(node.left, scope), _integer(node.right, scope)
            return {
                ast.Add: left + right,
                ast.Sub: left - right,
                ast.Mult: left * right,
                ast.FloorDiv: left // (right or 1),
            }[type(node.op)]
    raise AssertionError(ast.unparse(node))


def _power(a: Tensor, b: Tensor) -> Tensor:
    return a ** (float(b.reshape(-1)[0]) if b.numel() == 1 and not b.requires_grad else b)


_BINARY: dict[type, Callable[[Tensor, Tensor], Tensor]] = {
    ast.Add: torch.add, ast.Sub: torch.sub, ast.Mult: torch.mul, ast.Div: torch.div, ast.Pow: _power,
    ast.FloorDiv: torch.floor_divide, ast.Mod: torch.remainder,
}  # fmt: skip
_COMPARE: dict[type, Callable[[Tensor, Tensor], Tensor]] = {
    ast.Lt: torch.lt, ast.LtE: torch.le, ast.Gt: torch.gt, ast.GtE: torch.ge, ast.Eq: torch.eq, ast.NotEq: torch.ne,
}  # fmt: skip


def _listed(node: ast.expr) -> list[ast.expr]:
    return list(node.elts) if isinstance(node, ast.Tuple) else [node]


def _subscripts(target: ast.expr) -> list[ast.expr]:
    return _listed(target.slice) if isinstance(target, ast.Subscript) else []


def _name(node: ast.expr | None) -> str:
    if isinstance(node, ast.Subscript):
        node = node.value
    assert isinstance(node, ast.Name), node
    return node.id


def _called(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else ""

"""Matrix products and their kin: contractions by name, by einsum's formula, distances, triangles, diagonals."""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from operators.call import Call, DoesNotApply, Given, Operator, Sample, arguments, pointwise

__all__ = ["OPERATORS", "contraction"]


def contraction(equation: str, *tensors: Tensor, scale: str = "", plus: str = "", **hypers: float) -> Call:
    """A sum of products in einsum's notation, ``ij,jk->ik``; ``plus`` is a term before it, over its last axes."""
    inputs, output = equation.split("->")
    operands = inputs.split(",")
    names = [f"x{k}" for k in range(len(operands))]
    shapes: dict[str, int] = {}
    for letters, tensor in zip(operands, tensors, strict=False):
        assert len(letters) == tensor.ndim, (letters, tensor.shape)
        for letter, size in zip(letters, tensor.shape, strict=True):
            shapes[letter] = max(size, shapes.get(letter, size)) if size != 0 else 0

    def axis(letter: str, size: int) -> tuple[str, str]:
        """An axis of 1 that stands for any size is read at 0."""
        return ("1", "0") if size == 1 != shapes[letter] else (f"N{letter}", f"i_{letter}")

    parameters, factors = [], []
    for name, letters, tensor in zip(names, operands, tensors, strict=False):
        axes = [axis(letter, size) for letter, size in zip(letters, tensor.shape, strict=True)]
        parameters.append(f"{name}: Real[{', '.join(a for a, _ in axes)}]" if axes else f"{name}: Real")
        factors.append(f"{name}[{', '.join(i for _, i in axes)}]" if axes else name)
    bound = sorted({letter for letters in operands for letter in letters} - set(output))
    product = " * ".join(factors)
    result = f"sum[{', '.join(f'i_{b}' for b in bound)}]({product})" if bound else product
    rest = list(tensors[len(operands) :])
    if plus:
        (added,) = rest
        places = output[len(output) - added.ndim :]
        axes = [axis(letter, size) for letter, size in zip(places, added.shape, strict=True)]
        parameters.insert(0, f"b: Real[{', '.join(a for a, _ in axes)}]" if axes else "b: Real")
        element = f"b[{', '.join(i for _, i in axes)}]" if axes else "b"
        result = f"{plus.format(b=element)} + {scale}{result}"
        tensors = (added, *tensors[: len(operands)])
    target = f"out[{', '.join(f'i_{o}' for o in output)}]" if output else "out"
    head = ", ".join(parameters) + (", *, " + ", ".join(f"{h}: Real = 1.0" for h in hypers) if hypers else "")
    return Call(f"def operator({head}):\n    {target} = {result}\n    return out\n", tensors, hypers)


def product(equation: str) -> Callable[[Sample], Call]:
    def call(sample: Sample) -> Call:
        return contraction(equation, sample.input, *sample.args)

    return call


def added(equation: str) -> Callable[[Sample], Call]:
    """``beta * input + alpha * product``."""

    def call(sample: Sample) -> Call:
        given = arguments(sample, "x y alpha beta", alpha=1, beta=1)
        hypers = {"alpha": float(given["alpha"]), "beta": float(given["beta"])}
        return contraction(
            equation, given["x"], given["y"], sample.input, plus="beta * {b}", scale="alpha * ", **hypers
        )

    return call


def matmul_of(a: Tensor, b: Tensor) -> Call:
    batch = string.ascii_lowercase[: max(a.ndim, b.ndim, 2) - 2]
    left = "k" if a.ndim == 1 else batch[len(batch) - a.ndim + 2 :] + "rk"
    right = "k" if b.ndim == 1 else batch[len(batch) - b.ndim + 2 :] + "kc"
    out = batch + ("r" if a.ndim > 1 else "") + ("c" if b.ndim > 1 else "")
    return contraction(f"{left},{right}->{out}", a, b)


def matmul(sample: Sample) -> Call:
    return matmul_of(sample.input, sample.args[0])


def rmatmul(sample: Sample) -> Call:
    return matmul_of(sample.args[0], sample.input)


def inner(sample: Sample) -> Call:
    a, b = sample.input, sample.args[0]
    if a.ndim == 0 or b.ndim == 0:
        return pointwise("{x} * {y}", x=a, y=b)
    letters = string.ascii_lowercase
    left, right = letters[: a.ndim - 1], letters[a.ndim : a.ndim + b.ndim - 1]
    return contraction(f"{left}z,{right}z->{left}{right}", a, b)


def einsum(sample: Sample) -> Call:
    (equation,) = sample.args
    equation = equation.replace(" ", "")
    tensors = tuple(sample.input)
    spelled = []
    for letters, tensor in zip(equation.split("->")[0].split(","), tensors, strict=True):
        named = len(letters.replace("...", ""))
        spelled.append(letters.replace("...", "WXYZ"[4 - (tensor.ndim - named) :] if tensor.ndim > named else ""))
    batch = max(("".join(x for x in letters if x in "WXYZ") for letters in spelled), key=len)
    output = equation.split("->")[1].replace("...", batch)
    return contraction(f"{','.join(spelled)}->{output}", *tensors)


def multi_dot(sample: Sample) -> Call:
    tensors = tuple(sample.input)
    letters = string.ascii_lowercase
    pairs = [letters[k : k + 2] for k in range(len(tensors))]
    if tensors[0].ndim == 1:
        pairs[0] = pairs[0][1:]
    if tensors[-1].ndim == 1:
        pairs[-1] = pairs[-1][:1]
    out = (pairs[0][:-1]) + (pairs[-1][1:])
    return contraction(f"{','.join(pairs)}->{out}", *tensors)


def tensordot(sample: Sample) -> Call:
    given = arguments(sample, "y dims")
    a, b, dims = sample.input, given["y"], given["dims"]
    left, right = (list(range(a.ndim - dims, a.ndim)), list(range(dims))) if isinstance(dims, int) else map(list, dims)
    first = list(string.ascii_lowercase[: a.ndim])
    second = list(string.ascii_uppercase[: b.ndim])
    for p, q in zip(left, right, strict=True):
        second[q] = first[p]
    out = [x for p, x in enumerate(first) if p not in left] + [x for q, x in enumerate(second) if q not in right]
    return contraction(f"{''.join(first)},{''.join(second)}->{''.join(out)}", a, b)


def vecdot(sample: Sample) -> Call:
    given = arguments(sample, "y dim", dim=-1)
    a, b = sample.input, given["y"]
    letters = string.ascii_lowercase[: max(a.ndim, b.ndim)]
    out = letters.replace(letters[given["dim"]], "")
    return contraction(f"{letters[len(letters) - a.ndim :]},{letters[len(letters) - b.ndim :]}->{out}", a, b)


def kron(sample: Sample) -> Call:
    return contraction("ij,kl->ikjl", sample.input, *sample.args)


def cross(sample: Sample) -> Call:
    given = arguments(sample, "y dim", dim=-1)
    a, b = sample.input, given["y"]
    place = given["dim"] % a.ndim
    if a.shape != b.shape:
        raise DoesNotApply("vectors that broadcast")

    def element(name: str, index: str | int) -> str:
        return f"{name}[{', '.join(str(index) if p == place else f'i{p}' for p in range(a.ndim))}]"

    axes = ", ".join("3" if p == place else f"N{p}" for p in range(a.ndim))
    parts = [
        f"{element('x', (k + 1) % 3)} * {element('y', (k + 2) % 3)} - {element('x', (k + 2) % 3)} * "
        f"{element('y', (k + 1) % 3)}"
        for k in range(3)
    ]
    text = (
        f"def operator(x: Real[{axes}], y: Real[{axes}]):\n    out: Real[{axes}]\n"
        f"    {element('out', 'k')} = where(k == 0, {parts[0]}, where(k == 1, {parts[1]}, {parts[2]}))\n"
        "    return out\n"
    )
    return Call(text, (a, b))


def triangle(comparison: str) -> Callable[[Sample], Call]:
    def call(sample: Sample) -> Call:
        diagonal = arguments(sample, "diagonal", diagonal=0)["diagonal"]
        text = (
            "def operator(x: Real[..., R, C], *, d: Int = 0):\n"
            f"    out[..., r, c] = where(c - r {comparison} d, x[..., r, c], 0)\n    return out\n"
        )
        return Call(text, (sample.input,), {"d": diagonal})

    return call


def transposition(order: Callable[[Sample], Sequence[int]]) -> Callable[[Sample], Call]:
    def call(sample: Sample) -> Call:
        rank = sample.input.ndim
        letters = string.ascii_lowercase[:rank]
        return contraction(f"{letters}->{''.join(letters[p % rank] for p in order(sample))}", sample.input)

    return call


def swapped(sample: Sample) -> list[int]:
    given = arguments(sample, "a b")
    order = list(range(sample.input.ndim))
    if order:
        order[given["a"]], order[given["b"]] = order[given["b"]], order[given["a"]]
    return order


def reversed_axes(sample: Sample) -> list[int]:
    return list(range(sample.input.ndim))[::-1]


def last_two(sample: Sample) -> list[int]:
    order = list(range(sample.input.ndim))
    return [*order[:-2], *order[:-3:-1]]


def distance(sample: Sample) -> Call:
    """``dist``: the norm of the difference of tensors that broadcast."""
    given = arguments(sample, "y p", p=2)
    p = given["p"]
    if p == 2:
        made = pointwise("({x} - {y})**2", reduction="sum", x=sample.input, y=given["y"])
        return Call(made.source.replace("out = ", "out = sqrt(").replace("\n    return", ")\n    return"), made.tensors)
    made = pointwise("abs({x} - {y})**{p}", reduction="sum", x=sample.input, y=given["y"], p=float(p))
    root = made.source.replace("out = ", "out = (").replace("\n    return", ")**(1 / p)\n    return")
    return Call(root, made.tensors, made.hypers)


def power_distance(p: float) -> tuple[str, dict[str, float]]:
    """The norm over d of a difference ``{d}``, and its hyper-parameter."""
    if p == 0:
        return "sum[d](where({d} == 0, 0, 1))", {}
    if p == 1:
        return "sum[d](abs({d}))", {}
    if p == 2:
        return "sqrt(sum[d](({d})**2))", {}
    if p == math.inf:
        return "max[d](abs({d}))", {}
    return "sum[d](abs({d})**p)**(1 / p)", {"p": float(p)}


def cdist(sample: Sample) -> Call:
    given = arguments(sample, "y p mode", p=2.0, mode="")
    a, b = sample.input, given["y"]
    formula, hypers = power_distance(given["p"])
    letters = [f"i{k}" for k in range(max(a.ndim, b.ndim) - 2)]
    shape = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])

    def axes(x: Tensor, row: str) -> tuple[str, str]:
        batch = list(range(len(letters) - x.ndim + 2, len(letters)))
        stretched = [x.shape[k - len(letters) - 2] == 1 != shape[k] for k in batch]
        named = ["1" if s else f"N{k}" for k, s in zip(batch, stretched, strict=True)]
        read = ["0" if s else letters[k] for k, s in zip(batch, stretched, strict=True)]
        return ", ".join([*named, row.upper(), "D"]), ", ".join([*read, row, "d"])

    (left, at_left), (right, at_right) = axes(a, "r"), axes(b, "c")
    head = ", *, p: Real = 1.0" if hypers else ""
    text = (
        f"def operator(x: Real[{left}], y: Real[{right}]{head}):\n"
        f"    out[{', '.join([*letters, 'r', 'c'])}] = {formula.format(d=f'x[{at_left}] - y[{at_right}]')}\n"
        "    return out\n"
    )
    return Call(text, (a, b), hypers)


def pairwise_distance(sample: Sample) -> Call:
    given = arguments(sample, "y p eps keepdim", p=2.0, eps=1e-6, keepdim=False)
    formula, hypers = power_distance(given["p"])
    text = (
        f"def operator(x: Real[..., D], y: Real[..., D], *, eps: Real = 1e-6{', p: Real = 1.0' if hypers else ''}):\n"
        f"    out[...] = {formula.format(d='x[..., d] - y[..., d] + eps')}\n    return out\n"
    )
    return Call(text, (sample.input, given["y"]), {"eps": given["eps"], **hypers})


def trace(sample: Sample) -> Call:
    rows, columns = sample.input.shape
    if rows == columns:
        return contraction("ii->", sample.input)
    text = "def operator(x: Real[R, C]):\n    out = sum[r, c](where(r == c, x[r, c], 0))\n    return out\n"
    return Call(text, (sample.input,))


def square_diagonal(sample: Sample) -> Call:
    given = arguments(sample, "offset dim1 dim2", offset=0, dim1=0, dim2=1)
    return diagonal_of(sample.input, given["offset"], given["dim1"], given["dim2"])


def linalg_diagonal(sample: Sample) -> Call:
    given = arguments(sample, "offset dim1 dim2", offset=0, dim1=-2, dim2=-1)
    return diagonal_of(sample.input, given["offset"], given["dim1"], given["dim2"])


def diagonal_of(x: Tensor, offset: int, dim1: int, dim2: int) -> Call:
    rank = x.ndim
    first, second = dim1 % rank, dim2 % rank
    if offset == 0 and x.shape[first] == x.shape[second]:
        letters = list(string.ascii_lowercase[:rank])
        letters[second] = letters[first]
        rest = [c for p, c in enumerate(letters) if p not in (first, second)]
        return contraction(f"{''.join(letters)}->{''.join([*rest, letters[first]])}", x)
    raise DoesNotApply("a diagonal off the main one")


def diag_embed(sample: Sample) -> Call:
    given = arguments(sample, "offset dim1 dim2", offset=0, dim1=-2, dim2=-1)
    if given["offset"] != 0 or (given["dim1"], given["dim2"]) != (-2, -1):
        raise DoesNotApply("a diagonal off the main one")
    text = (
        "def operator(x: Real[..., N]):\n    out: Real[..., N, N]\n"
        "    out[..., i, j] = where(i == j, x[..., i], 0)\n    return out\n"
    )
    return Call(text, (sample.input,))


def cov(sample: Sample) -> Call:
    given = arguments(sample, "correction fweights aweights", correction=1, fweights=None, aweights=None)
    if given["fweights"] is not None or given["aweights"] is not None:
        raise DoesNotApply("weights of single precision, or integer")
    x = Given(sample.input, tuple(sample.input.shape) if sample.input.ndim == 2 else (1, sample.input.numel()))
    text = (
        "def operator(x: Real[V, N], *, correction: Int = 1):\n"
        "    c[i, n] = x[i, n] - mean[m](x[i, m])\n"
        "    out[i, j] = sum[n](c[i, n] * c[j, n]) / (N - correction)\n    return out\n"
    )
    return Call(text, (x,), {"correction": given["correction"]})


def corrcoef(sample: Sample) -> Call:
    x = Given(sample.input, tuple(sample.input.shape) if sample.input.ndim == 2 else (1, sample.input.numel()))
    text = (
        "def operator(x: Real[V, N]):\n"
        "    c[i, n] = x[i, n] - mean[m](x[i, m])\n"
        "    s[i, j] = sum[n](c[i, n] * c[j, n])\n"
        "    out[i, j] = s[i, j] / sqrt(s[i, i] * s[j, j])\n    return out\n"
    )
    return Call(text, (x,))


def vander(sample: Sample) -> Call:
    n = arguments(sample, "N", N=None)["N"] or sample.input.shape[-1]
    text = (
        "def operator(x: Real[..., C], *, n: Int = 2):\n    K = n\n    out: Real[..., C, K]\n"
        "    out[..., c, k] = x[..., c]**k\n    return out\n"
    )
    return Call(text, (sample.input if sample.input.ndim else Given(sample.input, (1,)),), {"n": n})


def gather(sample: Sample) -> Call:
    """Labels of a tensor's rank: along one axis, elsewhere of its shape."""
    given = arguments(sample, "dim index" if isinstance(sample.args[0], int) else "index dim", dim=None)
    x, t, dim = sample.input, given["index"], given["dim"]
    if dim is None:
        return Call("def operator(x: Real[N], t: Int[M]):\n    out[m] = x[t[m]]\n    return out\n",
                    (Given(x, (x.numel(),)), Given(t, (t.numel(),))))  # fmt: skip
    if x.ndim == 0 or x.ndim != t.ndim:
        raise DoesNotApply("a tensor of fewer axes than its labels, or none")
    if (t < 0).any():
        raise DoesNotApply("labels below 0")
    place = dim % x.ndim
    if any(t.shape[p] != x.shape[p] for p in range(x.ndim) if p != place):
        raise DoesNotApply("labels for some of the rows only")
    axes = ", ".join(f"N{p}" for p in range(x.ndim))
    labels = ", ".join("M" if p == place else f"N{p}" for p in range(x.ndim))
    here = ", ".join(f"i{p}" for p in range(x.ndim))
    there = ", ".join(f"t[{here}]" if p == place else f"i{p}" for p in range(x.ndim))
    text = f"def operator(x: Real[{axes}], t: Int[{labels}]):\n    out[{here}] = x[{there}]\n    return out\n"
    return Call(text, (x, t))


def index_select(sample: Sample) -> Call:
    """Labels along one axis, the same ones everywhere else."""
    given = arguments(sample, "dim index")
    x, t = sample.input, given["index"]
    if x.ndim == 0:
        raise DoesNotApply("a tensor without axes, indexed")
    place = given["dim"] % x.ndim
    axes = ", ".join(f"N{p}" for p in range(x.ndim))
    here = ", ".join(f"i{p}" for p in range(x.ndim))
    there = ", ".join(f"t[i{p}]" if p == place else f"i{p}" for p in range(x.ndim))
    text = f"def operator(x: Real[{axes}], t: Int[M]):\n    out[{here}] = x[{there}]\n    return out\n"
    return Call(text, (x, t))


def embedding(sample: Sample) -> Call:
    return Call("embedding", (sample.args[0], sample.input))


OPERATORS: tuple[Operator, ...] = (
    Operator("mm", product("rk,kc->rc")),
    Operator("mv", product("rk,k->r")),
    Operator("bmm", product("brk,bkc->brc")),
    Operator("bmm", product("brk,bkc->brc"), "triton_optimized"),
    Operator("dot", product("k,k->")),
    Operator("vdot", product("k,k->")),
    Operator("outer", product("r,c->rc")),
    Operator("addmm", added("rk,kc->rc")),
    Operator("addmm", added("rk,kc->rc"), "decomposed"),
    Operator("addmv", added("rk,k->r")),
    Operator("addbmm", added("brk,bkc->rc")),
    Operator("baddbmm", added("brk,bkc->brc")),
    Operator("addr", added("r,c->rc")),
    Operator("matmul", matmul),
    Operator("__rmatmul__", rmatmul),
    Operator("inner", inner),
    Operator("einsum", einsum),
    Operator("linalg.multi_dot", multi_dot),
    Operator("tensordot", tensordot),
    Operator("linalg.vecdot", vecdot),
    Operator("kron", kron),
    Operator("cross", cross),
    Operator("linalg.cross", cross),
    Operator("tril", triangle("<=")),
    Operator("triu", triangle(">=")),
    Operator("permute", transposition(lambda sample: sample.args[0])),
    Operator("transpose", transposition(swapped)),
    Operator("T", transposition(reversed_axes)),
    Operator("t", transposition(reversed_axes)),
    Operator("mT", transposition(last_two)),
    Operator("trace", trace),
    Operator("diagonal", square_diagonal),
    Operator("linalg.diagonal", linalg_diagonal),
    Operator("diag_embed", diag_embed),
    Operator("dist", distance),
    Operator("cdist", cdist),
    Operator("nn.functional.pairwise_distance", pairwise_distance),
    Operator("cov", cov),
    Operator("corrcoef", corrcoef),
    Operator("linalg.vander", vander),
    Operator("gather", gather),
    Operator("take_along_dim", gather),
    Operator("index_select", index_select),
    Operator("nn.functional.embedding", embedding),
)

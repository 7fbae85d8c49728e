"""Operators that reduce axes, or run along one: sums, means, extrema, norms, softmaxes, prefix sums."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from operators.call import Call, DoesNotApply, Given, Operator, Sample, arguments, reduced

__all__ = ["OPERATORS", "norm_of"]

Translate = Callable[[Sample], Call]


def simple(reduction: str, names: str = "dim keepdim dtype") -> Translate:
    """A reduction of the language."""

    def call(sample: Sample) -> Call:
        given = arguments(sample, names, dim=None)
        if sample.input.isnan().any():
            raise DoesNotApply("an input that is not a number")
        return reduced(f"out{{rest}} = {reduction}[{{over}}]({{x}})", given["dim"], x=sample.input)

    return call


def values_of(reduction: str) -> Translate:
    """Extrema along an axis, of which PyTorch returns the places too."""

    def call(sample: Sample) -> Call:
        given = arguments(sample, "dim keepdim", dim=None)
        made = reduced(f"out{{rest}} = {reduction}[{{over}}]({{x}})", given["dim"], x=sample.input)
        return Call(made.source, made.tensors, made.hypers, first)

    return call


def correction(given: dict[str, Any]) -> float:
    if given.get("unbiased") is not None:
        return float(given["unbiased"])
    return 1.0 if given["correction"] is None else float(given["correction"])


def moments(returns: str) -> Translate:
    """Variance or standard deviation, by themselves or with the mean."""

    def call(sample: Sample) -> Call:
        args = sample.args
        if len(args) == 1 and isinstance(args[0], bool):
            given: dict[str, Any] = {"dim": None, "unbiased": args[0]}
        else:
            given = arguments(sample, "dim keepdim unbiased correction", dim=None, correction=None)
        body = "m{rest} = mean[{over}]({x})\nv{rest} = sum[{over}](({x} - m{rest})**2) / ({count} - {correction})\n"
        if "s" in returns:
            body += "s{rest} = sqrt(v{rest})\n"
        return reduced(body, given["dim"], x=sample.input, correction=correction(given), returns=returns)

    return call


def logsumexp(sample: Sample) -> Call:
    given = arguments(sample, "dim keepdim")
    return reduced("out{rest} = log(sum[{over}](exp({x})))", given["dim"], x=sample.input)


# Formulas along one axis, where m marks the elements that count; the last is named out.
SOFTMAXES = {
    "softmax": "z{rest} = sum[{over}](exp({x}))\nout{all} = exp({x}) / z{rest}",
    "log_softmax": "z{rest} = sum[{over}](exp({x}))\nout{all} = {x} - log(z{rest})",
    "softmin": "z{rest} = sum[{over}](exp(-{x}))\nout{all} = exp(-{x}) / z{rest}",
}


def softmax(name: str) -> Translate:
    def call(sample: Sample) -> Call:
        given = arguments(sample, "dim dtype")
        return reduced(SOFTMAXES[name], given["dim"], x=sample.input)

    return call


def norm_of(p: Any, x: Tensor) -> tuple[str, dict[str, float]]:
    """The formula of a vector norm of order p, and its hyper-parameter where it has one."""
    match p:
        case None | "fro" | 2:
            return "out{rest} = sqrt(sum[{over}]({x}**2))", {}
        case math.inf:
            return "out{rest} = max[{over}](abs({x}))", {}
        case float() if p == -math.inf:
            return "out{rest} = min[{over}](abs({x}))", {}
        case 0:
            return "out{rest} = sum[{over}](where({x} == 0, 0, 1))", {}
        case 1:
            return "out{rest} = sum[{over}](abs({x}))", {}
        case str():
            raise DoesNotApply("a norm of singular values")
    if (x == 0).any() or x.numel() == 0:
        raise DoesNotApply("a power's derivative at zero, where PyTorch has a convention of its own")
    return "out{rest} = sum[{over}](abs({x})**{p})**(1 / {p})", {"p": float(p)}


def vector_norm(sample: Sample) -> Call:
    given = arguments(sample, "p dim keepdim dtype", p=2, dim=None, ord=None)
    formula, hypers = norm_of(given["p"] if given["ord"] is None else given["ord"], sample.input)
    if "dtype" in given and given["dtype"] not in (None, torch.float64):
        raise DoesNotApply("a norm in another precision")
    return reduced(formula, given["dim"], x=sample.input, **hypers)


def norm(sample: Sample) -> Call:
    given = arguments(sample, "ord dim keepdim", ord=None, dim=None)
    order, dim = given["ord"], given["dim"]
    pair = sample.input.ndim == 2 if dim is None and order is not None else isinstance(dim, tuple) and len(dim) == 2
    if pair and order not in (None, "fro"):
        return matrix_norm_of(sample.input, order, (0, 1) if dim is None else dim)
    formula, hypers = norm_of(order, sample.input)
    return reduced(formula, dim, x=sample.input, **hypers)


def matrix_norm_of(x: Tensor, order: Any, dim: Any) -> Call:
    if order in ("nuc", 2, -2):
        raise DoesNotApply("a norm of singular values")
    rows, columns = (d % x.ndim for d in dim)
    if order == "fro":
        return reduced(norm_of(2, x)[0], dim, x=x)
    outer, inner = (columns, rows) if abs(order) == 1 else (rows, columns)
    over, rest = f"i{outer}", ", ".join(f"i{p}" for p in range(x.ndim) if p not in (rows, columns))
    kept = ", ".join(f"i{p}" for p in range(x.ndim) if p != inner)
    extreme = "max" if order > 0 else "min"
    body = f"s[{kept}] = sum[i{inner}](abs({{x}}))\nout{f'[{rest}]' if rest else ''} = {extreme}[{over}](s[{kept}])"
    return reduced(body, dim, x=x)


def matrix_norm(sample: Sample) -> Call:
    given = arguments(sample, "ord dim keepdim dtype", ord="fro", dim=(-2, -1))
    return matrix_norm_of(sample.input, given["ord"], given["dim"])


def normalize(sample: Sample) -> Call:
    given = arguments(sample, "p dim eps", p=2.0, dim=1, eps=1e-12)
    formula, hypers = norm_of(given["p"], sample.input)
    body = formula.replace("out", "r") + "\nout{all} = {x} / maximum(r{rest}, {eps})"
    return reduced(body, given["dim"], x=sample.input, eps=float(given["eps"]), **hypers)


def along(body: str, names: str = "dim dtype") -> Translate:
    """A formula along one axis: ``{i}`` is its index, ``{k}`` a second one, ``{xk}`` the element there."""

    def call(sample: Sample) -> Call:
        dim = arguments(sample, names, dim=-1)["dim"]
        return prefix(body, sample.input, dim)

    return call


def first(result: Any) -> Any:
    """The values, where PyTorch returns their places too."""
    return result if isinstance(result, Tensor) else result[0]


def prefix(body: str, x: Tensor, dim: int) -> Call:
    rank = max(x.ndim, 1)
    place = dim % rank
    axes = ", ".join(f"N{p}" for p in range(rank))
    here = ", ".join(f"i{p}" for p in range(rank))
    there = ", ".join("k" if p == place else f"i{p}" for p in range(rank))
    formula = body.format(i=f"i{place}", x=f"x[{here}]", xk=f"x[{there}]")
    text = f"def operator(x: Real[{axes}]):\n    out: Real[{axes}]\n    out[{here}] = {formula}\n    return out\n"
    return Call(text, (Given(x, tuple(x.shape) or (1,)),), pick=first)


def masked(body: str, names: str = "dim keepdim dtype mask") -> Translate:
    """Like an operator without a mask, of the elements whose mask is true."""

    def call(sample: Sample) -> Call:
        given = arguments(sample, names, dim=None, mask=None)
        x, mask = sample.input, given["mask"]
        mask = torch.ones_like(x, dtype=torch.bool) if mask is None else mask.expand(x.shape)
        return reduced(body, given["dim"], x=x, m=mask)

    return call


def masked_norm(sample: Sample) -> Call:
    given = arguments(sample, "ord dim keepdim dtype mask", dim=None, mask=None)
    x, mask, order = sample.input, given["mask"], float(given["ord"])
    mask = torch.ones_like(x, dtype=torch.bool) if mask is None else mask.expand(x.shape)
    formula, hypers = norm_of(order, x)
    none = "inf" if order == -math.inf else "0"
    return reduced(formula.replace("{x}", f"where({{m}}, {{x}}, {none})"), given["dim"], x=x, m=mask, **hypers)


def masked_moments(root: bool) -> Translate:
    def call(sample: Sample) -> Call:
        given = arguments(sample, "dim unbiased keepdim dtype mask correction", dim=None, mask=None, correction=None)
        x, mask = sample.input, given["mask"]
        mask = torch.ones_like(x, dtype=torch.bool) if mask is None else mask.expand(x.shape)
        body = (
            "n{rest} = sum[{over}](where({m}, 1, 0))\n"
            "a{rest} = sum[{over}](where({m}, {x}, 0)) / n{rest}\n"
            "v{rest} = sum[{over}](where({m}, ({x} - a{rest})**2, 0)) / (n{rest} - {correction})\n"
            "s{rest} = sqrt(v{rest})\n"
        )
        if not root:
            body = body[: body.index("s{rest}")]
        returns = "s" if root else "v"
        return reduced(body, given["dim"], x=x, m=mask, correction=correction(given), returns=returns)

    return call


OPERATORS: tuple[Operator, ...] = (
    Operator("sum", simple("sum")),
    Operator("nansum", simple("sum")),
    Operator("mean", simple("mean")),
    Operator("nanmean", simple("mean")),
    Operator("amax", simple("max")),
    Operator("amin", simple("min")),
    Operator("prod", simple("prod")),
    *(Operator(name, values_of(name), f"reduction_{kind}_dim") for name in ("max", "min") for kind in ("with", "no")),
    *(Operator("var", moments("v"), variant) for variant in ("", "unbiased")),
    *(Operator("std", moments("s"), variant) for variant in ("", "unbiased")),
    *(Operator("var_mean", moments("v, m"), variant) for variant in ("", "unbiased")),
    *(Operator("std_mean", moments("s, m"), variant) for variant in ("", "unbiased")),
    Operator("logsumexp", logsumexp),
    *(Operator(name, softmax(name), v) for name in ("softmax", "log_softmax") for v in ("", "with_dtype")),
    *(Operator("nn.functional.softmin", softmax("softmin"), v) for v in ("", "with_dtype")),
    *(Operator("norm", vector_norm, v) for v in ("", "fro", "inf")),
    Operator("linalg.vector_norm", vector_norm),
    *(Operator("linalg.norm", norm, v) for v in ("", "subgradients_at_zero")),
    Operator("linalg.matrix_norm", matrix_norm),
    Operator("nn.functional.normalize", normalize),
    Operator("cummax", along("max[k](where(k <= {i}, {xk}, -inf))")),
    Operator("masked.sum", masked("out{rest} = sum[{over}](where({m}, {x}, 0))")),
    Operator("masked.prod", masked("out{rest} = prod[{over}](where({m}, {x}, 1))")),
    Operator("masked.amax", masked("out{rest} = max[{over}](where({m}, {x}, -inf))")),
    Operator("masked.amin", masked("out{rest} = min[{over}](where({m}, {x}, inf))")),
    Operator("masked.mean", masked("out{rest} = sum[{over}](where({m}, {x}, 0)) / sum[{over}](where({m}, 1, 0))")),
    Operator("masked.logsumexp", masked("out{rest} = log(sum[{over}](where({m}, exp({x}), 0)))")),
    Operator(
        "masked.softmax",
        masked(
            "z{rest} = sum[{over}](where({m}, exp({x}), 0))\nout{all} = where({m}, exp({x}), 0) / z{rest}",
            "dim dtype mask",
        ),
    ),
    Operator(
        "masked.softmin",
        masked(
            "z{rest} = sum[{over}](where({m}, exp(-{x}), 0))\nout{all} = where({m}, exp(-{x}), 0) / z{rest}",
            "dim dtype mask",
        ),
    ),
    Operator("masked.norm", masked_norm),
    Operator("masked.var", masked_moments(False)),
    Operator("masked.std", masked_moments(True)),
)

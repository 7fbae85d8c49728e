"""Losses: elementwise ones with PyTorch's reductions, and those over classes, pairs and triplets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from operators.call import Call, DoesNotApply, Given, Operator, Sample, arguments, pointwise, reduced

__all__ = ["OPERATORS"]

Translate = Callable[[Sample], Call]

ELEMENTWISE = {
    "nn.functional.mse_loss": ("({x} - {t})**2", "t"),
    "nn.functional.l1_loss": ("abs({x} - {t})", "t"),
    "nn.functional.soft_margin_loss": ("log(1 + exp(-{t} * {x}))", "t"),
    "nn.functional.huber_loss": (
        "where(abs({x} - {t}) < {delta}, ({x} - {t})**2 / 2, {delta} * (abs({x} - {t}) - {delta} / 2))",
        "t delta",
    ),
    "nn.functional.margin_ranking_loss": ("relu(-{t} * ({x} - {y}) + {margin})", "y t margin"),
    "nn.functional.hinge_embedding_loss": (
        "where({t} == -1, 0, {x}) + where({t} == 1, 0, relu({margin} - {x}))",
        "t margin",
    ),
}


def elementwise(formula: str, names: str) -> Translate:
    """A loss of each element, then its mean, its sum or neither; a catalogue layer where that is the same."""

    def call(sample: Sample) -> Call:
        given = arguments(sample, f"{names} reduction", reduction="mean", margin=1.0, delta=1.0)
        reduction = given.pop("reduction")
        values = {n: given[n] for n in names.split()}
        return pointwise(formula, reduction=reduction, x=sample.input, **values)

    return call


def smooth_l1(sample: Sample) -> Call:
    given = arguments(sample, "t reduction beta", reduction="mean", beta=1.0)
    reduction, beta = given["reduction"], float(given["beta"])
    if beta == 0:
        return pointwise("abs({x} - {t})", reduction=reduction, x=sample.input, t=given["t"])
    formula = "where(abs({x} - {t}) < {beta}, ({x} - {t})**2 / (2 * {beta}), abs({x} - {t}) - {beta} / 2)"
    return pointwise(formula, reduction=reduction, x=sample.input, t=given["t"], beta=beta)


def cross_entropy_of_two(sample: Sample) -> Call:
    given = arguments(sample, "t weight reduction", weight=None, reduction="mean")
    formula = "-({t} * log({x}) + (1 - {t}) * log(1 - {x}))"
    return pointwise(
        formula if given["weight"] is None else f"{{w}} * ({formula})",
        reduction=given["reduction"],
        x=sample.input,
        t=given["t"],
        w=given["weight"],
    )


def cross_entropy_of_two_logits(sample: Sample) -> Call:
    given = arguments(sample, "t weight reduction pos_weight", weight=None, reduction="mean", pos_weight=None)
    first = "{t}" if given["pos_weight"] is None else "{p} * {t}"
    formula = f"-({first} * log(1 / (1 + exp(-{{x}}))) + (1 - {{t}}) * log(1 - 1 / (1 + exp(-{{x}}))))"
    return pointwise(
        formula if given["weight"] is None else f"{{w}} * ({formula})",
        reduction=given["reduction"],
        x=sample.input,
        t=given["t"],
        w=given["weight"],
        p=given["pos_weight"],
    )


def divergence(sample: Sample) -> Call:
    given = arguments(sample, "t reduction log_target", reduction="mean", log_target=False)
    formula = "exp({t}) * ({t} - {x})" if given["log_target"] else "{t} * (log({t}) - {x})"
    reduction = given["reduction"]
    if reduction != "batchmean":
        return pointwise(formula, reduction=reduction, x=sample.input, t=given["t"])
    made = pointwise(formula, reduction="sum", x=sample.input, t=given["t"], n=float(sample.input.shape[0]))
    return Call(made.source.replace("\n    return", " / n\n    return"), made.tensors, made.hypers)


def gaussian(sample: Sample) -> Call:
    given = arguments(sample, "t v full eps reduction", full=False, eps=1e-6, reduction="mean")
    x, v = sample.input, given["v"]
    if v.shape != x.shape and v.ndim == x.ndim - 1:  # a variance a row
        v = Given(v, (*v.shape, 1))
        shape = v.shape
        view = v.tensor.reshape(shape)
    else:
        view = v
    formula = "(log(maximum({v}, {eps})) + ({x} - {t})**2 / maximum({v}, {eps})) / 2"
    if given["full"]:
        formula += " + log(2 * pi) / 2"
    made = pointwise(
        formula, reduction=given["reduction"], positive=("v",), x=x, t=given["t"], v=view, eps=float(given["eps"])
    )
    return Call(made.source, (x, given["t"], v), made.hypers)


def poisson(sample: Sample) -> Call:
    given = arguments(sample, "t log_input full eps reduction", log_input=True, full=False, eps=1e-8, reduction="mean")
    formula = "exp({x}) - {t} * {x}" if given["log_input"] else "{x} - {t} * log({x} + {eps})"
    if given["full"]:
        formula += " + where({t} > 1, {t} * log({t}) - {t} + log(2 * pi * {t}) / 2, 0)"
    values = {} if given["log_input"] else {"eps": float(given["eps"])}
    return pointwise(formula, reduction=given["reduction"], x=sample.input, t=given["t"], **values)


def shapes_of(x: Tensor) -> tuple[str, str, str, str]:
    """Axes and indices of logits [N, C, ...] and of labels [N, ...]; without N where there is none."""
    places = list(range(x.ndim - 2))
    first = x.ndim > 1
    axes = [*(["N"] if first else []), "C", *(f"S{k}" for k in places)]
    indices = [*(["n"] if first else []), "c", *(f"s{k}" for k in places)]
    rest = [a for a in axes if a != "C"]
    at = [i for i in indices if i != "c"]
    return ", ".join(axes), ", ".join(indices), ", ".join(rest), ", ".join(at)


def bracketed(inside: str) -> str:
    return f"[{inside}]" if inside else ""


def likelihood(logits: bool) -> Translate:
    """Cross-entropy of labels or distributions, and its half after the log-softmax."""

    def call(sample: Sample) -> Call:
        given = arguments(
            sample, "t weight size_average ignore_index reduce reduction label_smoothing",
            weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0,
        )  # fmt: skip
        x, t, w = sample.input, given["t"], given["weight"]
        axes, at, rest, here = shapes_of(x)
        log = f"p[{at}] = x[{at}] - log(sum[k](exp(x[{at.replace('c', 'k', 1)}])))" if logits else f"p[{at}] = x[{at}]"
        count = "*".join(a for a in rest.split(", ") if a) or "1"
        over = f"sum{bracketed(here)}" if here else ""
        if t.dtype == torch.int64:
            if (t < 0).any():
                raise DoesNotApply("labels below 0")
            label = f"t{bracketed(here)}"
            chosen = f"p[{at.replace('c', label, 1)}]"
            weight = f"w[{label}]" if w is not None else "1"
            weight = f"where({label} == ignore, 0, {weight})"
            lines = [log, f"u{bracketed(here)} = {weight}", f"l{bracketed(here)} = -u{bracketed(here)} * {chosen}"]
            mean = f"{over}(l{bracketed(here)}) / {over}(u{bracketed(here)})"
            hypers, second = {"ignore": given["ignore_index"]}, f"t: Int{bracketed(rest)}"
        else:
            weight = "w[c] * " if w is not None else ""
            lines = [log, f"l{bracketed(here)} = -sum[c]({weight}t[{at}] * p[{at}])"]
            mean = f"{over}(l{bracketed(here)}) / ({count})"
            hypers, second = {}, f"t: Real[{axes}]"
        out = {"none": f"l{bracketed(here)}", "sum": f"{over}(l{bracketed(here)})", "mean": mean}[given["reduction"]]
        target = f"out{bracketed(here)}" if given["reduction"] == "none" else "out"
        head = [f"x: Real[{axes}]", second, *(["w: Real[C]"] if w is not None else [])]
        head += ["*", "ignore: Int = -100"] if hypers else []
        text = f"def operator({', '.join(head)}):\n" + "".join(
            f"    {line}\n" for line in [*lines, f"{target} = {out}"]
        )
        return Call(text + "    return out\n", (x, t, *([w] if w is not None else [])), hypers)

    return call


def closing(row: str, reduction: str) -> str:
    """The last lines of a layer whose loss a row is ``row``."""
    return {
        "none": f"    out[n] = {row}\n",
        "mean": f"    out = mean[n]({row})\n",
        "sum": f"    out = sum[n]({row})\n",
    }[reduction] + "    return out\n"


def rows(x: Tensor, rank: int) -> Given:
    """A sample without its batch axis, as a batch of one."""
    return Given(x, tuple(x.shape) if x.ndim == rank else (1,) * (rank - x.ndim) + tuple(x.shape))


def cosine_embedding(sample: Sample) -> Call:
    given = arguments(sample, "y t margin reduction", margin=0.0, reduction="mean")
    text = (
        "def operator(x: Real[N, D], y: Real[N, D], t: Real[N], *, margin: Real = 0.0):\n"
        "    a[n] = sum[d](x[n, d]**2) + 1e-12\n    b[n] = sum[d](y[n, d]**2) + 1e-12\n"
        "    s[n] = sum[d](x[n, d] * y[n, d]) / sqrt(a[n] * b[n])\n"
        "    l[n] = where(t[n] == 1, 1 - s[n], where(t[n] == -1, relu(s[n] - margin), 0))\n"
    )
    tensors = (rows(sample.input, 2), rows(given["y"], 2), rows(given["t"], 1))
    return Call(text + closing("l[n]", given["reduction"]), tensors, {"margin": float(given["margin"])})


def triplet(sample: Sample) -> Call:
    given = arguments(
        sample, "y z margin p eps swap reduction", margin=1.0, p=2, eps=1e-6, swap=False, reduction="mean",
        distance_function=None,
    )  # fmt: skip
    if given["distance_function"] is not None and not isinstance(given["distance_function"], torch.nn.PairwiseDistance):
        raise DoesNotApply("a distance that is a Python function")
    far = "f[n]"
    text = (
        "def operator(x: Real[N, D], y: Real[N, D], z: Real[N, D], *, margin: Real = 1.0, eps: Real = 1e-6):\n"
        "    near[n] = sqrt(sum[d]((x[n, d] - y[n, d] + eps)**2))\n"
        "    f[n] = sqrt(sum[d]((x[n, d] - z[n, d] + eps)**2))\n"
    )
    if given["swap"]:
        text += "    g[n] = sqrt(sum[d]((y[n, d] - z[n, d] + eps)**2))\n"
        far = "minimum(f[n], g[n])"
    hypers = {"margin": float(given["margin"]), "eps": given["eps"]}
    last = closing(f"relu(margin + near[n] - {far})", given["reduction"])
    return Call(text + last, (sample.input, given["y"], given["z"]), hypers)


def multi_margin(sample: Sample) -> Call:
    given = arguments(sample, "t p margin weight reduction", p=1, margin=1.0, weight=None, reduction="mean")
    x, t, w = sample.input, given["t"], given["weight"]
    label = "w[t[n]] * " if w is not None else ""
    text = (
        f"def operator(x: Real[N, C], t: Int[N]{', w: Real[C]' if w is not None else ''}, *, margin: Real = 1.0):\n"
        f"    l[n] = sum[c](where(c == t[n], 0, {label}relu(margin + x[n, c] - x[n, t[n]])**{given['p']})) / C\n"
    )
    tensors: tuple[Any, ...] = (rows(x, 2), rows(t, 1), *([w] if w is not None else []))
    return Call(text + closing("l[n]", given["reduction"]), tensors, {"margin": float(given["margin"])})


def multilabel_soft_margin(sample: Sample) -> Call:
    given = arguments(sample, "t weight reduction", weight=None, reduction="mean")
    x, t, w = sample.input, given["t"], given["weight"]
    weight = "w[n, c] * " if w is not None else ""
    text = (
        f"def operator(x: Real[N, C], t: Real[N, C]{', w: Real[N, C]' if w is not None else ''}):\n"
        f"    l[n] = -mean[c]({weight}(t[n, c] * log(1 / (1 + exp(-x[n, c])))"
        " + (1 - t[n, c]) * log(1 / (1 + exp(x[n, c])))))\n"
    )
    tensors: tuple[Any, ...] = (rows(x, 2), rows(t, 2), *([rows(w, 2)] if w is not None else []))
    return Call(text + closing("l[n]", given["reduction"]), tensors)


def cosine_similarity(sample: Sample) -> Call:
    given = arguments(sample, "y dim eps", dim=1, eps=1e-8)
    body = (
        "a{rest} = sqrt(sum[{over}]({x}**2))\nb{rest} = sqrt(sum[{over}]({y}**2))\n"
        "out{rest} = sum[{over}]({x} * {y}) / (maximum(a{rest}, {eps}) * maximum(b{rest}, {eps}))"
    )
    x, y = sample.input, given["y"]
    if x.shape != y.shape:
        raise DoesNotApply("vectors that broadcast")
    return reduced(body, given["dim"], x=x, y=y, eps=float(given["eps"]))


OPERATORS: tuple[Operator, ...] = (
    *(Operator(name, elementwise(*loss)) for name, loss in ELEMENTWISE.items()),
    Operator("nn.functional.smooth_l1_loss", smooth_l1),
    Operator("nn.functional.binary_cross_entropy", cross_entropy_of_two),
    Operator("nn.functional.binary_cross_entropy_with_logits", cross_entropy_of_two_logits),
    Operator("nn.functional.kl_div", divergence),
    Operator("nn.functional.gaussian_nll_loss", gaussian),
    Operator("nn.functional.poisson_nll_loss", poisson),
    Operator("nn.functional.cross_entropy", likelihood(True)),
    Operator("nn.functional.nll_loss", likelihood(False)),
    Operator("nn.functional.cosine_embedding_loss", cosine_embedding),
    Operator("nn.functional.triplet_margin_loss", triplet),
    Operator("nn.functional.triplet_margin_with_distance_loss", triplet),
    Operator("nn.functional.multi_margin_loss", multi_margin),
    Operator("nn.functional.multilabel_soft_margin_loss", multilabel_soft_margin),
    Operator("nn.functional.cosine_similarity", cosine_similarity),
)

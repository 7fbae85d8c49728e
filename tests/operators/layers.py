"""Operators that are layers: linear maps, gates, attention, normalizations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from operators.call import Call, DoesNotApply, Given, Operator, Sample, arguments

__all__ = ["OPERATORS"]


def parameters(*known: tuple[str, Tensor | Given | None]) -> tuple[str, tuple[Tensor | Given, ...]]:
    """The signature's tensors, and what they are given, without those that are None."""
    present = [(text, tensor) for text, tensor in known if tensor is not None]
    return ", ".join(text for text, _ in present), tuple(tensor for _, tensor in present if tensor is not None)


def linear(sample: Sample) -> Call:
    given = arguments(sample, "w b", b=None)
    head, tensors = parameters(
        ("x: Real[..., I]", sample.input), ("w: Real[O, I]", given["w"]), ("b: Real[O]", given["b"])
    )
    bias = " + b[o]" if given["b"] is not None else ""
    text = f"def operator({head}):\n    y[..., o] = sum[i](x[..., i] * w[o, i]){bias}\n    return y\n"
    return Call(text, tensors)


def bilinear(sample: Sample) -> Call:
    given = arguments(sample, "z w b", b=None)
    head, tensors = parameters(
        ("x: Real[..., I]", sample.input), ("z: Real[..., J]", given["z"]),
        ("w: Real[O, I, J]", given["w"]), ("b: Real[O]", given["b"]),
    )  # fmt: skip
    bias = " + b[o]" if given["b"] is not None else ""
    text = f"def operator({head}):\n    y[..., o] = sum[i, j](x[..., i] * w[o, i, j] * z[..., j]){bias}\n    return y\n"
    return Call(text, tensors)


def glu(sample: Sample) -> Call:
    """The halves of an axis are its two parts of a view [.., 2, D, ..]."""
    x, dim = sample.input, arguments(sample, "dim", dim=-1)["dim"]
    place = dim % x.ndim
    view = (*x.shape[:place], 2, x.shape[place] // 2, *x.shape[place + 1 :])
    before, after = [f"i{p}" for p in range(place)], [f"i{p}" for p in range(place, x.ndim)]
    axes = [f"N{p}" for p in range(place)] + ["2"] + [f"N{p}" for p in range(place, x.ndim)]
    a, b = (f"x[{', '.join([*before, str(k), *after])}]" for k in (0, 1))
    text = (
        f"def operator(x: Real[{', '.join(axes)}]):\n"
        f"    y[{', '.join([*before, *after])}] = {a} / (1 + exp(-{b}))\n    return y\n"
    )
    return Call(text, (Given(x, view),))


def attention(sample: Sample) -> Call:
    given = arguments(
        sample, "k v attn_mask dropout_p is_causal scale enable_gqa", attn_mask=None, dropout_p=0.0, is_causal=False
    )
    if given["dropout_p"]:
        raise DoesNotApply("random numbers")
    q, k, v, mask = sample.input, given["k"], given["v"], given["attn_mask"]
    if q.shape[:-2] != k.shape[:-2]:
        raise DoesNotApply("batch axes that broadcast")
    if mask is None:
        return Call("causal_attention" if given["is_causal"] else "attention", (q, k, v))
    text = (
        "def operator(q: Real[..., T, D], k: Real[..., S, D], v: Real[..., S, E], m: Real[T, S]):\n"
        "    p[..., t, s] = softmax[s](sum[d](q[..., t, d] * k[..., s, d]) / sqrt(D) + m[t, s])\n"
        "    y[..., t, e] = sum[s](p[..., t, s] * v[..., s, e])\n    return y\n"
    )
    return Call(text, (q, k, v, mask))


def normalization(
    x: Tensor, view: tuple[int, ...], over: str, weights: str, eps: float,
    weight: Tensor | None, bias: Tensor | None, shape: tuple[int, ...], *, centred: bool = True,
    pick: Callable[[Any], Any] = lambda result: result,
) -> Call:  # fmt: skip
    """Values of x, in a view [A, B, C], normalized over some of its axes; the weights have some of its axes.

    Args:
        x: the input.
        view: the shape it is taken in.
        over: indices the statistics are taken over, of a, b, c.
        weights: indices of the weights.
        eps: added to the variance.
        weight, bias: None where there is none.
        shape: the weights' shape in this view.
        centred: whether the mean is subtracted.
        pick: which of PyTorch's results that is.
    """
    kept = ", ".join(i for i in "abc" if i not in over)
    kept = f"[{kept}]" if kept else ""
    reduce, axes = ", ".join(over), ", ".join(weights.upper())
    at = f"[{', '.join(weights)}]"
    head, tensors = parameters(
        ("x: Real[A, B, C]", Given(x, view)),
        (f"w: Real[{axes}]", None if weight is None else Given(weight, shape)),
        (f"z: Real[{axes}]", None if bias is None else Given(bias, shape)),
    )
    lines = [f"m{kept} = mean[{reduce}](x[a, b, c])"] if centred else []
    difference = f"(x[a, b, c] - m{kept})" if centred else "x[a, b, c]"
    lines.append(f"v{kept} = mean[{reduce}]({difference}**2)")
    scale = f"w{at} * " if weight is not None else ""
    shift = f" + z{at}" if bias is not None else ""
    lines.append(f"y[a, b, c] = {scale}{difference} / sqrt(v{kept} + eps){shift}")
    text = f"def operator({head}, *, eps: Real = 1e-5):\n" + "".join(f"    {line}\n" for line in lines)
    return Call(text + "    return y\n", tensors, {"eps": float(eps)}, pick)


def product_of(sizes: Any) -> int:
    result = 1
    for size in sizes:
        result *= int(size)
    return result


def over_last(centred: bool, eps: float | None, native: bool = False) -> Callable[[Sample], Call]:
    def call(sample: Sample) -> Call:
        names = "shape weight bias eps" if centred else "shape weight eps"
        given = arguments(sample, names, weight=None, bias=None, eps=eps)
        x = sample.input
        width = product_of(given["shape"])
        if width == 0 or x.numel() == 0:
            view = (0, 1, width)
        else:
            view = (x.numel() // width, 1, width)
        epsilon = 2.0**-52 if given["eps"] is None else given["eps"]
        return normalization(
            x, view, "c", "c", epsilon, given["weight"], given["bias"], (width,), centred=centred,
            pick=(lambda result: result[0]) if native else (lambda result: result),
        )  # fmt: skip

    return call


def over_groups(sample: Sample) -> Call:
    given = arguments(sample, "groups weight bias eps", weight=None, bias=None, eps=1e-5)
    x, groups = sample.input, given["groups"]
    n, channels, pixels = x.shape[0], x.shape[1], product_of(x.shape[2:])
    kept = channels // groups
    head, tensors = parameters(
        ("x: Real[N, G, K, P]", Given(x, (n, groups, kept, pixels))),
        ("w: Real[G, K]", None if given["weight"] is None else Given(given["weight"], (groups, kept))),
        ("z: Real[G, K]", None if given["bias"] is None else Given(given["bias"], (groups, kept))),
    )
    scale = "w[g, k] * " if given["weight"] is not None else ""
    shift = " + z[g, k]" if given["bias"] is not None else ""
    text = (
        f"def operator({head}, *, eps: Real = 1e-5):\n"
        "    m[n, g] = mean[k, p](x[n, g, k, p])\n"
        "    v[n, g] = mean[k, p]((x[n, g, k, p] - m[n, g])**2)\n"
        f"    y[n, g, k, p] = {scale}(x[n, g, k, p] - m[n, g]) / sqrt(v[n, g] + eps){shift}\n    return y\n"
    )
    return Call(text, tensors, {"eps": float(given["eps"])})


def over_batch(sample: Sample) -> Call:
    given = arguments(
        sample, "mean var weight bias training momentum eps",
        weight=None, bias=None, training=False, momentum=0.1, eps=1e-5,
    )  # fmt: skip
    x = sample.input
    if x.ndim < 2:
        raise DoesNotApply("no axis of channels")
    channels, pixels = x.shape[1], product_of(x.shape[2:])
    if given["training"]:
        return normalization(
            x, (x.shape[0], channels, pixels), "ac", "b", given["eps"], given["weight"], given["bias"], (channels,)
        )
    head, tensors = parameters(
        ("x: Real[A, B, C]", Given(x, (x.shape[0], channels, pixels))), ("m: Real[B]", given["mean"]),
        ("v: Real[B]", given["var"]), ("w: Real[B]", given["weight"]), ("z: Real[B]", given["bias"]),
    )  # fmt: skip
    scale = "w[b] * " if given["weight"] is not None else ""
    shift = " + z[b]" if given["bias"] is not None else ""
    text = (
        f"def operator({head}, *, eps: Real = 1e-5):\n"
        f"    y[a, b, c] = {scale}(x[a, b, c] - m[b]) / sqrt(v[b] + eps){shift}\n    return y\n"
    )
    return Call(text, tensors, {"eps": float(given["eps"])})


def over_instances(sample: Sample) -> Call:
    given = arguments(
        sample, "running_mean running_var weight bias use_input_stats momentum eps",
        weight=None, bias=None, use_input_stats=True, eps=1e-5,
    )  # fmt: skip
    x = sample.input
    if not given["use_input_stats"]:
        raise DoesNotApply("statistics that are given")
    channels, pixels = x.shape[1], product_of(x.shape[2:])
    return normalization(
        x, (x.shape[0], channels, pixels), "c", "b", given["eps"], given["weight"], given["bias"], (channels,)
    )


OPERATORS: tuple[Operator, ...] = (
    Operator("nn.functional.linear", linear),
    Operator("nn.functional.bilinear", bilinear),
    Operator("nn.functional.glu", glu),
    Operator("nn.functional.scaled_dot_product_attention", attention),
    Operator("nn.functional.layer_norm", over_last(True, 1e-5)),
    Operator("native_layer_norm", over_last(True, 1e-5, native=True)),
    Operator("nn.functional.rms_norm", over_last(False, None)),
    Operator("nn.functional.group_norm", over_groups),
    Operator("nn.functional.batch_norm", over_batch),
    Operator("nn.functional.batch_norm", over_batch, "without_cudnn"),
    Operator("nn.functional.instance_norm", over_instances),
)

"""Operators that read shifted places: convolutions, pooling over windows, padding, differences, running sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from operators.call import Call, DoesNotApply, Given, Operator, Sample, arguments

__all__ = ["OPERATORS"]

Translate = Callable[[Sample], Call]


def spread(value: Any, count: int) -> list[int]:
    """A number an axis, where one stands for all."""
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    return [int(v) for v in (values * count if len(values) == 1 else values)]


def listed(template: str, count: int, sep: str = ", ") -> str:
    """The template for every window axis: ``{k}`` is its number."""
    return sep.join(template.format(k=k) for k in range(count))


def defined(hypers: dict[str, int]) -> str:
    return "".join(f", {name}: Int = 1" for name in hypers)


def numbered(**values: Sequence[int]) -> dict[str, int]:
    """Hyper-parameters s0, s1, … for s=(…)."""
    return {f"{name}{k}": int(v) for name, numbers in values.items() for k, v in enumerate(numbers)}


# Convolutions


def convolution(rank: int) -> Translate:
    def call(sample: Sample) -> Call:
        given = arguments(
            sample, "w b stride padding dilation groups", b=None, stride=1, padding=0, dilation=1, groups=1
        )
        x, w, b, groups = sample.input, given["w"], given["b"], given["groups"]
        stride, dilation = spread(given["stride"], rank), spread(given["dilation"], rank)
        kernel = w.shape[2:]
        if given["padding"] == "same":
            total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
            before = [t // 2 for t in total]
            after = [t - p for t, p in zip(total, before, strict=True)]
        else:
            before = after = spread(0 if given["padding"] == "valid" else given["padding"], rank)
        batch = x.shape[0] if x.ndim == rank + 2 else 1
        sides, channels = x.shape[-rank:], x.shape[-rank - 1]
        hypers = numbered(s=stride, p=before, q=after, d=dilation)
        tensors: list[Tensor | Given] = [
            Given(x, (batch, groups, channels // groups, *sides)),
            Given(w, (groups, w.shape[0] // groups, *w.shape[1:])),
        ]
        if b is not None:
            tensors.append(Given(b, (groups, w.shape[0] // groups)))
        text = (
            f"def operator(x: Real[N, G, C, {listed('S{k}', rank)}], w: Real[G, F, C, {listed('R{k}', rank)}]"
            f"{', b: Real[G, F]' if b is not None else ''}, *{defined(hypers)}):\n"
            + "".join(f"    P{k} = (S{k} + p{k} + q{k} - d{k}*(R{k} - 1) - 1) // s{k} + 1\n" for k in range(rank))
            + f"    y: Real[N, G, F, {listed('P{k}', rank)}]\n"
            f"    y[n, g, f, {listed('o{k}', rank)}] = {'b[g, f] + ' if b is not None else ''}"
            f"sum[c, {listed('r{k}', rank)}](padded(x)[n, g, c, {listed('o{k}*s{k} + r{k}*d{k} - p{k}', rank)}]"
            f" * w[g, f, c, {listed('r{k}', rank)}])\n    return y\n"
        )
        return Call(text, tuple(tensors), hypers)

    return call


def transposed(rank: int) -> Translate:
    def call(sample: Sample) -> Call:
        given = arguments(
            sample, "w b stride padding output_padding groups dilation",
            b=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1,
        )  # fmt: skip
        x, w, b, groups = sample.input, given["w"], given["b"], given["groups"]
        batch = x.shape[0] if x.ndim == rank + 2 else 1
        sides, channels = x.shape[-rank:], x.shape[-rank - 1]
        hypers = numbered(
            **{
                name: spread(given[word], rank)
                for name, word in (("s", "stride"), ("p", "padding"), ("e", "output_padding"), ("d", "dilation"))
            }
        )
        tensors: list[Tensor | Given] = [
            Given(x, (batch, groups, channels // groups, *sides)),
            Given(w, (groups, channels // groups, *w.shape[1:])),
        ]
        if b is not None:
            tensors.append(Given(b, (groups, w.shape[1])))
        places = listed("i{k} == o{k}*s{k} + r{k}*d{k} - p{k}", rank, " and ")
        text = (
            f"def operator(x: Real[N, G, C, {listed('P{k}', rank)}], w: Real[G, C, F, {listed('R{k}', rank)}]"
            f"{', b: Real[G, F]' if b is not None else ''}, *{defined(hypers)}):\n"
            + "".join(f"    S{k} = (P{k} - 1)*s{k} - 2*p{k} + d{k}*(R{k} - 1) + e{k} + 1\n" for k in range(rank))
            + f"    y: Real[N, G, F, {listed('S{k}', rank)}]\n"
            f"    y[n, g, f, {listed('i{k}', rank)}] = {'b[g, f] + ' if b is not None else ''}"
            f"sum[c, {listed('o{k}', rank)}, {listed('r{k}', rank)}](where({places}, "
            f"x[n, g, c, {listed('o{k}', rank)}] * w[g, c, f, {listed('r{k}', rank)}], 0))\n    return y\n"
        )
        return Call(text, tuple(tensors), hypers)

    return call


# Pooling


def outputs(side: int, k: int, stride: int, pad: int, dilation: int, ceil: bool) -> int:
    """How many windows there are: the last one begins inside the axis or the padding before it."""
    room = side + 2 * pad - dilation * (k - 1) - 1
    count = -(-room // stride) + 1 if ceil else room // stride + 1
    return count - 1 if ceil and (count - 1) * stride >= side + pad else count


def windows(x: Tensor, rank: int, given: dict[str, Any]) -> tuple[Given, dict[str, int]]:
    """The images in a view [M, sides…], and the hyper-parameters of their windows."""
    sides = x.shape[-rank:]
    kernel, pad = spread(given["kernel_size"], rank), spread(given["padding"], rank)
    empty = given["stride"] in (None, [], ())
    stride = kernel if empty else spread(given["stride"], rank)
    dilation = spread(given.get("dilation", 1), rank)
    counts = [outputs(*v, bool(given["ceil_mode"])) for v in zip(sides, kernel, stride, pad, dilation, strict=True)]
    count = 1
    for size in x.shape[:-rank]:
        count *= size
    return Given(x, (count, *sides)), numbered(k=kernel, s=stride, p=pad, d=dilation, o=counts)


def pooled(rank: int, hypers: dict[str, int], body: str) -> str:
    sizes = "".join(f"    P{k} = o{k}\n" for k in range(rank))
    return f"def operator(x: Real[M, {listed('S{k}', rank)}], *{defined(hypers)}):\n{sizes}{body}    return y\n"


def max_pool(rank: int) -> Translate:
    def call(sample: Sample) -> Call:
        given = arguments(
            sample, "kernel_size stride padding dilation ceil_mode return_indices",
            stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False,
        )  # fmt: skip
        images, hypers = windows(sample.input, rank, given)
        body = (
            f"    y: Real[M, {listed('P{k}', rank)}]\n"
            f"    y[m, {listed('q{k}', rank)}] = max[{listed('r{k}: k{k}', rank)}]"
            f"(padded(x, -inf)[m, {listed('q{k}*s{k} + r{k}*d{k} - p{k}', rank)}])\n"
        )
        pick = (lambda result: result[0]) if given["return_indices"] else (lambda result: result)
        return Call(pooled(rank, hypers, body), (images,), hypers, pick)

    return call


def avg_pool(rank: int) -> Translate:
    def call(sample: Sample) -> Call:
        given = arguments(
            sample, "kernel_size stride padding ceil_mode count_include_pad divisor_override",
            stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None,
        )  # fmt: skip
        images, hypers = windows(sample.input, rank, given)
        hypers = {name: v for name, v in hypers.items() if not name.startswith("d")}
        body, divisor = "", listed("c{k}[q{k}]", rank, " * ")
        if given["divisor_override"] is not None:
            hypers["by"] = given["divisor_override"]
            divisor = "by"
        else:
            for k in range(rank):
                begin, end = f"q{k}*s{k} - p{k}", f"minimum(q{k}*s{k} - p{k} + k{k}, S{k} + p{k})"
                inside = f"minimum(q{k}*s{k} - p{k} + k{k}, S{k}) - maximum({begin}, 0)"
                count = f"{end} - ({begin})" if given["count_include_pad"] else inside
                body += f"    c{k}: Real[P{k}]\n    c{k}[q{k}] = {count}\n"
        body += (
            f"    y: Real[M, {listed('P{k}', rank)}]\n"
            f"    y[m, {listed('q{k}', rank)}] = sum[{listed('r{k}: k{k}', rank)}]"
            f"(padded(x)[m, {listed('q{k}*s{k} + r{k} - p{k}', rank)}]) / ({divisor})\n"
        )
        return Call(pooled(rank, hypers, body), (images,), hypers)

    return call


def adaptive_pool(rank: int, maximum: bool) -> Translate:
    """Windows from floor(o·S/P) to below ceil((o + 1)·S/P), of which the elements are marked."""

    def call(sample: Sample) -> Call:
        given = arguments(sample, "output_size return_indices", return_indices=False)
        x = sample.input
        asked = given["output_size"] if isinstance(given["output_size"], (list, tuple)) else [given["output_size"]]
        asked = list(asked) * (rank if len(asked) == 1 else 1)
        sides = x.shape[-rank:]
        counts = [s if o is None else o for s, o in zip(sides, asked, strict=True)]
        images = 1
        for size in x.shape[:-rank]:
            images *= size
        hypers = numbered(o=counts)
        low, high = "(q{k}*S{k}) // P{k}", "((q{k} + 1)*S{k} + P{k} - 1) // P{k}"
        inside = listed(f"i{{k}} >= {low} and i{{k}} < {high}", rank, " and ")
        element = f"x[m, {listed('i{k}', rank)}]"
        over = listed("i{k}", rank)
        if maximum:
            value = f"max[{over}](where({inside}, {element}, -inf))"
        else:
            size = listed(f"({high} - {low})", rank, " * ")
            value = f"sum[{over}](where({inside}, {element}, 0)) / ({size})"
        body = f"    y: Real[M, {listed('P{k}', rank)}]\n    y[m, {listed('q{k}', rank)}] = {value}\n"
        pick = (lambda result: result[0]) if given["return_indices"] else (lambda result: result)
        return Call(pooled(rank, hypers, body), (Given(x, (images, *sides)),), hypers, pick)

    return call


# Rearrangements


def patches(sample: Sample) -> Call:
    given = arguments(sample, "kernel_size dilation padding stride", dilation=1, padding=0, stride=1)
    x = sample.input
    hypers = numbered(
        **{
            name: spread(given[word], 2)
            for name, word in (("k", "kernel_size"), ("d", "dilation"), ("p", "padding"), ("s", "stride"))
        }
    )
    view = tuple(x.shape) if x.ndim == 4 else (1, *x.shape)
    text = (
        f"def operator(x: Real[N, C, S0, S1], *{defined(hypers)}):\n"
        + "".join(f"    R{k} = k{k}\n    P{k} = (S{k} + 2*p{k} - d{k}*(k{k} - 1) - 1) // s{k} + 1\n" for k in range(2))
        + "    y: Real[N, C, R0, R1, P0, P1]\n"
        "    y[n, c, a, b, o, q] = padded(x)[n, c, o*s0 + a*d0 - p0, q*s1 + b*d1 - p1]\n    return y\n"
    )
    return Call(text, (Given(x, view),), hypers)


def tensor_unfold(sample: Sample) -> Call:
    given = arguments(sample, "dim size step")
    x = sample.input
    if x.ndim == 0 or given["size"] == 0:
        raise DoesNotApply("no axis, or windows of no elements")
    place = given["dim"] % x.ndim
    axes = [f"N{p}" for p in range(x.ndim)]
    indices = [f"i{p}" for p in range(x.ndim)]
    read = [*indices[:place], f"i{place}*step + r", *indices[place + 1 :]]
    result = [*axes[:place], "P", *axes[place + 1 :], "R"]
    text = (
        f"def operator(x: Real[{', '.join(axes)}], *, size: Int = 1, step: Int = 1):\n"
        f"    P = (N{place} - size) // step + 1\n    R = size\n    y: Real[{', '.join(result)}]\n"
        f"    y[{', '.join([*indices, 'r'])}] = x[{', '.join(read)}]\n    return y\n"
    )
    return Call(text, (x,), {"size": given["size"], "step": given["step"]})


def pixel_shuffle(sample: Sample) -> Call:
    k = arguments(sample, "upscale_factor")["upscale_factor"]
    n, c, h, w = sample.input.shape
    if sample.input.numel() == 0:
        raise DoesNotApply("an image without pixels")
    return Call("pixel_shuffle", (Given(sample.input, (n, c // (k * k), k, k, h, w)),))


def pixel_unshuffle(sample: Sample) -> Call:
    k = arguments(sample, "downscale_factor")["downscale_factor"]
    if sample.input.numel() == 0:
        raise DoesNotApply("an image without pixels")
    return Call("pixel_unshuffle", (sample.input,), {"k": k})


def local_response(sample: Sample) -> Call:
    given = arguments(sample, "size alpha beta k", alpha=1e-4, beta=0.75, k=1.0)
    x = sample.input
    view = (*x.shape[:2], x.shape[2:].numel(), 1)
    return Call("local_response_norm", (Given(x, view),), given)


def constant_pad(names: str) -> Translate:
    def call(sample: Sample) -> Call:
        given = arguments(sample, names, mode="constant", value=0.0)
        x, pads = sample.input, list(given["pad"])
        value = float(given["value"] or 0.0)
        pairs = [(0, 0)] * (x.ndim - len(pads) // 2) + [tuple(pads[k : k + 2]) for k in range(len(pads) - 2, -1, -2)]
        if any(s + a + b < 1 for s, (a, b) in zip(x.shape, pairs, strict=True)):
            raise DoesNotApply("an axis that is cut off wholly, or empty")
        hypers = numbered(a=[a for a, _ in pairs], b=[b for _, b in pairs])
        rank = x.ndim
        text = (
            f"def operator(x: Real[{listed('N{k}', rank)}], *{defined(hypers)}, value: Real = 0.0):\n"
            + "".join(f"    P{k} = N{k} + a{k} + b{k}\n" for k in range(rank))
            + f"    y: Real[{listed('P{k}', rank)}]\n"
            f"    y[{listed('i{k}', rank)}] = padded(x, value)[{listed('i{k} - a{k}', rank)}]\n    return y\n"
        )
        return Call(text, (x,), hypers | {"value": value})

    return call


def subscripted(x: Tensor, dims: Sequence[int], place: str) -> tuple[str, str, str]:
    """Axes, indices and a read whose subscript along ``dims`` is ``place`` (``{i}`` its index, ``{n}`` the size)."""
    axes = [f"N{p}" for p in range(x.ndim)]
    indices = [f"i{p}" for p in range(x.ndim)]
    read = [place.format(i=i, n=n) if p in dims else i for p, (i, n) in enumerate(zip(indices, axes, strict=True))]
    return ", ".join(axes), ", ".join(indices), ", ".join(read)


def flip(sample: Sample) -> Call:
    x = sample.input
    dims = arguments(sample, "dims")["dims"]
    axes, indices, read = subscripted(x, [d % x.ndim for d in dims], "{n} - 1 - {i}")
    text = f"def operator(x: Real[{axes}]):\n    y: Real[{axes}]\n    y[{indices}] = x[{read}]\n    return y\n"
    return Call(text, (x,))


def narrow(sample: Sample) -> Call:
    given = arguments(sample, "dim start length")
    x, start, length = sample.input, int(given["start"]), given["length"]
    if length == 0:
        raise DoesNotApply("a part of no elements")
    place = given["dim"] % x.ndim
    axes, indices, read = subscripted(x, [place], "{i} + start")
    result = axes.replace(f"N{place}", "P")
    text = (
        f"def operator(x: Real[{axes}], *, start: Int = 0, length: Int = 1):\n    P = length\n    y: Real[{result}]\n"
        f"    y[{indices}] = padded(x)[{read}]\n    return y\n"
    )
    return Call(text, (x,), {"start": start % x.shape[place], "length": length})


def diff(sample: Sample) -> Call:
    given = arguments(sample, "n dim prepend append", n=1, dim=-1, prepend=None, append=None)
    x, n = sample.input, given["n"]
    if given["prepend"] is not None or given["append"] is not None:
        raise DoesNotApply("tensors before or after it")
    place = given["dim"] % x.ndim
    if x.shape[place] <= n:
        raise DoesNotApply("fewer elements than differences")
    axes, indices, after = subscripted(x, [place], "{i} + 1")
    lines, name = [], "x"
    for k in range(n):
        result = axes.replace(f"N{place}", f"P{k}")
        lines += [f"P{k} = N{place} - {k + 1}", f"y{k}: Real[{result}]"]
        lines.append(f"y{k}[{indices}] = {name}[{after}] - {name}[{indices}]")
        name = f"y{k}"
    if n == 0:
        lines, name = [f"y[{indices}] = x[{indices}]"], "y"
    text = f"def operator(x: Real[{axes}]):\n" + "".join(f"    {line}\n" for line in lines) + f"    return {name}\n"
    return Call(text, (x,))


def trapezoid(cumulative: bool) -> Translate:
    """Areas under the broken line through given points."""

    def call(sample: Sample) -> Call:
        given = arguments(sample, "x dim dx", x=None, dim=-1, dx=1.0)
        y, x = sample.input, given["x"]
        place = given["dim"] % y.ndim
        if y.shape[place] < 2 or (x is not None and x.shape != y.shape):
            raise DoesNotApply("one point, or places that broadcast")
        axes, indices, after = subscripted(y, [place], "{i} + 1")
        step = f"(x[{after}] - x[{indices}])" if x is not None else "dx"
        head = f"y: Real[{axes}], x: Real[{axes}]" if x is not None else f"y: Real[{axes}], *, dx: Real = 1.0"
        part = axes.replace(f"N{place}", "P")
        start, before = indices.replace(f"i{place}", "-1"), indices.replace(f"i{place}", f"i{place} - 1")
        rest = [i for p, i in enumerate(indices.split(", ")) if p != place]
        text = (
            f"def operator({head}):\n    P = N{place} - 1\n    a: Real[{part}]\n"
            f"    a[{indices}] = {step} * (y[{indices}] + y[{after}]) / 2\n"
        )
        if cumulative:
            text += f"    z[{start}] = 0\n    z[{indices}] = z[{before}] + a[{indices}]\n    return z\n"
        else:
            target = f"z[{', '.join(rest)}]" if rest else "z"
            text += f"    {target} = sum[i{place}](a[{indices}])\n    return z\n"
        return Call(text, (y, x) if x is not None else (y,), {} if x is not None else {"dx": float(given["dx"])})

    return call


# Along a sequence


def running(start: str, step: str) -> Translate:
    """A recurrence along an axis: ``{y}`` is the element before, ``{x}`` the one that comes."""

    def call(sample: Sample) -> Call:
        x = sample.input
        place = arguments(sample, "dim dtype")["dim"] % max(x.ndim, 1)
        rank = max(x.ndim, 1)
        axes, indices = listed("N{k}", rank), listed("i{k}", rank)
        begin, before = indices.replace(f"i{place}", "-1"), indices.replace(f"i{place}", f"i{place} - 1")
        text = (
            f"def operator(x: Real[{axes}]):\n    y: Real[{axes}]\n    y[{begin}] = {start}\n"
            f"    y[{indices}] = {step.format(y=f'y[{before}]', x=f'x[{indices}]')}\n    return y\n"
        )
        return Call(text, (Given(x, tuple(x.shape) or (1,)),))

    return call


OPERATORS: tuple[Operator, ...] = (
    *(Operator(f"nn.functional.conv{rank}d", convolution(rank)) for rank in (1, 2, 3)),
    *(Operator(f"nn.functional.conv_transpose{rank}d", transposed(rank)) for rank in (1, 2, 3)),
    *(Operator(f"nn.functional.max_pool{rank}d", max_pool(rank)) for rank in (1, 2, 3)),
    *(Operator(f"nn.functional.avg_pool{rank}d", avg_pool(rank)) for rank in (1, 2, 3)),
    *(Operator(f"nn.functional.adaptive_avg_pool{rank}d", adaptive_pool(rank, False)) for rank in (1, 2, 3)),
    *(Operator(f"nn.functional.adaptive_max_pool{rank}d", adaptive_pool(rank, True)) for rank in (1, 2, 3)),
    Operator("nn.functional.unfold", patches),
    Operator("unfold", tensor_unfold),
    Operator("nn.functional.pixel_shuffle", pixel_shuffle),
    Operator("nn.functional.pixel_unshuffle", pixel_unshuffle),
    Operator("nn.functional.local_response_norm", local_response),
    Operator("nn.functional.pad", constant_pad("pad mode value"), "constant"),
    Operator("constant_pad_nd", constant_pad("pad value")),
    Operator("flip", flip),
    Operator("narrow", narrow),
    Operator("diff", diff),
    Operator("trapezoid", trapezoid(False)),
    Operator("trapz", trapezoid(False)),
    Operator("cumulative_trapezoid", trapezoid(True)),
    Operator("cumsum", running("0", "{y} + {x}")),
    Operator("cumprod", running("1", "{y} * {x}")),
    Operator("logcumsumexp", running("-inf", "log(exp({y}) + exp({x}))")),
)

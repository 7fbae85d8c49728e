"""Elementwise operators: one, two or three operands, which broadcast."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor

from operators.call import Call, DoesNotApply, Operator, Sample, arguments, pointwise

__all__ = ["OPERATORS"]

# One operand, no arguments.
UNARY = {
    "abs": "abs({x})",
    "acos": "acos({x})",
    "acosh": "log({x} + sqrt({x}**2 - 1))",
    "asin": "asin({x})",
    "asinh": "sign({x}) * log(abs({x}) + sqrt({x}**2 + 1))",
    "atan": "atan({x})",
    "atanh": "(log1p({x}) - log1p(-{x})) / 2",
    "ceil": "ceil({x})",
    "clone": "{x}",
    "cos": "cos({x})",
    "cosh": "cosh({x})",
    "deg2rad": "{x} * pi / 180",
    "digamma": "digamma({x})",
    "erf": "erf({x})",
    "erfc": "erfc({x})",
    "exp": "exp({x})",
    "exp2": "2**{x}",
    "expm1": "expm1({x})",
    "floor": "floor({x})",
    "frac": "{x} - where({x} < 0, ceil({x}), floor({x}))",
    "lgamma": "lgamma({x})",
    "log": "log({x})",
    "log10": "log({x}) / log(10)",
    "log1p": "log1p({x})",
    "log2": "log({x}) / log(2)",
    "neg": "-{x}",
    "positive": "+{x}",
    "rad2deg": "{x} * 180 / pi",
    "reciprocal": "1 / {x}",
    "round": "round({x})",
    "rsqrt": "rsqrt({x})",
    "sigmoid": "1 / (1 + exp(-{x}))",
    "sign": "sign({x})",
    "sgn": "sign({x})",
    "sin": "sin({x})",
    "sinc": "where({x} == 0, 1, sin(pi * {x}) / (pi * {x}))",
    "sinh": "sinh({x})",
    "special.entr": "-{x} * log({x})",
    "special.erfcx": "exp({x}**2) * erfc({x})",
    "special.ndtr": "erfc(-{x} / sqrt(2)) / 2",
    "special.log_ndtr": "log(erfc(-{x} / sqrt(2)) / 2)",
    "sqrt": "sqrt({x})",
    "square": "{x}**2",
    "tan": "tan({x})",
    "tanh": "tanh({x})",
    "trunc": "where({x} < 0, ceil({x}), floor({x}))",
}

# One operand and the hyper-parameters of a catalogue layer.
ACTIVATIONS = {
    "nn.functional.celu": ("celu", "alpha"),
    "nn.functional.elu": ("elu", "alpha"),
    "nn.functional.hardshrink": ("hardshrink", "lambd"),
    "nn.functional.hardswish": ("hardswish", ""),
    "nn.functional.hardtanh": ("hardtanh", "min_val max_val"),
    "nn.functional.leaky_relu": ("leaky_relu", "negative_slope"),
    "nn.functional.logsigmoid": ("log_sigmoid", ""),
    "nn.functional.mish": ("mish", ""),
    "nn.functional.relu": ("relu", ""),
    "nn.functional.relu6": ("relu6", ""),
    "nn.functional.selu": ("selu", ""),
    "nn.functional.silu": ("silu", ""),
    "nn.functional.softshrink": ("softshrink", "lambd"),
    "nn.functional.softsign": ("softsign", ""),
    "nn.functional.tanhshrink": ("tanhshrink", ""),
}

# Two operands, the second a tensor or a number.
BINARY = {
    "__radd__": "{y} + {x}",
    "__rdiv__": "{y} / {x}",
    "__rmul__": "{y} * {x}",
    "__rpow__": "{y}**{x}",
    "__rsub__": "{y} - {x}",
    "clamp_max": "minimum({x}, {y})",
    "clamp_min": "maximum({x}, {y})",
    "float_power": "{x}**{y}",
    "fmax": "maximum({x}, {y})",
    "fmin": "minimum({x}, {y})",
    "hypot": "sqrt({x}**2 + {y}**2)",
    "ldexp": "{x} * 2**{y}",
    "logaddexp": "log(exp({x}) + exp({y}))",
    "logaddexp2": "log(2**{x} + 2**{y}) / log(2)",
    "maximum": "maximum({x}, {y})",
    "minimum": "minimum({x}, {y})",
    "mul": "{x} * {y}",
    "pow": "{x}**{y}",
    "remainder": "{x} % {y}",
    "special.xlog1py": "{x} * log1p({y})",
    "true_divide": "{x} / {y}",
    "xlogy": "{x} * log({y})",
}
VARIANTS = {
    ("div", "no_rounding_mode"): "{x} / {y}",
    ("div", "floor_rounding"): "floor({x} / {y})",
    ("div", "trunc_rounding"): "where({x} / {y} < 0, ceil({x} / {y}), floor({x} / {y}))",
    ("max", "binary"): "maximum({x}, {y})",
    ("min", "binary"): "minimum({x}, {y})",
}


def unary(formula: str) -> Callable[[Sample], Call]:
    def call(sample: Sample) -> Call:
        assert not sample.args
        return pointwise(formula, x=sample.input)

    return call


def activation(layer: str, hypers: str) -> Callable[[Sample], Call]:
    def call(sample: Sample) -> Call:
        given = arguments(sample, f"{hypers} inplace")
        if given.pop("inplace", False):
            raise DoesNotApply("writes into its input")
        return Call(layer, (sample.input,), given)

    return call


def binary(formula: str) -> Callable[[Sample], Call]:
    def call(sample: Sample) -> Call:
        given = arguments(sample, "y", rounding_mode=None)
        return pointwise(formula, x=sample.input, y=given["y"])

    return call


def scaled(formula: str) -> Callable[[Sample], Call]:
    """A second operand times ``alpha``."""

    def call(sample: Sample) -> Call:
        given = arguments(sample, "y alpha", alpha=1)
        return pointwise(formula, x=sample.input, y=given["y"], alpha=float(given["alpha"]))

    return call


def with_value(formula: str) -> Callable[[Sample], Call]:
    """Three operands, two of them combined times ``value``."""

    def call(sample: Sample) -> Call:
        given = arguments(sample, "y z value", value=1)
        return pointwise(formula, x=sample.input, y=given["y"], z=given["z"], value=float(given["value"]))

    return call


def hardsigmoid(sample: Sample) -> Call:
    if sample.input.ndim and sample.input.numel():
        raise DoesNotApply("PyTorch's derivative is 1/6 in single precision")
    return Call("hardsigmoid", (sample.input,))


def lerp(sample: Sample) -> Call:
    given = arguments(sample, "y w")
    return pointwise("{x} + {w} * ({y} - {x})", x=sample.input, **given)


def clamp(sample: Sample) -> Call:
    given = arguments(sample, "min max", min=None, max=None)
    low, high = given["min"], given["max"]
    if any(isinstance(bound, Tensor) and not bound.dtype.is_floating_point for bound in (low, high)):
        raise DoesNotApply("a bound that is integer")
    if high is None:
        return pointwise("maximum({x}, {low})", x=sample.input, low=low)
    if low is None:
        return pointwise("minimum({x}, {high})", x=sample.input, high=high)
    return pointwise("clip({x}, {low}, {high})", x=sample.input, low=low, high=high)


def where(sample: Sample) -> Call:
    given = arguments(sample, "condition other")
    return pointwise("where({m}, {x}, {y})", x=sample.input, m=given["condition"], y=given["other"])


def masked_fill(sample: Sample) -> Call:
    given = arguments(sample, "mask value")
    return pointwise("where({m}, {v}, {x})", x=sample.input, m=given["mask"], v=given["value"])


def logit(sample: Sample) -> Call:
    given = arguments(sample, "eps", eps=None)
    if given["eps"] is None:
        return pointwise("log({x} / (1 - {x}))", x=sample.input)
    clipped = "clip({x}, {eps}, 1 - {eps})"
    return pointwise(f"log({clipped} / (1 - {clipped}))", x=sample.input, eps=float(given["eps"]))


def mvlgamma(sample: Sample) -> Call:
    p = arguments(sample, "p")["p"]
    terms = " + ".join([f"{math.log(math.pi) * p * (p - 1) / 4!r}", *(f"lgamma({{x}} - {j} / 2)" for j in range(p))])
    return pointwise(terms, x=sample.input)


def gelu(sample: Sample) -> Call:
    tanh = arguments(sample, "approximate")["approximate"] == "tanh"
    return Call("gelu_tanh" if tanh else "gelu", (sample.input,))


def softplus(sample: Sample) -> Call:
    given = arguments(sample, "beta threshold")
    return pointwise(
        "where({beta} * {x} > {threshold}, {x}, log(1 + exp({beta} * {x})) / {beta})",
        x=sample.input,
        **{n: float(v) for n, v in given.items()},
    )


def threshold(sample: Sample) -> Call:
    given = arguments(sample, "threshold value")
    return pointwise("where({x} > {threshold}, {x}, {value})", x=sample.input, **given)


def prelu(sample: Sample) -> Call:
    w = arguments(sample, "weight")["weight"]
    if w.ndim == 0:
        return Call("prelu", (sample.input, w))
    if w.numel() == 1:
        return (
            pointwise("where({x} > 0, {x}, {w} * {x})", x=sample.input, w=w) if sample.input.ndim else scalar(sample, w)
        )
    rest = ", ".join(f"i{k}" for k in range(sample.input.ndim - 2))
    element = f"x[n, c{', ' + rest if rest else ''}]"
    axes = ", ".join(["N", "C", *(f"S{k}" for k in range(sample.input.ndim - 2))])
    text = (
        f"def operator(x: Real[{axes}], w: Real[C]):\n"
        f"    y{element[1:]} = where({element} > 0, {element}, w[c] * {element})\n"
        "    return y\n"
    )
    return Call(text, (sample.input, w))


def scalar(sample: Sample, w: Tensor) -> Call:
    text = "def operator(x: Real, w: Real[1]):\n    y = where(x > 0, x, w[0] * x)\n    return y\n"
    return Call(text, (sample.input, w))


OPERATORS: tuple[Operator, ...] = (
    *(Operator(name, unary(formula)) for name, formula in UNARY.items()),
    *(Operator(name, activation(*layer)) for name, layer in ACTIVATIONS.items()),
    *(Operator(name, binary(formula)) for name, formula in BINARY.items()),
    *(Operator(name, binary(formula), variant) for (name, variant), formula in VARIANTS.items()),
    Operator("add", scaled("{x} + {alpha} * {y}")),
    Operator("sub", scaled("{x} - {alpha} * {y}")),
    Operator("rsub", scaled("{y} - {alpha} * {x}")),
    Operator("addcmul", with_value("{x} + {value} * {y} * {z}")),
    Operator("addcdiv", with_value("{x} + {value} * {y} / {z}")),
    Operator("nn.functional.hardsigmoid", hardsigmoid),
    Operator("lerp", lerp),
    Operator("clamp", clamp),
    Operator("where", where),
    Operator("masked_fill", masked_fill),
    Operator("logit", logit),
    *(Operator("mvlgamma", mvlgamma, f"mvlgamma_p_{p}") for p in (1, 3, 5)),
    Operator("nn.functional.gelu", gelu),
    Operator("nn.functional.softplus", softplus),
    Operator("nn.functional.threshold", threshold),
    Operator("nn.functional.prelu", prelu),
)

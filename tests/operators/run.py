"""Samples of PyTorch's operator database through generated modules, against PyTorch itself.

Outputs, and gradients for a random cotangent, in float64; the error is
relative to the largest element.
"""

from __future__ import annotations

import functools
import warnings
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from operators.call import Call, DoesNotApply, Given, Operator, Sample, layer_of, module_of

__all__ = ["MOST", "TOLERANCE", "Outcome", "outcome", "samples"]

# Of an operator with more samples, evenly spaced ones are taken; an odd distance, as flags go on and off in turn.
MOST = 200

TOLERANCE = 1e-9
# What is left where numbers of size 1 cancel.
ROUNDING = 1e-13


@dataclass
class Outcome:
    """What became of an operator's samples.

    Attributes:
        passed: how many agree.
        skipped: how many do not apply, by reason.
        failed: what is wrong with the others.
    """

    passed: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)


@functools.cache
def database() -> dict[tuple[str, str], Any]:
    """PyTorch's operators by name and variant."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal.common_methods_invocations import op_db
    return {(op.name, op.variant_test_name): op for op in op_db}


def samples(operator: Operator) -> tuple[Any, list[Sample]]:
    """PyTorch's function for an operator and its sample inputs, at most ``MOST``, the same ones each time."""
    info = database()[operator.name, operator.variant]
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = list(info.sample_inputs("cpu", torch.float64, requires_grad=True))
    distance = -(-len(found) // MOST)
    return info.op, found[:: distance + (distance % 2 == 0)]


def described(sample: Sample) -> str:
    def word(value: Any) -> str:
        if isinstance(value, Tensor):
            return f"{tuple(value.shape)}"
        return f"[{', '.join(map(word, value))}]" if isinstance(value, (list, tuple)) else repr(value)

    named = [f"{name}={word(value)}" for name, value in sample.kwargs.items()]
    return ", ".join([word(sample.input), *map(word, sample.args), *named])


def outcome(operator: Operator) -> Outcome:
    """Run all samples of an operator."""
    function, found = samples(operator)
    result = Outcome()
    for place, sample in enumerate(found):
        try:
            call = operator.call(sample)
            expected = pytorch(function, sample, call)
            problem = compare(call, *expected)
        except DoesNotApply as reason:
            result.skipped[str(reason)] += 1
            continue
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        if problem:
            result.failed.append(f"sample {place} ({described(sample)}): {problem}")
        else:
            result.passed += 1
    return result


Array = NDArray[np.float64]


def pytorch(function: Any, sample: Sample, call: Call) -> tuple[list[Array], list[Array], list[Array | None]]:
    """PyTorch's outputs, a cotangent for each, and its gradients for the call's tensors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = call.pick(function(sample.input, *sample.args, **sample.kwargs))
    outputs = list(result) if isinstance(result, (tuple, list)) else [result]
    generator = torch.Generator().manual_seed(1)
    seeds = [torch.rand(y.shape, generator=generator, dtype=torch.float64) + 0.5 for y in outputs]
    tensors = [g.tensor if isinstance(g, Given) else g for g in call.tensors]
    wanted = [t for t in tensors if t.requires_grad]
    linked = [(y, seed) for y, seed in zip(outputs, seeds, strict=True) if y.requires_grad]
    found = (
        torch.autograd.grad([y for y, _ in linked], wanted, [seed for _, seed in linked], allow_unused=True)
        if linked and wanted
        else (None,) * len(wanted)
    )
    gradients = {id(t): torch.zeros_like(t) if g is None else g for t, g in zip(wanted, found, strict=True)}
    return (
        [y.numpy(force=True) for y in outputs],
        [seed.numpy() for seed in seeds],
        [gradients[id(t)].numpy(force=True) if id(t) in gradients else None for t in tensors],
    )


def compare(call: Call, outputs: list[Array], seeds: list[Array], gradients: list[Array | None]) -> str:
    """Return what differs between PyTorch and the generated module; nothing where they agree."""
    if any(np.isnan(a).any() for a in (*outputs, *(g for g in gradients if g is not None))):
        raise DoesNotApply("PyTorch's result is not a number")
    functions = module_of(call.source)
    arrays = [
        g.tensor.detach().numpy().reshape(g.tensor.shape if g.shape is None else g.shape)
        if isinstance(g, Given)
        else g.detach().numpy()
        for g in call.tensors
    ]
    try:
        result, cache = functions.forward(*arrays, **call.hypers)
    except ValueError as error:
        if " is empty" in str(error):
            raise DoesNotApply("an empty axis, which the module refuses") from None
        raise
    results = result if isinstance(result, tuple) else (result,)
    for place, (got, expected) in enumerate(zip(results, outputs, strict=True)):
        problem = difference(got, expected)
        if problem:
            return f"output {place} {problem}"
    cotangents = [np.asarray(s).reshape(np.shape(y)) for s, y in zip(seeds, results, strict=True)]
    found = dict(zip(layer_of(call.source).differentiable, functions.backward(*cotangents, cache), strict=True))
    for parameter, gradient in zip(layer_of(call.source).parameters, gradients, strict=True):
        if gradient is not None:
            problem = difference(found[parameter.name], gradient)
            if problem:
                return f"d{parameter.name} {problem}"
    return ""


def difference(got: Any, expected: Array) -> str:
    """Return how far apart two arrays are where that is more than rounding; shapes may differ by axes of 1."""
    got = np.asarray(got)
    if got.size != expected.size:
        return f"has shape {got.shape}, expected {expected.shape}"
    got = got.reshape(expected.shape)
    finite = np.isfinite(expected)
    if not np.array_equal(got[~finite], expected[~finite]):
        return "is not infinite where PyTorch's is"
    if not finite.any():
        return ""
    allowed = max(TOLERANCE * np.abs(expected[finite]).max(), ROUNDING)
    error = np.abs(got[finite] - expected[finite])
    worst = int(np.argmax(np.where(np.isnan(error), np.inf, error)))
    if error[worst] <= allowed:
        return ""
    return f"is {got[finite][worst]!r}, expected {expected[finite][worst]!r}, off by {error[worst]:.2g} > {allowed:.2g}"

"""Random layers, derived, written as NumPy and compared with PyTorch's autograd on an interpreter of their text.

    python tests/fuzz.py --layers 2000 [--seed 7] [--second]

prints how many layers ran, how many were refused by the reader (with its
message) or left out because their values are no finite numbers, and each fault
as the smallest layer that shows it.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from random_layers import BATCH, LABELS, LENGTHS, layers  # noqa: E402 (found by the line above)
from torch_interpreter import run  # noqa: E402

from derive.algebra.nodes import BATCH_SIZE, Kind, Size  # noqa: E402
from derive.errors import DeriveError  # noqa: E402
from derive.language import parse_all  # noqa: E402
from derive.language.layer import Layer  # noqa: E402
from derive.pipeline import build_module  # noqa: E402

TOLERANCE = 1e-9
"""Largest error of an output or gradient, relative to the largest number in it or 1."""

LARGEST = 1e6
"""Values and gradients beyond this are not compared: their errors are those of the inputs, magnified."""

Arrays = dict[str, np.ndarray]


@dataclass
class Tally:
    """What became of the layers."""

    outcomes: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        lines = [f"{count:6} {what}" for what, count in self.outcomes.most_common()]
        lines += [f"       refused {count}: {message}" for message, count in self.refusals.most_common()]
        return "\n".join(lines)


def inputs(layer: Layer, text: str) -> Arrays:
    """Draw an array a parameter, from the text: the same layer has the same inputs."""
    generator = np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]))
    made: Arrays = {}
    for parameter in layer.parameters:
        shape: list[int] = []
        for axis in parameter.axes:
            shape += BATCH if axis == BATCH_SIZE else [LENGTHS[axis.name] if isinstance(axis, Size) else int(axis)]
        if parameter.kind is Kind.INT:
            made[parameter.name] = generator.integers(0, LABELS, shape)
        elif parameter.kind is Kind.BOOL:
            made[parameter.name] = generator.random(shape) < 0.6
        else:
            made[parameter.name] = generator.standard_normal(shape)
    return made


@dataclass
class Reference:
    """What PyTorch says of a layer at given inputs.

    Attributes:
        outputs: of the forward, in order.
        cotangents: drawn for them.
        gradients: by parameter.
        directions: drawn for the gradients, where second derivatives are wanted.
        second: the gradient of ``sum(directions*gradients)`` by each cotangent, then by each parameter.
    """

    outputs: list[np.ndarray]
    cotangents: list[np.ndarray]
    gradients: Arrays
    directions: list[np.ndarray] = field(default_factory=list)
    second: list[np.ndarray] = field(default_factory=list)


def reference(text: str, layer: Layer, arrays: Arrays, *, second: bool = False) -> Reference:
    """Run the interpreter and PyTorch's autograd."""
    tensors = {}
    for name, array in arrays.items():
        real = array.dtype == np.float64
        tensors[name] = torch.tensor(array, requires_grad=True) if real else torch.tensor(array)
        if array.dtype == np.int64:
            tensors[name] = tensors[name].double()
    outputs = run(text, layer.name, tensors)
    generator = np.random.default_rng(1)
    cotangents = [generator.standard_normal(tuple(y.shape)) for y in outputs]
    wanted = [tensors[name] for name in layer.differentiable]
    given = [torch.tensor(dy, requires_grad=second) for dy in cotangents]
    found = _gradients(outputs, wanted, given, graph=second)
    result = Reference(
        [y.detach().double().numpy() for y in outputs],
        cotangents,
        {name: g.detach().numpy() for name, g in zip(layer.differentiable, found, strict=True)},
    )
    if second:
        result.directions = [generator.standard_normal(tuple(g.shape)) for g in found]
        again = _gradients(found, [*given, *wanted], [torch.tensor(v) for v in result.directions], graph=False)
        result.second = [g.numpy() for g in again]
    return result


def _gradients(
    outputs: Sequence[torch.Tensor], wanted: list[torch.Tensor], cotangents: list[torch.Tensor], *, graph: bool
) -> list[torch.Tensor]:
    """Return the gradients; zeros where nothing leads from an output to what they are wanted by."""
    pairs = [(y, dy) for y, dy in zip(outputs, cotangents, strict=True) if y.requires_grad]
    found: Sequence[torch.Tensor | None] = [None] * len(wanted)
    if pairs and wanted:
        found = torch.autograd.grad(
            [y for y, _ in pairs], wanted, [dy for _, dy in pairs], allow_unused=True, create_graph=graph
        )
    return [torch.zeros_like(x) if g is None else g for x, g in zip(wanted, found, strict=True)]


def same(name: str, ours: object, theirs: np.ndarray) -> None:
    """Compare an array with the reference.

    Raises:
        AssertionError: the shapes differ, or the numbers by more than TOLERANCE.
    """
    array = np.asarray(ours)
    assert array.shape == theirs.shape, f"{name}: {array.shape} for {theirs.shape}"
    scale = max(1.0, float(np.abs(theirs).max(initial=0)))
    error = float(np.abs(array - theirs).max(initial=0)) / scale
    assert error < TOLERANCE, f"{name}: relative error {error:.1e}"


def try_numpy(layer: Layer, arrays: Arrays, expected: Reference, *, second: bool) -> None:
    """Compare the layer's generated module with the reference.

    Raises:
        AssertionError: they disagree.
    """
    space: dict[str, Callable[..., Any]] = {}
    exec(compile(build_module(layer, second=second), layer.name, "exec"), space)
    outputs, cache = space["forward"](*(arrays[p.name] for p in layer.parameters))
    results = outputs if isinstance(outputs, tuple) else (outputs,)
    for name, ours, theirs in zip(layer.returns, results, expected.outputs, strict=True):
        same(name, ours, theirs)
    gradients = space["backward"](*expected.cotangents, cache)
    for (name, theirs), ours in zip(expected.gradients.items(), gradients, strict=True):
        same(f"d{name}", ours, theirs)
    if second and layer.differentiable:
        found = space["double_backward"](*expected.directions, *expected.cotangents, cache)
        names = [*(f"dd{name}" for name in layer.returns), *(f"d2{name}" for name in layer.differentiable)]
        for name, ours, theirs in zip(names, found, expected.second, strict=True):
            same(name, ours, theirs)


def try_layer(text: str, tally: Tally, *, second: bool = False) -> None:
    """Compare one layer file's last layer with the reference.

    Raises:
        AssertionError: they disagree; any other error is the program's too, but DeriveError from the reader.
    """
    try:
        layer = parse_all(text)[-1]
    except DeriveError as refusal:
        tally.outcomes["refused by the reader"] += 1
        tally.refusals[re.sub(r"'[^']*'", "…", refusal.message)] += 1
        return
    arrays = inputs(layer, text)
    expected = reference(text, layer, arrays, second=second)
    numbers = [*expected.outputs, *expected.gradients.values(), *expected.second]
    if not all(np.isfinite(a).all() and np.abs(a).max(initial=0) < LARGEST for a in numbers):
        tally.outcomes["left out: no moderate numbers"] += 1
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try_numpy(layer, arrays, expected, second=second)
    tally.outcomes["agree"] += 1


def fuzz(count: int, start: int, *, second: bool = False) -> Tally:
    """Try ``count`` random layers from a seed, and return what became of them.

    Raises:
        AssertionError: the smallest layer that disagrees is in Hypothesis' note.
    """
    tally = Tally()
    phases = [Phase.generate, Phase.shrink]

    @seed(start)
    @settings(max_examples=count, deadline=None, database=None, phases=phases, suppress_health_check=list(HealthCheck))
    @given(layers())
    def each(text: str) -> None:
        try_layer(text, tally, second=second)

    each()
    return tally


def main() -> int:
    """Run from the command line: rounds of 200 layers, each with a seed of its own; 1 where one disagrees."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--second", action="store_true", help="second derivatives too")
    options = parser.parse_args()
    total, faults = Tally(), 0
    for number in range(-(-options.layers // 200)):
        try:
            tally = fuzz(200, options.seed + number, second=options.second)
        except Exception as fault:
            faults += 1
            print(f"seed {options.seed + number}: {type(fault).__name__}: {fault}")
            print("\n".join(getattr(fault, "__notes__", [])), flush=True)
            continue
        total.outcomes += tally.outcomes
        total.refusals += tally.refusals
    print(f"{total}\n{faults:6} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

"""The generated modules on the sample inputs of PyTorch's own operator tests.

``torch.testing._internal.common_methods_invocations.op_db`` holds, for each
operator of PyTorch, the inputs that its own tests run: broadcasting, empty
tensors, dims from the end, hyper-parameters at their bounds. Each sample is
written as a layer (``tests/operators/``), whose generated code is compared
with PyTorch in float64, outputs and gradients, to 1e-9 of the largest
element. The golden file says how many samples ran, and why others do not
apply; ``pytest -s`` prints it.
"""

from __future__ import annotations

import functools
from collections import Counter

import pytest
from conftest import Golden
from operators import elementwise, layers, losses, products, reductions, windows
from operators.call import Operator
from operators.run import MOST, Outcome, outcome

OPERATORS: tuple[Operator, ...] = (
    *elementwise.OPERATORS,
    *reductions.OPERATORS,
    *products.OPERATORS,
    *losses.OPERATORS,
    *layers.OPERATORS,
    *windows.OPERATORS,
)
BY_ID = {f"{op.name}-{op.variant}" if op.variant else op.name: op for op in OPERATORS}


@functools.cache
def result(name: str) -> Outcome:
    return outcome(BY_ID[name])


@pytest.mark.parametrize("name", BY_ID)
def test_no_sample_of_pytorchs_disagrees(name: str) -> None:
    found = result(name)
    assert not found.failed, "\n".join(found.failed)
    assert found.passed, f"no sample of {name} applies: {dict(found.skipped)}"


def test_the_samples_that_ran_and_why_others_do_not_apply(golden: Golden) -> None:
    """At least 60 operators and 700 samples."""
    lines, reasons = [], Counter[str]()
    for name in BY_ID:
        found = result(name)
        reasons.update(found.skipped)
        words = "; ".join(f"{count} {reason}" for reason, count in sorted(found.skipped.items()))
        lines.append(f"{name:55} {found.passed:4} {sum(found.skipped.values()):4}  {words}".rstrip())
    passed = sum(result(name).passed for name in BY_ID)
    operators = len({BY_ID[name].name for name in BY_ID if result(name).passed})
    head = [
        f"{operators} operators of PyTorch, {passed} of their samples agree in outputs and gradients; "
        f"{reasons.total()} do not apply.",
        f"Of an operator with more than {MOST} samples, evenly spaced ones are taken.",
        "",
        f"{'operator':55} {'pass':>4} {'skip':>4}  why skipped",
    ]
    text = "\n".join([*head, *lines]) + "\n"
    print(text)
    assert operators >= 60
    assert passed >= 700
    golden("pytorch_samples.txt", text)


def test_every_operator_is_there_once() -> None:
    assert len(BY_ID) == len(OPERATORS)

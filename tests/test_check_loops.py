"""Recurrences in the checks: elements computed on demand, from the start on; wrong ones are caught."""

from __future__ import annotations

import pytest
from checked_loops import LOOPS, n, recurrence, t
from checked_programs import Checked, at, equation

from derive.algebra.nodes import Padded, Sum
from derive.check import check
from derive.check.demand import CircularError
from derive.check.evaluate import Evaluator
from derive.check.instance import Instance
from derive.language.layer import Statement

INSTANCE = Instance({"T": 4, "N": 1}, (), {})
X = {(step, 0): float(step + 1) for step in range(4)}  # 1 2 3 4


def values(*statements: Statement, length: int = 4) -> dict[str, list[float]]:
    """The elements of every statement."""
    instance = Instance({"T": length, "N": 1}, (), {})
    given = {key: value for key, value in X.items() if key[0] < length}
    result = Evaluator(statements, instance).run({"x": given, "h0": {(0,): 10.0}})
    return {s.name: [float(v) for v in result[s.name].values()] for s in statements}


h = recurrence(at("h0", n), 1, "h", t, n, 2 * at("h", t - 1, n) + at("x", t, n))
back = recurrence(at("h0", n), -1, "g", t, n, at("g", t + 1, n) + at("x", t, n))


def test_a_recurrence_starts_with_its_start() -> None:
    assert values(h)["h"] == [21, 44, 91, 186]


def test_time_may_run_backwards() -> None:
    assert values(back)["g"] == [20, 19, 17, 14]


def test_an_earlier_element_may_be_read_anywhere() -> None:
    before = equation("before", t, n, at("h", t - 1, n))
    total = equation("total", n, Sum(at("h", t - 1, n) * at("x", t, n), t))
    start = equation("start", n, at("h", -1, n))
    found = values(h, before, total, start)
    assert found["before"] == [10, 21, 44, 91]
    assert found["total"] == [10 + 42 + 132 + 364]
    assert found["start"] == [10]


def test_a_padded_read_one_step_before_the_first_is_the_start() -> None:
    assert values(h, equation("before", t, n, Padded(at("h", t - 1, n), 0)))["before"] == [10, 21, 44, 91]
    assert values(h, equation("beside", t, n, Padded(at("h", t - 1, n - 1), 7)))["beside"] == [7, 7, 7, 7]
    assert values(h, equation("after", t, n, Padded(at("h", t + 1, n), 7)))["after"] == [44, 91, 186, 7]


def test_the_order_of_statements_does_not_matter() -> None:
    u = equation("u", t, n, at("h", t - 1, n) * at("v", t - 1, n))
    v = recurrence(1, 1, "v", t, n, at("w", t, n) + 1)
    w = equation("w", t, n, at("u", t, n) + at("x", t, n))
    assert values(u, v, w, h) == values(h, v, w, u) == values(w, u, h, v)


def test_forward_and_backward_recurrences_may_meet() -> None:
    both = recurrence(0, -1, "s", t, n, at("s", t + 1, n) + at("h", t - 1, n))
    assert values(both, h)["s"] == [166, 156, 135, 91]


@pytest.mark.parametrize("length", [0, 1])
def test_no_step_and_one_step_are_defined(length: int) -> None:
    start = equation("start", n, at("g", 0, n))
    assert values(h, back, start, length=length) == {"h": [21][:length], "g": [11][:length], "start": [10 + length]}


def test_a_step_further_back_than_one_is_outside() -> None:
    with pytest.raises(IndexError, match=r"h\[t - 2, n\] is read at \(-2, 0\), outside h"):
        values(h, equation("y", t, n, at("h", t - 2, n)))


def test_an_element_that_needs_itself_is_an_error() -> None:
    with pytest.raises(CircularError, match=r"depends on itself"):
        values(recurrence(0, 1, "h", t, n, at("u", t, n)), equation("u", t, n, at("h", t, n)))


def test_a_long_recurrence_needs_no_deep_recursion() -> None:
    instance = Instance({"T": 3000, "N": 1}, (), {})
    total = equation("total", n, Sum(at("u", t, n), t))
    u = equation("u", t, n, at("h", t - 1, n))
    slow = recurrence(at("h0", n), 1, "h", t, n, at("u", t, n) + 1)
    back = recurrence(0, -1, "s", t, n, at("v", t, n))
    v = equation("v", t, n, at("s", t + 1, n) + at("h", t, n))
    result = Evaluator((total, u, slow, v, back), instance).run({"h0": {(0,): 0.0}})
    assert result["total"][0,] == 2999 * 3000 / 2
    assert result["s"][0, 0] == 3000 * 3001 / 2


@pytest.mark.parametrize("checked", LOOPS, ids=lambda c: str(c.layer.name))
def test_a_perturbed_run_equals_a_fresh_one(checked: Checked) -> None:
    from derive.check.samples import sample
    from derive.check.sizes import choose_instance

    found = sample(checked.layer, choose_instance(checked.layer), 3)
    evaluator = Evaluator(checked.layer.statements, found.instance)
    first = evaluator.run(found.inputs)
    for name, array in found.inputs.items():
        key = list(array)[-1]
        moved = {**first[name], key: first[name][key] + 1}
        fresh = Evaluator(checked.layer.statements, found.instance).run({**found.inputs, name: moved})
        assert evaluator.perturbed(name, moved) == fresh
        assert evaluator.arrays["h"] == first["h"]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("checked", LOOPS, ids=lambda c: str(c.layer.name))
def test_right_recurrences_pass(checked: Checked, seed: int) -> None:
    report = check(checked.layer, checked.program, checked.text, seed=seed)
    assert report.passed, report.failure()

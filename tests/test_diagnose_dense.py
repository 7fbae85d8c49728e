"""The whole-array values that a diagnosis searches with, against those of the element-by-element evaluation."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

import derive
from derive.check.contexts import floats
from derive.check.evaluate import Evaluator
from derive.check.samples import sample
from derive.check.sizes import choose_instance
from derive.diagnosis import diagnose
from derive.diagnosis.experiment import Experiment
from derive.diagnosis.factors import recognized
from derive.diagnosis.forms import derivation

LAYERS = [
    "batchnorm", "layernorm", "softmax", "cross_entropy", "attention", "causal_attention", "conv2d", "conv_transpose1d",
    "max_pool2d", "embedding", "char_mlp", "lstm_cell", "groupnorm", "gelu", "logsumexp", "unfold",
]  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_values_are_those_of_the_evaluation_element_by_element(name: str) -> None:
    layer = derive.load(name)
    derived = derivation(layer)
    at = sample(layer, choose_instance(layer), 0)
    found = Experiment(derived, at)
    statements = (*derived.forward, *derived.program.backward)
    given = {**at.inputs, **{c: at.cotangents[f"d{o}"] for o, c in derived.cotangents.items()}}
    expected = Evaluator(statements, at.instance, floats()).run(given)
    for statement in derived.forward:
        values = np.array([float(v) for v in expected[statement.name].values()])
        np.testing.assert_allclose(found.forward[statement.name].ravel(), values, rtol=1e-9, atol=1e-12)
    for parameter, symbol in derived.program.gradients:
        values = np.array([float(v) for v in expected[symbol].values()])
        np.testing.assert_allclose(found.gradients[parameter].ravel(), values, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", LAYERS)
def test_every_form_of_a_derivation_gives_the_same_gradients(name: str) -> None:
    layer = derive.load(name)
    derived = derivation(layer)
    found = Experiment(derived, sample(layer, choose_instance(layer), 0))
    for form in derived.forms:
        arrays = found.arrays(form)
        for parameter, symbol in derived.program.gradients:
            np.testing.assert_allclose(arrays[symbol], found.gradients[parameter], rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("name", ["batchnorm", "conv2d", "lstm_cell"])
def test_a_change_of_a_line_moves_the_later_ones_as_evaluating_them_again_does(name: str) -> None:
    layer = derive.load(name)
    derived = derivation(layer)
    found = Experiment(derived, sample(layer, choose_instance(layer), 0))
    for form in derived.forms:
        arrays = found.arrays(form)
        for place, line in enumerate(form.lines):
            for symbol, change in found.moved(form, place, arrays[line.symbol]).items():
                alone = found.moved(form, place, arrays[line.symbol], wanted=symbol)
                np.testing.assert_allclose(alone[symbol], change)
            twice = found.moved(form, place, 2 * arrays[line.symbol])
            once = found.moved(form, place, arrays[line.symbol])
            assert all(np.allclose(twice[s], 2 * once[s]) for s in once)


@pytest.mark.parametrize("name", ["groupnorm", "swiglu", "max_pool2d", "gru", "focal_loss", "embedding"])
def test_generated_code_is_called_right(name: str) -> None:
    text, _ = derive.build(derive.load(name))
    code = ModuleType(name)
    exec(text, code.__dict__)
    found = diagnose(name, code.backward, forward=code.forward)
    assert found.right, str(found)
    assert not found.missing


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (lambda n, d: 1 / n, "1/N"),
        (lambda n, d: -1.0, "-1"),
        (lambda n, d: n / (n - 1), "N/(N - 1)"),
        (lambda n, d: 2 / d, "2/D"),
        (lambda n, d: d**-0.5, "1/sqrt(D)"),
        (lambda n, d: n / d, "N/D"),
        (lambda n, d: 0.5, "1/2"),
        (lambda n, d: 0.3717 + 0 * n, None),
        (lambda n, d: np.sin(n), None),
    ],
)
def test_factors_are_recognized_from_their_values_at_several_sizes(value, text) -> None:  # type: ignore[no-untyped-def]
    layer = derive.load("batchnorm")
    derived = derivation(layer)
    several = []
    for n, d in ((3, 4), (7, 5), (5, 6)):
        instance = choose_instance(layer)
        instance = type(instance)({"N": n, "D": d}, (), instance.hypers)
        several.append(Experiment(derived, sample(layer, instance, n)))
    values = [float(value(e.instance.sizes["N"], e.instance.sizes["D"])) for e in several]
    assert recognized(values, several, 1e-9) == text

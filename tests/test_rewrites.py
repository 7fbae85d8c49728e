"""Rewrites are sound: every rule at random points of its stated domain, every step of every derivation.

The rules are found in the modules, and their domains read from what they say,
so that a new one cannot be left out.
"""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import re
from dataclasses import replace
from random import Random
from typing import Any

import mpmath
import pytest
import sympy
from sympy import Expr

import derive.calculus
import derive.simplify
import derive.stability
from derive.algebra.functions import FUNCTIONS, Row
from derive.algebra.nodes import Element, Kind, Tensor
from derive.calculus.local import derivative
from derive.calculus.program import Stage
from derive.check.evaluate import Evaluator
from derive.check.instance import Array, Instance
from derive.check.sizes import choose_sizes
from derive.check.steps import CheckedStep, check_steps
from derive.check.work import work
from derive.commands import main
from derive.language import catalogue, load, parse
from derive.language.layer import Layer, Statement
from derive.stability.rule import Rule


def _rules() -> dict[str, Rule]:
    """Every rule that a module of the rooms that rewrite defines, by name."""
    found: dict[str, Rule] = {}
    for room in (derive.calculus, derive.stability, derive.simplify):
        for module in pkgutil.iter_modules(room.__path__, f"{room.__name__}."):
            for value in vars(importlib.import_module(module.name)).values():
                if isinstance(value, Rule):
                    found[value.name] = value
    return found


RULES = _rules()
BUDGET = 3000  # scalar operations of a forward pass
CONSTANTS = {"inf", "pi", "e"}


# Identities


def _letters(text: str) -> dict[str, int]:
    """The names that an identity is about, each with its number of subscripts."""
    found: dict[str, int] = {}

    def visit(node: ast.AST) -> None:
        match node:
            case ast.Call(func=ast.Subscript(), args=args):
                for arg in args:
                    visit(arg)
            case ast.Call(args=args):
                for arg in args:
                    visit(arg)
            case ast.Subscript(value=ast.Name(id=name), slice=place):
                found[name] = len(place.elts) if isinstance(place, ast.Tuple) else 1
            case ast.Name(id=name) if name not in found and name.islower() and name not in CONSTANTS:
                found[name] = 0
            case _:
                for child in ast.iter_child_nodes(node):
                    visit(child)

    visit(ast.parse(text))
    return found


def _free(text: str) -> list[str]:
    """The indices of an identity's side that no reduction binds, or that a softmax keeps."""
    found: dict[str, None] = {}

    def visit(node: ast.AST, bound: frozenset[str]) -> None:
        match node:
            case ast.Call(func=ast.Subscript(value=ast.Name(id=name), slice=place), args=args):
                own = [n.id for n in ast.walk(place) if isinstance(n, ast.Name)]
                if name in ("softmax", "log_softmax"):
                    found.update((i, None) for i in own if i not in bound)
                for arg in args:
                    visit(arg, bound | set(own))
            case ast.Subscript(slice=place):
                own = [n.id for n in ast.walk(place) if isinstance(n, ast.Name)]
                found.update((i, None) for i in own if i not in bound)
            case _:
                for child in ast.iter_child_nodes(node):
                    visit(child, bound)

    visit(ast.parse(text), frozenset())
    return list(found)


def _domain(name: str, holds: str, identity: str) -> str:
    """The kind of a letter: what the rule's domain says of it."""
    if re.search(rf"\bmask {name}\b", holds) or re.search(rf"where\({name}\b[^<>=]*?,", identity):
        return "Bool"
    if re.search(rf"-1 < {name} < 1", holds):
        return "Unit"
    return "Positive" if re.search(rf"\b{name} > (0|-1)\b", holds) else "Real"


def _layer(rule: Rule) -> Layer:
    """A layer of two results: the sides of a rule's identity."""
    left, _, right = rule.identity.partition(" = ")
    sides, count = (left, right), "K" if re.search(r"\bK\b", rule.identity) else ""
    ranks = _letters(left) | _letters(right)
    parameters = [
        f"{n}: {_domain(n, rule.holds, rule.identity)}" + (f"[{', '.join([count or 'M'] * rank)}]" if rank else "")
        for n, rank in ranks.items()
    ]
    lines = []
    for k, side in enumerate(sides):
        free = sorted({*_free(left), *_free(right)})
        lines.append(f"    r{k}[{', '.join(free)}] = {side}" if free else f"    r{k} = {side}")
    return parse("\n".join([f"def identity({', '.join(parameters)}):", *lines, "    return r0, r1", ""]))


def _wide(kind: Kind, rng: Random) -> Any:
    """A number of the kind, of any size from 1e-4 to 100."""
    size = 10 ** rng.uniform(-4, 2)
    match kind:
        case Kind.BOOL:
            return rng.randint(0, 1)
        case Kind.INT:
            return rng.randint(-2, 3)
        case Kind.POSITIVE:
            return size
        case Kind.UNIT:
            return rng.choice((1 - rng.random() * 0.1, rng.random(), 10 ** rng.uniform(-4, -1)))
    return rng.choice((-1, 1)) * size


def _values(layer: Layer, seed: int, digits: int = 250) -> dict[str, Array]:
    """The sides' values at random points; 250 digits, for exp(100) stands beside 1."""
    rng, instance = Random(f"{layer.doc}{seed}"), Instance({s.name: 3 for s in layer.sizes}, (), {})
    inputs: dict[str, Array] = {}
    for parameter in layer.parameters:
        inputs[parameter.name] = {key: _wide(parameter.kind, rng) for key in instance.keys(parameter.axes)}
        if parameter.kind is Kind.BOOL and parameter.axes:
            inputs[parameter.name] = {k: 1 if n == 0 else v for n, (k, v) in enumerate(inputs[parameter.name].items())}
    context = mpmath.ctx_mp.MPContext()
    context.dps = digits
    return Evaluator(layer.statements, instance, context).run(inputs)


@pytest.mark.parametrize("name", RULES)
def test_both_sides_of_a_rule_are_equal_all_over_its_domain(name: str) -> None:
    layer, compared = _layer(RULES[name]), 0
    for seed in range(12):
        values = _values(layer, seed)
        for key, left in values["r0"].items():
            right = values["r1"][key]
            assert abs(left - right) <= mpmath.mpf(10) ** -60 * (1 + abs(left)), (
                RULES[name].identity,
                seed,
                left,
                right,
            )
            compared += left == left
    assert compared >= 12


def test_the_rules_of_all_rooms_are_found() -> None:
    assert {"log_of_softmax", "one_minus_tanh_squared", "guarded_branches", "variance"} <= RULES.keys()
    assert len(RULES) > 50


def test_a_rule_that_does_not_hold_is_seen() -> None:
    wrong = Rule("wrong", (Expr,), lambda e: None, "1 - tanh(x)**2 = exp(-2*abs(x))", "", "every real x")
    values = _values(_layer(wrong), 0)
    assert abs(values["r0"][()] - values["r1"][()]) > 1e-3


# The table of derivatives

SMOOTH = [
    r for r in FUNCTIONS if not r.infix and not r.kinks and r.name not in ("polygamma", "stop_gradient", "heaviside")
]
UNARY = [row for row in SMOOTH if row.arity == 1]


@pytest.mark.parametrize("row", UNARY, ids=lambda row: row.name)
def test_a_derivative_of_the_table_holds_at_any_size_of_its_argument(row: Row) -> None:
    """``partials`` against central differences with 120 digits: 1e-4 to 60, where nothing is saturated to nothing."""
    x = Element(Tensor("x"))
    formula = derivative(row.cls(x), x)
    rng = Random(row.name)
    low, high = row.domain
    context = mpmath.ctx_mp.MPContext()
    context.dps = 120
    instance = Instance({}, (), {})
    step = context.mpf(10) ** -40
    evaluator = Evaluator([Statement("y", (), formula)], instance, context)
    for _ in range(12):
        size = 10 ** rng.uniform(-4, 1.8)
        point = size if low >= 0 else rng.choice((-1, 1)) * size
        if (low, high) != (-3.0, 3.0) and not (low >= 0 and high == 4.0):  # a bounded domain
            point = rng.uniform(low, high)
        at = context.mpf(point)
        expected = (row.mp(context, at + step) - row.mp(context, at - step)) / (2 * step)
        found = evaluator.run({"x": {(): point}})["y"][()]
        assert abs(found - expected) <= context.mpf(10) ** -35 * (1 + abs(expected)), (row.name, point)


# Every step of every derivation


def _small(layer: Layer) -> Instance:
    """Sizes from 2, pairwise different; smaller ones for a network that would be much work."""
    choices = [choose_sizes(layer, batch=(n,), start=n, budget=BUDGET) for n in (2, 1)]
    return next((i for i in choices if work(layer, i) <= BUDGET), choices[-1])


@pytest.mark.parametrize("name", catalogue())
def test_every_step_of_a_derivation_agrees_with_what_stood_before(name: str) -> None:
    layer = load(name)
    steps = list(check_steps(layer, instance=_small(layer)))
    wrong = next((step for step in steps if not step.passed), None)
    assert wrong is None, str(wrong)
    stages = {step.stage for step in steps}
    assert {"program", "code", Stage.CHAIN.value} <= stages


def _first_wrong(monkeypatch: pytest.MonkeyPatch, name: str, change: Any) -> CheckedStep:
    """The first step that differs where a simplified backward is changed."""
    from derive.check import steps as room

    simplify = room.simplify

    def wrong(staged: Any) -> Any:
        program = simplify(staged)
        return replace(program, backward=tuple(replace(s, expr=change(s)) for s in program.backward))

    monkeypatch.setattr(room, "simplify", wrong)
    found = next(step for step in check_steps(load(name)) if not step.passed)
    assert found.error is not None and found.error > 1e-6
    return found


def test_a_wrong_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _first_wrong(monkeypatch, "layernorm", lambda s: 2 * s.expr if s.name == "dgamma" else s.expr)
    assert (found.stage, found.equation, found.against) == ("program", "dgamma[d]", "the staged derivation")


def test_a_wrong_local_derivative_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from derive.calculus import adjoint

    right = adjoint.derivative

    def wrong(expr: Expr, variable: Expr, *rest: Any) -> Expr:
        found = right(expr, variable, *rest)
        return found * 3 if expr.has(sympy.tanh) else found

    monkeypatch.setattr(adjoint, "derivative", wrong)
    found = next(step for step in check_steps(load("tanhshrink")) if not step.passed)
    assert (found.stage, found.against) == (Stage.CHAIN.value, "central differences")


def test_a_wrong_rule_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from derive.check import steps as room

    right = room.stabilize

    def wrong(layer: Layer) -> Any:
        stable, steps = right(layer)
        statements = tuple(replace(s, expr=s.expr + 1) for s in stable.statements)
        return replace(stable, statements=statements), tuple(replace(s, rhs=s.rhs + 1) for s in steps)

    monkeypatch.setattr(room, "stabilize", wrong)
    found = next(step for step in check_steps(load("softplus")) if not step.passed)
    assert (found.number, found.stage, found.against) == (1, Stage.REWRITE.value, "the layer as written")


def test_the_command_names_the_first_step_that_differs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "--each-step", "mse_loss"]) == 0
    assert "mse_loss: every step agrees" in capsys.readouterr().out
    from derive.check import steps as room

    simplify = room.simplify

    def wrong(staged: Any) -> Any:
        program = simplify(staged)
        return replace(program, backward=tuple(replace(s, expr=-s.expr) for s in program.backward))

    monkeypatch.setattr(room, "simplify", wrong)
    assert main(["check", "--each-step", "mse_loss", "--json"]) == 1
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert result["passed"] is False
    first = next(step for step in result["layers"][0]["steps"] if not step["passed"])
    assert first["stage"] == "program" and first["error"] > 0.1
    assert "dx" in first["equation"] and f"step {first['number']}" in captured.err


@pytest.mark.parametrize("extra", [["--accuracy"], ["--jvp"], ["--second"], ["--target", "c"]])
def test_each_step_goes_with_no_other_check(extra: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--each-step", "mse_loss", *extra]) == 2
    assert "hint" in capsys.readouterr().err

"""Textbook layers brought to stable primitives: what they become, and their generated code's values at extremes."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import mpmath
import numpy as np
import pytest

from derive.algebra.nodes import BATCH_SIZE
from derive.calculus.program import Equation, Stage
from derive.check.evaluate import Evaluator
from derive.check.instance import Instance
from derive.language import catalogue, load, parse
from derive.language.layer import Layer
from derive.pipeline import build_module
from derive.stability import stabilize
from derive.stability.matching import same

# What textbook formulas become: signature, statements before, statements after

FORMS: dict[str, tuple[str, str, str]] = {
    "softmax_in_three_statements": (
        "z: Real[N, C]",
        "e[n, c] = exp(z[n, c]); s[n] = sum[c](e[n, c]); p[n, c] = e[n, c]/s[n]; return p",
        "p[n, c] = softmax[c](z[n, c]); return p",
    ),
    "cross_entropy_as_makemore_writes_it": (
        "z: Real[N, C], t: Int[N]",
        """mx[n] = max[c](z[n, c]); sh[n, c] = z[n, c] - mx[n]; counts[n, c] = exp(sh[n, c]);
        total[n] = sum[c](counts[n, c]); inv[n] = total[n]**-1; probs[n, c] = counts[n, c]*inv[n];
        logprobs[n, c] = log(probs[n, c]); loss = -mean[n](logprobs[n, t[n]]); return loss""",
        "logprobs[n, c] = log_softmax[c](z[n, c]); loss = -mean[n](logprobs[n, t[n]]); return loss",
    ),
    "cross_entropy_by_logsumexp": (
        "z: Real[N, C], t: Int[N]",
        "loss = mean[n](log(sum[c](exp(z[n, c]))) - z[n, t[n]]); return loss",
        "logp[n, c] = log_softmax[c](z[n, c]); loss = mean[n](-logp[n, t[n]]); return loss",
    ),
    "contrastive_loss_reads_the_diagonal": (
        "s: Real[N, N]",
        "loss = -mean[i](log(exp(s[i, i])/sum[j](exp(s[i, j])))); return loss",
        "logp[i, j] = log_softmax[j](s[i, j]); loss = -mean[i](logp[i, i]); return loss",
    ),
    "logsumexp_with_its_maximum": (
        "z: Real[N, C]",
        "m[n] = max[c](z[n, c]); y[n] = m[n] + log(sum[c](exp(z[n, c] - m[n]))); return y",
        "y[n] = logsumexp[c](z[n, c]); return y",
    ),
    "log_softmax_with_its_maximum_in_one_line": (
        "z: Real[..., C]",
        "y[..., c] = z[..., c] - max[k](z[..., k]) - log(sum[k](exp(z[..., k] - max[j](z[..., j])))); return y",
        "y[..., c] = log_softmax[c](z[..., c]); return y",
    ),
    "a_returned_intermediate_stays": (
        "z: Real[N, C]",
        "e[n, c] = exp(z[n, c]); p[n, c] = e[n, c]/sum[k](e[n, k]); logp[n, c] = log(p[n, c]); return logp, p",
        "p[n, c] = softmax[c](z[n, c]); logp[n, c] = log_softmax[c](z[n, c]); return logp, p",
    ),
    "a_softmax_that_has_a_name_is_read_by_it": (
        "z: Real[N, C], x: Real[N, C]",
        """p[n, c] = exp(z[n, c])/sum[k](exp(z[n, k]));
        y[i, j] = x[i, j]*exp(z[i, j])/sum[m](exp(z[i, m])) + p[i, j]; return y""",
        "p[n, c] = softmax[c](z[n, c]); y[i, j] = x[i, j]*p[i, j] + p[i, j]; return y",
    ),
    "attention_as_a_quotient_of_sums": (
        "a: Real[T, S], v: Real[S, E]",
        """w[t, s] = where(s <= t, exp(a[t, s]), 0); num[t, e] = sum[s](w[t, s]*v[s, e]); den[t] = sum[s](w[t, s]);
        y[t, e] = num[t, e]/den[t]; return y""",
        "y[t, e] = sum[s](v[s, e]*softmax[s](where(s <= t, a[t, s], -inf))); return y",
    ),
    "kullback_leibler_of_two_softmaxes": (
        "z: Real[N, C], w: Real[N, C]",
        """p[n, c] = exp(z[n, c])/sum[k](exp(z[n, k])); q[n, c] = exp(w[n, c])/sum[k](exp(w[n, k]));
        d[n] = sum[c](p[n, c]*(log(p[n, c]) - log(q[n, c]))); return d""",
        """p[n, c] = softmax[c](z[n, c]); d[n] = sum[c](p[n, c]*(log_softmax[c](z[n, c]) - log_softmax[c](w[n, c])));
        return d""",
    ),
    "binary_cross_entropy_in_small_steps": (
        "z: Real[N], t: Real[N]",
        """e[n] = exp(-z[n]); d[n] = 1 + e[n]; p[n] = 1/d[n]; q[n] = 1 - p[n]; lp[n] = log(p[n]); lq[n] = log(q[n]);
        loss = -mean[n](t[n]*lp[n] + (1 - t[n])*lq[n]); return loss""",
        """lp[n] = log_sigmoid(z[n]); lq[n] = log_sigmoid(-z[n]); loss = -mean[n](t[n]*lp[n] + (1 - t[n])*lq[n]);
        return loss""",
    ),
    "a_gate_and_its_complement_share_the_sigmoid": (
        "a: Real[N], n: Real[N], h: Real[N]",
        "z[i] = 1/(1 + exp(-a[i])); y[i] = (1 - z[i])*n[i] + z[i]*h[i]; return y",
        "z[i] = sigmoid(a[i]); y[i] = (1 - z[i])*n[i] + z[i]*h[i]; return y",
    ),
    "tanh_from_named_exponentials": (
        "x: Real[...]",
        "a[...] = exp(2*x[...]); y[...] = (a[...] - 1)/(a[...] + 1); return y",
        "y[...] = tanh(x[...]); return y",
    ),
    "gelu_with_a_named_erf": (
        "x: Real[...]",
        "f[...] = erf(x[...]); y[...] = x[...]*(1 + f[...]); return y",
        "y[...] = x[...]*erfc(-x[...]); return y",
    ),
    "elu_with_a_named_exponential": (
        "x: Real[...]",
        "e[...] = exp(x[...]); y[...] = where(x[...] > 0, x[...], e[...] - 1); return y",
        "y[...] = where(x[...] > 0, x[...], expm1(at_most(x[...], 0))); return y",
    ),
    "sigmoid_by_cases": (
        "x: Real[...]",
        "y[...] = where(x[...] >= 0, 1/(1 + exp(-x[...])), exp(x[...])/(1 + exp(x[...]))); return y",
        "y[...] = sigmoid(x[...]); return y",
    ),
    "a_logarithm_behind_a_condition": (
        "x: Real[...]",
        "l[...] = log(x[...]); y[...] = where(x[...] > 0, l[...], 0); return y",
        "y[...] = where(x[...] > 0, log(guard(x[...] > 0, x[...], 1)), 0); return y",
    ),
    "entropy_of_normalized_counts": (
        "x: Real[N, C]",
        "p[n, c] = x[n, c]/sum[k](x[n, k]); l[n, c] = log(p[n, c]); h[n] = -sum[c](p[n, c]*l[n, c]); return h",
        "p[n, c] = x[n, c]/sum[k](x[n, k]); h[n] = -sum[c](xlogy(p[n, c], p[n, c])); return h",
    ),
    "variance_reads_the_users_mean": (
        "x: Real[N, D]",
        "avg[j] = mean[i](x[i, j]); v[d] = var[n](x[n, d]); y[n, d] = (x[n, d] - avg[d])*v[d]; return y",
        "avg[j] = mean[i](x[i, j]); v[d] = mean[n]((x[n, d] - avg[d])**2); y[n, d] = (x[n, d] - avg[d])*v[d]; return y",
    ),
    "variance_moves_the_users_mean_up": (
        "x: Real[N, D]",
        "v[d] = var[n](x[n, d]); mm[d] = sum[n](x[n, d])/N; y[n, d] = (x[n, d] - mm[d])*v[d]; return y",
        "mm[d] = sum[n](x[n, d])/N; v[d] = mean[n]((x[n, d] - mm[d])**2); y[n, d] = (x[n, d] - mm[d])*v[d]; return y",
    ),
    "variance_names_the_mean_itself": (
        "x: Real[..., D], mu: Real[D]",
        "y[..., d] = mu[d]*(x[..., d] - mean[i](x[..., i]))/std[j](x[..., j]); return y",
        """mu_x[...] = mean[j](x[..., j]);
        y[..., d] = mu[d]*(x[..., d] - mu_x[...])/sqrt(mean[j]((x[..., j] - mu_x[...])**2)); return y""",
    ),
    "variance_from_named_moments": (
        "x: Real[N, D]",
        "m2[d] = mean[n](x[n, d]**2); m[d] = mean[n](x[n, d]); sq[d] = m[d]**2; v[d] = m2[d] - sq[d]; return v",
        "m[d] = mean[n](x[n, d]); v[d] = mean[n]((x[n, d] - m[d])**2); return v",
    ),
    "correlation": (
        "x: Real[N], y: Real[N]",
        """a = mean[n](x[n]); b = mean[n](y[n]); c = mean[n](x[n]*y[n]) - a*b;
        r = c/sqrt((mean[n](x[n]**2) - a**2)*(mean[n](y[n]**2) - b**2)); return r""",
        """a = mean[n](x[n]); b = mean[n](y[n]); c = mean[n]((x[n] - a)*(y[n] - b));
        r = c/sqrt(mean[n]((x[n] - a)**2)*mean[n]((y[n] - b)**2)); return r""",
    ),
    "norm_of_a_named_sum": (
        "x: Real[N, D]",
        "s[n] = sum[d](x[n, d]**2); y[n, d] = x[n, d]/sqrt(s[n]); return y",
        "y[n, d] = x[n, d]/norm[d](x[n, d]); return y",
    ),
}  # fmt: skip


def _parsed(name: str, signature: str, statements: str) -> Layer:
    lines = "\n    ".join(s.strip() for s in statements.split(";"))
    return parse(f"def {name}({signature}):\n    {lines}\n")


@pytest.mark.parametrize("name", FORMS)
def test_a_textbook_layer_becomes_exactly_this(name: str) -> None:
    signature, before, after = FORMS[name]
    stable, _ = stabilize(_parsed(name, signature, before))
    expected = _parsed(name, signature, after)
    assert [s.target for s in stable.statements] == [s.target for s in expected.statements], str(stable)
    for got, want in zip(stable.statements, expected.statements, strict=True):
        assert same(got.expr, want.expr), f"{got}\nis not\n{want}"


@pytest.mark.parametrize("name", FORMS)
def test_a_stable_layer_is_left_alone(name: str) -> None:
    stable, _ = stabilize(_parsed(name, *FORMS[name][:2]))
    again, steps = stabilize(stable)
    assert again is stable
    assert steps == ()


UNTOUCHED = {
    "a maximum for its own sake": ("z: Real[N, C]", "y[n, c] = z[n, c] - max[k](z[n, k]); return y"),
    "an eps in a root": ("x: Real[N, D]", "r[n] = sqrt(sum[d](x[n, d]**2) + 1e-12); return r"),
    "an eps in a logarithm": ("p: Unit[N]", "y = -sum[n](p[n]*log(p[n] + 1e-8)); return y"),
    "squared deviations": (
        "x: Real[N, D]",
        "m[d] = mean[n](x[n, d]); v[d] = sum[n]((x[n, d] - m[d])**2)/(N - 1); return v",
    ),
    "a condition that says nothing of the exponent": (
        "x: Real[N], m: Bool[N]",
        "y[n] = where(m[n], exp(x[n]), 0); return y",
    ),
    "exponentials that are meant": ("x: Real[N]", "y[n] = exp(x[n]) + 2*exp(-x[n]); return y"),
    "a mean of squares": ("x: Real[N]", "y = sqrt(mean[n](x[n]**2)); return y"),
}


@pytest.mark.parametrize("name", UNTOUCHED)
def test_what_no_rule_recognises_is_the_same_object(name: str) -> None:
    layer = _parsed("layer", *UNTOUCHED[name])
    stable, steps = stabilize(layer)
    assert stable is layer
    assert steps == ()


def test_every_statement_that_does_not_change_is_the_same_object() -> None:
    layer = load("focal_loss")
    stable, _ = stabilize(layer)
    kept = {id(s.expr) for s in layer.statements}
    changed = {s.name for s in stable.statements if id(s.expr) not in kept}
    assert changed == {"p", "ce"} or changed == {"ce"}


@pytest.mark.parametrize("name", sorted(getattr(entry, "name", entry) for entry in catalogue()))
def test_a_catalogue_layer_keeps_its_outputs_and_parameters(name: str) -> None:
    layer = load(name)
    stable, steps = stabilize(layer)
    assert stable.returns == layer.returns
    assert stable.parameters == layer.parameters
    names = {s.name for s in stable.statements}
    assert set(layer.returns) <= names
    assert bool(steps) == (stable is not layer)


def test_a_step_says_what_a_statement_is_now_and_by_which_identities() -> None:
    signature, before, _ = FORMS["a_returned_intermediate_stays"]
    stable, steps = stabilize(_parsed("layer", signature, before))
    assert [s.stage for s in steps] == [Stage.REWRITE, Stage.REWRITE]
    assert [(s.lhs, s.rhs) for s in steps] == [(s.target, s.expr) for s in stable.statements]
    assert steps[0].reason == (
        "{0}: inf/inf where an exponential overflows, with the maximum subtracted first no term exceeds 1"
    )
    assert [str(f.rhs) for f in steps[0].formulas if isinstance(f, Equation)] == ["softmax[c](z[n, c])"]


@pytest.mark.parametrize("name", FORMS)
def test_a_reason_quotes_all_its_formulas(name: str) -> None:
    _, steps = stabilize(_parsed(name, *FORMS[name][:2]))
    for step in steps:
        assert sorted(map(int, re.findall(r"\{(\d+)\}", step.reason))) == list(range(len(step.formulas)))


# Values and gradients of the generated code, where the formula as it stands overflows or cancels

BIG = [-800.0, -30.0, -1.0, 1e-9, 0.5, 40.0, 800.0]  # exp overflows above 709
LABELS = [1.0, 0.0, 1.0, 0.5, 0.0, 1.0, 0.0]
LOGITS = [[750.0, -750.0, 3.0], [0.1, 0.2, 0.3], [800.0, 801.0, -5.0]]
HUGE = [[1e4, 0.0]]
FAR = (1e6 + np.random.default_rng(1).normal(size=(7, 2))).tolist()


@dataclass(frozen=True)
class Case:
    """A layer, its inputs, and how precise its code is.

    Attributes:
        signature, statements: the layer.
        inputs: by name.
        digits: of the reference; enough that nothing in the formula as written underflows or cancels.
        absolute: error allowed beside 1e-10 of the value.
        skip: inputs at a kink, where a central difference is no gradient.
    """

    signature: str
    statements: str
    inputs: Mapping[str, Any]
    digits: int = 1200
    absolute: float = 1e-15
    skip: Sequence[tuple[str, tuple[int, ...]]] = field(default=())


def _of_x(expression: str, x: Sequence[float] = BIG, digits: int = 1200) -> Case:
    """``y[n]``, the expression at each element of ``x``."""
    elementwise = re.sub(r"\bx\b", "x[n]", expression)
    return Case("x: Real[N]", f"y[n] = {elementwise}; return y", {"x": x}, digits)


CASES: dict[str, Case] = {
    "sigmoid": _of_x("1/(1 + exp(-x))"),
    "sigmoid, the other way": _of_x("exp(x)/(1 + exp(x))"),
    "sigmoid by cases": _of_x("where(x >= 0, 1/(1 + exp(-x)), exp(x)/(1 + exp(x)))"),
    "complement of a sigmoid": _of_x("1 - 1/(1 + exp(-x))"),
    "logistic density": _of_x("exp(-x)/(1 + exp(-x))**2"),
    "softplus": _of_x("log(1 + exp(x))"),
    "softplus from a maximum": _of_x("maximum(x, 0) + log(1 + exp(-abs(x)))"),
    "inverse softplus": _of_x("log(exp(x) - 1)", [1e-9, 0.5, 40.0, 800.0]),
    "log sigmoid": _of_x("log(1/(1 + exp(-x)))"),
    "minus softplus": _of_x("-log(1 + exp(-x))"),
    "log of the complement": _of_x("log(1 - sigmoid(x))"),
    "logit of a sigmoid": _of_x("log(sigmoid(x)/(1 - sigmoid(x)))"),
    "tanh": _of_x("(exp(x) - exp(-x))/(exp(x) + exp(-x))"),
    "tanh from one exponential": _of_x("(1 - exp(-2*x))/(1 + exp(-2*x))"),
    "tanh from a sigmoid": _of_x("2/(1 + exp(-2*x)) - 1"),
    "1/cosh": _of_x("1/cosh(x)"),
    "log cosh": _of_x("log(cosh(x))"),
    "log cosh from exponentials": _of_x("log((exp(x) + exp(-x))/2)"),
    "log of a squashed density": _of_x("log(1 - tanh(x)**2)"),
    "silu": _of_x("x/(1 + exp(-x))"),
    "mish": _of_x("x*tanh(log(1 + exp(x)))"),
    "elu": _of_x("where(x > 0, x, exp(x) - 1)"),
    "elu from switched-off factors": _of_x("(x > 0)*x + (x <= 0)*(exp(x) - 1)"),
    "selu": _of_x("1.0507*(maximum(0, x) + minimum(0, 1.6733*(exp(x) - 1)))"),
    "gelu": _of_x("0.5*x*(1 + erf(x/sqrt(2)))", [-30.0, -5.0, -1.0, 1e-9, 0.5, 40.0], 400),
    "log of the normal distribution": _of_x("log((1 + erf(x/sqrt(2)))/2)", [-30.0, -5.0, -1.0, 1e-9, 0.5, 8.0], 400),
    "guarded logarithm": _of_x("where(x > 0, log(x), 0)"),
    "guarded root": _of_x("where(x > 1, sqrt(x - 1), 0)"),
    "guarded quotient": _of_x("where(abs(x) > 1e-3, (1 - cos(x))/x, x/2)", [-30.0, -1.0, 0.0, 1e-9, 0.5, 40.0], 60),
    "celu": Case(
        "x: Real[N], *, a: Real = 1.3",
        "y[n] = maximum(0, x[n]) + minimum(0, a*(exp(x[n]/a) - 1)); return y",
        {"x": BIG},
    ),
    "quotient of likelihoods": Case(
        "x: Real[N], y: Real[N]", "r[n] = exp(x[n])/exp(y[n]); return r", {"x": BIG, "y": [v + 1 for v in BIG]}
    ),
    "entropy of a sigmoid": _of_x("-sigmoid(x)*log(sigmoid(x)) - (1 - sigmoid(x))*log(1 - sigmoid(x))"),
    "binary cross-entropy": Case(
        "z: Real[N], t: Real[N]",
        "p[n] = 1/(1 + exp(-z[n])); loss = -mean[n](t[n]*log(p[n]) + (1 - t[n])*log(1 - p[n])); return loss",
        {"z": BIG, "t": LABELS},
    ),
    "focal loss": Case(
        "z: Real[N], t: Real[N]",
        """p[n] = 1/(1 + exp(-z[n])); q[n] = t[n]*p[n] + (1 - t[n])*(1 - p[n]);
        loss = -mean[n]((1 - q[n])**2*(t[n]*log(p[n]) + (1 - t[n])*log(1 - p[n]))); return loss""",
        {"z": BIG, "t": LABELS},
    ),
    "softmax": Case(
        "z: Real[N, C]",
        "e[n, c] = exp(z[n, c]); s[n] = sum[c](e[n, c]); p[n, c] = e[n, c]/s[n]; return p",
        {"z": LOGITS},
    ),
    "log of a softmax": Case(
        "z: Real[N, C]",
        "p[n, c] = exp(z[n, c])/sum[k](exp(z[n, k])); y[n, c] = log(p[n, c]); return y",
        {"z": LOGITS},
    ),
    "log of a softmax of huge logits": Case(
        "z: Real[N, C]",
        "p[n, c] = exp(z[n, c])/sum[k](exp(z[n, k])); y[n, c] = log(p[n, c]); return y",
        {"z": HUGE},
        digits=4700,
    ),
    "cross-entropy": Case(
        "z: Real[N, C], t: Int[N]", FORMS["cross_entropy_as_makemore_writes_it"][1], {"z": LOGITS, "t": [1, 0, 2]}
    ),
    "logsumexp and its mean": Case(
        "z: Real[N, C]",
        "y[n] = log(sum[c](exp(z[n, c]))); w[n] = log(mean[c](exp(z[n, c]))); return y, w",
        {"z": LOGITS},
    ),
    "softmax with an eps below": Case(
        "z: Real[N, C]",
        "e[n, c] = exp(z[n, c]); p[n, c] = e[n, c]/(sum[k](e[n, k]) + 1e-8); return p",
        {"z": LOGITS},
    ),
    "masked softmax": Case(
        "z: Real[N, C], m: Bool[N, C]",
        "e[n, c] = m[n, c]*exp(z[n, c]); p[n, c] = e[n, c]/sum[k](e[n, k]); return p",
        {"z": LOGITS, "m": [[True, True, False], [False, True, True], [True, False, False]]},
    ),
    "entropy of a softmax": Case(
        "z: Real[N, C]",
        "p[n, c] = exp(z[n, c])/sum[k](exp(z[n, k])); h[n] = -sum[c](p[n, c]*log(p[n, c])); return h",
        {"z": LOGITS},
    ),
    "divergence of two softmaxes": Case(
        "z: Real[N, C], w: Real[N, C]",
        """p[n, c] = exp(z[n, c])/sum[k](exp(z[n, k])); q[n, c] = exp(w[n, c])/sum[k](exp(w[n, k]));
        d[n] = sum[c](p[n, c]*log(p[n, c]/q[n, c])); return d""",
        {"z": LOGITS, "w": [[1.0, 2.0, 3.0], [800.0, 0.0, 5.0], [3.0, 2.0, -800.0]]},
    ),
    "attention as a quotient of sums": Case(
        "a: Real[T, S], v: Real[S, E]",
        "y[t, e] = sum[s](exp(a[t, s])*v[s, e])/sum[s](exp(a[t, s])); return y",
        {"a": LOGITS, "v": [[1.0, 2.0], [3.0, 4.0], [-5.0, 6.0]]},
    ),
    "one against many": Case(
        "pos: Real[N], neg: Real[N, K]",
        "loss = -mean[n](log(exp(pos[n])/(exp(pos[n]) + sum[k](exp(neg[n, k]))))); return loss",
        {"pos": [800.0, -800.0, 2.0], "neg": LOGITS},
    ),
    "mixture of Gaussians": Case(
        "a: Real[N, K], mu: Real[N, K], ls: Real[N, K], t: Real[N]",
        """w[n, k] = exp(a[n, k])/sum[j](exp(a[n, j]));
        p[n, k] = exp(-((t[n] - mu[n, k])/exp(ls[n, k]))**2/2)/(sqrt(2*pi)*exp(ls[n, k]));
        loss = -mean[n](log(sum[k](w[n, k]*p[n, k]))); return loss""",
        {"a": [[1.0, 2.0]], "mu": [[10.0, -50.0]], "ls": [[0.0, 1.0]], "t": [60.0]},
    ),
    "likelihood as a product": Case(
        "p: Unit[N, K]",
        "y[n] = log(prod[k](p[n, k])); return y",
        {"p": [[1e-200, 1e-180, 0.5]]},
    ),
    "entropy with a tiny probability": Case(
        "p: Real[N]",
        "h = -sum[n](p[n]*log(p[n]) + (1 - p[n])*log(1 - p[n])); return h",
        {"p": [0.3, 0.2, 1e-200]},
    ),
    # The mean of numbers near 1e6 is itself rounded by 1e-10.
    "variance of far data": Case(
        "x: Real[N, D]",
        """m2[d] = mean[n](x[n, d]**2); m[d] = mean[n](x[n, d]); v[d] = m2[d] - m[d]**2; s[d] = std[n](x[n, d]);
        return v, s""",
        {"x": FAR},
        digits=60,
        absolute=1e-9,
    ),
    "normalization of far data": Case(
        "x: Real[N, D]",
        """v[d] = (sum[n](x[n, d]**2) - sum[n](x[n, d])**2/N)/(N - 1);
        y[n, d] = (x[n, d] - mean[m](x[m, d]))/sqrt(v[d] + 1e-5); return y""",
        {"x": FAR},
        digits=60,
        absolute=2e-9,
    ),
    "covariance of far data": Case(
        "x: Real[N], y: Real[N]",
        "c = mean[n](x[n]*y[n]) - mean[n](x[n])*mean[n](y[n]); return c",
        {"x": [row[0] for row in FAR], "y": [row[1] for row in FAR]},
        digits=60,
        absolute=1e-9,
    ),
    "norm": Case(
        "x: Real[N, D]",
        "r[n] = sqrt(sum[d](x[n, d]**2)); return r",
        {"x": [[0.0, 0.0], [3.0, 4.0]]},
        digits=60,
        skip=[("x", (0, 0)), ("x", (0, 1))],
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A layer's generated code at one input: outputs, gradients, and the cotangents that were given."""

    outputs: Mapping[str, Any]
    gradients: Mapping[str, Any]
    cotangents: Mapping[str, Any]


def _run(layer: Layer, arrays: Mapping[str, Any]) -> Run:
    """Run forward and backward; a warning of NumPy is an error."""
    module = types.ModuleType(layer.name)
    exec(compile(build_module(layer), layer.name, "exec"), module.__dict__)
    with np.errstate(all="raise", under="ignore"):
        out, cache = module.forward(*arrays.values())
        outputs = dict(zip(layer.returns, out if len(layer.returns) > 1 else (out,), strict=True))
        random = np.random.default_rng(0)
        cotangents = {name: random.uniform(0.5, 1.5, np.shape(value)) for name, value in outputs.items()}
        gradients = module.backward(*cotangents.values(), cache)
    return Run(outputs, {k[1:]: getattr(gradients, k) for k in gradients._fields}, cotangents)


def _arrays(layer: Layer, inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {
        p.name: np.asarray(inputs[p.name], dtype=float if p.kind.differentiable else None) for p in layer.parameters
    }


def _instance(layer: Layer, arrays: Mapping[str, Any]) -> Instance:
    sizes = {}
    for p in layer.parameters:
        assert BATCH_SIZE not in p.axes
        sizes.update({str(size): length for size, length in zip(p.axes, arrays[p.name].shape, strict=True)})
    return Instance(sizes, (), {h.name: h.default for h in layer.hypers})


@pytest.mark.parametrize("name", CASES)
def test_generated_code_is_finite_and_right_where_the_formula_is_not(name: str) -> None:
    case = CASES[name]
    layer = _parsed("layer", case.signature, case.statements)
    arrays = _arrays(layer, case.inputs)
    run = _run(layer, arrays)

    context = mpmath.ctx_mp.MPContext()
    context.dps = case.digits
    instance = _instance(layer, arrays)
    evaluator = Evaluator(layer.statements, instance, context)
    numbers = {
        p.name: {
            k: context.mpf(float(arrays[p.name][k])) if p.kind.differentiable else int(arrays[p.name][k])
            for k in instance.keys(p.axes)
        }
        for p in layer.parameters
    }

    def close(what: str, got: Any, want: Any) -> None:
        error = abs(context.mpf(float(got)) - want)
        assert error <= 1e-10 * abs(want) + case.absolute, f"{what}: {float(got)!r}, not {context.nstr(want, 17)}"

    reference = evaluator.run(numbers)
    for output, value in run.outputs.items():
        for key, want in reference[output].items():
            close(f"{output}{key}", np.asarray(value)[key], want)

    def paired(values: Mapping[str, Any]) -> Any:
        return context.fsum(
            context.mpf(float(cotangent[key])) * values[output][key]
            for output, cotangent in run.cotangents.items()
            for key in reference[output]
        )

    step = context.mpf(10) ** -(case.digits // 3)
    for parameter, gradient in run.gradients.items():
        assert np.isfinite(gradient).all()
        for key in instance.keys(layer.axes(parameter)):
            if (parameter, key) in case.skip:
                continue
            sides = []
            for moved in (numbers[parameter][key] + step, numbers[parameter][key] - step):
                sides.append(paired(evaluator.run({**numbers, parameter: {**numbers[parameter], key: moved}})))
            close(f"d{parameter}{key}", gradient[key], (sides[0] - sides[1]) / (2 * step))


def test_the_gradient_of_a_norm_at_zero_is_zero() -> None:
    layer = _parsed("layer", CASES["norm"].signature, CASES["norm"].statements)
    run = _run(layer, {"x": np.zeros((2, 3))})
    assert not run.outputs["r"].any()
    assert not run.gradients["x"].any()


ELUS = {
    "elu": ("where(x[n] > 0, x[n], a*(exp(x[n]) - 1))", 1.3),
    "elu, not strictly": ("where(x[n] >= 0, x[n], a*(exp(x[n]) - 1))", 1.0),
    "celu": ("where(x[n] > 0, x[n], a*(exp(x[n]/a) - 1))", 1.0),
}


@pytest.mark.parametrize("name", ELUS)
def test_a_clamp_does_not_disturb_the_derivative_at_the_kink(name: str) -> None:
    expression, slope = ELUS[name]
    layer = _parsed("layer", "x: Real[N], *, a: Real = 1.3", f"y[n] = {expression}; return y")
    run = _run(layer, {"x": np.zeros(1)})
    assert run.gradients["x"] == pytest.approx(slope * run.cotangents["y"], rel=1e-15)


def test_the_entropy_of_a_certain_event_is_zero() -> None:
    signature, statements = "p: Real[N]", "h = -sum[n](p[n]*log(p[n])); return h"
    layer = _parsed("layer", signature, statements)
    assert _run_forward(layer, np.array([0.0, 1.0])) == 0


def _run_forward(layer: Layer, *arrays: Any) -> Any:
    module = types.ModuleType(layer.name)
    exec(compile(build_module(layer), layer.name, "exec"), module.__dict__)
    with np.errstate(all="raise", under="ignore"):
        return module.forward(*arrays)[0]

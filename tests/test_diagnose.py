"""What a diagnosis says of backward passes that are right, and of those that are wrong."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

import derive
from benchmarks.diagnose import FOLDER, asked, changes, functions, module, mutated, source
from benchmarks.mutations import HELD_OUT, MUTATIONS, SPECIMENS, Mutation
from derive.diagnosis import Cause, Diagnosis, diagnose
from derive.errors import DeriveError

Array = Any


def causes(found: Diagnosis) -> dict[str, Cause]:
    return {s: e.cause for e in found.explanations for s in e.explains}


def text_of(found: Diagnosis) -> str:
    return "; ".join(e.text for e in found.explanations)


# A sample of the benchmark


@pytest.mark.parametrize("specimen", (*SPECIMENS, *HELD_OUT), ids=lambda s: s.name)
def test_correct_code_is_called_right(specimen: Any) -> None:
    found = asked(specimen, source(specimen.name))
    assert found.right, str(found)
    assert not found.missing


SAMPLE = MUTATIONS[3::8]


@pytest.mark.parametrize("mutation", SAMPLE, ids=lambda m: f"{m.specimen}-{m.kind}")
def test_the_right_cause_of_a_mistake_is_named(mutation: Mutation) -> None:
    (specimen,) = (s for s in SPECIMENS if s.name == mutation.specimen)
    found = asked(specimen, mutated(mutation))
    assert not found.right
    said = [e for e in found.explanations if mutation.about in e.explains]
    assert [e for e in said if e.cause in mutation.causes and mutation.says in e.text], str(found)


def test_every_mutation_changes_its_specimen_in_one_place() -> None:
    assert all(source(m.specimen).count(m.old) == 1 for m in MUTATIONS)
    assert {m.specimen for m in MUTATIONS} == {s.name for s in SPECIMENS}
    assert {s.name for s in (*SPECIMENS, *HELD_OUT)} == {p.stem for p in FOLDER.glob("*.py")}
    assert len(MUTATIONS) >= 120


def test_a_mutation_that_changes_no_number_is_told_from_one_that_does() -> None:
    nothing = Mutation("softmax", "nothing", "y * (dy - inner)", "(dy - inner) * y", "dz", (Cause.FACTOR,))
    assert not changes(nothing)
    assert changes(next(m for m in MUTATIONS if m.specimen == "softmax"))


# Ways to write a backward pass


def linear_backward(x: Array, w: Array, dy: Array) -> tuple[Array, ...]:
    return dy @ w.T, x.reshape(-1, x.shape[-1]).T @ dy.reshape(-1, dy.shape[-1]), dy.reshape(-1, dy.shape[-1]).sum(0)


def test_gradients_may_come_by_position_by_key_by_field_and_by_attribute() -> None:
    class Grads(NamedTuple):
        grad_w: Array
        grad_x: Array
        grad_b: Array

    class Holder:
        def __init__(self, x: Array, w: Array, b: Array) -> None:
            self.x_grad, self.dw, self.db = x, w, b

    def by_key(x: Array, w: Array, dy: Array) -> dict[str, Array]:
        dx, dw, db = linear_backward(x, w, dy)
        return {"b": db, "x": dx, "w": dw}

    def by_field(x: Array, w: Array, grad_out: Array) -> Grads:
        dx, dw, db = linear_backward(x, w, grad_out)
        return Grads(dw, dx, db)

    def by_attribute(x: Array, w: Array, dout: Array) -> Holder:
        return Holder(*linear_backward(x, w, dout))

    def by_name(x: Array, w: Array, dout: Array) -> tuple[Array, ...]:
        dx, dw, db = linear_backward(x, w, dout)
        return db, dw, dx

    for function in (linear_backward, by_key, by_field, by_attribute, by_name):
        assert diagnose("linear", function).right, function.__name__


def test_options_say_what_names_do_not() -> None:
    def f(a: Array, b: Array, c: Array) -> list[Array]:
        dx, dw, db = linear_backward(a, b, c)
        return [db, None, dx, dw]

    with pytest.raises(DeriveError, match="argument 'a' of f stands for nothing"):
        diagnose("linear", f)
    with pytest.raises(DeriveError, match="returned 4 results"):
        diagnose("linear", f, args=["x", "w", "dy"])
    assert diagnose("linear", f, args=["x", "w", "dy"], returns=["db", "_", "dx", "dw"]).right


def test_a_tensor_may_have_another_shape_in_the_users_code() -> None:
    def transposed(x: Array, w: Array, dy: Array) -> tuple[Array, ...]:
        assert w.shape[0] == dy.shape[-1]
        dx, dw, db = linear_backward(x, w.T, dy)
        return dx, dw.T, db

    assert diagnose("linear", transposed, shapes={"w": "O, I"}).right
    with pytest.raises(DeriveError, match="leaves out the axis I"):
        diagnose("linear", transposed, shapes={"w": "O"})
    with pytest.raises(DeriveError, match="no axis 'K' is left"):
        diagnose("linear", transposed, shapes={"w": "O, K"})
    with pytest.raises(DeriveError, match="'z' is no tensor"):
        diagnose("linear", transposed, shapes={"z": "O"})


def test_pytorch_functions_are_called_with_tensors() -> None:
    def backward(x: Any, w: Any, dy: Any) -> tuple[Any, ...]:
        assert isinstance(x, torch.Tensor)
        return dy @ w.T, x.flatten(0, -2).T @ dy.flatten(0, -2), dy.flatten(0, -2).mean(0)

    found = diagnose("linear", backward, torch=True)
    assert causes(found) == {"db": Cause.FACTOR}
    assert "1/batch" in text_of(found)


def test_autograd_itself_is_right() -> None:
    def backward(x: Any, gamma: Any, beta: Any, dy: Any) -> tuple[Any, ...]:
        leaves = [t.detach().requires_grad_() for t in (x, gamma, beta)]
        y = torch.nn.functional.layer_norm(leaves[0], leaves[0].shape[-1:], leaves[1], leaves[2])
        return torch.autograd.grad(y, leaves, dy)

    assert diagnose("layernorm", backward, torch=True, batch=2).right


def test_forward_intermediates_are_arguments_by_name() -> None:
    def backward(dy: Array, xhat: Array, rstd: Array, gamma: Array, N: int) -> tuple[Array, ...]:
        dgamma, dbeta = (dy * xhat).sum(0), dy.sum(0)
        return gamma * rstd / N * (N * dy - dbeta - xhat * dgamma), dgamma, dbeta

    assert diagnose("batchnorm", backward).right


def test_a_class_keeps_its_own_cache() -> None:
    class Square:
        def forward(self, x: Array) -> Array:
            self.x = x
            return x**2

        def backward(self, dy: Array) -> Array:
            return 3 * self.x * dy

    layer = derive.parse("def square(x: Real[...]):\n    y[...] = x[...]**2\n    return y\n")
    found = diagnose(layer, Square.backward, forward=Square.forward, owner=Square)
    assert causes(found) == {"dx": Cause.FACTOR}
    assert "3/2" in text_of(found)


def test_float32_code_is_right_and_noted() -> None:
    code = module(source("batchnorm"), "batchnorm")
    forward, backward = functions(code)
    assert forward is not None

    @functools.wraps(backward)
    def single(dout: Array, cache: Any) -> tuple[Array, ...]:
        return tuple(
            g.astype(np.float32) for g in backward(dout.astype(np.float32), tuple(c.astype(np.float32) for c in cache))
        )

    found = diagnose("batchnorm", single, forward=forward)
    assert found.right, str(found)
    assert "it returns float32" in found.notes[0]


def test_what_went_through_float32_on_the_way_is_said_so() -> None:
    def backward(x: Array, w: Array, dy: Array) -> tuple[Array, ...]:
        dx, dw, db = linear_backward(x, w, dy)
        return (dx + 50).astype(np.float32).astype(float) - 50, dw, db

    assert causes(diagnose("linear", backward)) == {"dx": Cause.PRECISION}


def test_lost_float32_is_noted() -> None:
    def backward(x: Array, w: Array, dy: Array) -> tuple[Array, ...]:
        dx, dw, db = linear_backward(x, w, dy)
        return dx * np.float64(1.0), dw, db

    found = diagnose("linear", backward)
    assert found.right
    assert found.notes == ("float32 is lost: given float32, dx comes as float64",)


# Causes beyond the benchmark's


def batchnorm_stages(scale: float) -> Callable[..., Any]:
    def backward(dy: Array, gamma: Array, xc: Array, rstd: Array, xhat: Array) -> tuple[Array, ...]:
        n = len(dy)
        dxhat = dy * gamma
        drstd = (dxhat * xc).sum(0)
        dvar = scale * drstd * rstd**3
        dxc = dxhat * rstd + 2 * dvar * xc / n
        dmu = -dxc.sum(0)
        dx = dxc + dmu / n
        return dxhat, drstd, dvar, dxc, dmu, dx, (dy * xhat).sum(0), dy.sum(0)

    return backward


STAGES = ["dxhat", "drstd", "dvar", "dxc", "dmu", "dx", "dgamma", "dbeta"]


def test_the_first_wrong_stage_is_named_and_explains_the_later_ones() -> None:
    assert diagnose("batchnorm", batchnorm_stages(-0.5), returns=STAGES).right
    found = diagnose("batchnorm", batchnorm_stages(0.5), returns=STAGES)
    assert found.first == "dvar"
    assert found.wrong == ("dvar", "dxc", "dx")  # dmu does not feel it: the deviations sum to zero
    assert [(e.cause, e.explains) for e in found.explanations] == [(Cause.SIGN, ("dvar", "dxc", "dx"))]
    assert "first wrong, in the order of the derivation: dvar" in str(found)
    assert "comes in: dvar[d] = -0.5*drstd[d]*rstd[d]**3" in str(found)


def char_mlp_by_hand(divisor: Callable[[int], int]) -> Callable[..., Any]:
    """The 26 gradients of a character network as one writes them by hand; the variance is divided by ``divisor``."""

    def backward(
        x: Array, y: Array, C: Array, W1: Array, bngain: Array, W2: Array, emb: Array, bndiff: Array, bnvar_inv: Array,
        bnraw: Array, h: Array, logits: Array, counts: Array, counts_sum: Array, counts_sum_inv: Array, probs: Array,
    ) -> dict[str, Array]:  # fmt: skip
        n = len(x)
        d: dict[str, Array] = {"logprobs": np.zeros_like(probs)}
        d["logprobs"][np.arange(n), y] = -1 / n
        d["probs"] = d["logprobs"] / probs
        d["counts_sum_inv"] = (counts * d["probs"]).sum(1)
        d["counts_sum"] = -(counts_sum**-2) * d["counts_sum_inv"]
        d["counts"] = counts_sum_inv[:, None] * d["probs"] + d["counts_sum"][:, None]
        d["norm_logits"] = counts * d["counts"]
        d["logit_maxes"] = -d["norm_logits"].sum(1)
        d["logits"] = d["norm_logits"].copy()
        d["logits"][np.arange(n), logits.argmax(1)] += d["logit_maxes"]
        d["h"], d["W2"], d["b2"] = d["logits"] @ W2.T, h.T @ d["logits"], d["logits"].sum(0)
        d["hpreact"] = (1 - h**2) * d["h"]
        d["bngain"], d["bnbias"] = (bnraw * d["hpreact"]).sum(0), d["hpreact"].sum(0)
        d["bnraw"] = bngain * d["hpreact"]
        d["bnvar_inv"] = (bndiff * d["bnraw"]).sum(0)
        d["bnvar"] = -0.5 * bnvar_inv**3 * d["bnvar_inv"]
        d["bndiff2"] = np.ones_like(bndiff) * d["bnvar"] / divisor(n)
        d["bndiff"] = bnvar_inv * d["bnraw"] + 2 * bndiff * d["bndiff2"]
        d["bnmeani"] = -d["bndiff"].sum(0)
        d["hprebn"] = d["bndiff"] + d["bnmeani"] / n
        d["embcat"] = np.einsum("nj,bej->nbe", d["hprebn"], W1)
        d["W1"], d["b1"] = np.einsum("nbe,nj->bej", emb, d["hprebn"]), d["hprebn"].sum(0)
        d["emb"], d["C"] = d["embcat"], np.zeros_like(C)
        np.add.at(d["C"], x, d["emb"])
        return {f"d{name}": value for name, value in d.items()}

    return backward


def test_each_of_26_gradients_by_hand_is_compared_and_the_first_wrong_one_is_named() -> None:
    layer = derive.load(str(FOLDER.parent.parent / "examples" / "char_mlp_by_hand.layer"))
    right = diagnose(layer, char_mlp_by_hand(lambda n: n - 1))
    assert right.right, str(right)
    assert len(right.results) == 26
    wrong = diagnose(layer, char_mlp_by_hand(lambda n: n))
    assert wrong.first == "dbndiff2"
    (explanation,) = wrong.explanations
    assert explanation.text == "dbndiff2 has the factor (N - 1)/N too many"
    assert explanation.explains == ("dbndiff2", "dbndiff", "dhprebn", "dembcat", "demb", "dC", "dW1")


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("rstd = 1 / np.sqrt(var)", "without eps"),
        ("rstd = 1 / (np.sqrt(var) + eps)", "with eps outside the root"),
        ("var = x.var(0, ddof=1); rstd = 1 / np.sqrt(var + eps)", "with N - 1 for N"),
    ],
)
def test_a_wrong_forward_value_is_found(line: str, word: str) -> None:
    names: dict[str, Any] = {"np": np}
    exec(
        "def forward(x, gamma, beta, eps=1e-5):\n"
        "    xc = x - x.mean(0); var = (xc**2).mean(0)\n"
        f"    {line}\n"
        "    return None, (xc * rstd, rstd, gamma)\n",
        names,
    )

    def backward(dy: Array, cache: Any) -> tuple[Array, ...]:
        xhat, rstd, gamma = cache
        dgamma, dbeta = (dy * xhat).sum(0), dy.sum(0)
        return gamma * rstd * (dy - dbeta / len(dy) - xhat * dgamma / len(dy)), dgamma, dbeta

    found = diagnose("batchnorm", backward, forward=names["forward"])
    assert causes(found) == {"dx": Cause.INTERMEDIATE, "dgamma": Cause.INTERMEDIATE}
    assert word in text_of(found)


def test_state_that_is_kept_between_calls_is_found() -> None:
    total: list[Array] = []

    def backward(x: Array, w: Array, dy: Array) -> tuple[Array, ...]:
        dx, dw, db = linear_backward(x, w, dy)
        total.append(dw)
        return dx, sum(total[1:], total[0]), db

    found = diagnose("linear", backward)
    assert causes(found) == {"dw": Cause.ACCUMULATED}
    assert "gives twice as much" in text_of(found)


def test_an_argument_that_is_written_to_is_noted() -> None:
    def backward(x: Array, w: Array, dy: Array) -> tuple[Array, ...]:
        result = linear_backward(x, w, dy)
        dy *= 2
        return result

    found = diagnose("linear", backward)
    assert found.right
    assert found.notes[0] == "backward writes to its argument dy"


def test_a_recurrence_is_compared_and_its_factors_are_named() -> None:
    def backward(x: Array, h0: Array, wx: Array, wh: Array, h: Array, dh: Array) -> tuple[Array, ...]:
        dx, dwx, dwh = np.zeros_like(x), np.zeros_like(wx), np.zeros_like(wh)
        db, later = 0.0, np.zeros_like(h0)
        for t in reversed(range(len(x))):
            da = (dh[t] + later) * (1 - h[t] ** 2)
            dx[t] = da @ wx.T
            dwx += x[t].T @ da
            dwh += (h[t - 1] if t else h0).T @ da
            db, later = db + da.sum(0), da @ wh.T
        return dx, later, dwx, 2 * dwh, db, db

    found = diagnose("rnn", backward)
    assert causes(found) == {"dwh": Cause.FACTOR}


def test_what_nothing_explains_is_shown_where_it_differs_most() -> None:
    def backward(x: Array, w: Array, dy: Array) -> tuple[Array, ...]:
        dx, dw, db = linear_backward(x, w, dy)
        return np.sin(3 * dx) + dx**2, dw, db

    found = diagnose("linear", backward)
    assert causes(found) == {"dx": Cause.UNEXPLAINED}
    assert "nothing that was tried explains it" in str(found)
    assert "differs most: dx[" in str(found)


def test_a_part_that_is_wrong_is_located() -> None:
    def backward(x: Array, w: Array, dy: Array) -> tuple[Array, ...]:
        dx, dw, db = linear_backward(x, w, dy)
        dw[:, -1] = np.cos(dw[:, -1])
        return dx, dw, db

    found = diagnose("linear", backward)
    assert causes(found) == {"dw": Cause.PLACE}
    assert "where o is the last" in text_of(found)


def test_a_gradient_that_should_vanish_and_does_not_is_wrong() -> None:
    (specimen,) = (s for s in SPECIMENS if s.name == "char_mlp")
    text = source("char_mlp")
    assert text.count("db1 = dhprebn.sum(axis=0)") == 1  # zero: the normalization takes a constant away again
    found = asked(specimen, text.replace("db1 = dhprebn.sum(axis=0)", "db1 = ddiff.std(axis=0)"))
    assert found.wrong == ("db1",)


def test_two_mistakes_get_two_explanations() -> None:
    def backward(x: Array, w: Array, dy: Array) -> tuple[Array, ...]:
        dx, dw, _ = linear_backward(x, w, dy)
        return -dx, dw, dy.reshape(-1, dy.shape[-1])

    assert causes(diagnose("linear", backward)) == {"dx": Cause.SIGN, "db": Cause.SUM_MISSING}


def test_code_that_raises_is_wrong_and_says_where() -> None:
    def backward(x: Array, w: Array, dy: Array) -> tuple[Array, ...]:
        return dy @ w, x.T @ dy, dy.sum(0)

    found = diagnose("linear", backward)
    assert not found.right
    assert found.explanations[0].cause is Cause.CRASH
    assert "backward raises ValueError: matmul" in text_of(found)
    assert "return dy @ w" in text_of(found)


def test_gradients_that_are_not_returned_are_listed() -> None:
    found = diagnose("linear", lambda x, w, dy: {"dx": dy @ w.T})
    assert found.right
    assert found.missing == ("dw", "db")


# Arrays instead of code


def test_arrays_are_compared_at_their_own_inputs() -> None:
    rng = np.random.default_rng(1)
    x, w, dy = rng.standard_normal((6, 3)), rng.standard_normal((3, 4)), rng.standard_normal((6, 4))
    given: dict[str, Any] = {"inputs": {"x": x, "w": w, "b": np.zeros(4)}, "cotangents": {"dy": dy}}
    gradients = dict(zip(("dx", "dw", "db"), linear_backward(x, w, dy), strict=True))
    assert diagnose("linear", gradients, **given).right
    found = diagnose("linear", {**gradients, "db": gradients["db"] / 6}, **given)
    assert causes(found) == {"db": Cause.FACTOR}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": None}, "need the inputs"),
        ({"inputs": {"x": np.ones((6, 3))}}, "the parameter w is missing"),
        ({"cotangents": {}}, "the cotangent dy is missing"),
        ({"cotangents": {"dy": np.ones((6, 5))}}, r"dy has the shape \(6, 5\), expected"),
        ({"inputs": {"x": np.ones((6, 3)), "w": np.ones((2, 4)), "b": np.ones(4)}}, "w has the shape"),
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit_are_refused(change: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {
        "inputs": {"x": np.ones((6, 3)), "w": np.ones((3, 4)), "b": np.zeros(4)},
        "cotangents": {"dy": np.ones((6, 4))},
    }
    with pytest.raises(DeriveError, match=message):
        diagnose("linear", {"dx": np.ones((6, 3))}, **(given | change))


def test_the_same_name_is_the_function_of_the_package() -> None:
    assert derive.diagnose is diagnose

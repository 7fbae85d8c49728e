"""Backward passes that return the adjoint of every intermediate result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import derive
from derive.check import check
from derive.check.formulas import program_values
from derive.check.samples import sample
from derive.check.sizes import choose_instance
from derive.check.stages import check_stage_formulas
from derive.commands import main
from derive.stages import build_stages, staged_program

ROOT = Path(__file__).resolve().parent.parent
BY_HAND = ROOT / "examples" / "char_mlp_by_hand.layer"


def module(text: str) -> ModuleType:
    found = ModuleType("staged")
    exec(text, found.__dict__)
    return found


def test_the_26_gradients_of_a_character_network_are_those_of_autograd() -> None:
    text, report = build_stages(derive.load(str(BY_HAND)))
    assert report.passed
    code = module(text)
    rng = np.random.default_rng(4)
    n, b, v, e, h = 8, 3, 7, 4, 6
    x, y = rng.integers(0, v, (n, b)), rng.integers(0, v, n)
    values = {
        "C": rng.standard_normal((v, e)), "W1": rng.standard_normal((b, e, h)), "b1": rng.standard_normal(h),
        "bngain": rng.standard_normal(h), "bnbias": rng.standard_normal(h),
        "W2": rng.standard_normal((h, v)), "b2": rng.standard_normal(v),
    }  # fmt: skip
    loss, cache = code.forward(x, y, *values.values())
    ours = code.backward(1.0, cache)._asdict()

    t: dict[str, Any] = {name: torch.tensor(value, requires_grad=True) for name, value in values.items()}
    t["emb"] = t["C"][torch.tensor(x)]
    t["embcat"] = t["emb"].view(n, b * e)
    t["hprebn"] = t["embcat"] @ t["W1"].reshape(b * e, h) + t["b1"]
    t["bnmeani"] = t["hprebn"].sum(0) / n
    t["bndiff"] = t["hprebn"] - t["bnmeani"]
    t["bndiff2"] = t["bndiff"] ** 2
    t["bnvar"] = t["bndiff2"].sum(0) / (n - 1)
    t["bnvar_inv"] = (t["bnvar"] + 1e-5) ** -0.5
    t["bnraw"] = t["bndiff"] * t["bnvar_inv"]
    t["hpreact"] = t["bngain"] * t["bnraw"] + t["bnbias"]
    t["h"] = torch.tanh(t["hpreact"])
    t["logits"] = t["h"] @ t["W2"] + t["b2"]
    t["logit_maxes"] = t["logits"].max(1).values
    t["norm_logits"] = t["logits"] - t["logit_maxes"][:, None]
    t["counts"] = t["norm_logits"].exp()
    t["counts_sum"] = t["counts"].sum(1)
    t["counts_sum_inv"] = t["counts_sum"] ** -1
    t["probs"] = t["counts"] * t["counts_sum_inv"][:, None]
    t["logprobs"] = t["probs"].log()
    theirs = -t["logprobs"][torch.arange(n), torch.tensor(y)].mean()
    for value in t.values():
        value.retain_grad()
    theirs.backward()

    assert loss == pytest.approx(theirs.item())
    assert ours.keys() == {f"d{name}" for name in t}
    assert len(ours) == 26
    for name, value in t.items():
        expected = value.grad.numpy().reshape(ours[f"d{name}"].shape)
        np.testing.assert_allclose(ours[f"d{name}"], expected, rtol=1e-9, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("name", ["batchnorm", "cross_entropy", "lstm_cell", "rnn"])
def test_every_named_intermediate_has_its_adjoint(name: str) -> None:
    layer = derive.load(name)
    program = staged_program(layer)
    _, report = build_stages(layer)
    assert report.passed
    named = {s.name for s in layer.statements} - set(layer.returns)
    assert named <= {of for of, _ in program.stages}


def test_names_that_stable_rewriting_would_merge_keep_their_adjoints() -> None:
    layer = derive.load(str(BY_HAND))
    assert "counts_sum" not in {s.name for s in derive.derive_program(layer).forward}
    stages = [name for name, _ in staged_program(layer).stages]
    assert [s.name for s in reversed(layer.statements)][1:] == stages  # all but the loss, as one goes back


def test_a_wrong_adjoint_of_a_stage_fails_the_check_of_the_formulas() -> None:
    layer = derive.load("batchnorm")
    program = staged_program(layer)
    wrong = replace(
        program,
        backward=tuple(replace(s, expr=2 * s.expr) if s.name == "dmu" else s for s in program.backward),
    )
    at = sample(layer, choose_instance(layer), 0)
    failed = {row.name for row in check_stage_formulas(wrong, at, program_values(wrong, at), 0) if not row.passed}
    assert failed == {"dmu"}
    assert all(row.passed for row in check_stage_formulas(program, at, program_values(program, at), 0))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("dxc, dmu)", "dxc, 2 * dmu)"),
        ("drstd, dvar,", "drstd, dvar[None],"),
        ("dxc, dmu)", "dxc, dmu.astype(np.float32))"),
    ],
)
def test_a_wrong_stage_in_the_code_fails_its_check(right: str, wrong: str) -> None:
    layer = derive.load("batchnorm")
    text, _ = build_stages(layer)
    assert text.count(right) == 2  # of the docstring and the return
    head, tail = text.rsplit(right, 1)
    report = check(layer, staged_program(layer), head + wrong + tail)
    assert not report.passed


def test_wanted_gradients_alone_are_returned_beside_the_stages() -> None:
    text, report = build_stages(derive.load("linear"), ["w"])
    assert report.passed
    assert "dx" not in text


def test_the_command_writes_a_module_with_stages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "layernorm", "--stages", "--out", str(tmp_path)]) == 0
    code = module((tmp_path / "layernorm.py").read_text(encoding="utf-8"))
    x, gamma, beta = np.arange(6.0).reshape(2, 3) ** 2, np.ones(3), np.zeros(3)
    _, cache = code.forward(x, gamma, beta)
    found = code.backward(np.ones((2, 3)), cache)
    assert found._fields[:3] == ("dx", "dgamma", "dbeta")
    np.testing.assert_allclose(found.dxhat, np.ones((2, 3)))
    assert "generate layernorm --stages" in (tmp_path / "layernorm.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("option", [["--jvp"], ["--second"], ["--calls"], ["--target", "c"]])
def test_stages_do_not_go_with_other_ways_of_writing(
    option: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", "batchnorm", "--stages", *option, "--out", str(tmp_path)]) == 2
    assert "stages are written as NumPy code to be read" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())

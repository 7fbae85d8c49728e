"""The command that diagnoses a file: what it prints, its exit status, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from derive.commands import main
from tests.conftest import Golden

Invoke = Callable[..., tuple[int, str, str]]

RIGHT = """
import numpy as np

def forward(x, gamma, beta, eps=1e-5):
    print("forward is called")
    xc = x - x.mean(axis=0)
    rstd = 1 / np.sqrt((xc * xc).mean(axis=0) + eps)
    return gamma * xc * rstd + beta, (xc * rstd, rstd, gamma)

def backward(dout, cache):
    xhat, rstd, gamma = cache
    N = dout.shape[0]
    dgamma = (dout * xhat).sum(axis=0)
    dbeta = dout.sum(axis=0)
    dx = gamma * rstd / N * (N * dout - dbeta - xhat * dgamma)
    return dx, dgamma, dbeta
"""


@pytest.fixture
def diagnose(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Write a text to mine.py and run the command on it; return exit status, output, errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def invoke(text: str, *words: str) -> tuple[int, str, str]:
        (tmp_path / "mine.py").write_text(text, encoding="utf-8")
        status = main(["diagnose", "mine.py", *words])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return status, captured.out, captured.err

    return invoke


def test_right_code_exits_with_0_and_prints_apart_from_the_result(diagnose: Invoke) -> None:
    status, out, err = diagnose(RIGHT, "--layer", "batchnorm")
    assert status == 0
    assert out.startswith("backward of batchnorm: right\n")
    assert "forward is called" in err
    assert "forward is called" not in out


def test_wrong_code_exits_with_1_and_is_explained(diagnose: Invoke, golden: Golden) -> None:
    status, out, _ = diagnose(
        RIGHT.replace("(N * dout - dbeta - xhat * dgamma)", "(N * dout - dbeta)"), "--layer", "batchnorm"
    )
    assert status == 1
    golden("diagnose/left_out.txt", out)


def test_json_holds_the_same(diagnose: Invoke) -> None:
    status, out, _ = diagnose(RIGHT.replace("rstd / N *", "rstd *"), "--layer", "batchnorm", "--json")
    found = json.loads(out)
    assert status == 1
    assert found["right"] is False
    assert found["first_wrong"] == "dx"
    assert [e["cause"] for e in found["explanations"]] == ["factor"]
    assert found["explanations"][0]["error_after"] < 1e-12 < 1e-2 < found["explanations"][0]["error_before"]
    assert [r["right"] for r in found["results"]] == [False, True, True]


def test_help_is_as_recorded(diagnose: Invoke, golden: Golden) -> None:
    status, out, _ = diagnose("", "--help")
    assert status == 0
    golden("help/diagnose.txt", out)


def test_functions_and_names_may_be_given(diagnose: Invoke) -> None:
    text = "def grads(a, b, c):\n    return c @ b.T, a.T @ c, c.sum(0)\n\ndef other_grad(a):\n    return a\n"
    words = ["--layer", "linear", "--function", "grads", "--args", "x,w,dy", "--returns", "dx,dw,db", "--batch", "1"]
    assert diagnose(text, *words)[0] == 0
    assert (
        diagnose(text.replace("b.T", "b"), *words[:-4], "--shape", "w=O,I", "--returns", "dx,_,db", "--batch", "1")[0]
        == 0
    )


def test_a_value_that_the_code_has_built_in_may_be_given(diagnose: Invoke) -> None:
    text = RIGHT.replace("eps=1e-5", "unknown=0.1").replace("+ eps", "+ unknown")
    assert diagnose(text, "--layer", "batchnorm")[0] == 1
    assert diagnose(text, "--layer", "batchnorm", "--set", "eps=0.1")[0] == 0


def test_a_class_is_found_by_itself(diagnose: Invoke) -> None:
    text = (
        "class Relu:\n"
        "    def forward(self, x):\n        self.x = x\n        return x * (x > 0)\n"
        "    def backward(self, dy):\n        return dy * (self.x > 0)\n"
    )
    assert diagnose(text, "--layer", "relu")[0] == 0


def test_torch_is_used_where_the_file_imports_it(diagnose: Invoke) -> None:
    text = "import torch\n\ndef backward(x, w, dy):\n    return torch.matmul(dy, w.T), x.T @ dy, dy.sum(dim=0)\n"
    assert diagnose(text, "--layer", "linear")[0] == 0


def test_an_exception_in_the_code_exits_with_1_and_names_its_line(diagnose: Invoke) -> None:
    status, out, _ = diagnose("def backward(x, w, dy):\n    return dy[5], dy / 0, [].index(1)\n", "--layer", "linear")
    assert status == 1
    assert "backward raises IndexError: index 5 is out of bounds" in out
    assert "line 2" in out


BAD: dict[str, tuple[str, list[str], str]] = {
    "no file": ("", ["--layer", "batchnorm"], ""),
    "syntax": ("def backward(:\n", ["--layer", "batchnorm"], "mine.py, line 1: "),
    "import": ("import nothing_like_it\n", ["--layer", "batchnorm"], "mine.py raises ModuleNotFoundError"),
    "exit": ("raise SystemExit(3)\n", ["--layer", "batchnorm"], "mine.py raises SystemExit: 3"),
    "no function": ("x = 1\n", ["--layer", "batchnorm"], "which function is the backward pass?"),
    "two functions": (
        "def f(): pass\ndef g(): pass\n",
        ["--layer", "batchnorm"],
        "name it with --function; there are: f, g",
    ),
    "unknown function": (RIGHT, ["--layer", "batchnorm", "--function", "back"], "has no function 'back'"),
    "unknown layer": (RIGHT, ["--layer", "batchnrm"], "did you mean"),
    "argument": ("def backward(q): return q\n", ["--layer", "linear"], "argument 'q' of backward stands for nothing"),
    "args": (
        "def backward(q): return q\n",
        ["--layer", "linear", "--args", "dz"],
        "stands for nothing of layer 'linear'",
    ),
    "returns": (RIGHT, ["--layer", "batchnorm", "--returns", "dx,dgama,dbeta"], "'dgama' is no gradient"),
    "few results": ("def backward(dy): return dy, dy\n", ["--layer", "linear"], "returned 2 results"),
    "nothing": ("def backward(dy): pass\n", ["--layer", "linear"], "backward returns nothing"),
    "words": ("def backward(dy): return 'a', 'b', 'c'\n", ["--layer", "linear"], "an array of numbers was expected"),
    "no cotangent": ("def backward(x): return x, x, x\n", ["--layer", "linear"], "is not given the cotangent dy"),
    "no cache": ("def backward(dy, cache): return dy\n", ["--layer", "linear"], "there is no forward to make one"),
    "shape": (RIGHT, ["--layer", "batchnorm", "--shape", "gamma"], "is not NAME=AXES"),
    "set": (RIGHT, ["--layer", "batchnorm", "--set", "eps"], "is not NAME=NUMBER"),
    "unknown hyper": (RIGHT, ["--layer", "batchnorm", "--set", "epsilon=1"], "no hyper-parameter of layer"),
    "several layers": (RIGHT, ["--layer"], "requires an argument"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_error_and_exit_status_2(case: str, diagnose: Invoke, tmp_path: Path) -> None:
    text, words, message = BAD[case]
    if case == "no file":
        assert main(["diagnose", "missing.py", *words]) == 2
        return
    status, out, err = diagnose(text, *words)
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("error:") == 1

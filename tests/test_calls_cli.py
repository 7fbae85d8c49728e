"""``derive generate --calls``: what is written, what is said, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import derive.pipeline
from derive.commands import main
from tests.conftest import ROOT

Invoke = Callable[..., tuple[int, str, str]]

NETWORK = """\
def dense(x: Real[N, D], w: Real[D, E]):
    y[n, e] = sum[d](x[n, d] * w[d, e])
    return y

def network(x: Real[N, D], w: Real[D, E], v: Real[E, E]):
    h = dense(x, w)
    a[n, e] = tanh(h[n, e])
    y = dense(a, v)
    return y
"""

USE = """
import numpy as np
x, w, v = np.ones((2, 3)), np.ones((3, 4)), np.ones((4, 4))
y, cache = network.forward(x, w, v)
print(y.shape, *(g.shape for g in network.backward(y, cache)))
"""


@pytest.fixture
def invoke(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Run a command line in an empty directory that holds the network; return exit status, output, errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    Path("net.layer").write_text(NETWORK)

    def run(*words: object) -> tuple[int, str, str]:
        status = main([str(word) for word in words])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def python(code: str, folder: Path, **environment: str) -> str:
    """Run code in a new interpreter that starts in the folder and finds nothing of the checkout."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_network_and_what_it_calls_are_written_and_checked(invoke: Invoke) -> None:
    status, out, err = invoke("generate", "net.layer:network", "--calls")
    assert (status, err) == (0, "")
    assert out == "generated/dense.py: written, checked\ngenerated/network.py: written, checked\n"
    text = Path("generated/network.py").read_text()
    assert "h, h_cache = dense.forward(x, w)" in text
    assert "da, dv = dense.backward(dy, y_cache)" in text
    assert "dx, dw = dense.backward(dh, h_cache)" in text
    assert invoke("generate", "net.layer:network", "--calls")[1].count("unchanged, checked") == 2


def test_the_modules_work_in_a_package_and_on_the_path(invoke: Invoke, tmp_path: Path) -> None:
    assert invoke("generate", "net.layer:network", "--calls")[0] == 0
    shapes = "(2, 4) (2, 3) (3, 4) (4, 4)\n"
    assert python("from generated import network" + USE, tmp_path) == shapes
    assert python("import network" + USE, tmp_path / "generated") == shapes


def test_a_layer_without_calls_has_its_plain_module(invoke: Invoke) -> None:
    status, out, _ = invoke("generate", "net.layer:dense", "--calls", "--out", "a")
    assert (status, out) == (0, "a/dense.py: written, checked; it calls no layer\n")
    assert invoke("generate", "net.layer:dense", "--out", "b")[0] == 0
    assert Path("a/dense.py").read_text() == Path("b/dense.py").read_text()


def test_a_layer_that_is_asked_for_and_called_is_written_once(invoke: Invoke) -> None:
    status, out, _ = invoke("generate", "net.layer", "--calls")
    assert status == 0
    assert out == ("generated/dense.py: written, checked; it calls no layer\ngenerated/network.py: written, checked\n")


def test_wrt_is_for_the_network_and_what_it_calls_has_all_gradients(invoke: Invoke) -> None:
    status, _, err = invoke("generate", "net.layer:network", "--calls", "--wrt", "v")
    assert (status, err) == (0, "")
    network, dense = Path("generated/network.py").read_text(), Path("generated/dense.py").read_text()
    assert "h, _ = dense.forward(x, w)" in network
    assert "dv = dense.backward(dy, y_cache).dw" in network
    assert "dense.backward(dh" not in network
    assert "Gradients(*map(np.asarray, (dx, dw), dtypes))" in dense


def test_a_foreign_file_in_the_place_of_a_called_layer_stops_all(invoke: Invoke) -> None:
    Path("generated").mkdir()
    Path("generated/dense.py").write_text("mine\n")
    status, out, err = invoke("generate", "net.layer:network", "--calls")
    assert (status, out) == (2, "")
    assert err == (
        "error: generated/dense.py was not made by derive and is left as it is\n"
        "hint: move it away, or generate into another folder with --out\n"
    )
    assert not Path("generated/network.py").exists()


def test_two_called_layers_of_one_name_are_refused(invoke: Invoke) -> None:
    text = "def linear(x: Real[...]):\n    y[...] = 2 * x[...]\n    return y\n\n"
    text += "def both(x: Real[N, D], w: Real[D, F], b: Real[F], v: Real[F, D], c: Real[D]):\n"
    text += "    h = feed_forward(x, w, b, v, c)\n    y = linear(h)\n    return y\n"
    Path("both.layer").write_text(text)
    status, out, err = invoke("generate", "both.layer:both", "--calls")
    assert (status, out) == (2, "")
    assert err == (
        "both.layer:5:5: error: both calls two layers called 'linear': both would be linear.py\n"
        "    def both(x: Real[N, D], w: Real[D, F], b: Real[F], v: Real[F, D], c: Real[D]):\n"
        "        ^~~~\n"
        "hint: give one of them another name, or write the calls out: generate without --calls\n"
    )
    assert invoke("generate", "both.layer:both")[0] == 0


def test_a_network_that_fails_its_check_leaves_nothing(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    right = derive.pipeline.build_network

    def wrong(*arguments: object) -> str:
        return right(*arguments).replace("dense.forward(a, v)", "dense.forward(a, 2 * v)")  # type: ignore[arg-type]

    monkeypatch.setattr(derive.pipeline, "build_network", wrong)
    status, out, err = invoke("generate", "net.layer:network", "--calls")
    assert (status, out) == (1, "")
    assert "network: the generated code does not pass its check" in err
    assert not Path("generated").exists()


def test_the_same_bytes_under_other_hash_seeds(invoke: Invoke, tmp_path: Path) -> None:
    texts = []
    for seed in ("1", "2"):
        code = "from derive.commands import main; raise SystemExit(main(['generate', 'feed_forward', '--calls']))"
        python(code, tmp_path, PYTHONHASHSEED=seed, PYTHONPATH=str(ROOT))
        texts.append({path.name: path.read_bytes() for path in sorted(Path("generated").iterdir())})
        for path in Path("generated").iterdir():
            path.unlink()
    assert sorted(texts[0]) == ["feed_forward.py", "linear.py", "relu.py"]
    assert texts[0] == texts[1]

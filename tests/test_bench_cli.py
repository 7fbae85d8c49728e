"""``derive bench`` on the command line: tables, JSON, pictures, errors. No times."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from derive.bench import machine as rates
from derive.bench import measure
from derive.bench.machine import Machine
from derive.bench.measure import AGAINST
from derive.commands import main
from derive.commands.bench import WAYS
from derive.language import load
from derive.pipeline import build_module

Invoke = Callable[..., tuple[int, str, str]]

FEW = ("--runs", "3", "--against", "numpy")


@pytest.fixture
def derive(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Run a command line in an empty directory; return exit status, output, errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("DERIVE_TRACEBACK", raising=False)
    # The process of the tests keeps its threads, and the machine needs not be measured.
    monkeypatch.setattr("derive.bench.threads.use_threads", lambda count: None)
    monkeypatch.setattr(rates, "machine", lambda dtype: Machine("a machine", 1e10, 1e11, dtype))

    def invoke(*words: object) -> tuple[int, str, str]:
        status = main([str(word) for word in words])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return status, captured.out, captured.err

    return invoke


def test_the_command_knows_every_way() -> None:
    assert WAYS == AGAINST


def test_a_table_has_every_way_and_says_where_it_was_measured(derive: Invoke) -> None:
    status, out, err = derive("bench", "softmax", "--sizes", "...=4,C=3", *FEW)
    assert (status, err) == (0, "")
    lines = [line.split() for line in out.splitlines() if line.strip()]
    assert lines[0] == ["softmax,", "...", "=", "4,", "C", "=", "3"]
    assert lines[1] == ["backward", "time", "±", "/", "derive", "NumPy", "/", "limit", "peak", "error"]
    assert [" ".join(line[:2]) for line in lines[3:5]] == ["derive NumPy", "staged NumPy"]
    assert out.splitlines()[-1].startswith("a machine: 10.0 GB/s, 100 Gflop/s (float32); 1 thread; numpy ")


def test_json_is_all_that_is_printed(derive: Invoke) -> None:
    status, out, err = derive("bench", "softmax", "batchnorm", "--sizes", "...=4,C=3", "--json", *FEW)
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert found["threads"] == 1
    assert [case["layer"] for case in found["cases"]] == ["softmax", "batchnorm"]
    softmax = found["cases"][0]
    assert softmax["sizes"] == {"...": [4], "C": 3}
    assert (softmax["nbytes"], softmax["flops"], softmax["dtype"]) == (4 * 3 * 12, 0, "float32")
    assert [row["name"] for row in softmax["rows"]] == ["derive NumPy", "staged NumPy"]
    assert all(row["seconds"] > 0 and row["error"] < 1e-5 for row in softmax["rows"])
    assert found["geometric_means"]["derive NumPy"] == 1
    assert set(found["geometric_means"]) == {"derive NumPy", "staged NumPy"}


def test_several_sizes_give_several_cases_and_their_mean(derive: Invoke) -> None:
    words = ("--sizes", "...=2,C=3", "--sizes", "...=4,C=3", "--dtype", "float64")
    status, out, _ = derive("bench", "softmax", *words, *FEW)
    assert status == 0
    assert "softmax, ... = 2, C = 3" in out
    assert "softmax, ... = 4, C = 3" in out
    assert "geometric mean of 2 cases, time relative to derive NumPy: staged NumPy " in out


def test_libraries_that_are_not_installed_are_named(derive: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = importlib.util.find_spec

    def find(name: str, package: str | None = None) -> Any:
        return None if name in ("autograd", "jax") else plain(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    status, out, err = derive("bench", "softmax", "--sizes", "...=4,C=3", "--runs", "3", "--against", "jax,autograd")
    assert (status, err) == (0, "")
    rows = [" ".join(line.split()) for line in out.splitlines()]
    assert "JAX jit: not installed: pip install jax" in rows
    assert "autograd: not installed: pip install autograd" in rows


@pytest.mark.parametrize("name", ["speed.png", "speed.svg"])
def test_a_picture_is_written(derive: Invoke, name: str) -> None:
    pytest.importorskip("matplotlib")
    status, out, err = derive("bench", "softmax", "--sizes", "...=4,C=3", "--plot", name, *FEW)
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == f"{name}: written"
    data = Path(name).read_bytes()
    assert data.startswith(b"\x89PNG\r\n" if name.endswith("png") else b"<?xml")
    assert len(data) > 5000


def test_a_file_of_ones_own_is_timed(derive: Invoke) -> None:
    Path("mine.layer").write_text(
        "def first(x: Real[N]):\n    y[n] = 2*x[n]\n    return y\n\n"
        "def second(x: Real[N]):\n    y[n] = sin(x[n])\n    return y\n"
    )
    status, out, _ = derive("bench", "mine.layer", "--sizes", "N=5", *FEW)
    assert status == 0
    assert "first, N = 5" in out
    assert "second, N = 5" in out


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--against", "tensorflow"),
         "error: --against: unknown 'tensorflow'\nhint: known: numpy, autograd, torch, torch.compile, jax\n"),
        (("--target", "rust"), "error: --target: unknown 'rust'\nhint: known: numpy, c\n"),
        (("--target", ","), "error: --target names nothing\nhint: known: numpy, c\n"),
        (("--sizes", "N=4"), "error: --sizes: 'N' is no size of softmax\nhint: its sizes are: ..., C\n"),
        (("--sizes", "c=4"),
         "error: --sizes: 'c' is no size of softmax\nhint: its sizes are: ..., C\n"),
        (("--sizes", "C:4"), "error: --sizes: cannot read 'C:4'\nhint: write e.g. --sizes N=8192,D=512\n"),
        (("--plot", "speed.pdf"),
         "error: --plot: speed.pdf is no picture that can be written\nhint: name it .png or .svg\n"),
        (("--dtype", "float16"),
         "error: invalid value for '--dtype': 'float16' is not one of 'float32', 'float64'\n"
         "hint: see derive bench --help\n"),
    ],
)  # fmt: skip
def test_wrong_words_are_errors_and_nothing_is_measured(
    derive: Invoke, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], error: str
) -> None:
    monkeypatch.setattr(measure, "measured", lambda *args, **options: pytest.fail("measured"))
    assert derive("bench", "softmax", *words) == (2, "", error)
    assert not list(Path().iterdir())


def test_an_unknown_layer_is_an_error(derive: Invoke) -> None:
    status, out, err = derive("bench", "softmx")
    assert (status, out) == (2, "")
    assert "softmx" in err
    assert "did you mean" in err


def test_a_picture_needs_matplotlib(derive: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, package=None: None)
    error = "error: --plot needs Matplotlib, which is not installed\nhint: pip install matplotlib\n"
    assert derive("bench", "softmax", "--plot", "speed.png") == (2, "", error)


def test_a_picture_that_cannot_be_written_is_an_error(derive: Invoke) -> None:
    pytest.importorskip("matplotlib")
    status, _, err = derive("bench", "softmax", "--sizes", "...=4,C=3", "--plot", "no/such/speed.svg", *FEW)
    assert status == 2
    assert err == "error: no/such/speed.svg: no such file or directory\n"


def test_generated_code_that_disagrees_is_a_failed_check(derive: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    right = build_module(load("softmax"))

    class Module(measure.GeneratedModule):
        """The module, whose gradient in single precision is half as large again."""

        def __init__(self, layer: Any, text: Any, modules: Any = None) -> None:
            super().__init__(layer, text, modules)
            backward, names = self.names["backward"], dict(self.names)

            def wrong(dy: Any, cache: Any) -> Any:
                (dz,) = backward(dy, cache)
                return (dz * (1.5 if dz.dtype == "float32" else 1),)

            if text == right:
                self.names = {**names, "backward": wrong}

    monkeypatch.setattr(measure, "GeneratedModule", Module)
    status, out, err = derive("bench", "softmax", "--sizes", "...=4,C=3", *FEW)
    assert status == 1
    why = "not timed: its gradients differ by 5.0e-01 of the largest element"
    assert why in " ".join(out.split())
    assert err == f"error: softmax, ... = 4, C = 3: derive NumPy is {why}\n"


def test_code_for_a_purpose_is_what_is_timed(derive: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def build(layer: Any, purpose: str = "reading") -> str:
        asked.append(purpose)
        return build_module(layer, purpose=purpose)

    monkeypatch.setattr(measure, "build_module", build)
    for purpose in ("speed", "memory"):
        asked.clear()
        status, _, err = derive("bench", "softmax", "--sizes", "...=4,C=3", "--for", purpose, *FEW)
        assert (status, err) == (0, "")
        assert purpose in asked


def test_help_has_an_example(derive: Invoke) -> None:
    status, out, _ = derive("bench", "--help")
    assert status == 0
    assert "derive bench batchnorm --sizes N=8192,D=512 --target numpy,c" in out

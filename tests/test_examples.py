"""The examples train on real data, and the set-up script says what it does."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tests.conftest import ROOT


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_digits_are_classified_and_the_curves_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digits = load("digits")
    picture = tmp_path / "curves.png"
    result = digits.train()
    assert result.accuracies[-1] >= 0.97
    assert result.seconds < 60
    assert np.mean(result.losses[-20:]) < 0.1 * result.losses[0]
    digits.draw(result, picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out == ""


def test_digits_script_ends_with_the_accuracy(tmp_path: Path) -> None:
    words = [sys.executable, ROOT / "examples" / "digits.py", "--epochs", "2", "--picture", tmp_path / "curves.png"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[:2] == ["generated/linear.py: unchanged, checked", "generated/batchnorm.py: unchanged, checked"]
    assert lines[-1].startswith("test accuracy: 9")


def test_every_gradient_of_the_character_network_is_pytorchs() -> None:
    char_mlp = load("char_mlp")
    rng = np.random.default_rng(1)
    x, y = char_mlp.examples(char_mlp.names()[:20])
    errors = char_mlp.compare(x, y, char_mlp.initial(rng))
    assert list(errors) == ["C", "W1", "b1", "gamma", "beta", "W2", "b2"]
    assert max(errors.values()) < 1e-9, errors


def test_character_network_learns_and_invents_names() -> None:
    char_mlp = load("char_mlp")
    rng = np.random.default_rng(0)
    x, y = char_mlp.examples(char_mlp.names())
    p = char_mlp.initial(rng)
    before = char_mlp.loss(x, y, p)
    char_mlp.train(x, y, p, 500, rng)
    assert before > 3
    assert char_mlp.loss(x, y, p) < 2.6
    words = char_mlp.sample(x, p, 5, rng)
    assert len(words) == 5
    assert all(word.isalpha() for word in words)


def test_names_are_plain_sorted_and_distinct() -> None:
    names = load("char_mlp").names()
    assert len(names) > 300
    assert names == sorted(set(names))
    assert all(name.isascii() and name.isalpha() and name.islower() for name in names)


def test_set_up_script_tells_its_tasks() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "make.py", "--help"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0
    assert all(task in done.stdout for task in ("run", "test", "setup"))

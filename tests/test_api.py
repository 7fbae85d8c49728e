"""The names that ``import derive`` offers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import derive
from tests.conftest import ROOT


def test_every_public_name_loads_and_is_documented() -> None:
    for name in derive.__all__:
        value = getattr(derive, name)
        if name != "__version__":
            assert value.__doc__, name
            assert value.__module__.startswith("derive."), name
        assert name in dir(derive)


def test_the_names_are_the_same_for_type_checkers_and_at_run_time() -> None:
    source = (ROOT / "derive" / "__init__.py").read_text(encoding="utf-8")
    for name in derive.__all__:
        if name != "__version__":
            assert f"import {name} as {name}\n" in source


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'derive' has no attribute 'nonsense'"):
        derive.nonsense  # noqa: B018


def test_import_costs_nothing() -> None:
    code = "import sys, derive; sys.exit(len({'sympy', 'numpy', 'click'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_text_to_file_in_python(tmp_path: Path) -> None:
    layer = derive.parse("def cube(x: Real[...]):\n    y[...] = x[...]**3\n    return y\n")
    text, report = derive.build(layer)
    assert report.passed
    (written,) = derive.generate(layer, out=tmp_path / "out")
    assert written.path == tmp_path / "out" / "cube.py"
    assert (written.changed, written.report.passed) == (True, True)
    assert written.path.read_text(encoding="utf-8") == text
    program = derive.derive_program(layer, wrt=["x"])
    assert "dx" in derive.show(program)
    assert "x" in derive.latex(program)


def test_generate_calls_back_before_each_layer(tmp_path: Path) -> None:
    begun: list[str] = []
    derive.generate(
        derive.load("relu"), derive.load("tanh"), out=tmp_path, begin=lambda layer: begun.append(layer.name)
    )
    assert begun == ["relu", "tanh"]


def test_unknown_target_is_an_error_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(derive.DeriveError, match="unknown target 'cuda'"):
        derive.generate(derive.load("relu"), out=tmp_path / "out", target="cuda")
    assert not (tmp_path / "out").exists()

"""``generated/`` holds the catalogue's modules, byte for byte as they are made now.

``pytest --update-golden`` writes them anew, each checked as ``derive generate``
does, and removes what is no longer in the catalogue.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import os
import subprocess
import sys

import pytest

import derive
from derive.pipeline import build_module
from tests.conftest import ROOT

FOLDER = ROOT / "generated"
NAMES = derive.catalogue()


@pytest.mark.parametrize("name", NAMES)
def test_module_is_what_is_generated_now(name: str, request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-golden"):
        derive.generate(derive.load(name), out=FOLDER)
        return
    path = FOLDER / f"{name}.py"
    accept = "to accept: pytest --update-golden tests/test_generated.py"
    if not path.exists():
        pytest.fail(f"generated/{name}.py is missing; {accept}", pytrace=False)
    old, new = path.read_text(encoding="utf-8"), build_module(derive.load(name))
    if new != old:
        diff = difflib.unified_diff(old.splitlines(True), new.splitlines(True), f"generated/{name}.py", "now")
        pytest.fail(f"{''.join(diff)}\n{accept}", pytrace=False)


def test_folder_holds_the_catalogue_and_nothing_else(request: pytest.FixtureRequest) -> None:
    extra = [path for path in sorted(FOLDER.glob("*")) if path.stem not in NAMES and path.name != "__pycache__"]
    if request.config.getoption("--update-golden"):
        for path in extra:
            path.unlink()
        return
    assert extra == []


def test_modules_need_nothing_but_numpy_and_scipy_special() -> None:
    found = set()
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(str(node.module))
    assert found - set(sys.stdlib_module_names) == {"numpy", "numpy.lib.stride_tricks", "scipy.special"}


@pytest.mark.parametrize("words", [["check"], ["format", "--diff"]], ids=["linter", "formatter"])
def test_linter_and_formatter_have_nothing_to_say(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *words, "generated"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_bytes_do_not_depend_on_the_hash_seed() -> None:
    code = (
        "import derive; from derive.pipeline import build_module;"
        "print(''.join(build_module(derive.load(n)) for n in derive.catalogue()))"
    )
    digests = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONIOENCODING": "utf-8"}
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        digests.add(hashlib.sha256(done.stdout).hexdigest())
    assert len(digests) == 1

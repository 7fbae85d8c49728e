"""What all tests share: where the checkout is, and golden files.

A golden file holds a whole output. A test hands its text to ``golden``; where
the two differ the test fails with a unified diff, and ``pytest
--update-golden`` writes the new text (read the diff before you accept it).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"

Golden = Callable[[str, str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden files with what the tests got")
    parser.addoption("--sanitize-all", action="store_true", help="run every layer in C under the sanitisers, not some")


@pytest.fixture
def root() -> Path:
    """The checkout's top folder."""
    return ROOT


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Compare a text with the golden file of that name (a path below ``tests/golden``)."""
    update: bool = request.config.getoption("--update-golden")

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
            return
        assert path.exists(), f"no golden file {name}: write it with pytest --update-golden"
        old = path.read_text(encoding="utf-8")
        if text != old:
            diff = difflib.unified_diff(old.splitlines(True), text.splitlines(True), f"golden/{name}", "now")
            pytest.fail(f"{''.join(diff)}\nto accept: pytest --update-golden {request.node.nodeid}", pytrace=False)

    return compare

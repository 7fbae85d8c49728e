"""The read-me shows what the program prints.

Every line after ``$ `` in a ``console`` block is run by a shell (lines after
``> `` continue it), all in one directory, and what follows is its output.
``pytest --update-golden`` writes the output that is true now.
"""

from __future__ import annotations

import difflib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from derive.algebra.functions import FUNCTIONS
from derive.language import parse_all
from derive.pipeline import build
from tests.conftest import ROOT

README = ROOT / "README.md"
BLOCK = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)


def commands(block: str) -> list[str]:
    """Return the command lines of a block, continuation lines joined, outputs left out."""
    found: list[str] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append(line[2:])
        elif line.startswith("> "):
            found[-1] += f"\n{line[2:]}"
        elif line == ">":
            found[-1] += "\n"
    return found


def rerun(text: str, folder: Path) -> str:
    """Return the text with every output replaced by what its command prints."""
    programs = folder / "bin"
    programs.mkdir()
    launcher = programs / "derive"
    launcher.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{ROOT / "cli.py"}" "$@"\n', encoding="utf-8")
    launcher.chmod(0o755)
    place = folder / "work"
    place.mkdir()
    environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "PYTHONIOENCODING": "utf-8"}

    def again(block: re.Match[str]) -> str:
        lines = []
        for command in commands(block[0]):
            done = subprocess.run(
                ["bash", "-c", command], cwd=place, env=environment, check=False, encoding="utf-8", timeout=120,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            first, *rest = command.split("\n")
            lines += [f"$ {first}", *(f"> {line}".rstrip() for line in rest)]
            lines += [line.rstrip() for line in done.stdout.splitlines()]
        return "\n".join(lines) + "\n"

    return BLOCK.sub(again, text)


@pytest.mark.skipif(shutil.which("bash") is None, reason="the read-me's commands are a shell's")
def test_readme_shows_what_the_program_prints(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    old = README.read_text(encoding="utf-8")
    assert len(BLOCK.findall(old)) >= 2
    new = rerun(old, tmp_path)
    if request.config.getoption("--update-golden"):
        README.write_text(new, encoding="utf-8", newline="\n")
        return
    if new != old:
        diff = difflib.unified_diff(old.splitlines(True), new.splitlines(True), "README.md", "now")
        pytest.fail(f"{''.join(diff)}\nto accept: pytest --update-golden tests/test_readme.py", pytrace=False)


def test_readme_links_lead_somewhere() -> None:
    prose = re.sub(r"^```.*?^```$|`[^`\n]*`", "", README.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\(([^)#]+)\)", prose)
    assert len(links) >= 4
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


def test_readme_python_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (script,) = [block for block in blocks if "import derive\n" in block]
    (tmp_path / "script.py").write_text(script + "print(type(scaled).__name__)\n", encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8", check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("Layer\n")
    assert (tmp_path / "generated" / "f.py").exists()


def test_readme_layers_are_in_the_language() -> None:
    import derive

    blocks = re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    layers = [layer.name for block in blocks if block.startswith("def ") for layer in derive.parse_all(block)]
    assert layers == ["batchnorm", "cross_entropy", "causal_attention", "conv1d", "rnn"]


LANGUAGE = ROOT / "derive" / "language" / "README.md"


def test_the_layers_of_the_language_page_pass_their_check() -> None:
    text = LANGUAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    layers = [layer for block in blocks for layer in parse_all(block, LANGUAGE.name)]
    assert len(layers) >= 5
    for layer in layers:
        build(layer)  # raises CheckError where code and formula disagree


def test_both_pages_name_every_function_that_a_user_may_write() -> None:
    made = {"polygamma", "heaviside", "xlogy", "at_most", "at_least", "guard", "log_cosh", "log_ndtr"}  # by the program
    for page in (README, LANGUAGE):
        words = set(re.findall(r"\w+", page.read_text(encoding="utf-8")))
        assert {row.name for row in FUNCTIONS if not row.infix} - made <= words
        assert {"sum", "mean", "prod", "logsumexp", "softmax", "log_softmax", "norm", "argmax", "std"} <= words

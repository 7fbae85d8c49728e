"""The C of layers under the address and undefined-behaviour sanitisers; ``--sanitize-all`` for the whole catalogue."""

from __future__ import annotations

import subprocess
import sys

import pytest
import sanitize
from conftest import ROOT

import derive

SAMPLE = ["layernorm", "cross_entropy", "conv2d", "lstm", "max_pool2d"]
FAULT = """
import c_modules, sanitize
right = c_modules.files
def wrong(name):
    texts = dict(right(name))
    assert "{old}" in texts["relu.c"], texts["relu.c"]
    texts["relu.c"] = texts["relu.c"].replace("{old}", "{new}")
    return texts
c_modules.files = wrong
sanitize.run(["relu"])
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = sanitize.environment() | {"DERIVE_SANITIZED": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_the_sanitisers_have_nothing_to_say(request: pytest.FixtureRequest) -> None:
    names = [*derive.catalogue()] if request.config.getoption("--sanitize-all") else SAMPLE
    done = subprocess.run([sys.executable, sanitize.__file__, *names], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-6000:]
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == names


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("b < batch;", "b <= batch;", "AddressSanitizer: heap-buffer-overflow"),
        ("b < batch;", "b < batch << 63;", "runtime error: left shift of"),
    ],
    ids=["address", "undefined"],
)
def test_a_fault_in_the_c_is_found(old: str, new: str, message: str) -> None:
    done = run("-c", FAULT.replace("{old}", old).replace("{new}", new))
    assert done.returncode != 0
    assert message in done.stderr

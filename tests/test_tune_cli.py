"""``--for`` and ``--cost`` on the command line, and the script that measures the constants."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.calibrate import TARGET
from benchmarks.calibrate import written as calibrated
from derive.commands import main
from derive.tune import calibration


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_generate_for_speed_writes_a_checked_module_that_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "softmax", "--for", "speed"]) == 0
    assert capsys.readouterr().out == "generated/softmax.py: written, checked\n"
    text = Path("generated/softmax.py").read_text(encoding="utf-8")
    assert "`derive generate softmax --for speed`" in text
    assert "np.vecdot(" in text


def test_check_takes_what_the_code_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "layernorm", "--for", "memory"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "gradients are written to the arrays of out" in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["generate", "relu", "--target", "c", "--for", "speed"], "the target c has one way of writing code"),
        (["generate", "relu", "--for", "fun"], "invalid value for '--for'"),
        (["check", "relu", "--target", "c", "--for", "speed"], "--for is of the code for numpy"),
        (["show", "relu", "--sizes", "...=3"], "--sizes goes with --cost"),
        (["show", "relu", "--cost", "--sizes", "N=3"], "relu has no size 'N'"),
        (["show", "relu", "--cost", "--sizes", "N"], "--sizes: cannot read 'N'"),
    ],
)
def test_what_does_not_go_together_is_an_error(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert message in capsys.readouterr().err
    assert not Path("generated").exists()


def test_show_cost_gives_a_row_for_each_way(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "batchnorm", "--cost", "--sizes", "N=4096,D=256"]) == 0
    title, _, head, *rows = capsys.readouterr().out.splitlines()
    assert title.startswith("batchnorm: backward at N = 4096, D = 256, float32, one thread")
    titles = "form forward saves code passes multiply-adds bytes held calls time chosen for"
    assert " ".join(head.split()) == titles
    assert any("row blocks" in row and "speed: takes the least time" in row for row in rows)


def test_constants_written_again_give_the_same_module() -> None:
    constants = {name: getattr(calibration, name) for name in calibration.__all__ if name != "CACHE"}
    old, new = TARGET.read_text(encoding="utf-8").splitlines(), calibrated(constants).splitlines()
    assert [line for line in new if not line.startswith("Times")] == [
        line for line in old if not line.startswith("Times")
    ]
    other = calibrated({**constants, "CALL": 1.5})
    assert "CALL = 1.5\n" in other

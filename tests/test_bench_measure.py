"""Measuring for ``derive bench``: turns, memory, comparison before times, tables, pictures. No times."""

from __future__ import annotations

import importlib.util
import io
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from derive.bench import measure
from derive.bench.formulas import NotRun
from derive.bench.inputs import parse_sizes
from derive.bench.machine import Machine
from derive.bench.measure import AGAINST, Case, Row, measured
from derive.bench.namespaces import numpy_namespace
from derive.bench.peers import PEERS, Peer, Prepared, versions
from derive.bench.picture import draw, require_matplotlib
from derive.bench.table import duration, mean_ratios, size_of, table, to_json
from derive.bench.timing import Times, interleaved
from derive.errors import DeriveError
from derive.language import load, parse
from derive.pipeline import build_module
from tests.conftest import ROOT

MACHINE = Machine("a machine", 1e10, 1e11, "float32")


# Timing and memory


def test_ways_take_turns_and_each_is_called_once_before_a_measurement() -> None:
    calls: list[str] = []
    times = interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, runs=4, short=0)
    assert {name: len(t.seconds) for name, t in times.items()} == {"a": 4, "b": 4}
    assert calls.count("a") == calls.count("b") == 2 + 4 * 2
    rounds = ["".join(calls[4 + 4 * k : 8 + 4 * k]) for k in range(4)]
    assert set(rounds) <= {"aabb", "bbaa"}


def test_short_calls_are_repeated_and_there_are_three_rounds_whatever_the_budget() -> None:
    calls: list[int] = []
    times = interleaved({"a": lambda: calls.append(1)}, runs=9, budget=0.0, short=1e-4)
    assert len(times["a"].seconds) == 3
    assert len(calls) > 30


def test_long_calls_are_only_called_to_be_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("derive.bench.timing.LONG", 0.0)
    calls: list[int] = []
    interleaved({"a": lambda: calls.append(1)}, runs=4)
    assert len(calls) == 1 + 4


def test_a_median_and_the_spread_of_the_quartiles() -> None:
    times = Times((1.0, 2.0, 3.0, 4.0, 100.0), 1.0)
    assert times.median == 3.0
    assert times.spread == pytest.approx((52 - 1.5) / 2 / 3)
    assert Times((1.0,), 1.0).spread == 0


def test_the_peak_is_what_a_call_allocates() -> None:
    def run() -> np.ndarray:
        first = np.ones(1_000_000)
        second = first + 1
        return second[:10].copy()

    assert measure._peak(run) == pytest.approx(16e6, rel=0.01)


# Measuring


def small(name: str, sizes: str, **options: Any) -> Case:
    """Return the measurements of a layer with few runs."""
    return measured(load(name), parse_sizes(sizes), machine=MACHINE, runs=3, budget=0.0, **options)


def test_every_way_is_compared_and_timed() -> None:
    case = small("batchnorm", "N=16,D=8", against=("numpy", "torch"))
    assert [row.name for row in case.rows] == ["derive NumPy", "staged NumPy", "PyTorch"]
    assert [row.ours for row in case.rows] == [True, False, False]
    for row in case.rows:
        if row.name == "PyTorch" and importlib.util.find_spec("torch") is None:
            continue
        assert row.why == ""
        assert row.seconds is not None
        assert row.seconds > 0
        assert row.error is not None
        assert 0 < row.error < 1e-4
    ours, staged, torch = case.rows
    assert torch.peak is None
    assert ours.peak is not None
    assert staged.peak is not None
    assert 16 * 8 * 4 <= ours.peak < staged.peak + 4096
    assert (case.title, case.dtype) == ("batchnorm, N = 16, D = 8", "float32")
    assert case.row("nobody") is None


def test_double_precision_is_compared_more_closely() -> None:
    case = small("softmax", "...=3x4,C=5", dtype="float64", against=("numpy",))
    assert case.title == "softmax, ... = 3×4, C = 5"
    assert max(row.error or 0 for row in case.rows) < 1e-12


OTHERWISE = """
def softmax(z: Real[..., C]):
    y[..., c] = {}
    return y
"""


def staged_as(monkeypatch: pytest.MonkeyPatch, formula: str) -> Row:
    """Return the row of a staged softmax that computes something else."""
    text = build_module(parse(OTHERWISE.format(formula)))
    monkeypatch.setattr(measure, "staged_module", lambda layer: text)
    row = small("softmax", "...=3,C=5", against=("numpy",)).row("staged NumPy")
    assert row is not None
    assert row.seconds is None
    return row


def test_what_disagrees_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    row = staged_as(monkeypatch, "1.5*softmax[c](z[..., c])")
    assert row.why == "not timed: its gradients differ by 5.0e-01 of the largest element"
    assert row.error == pytest.approx(0.5)


def test_gradients_that_are_no_numbers_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    with np.errstate(invalid="ignore"):
        row = staged_as(monkeypatch, "sqrt(-1 - z[..., c]**2)")
    assert row.why == "not timed: its gradients are not finite"


def missing(*args: object) -> Prepared:
    raise AssertionError("a library that is not installed is not asked")


def broken(*args: object) -> Prepared:
    raise RuntimeError("no kernel image\nfor this device")


def unknown(*args: object) -> Prepared:
    raise NotRun("a logarithm to another base")


@pytest.mark.parametrize(
    ("package", "prepare", "why"),
    [
        ("no_such_library", missing, "not installed: pip install no_such_library"),
        ("math", broken, "not run: RuntimeError: no kernel image"),
        ("math", unknown, "not run: a logarithm to another base"),
    ],
)
def test_what_a_library_cannot_do_is_said(
    monkeypatch: pytest.MonkeyPatch, package: str, prepare: Callable[..., Prepared], why: str
) -> None:
    peer = Peer("peer", package, "A Peer", numpy_namespace, prepare)
    monkeypatch.setattr(measure, "PEERS", (peer,))
    row = small("softmax", "...=3,C=5", against=("peer",)).row("A Peer")
    assert row == Row("A Peer", False, why=why)


def test_a_layer_without_gradients_is_refused() -> None:
    layer = parse("def count(t: Int[N]):\n    y[n] = exp(t[n])\n    return y\n")
    with pytest.raises(DeriveError, match="has no parameter with a gradient"):
        measured(layer, {}, machine=MACHINE)


def test_c_is_timed_where_there_is_a_compiler() -> None:
    try:
        case = small("softmax", "...=3,C=5", targets=("numpy", "c"), against=())
    except DeriveError as error:
        assert "compiler" in str(error)
        return
    row = case.row("derive C")
    assert row is not None
    assert row.why == ""
    assert row.ours


def test_versions_are_those_of_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert versions([])["numpy"] == np.__version__
    assert ("numpy", *(peer.name for peer in PEERS)) == AGAINST


# Tables and pictures


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1.2345, "1.23 s"), (0.0456, "45.6 ms"), (0.999, "999 ms"), (2.4e-6, "2.40 µs"), (3e-8, "0.03 µs")],
)
def test_durations_have_three_digits(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("nbytes", "text"), [(12, "12 B"), (4096, "4.1 kB"), (16_800_000, "16.8 MB"), (2e9, "2 GB")])
def test_sizes_have_three_digits(nbytes: int, text: str) -> None:
    assert size_of(int(nbytes)) == text


def case_of(layer: str, rows: int, **seconds: float | None) -> Case:
    """Return a case with these times."""
    found = tuple(
        Row(name.replace("_", " "), name.startswith("derive"), t, 0.1, 1.0, 1000, 1e-7, "" if t else "not installed")
        for name, t in seconds.items()
    )
    return Case(layer, {"N": rows, "D": 8}, "float32", 96 * rows, 0, 1e-4, found)


CASES = [
    case_of("batchnorm", 100, derive_NumPy=1e-3, PyTorch=4e-3, autograd=None),
    case_of("softmax", 100, derive_NumPy=2e-3, PyTorch=2e-3, autograd=1e-2),
]


def test_geometric_means_are_of_what_all_cases_have() -> None:
    assert mean_ratios(CASES) == {"derive NumPy": 1.0, "PyTorch": pytest.approx(2.0)}


def test_a_table_has_a_row_a_way() -> None:
    from rich.console import Console

    text = io.StringIO()
    Console(width=100, color_system=None, file=text).print(table(CASES[0]))
    lines = [" ".join(line.split()) for line in text.getvalue().splitlines() if line.strip()]
    assert lines == [
        "batchnorm, N = 100, D = 8",
        "backward time ± / derive NumPy / limit peak error",
        lines[2],
        "derive NumPy 1.00 ms 10% 1.00 10.0 1 kB 1e-07",
        "PyTorch 4.00 ms 10% 4.00 40.0 1 kB 1e-07",
        "autograd – 1e-07",
        "limit 100 µs: 9.6 kB to move",
        "autograd: not installed",
    ]
    assert set(lines[2]) == {"─"}


def test_json_has_everything() -> None:
    found = to_json(MACHINE, CASES, {"numpy": "2"}, 1)
    assert found["machine"] == {"name": "a machine", "bandwidth": 1e10, "flops": 1e11, "dtype": "float32"}
    assert [case["layer"] for case in found["cases"]] == ["batchnorm", "softmax"]
    assert found["cases"][0]["rows"][2] == {
        "name": "autograd", "ours": False, "seconds": None, "spread": 0.1, "busy": 1.0, "peak": 1000,
        "error": 1e-7, "why": "not installed",
    }  # fmt: skip
    assert math.isclose(found["geometric_means"]["PyTorch"], 2.0)


LINES = [case_of("gelu", n, derive_NumPy=1e-5 * n, PyTorch=4e-5 * n) for n in (10, 100, 1000)]


@pytest.mark.parametrize("cases", [CASES, LINES, [*CASES, *LINES]], ids=["bars", "lines", "both"])
def test_pictures_are_pictures(cases: list[Case], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from xml.etree import ElementTree

    from matplotlib.image import imread

    png, svg = tmp_path / "picture.png", tmp_path / "picture.svg"
    draw(cases, png, "a machine")
    draw(cases, svg)
    pixels = imread(png)
    assert pixels.shape[0] > 300
    assert pixels.shape[1] > 400
    assert len({tuple(pixel) for pixel in pixels[::7, ::7].reshape(-1, pixels.shape[2]).tolist()}) > 10
    assert ElementTree.parse(svg).getroot().tag.endswith("svg")
    again = tmp_path / "again.svg"
    draw(cases, again)
    assert again.read_bytes() == svg.read_bytes()


def test_bars_stand_at_their_heights_and_lines_at_their_sizes() -> None:
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    from derive.bench.picture import _bars, _lines

    ax = Figure().subplots()
    _bars(ax, CASES)
    heights = sorted(round(patch.get_height(), 6) for patch in ax.patches)
    assert heights == [1, 2, 2, 4, 10]  # milliseconds
    ax = Figure().subplots()
    _lines(ax, LINES)
    assert (ax.get_xlabel(), ax.get_xscale(), ax.get_yscale()) == ("N", "log", "log")
    assert [list(line.get_xdata()) for line in ax.get_lines()] == [[10, 100, 1000]] * 3
    assert list(ax.get_lines()[0].get_ydata()) == pytest.approx([0.1, 1, 10])


def test_where_several_sizes_change_lines_stand_at_bytes() -> None:
    pytest.importorskip("matplotlib")
    from derive.bench.picture import _abscissa

    other = replace(LINES[1], sizes={"N": 100, "D": 16})
    assert _abscissa([LINES[0], other]) == ([LINES[0].nbytes / 1e6, other.nbytes / 1e6], "megabytes to move")


def test_a_picture_of_another_format_is_refused() -> None:
    with pytest.raises(DeriveError, match=r"speed\.pdf is no picture that can be written"):
        require_matplotlib(Path("speed.pdf"))


# Threads


def test_one_thread_is_asked_of_every_library_before_it_is_loaded() -> None:
    code = (
        "from derive.bench.threads import use_threads\n"
        "use_threads(1)\n"
        "import os, sys\n"
        "assert 'numpy' not in sys.modules\n"
        "print(os.environ['OPENBLAS_NUM_THREADS'], os.environ['XLA_FLAGS'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert done.stdout.split() == ["1", "--xla_cpu_multi_thread_eigen=false", "intra_op_parallelism_threads=1"]

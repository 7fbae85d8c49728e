"""What the benchmarks compare is the same: code by hand, libraries' own layers, generated code. No times."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import limits, native
from benchmarks.cases import CASES, SMALL
from benchmarks.expert import EXPERTS, ways
from derive.bench.inputs import cotangents, inputs, instance_at, parse_sizes
from derive.bench.measure import Case, Row
from derive.bench.peers import PEERS
from derive.check.module import GeneratedModule
from derive.language import load
from derive.pipeline import build_module


@pytest.fixture(autouse=True)
def threads_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the scripts from changing the threads of the process that tests."""
    monkeypatch.setattr("derive.bench.threads.use_threads", lambda count: None)


def run(case: Any, dtype: str = "float64") -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return a case's inputs, cotangents and generated gradients."""
    layer = load(case.layer)
    instance = instance_at(layer, parse_sizes(case.sizes))
    arrays, given = inputs(layer, instance, dtype), cotangents(layer, instance, dtype)
    return arrays, given, GeneratedModule(layer, build_module(layer)).run(arrays, given, instance).gradients


def test_large_and_small_cases_are_of_the_same_layers() -> None:
    assert [case.layer for case in CASES] == [case.layer for case in SMALL] == list(EXPERTS)


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.layer)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-9), ("float32", 2e-4)])
def test_code_by_hand_gives_the_generated_gradients(case: Any, dtype: str, tolerance: float) -> None:
    arrays, given, expected = run(case, dtype)
    found = ways(case.layer, arrays, given)
    assert found
    for name, way in found.items():
        results = way()
        assert len(results) == len(expected)
        for value, right in zip(results, expected.values(), strict=True):
            assert value.shape == right.shape
            assert value.dtype == dtype, name
            assert np.allclose(value, right, rtol=tolerance, atol=tolerance * np.abs(right).max()), name


def test_blocks_by_hand_cover_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.expert.BLOCK", 5 * 64 * 8)  # five rows at a time, of 32
    for case in SMALL:
        arrays, given, expected = run(case)
        found = ways(case.layer, arrays, given)
        if "blocked" in found:
            for value, right in zip(found["blocked"](), expected.values(), strict=True):
                assert np.allclose(value, right, rtol=1e-9, atol=1e-11), case.layer


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_layers_of_libraries_give_the_generated_gradients(name: str) -> None:
    (peer,) = [p for p in PEERS if p.name == name]
    if not peer.installed:
        pytest.skip(f"{peer.package} is not installed")
    forwards = native.torch_forwards() if name == "torch" else native.jax_forwards()
    assert list(forwards) == list(EXPERTS)
    pairs = [(case, forwards[case.layer]) for case in SMALL]
    if name == "torch":
        pairs += [(case, f) for case in SMALL for layer, f in native.torch_ready_made().items() if layer == case.layer]
    for case, forward in pairs:
        arrays, given, expected = run(case)
        prepared = peer.differentiated(lambda dtype, f=forward: f, arrays, list(load(case.layer).differentiable), given)
        for value, right in zip(prepared.gradients(prepared.run()), expected.values(), strict=True):
            assert np.allclose(value, right, rtol=1e-6, atol=1e-8 * max(1, np.abs(right).max())), case.layer


def test_limits_are_those_of_the_larger_of_bytes_and_products() -> None:
    small, large = limits.stream_seconds(800, 400, 0.01), limits.stream_seconds(8_000_000, 4_000_000, 0.01)
    assert 0 < small < large
    assert limits.flops_a_second(0.01) > 1e8
    assert limits.limit(8, 4, 10**12) == pytest.approx(1e12 / limits.flops_a_second(), rel=1)
    assert limits._aligned(100).ctypes.data % 4096 == 2048


def test_limits_without_a_compiler_are_those_of_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_kernel", lambda: None)
    assert limits.stream_seconds.__wrapped__(4000, 2000) > 0
    assert limits.flops_a_second.__wrapped__() > 1e8


def case_of(name: str, limit: float, **seconds: float | None) -> Case:
    """Return a case with these times."""
    rows = tuple(
        Row(key.replace("_", " "), key.startswith("derive"), t, why="" if t else "not installed")
        for key, t in seconds.items()
    )
    return Case(name, {"N": 2}, "float32", 24, 0, limit, rows)


def test_tables_of_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import peers

    cases = [
        case_of("one", 1e-3, expert_NumPy=2e-3, derive_NumPy=1e-3, autograd=None),
        case_of("two", 1e-3, expert_NumPy=2e-3, derive_NumPy=4e-3, autograd=None),
    ]
    assert peers.table(cases, small=False) == [
        "| case | limit ms | expert NumPy | derive NumPy |",
        "| --- | ---: | ---: | ---: |",
        "| one | 1.00 | 2.00 | 1.00 |",
        "| two | 1.00 | 2.00 | 4.00 |",
    ]
    assert peers.table(cases, small=True)[0] == "| case | expert NumPy | derive NumPy |"
    assert peers.table(cases, small=True)[2] == "| one | 2e+03 | 1e+03 |"
    assert peers.means(cases)[2:] == ["| expert NumPy | 1.00 | 1.00 |", "| derive NumPy | 1.00 | 1.00 |"]
    assert peers.missing(cases) == ["- autograd: not installed"]
    with pytest.raises(peers.Unequal, match=r"somebody: a gradient is off by 2\.5e-01"):
        peers.compare([np.array([1.5, 2.0])], [np.array([1.0, 2.0])], "somebody")
    assert peers.compare([np.array([1.0, 2.0])], [np.array([1.0, 2.0])], "somebody") == 0


def test_growth_is_the_exponent_of_the_larger_half() -> None:
    from benchmarks import scale

    assert scale.growth([(1, 50), (2, 50), (10, 3 * 10**1.5), (100, 3 * 100**1.5)]) == pytest.approx(1.5)
    assert scale.growth([(1, 50)]) is None
    assert scale.rows_table({"a": {"b": [(32, 1.0), (64, 2.0), (2048, 64.0), (4096, 128.0)]}}, "ms") == [
        "| ms | 32 | 64 | 2 048 | 4 096 | growth |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        "| a, b | 1 | 2 | 64 | 128 | 1.00 |",
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
def test_the_resident_peak_is_what_a_call_holds() -> None:
    from benchmarks import scale

    found = scale.resident_peak(lambda: np.ones(8 << 20, np.uint8).sum() + np.ones(64 << 20, np.uint8).sum())
    if found is not None:  # where the system lets the peak be forgotten
        assert found == pytest.approx(64 << 20, rel=0.2)


def test_pictures_of_cases_and_lines(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from xml.etree import ElementTree

    from benchmarks.pictures import draw_cases, draw_lines

    draw_cases([case_of("one", 1e-3, expert_NumPy=2e-3, derive_C=1e-3)], tmp_path / "cases.svg", "a machine")
    panels = {f"layer {k}": {"derive C": [(1.0, 2.0), (10.0, 20.0)]} for k in range(4)}
    draw_lines(panels, tmp_path / "lines.svg", "title", "rows", "milliseconds")
    for name in ("cases.svg", "lines.svg"):
        assert ElementTree.parse(tmp_path / name).getroot().tag.endswith("svg")

"""The matrix products of layers in C: those of NumPy's BLAS, of SciPy's, of a private OpenBLAS, or of the C text."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy._core._multiarray_umath as core
import pytest
from c_modules import compiled, files, inputs, layer
from threadpoolctl import threadpool_info, threadpool_limits

from derive.check.module import GeneratedModule


@pytest.fixture
def fresh() -> SimpleNamespace:
    """``_compiled.py`` of a module of its own."""
    return SimpleNamespace(**vars(GeneratedModule(layer("linear"), files("linear")).names["_compiled"]))


def bundled() -> tuple[Path, ctypes.CDLL]:
    """The OpenBLAS that came with NumPy, and it loaded."""
    root = Path(np.__file__).parent
    found = [*root.parent.glob("numpy.libs/*openblas*"), *root.glob(".dylibs/*openblas*")]
    if not found:
        pytest.skip("this NumPy came without an OpenBLAS")
    return found[0], ctypes.CDLL(core.__file__)


def test_numpy_s_products_are_found_and_right(fresh: SimpleNamespace) -> None:
    lib, found = fresh.products()
    assert found
    assert fresh._multiplies(lib)
    assert set(fresh._of_numpy()) in ({"s64", "d64"}, {"s32", "d32"})


@pytest.mark.parametrize("kind", ["_of_scipy", "_of_numpy"])
def test_other_products_are_right_too(kind: str, fresh: SimpleNamespace) -> None:
    lib, _ = fresh.products()
    table = {"s64": "d64", "s32": "d32", "sf": "df"}
    found = getattr(fresh, kind)()
    assert all(other in found for one, other in table.items() if one in found)
    try:
        lib.compiled_set_blas((ctypes.c_void_p * 6)(*(found.get(each) for each in fresh._KINDS_OF_PRODUCTS)))
        assert fresh._multiplies(lib)
    finally:
        again = fresh._of_numpy()
        lib.compiled_set_blas((ctypes.c_void_p * 6)(*(again.get(each) for each in fresh._KINDS_OF_PRODUCTS)))


def test_wrong_products_are_noticed(fresh: SimpleNamespace) -> None:
    lib, _ = fresh.products()
    right = fresh._of_numpy()
    nothing = ctypes.CFUNCTYPE(None)(lambda: None)
    address = ctypes.cast(nothing, ctypes.c_void_p).value
    try:
        lib.compiled_set_blas((ctypes.c_void_p * 6)(*[address] * 6))
        assert not fresh._multiplies(lib)
    finally:
        lib.compiled_set_blas((ctypes.c_void_p * 6)(*(right.get(each) for each in fresh._KINDS_OF_PRODUCTS)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_without_a_blas_the_c_has_products_of_its_own(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    own = GeneratedModule(layer("linear"), files("linear")).names
    lib, _ = own["_compiled"].products()
    monkeypatch.setattr(own["_compiled"], "products", lambda: (lib, False))
    arrays = inputs("linear", dtype)
    y, cache = own["forward"](*arrays)
    z, kept = compiled("linear").forward(*arrays)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    for a, b in zip([y, *own["backward"](y, cache)], [z, *compiled("linear").backward(z, kept)], strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


# A private copy of OpenBLAS


@pytest.fixture
def copy(fresh: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Another core's kernels in a copy of NumPy's OpenBLAS, made in an empty cache folder."""
    path, lib = bundled()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    own = fresh._core(lib)
    other = "Sandybridge" if own != "Sandybridge" else "Nehalem"
    with threadpool_limits(1):
        made = fresh.private_openblas(path, other, lib)
    if made is None:
        pytest.skip(f"this OpenBLAS has no kernels for {other}")
    assert "OPENBLAS_CORETYPE" not in os.environ
    yield SimpleNamespace(lib=made, path=path, like=lib, own=own, other=other, folder=tmp_path / "derive")


def test_a_copy_has_other_kernels_and_leaves_numpy_s_as_they_are(copy: Any, fresh: SimpleNamespace) -> None:
    assert fresh._core(copy.lib) == copy.other
    assert fresh._core(copy.like) == copy.own
    a = np.random.default_rng(0).standard_normal((70, 70)).astype("float32")
    c = np.empty_like(a)
    ((kind, address), *_) = fresh._addresses(copy.lib).items()
    fresh._product(address, np.float32, int(kind[1:]))(a, a, c)
    np.testing.assert_allclose(c, a @ a, rtol=1e-4, atol=1e-4)


def test_a_copy_has_the_threads_of_the_original_and_is_known_to_threadpoolctl(copy: Any) -> None:
    (info,) = [each for each in threadpool_info() if Path(each["filepath"]).parent == copy.folder]
    assert info["num_threads"] == 1
    with threadpool_limits(2):
        (info,) = [each for each in threadpool_info() if Path(each["filepath"]).parent == copy.folder]
        assert info["num_threads"] == min(2, os.cpu_count() or 1)


def test_a_copy_is_made_once(copy: Any, fresh: SimpleNamespace) -> None:
    (file,) = copy.folder.iterdir()
    before = file.stat().st_mtime_ns
    assert fresh.private_openblas(copy.path, copy.other, copy.like) is not None
    assert [each.stat().st_mtime_ns for each in copy.folder.iterdir()] == [before]


def test_kernels_that_a_library_has_not_are_not_taken(fresh: SimpleNamespace, tmp_path: Path) -> None:
    path, lib = bundled()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert fresh.private_openblas(path, "Nonesuch", lib) is None


@pytest.mark.parametrize(
    ("core_name", "flags", "set_by_user", "wanted"),
    [
        ("Haswell", "avx512f avx512cd avx512dq avx512bw avx512vl", None, "SkylakeX"),
        ("Zen", "avx512f avx512cd avx512dq avx512bw avx512vl avx512_vnni", None, "SkylakeX"),
        ("SkylakeX", "avx512f avx512cd avx512dq avx512bw avx512vl", None, ""),
        ("Haswell", "avx2 fma", None, ""),
        ("Haswell", "avx512f avx512cd", None, ""),
        ("Haswell", "avx512f avx512cd avx512dq avx512bw avx512vl", "Haswell", ""),
        ("", "avx512f avx512cd avx512dq avx512bw avx512vl", None, ""),
    ],
)
def test_kernels_for_wide_vectors_are_wanted_where_the_processor_has_them(
    core_name: str, flags: str, set_by_user: str | None, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = GeneratedModule(layer("linear"), files("linear")).names["_compiled"]
    monkeypatch.setattr(module, "_processor", lambda: f"x86_64\nflags\t\t: fpu {flags} sse\nmodel name : some")
    monkeypatch.setattr(module, "_core", lambda lib: core_name)
    monkeypatch.setattr(module.sys, "platform", "linux")
    if set_by_user is None:
        monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    else:
        monkeypatch.setenv("OPENBLAS_CORETYPE", set_by_user)
    assert module._core_wanted(None) == wanted

"""Compiling a layer's C: by any compiler, once, beside other processes, in any folder; and without Python."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from c_modules import files

import derive
from derive.errors import CheckError, DeriveError
from derive.pipeline import build, build_compiled

SAMPLE = ["layernorm", "cross_entropy", "conv2d", "linear", "lstm", "masked_attention", "embedding"]
SCRIPT = """
import numpy as np
import layernorm_c
x = np.arange(6, dtype=np.float32).reshape(2, 3)
y, cache = layernorm_c.forward(x, x[0], x[1])
print(layernorm_c.backward(y, cache).dbeta.tolist())
"""


def compiler() -> str:
    found = os.environ.get("CC", "").split()[:1] or [shutil.which(name) for name in ("cc", "gcc", "clang")]
    path = next(filter(None, found), None)
    assert path is not None, "these tests need a C compiler: install gcc or clang"
    return path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with the module of a layer in C."""
    folder = tmp_path / "made"
    folder.mkdir()
    for name, text in files("layernorm").items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def environment(place: Path, **changes: str) -> dict[str, str]:
    """Of a process of its own, with an empty cache folder."""
    kept = {name: value for name, value in os.environ.items() if name != "CC"}
    return kept | {"XDG_CACHE_HOME": str(place.parent / "cache"), "PYTHONDONTWRITEBYTECODE": "1"} | changes


def python(
    place: Path, script: str = SCRIPT, expected: int = 0, **changes: str
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=place, env=environment(place, **changes), capture_output=True, text=True)
    assert done.returncode == expected, done.stderr
    return done


def script_of(path: Path, text: str) -> str:
    """An executable file of shell text; its path."""
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def libraries(place: Path) -> list[Path]:
    return sorted((place.parent / "cache" / "derive").glob("*.so"))


def test_a_layer_is_compiled_once_and_for_the_dtypes_that_are_used(place: Path) -> None:
    first = python(place)
    made = libraries(place)
    assert [path.name.rpartition("-")[0] for path in made] == ["compiled", "layernorm-float"]
    inodes = [path.stat().st_ino for path in made]
    assert python(place).stdout == first.stdout
    assert [path.stat().st_ino for path in libraries(place)] == inodes
    assert sorted(path.name for path in place.iterdir()) == sorted(files("layernorm"))
    assert sorted((place.parent / "cache" / "derive").iterdir()) == made


@pytest.mark.parametrize(("threads", "expected"), [("2", "layernorm-float-threads"), ("1", "layernorm-float")])
def test_threads_are_for_large_arrays_and_as_many_as_openmp_is_told(place: Path, threads: str, expected: str) -> None:
    script = SCRIPT.replace("np.arange(6, dtype=np.float32).reshape(2, 3)", "np.ones((300, 200), np.float32)")
    python(place, script, OMP_NUM_THREADS=threads)
    assert [path.name.rpartition("-")[0] for path in libraries(place)] == ["compiled", expected]


def test_what_has_changed_is_compiled_anew(place: Path) -> None:
    python(place)
    (place / "layernorm.c").write_text(files("layernorm")["layernorm.c"] + "\n", encoding="utf-8")
    python(place)
    assert len(libraries(place)) == 3
    other = script_of(place.parent / "other", f'exec {compiler()} -DSOMETHING "$@"')
    python(place, CC=other)
    assert len(libraries(place)) == 5


def test_a_library_that_is_not_whole_is_compiled_anew(place: Path) -> None:
    expected = python(place).stdout
    for path in libraries(place):
        path.write_bytes(path.read_bytes()[:100])
    assert python(place).stdout == expected


def test_libraries_that_are_not_used_any_more_are_removed(place: Path) -> None:
    python(place)
    used, unused = libraries(place)
    old = used.with_name("old-0.so")
    old.write_bytes(b"")
    for path in (used, unused, old):
        os.utime(path, (1e9, 1e9))
    python(place)  # loads both
    (place / "layernorm.c").write_text(files("layernorm")["layernorm.c"] + "\n", encoding="utf-8")
    os.utime(unused, (1e9, 1e9))
    python(place)
    left = libraries(place)
    assert used in left
    assert unused not in left
    assert old not in left
    assert len(left) == 2


def test_processes_compile_side_by_side(place: Path) -> None:
    command = [sys.executable, "-c", SCRIPT]
    running = [
        subprocess.Popen(command, cwd=place, env=environment(place), stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    results = [process.communicate()[0] for process in running]
    assert [process.returncode for process in running] == [0] * 4
    assert len(set(results)) == 1
    assert len(libraries(place)) == 2


def test_a_folder_that_cannot_be_written_to_is_enough(place: Path) -> None:
    """Neither the module's own nor that of the cache: then the libraries last as long as the process."""
    expected = python(place).stdout
    taken = place.parent / "taken"
    taken.write_text("a file", encoding="utf-8")
    for path in place.iterdir():
        path.chmod(0o444)
    place.chmod(0o555)
    work = place.parent / "work"
    work.mkdir()
    try:
        assert python(place, XDG_CACHE_HOME=str(taken), TMPDIR=str(work)).stdout == expected
    finally:
        place.chmod(0o755)
    assert list(work.iterdir()) == []


def test_a_cache_that_others_may_write_to_is_not_used(place: Path) -> None:
    folder = place.parent / "cache" / "derive"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    python(place)
    assert libraries(place) == []
    folder.chmod(0o755)
    python(place)
    assert len(libraries(place)) == 2
    assert not any(path.stat().st_mode & stat.S_IWOTH for path in libraries(place))


def test_without_a_compiler_the_error_says_what_to_install(place: Path) -> None:
    done = python(place, expected=1, PATH=str(place.parent), PYTHONPATH=os.environ.get("PYTHONPATH", ""))
    assert done.stderr.rstrip().endswith(
        "_compiled.CompilerError: a layer in C is compiled when it is first used, and no C compiler was found: "
        "install gcc or clang, or `pip install ziglang`, or set CC to the command of one"
    )


def test_a_compiler_that_does_not_run_is_named(place: Path) -> None:
    done = python(place, expected=1, CC="/nowhere/cc -m64")
    assert done.stderr.rstrip().endswith("CompilerError: the C compiler does not run: /nowhere/cc -m64")


def test_errors_of_the_compiler_are_shown_with_its_command(place: Path) -> None:
    with (place / "layernorm.c").open("a", encoding="utf-8") as file:
        file.write("int wrong(void) { return nothing; }\n")
    done = python(place, expected=1)
    assert "CompilerError: " in done.stderr
    assert "-std=c11 -fPIC -shared -O3" in done.stderr
    assert "nothing" in done.stderr.rpartition("CompilerError")[2]
    assert [path.name.partition("-")[0] for path in libraries(place)] in ([], ["compiled"])


def test_options_that_a_compiler_does_not_know_are_left_out(place: Path) -> None:
    text = f"""for option; do case $option in -march=native|-fopenmp) echo "no $option" >&2; exit 1;; esac; done
echo "$@" >> {place.parent}/log
exec {compiler()} "$@\""""
    expected = python(place).stdout
    assert python(place, CC=script_of(place.parent / "simple", text)).stdout == expected
    lines = (place.parent / "log").read_text(encoding="utf-8").splitlines()
    assert any(" -O3 " in line for line in lines)
    assert not any("-march" in line for line in lines)


# Without Python


def build_alone(folder: Path, name: str, command: Sequence[str], source: str | None = None) -> None:
    for file in (f"{name}.c", f"{name}.h"):
        (folder / file).write_text(files(name)[file], encoding="utf-8")
    done = subprocess.run([*command, source or f"{name}.c"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize("name", SAMPLE)
@pytest.mark.parametrize("real", ["float", "double"])
def test_the_c_is_standard_and_without_warnings(name: str, real: str, tmp_path: Path) -> None:
    strict = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-Wno-sign-conversion"]
    build_alone(tmp_path, name, [compiler(), *strict, f"-Dreal={real}", "-O1", "-c"])


@pytest.mark.parametrize("name", SAMPLE)
def test_the_header_is_c_plus_plus_too_and_links(name: str, tmp_path: Path) -> None:
    plus = shutil.which("g++") or shutil.which("clang++") or shutil.which("c++")
    assert plus is not None, "this test needs a C++ compiler: install g++ or clang++"
    build_alone(tmp_path, name, [compiler(), "-std=c11", "-O1", "-c"])
    (tmp_path / "user.cpp").write_text(
        f'#include "{name}.h"\nauto *volatile forward = {name}_forward;\nauto *volatile backward = {name}_backward;\n'
        "int main() { return forward == nullptr || backward == nullptr; }\n",
        encoding="utf-8",
    )
    strict = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    build_alone(tmp_path, name, [plus, *strict, f"{name}.o", "-o", "user", "-lm"], "user.cpp")
    assert subprocess.run([tmp_path / "user"]).returncode == 0


EMBEDDED = """
#include <stdio.h>
#include <stdlib.h>
#include "layernorm.h"

int main(void)
{
    enum { batch = 2, D = 4 };
    const real x[batch * D] = {1, 2, 3, 4, 4, 3, 2, 1}, gamma[D] = {1, 1, 1, 1}, beta[D] = {0};
    real y[batch * D], rstd[batch], xhat[batch * D], dx[batch * D], dgamma[D], dbeta[D];
    const size_t most = layernorm_forward_workspace(batch, D, (real)1e-5) +
                        layernorm_backward_workspace(batch, D, (real)1e-5) + 64;
    void *workspace = aligned_alloc(64, (most + 63) / 64 * 64);
    int status = layernorm_forward(batch, D, (real)1e-5, x, gamma, beta, ARRAYS, workspace);
    status += layernorm_backward(batch, D, (real)1e-5, gamma, BACK, y, dx, dgamma, dbeta, workspace);
    for (int d = 0; d < D; d++)
        printf("%.3f %.3f %.3f\\n", (double)y[d], (double)dgamma[d], (double)dbeta[d]);
    free(workspace);
    return status;
}
"""


def test_an_embedded_program_needs_the_two_files_alone(tmp_path: Path) -> None:
    made = next(line for line in files("layernorm")["layernorm_c.py"].splitlines() if "made=" in line)
    order = [name for name in ("y", "rstd", "xhat") if f'"{name}"' in made]
    kept = [name for name in ("rstd", "xhat") if name in order]
    text = EMBEDDED.replace("ARRAYS", ", ".join(order)).replace("BACK", ", ".join(kept))
    (tmp_path / "main.c").write_text(text, encoding="utf-8")
    command = [compiler(), "-std=c11", "-Wall", "-Wextra", "-Werror", "-O2", "layernorm.c", "main.c", "-o", "main"]
    build_alone(tmp_path, "layernorm", command, "-lm")
    done = subprocess.run([tmp_path / "main"], capture_output=True, text=True)
    rows = [[float(number) for number in line.split()] for line in done.stdout.splitlines()]
    expected = [[-1.342, 3.6, 0], [-0.447, 0.4, 0], [0.447, 0.4, 0], [1.342, 3.6, 0]]
    assert [[pytest.approx(e, abs=2e-3) for e in row] for row in expected] == rows


# derive generate


def test_generate_writes_the_files_beside_the_numpy_module(tmp_path: Path) -> None:
    layer = derive.load("softplus")
    derive.generate(layer, out=tmp_path)
    (written,) = derive.generate(layer, out=tmp_path, target="c")
    assert written.path == tmp_path / "softplus_c.py"
    assert written.changed
    names = ["_compiled.c", "_compiled.py", "softplus.c", "softplus.h", "softplus.py", "softplus_c.py"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    (again,) = derive.generate(layer, out=tmp_path, target="c")
    assert not again.changed
    (tmp_path / "softplus.h").unlink()
    (again,) = derive.generate(layer, out=tmp_path, target="c")
    assert again.changed
    built, report = build(layer, "c")
    assert report.passed
    assert isinstance(built, dict)
    assert {name: (tmp_path / name).read_text(encoding="utf-8") for name in built} == built == build_compiled(layer)


@pytest.mark.parametrize("name", ["relu.c", "relu.h", "relu_c.py", "_compiled.py", "_compiled.c"])
def test_files_of_others_are_left_as_they_are(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine", encoding="utf-8")
    with pytest.raises(DeriveError, match=r"was not made by derive and is left as it is"):
        derive.generate(derive.load("relu"), out=tmp_path, target="c")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text(encoding="utf-8") == "mine"


def test_c_that_fails_its_check_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from derive.render import c

    right = c.render
    monkeypatch.setattr(c, "render", lambda program: (right(program)[0].replace("> 0", "> -1"), right(program)[1]))
    with pytest.raises(CheckError, match="relu: the generated code does not pass its check"):
        derive.generate(derive.load("relu"), out=tmp_path, target="c")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("option", "message"),
    [("jvp", "the target c has no further derivatives"), ("second", "the target c has no further derivatives"),
     ("calls", "the target c keeps no calls of layers")],
)  # fmt: skip
def test_what_the_target_cannot_do_is_said(option: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DeriveError, match=message):
        derive.generate(derive.load("mse_loss"), out=tmp_path, target="c", **{option: True})  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_generate_without_a_compiler_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(DeriveError) as caught:
        derive.generate(derive.load("relu"), out=tmp_path / "out", target="c")
    assert str(caught.value) == (
        "error: the target c is checked by running it, and no C compiler was found\n"
        "hint: install gcc or clang, or `pip install ziglang`, or set CC to the command of one"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["layer", "main", "real", "a_text"])
def test_a_layer_may_have_any_name(name: str, tmp_path: Path) -> None:
    made = derive.parse(f"def {name}(x: Real[N]):\n    y = sum[n](x[n]**2)\n    return y\n")
    _, report = build(made, "c")
    assert report.passed


@pytest.mark.parametrize(
    "text",
    [
        "def f(double: Real[..., I], batch: Real, *, sizes: Int = 2, dtypes: Real = 0.5, call: Bool = True):\n"
        "    out[..., i] = where(call, double[..., i]*dtypes, double[..., i])**sizes + batch\n"
        "    return out\n",
        "def f(w: Real[V, D], i: Int[...], k: Int):\n    y[..., d] = w[i[...], d] + w[k, d]\n    return y\n",
        "def f(x: Real[N, D], t: Int[N], *, k: Int = 1):\n"
        "    short[n, d] = x[n, d]*k + t[n]\n    restrict = sum[n, d](short[n, d]**2)\n    return short, restrict\n",
        "def f(p: Unit[...], *, low: Unit = 0.25, volatile: Positive = 2.0):\n"
        "    y[...] = log(p[...] + low)*volatile\n    return y\n",
    ],
    ids=["batch", "counters", "keywords", "hypers"],
)
def test_names_that_the_code_has_itself_may_be_the_layer_s(text: str) -> None:
    _, report = build(derive.parse(text), "c")
    assert report.passed, report.failure()

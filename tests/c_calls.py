"""Calls of generated C by ctypes, without the Python module: what an embedded user would link.

Array arguments end exactly where their memory does, and the workspace has exactly the bytes that the function asks
for, so a sanitiser build (``DERIVE_TEST_CFLAGS="-fsanitize=address,undefined"``) sees whatever is read beyond.
"""

from __future__ import annotations

import ctypes
import functools
import math
import os
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from derive.calculus.program import Program
from derive.check.instance import Instance
from derive.language.layer import Layer
from derive.nests.build import nests
from derive.nests.nodes import CProgram, Function, Kind, Role
from derive.pipeline import derive_program
from derive.render.c import render

Values = NDArray[Any]

FLAGS = [
    "-std=c11", "-O1", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd",
    "-Wall", "-Wextra", "-Wno-unknown-pragmas", "-fPIC", "-shared", *os.environ.get("DERIVE_TEST_CFLAGS", "").split(),
]  # fmt: skip
_ARRAYS: dict[Kind, Any] = {Kind.INT: np.int64, Kind.BOOL: np.bool_}
_REALS: dict[str, Any] = {"float": ctypes.c_float, "double": ctypes.c_double}
REAL = {"float32": "float", "float64": "double"}


@dataclass(frozen=True)
class CLayer:
    """A layer's program in C: its texts, and a library for each precision.

    Attributes:
        warnings: what the compiler said.
    """

    layer: Layer
    program: Program
    functions: CProgram
    source: str
    header: str
    libraries: Mapping[str, Any]
    warnings: str

    def forward(self, inputs: Mapping[str, Values], instance: Instance, dtype: str) -> dict[str, Values]:
        """Return the outputs and what is kept for backward."""
        return self._called(self.functions.forward, inputs, instance, dtype)

    def backward(
        self, values: Mapping[str, Values], cotangents: Mapping[str, Values], instance: Instance, dtype: str
    ) -> dict[str, Values]:
        """Return the gradients by parameter; ``values`` are inputs, outputs and what forward kept."""
        given = dict(values)
        for name, output in zip(self.program.cotangents, self.program.outputs, strict=True):
            given[name] = cotangents[f"d{output}"]
        got = self._called(self.functions.backward, given, instance, dtype)
        return {parameter: got[name] for parameter, name in self.functions.gradients}

    def _called(
        self, function: Function, values: Mapping[str, Values], instance: Instance, dtype: str
    ) -> dict[str, Values]:
        real, forward = REAL[dtype], function is self.functions.forward
        numbers: list[Any] = []
        pointers: list[Any] = []
        kept: list[Values] = []
        results: dict[str, Values] = {}
        for a in function.arguments:
            if a.role is Role.SIZE:
                size = math.prod(instance.batch) if a.source == "..." else instance.sizes[a.source]
                numbers.append(ctypes.c_ssize_t(size))
            elif a.role is Role.HYPER:
                kind = {Kind.REAL: _REALS[real], Kind.INT: ctypes.c_ssize_t, Kind.BOOL: ctypes.c_int}[a.kind]
                numbers.append(kind(instance.hypers[a.source]))
            else:
                if a.written or (forward and a.role is Role.CACHE):
                    fill = np.nan if a.kind is Kind.REAL else 0
                    array = results[a.name] = np.full(instance.shape(a.shape), fill, _ARRAYS.get(a.kind, dtype))
                else:
                    array = np.ascontiguousarray(values[a.name], dtype=_ARRAYS.get(a.kind, dtype))
                kept.append(array)
                pointers.append(ctypes.c_void_p(array.ctypes.data))
        library = self.libraries[real]
        room = library[f"{function.name}_workspace"]
        room.restype = ctypes.c_size_t
        space = np.empty(room(*numbers) + 64, np.uint8)
        start = space[-space.ctypes.data % 64 :]
        code = library[function.name](*numbers, *pointers, ctypes.c_void_p(start.ctypes.data))
        assert code == 0, f"{function.name} returned {code}"
        return results


def compiled(layer: Layer, folder: Path) -> CLayer:
    """Write a layer's C into a folder, and compile it in both precisions."""
    program = derive_program(layer)
    functions = nests(program)
    source, header = render(functions)
    name = layer.name
    (folder / f"{name}.c").write_text(source)
    (folder / f"{name}.h").write_text(header)

    def library(real: str) -> tuple[Any, str]:
        target = folder / f"{name}_{real}.so"
        command = ["cc", *FLAGS, f"-Dreal={real}", str(folder / f"{name}.c"), "-o", str(target), "-lm"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return ctypes.CDLL(str(target)), done.stderr

    with ThreadPoolExecutor(2) as pool:
        made = dict(zip(_REALS, pool.map(library, _REALS), strict=True))
    libraries = {real: lib for real, (lib, _) in made.items()}
    return CLayer(layer, program, functions, source, header, libraries, "".join(said for _, said in made.values()))


@functools.cache
def has_compiler() -> bool:
    """Whether there is a C compiler called ``cc``."""
    try:
        return subprocess.run(["cc", "--version"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False

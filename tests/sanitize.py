"""Run layers in C under the address and undefined-behaviour sanitisers: python tests/sanitize.py [LAYER…].

Every layer's forward and backward, in float and double, at the samples that
its check takes, with axes of one element and of none among them, and at
larger sizes, where loops run over whole vectors and a rest. The C is compiled
with ``-fsanitize=address,undefined``; Python runs with the sanitiser loaded
first, so that arrays have guarded edges. Products are those of the C text.

The exit status is 1 where a sanitiser has something to say. ``pytest
tests/test_c_sanitize.py`` does it for some layers, ``--sanitize-all`` for all.
"""

from __future__ import annotations

import itertools
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from derive.check.instance import Instance
    from derive.check.module import Inputs
    from derive.language.layer import Layer

    Case = tuple[Instance, Inputs, Inputs]

ROOT = Path(__file__).resolve().parent.parent
FLAGS = ["-g", "-O1", "-fopenmp", "-fno-omit-frame-pointer", "-fsanitize=address,undefined"]
FLAGS += ["-fno-sanitize-recover=undefined", "-DTHREADS_FROM=16"]
LARGEST = 20_000
"""Elements of the largest array."""


def environment() -> dict[str, str]:
    """Return what a process needs whose libraries are compiled with ``FLAGS``.

    Raises:
        FileNotFoundError: there is no gcc with its sanitiser.
    """
    gcc = shutil.which("gcc")
    if gcc is None:
        raise FileNotFoundError("the sanitisers are run with gcc, and there is none")
    found = [
        subprocess.run([gcc, f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    if not all(Path(path).is_absolute() for path in found):
        raise FileNotFoundError("this gcc has no sanitisers: install libasan and libubsan (libgcc-dev)")
    own = {"CC": gcc, "LD_PRELOAD": " ".join(found), "OMP_NUM_THREADS": "2", "PYTHONPATH": f"{ROOT}:{ROOT}/tests"}
    # Python itself lets go of memory without freeing it, and OpenMP starts threads that last.
    own["ASAN_OPTIONS"] = "detect_leaks=0:halt_on_error=1:allocator_may_return_null=1"
    own["UBSAN_OPTIONS"] = "print_stacktrace=1:halt_on_error=1"
    return {**os.environ, **own}


def run(names: Sequence[str]) -> None:
    """Run the layers in this process."""
    import numpy as np
    from c_modules import files, layer

    from derive.check.module import GeneratedModule, inputs_of
    from derive.check.samples import other_sample, sample, short_samples
    from derive.check.sizes import choose_instance

    for name in names:
        made = layer(name)
        module = GeneratedModule(made, files(name))
        compiled = module.names["_compiled"]
        compiled.OPTIONS = tuple(FLAGS)
        compiled.LARGE = 1 << 14  # so that threads start in the larger cases
        lib, _ = compiled.products()
        compiled.products = lambda lib=lib: (lib, False)
        first = sample(made, choose_instance(made), 0)
        small = [first, other_sample(made, first, 1), *short_samples(made, first, 0)]
        cases = [(at.instance, *inputs_of(made, at, np.float64)) for at in small]
        cases += enlarged(made, *cases[0])
        count = 0
        for instance, inputs, cotangents in cases:
            for dtype in (np.float32, np.float64):
                given, slopes = (
                    {k: a.astype(dtype) if a.dtype.kind == "f" else a for k, a in arrays.items()}
                    for arrays in (inputs, cotangents)
                )
                for _ in range(2):  # the second by plan
                    with suppress(ValueError):  # a good answer to an axis without elements
                        module.run(given, slopes, instance)
                        count += 1
        print(f"{name}: {count} runs", flush=True)
        assert count, name


def enlarged(layer: Layer, instance: Instance, inputs: Inputs, cotangents: Inputs) -> list[Case]:
    """Return the same numbers, repeated, at the largest sizes that make no array too large; none where none fit."""
    import numpy as np

    from derive.check.sizes import allowed, completed

    for factor, odd in itertools.product((13, 9, 5, 3), (1, 0)):
        grown = {name: factor * n + odd * (k % 3) for k, (name, n) in enumerate(instance.sizes.items())}
        other = replace(instance, sizes=grown, batch=tuple(factor * n + 1 for n in instance.batch))
        try:
            other = completed(layer, other)
            shapes = {p.name: other.shape(p.axes) for p in layer.parameters}
            shapes |= {f"d{name}": other.shape(layer.axes(name)) for name in layer.returns}
        except (ValueError, ZeroDivisionError):
            continue
        if allowed(layer, other) and max(math.prod(shape) for shape in shapes.values()) <= LARGEST:
            arrays = [{k: np.resize(a, shapes[k]).astype(a.dtype) for k, a in all_.items()}
                      for all_ in (inputs, cotangents)]  # fmt: skip
            return [(other, *arrays)]
    return []


def main(names: Sequence[str]) -> int:
    """Run the layers, all where none is named, in processes with the sanitisers; return 1 where one finds a fault."""
    if os.environ.get("DERIVE_SANITIZED"):
        run(names)
        return 0
    if not names:
        from derive.language import catalogue

        names = catalogue()
    left, faulty = list(names), []
    while left:  # a fault ends the process: the next one goes on after it
        command = [sys.executable, "-u", __file__, *left]
        with subprocess.Popen(
            command, env=environment() | {"DERIVE_SANITIZED": "1"}, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                print(line, end="", flush=True)
                if line.partition(":")[0] == left[0]:
                    left.pop(0)
        if process.returncode == 0:
            break
        if left:
            print(f"{left[0]}: FAULT", flush=True)
            faulty.append(left.pop(0))
    if faulty:
        print(f"{len(faulty)} of {len(names)} layers have faults: {', '.join(faulty)}", file=sys.stderr)
    return 1 if faulty else 0


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main(sys.argv[1:]))

"""Compiles the C of layers on first use, and calls it with NumPy arrays.

Made by derive; the same for every layer. Modules of layers (``layernorm_c.py``) stand beside this file and
``_compiled.c``, and hand it a table of what their C functions take:

- ``library`` compiles C with the compiler at hand ($CC, cc, gcc, clang, or the one of the Python package ziglang) and
  keeps the result in the user's cache folder, under a name made from the C text, the compiler, its options and the
  processor; whatever of these changes, it is compiled anew.
- ``products`` finds the matrix products of NumPy's or SciPy's own BLAS.
- ``Layer`` checks arrays, converts those of another dtype or layout, and calls. What it does for the shapes of a call
  is a plan; a call that fits an earlier plan is made by ``_compiled.c``, in some tenths of a microsecond.
"""

import atexit
import contextlib
import ctypes
import functools
import hashlib
import math
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from operator import index
from pathlib import Path

import numpy as np

OPTIONS = (
    "-O3",
    "-march=native",
    "-mprefer-vector-width=512",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fopenmp-simd",
    "-fopenmp",
)
"""Of the compiler, beside what a C11 library takes; one that it doesn't know is left out."""
LASTS = 90 * 24 * 3600
"""Seconds that a library is kept for after it was last loaded."""


# Compiling


class CompilerError(RuntimeError):
    """There is no C compiler, or it does not compile a layer."""


def compiler():
    """Return the command of a C compiler, as a list; CompilerError where there is none."""
    if os.environ.get("CC", "").strip():
        return os.environ["CC"].split()
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return [name]
    command = [sys.executable, "-m", "ziglang", "cc"]
    if _answer(command) is not None:
        return command
    raise CompilerError(
        "a layer in C is compiled when it is first used, and no C compiler was found: install gcc or clang, or "
        "`pip install ziglang`, or set CC to the command of one"
    )


@functools.cache
def _version(command):
    """Return what a compiler says of itself; CompilerError where it doesn't run."""
    answer = _answer(command)
    if answer is None:
        raise CompilerError(f"the C compiler does not run: {' '.join(command)}")
    return answer


def _answer(command):
    try:
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout


@functools.cache
def _processor():
    """Return what tells processors apart that need other machine code."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    kinds = [line for line in lines if line.split("\t")[0].strip() in ("model name", "flags", "Features", "CPU part")]
    return "\n".join([platform.machine(), platform.processor(), *sorted(set(kinds))])


def folder():
    """Return the cache folder, the user's own; one for this process alone where there can be none."""
    if os.environ.get("XDG_CACHE_HOME"):
        base = Path(os.environ["XDG_CACHE_HOME"])
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", tempfile.gettempdir()))
    else:
        base = Path("~/Library/Caches" if sys.platform == "darwin" else "~/.cache")
    try:
        path = base.expanduser() / "derive"
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = path.stat()
        own = os.name == "nt" or (state.st_uid == os.getuid() and not state.st_mode & 0o002)  # else others may write
        if own and os.access(path, os.W_OK):
            return path
    except (OSError, RuntimeError):  # no such folder, or no home
        pass
    return _own_folder()


@functools.cache
def _own_folder():
    path = tempfile.mkdtemp(prefix="derive-")
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return Path(path)


def library(text, name, *, near=(), options=None):
    """Return the library of a C text, loaded; compiled where it is not in the cache folder.

    text: the C; ``near``: files beside what it includes, all of whose text is part of what is kept.
    name: what the file of the library begins with.
    """
    command, options = compiler(), OPTIONS if options is None else options
    kept = hashlib.sha256("\0".join([text, *command, _version(tuple(command)), *options, _processor()]).encode())
    for path in near:
        kept.update(b"\0" + path.read_bytes())
    path = folder() / f"{name}-{kept.hexdigest()[:24]}.so"
    include = [f"-I{near[0].parent}"] if near else []
    if path.exists():
        try:
            loaded = ctypes.CDLL(str(path))
        except OSError:
            pass  # not whole: a disk was full, or a machine stopped
        else:
            with contextlib.suppress(OSError):
                path.touch()
            return loaded
    _compile(text, command, (*options, *include), path)
    _tidy(path.parent)
    return ctypes.CDLL(str(path))


def _tidy(place):
    """Remove the libraries that have not been loaded for a season: their layers have changed since, or are gone."""
    for path in place.glob("*.so"):
        with contextlib.suppress(OSError):  # another process was there first
            if path.stat().st_mtime < time.time() - LASTS:
                path.unlink()


def _compile(text, command, options, path):
    """Compile to a file of another name, which then takes its place: processes may do so side by side."""
    base = (*command, "-std=c11", "-fPIC", "-shared")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}-") as work:
        source, result = Path(work, "a-text.c"), Path(work, "a-text.so")  # no layer is called so
        source.write_text(text, encoding="utf-8")
        run = _run(base, options, source, result)
        if run.returncode:
            known = _known(base, options)
            run = _run(base, known, source, result) if known != options else run
        if run.returncode:
            raise CompilerError(f"{' '.join(run.args)}\n{run.stderr.strip()}")
        result.replace(path)


def _run(base, options, source, result):
    command = [*base, *options, str(source), "-o", str(result), "-lm"]
    return subprocess.run(command, capture_output=True, text=True, errors="replace")


@functools.cache
def _known(base, options):
    """Return the options that the compiler takes, each tried on its own."""
    with tempfile.TemporaryDirectory() as work:
        source, result = Path(work, "empty.c"), Path(work, "empty.so")
        source.write_text("int nothing(void) { return 0; }\n", encoding="utf-8")
        return tuple(each for each in options if _run(base, [each], source, result).returncode == 0)


# Matrix products


_KINDS_OF_PRODUCTS = ("s64", "d64", "s32", "d32", "sf", "df")
"""In the order of ``_compiled.c``: single and double; C functions with sizes of 64 or of 32 bits, or Fortran's."""
_NAMES = (("scipy_cblas_{}gemm64_", 64), ("cblas_{}gemm$NEWLAPACK$ILP64", 64), ("cblas_{}gemm64_", 64),
          ("scipy_cblas_{}gemm", 32), ("cblas_{}gemm", 32))  # fmt: skip
"""What the products are called in OpenBLAS, in Accelerate, in MKL and in the reference, and the bits of their sizes."""


@functools.cache
def products():
    """Return the library ``_compiled.c``, which has the products of a BLAS, and whether it has any."""
    lib = library(Path(__file__).with_suffix(".c").read_text(encoding="utf-8"), "compiled", options=("-O2",))
    for functions in (_of_numpy, _of_scipy):
        found = functions()
        if found:
            lib.compiled_set_blas((ctypes.c_void_p * 6)(*(found.get(kind) for kind in _KINDS_OF_PRODUCTS)))
            if _multiplies(lib):
                return lib, True
    return lib, False


def _of_numpy():
    """Return the addresses of the products that NumPy uses, or of quicker ones of the same library."""
    core = sys.modules.get("numpy._core._multiarray_umath") or sys.modules["numpy.core._multiarray_umath"]
    root = Path(np.__file__).parent
    beside = [*root.parent.glob("numpy.libs/*openblas*"), *root.glob(".dylibs/*openblas*")]
    for path in (core.__file__, *beside):
        lib = ctypes.CDLL(str(path))  # what it is linked to is searched as well
        found = _addresses(lib)
        if found:
            wanted = _core_wanted(lib)
            copy = wanted and beside and private_openblas(beside[0], wanted, lib)
            return _addresses(copy) if copy and _quicker(copy, lib) else found
    return {}


def _addresses(lib):
    for name, bits in _NAMES:
        try:
            return {f"{t}{bits}": ctypes.cast(lib[name.format(t)], ctypes.c_void_p).value for t in "sd"}
        except AttributeError:
            continue
    return {}


def _of_scipy():
    """Return the addresses of the Fortran products that SciPy hands to Cython."""
    try:
        from scipy.linalg.cython_blas import __pyx_capi__ as capsules
    except ImportError:
        return {}
    name, pointer = ctypes.pythonapi["PyCapsule_GetName"], ctypes.pythonapi["PyCapsule_GetPointer"]
    name.restype, pointer.restype = ctypes.c_char_p, ctypes.c_void_p
    name.argtypes, pointer.argtypes = [ctypes.py_object], [ctypes.py_object, ctypes.c_char_p]
    return {f"{t}f": pointer(capsules[f"{t}gemm"], name(capsules[f"{t}gemm"])) for t in "sd"}


def _product(address, dtype, bits):
    """Return a product of 64-bit or 32-bit sizes as a function of two square arrays and the one to write to."""
    size, real = (ctypes.c_int64 if bits == 64 else ctypes.c_int), np.ctypeslib.as_ctypes_type(dtype)
    kinds = [*[ctypes.c_int] * 3, *[size] * 3, real, *[ctypes.c_void_p, size] * 2, real, ctypes.c_void_p, size]
    function = ctypes.CFUNCTYPE(None, *kinds)(address)

    def call(a, b, c):
        n = len(a)
        function(101, 111, 111, n, n, n, 1, a.ctypes.data, n, b.ctypes.data, n, 0, c.ctypes.data, n)

    return call


def _multiplies(lib):
    """Return whether the products of ``_compiled.c`` are right, whatever is transposed."""
    for name, dtype in (("compiled_sgemm", np.float32), ("compiled_dgemm", np.float64)):
        real, size = np.ctypeslib.as_ctypes_type(dtype), ctypes.c_ssize_t
        function = lib[name]
        function.argtypes = [*[ctypes.c_int] * 2, *[size] * 3, real, *[ctypes.c_void_p, size] * 2, real]
        function.argtypes = [*function.argtypes, ctypes.c_void_p, size]
        function.restype = None
        a, b = np.arange(6, dtype=dtype).reshape(2, 3), np.arange(12, dtype=dtype).reshape(3, 4)
        for ta, tb in ((0, 0), (0, 1), (1, 0), (1, 1)):
            x, y = (np.ascontiguousarray(m.T if t else m) for m, t in ((a, ta), (b, tb)))
            c = np.ones((2, 4), dtype)
            function(ta, tb, 2, 4, 3, 2, x.ctypes.data, x.shape[1], y.ctypes.data, y.shape[1], 1, c.ctypes.data, 4)
            if not np.array_equal(c, 2 * (a @ b) + 1):
                return False
    return True


def _openblas(lib, name):
    """Return a function of OpenBLAS whose name has a prefix and a suffix of this build; None where there is none."""
    for prefix in ("scipy_openblas", "openblas"):
        for suffix in ("64_", ""):
            try:
                return lib[f"{prefix}_{name}{suffix}"]
            except AttributeError:
                continue
    return None


def _core(lib):
    """Return the processor that an OpenBLAS has chosen its kernels for, "" for another library."""
    name = _openblas(lib, "get_corename")
    if name is None:
        return ""
    name.restype = ctypes.c_char_p
    return (name() or b"").decode()


def _core_wanted(lib):
    """Return the kernels that an OpenBLAS should use where it doesn't know the processor, else "".

    An OpenBLAS that is older than the processor takes kernels for AVX2 on one that has AVX-512, at half the speed.
    """
    if sys.platform != "linux" or "OPENBLAS_CORETYPE" in os.environ or not _core(lib):
        return ""
    flags = next((line.split() for line in _processor().splitlines() if line.startswith("flags")), [])
    wide = {"avx512f", "avx512cd", "avx512dq", "avx512bw", "avx512vl"} <= set(flags)
    return "SkylakeX" if wide and _core(lib).lower() in ("haswell", "zen", "sandybridge", "nehalem", "prescott") else ""


def private_openblas(path, core, like):
    """Return a copy of an OpenBLAS, loaded beside it with the kernels of that processor; None where it has none.

    A library is loaded once a file, and chooses when it is loaded; what others use stays as it is. The copy has its
    own threads, as many as ``like`` has.
    """
    state = path.stat()
    stamp = hashlib.sha256(f"{path}{state.st_size}{state.st_mtime_ns}".encode()).hexdigest()[:12]
    place = folder() / f"{path.stem}-{stamp}-{core}{path.suffix}"
    try:
        if not place.exists():
            with tempfile.TemporaryDirectory(dir=place.parent, prefix=".openblas-") as work:
                shutil.copyfile(path, Path(work, "copy")).replace(place)
        before = os.environ.get("OPENBLAS_CORETYPE")
        os.environ["OPENBLAS_CORETYPE"] = core
        try:
            copy = ctypes.CDLL(str(place))
        finally:
            if before is None:
                del os.environ["OPENBLAS_CORETYPE"]
            else:
                os.environ["OPENBLAS_CORETYPE"] = before
    except OSError:
        return None
    threads, limit = _openblas(like, "get_num_threads"), _openblas(copy, "set_num_threads")
    if threads is not None and limit is not None:
        limit(threads())
    return copy if _core(copy) == core else None


def _quicker(copy, lib):
    """Return whether one OpenBLAS multiplies quicker than another: measured, alternately, the best of seven."""
    a = np.ones((256, 256), np.float32)
    c, best = np.empty_like(a), {}
    for _ in range(7):
        for each in (copy, lib):
            ((kind, address), *_) = _addresses(each).items()
            start = time.perf_counter()
            _product(address, np.float32, int(kind[1:]))(a, a, c)
            best[each] = min(best.get(each, math.inf), time.perf_counter() - start)
    return best[copy] < 0.9 * best[lib]


# Layers

KINDS = {"Real": "f", "Positive": "f", "Unit": "f", "Int": "iu", "Bool": "b"}
"""NumPy's letters for the dtypes of a kind."""
KEPT = 64
"""The most shapes whose plans a layer keeps."""
LARGE = 1 << 17
"""Bytes of all arrays of a call from which on it may start threads, and other Python threads run meanwhile."""


class Function:
    """What a C function takes, in its order: names of sizes, of hyper-parameters and of arrays."""

    def __init__(self, sizes, hypers, arrays):
        self.sizes, self.hypers, self.arrays = tuple(sizes), tuple(hypers), tuple(arrays)


class Layer:
    """The two C functions of a layer, called with NumPy arrays.

    file: of the module; its C is ``name.c`` beside it.
    cache, gradients: the types of what ``forward`` and ``backward`` return. The last two fields of the cache are the
        sizes and whole hyper-parameters of the call, and the dtypes of the real inputs.
    inputs: the kind and the axes of every input; ``"..."`` stands for the batch axes.
    hypers: the kind of every hyper-parameter.
    made: the kind of every array that ``forward`` makes: the outputs, then what only the cache has.
    outputs: how many outputs there are.
    saved: the inputs, made arrays and Real hyper-parameters that the cache has.
    cotangents: the output that each belongs to.
    results: the gradients, and the input that each belongs to.
    shapes: returns, for the lengths of all axes and the whole hyper-parameters, the shapes of what is made, and the
        numbers that labels have to stay below; ValueError where the layer has no such sizes.
    nonempty: the axes that must not be empty, and what they leave undefined.
    labels: the integer inputs that address an axis.
    """

    def __init__(
        self, file, name, cache, gradients, *, inputs, hypers, made, outputs, saved, cotangents, results, forward,
        backward, shapes, nonempty, labels,
    ):  # fmt: skip
        self._file, self._name = Path(file).with_name(f"{name}.c"), name
        self._cache, self._gradients = cache, gradients
        self._inputs, self._hypers, self._made, self._outputs = inputs, hypers, made, list(made)[:outputs]
        self._saved, self._cotangents, self._results = saved, cotangents, results
        self._takes = {"forward": forward, "backward": backward}
        self._shapes, self._nonempty, self._labels = shapes, nonempty, labels
        self._axes = list(dict.fromkeys(axis for _, axes in inputs.values() for axis in axes if isinstance(axis, str)))
        self._whole = [name for name, kind in hypers.items() if kind != "Real"]
        self._real = [name for name, kind in hypers.items() if kind == "Real"]
        self._calls = {}
        self._lock = threading.RLock()
        self.forward, self.backward = self._forward, self._backward
        self._fast = {}

    # Inputs

    def _expect(self, values):
        """Return the inputs as arrays, and the length of every axis; ValueError for another kind or shape."""
        arrays = [np.asarray(value) for value in values]
        real = [a.dtype for a, v in zip(arrays, values, strict=True) if a.dtype.kind == "f" and type(v) is not float]
        sizes = {}  # of every axis: its length, and the input it is from
        for k, (name, (kind, axes)) in enumerate(self._inputs.items()):
            if type(values[k]) in (int, float) and KINDS[kind] == "f":  # a Python number takes the dtype of the arrays
                arrays[k] = np.asarray(values[k], dtype=np.result_type(*real) if real else float)
            array, known = arrays[k], {axis: sizes[axis] for axis in axes if axis in sizes}
            if array.dtype.kind not in KINDS[kind]:
                raise ValueError(f"{name}: expected {kind} elements, got {array.dtype}")
            if array.dtype.kind == "f" and array.dtype.itemsize not in (4, 8):
                raise ValueError(f"{name}: expected float32 or float64 elements, got {array.dtype}")
            shape, batch = array.shape, array.ndim - len(axes) + 1
            if axes[:1] == ("...",) and batch >= 0:
                shape = (shape[:batch], *shape[batch:])
            for axis, length in zip(axes, shape, strict=False):
                sizes.setdefault(axis, (axis if isinstance(axis, int) else length, f"{name} {array.shape}"))
            if shape != tuple(sizes[axis][0] for axis in axes if axis in sizes) or len(shape) != len(axes):
                raise ValueError(f"{name}: expected shape {_described(axes, known)}, got {array.shape}")
        for axis, why in self._nonempty.items():
            if 0 in np.atleast_1d(sizes[axis][0]):
                raise ValueError(f"{sizes[axis][1]}: the axis {axis} is empty, which leaves {why} undefined")
        return arrays, [sizes[axis][0] for axis in self._axes]

    def _numbers(self, values):
        """Return the hyper-parameters as Python numbers of their kind."""
        convert = {"Real": float, "Int": index, "Bool": bool}
        return {name: convert[kind](v) for (name, kind), v in zip(self._hypers.items(), values, strict=True)}

    # Calls that fit no plan

    def _forward(self, *args):
        arrays, lengths = self._expect(args[: len(self._inputs)])
        hypers = self._numbers(args[len(self._inputs) :])
        kinds = {name: kind for name, (kind, _) in self._inputs.items()}
        dtypes = tuple(a.dtype for a, kind in zip(arrays, kinds.values(), strict=True) if KINDS[kind] == "f")
        call = self._call((*lengths, *(hypers[name] for name in self._whole)), dtypes)
        values = {name: _plain(a, call.dtypes[name]) for name, a in zip(kinds, arrays, strict=True)}
        values |= {name: np.empty(call.shapes[name], call.dtypes[name]) for name in self._made}
        status = call.run("forward", values, hypers)
        if status:
            self._failed(status, args)
        outputs = [values[name] if values[name].ndim else values[name][()] for name in self._outputs]
        cache = [hypers[name] if name in hypers else values[name] for name in self._saved]
        given = call.given if dtypes == call.given else dtypes
        self._prepare("forward", call)
        return outputs[0] if len(outputs) == 1 else tuple(outputs), self._cache(*cache, call.sizes, given)

    def _backward(self, *args):
        *cotangents, cache, out = args
        if type(cache) is not self._cache:
            raise TypeError(f"cache: expected the one that forward has returned, got {type(cache).__name__}")
        *saved, sizes, dtypes = cache
        call = self._call(sizes, dtypes)
        hypers, values = dict(zip(self._whole, sizes[len(self._axes) :], strict=True)), {}
        for name, value in zip(self._saved, saved, strict=True):
            if name in self._hypers:
                hypers[name] = float(value)
            elif np.shape(value) != call.shapes[name]:
                raise ValueError(f"cache.{name}: expected shape {call.shapes[name]}, got {np.shape(value)}")
            else:
                values[name] = _plain(value, call.dtypes[name])
        for (name, output), value in zip(self._cotangents.items(), cotangents, strict=True):
            values[name] = _cotangent(name, value, call.shapes[output], call.dtype)
        of = dict(zip([name for name, (kind, _) in self._inputs.items() if KINDS[kind] == "f"], dtypes, strict=True))
        given = dict(zip(self._results, self._given(out, call, of), strict=True))
        read = [value for value in (*saved, *cotangents) if isinstance(value, np.ndarray)]
        for name, array in given.items():  # one that will not do is copied to afterwards
            fits = array is not None and array.dtype == call.dtype and array.flags.carray
            fits = fits and not any(np.may_share_memory(array, other) for other in read)
            values[name] = array if fits else np.empty(call.shapes[name], call.dtype)
        status = call.run("backward", values, hypers)
        if status:
            self._failed(status, args)
        self._prepare("backward", call)
        gradients = []
        for name, array in given.items():
            if array is None:
                array = values[name].astype(of[self._results[name]], copy=False)
            elif array is not values[name]:
                np.copyto(array, values[name])
            gradients.append(array)
        return self._gradients(*gradients)

    def _given(self, out, call, of):
        """Return an array or None for each gradient; ValueError where one doesn't fit, or two share memory."""
        fields = self._gradients._fields
        if out is None:
            return [None] * len(fields)
        if isinstance(out, dict):
            if not out.keys() <= set(fields):
                raise ValueError(f"out: expected names among {', '.join(fields)}, got {', '.join(map(str, out))}")
            out = [out.get(name) for name in fields]
        if not isinstance(out, (tuple, list)) or len(out) != len(fields):
            raise ValueError(f"out: expected Gradients({', '.join(fields)}), a sequence in this order or a dict")
        for k, (name, array, like) in enumerate(zip(fields, out, self._results.values(), strict=True)):
            if array is None:
                continue
            if not (isinstance(array, np.ndarray) and array.flags.writeable):
                raise ValueError(f"out, {name}: expected an array that can be written to, or None")
            if (array.shape, array.dtype) != (call.shapes[like], of[like]):
                wanted = f"{of[like]} of shape {call.shapes[like]}"
                raise ValueError(f"out, {name}: expected {wanted}, got {array.dtype} of shape {array.shape}")
            if any(other is not None and np.shares_memory(array, other) for other in out[:k]):
                raise ValueError(f"out, {name}: shares memory with another one")
        return list(out)

    def _failed(self, status, args):
        """Raise what a status of a C function means."""
        if status < 0:
            raise MemoryError(f"{self._name}: no memory for the workspace")
        arrays, lengths = self._expect(args[: len(self._inputs)])
        hypers = self._numbers(args[len(self._inputs) :])
        _, limits = self._shapes(*lengths, *(hypers[name] for name in self._whole))
        for name, limit in zip(self._labels, limits, strict=True):
            labels = arrays[list(self._inputs).index(name)]
            wrong = labels[(labels < 0) | (labels >= limit)]
            if wrong.size:
                raise IndexError(f"{name}: expected labels from 0 to {limit - 1}, got {wrong[0]}")
        raise AssertionError(f"{self._name}: status {status}")

    # Plans

    def _call(self, sizes, dtypes):
        """Return what is known of calls with these sizes, whole hyper-parameters and dtypes."""
        dtype = np.dtype(np.float32 if dtypes and all(each.itemsize == 4 for each in dtypes) else np.float64)
        with self._lock:
            call = self._calls.pop((sizes, dtype), None)
            if call is None:
                call = Call(self, sizes, dtype)
                if len(self._calls) >= KEPT:
                    self._calls.pop(next(iter(self._calls)))
            self._calls[sizes, dtype] = call  # last: the latest
        return call

    def _prepare(self, which, call):
        """Let ``_compiled.c`` make such calls from now on."""
        with self._lock:
            if which not in self._fast:
                self._fast[which] = native() and Fast(self, which)
                if self._fast[which]:
                    setattr(self, which, self._fast[which].function)
            if self._fast[which]:
                self._fast[which].add(call)

    @functools.cached_property
    def _entries(self):
        """Return the text that calls the functions of the layer with arrays of numbers and of pointers."""
        lines = [f'#include "{self._file.name}"']
        for which, takes in self._takes.items():
            numbers = [f"n[{k}]" for k in range(len(takes.sizes))]
            whole = [hyper for hyper in takes.hypers if hyper in self._whole]
            real = [hyper for hyper in takes.hypers if hyper in self._real]
            for hyper in takes.hypers:
                number = f"n[{len(takes.sizes) + whole.index(hyper)}]" if hyper in whole else f"h[{real.index(hyper)}]"
                numbers.append(number)
            arrays = [f"p[{k}]" for k in range(len(takes.arrays) + 1)]
            lines += [
                f"size_t entry_{which}_workspace(const ptrdiff_t *n, const double *h)",
                f"{{ (void)n; (void)h; return {self._name}_{which}_workspace({', '.join(numbers)}); }}",
                f"int entry_{which}(const ptrdiff_t *n, const double *h, void *const *p)",
                f"{{ (void)n; (void)h; return {self._name}_{which}({', '.join(numbers + arrays)}); }}",
            ]
        return "\n".join(lines) + "\n"

    @functools.cached_property
    def _libraries(self):
        return {}

    def library(self, dtype, threads):
        """Return the layer's compiled functions for a dtype: those that start threads, or those that don't.

        The latter are quicker where there is little to do; an OpenMP loop costs half a microsecond even alone.
        """
        with self._lock:
            if (dtype, threads) not in self._libraries:
                real = "float" if dtype.itemsize == 4 else "double"
                near = [self._file, self._file.with_suffix(".h")]
                kernels, has_products = products()
                text = f"#define real {real}\n{'#define DERIVE_BLAS' * has_products}\n{self._entries}"
                options = [option for option in OPTIONS if threads or option != "-fopenmp"]
                name = f"{self._name}-{real}{'-threads' * threads}"
                lib = library(text, name, near=near, options=tuple(options))
                if has_products and hasattr(lib, f"{self._name}_set_gemm"):
                    product = kernels.compiled_sgemm if real == "float" else kernels.compiled_dgemm
                    lib[f"{self._name}_set_gemm"](product)
                self._libraries[dtype, threads] = lib
            return self._libraries[dtype, threads]


def _threads():
    """Return how many threads OpenMP may start."""
    number = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if number.isdigit():
        return int(number)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Call:
    """What is known of calls of a layer with certain sizes, whole hyper-parameters and precision."""

    def __init__(self, layer, sizes, dtype):
        self.sizes, self.dtype = sizes, dtype
        axes, whole = layer._axes, layer._whole
        made, self.limits = layer._shapes(*sizes)
        known = dict(zip([*axes, *whole], sizes, strict=True))
        self.shapes = {name: _shape(known, axes) for name, (_, axes) in layer._inputs.items()} | made
        kinds = {name: kind for name, (kind, _) in layer._inputs.items()} | layer._made
        kinds |= dict.fromkeys([*layer._cotangents, *layer._results], "Real")
        self.dtypes = {name: _DTYPES.get(kind, dtype) for name, kind in kinds.items()}
        self.shapes |= {name: self.shapes[like] for name, like in (layer._cotangents | layer._results).items()}
        self.given = tuple(self.dtype for kind, _ in layer._inputs.values() if KINDS[kind] == "f")
        known["..."] = math.prod(known.get("...", ()))
        self.numbers, self.entries, self.rooms, self.takes = {}, {}, {}, layer._takes
        self._real, self.plans = layer._real, {}
        self.bytes = sum(math.prod(shape) * self.dtypes[name].itemsize for name, shape in self.shapes.items())
        lib = layer.library(dtype, self.bytes >= LARGE and _threads() > 1)
        for which, takes in layer._takes.items():
            whole = [known[name] for name in (*takes.sizes, *(h for h in takes.hypers if h not in layer._real))]
            self.numbers[which] = (ctypes.c_ssize_t * (len(whole) + 1))(*whole)
            self.entries[which] = lib[f"entry_{which}"]
            self.rooms[which] = lib[f"entry_{which}_workspace"]
            self.rooms[which].restype = ctypes.c_size_t

    def operand(self, takes, name, source, place, number=False):
        """Return the row of an array that is read: as ``_Operand`` has it."""
        return (source, place, takes.arrays.index(name), number and not self.shapes[name], *self._array(name))

    def result(self, takes, name):
        """Return the row of an array that is made: as ``_Result`` has it."""
        return (takes.arrays.index(name), (self.shapes[name], self.dtypes[name]), *self._array(name))

    def _array(self, name):
        shape, dtype = self.shapes[name], self.dtypes[name]
        return len(shape), (ctypes.c_ssize_t * (len(shape) + 1))(*shape), dtype, math.prod(shape) * dtype.itemsize

    def run(self, which, values, hypers):
        """Call the C function with plain arrays; return its status."""
        takes = self.takes[which]
        real = [hypers[name] for name in takes.hypers if name in self._real]
        numbers = (ctypes.c_double * (len(real) + 1))(*real)
        memory = np.empty(self.rooms[which](self.numbers[which], numbers) + 63, np.uint8)
        pointers = [values[name].ctypes.data for name in takes.arrays]
        table = (ctypes.c_void_p * (len(pointers) + 1))(*pointers, -(-memory.ctypes.data // 64) * 64)
        return self.entries[which](self.numbers[which], numbers, table)


_DTYPES = {"Int": np.dtype(np.int64), "Bool": np.dtype(np.bool_)}


def _plain(array, dtype):
    """Return the elements one after another, of that dtype; the array itself where it is so."""
    return np.require(array, dtype, ["C", "A"]) if np.ndim(array) else np.array(array, dtype, ndmin=0)


def _cotangent(name, value, shape, dtype):
    """Return a cotangent as a plain array; ValueError for another kind or shape."""
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name}: expected Real elements, got {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
    return _plain(array, dtype)


def _shape(sizes, axes):
    """Return the lengths of axes, those of the batch among them."""
    lengths = [axis if isinstance(axis, int) else sizes[axis] for axis in axes]
    return (*lengths[0], *lengths[1:]) if axes[:1] == ("...",) else tuple(lengths)


def _described(axes, known):
    """Return "(N, D) = (4, D), N from x (4, 5)": the axes, and what is known of them."""

    def shape(lengths):
        text = ", ".join(str(n).strip("()").rstrip(",") for n in lengths)
        return f"({text},)" if len(lengths) == 1 else f"({text})"

    if not known:
        return shape(axes)
    owners = "".join(f", {axis} from {owner}" for axis, (_, owner) in known.items())
    return f"{shape(axes)} = {shape([known.get(axis, (axis,))[0] for axis in axes])}{owners}"


def at_least_one(**numbers):
    """Raise ValueError for a number below 1."""
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name}: expected at least 1, got {number}")


# Fast calls


class _Operand(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in ("source", "place", "slot", "number")),
        ("nd", ctypes.c_int64),
        ("dimensions", ctypes.POINTER(ctypes.c_ssize_t)),
        ("descr", ctypes.py_object),
        ("bytes", ctypes.c_size_t),
    ]


class _Result(ctypes.Structure):
    _fields_ = [
        ("slot", ctypes.c_int64),
        ("form", ctypes.py_object),
        ("nd", ctypes.c_int64),
        ("dimensions", ctypes.POINTER(ctypes.c_ssize_t)),
        ("descr", ctypes.py_object),
        ("bytes", ctypes.c_size_t),
    ]


class _Part(ctypes.Structure):
    _fields_ = [("source", ctypes.c_int32), ("place", ctypes.c_int32), ("object", ctypes.py_object)]


class _Plan(ctypes.Structure):
    _fields_ = [
        ("operands", ctypes.POINTER(_Operand)),
        ("results", ctypes.POINTER(_Result)),
        *((name, ctypes.POINTER(_Part)) for name in ("hypers", "fixed", "fields")),
        *(
            (f"{name}_count", ctypes.c_int32)
            for name in ("operand", "result", "hyper", "fixed", "field", "output")
        ),
        *((name, ctypes.c_int32) for name in ("slots", "single", "unlocks", "busy")),
        ("sizes", ctypes.POINTER(ctypes.c_ssize_t)),
        ("entry", ctypes.c_void_p),
        ("room", ctypes.c_void_p),
    ]  # fmt: skip


class _Head(ctypes.Structure):
    """The beginning of a Function of ``_compiled.c``."""

    _fields_ = [
        *((name, ctypes.c_int32) for name in ("arguments", "cache", "out", "cache_fields")),
        *((name, ctypes.py_object) for name in ("cache_type", "record", "slow", "failed")),
    ]


_ARGUMENT, _CACHE, _RESULT, _OBJECT = range(4)
_PYTHON = [
    "PyCFunction_NewEx", "PyCapsule_New", "PyCapsule_GetPointer", "PyObject_Call", "PyObject_CallFunctionObjArgs",
    "PyObject_Type", "PyObject_GetItem", "PyObject_RichCompareBool", "PyTuple_New", "PyTuple_GetItem",
    "PyTuple_SetItem", "PyTuple_Size", "PyFloat_AsDouble", "PyLong_FromLong", "PyErr_Occurred", "Py_IncRef",
    "Py_DecRef", "PyEval_SaveThread", "PyEval_RestoreThread",
]  # fmt: skip
"""The functions, and after them the objects, of the table that ``_compiled.c`` calls Python by."""
_OBJECTS = (None, np.ndarray, float, int, np.empty, tuple.__new__, ())


@functools.cache
def native():
    """Return the library ``_compiled.c``, ready to be called by Python; None where it cannot be."""
    if sys.implementation.name != "cpython" or not getattr(sys, "_is_gil_enabled", lambda: True)():
        return None
    lib = ctypes.PyDLL(products()[0]._name)
    sample = np.zeros((3, 4, 5), np.float32)[:, 1:, ::2]
    table = (ctypes.c_void_p * (len(_PYTHON) + len(_OBJECTS) + 1))()
    for k, name in enumerate(_PYTHON):
        table[k] = ctypes.cast(ctypes.pythonapi[name], ctypes.c_void_p).value
    for k, value in enumerate(_OBJECTS, len(_PYTHON)):
        table[k] = id(value)
    table[len(_PYTHON) + len(_OBJECTS)] = object.__basicsize__
    lib.compiled_set_python(table)
    found = (ctypes.c_int64 * 16)()
    lib.compiled_read(ctypes.py_object(sample), found)
    flags = sum(bit * sample.flags[name] for name, bit in (("C", 0x1), ("F", 0x2), ("A", 0x100), ("W", 0x400)))
    expected = [sample.ctypes.data, sample.ndim, *sample.shape, *sample.strides, id(sample.dtype), flags]
    return lib if list(found[: len(expected)]) == expected else None


class Fast:
    """A function of a layer for Python to call; it makes planned calls by itself."""

    def __init__(self, layer, which):
        lib, backward = native(), which == "backward"
        size = lib.compiled_function_size
        size.restype = ctypes.c_size_t
        self._layer, self._which, self._plans, self._kept = layer, which, {}, []
        self._memory = ctypes.create_string_buffer(size())
        count = len(layer._cotangents) + 2 if backward else len(layer._inputs) + len(layer._hypers)
        head = _Head.from_buffer(self._memory)
        head.arguments, head.cache, head.out = (count, count - 2, count - 1) if backward else (count, -1, -1)
        head.cache_fields, head.cache_type = len(layer._cache._fields), layer._cache
        head.record = layer._gradients if backward else layer._cache
        head.slow, head.failed = (layer._backward if backward else layer._forward), layer._failed
        self._head, self._text = head, which.encode()  # kept, for their objects
        make = lib.compiled_function
        make.restype = ctypes.py_object
        self.function = make(self._memory, self._text)

    def add(self, call):
        """Make such calls from now on, the newest first."""
        if self._which in call.plans:
            return
        plan = self._backward(call) if self._which == "backward" else self._forward(call)
        plan.entry = ctypes.cast(call.entries[self._which], ctypes.c_void_p).value
        plan.room = ctypes.cast(call.rooms[self._which], ctypes.c_void_p).value
        plan.sizes = call.numbers[self._which]
        plan.single, plan.slots = call.dtype.itemsize == 4, len(call.takes[self._which].arrays) + 1
        plan.unlocks = call.bytes >= LARGE
        call.plans[self._which] = plan
        self._plans[ctypes.addressof(plan)] = call
        put = native().compiled_add
        put.restype = ctypes.c_void_p
        gone = self._plans.pop(put(self._memory, ctypes.byref(plan)), None)
        if gone is not None and gone.plans.pop(self._which).busy:
            self._kept.append(gone)

    def _forward(self, call):
        layer, takes = self._layer, call.takes["forward"]
        inputs, hypers, made = list(layer._inputs), list(layer._hypers), list(layer._made)
        operands = [
            call.operand(takes, name, _ARGUMENT, k, number=KINDS[layer._inputs[name][0]] == "f" and len(inputs) > 1)
            for k, name in enumerate(inputs)
        ]
        whole = dict(zip(layer._whole, call.sizes[len(layer._axes) :], strict=True))
        fixed = [(_ARGUMENT, len(inputs) + hypers.index(name), value) for name, value in whole.items()]
        fields = []
        for name in layer._saved:
            if name in layer._made:
                fields.append((_RESULT, made.index(name), None))
            else:
                fields.append((_ARGUMENT, [*inputs, *hypers].index(name), None))
        fields += [(_OBJECT, 0, call.sizes), (_OBJECT, 0, call.given)]
        real = [(_ARGUMENT, len(inputs) + hypers.index(name), None) for name in takes.hypers if name in layer._real]
        return self._plan(operands, [call.result(takes, name) for name in made], real, fixed, fields, layer._outputs)

    def _backward(self, call):
        layer, takes = self._layer, call.takes["backward"]
        operands = [call.operand(takes, name, _ARGUMENT, k, number=True) for k, name in enumerate(layer._cotangents)]
        arrays = [(k, name) for k, name in enumerate(layer._saved) if name not in layer._hypers]
        operands += [call.operand(takes, name, _CACHE, k) for k, name in arrays]
        real = [(_CACHE, layer._saved.index(name), None) for name in takes.hypers if name in layer._real]
        count = len(layer._saved)
        fixed = [(_CACHE, count, call.sizes), (_CACHE, count + 1, call.given)]
        fields = [(_RESULT, k, None) for k in range(len(layer._results))]
        return self._plan(operands, [call.result(takes, name) for name in layer._results], real, fixed, fields, ())

    def _plan(self, operands, results, hypers, fixed, fields, outputs):
        plan = _Plan(output_count=len(outputs))
        tables = {"operand": (_Operand, operands), "result": (_Result, results)}
        tables |= {name: (_Part, parts) for name, parts in (("hyper", hypers), ("fixed", fixed), ("field", fields))}
        for name, (kind, rows) in tables.items():
            setattr(plan, name if name == "fixed" else f"{name}s", (kind * (len(rows) + 1))(*rows))
            setattr(plan, f"{name}_count", len(rows))
        return plan

"""How many threads the libraries may use; to be said before they are loaded."""

from __future__ import annotations

import importlib.util
import os
import sys

__all__ = ["THREADS", "use_threads"]

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
"""What the libraries of linear algebra read when they are loaded."""


def use_threads(count: int) -> None:
    """Ask every library for a number of threads: before it is loaded, most can be told by the environment alone.

    XLA knows only one thread or as many as it likes.
    """
    for name in THREADS:
        os.environ[name] = str(count)
    flags = os.environ.get("XLA_FLAGS", "")
    if count == 1 and "multi_thread_eigen" not in flags:
        more = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        os.environ["XLA_FLAGS"] = f"{flags} {more}".strip()
    if "numpy" in sys.modules and importlib.util.find_spec("threadpoolctl") is not None:
        from threadpoolctl import threadpool_limits

        threadpool_limits(count)

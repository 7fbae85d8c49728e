"""The cases that benchmarks compare: a catalogue layer, and the sizes at which it is run.

Each stands for a kind of backward pass: products, sums over rows, sums over
columns, elementwise functions, lookups, windows, and a small network of all of
them. Every layer is run at a large size, where memory or products decide, and
at a small one, where the number of calls does.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

__all__ = ["CASES", "SMALL", "Case"]


@dataclass(frozen=True)
class Case:
    """A layer of the catalogue and its sizes, as ``derive bench --sizes`` takes them."""

    layer: str
    sizes: str
    title: str


CASES = (
    Case("linear", "...=4096,I=512,O=512", "linear 4096×512×512"),
    Case("batchnorm", "N=8192,D=512", "batchnorm 8192×512"),
    Case("layernorm", "...=8192,D=768", "layernorm 8192×768"),
    Case("rmsnorm", "...=8192,D=768", "rmsnorm 8192×768"),
    Case("softmax", "...=8192,C=1000", "softmax 8192×1000"),
    Case("log_softmax", "...=8192,C=1000", "log_softmax 8192×1000"),
    Case("cross_entropy", "N=8192,C=1000", "cross_entropy 8192×1000"),
    Case("gelu", "...=8192x768", "gelu (exact) 8192×768"),
    Case("silu", "...=8192x768", "silu 8192×768"),
    Case("attention", "...=16,T=256,S=256,D=64,E=64", "attention 16×256×64"),
    Case("conv2d", "N=16,C=32,H=32,W=32,F=64,R=3,S=3,pad=1", "conv2d 16×32×32×32, 64 of 3×3"),
    Case("char_mlp", "N=4096,B=3,V=27,E=10,H=200", "character MLP, batch 4096, 200 hidden"),
)
"""Large: what memory and products cost."""

SMALL = (
    Case("linear", "...=32,I=64,O=64", "linear 32×64×64"),
    Case("batchnorm", "N=32,D=64", "batchnorm 32×64"),
    Case("layernorm", "...=32,D=64", "layernorm 32×64"),
    Case("rmsnorm", "...=32,D=64", "rmsnorm 32×64"),
    Case("softmax", "...=32,C=64", "softmax 32×64"),
    Case("log_softmax", "...=32,C=64", "log_softmax 32×64"),
    Case("cross_entropy", "N=32,C=64", "cross_entropy 32×64"),
    Case("gelu", "...=32x64", "gelu (exact) 32×64"),
    Case("silu", "...=32x64", "silu 32×64"),
    Case("attention", "...=1,T=32,S=32,D=64,E=64", "attention 1×32×64"),
    Case("conv2d", "N=2,C=4,H=8,W=8,F=4,R=3,S=3,pad=1", "conv2d 2×4×8×8, 4 of 3×3"),
    Case("char_mlp", "N=32,B=3,V=27,E=10,H=64", "character MLP, batch 32, 64 hidden"),
)
"""Small: what a call costs."""

"""Networks of any depth, as the text of a layer file."""

from __future__ import annotations

__all__ = ["encoder", "tower"]


def tower(depth: int, first: int = 1) -> str:
    """Residual blocks of one linear layer each, with weights of their own; names are numbered from ``first``."""
    blocks = range(first, first + depth)
    weights = ", ".join(f"w{k}: Real[D, D], b{k}: Real[D]" for k in blocks)
    lines = [f"def tower(x{first - 1}: Real[N, D], {weights}):"]
    for k in blocks:
        lines += [f"    h{k} = linear(x{k - 1}, w{k}, b{k})", f"    a{k} = relu(h{k})"]
        lines += [f"    x{k} = residual(x{k - 1}, a{k})"]
    return "\n".join([*lines, f"    return x{blocks[-1]}", ""])


_WEIGHTS = (
    "q: Real[D, H, K]", "k: Real[D, H, K]", "v: Real[D, H, K]", "o: Real[H, K, D]", "a: Real[H, K]", "b: Real[H, K]",
    "c: Real[H, K]", "d: Real[D]", "g: Real[D]", "h: Real[D]", "i: Real[D, F]", "j: Real[F]", "l: Real[F, D]",
    "m: Real[D]", "r: Real[D]", "s: Real[D]",
)  # fmt: skip


def encoder(depth: int, first: int = 1) -> str:
    """A stack of transformer blocks, with weights of their own; names are numbered from ``first``."""
    blocks = range(first, first + depth)
    weights = ", ".join(f"{w[0]}{k}{w[1:]}" for k in blocks for w in _WEIGHTS)
    lines = [f"def encoder(x{first - 1}: Real[B, T, D], {weights}):"]
    for k in blocks:
        arguments = ", ".join(f"{w[0]}{k}" for w in _WEIGHTS)
        lines.append(f"    x{k} = transformer_encoder_block(x{k - 1}, {arguments})")
    return "\n".join([*lines, f"    return x{blocks[-1]}", ""])

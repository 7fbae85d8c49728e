"""Random layers with affine subscripts: any shift, stride, dilation, direction, padding and sharing of letters."""

from __future__ import annotations

import random

_FACTORS = (1, 1, 1, 2, 3, -1, -2)
_RANGES = {"r": ("r", "r: 3", "r: 2"), "s": ("s: 2",)}


def _affine(rng: random.Random, letters: str) -> str:
    """A sum of the letters with factors, and a constant."""
    parts = []
    for letter in letters:
        factor = rng.choice(_FACTORS)
        parts.append({1: letter, -1: f"-{letter}"}.get(factor, f"{factor}*{letter}"))
    rng.shuffle(parts)
    constant = rng.randint(-3, 4)
    return " + ".join([*parts, *([str(constant)] if constant else [])]).replace("+ -", "- ")


def random_window_layer(seed: int) -> str:
    """The text of a layer that reads, or writes, windows of an image."""
    rng = random.Random(seed)
    kind = rng.choice(["product", "product", "max", "mean", "shared", "written", "channels"])
    fill = rng.choice(["", "", ", 1.5"])
    first = "i" + "r" * (rng.random() < 0.8) + "s" * (rng.random() < 0.25)
    second = "j" + "s" * ("s" not in first and rng.random() < 0.5)
    if kind == "shared":
        first, second = "ir", "jr"
    row, column = _affine(rng, first), _affine(rng, second)
    letters = sorted(set(first + second) & {"r", "s"})
    ranges = {letter: rng.choice(_RANGES[letter]) for letter in letters}
    bound = ", ".join(ranges.values())
    weight = "w[r]*" if ranges.get("r") == "r" else ""
    signature = "x: Real[N, H, W]" + (", w: Real[R]" if weight else "")
    read = f"{weight}padded(x{fill})[n, {row}, {column}]"
    shape, left = "N, 4, 5", "n, i, j"
    if kind == "written":
        shape, left = "N, 6, 7", "n, p, q"
        inner = f"where(p == {row}, where(q == {column}, {weight}x[n, i, j], 0), 0)"
        value = f"sum[i, j{', ' + bound if bound else ''}]({inner})"
    elif kind == "channels" and letters:
        shape, left = "N, 4, 5, F", "n, i, j, f"
        axes = "".join(f", {r.partition(': ')[2] or 'R'}" for r in ranges.values())
        signature = f"z: Real[N, C, H, W], u: Real[F, C{axes}]"
        value = f"sum[c, {bound}](padded(z)[n, c, {row}, {column}]*u[f, c, {', '.join(letters)}])"
    elif not letters:
        value = read
    elif kind in ("max", "mean"):
        value = f"{kind}[{bound}]({read})"
    else:
        value = f"sum[{bound}]({read}{'**2' if rng.random() < 0.3 else ''})"
    lines = [f"def f({signature}):", f"y: Real[{shape}]", f"y[{left}] = {value}", "return y"]
    return "\n    ".join(lines) + "\n"

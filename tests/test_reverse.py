"""Backward statements of windows and recurrences, as text: the letters of the axes, and what reaches a start."""

from __future__ import annotations

from derive.language import parse
from derive.pipeline import derive_program


def backward(text: str) -> dict[str, str]:
    layer = parse(text)
    return {s.name: str(s) for s in derive_program(layer).backward}


def test_the_axes_of_an_image_are_i_and_j_where_only_windows_read_them() -> None:
    lines = backward(
        """
def conv(x: Real[N, C, H, W], w: Real[C, 3, 3]):
    P = H - 2
    Q = W - 2
    y: Real[N, P, Q]
    y[n, p, q] = sum[c, r, s](x[n, c, p + r, q + s] * w[c, r, s])
    return y
"""
    )
    assert lines["dx"].startswith("dx[n, c, i, j] = sum[")


def test_a_start_has_the_letters_it_is_read_with() -> None:
    lines = backward(
        """
def accumulate(x: Real[T, N], h0: Real[N]):
    h[-1, n] = h0[n]
    h[t, n] = tanh(h[t - 1, n] + x[t, n])
    return h
"""
    )
    assert lines["dh0"] .startswith("dh0[n] = ")


def test_what_reads_the_start_with_letters_like_its_own_captures_none() -> None:
    lines = backward(
        """
def mixed(x: Real[T, N, D], h0: Real[N, D], w: Real[D, D]):
    h[-1, n, j] = h0[n, j]
    h[t, n, j] = h[t - 1, n, j] * x[t, n, j]
    y[t, n, j] = sum[k](w[k, j] * h[t - 1, n, k])
    return y
"""
    )
    assert "sum[k](w[j, k]*dy[0, n, k])" in lines["dh0"]


def test_every_axis_of_a_window_is_read_at_its_place() -> None:
    lines = backward(
        """
def spread(x: Real[N, P, Q], w: Real[R, S]):
    H = 2*P + R
    W = 2*Q + S
    y: Real[N, H, W]
    y[n, i, j] = sum[p, q, r, s](where(i == 2*p + r and j == 2*q + s, x[n, p, q] * w[r, s], 0))
    return y
"""
    )
    assert lines["dx"] == "dx[n, p, q] = sum[r, s](w[r, s]*padded(dy)[n, 2*p + r, 2*q + s])"

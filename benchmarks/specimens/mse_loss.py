"""The mean squared error by hand; the gradient of the loss itself is 1."""


def backward(x, t):
    """Return the gradients of x and t."""
    n = x.size
    dx = 2 * (x - t) / n
    dt = -dx
    return dx, dt

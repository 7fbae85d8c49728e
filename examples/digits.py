"""Train a classifier of handwritten digits with modules that derive wrote.

    python examples/digits.py                       # a few seconds
    python examples/digits.py --picture curves.png

The data are the 1797 scanned digits (8 x 8 pixels) that scikit-learn ships;
the network is two times linear, batchnorm, relu, then linear and
cross_entropy. Its forward and backward passes are called from ``generated/``
and nowhere else: no gradient is written in this file.

Source of the data: Alpaydin & Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import derive  # noqa: E402  (a checkout that is not installed works too)

LAYERS = ("linear", "batchnorm", "batchnorm_inference", "relu", "cross_entropy")
WIDTHS = (64, 128, 128)
CLASSES = 10

Array = NDArray[np.float32]
Labels = NDArray[np.int64]
Values = dict[str, Array]


@dataclass(frozen=True)
class Result:
    """What a training run gave.

    Attributes:
        losses: the mean cross-entropy of each step, nats.
        accuracies: on the test set after each epoch, 0 to 1.
        seconds: of training.
    """

    losses: list[float]
    accuracies: list[float]
    seconds: float


def generate(out: Path) -> None:
    """Generate the modules, checked, and say so."""
    for module in derive.generate(*map(derive.load, LAYERS), out=out):
        print(f"{module.path.relative_to(ROOT)}: {'written' if module.changed else 'unchanged'}, checked")


def data(seed: int) -> tuple[Array, Array, Labels, Labels]:
    """Return training and test pixels (-1 to 1) and labels, four parts to one."""
    digits = load_digits()
    pixels = (digits.data / 8 - 1).astype(np.float32)
    labels = digits.target.astype(np.int64)
    return tuple(train_test_split(pixels, labels, test_size=0.2, stratify=labels, random_state=seed))


def initial(rng: np.random.Generator) -> tuple[Values, Values]:
    """Return the parameters (He's initialization) and the running statistics."""
    values: Values = {}
    running: Values = {}
    sizes = (*WIDTHS, CLASSES)
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        values[f"w{i}"] = (rng.standard_normal((fan_in, fan_out)) * np.sqrt(2 / fan_in)).astype(np.float32)
        values[f"b{i}"] = np.zeros(fan_out, np.float32)
        if i < len(WIDTHS) - 1:
            values[f"gamma{i}"], values[f"beta{i}"] = np.ones(fan_out, np.float32), np.zeros(fan_out, np.float32)
            running[f"mu{i}"], running[f"var{i}"] = np.zeros(fan_out, np.float32), np.ones(fan_out, np.float32)
    return values, running


def step(x: Array, t: Labels, p: Values, running: Values) -> tuple[float, Values]:
    """Return the loss of a batch and the gradient of every parameter; update the running statistics."""
    from generated import batchnorm, cross_entropy, linear, relu

    caches = []
    hidden = len(WIDTHS) - 1
    for i in range(hidden):
        h, c_linear = linear.forward(x, p[f"w{i}"], p[f"b{i}"])
        g, c_norm = batchnorm.forward(h, p[f"gamma{i}"], p[f"beta{i}"])
        x, c_relu = relu.forward(g)
        caches.append((c_linear, c_norm, c_relu))
        running[f"mu{i}"] += np.float32(0.1) * (h.mean(axis=0) - running[f"mu{i}"])
        running[f"var{i}"] += np.float32(0.1) * (h.var(axis=0) - running[f"var{i}"])
    z, c_last = linear.forward(x, p[f"w{hidden}"], p[f"b{hidden}"])
    loss, c_loss = cross_entropy.forward(z, t)

    d: Values = {}
    (dz,) = cross_entropy.backward(1.0, c_loss)
    dx, d[f"w{hidden}"], d[f"b{hidden}"] = linear.backward(dz, c_last)
    for i in reversed(range(hidden)):
        c_linear, c_norm, c_relu = caches[i]
        (dg,) = relu.backward(dx, c_relu)
        dh, d[f"gamma{i}"], d[f"beta{i}"] = batchnorm.backward(dg, c_norm)
        dx, d[f"w{i}"], d[f"b{i}"] = linear.backward(dh, c_linear)
    return float(loss), d


def logits(x: Array, p: Values, running: Values) -> Array:
    """Return the network's answer at test time, normalized with the running statistics."""
    from generated import batchnorm_inference, linear, relu

    hidden = len(WIDTHS) - 1
    for i in range(hidden):
        h, _ = linear.forward(x, p[f"w{i}"], p[f"b{i}"])
        g, _ = batchnorm_inference.forward(h, running[f"mu{i}"], running[f"var{i}"], p[f"gamma{i}"], p[f"beta{i}"])
        x, _ = relu.forward(g)
    z: Array = linear.forward(x, p[f"w{hidden}"], p[f"b{hidden}"])[0]
    return z


def train(epochs: int = 30, batch: int = 64, rate: float = 0.05, seed: int = 0) -> Result:
    """Train by gradient descent with momentum, the rate falling along a cosine."""
    rng = np.random.default_rng(seed)
    x, x_test, t, t_test = data(seed)
    p, running = initial(rng)
    velocity = {name: np.zeros_like(value) for name, value in p.items()}
    losses: list[float] = []
    accuracies: list[float] = []
    per_epoch = len(x) // batch
    start = time.perf_counter()
    # Products this small are fastest on one thread: on several, they wait for each other.
    with threadpool_limits(limits=1), tqdm(range(epochs), desc="training", unit="epoch", disable=None) as bar:
        for _ in bar:
            order = rng.permutation(len(x))
            for k in range(per_epoch):
                rows = order[k * batch : (k + 1) * batch]
                loss, gradients = step(x[rows], t[rows], p, running)
                now = rate * 0.5 * (1 + np.cos(np.pi * len(losses) / (epochs * per_epoch)))
                for name, gradient in gradients.items():
                    velocity[name] *= np.float32(0.9)
                    velocity[name] -= np.float32(now) * gradient
                    p[name] += velocity[name]
                losses.append(loss)
            accuracies.append(float((logits(x_test, p, running).argmax(axis=1) == t_test).mean()))
            bar.set_postfix(loss=f"{np.mean(losses[-per_epoch:]):.4f}", accuracy=f"{accuracies[-1]:.2%}")
    return Result(losses, accuracies, time.perf_counter() - start)


def draw(result: Result, path: Path) -> None:
    """Draw the loss of every step and the accuracy after every epoch."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    left.semilogy(result.losses, color="#9db7d5", linewidth=0.8, label="each step")
    width = max(len(result.losses) // len(result.accuracies), 1)
    smooth = np.convolve(result.losses, np.ones(width) / width, mode="valid")
    left.semilogy(np.arange(len(smooth)) + width - 1, smooth, color="#1f4e8c", label="mean of an epoch")
    left.set(title="training loss", xlabel="step", ylabel="cross-entropy (nats)")
    left.legend(frameon=False)
    right.plot(range(1, len(result.accuracies) + 1), [100 * a for a in result.accuracies], "o-", color="#1f4e8c", ms=3)
    right.axhline(97, color="#b04a2f", linewidth=0.8, linestyle="--")
    right.set(title=f"test accuracy: {result.accuracies[-1]:.2%} at the end", xlabel="epoch", ylabel="%")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main(argv: list[str] | None = None) -> int:
    """Generate, train, draw, tell."""
    parser = argparse.ArgumentParser(description="Train a digit classifier with generated modules.")
    parser.add_argument("--picture", type=Path, default=ROOT / "build" / "digits.png", help="where to draw the curves")
    parser.add_argument("--epochs", type=int, default=30)
    arguments = parser.parse_args(argv)
    generate(ROOT / "generated")
    result = train(arguments.epochs)
    draw(result, arguments.picture)
    print(f"{len(result.losses)} steps in {result.seconds:.1f} s; learning curves: {arguments.picture}")
    print(f"test accuracy: {result.accuracies[-1]:.2%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Train a character network on names; compare its gradients with PyTorch's; invent names.

    python examples/char_mlp.py

The network is the catalogue's ``char_mlp``: three characters of context go
through an embedding, a linear layer, batch normalization, tanh and another
linear layer to the next character. Its whole backward pass, seven gradients,
is one generated function. Where PyTorch is installed, every gradient of a step
is compared with autograd's.

Source of the network: Bengio, Ducharme, Vincent & Jauvin, "A Neural Probabilistic Language Model", 2003.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import derive  # noqa: E402  (a checkout that is not installed works too)

LAYERS = ("char_mlp", "embedding", "linear", "batchnorm_inference", "tanh", "softmax")
LETTERS = ".abcdefghijklmnopqrstuvwxyz"
"""The characters by token id; the dot begins and ends a name."""
CONTEXT, EMBEDDING, HIDDEN = 3, 8, 64

Array = NDArray[np.float32] | NDArray[np.float64]
Tokens = NDArray[np.int64]
Values = dict[str, Array]


def names() -> list[str]:
    """Return the names of ``names.txt``."""
    lines = (ROOT / "examples" / "names.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def examples(words: list[str]) -> tuple[Tokens, Tokens]:
    """Return contexts [N, B] and the token that follows each [N]."""
    contexts, nexts = [], []
    for word in words:
        context = [0] * CONTEXT
        for letter in word + ".":
            token = LETTERS.index(letter)
            contexts.append(context)
            nexts.append(token)
            context = [*context[1:], token]
    return np.array(contexts), np.array(nexts)


def initial(rng: np.random.Generator) -> Values:
    """Return the parameters, in the order of the layer's."""
    v = len(LETTERS)
    fan_in = CONTEXT * EMBEDDING
    values = {
        "C": rng.standard_normal((v, EMBEDDING)),
        "W1": rng.standard_normal((CONTEXT, EMBEDDING, HIDDEN)) * (5 / 3) / np.sqrt(fan_in),
        "b1": np.zeros(HIDDEN),
        "gamma": np.ones(HIDDEN),
        "beta": np.zeros(HIDDEN),
        "W2": rng.standard_normal((HIDDEN, v)) * 0.1,
        "b2": np.zeros(v),
    }
    return {name: value.astype(np.float32) for name, value in values.items()}


def compare(x: Tokens, y: Tokens, p: Values) -> dict[str, float]:
    """Return the largest relative error of every gradient of a step against PyTorch's float64 autograd."""
    import torch

    from generated import char_mlp

    p = {name: value.astype(np.float64) for name, value in p.items()}
    _, cache = char_mlp.forward(x, y, *p.values())
    ours = dict(zip(p, char_mlp.backward(1.0, cache), strict=True))

    t = {name: torch.tensor(value, requires_grad=True) for name, value in p.items()}
    h = torch.einsum("nbe,beh->nh", t["C"][torch.tensor(x)], t["W1"]) + t["b1"]
    hhat = (h - h.mean(0)) / torch.sqrt(h.var(0, unbiased=True) + 1e-5)
    z = torch.tanh(t["gamma"] * hhat + t["beta"]) @ t["W2"] + t["b2"]
    torch.nn.functional.cross_entropy(z, torch.tensor(y)).backward()  # type: ignore[no-untyped-call]

    errors = {}
    for name, value in t.items():
        assert value.grad is not None
        theirs = value.grad.numpy()
        # b1 cancels in the normalization: its gradient is zero, and only rounding is left to compare.
        scale = max(float(np.abs(theirs).max()), 1e-3)
        errors[name] = float(np.abs(ours[name] - theirs).max()) / scale
    return errors


def train(x: Tokens, y: Tokens, p: Values, steps: int, rng: np.random.Generator, batch: int = 64) -> None:
    """Improve the parameters in place, by gradient descent with a falling rate."""
    from generated import char_mlp

    # Products this small are fastest on one thread: on several, they wait for each other.
    with threadpool_limits(limits=1), tqdm(range(steps), desc="training", unit="step", disable=None) as bar:
        for k in bar:
            rows = rng.integers(len(x), size=batch)
            _, cache = char_mlp.forward(x[rows], y[rows], *p.values())
            rate = np.float32(0.2 * (1 - k / steps))
            for value, gradient in zip(p.values(), char_mlp.backward(1.0, cache), strict=True):
                value -= rate * gradient


def loss(x: Tokens, y: Tokens, p: Values) -> float:
    """Return the mean cross-entropy, nats a character."""
    from generated import char_mlp

    return float(char_mlp.forward(x, y, *p.values())[0])


def sample(x: Tokens, p: Values, count: int, rng: np.random.Generator) -> list[str]:
    """Invent names: the same network, piece by piece, normalized with the statistics of the training data."""
    from generated import batchnorm_inference, embedding, linear, softmax, tanh

    weights = p["W1"].reshape(CONTEXT * EMBEDDING, HIDDEN)

    def hidden(contexts: Tokens) -> Array:
        e, _ = embedding.forward(contexts, p["C"])
        h: Array = linear.forward(e.reshape(len(contexts), -1), weights, p["b1"])[0]
        return h

    h = hidden(x)
    mu, var = h.mean(axis=0), h.var(axis=0, ddof=1)
    words: list[str] = []
    while len(words) < count:
        context, word = [0] * CONTEXT, ""
        while len(word) < 12:
            g, _ = batchnorm_inference.forward(hidden(np.array([context])), mu, var, p["gamma"], p["beta"])
            z, _ = linear.forward(tanh.forward(g)[0], p["W2"], p["b2"])
            chances = softmax.forward(z)[0][0].astype(np.float64)
            token = int(rng.choice(len(LETTERS), p=chances / chances.sum()))
            if token == 0:
                break
            word += LETTERS[token]
            context = [*context[1:], token]
        if len(word) > 2:
            words.append(word)
    return words


def main(argv: list[str] | None = None) -> int:
    """Generate, compare, train, invent."""
    parser = argparse.ArgumentParser(description="Train a character network with a generated module.")
    parser.add_argument("--steps", type=int, default=2000)
    arguments = parser.parse_args(argv)
    for module in derive.generate(*map(derive.load, LAYERS), out=ROOT / "generated"):
        print(f"{module.path.relative_to(ROOT)}: {'written' if module.changed else 'unchanged'}, checked")
    rng = np.random.default_rng(0)
    words = names()
    rng.shuffle(words)
    held_out = len(words) // 10
    (x_test, y_test), (x, y) = examples(words[:held_out]), examples(words[held_out:])
    p = initial(rng)
    if importlib.util.find_spec("torch") is not None:
        for name, error in compare(x[:64], y[:64], p).items():
            print(f"d{name:<6} largest difference from PyTorch, relative: {error:.1e}")
    else:
        print("PyTorch is not installed: the gradients are not compared with it")
    print(f"loss before: {loss(x, y, p):.3f} (held out: {loss(x_test, y_test, p):.3f}) nats a character")
    start = time.perf_counter()
    train(x, y, p, arguments.steps, rng)
    print(f"loss after:  {loss(x, y, p):.3f} (held out: {loss(x_test, y_test, p):.3f}), "
          f"{arguments.steps} steps in {time.perf_counter() - start:.1f} s")  # fmt: skip
    print("invented:", ", ".join(sample(x, p, 12, rng)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

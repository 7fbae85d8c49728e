"""How often ``derive diagnose`` names the right cause of a wrong backward pass.

    python benchmarks/diagnose.py            # prints the tables and writes benchmarks/diagnose.md
    python benchmarks/diagnose.py softmax -v # those of one specimen, each with what was said

``benchmarks/mutations.py`` and ``benchmarks/syntax.py`` say what is done to the correct code of
``benchmarks/specimens`` and what that is to be called. A mutation that changes
no number is no mistake and is left out; that is decided here by running both,
without the program. A cause counts as named where an explanation of that kind
accounts for the result that the mutation is about, and says the word that it
is expected to say.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import derive
from benchmarks.mutations import HELD_OUT, MUTATIONS, SPECIMENS, Mutation, Specimen
from benchmarks.syntax import by_syntax
from derive.diagnosis import Cause, Diagnosis, diagnose

FOLDER = ROOT / "benchmarks" / "specimens"
TABLE = ROOT / "benchmarks" / "diagnose.md"

Arrays = dict[str, Any]


def source(specimen: str) -> str:
    """Return the text of a specimen."""
    return (FOLDER / f"{specimen}.py").read_text(encoding="utf-8")


def module(text: str, name: str) -> ModuleType:
    """Return the module of a text."""
    found = ModuleType(name)
    found.__file__ = str(FOLDER / f"{name}.py")
    exec(compile(text, f"{name}.py", "exec"), found.__dict__)
    return found


def functions(code: ModuleType) -> tuple[Callable[..., Any] | None, Callable[..., Any]]:
    """Return the forward, where there is one, and the backward of a specimen."""
    names = vars(code)
    forward = next((v for k, v in names.items() if k.endswith("forward")), None)
    return forward, next(v for k, v in names.items() if k.endswith("backward"))


def mutated(mutation: Mutation) -> str:
    """Return the text of a specimen with the mistake in it."""
    if mutation.text:
        return mutation.text
    text = source(mutation.specimen)
    assert text.count(mutation.old) == 1, (
        f"{mutation.specimen}: {mutation.old!r} occurs {text.count(mutation.old)} times"
    )
    return text.replace(mutation.old, mutation.new)


# Whether a mutation changes anything: both are run, on inputs made here.


def inputs(specimen: str, rng: np.random.Generator, scale: float) -> tuple[Arrays, tuple[Any, ...]]:
    """Return arguments of the forward (or of a backward that needs none) and cotangents."""

    def normal(*shape: int) -> Any:
        return scale * rng.standard_normal(shape)

    match specimen:
        case "linear":
            return {"x": normal(5, 3), "w": normal(3, 4), "b": normal(4)}, (normal(5, 4),)
        case "batchnorm" | "batchnorm_closed" | "layernorm":
            return {"x": normal(5, 4), "gamma": normal(4), "beta": normal(4)}, (normal(5, 4),)
        case "softmax":
            return {"z": normal(3, 5)}, (normal(3, 5),)
        case "cross_entropy":
            return {"z": normal(4, 5), "t": np.array([1, 4, 1, 0])}, ()
        case "attention":
            return {"q": normal(3, 4), "k": normal(5, 4), "v": normal(5, 6)}, (normal(3, 6),)
        case "conv2d":
            given = {
                "x": normal(2, 3, 9, 8),
                "w": normal(4, 3, 3, 2),
                "b": normal(4),
                "stride": 2,
                "pad": 1,
                "dilation": 2,
            }
            return given, (normal(2, 4, 4, 4),)
        case "lstm_cell":
            cell = {"x": normal(2, 3), "h": normal(2, 5), "c": normal(2, 5), "wx": normal(3, 20), "wh": normal(5, 20)}
            return cell | {"bx": normal(20), "bh": normal(20)}, (normal(2, 5), normal(2, 5))
        case "char_mlp":
            tokens = {
                "x": rng.integers(0, 6, (5, 3)),
                "y": rng.integers(0, 6, 5),
                "C": normal(6, 2),
                "W1": normal(6, 4),
            }
            rest = {"b1": normal(4), "gamma": normal(4), "beta": normal(4), "W2": normal(4, 6), "b2": normal(6)}
            return tokens | rest, ()
        case "rmsnorm":
            return {"x": normal(5, 4), "gamma": normal(4)}, (normal(5, 4),)
        case "feed_forward":
            return {"x": normal(5, 3), "w1": normal(3, 4), "b1": normal(4), "w2": normal(4, 3), "b2": normal(3)}, (
                normal(5, 3),
            )
        case "batchnorm2d":
            return {"x": normal(2, 3, 4, 5), "gamma": normal(3), "beta": normal(3)}, (normal(2, 3, 4, 5),)
        case "rnn_cell":
            cell = {"x": normal(2, 3), "h": normal(2, 4), "wx": normal(3, 4), "wh": normal(4, 4)}
            return cell | {"bx": normal(4), "bh": normal(4)}, (normal(2, 4),)
        case "cosine_similarity":
            return {"x1": normal(3, 5), "x2": normal(3, 5)}, (normal(3),)
        case "mse_loss":
            return {"x": normal(3, 5), "t": normal(3, 5)}, ()
    raise AssertionError(specimen)


def results(code: ModuleType, given: Arrays, cotangents: tuple[Any, ...]) -> list[Any] | None:
    """Return what two calls of a backward give, as arrays; None where it raises."""
    forward, backward = functions(code)
    copies = {name: np.array(v) if isinstance(v, np.ndarray) else v for name, v in given.items()}
    found = []
    with np.errstate(all="ignore"):
        try:
            for _ in range(2):
                if forward is None:
                    value = backward(**copies)
                else:
                    cache = forward(**copies)[-1]
                    value = backward(*(dy.copy() for dy in cotangents), cache)
                values = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else (value,)
                found += [np.array(v) for v in values]
        except Exception:
            return None
    return found


def changes(mutation: Mutation) -> bool:
    """Return whether the mutated code gives other numbers than the correct one anywhere."""
    for seed, scale in ((1, 1.0), (2, 1.0), (3, 400.0)):
        if scale != 1.0 and Cause.UNSTABLE not in mutation.causes:
            continue
        given, cotangents = inputs(mutation.specimen, np.random.default_rng(seed), scale)
        before = results(module(source(mutation.specimen), mutation.specimen), given, cotangents)
        after = results(module(mutated(mutation), mutation.specimen), given, cotangents)
        assert before is not None, mutation.specimen
        if after is None or any(
            a.shape != b.shape or not np.allclose(a, b, rtol=1e-7) for a, b in zip(after, before, strict=True)
        ):
            return True
    return False


# What the program says


@dataclass(frozen=True)
class Outcome:
    """What was said of a mutation."""

    mutation: Mutation
    found: Diagnosis
    seconds: float

    @property
    def named(self) -> bool:
        """Whether an explanation has the right cause, of the right result, with the right word."""
        m = self.mutation
        if not m.about:  # made by a rule: everything that is wrong has to be explained so
            kinds = {e.cause for e in self.found.explanations}
            return bool(kinds & set(m.causes)) and Cause.UNEXPLAINED not in kinds
        return any(e.cause in m.causes and m.about in e.explains and m.says in e.text for e in self.found.explanations)

    @property
    def raises(self) -> bool:
        """Whether the code does not run, which says enough."""
        return any(e.cause is Cause.CRASH for e in self.found.explanations)


def asked(specimen: Specimen, text: str) -> Diagnosis:
    """Return what the program says of a text."""
    forward, backward = functions(module(text, specimen.name))
    return diagnose(specimen.layer, backward, forward=forward, shapes=dict(specimen.shapes))


def outcomes(mutations: Iterable[Mutation]) -> Iterator[Outcome]:
    """Yield what is said of every mutation that changes something."""
    by_name = {s.name: s for s in (*SPECIMENS, *HELD_OUT)}
    for mutation in mutations:
        if not changes(mutation):
            print(f"{mutation.specimen}: {mutation.new!r} for {mutation.old!r} changes nothing", file=sys.stderr)
            continue
        start = time.perf_counter()
        found = asked(by_name[mutation.specimen], mutated(mutation))
        yield Outcome(mutation, found, time.perf_counter() - start)


# Correct code


def correct(chosen: Collection[str]) -> Iterator[tuple[str, Diagnosis]]:
    """Yield what is said of code that is right: the specimens, in float32 too, generated modules, and autograd."""
    specimens = [s for s in (*SPECIMENS, *HELD_OUT) if s.name in chosen]
    for specimen in specimens:
        text = source(specimen.name)
        yield f"{specimen.name}, by hand", asked(specimen, text)
        forward, backward = functions(module(text, specimen.name))
        single = _single(backward)
        yield (
            f"{specimen.name}, by hand in float32",
            diagnose(
                specimen.layer,
                single,
                forward=None if forward is None else _single(forward),
                shapes=dict(specimen.shapes),
            ),
        )
    for layer in dict.fromkeys(s.layer for s in specimens):
        text, _ = derive.build(derive.load(layer))
        code = module(text, layer)
        yield f"{layer}, generated", diagnose(layer, code.backward, forward=code.forward)


def _single(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function with every float argument and result in float32."""
    import functools

    def cast(value: Any) -> Any:
        if isinstance(value, (np.ndarray, np.floating)) and value.dtype == np.float64:
            return value.astype(np.float32)
        if isinstance(value, tuple):
            return tuple(map(cast, value))
        return {k: cast(v) for k, v in value.items()} if isinstance(value, dict) else value

    @functools.wraps(function)
    def single(*args: Any, **kwargs: Any) -> Any:
        return cast(function(*map(cast, args), **{k: cast(v) for k, v in kwargs.items()}))

    return single


# The tables


def tables(title: str, about: str, found: list[Outcome]) -> list[str]:
    """Return the figures by specimen and by kind, and what was not named."""
    named = sum(o.named for o in found)
    lines = [f"## {title}", "", about, ""]
    lines += [
        f"- {len(found)} wrong backward passes, the right cause named of {named} ({named / max(len(found), 1):.1%}).",
        f"- Called right: {sum(o.found.right for o in found)}.",
        "",
    ]
    for heading, key in (("specimen", lambda o: o.mutation.specimen), ("mistake", lambda o: o.mutation.kind)):
        lines += [f"| {heading} | wrong | cause named | called right |", "| --- | ---: | ---: | ---: |"]
        for name in dict.fromkeys(map(key, found)):
            group = [o for o in found if key(o) == name]
            right = sum(o.found.right for o in group)
            lines.append(f"| {name} | {len(group)} | {sum(o.named for o in group)} | {right} |")
        lines.append("")
    missed = [o for o in found if not o.named]
    if missed:
        lines += ["Not named:", ""]
        for o in missed:
            said = "; ".join(f"{e.cause.value}: {e.text}" for e in o.found.explanations) or "right"
            expected = " or ".join(c.value for c in o.mutation.causes)
            what = (
                f"{o.mutation.specimen}, {o.mutation.kind} (`{o.mutation.new.strip()}` for `{o.mutation.old.strip()}`)"
            )
            lines.append(f"- {what}: expected {expected}; said {said}")
        lines.append("")
    return lines


CHOSEN = """Mistakes that people make, each with the name that it should be called by set beside it
(`benchmarks/mutations.py`). The search was built with these at hand: what it missed of them was looked at."""
RULES = """Mistakes made by rules of syntax wherever a rule applies, each rule saying beforehand what they are to be
called (`benchmarks/syntax.py`). Nobody chose them; many are no mistake that a person would make. A cause counts
as named where every wrong result is explained, and one explanation is of an expected kind. Code that no longer
runs is left out."""
HELD = """The same rules on layers that played no part while the search was built."""


def _reported(mutations: Iterable[Mutation], *, verbose: bool) -> list[Outcome]:
    found = []
    for o in outcomes(mutations):
        if o.raises:
            continue
        found.append(o)
        if verbose or not o.named:
            word = "named " if o.named else "MISSED"
            print(f"{word} {o.mutation.specimen:<16} {o.seconds:5.2f} s  {o.mutation.new.strip()!r} for", flush=True)
            print(f"        {o.mutation.old.strip()!r}, expected {' or '.join(c.value for c in o.mutation.causes)}")
            for e in o.found.explanations:
                print(f"        {e.cause.value}: {e.text} [{', '.join(e.explains)}]")
            if o.found.right:
                print("        right")
    return found


def main(argv: list[str]) -> int:
    """Run the benchmark."""
    verbose = "-v" in argv
    chosen = tuple(a for a in argv if not a.startswith("-")) or tuple(s.name for s in (*SPECIMENS, *HELD_OUT))
    lines = [
        "# Wrong backward passes and what `derive diagnose` says of them",
        "",
        "Made by `python benchmarks/diagnose.py`.",
        "",
    ]
    by_hand = _reported((m for m in MUTATIONS if m.specimen in chosen), verbose=verbose)
    lines += tables("Chosen mistakes", CHOSEN, by_hand)
    by_rule = _reported(by_syntax(source, [s for s in SPECIMENS if s.name in chosen]), verbose=verbose)
    lines += tables("Mistakes by rule", RULES, by_rule)
    held_out = _reported(by_syntax(source, [s for s in HELD_OUT if s.name in chosen]), verbose=verbose)
    lines += tables("Mistakes by rule in other layers", HELD, held_out)
    right = list(correct(chosen))
    wrong = [name for name, found in right if not found.right]
    lines += ["## Correct code", "", f"- {len(right)} correct backward passes; called wrong: {len(wrong)}.", ""]
    lines += [f"- {name}" for name, _ in right]
    text = "\n".join(lines) + "\n"
    print(text)
    if len(chosen) == len(SPECIMENS) + len(HELD_OUT):
        TABLE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

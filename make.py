"""Set up and run everything, with nothing but Python and its standard library.

    python3 make.py run     # make .venv, generate and check layers, train on real data
    python3 make.py test    # make .venv, lint, check types, run all tests
    python3 make.py setup   # make .venv only

What is installed comes from pyproject.toml; a second run reuses it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

RUN = (("examples/digits.py",),)
TEST = (
    ("-m", "ruff", "check", "."),
    ("-m", "mypy"),
    ("-m", "pytest", "-n", "auto"),
)


def main(argv: list[str] | None = None) -> int:
    """Run one task and return the exit status of its first command that fails, or 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["run", "test", "setup"])
    task = parser.parse_args(argv).task
    if sys.version_info < (3, 11):
        print("derive needs Python 3.11 or newer; this is", sys.version.split()[0], file=sys.stderr)
        return 2
    try:
        set_up("examples" if task == "run" else "test")
        for words in {"run": RUN, "test": TEST, "setup": ()}[task]:
            python(*words)
    except subprocess.CalledProcessError as failure:
        return failure.returncode
    except KeyboardInterrupt:
        return 130
    return 0


def set_up(extra: str) -> None:
    """Make the virtual environment and install the project with that group of extras, once."""
    project = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    stamp = VENV / f"derive-{extra}.stamp"
    if PYTHON.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == project:
        return
    if not PYTHON.exists():
        print("making .venv", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    print("installing what pyproject.toml asks for", flush=True)
    python("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--editable", f".[{extra}]")
    python("-m", "compileall", "-q", "derive")  # else every start compiles, where Python may not write bytecode
    stamp.write_text(project, encoding="utf-8")


def python(*words: str) -> None:
    """Run the environment's Python in the checkout.

    Raises:
        subprocess.CalledProcessError: it did not exit with 0.
    """
    subprocess.run([str(PYTHON), *words], cwd=ROOT, check=True)


if __name__ == "__main__":
    sys.exit(main())

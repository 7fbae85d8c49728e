"""Run every benchmark and write its tables and pictures to ``benchmarks/results``.

    python benchmarks/all.py            # about ten minutes; on a machine that does nothing else
    python benchmarks/all.py --quick    # a minute or two: to see that all works; figures are not to be kept
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"


def main() -> int:
    """Run them one after the other; return 1 where one fails."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few runs and small sizes")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder to write to")
    options = parser.parse_args()
    folder: Path = options.results
    folder.mkdir(parents=True, exist_ok=True)
    quick = ["--quick"] if options.quick else []
    jobs = (
        ["peers.py", "--write", str(folder / "peers.md"), *quick],
        ["scale.py", "--write", str(folder / "scale.md"), *quick],
        ["convolution.py", *(["--runs", "3"] if options.quick else [])],
        *([] if options.quick else [["recurrence.py"], ["derivation.py"]]),
    )
    failed = 0
    for script, *words in jobs:
        start = time.perf_counter()
        done = subprocess.run([sys.executable, str(HERE / script), *words], stdout=subprocess.PIPE, text=True)
        failed |= done.returncode != 0
        if "--write" not in words and done.returncode == 0:
            text = f"```\n{done.stdout.rstrip()}\n```\n"
            (folder / script).with_suffix(".md").write_text(text, encoding="utf-8")
        print(f"{script}: {'done' if done.returncode == 0 else 'failed'}, {time.perf_counter() - start:.0f} s")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

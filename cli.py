"""The ``derive`` command of a checkout: ``python cli.py generate batchnorm``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from derive.commands import main as main
from derive.commands import run

if __name__ == "__main__":
    run()

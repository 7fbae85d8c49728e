"""How a backward is written: for reading, for speed or for memory."""

from derive.tune.choose import Candidate, candidates, choose

__all__ = ["Candidate", "candidates", "choose"]

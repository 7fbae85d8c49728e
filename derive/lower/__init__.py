"""From index equations to whole-array operations: the array program."""

from derive.lower.program import lower

__all__ = ["lower"]

"""From the staged adjoints to the program that is written down."""

from derive.simplify.simplify import simplify

__all__ = ["simplify"]

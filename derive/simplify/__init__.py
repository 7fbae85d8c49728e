"""From the staged adjoints to the program that is written down."""

from derive.simplify.further import with_passes
from derive.simplify.simplify import simplify

__all__ = ["simplify", "with_passes"]

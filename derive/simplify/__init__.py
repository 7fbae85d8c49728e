"""From the staged adjoints to the program that is written down."""

from derive.simplify.further import with_passes
from derive.simplify.saturated import without_saturation
from derive.simplify.simplify import Form, simplify

__all__ = ["Form", "simplify", "with_passes", "without_saturation"]

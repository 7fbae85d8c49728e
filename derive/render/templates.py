"""The one Jinja environment: strict, trimmed, for text of any kind."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

__all__ = ["environment"]


@cache
def environment(folder: str) -> Environment:
    """Return the environment of ``templates/<folder>``: beside the package in a checkout, inside it in a wheel.

    In ``latex`` the marks are ``<% %>``, ``<< >>`` and ``<# #>``: TeX is full of braces, percent signs and hashes.
    """
    inside = Path(str(files("derive"))) / "templates"
    root = inside if inside.is_dir() else inside.parent.parent / "templates"
    tex = folder == "latex"
    return Environment(
        loader=FileSystemLoader(root / folder),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
        block_start_string="<%" if tex else "{%",
        block_end_string="%>" if tex else "%}",
        variable_start_string="<<" if tex else "{{",
        variable_end_string=">>" if tex else "}}",
        comment_start_string="<#" if tex else "{#",
        comment_end_string="#>" if tex else "#}",
    )

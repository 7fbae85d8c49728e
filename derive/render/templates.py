"""The one Jinja environment: strict, trimmed, for text of any kind."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

__all__ = ["environment", "source_text"]


def _folder(name: str) -> Path:
    """Return ``templates/<name>``: beside the package in a checkout, inside it in a wheel."""
    inside = Path(str(files("derive"))) / "templates"
    return (inside if inside.is_dir() else inside.parent.parent / "templates") / name


def source_text(folder: str, name: str) -> str:
    """Return a file of ``templates/<folder>`` that is handed on as it stands."""
    return (_folder(folder) / name).read_text(encoding="utf-8")


@cache
def environment(folder: str) -> Environment:
    """Return the environment of ``templates/<folder>``.

    In ``latex`` the marks are ``<% %>``, ``<< >>`` and ``<# #>``: TeX is full of braces, percent signs and hashes.
    """
    tex = folder == "latex"
    return Environment(
        loader=FileSystemLoader(_folder(folder)),
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

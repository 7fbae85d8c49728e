"""Rewriting a layer's forward statements to stable primitives before differentiation."""

from __future__ import annotations

from derive.stability.stabilize import PHASES, stabilize

__all__ = ["PHASES", "stabilize"]

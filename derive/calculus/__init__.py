"""From a layer to its program: forward statements and the adjoint of every name."""

from derive.calculus.program import Equation, Program, Stage, Step

__all__ = ["Equation", "Program", "Stage", "Step"]

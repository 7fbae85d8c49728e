"""Fused loop nests: a ``Program`` as the loops of a C function (see :mod:`derive.nests.nodes`)."""

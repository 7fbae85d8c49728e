"""Timing a layer's backward pass beside other ways to compute it."""

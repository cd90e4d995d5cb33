"""Measure models, keep what was measured, and conclude from it."""

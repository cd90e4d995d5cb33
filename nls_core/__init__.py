"""NLS Lab: see and check what normalized soft labels do to an image classifier."""

__version__ = "0.1.0"

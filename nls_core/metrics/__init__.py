"""Pure functions of predictions and maps: calibration, ranks, intervals, similarity."""

from nls_core.metrics.calibration import METRICS

__all__ = ["METRICS"]

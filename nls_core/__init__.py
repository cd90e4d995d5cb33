"""NLS Lab: see and check what normalized soft labels do to an image classifier.

The public names are imported when they are asked for, so that `nls --help` waits for no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
# name -> the module that has it
_PUBLIC = {
    "ATTACKS": "nls_core.attacks",
    "CAMS": "nls_core.cams",
    "LOSSES": "nls_core.losses",
    "METRICS": "nls_core.metrics",
    "decode_image": "nls_core.images",
    "load": "nls_core.zoo",
    "with_padding": "nls_core.nets",
}
__all__ = ["__version__", *_PUBLIC]  # noqa: PLE0604 - they are strings


def __getattr__(name: str) -> Any:
    """Import a public name at its first use."""
    if name not in _PUBLIC:
        raise AttributeError(
            f"module 'nls_core' has no attribute {name!r}; expected one of {__all__}"
        )
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)

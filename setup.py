"""What a wheel holds beside the code: models, examples and style sheet, in nls_core/shipped.

Further seeds stay in the repository: no page needs their weights.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

LEFT_OUT = ("seeds", "__pycache__")


class WithFiles(build_py):
    """Copies `models` and `static` into what is built; an editable install reads them in place."""

    def run(self) -> None:
        """Build, then copy."""
        super().run()
        if not self.editable_mode:
            for name in ("models", "static"):
                target = Path(self.build_lib, "nls_core", "shipped", name)
                shutil.rmtree(target, ignore_errors=True)
                shutil.copytree(name, target, ignore=shutil.ignore_patterns(*LEFT_OUT))


setup(cmdclass={"build_py": WithFiles})

"""Two local processes, as torchrun starts them on several machines."""

from __future__ import annotations

import subprocess
import sys

from nls_core.settings import ROOT

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def in_two_processes(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What a module, run by both, printed; it must end well."""
    done = subprocess.run(
        [sys.executable, *TORCHRUN, "-m", module, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done

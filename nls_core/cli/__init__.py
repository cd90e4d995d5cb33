"""The command `nls`: one file a command, and `entry`, which finds and runs them."""

from nls_core.cli.entry import app, main

__all__ = ["app", "main"]

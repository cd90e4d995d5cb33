"""`python -m nls_core` is `nls`."""

from nls_core.cli.entry import main

main()

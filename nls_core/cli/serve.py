"""`nls serve`: the web page and the REST API."""

from __future__ import annotations

from typing import Annotated

import typer

from nls_core.settings import Settings
from nls_core.web import startup


def command(
    *,
    host: Annotated[str | None, typer.Option(help="Default: NLS_HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="Default: NLS_PORT, 7860.")] = None,
) -> None:
    """Serve the web page and the REST API."""
    chosen = {"host": host, "port": port}
    given = {key: value for key, value in chosen.items() if value is not None}
    settings = Settings().model_copy(update=given)
    listener = startup.prepare(settings)
    with startup.without_stubs():
        from nls_core.web import server  # Gradio takes seconds to import; training does not need it

    server.serve(settings, listener)

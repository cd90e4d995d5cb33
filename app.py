"""The whole app: `python app.py` serves it; a Space (Docker or Gradio SDK) runs this file too."""

from nls_core.settings import Settings
from nls_core.web.startup import prepare, without_stubs


def main() -> None:
    """Serve as the environment's NLS_... settings say."""
    settings = Settings()
    try:
        listener = prepare(settings)  # before the seconds that libraries and models take to load
    except OSError as error:
        raise SystemExit(str(error)) from None
    with without_stubs():
        from nls_core.web.server import serve  # noqa: PLC0415

    serve(settings, listener)


if __name__ == "__main__":
    main()

"""The whole app: `python app.py` serves it; a Space (Docker or Gradio SDK) runs this file too."""

from nls_core.server import create_app, serve
from nls_core.settings import Settings

settings = Settings()
app = create_app(settings)

if __name__ == "__main__":
    serve(app, settings)

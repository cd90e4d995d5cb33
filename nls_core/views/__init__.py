"""Results as words, pixels, charts and HTML, without Gradio and without FastAPI."""

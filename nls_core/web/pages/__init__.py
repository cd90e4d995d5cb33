"""The pages: Gradio components, one file a page."""

# The Space and any other container: the Makefile's steps (`make install`, then `python app.py`).
FROM python:3.12-slim

# Index of torch's wheels; a CPU-only one keeps the image small. On a Space, set it as a variable.
ARG TORCH_INDEX=""

# make is wanted in whatever version Debian has
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 user

USER 1000
WORKDIR /home/user/app
COPY --chown=1000 pyproject.toml setup.py Makefile README.md ./
COPY --chown=1000 nls_core/__init__.py nls_core/__init__.py
RUN make install TORCH_INDEX="${TORCH_INDEX}" && rm -rf /home/user/.cache/pip

COPY --chown=1000 app.py ./
COPY --chown=1000 nls_core nls_core
COPY --chown=1000 static static
COPY --chown=1000 models models

ENV NLS_HOST=0.0.0.0 \
    NLS_PORT=7860 \
    GRADIO_ANALYTICS_ENABLED=False \
    MALLOC_ARENA_MAX=1 \
    PYTHONUNBUFFERED=1
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD [".venv/bin/python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/healthz', timeout=4)"]
CMD [".venv/bin/python", "app.py"]

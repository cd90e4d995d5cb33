# The Space and any other container: the Makefile's steps (`make install`, then `python app.py`).
# To build on exactly one base, name its digest: --build-arg BASE=python:3.12-slim@sha256:…
ARG BASE=python:3.12-slim

FROM ${BASE} AS builder
# Index of torch's wheels; a CPU-only one keeps the image small. On a Space, set it as a variable.
ARG TORCH_INDEX=""
# Empty: the newest versions that fit.
ARG CONSTRAINTS="constraints.txt"

# make is wanted in whatever version Debian has
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /home/user/app
COPY pyproject.toml setup.py Makefile README.md constraints.txt ./
COPY nls_core/__init__.py nls_core/__init__.py
RUN make install TORCH_INDEX="${TORCH_INDEX}" CONSTRAINTS="${CONSTRAINTS}" && rm -rf /root/.cache/pip

# hadolint ignore=DL3006
FROM ${BASE}
RUN useradd --create-home --uid 1000 user
WORKDIR /home/user/app
COPY --from=builder /home/user/app/.venv .venv
COPY app.py ./
COPY nls_core nls_core
COPY static static
COPY models models
RUN .venv/bin/python -m compileall -q nls_core

# nothing of the above is this user's: uploads go to /tmp, and the rest may be read-only
USER 1000
ENV NLS_HOST=0.0.0.0 \
    NLS_PORT=7860 \
    GRADIO_ANALYTICS_ENABLED=False \
    MALLOC_ARENA_MAX=1 \
    PYTHONUNBUFFERED=1
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD [".venv/bin/python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/healthz', timeout=4)"]
CMD [".venv/bin/python", "app.py"]

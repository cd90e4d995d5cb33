"""The compute tier on Ray Serve, of the extra `ray`: replicas of REST, each a process of its own.

`serve run nls_core.ray_app:app` deploys it on the cluster of RAY_ADDRESS, or on a new one;
`python -m nls_core.ray_app` on this machine alone, at NLS_HOST:NLS_PORT. docs/scaling.md has more.

A full replica refuses by itself, with a problem and Retry-After, long before Ray's own limits.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

import ray
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict
from ray import serve
from ray.serve import Application

from nls_core.settings import Settings

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
# of Ray's own helpers, which take over 30 s on a busy machine, after which it would give up
os.environ.setdefault("RAY_agent_register_timeout_ms", "120000")

if TYPE_CHECKING:
    from fastapi import FastAPI


class Scale(BaseSettings):
    """How many replicas, and what each gets."""

    model_config = SettingsConfigDict(env_prefix="NLS_RAY_", frozen=True)

    min_replicas: int = Field(1, ge=0, description="that are always there")
    max_replicas: int = Field(
        default_factory=lambda: os.cpu_count() or 1, ge=1, description="that load may lead to"
    )
    ongoing: float = Field(2, gt=0, description="requests at one replica that others are added for")
    cpus: float = Field(1, gt=0, description="cores of a replica; it computes with as many threads")
    gpus: float = Field(0, ge=0, description="GPUs of a replica; parts of one may be shared")


def build() -> FastAPI:
    """The app of one replica, made in its process; whoever deploys it needs no PyTorch."""
    from nls_core.analysis.memory import one_arena  # noqa: PLC0415
    from nls_core.web import logs  # noqa: PLC0415
    from nls_core.web.rest.backend import create_backend  # noqa: PLC0415

    one_arena()
    settings = Settings()
    logs.configure(settings.scratch_dir)
    return create_backend(settings)


def deployment(settings: Settings, scale: Scale) -> Application:
    """The replicas; those on other machines get the settings of this environment too."""
    own = {name: value for name, value in os.environ.items() if name.startswith("NLS_")}
    made = serve.deployment(
        name="nls",
        max_ongoing_requests=4 * settings.max_queue,  # most of them are being refused
        max_queued_requests=16 * settings.max_queue,
        health_check_timeout_s=60,  # PyTorch may hold the interpreter for a while
        ray_actor_options={
            "num_cpus": scale.cpus,
            "num_gpus": scale.gpus,
            "runtime_env": {"env_vars": own},
        },
        autoscaling_config={
            "min_replicas": scale.min_replicas,
            "max_replicas": scale.max_replicas,
            "target_ongoing_requests": scale.ongoing,
        },
    )
    application: Application = made(serve.ingress(build)()).bind()
    return application


app = deployment(Settings(), Scale())


def main() -> None:
    """Serve on this machine alone until stopped."""
    settings, ended = Settings(), threading.Event()
    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": settings.host, "port": settings.port})
    serve.run(app)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    ended.wait()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()

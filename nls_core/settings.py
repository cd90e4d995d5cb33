"""Settings of a deployment, from NLS_... environment variables; passed in, never a global."""

from __future__ import annotations

import ipaddress
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

if TYPE_CHECKING:
    import torch

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = Path(__file__).resolve().parent / "shipped"  # of a wheel, by setup.py
# where models and static files are: in an installed package inside it, in a checkout beside it
HOME = SHIPPED if SHIPPED.is_dir() else ROOT


def _scratch() -> Path:
    """A folder of this user's below the system's temporary folder."""
    return Path(tempfile.gettempdir()) / f"nls-lab-{os.getuid()}"


class Settings(BaseSettings):
    """What differs from one deployment to the next; nothing about methods or models."""

    model_config = SettingsConfigDict(env_prefix="NLS_", frozen=True)

    models_dir: Path = Field(HOME / "models", description="where the checkpoints are")
    data_dir: Path = Field(
        Path("data") if HOME == SHIPPED else ROOT / "data",
        description="where data sets are looked for and put; of a wheel, in the current folder",
    )
    static_dir: Path = Field(HOME / "static", description="examples, style sheet and icons")
    backend_url: str = Field(
        "", pattern=r"^(https?://[^\s?#]+)?$", description="where models run; empty: here"
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where models run")
    threads: int = Field(0, ge=0, description="torch threads at most; 0: torch's own choice")
    max_upload_bytes: int = Field(10_000_000, gt=0, description="byte cap of an upload")
    max_pixels: int = Field(40_000_000, gt=0, description="pixel cap of an upload")
    max_queue: int = Field(16, gt=0, description="analyses that may wait or run")
    max_seconds: float = Field(
        120, gt=0, description="computing time of an analysis; beyond it is refused, or stopped"
    )
    max_cache_bytes: int = Field(
        96_000_000, ge=0, description="what was computed and rendered, kept for those who look"
    )
    max_model_bytes: int = Field(
        80_000_000, ge=0, description="models kept in memory; the last one used always is"
    )
    host: str = Field(
        default_factory=lambda: "0.0.0.0" if "SPACE_ID" in os.environ else "127.0.0.1",  # noqa: S104
        description="address to listen on; on a Hugging Face Space all, else this machine only",
    )
    port: int = Field(7860, ge=1, le=65535)
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="further names under which the app is reached, comma-separated; '*' is any",
    )
    scratch_dir: Path = Field(
        default_factory=_scratch, description="where uploads and exports lie for a while"
    )
    max_disk_bytes: int = Field(1_000_000_000, gt=0, description="byte cap of scratch_dir")
    min_free_bytes: int = Field(
        100_000_000, ge=0, description="what its disk must have free to accept an upload"
    )
    scratch_seconds: int = Field(3600, gt=0, description="age at which uploads are deleted")
    read_seconds: int = Field(30, gt=0, description="time in which a request has to arrive")
    max_connections: int = Field(512, gt=0, description="connections that may be open at once")
    rate_limit: str = Field(
        default_factory=lambda: "" if "SPACE_ID" in os.environ else "1800/minute",
        description="requests of one address, as in '10/second;100/minute'; empty: any number. "
        "On a Hugging Face Space empty, where all visitors come by the addresses of its proxy",
    )
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="addresses and networks, comma-separated, of proxies that say in "
        "X-Forwarded-For for whom they ask",
    )

    def torch_device(self) -> torch.device:
        """The device that `device` names; 'auto' is the GPU when there is one."""
        import torch  # noqa: PLC0415 - takes seconds; a port in use is reported before

        auto = "cuda" if torch.cuda.is_available() else "cpu"
        return torch.device(auto if self.device == "auto" else self.device)

    @field_validator("device")
    @classmethod
    def _is_there(cls, device: str) -> str:
        if device == "cuda":
            import torch  # noqa: PLC0415 - as above

            if not torch.cuda.is_available():
                raise ValueError("torch finds no GPU here; use auto or cpu")
        return device

    @field_validator("allowed_hosts", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, hosts: Any) -> Any:
        if isinstance(hosts, str):
            return tuple(name.strip().lower() for name in hosts.split(",") if name.strip())
        return hosts

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(ipaddress.ip_network(proxy, strict=False)) for proxy in proxies)

    @field_validator("rate_limit")
    @classmethod
    def _is_a_rate(cls, limit: str) -> str:
        if limit:
            from limits import parse_many  # noqa: PLC0415 - a tenth of a second

            try:
                parse_many(limit)
            except ValueError:
                raise ValueError("expected a rate such as 120/minute, or nothing") from None
        return limit

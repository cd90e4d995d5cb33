"""The folder of uploads and exports: capped, aged, private, and full."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from nls_core.errors import DiskFull
from nls_core.settings import Settings
from nls_core.web.edge import scratch
from tests.conftest import TINY
from tests.helpers.rest import post
from tests.helpers.whole import whole_app
from tests.security.served import API, Served, serving

CAP = 30_000_000


@pytest.fixture(scope="module")
def small(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The real app with little room."""
    folder = tmp_path_factory.mktemp("small")
    caps = {"NLS_MAX_DISK_BYTES": str(CAP), "NLS_MAX_UPLOAD_BYTES": str(2 * CAP)}
    with serving(folder, NLS_MODELS_DIR=str(models_dir), **caps) as app:
        yield app


def used(served: Served) -> int:
    """Bytes on the disk in the app's scratch folder."""
    folder = served.log.parent / "scratch"
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def test_uploads_stay_under_the_cap_and_the_oldest_go(small: Served) -> None:
    first = small.upload(os.urandom(3_000_000)).json()[0]
    shown = small.ask("GET", "/ui/config").text
    for _ in range(20):
        last = small.upload(os.urandom(3_000_000))
        assert last.status == 200
        assert used(small) <= CAP + 3_000_000
    assert not Path(first).exists()
    assert Path(last.json()[0]).exists()
    # the pictures of the page itself are kept
    assert small.ask("GET", "/ui/config").text == shown
    assert all(p in shown for p in (str(small.log.parent / "scratch"),))


def test_what_can_never_fit_is_507(small: Served) -> None:
    answer = small.upload(bytes(CAP + 1))
    assert answer.status == 507
    assert answer.json()["title"] == "Disk full"
    assert "NLS_MAX_DISK_BYTES" in answer.json()["detail"]


def test_a_small_file_does_not_become_a_large_one(small: Served) -> None:
    # one bit a pixel, called BMP: Gradio would write it again as RGB, 24 times as large
    buffer = io.BytesIO()
    Image.new("1", (6000, 6000)).save(buffer, "PNG")
    assert len(buffer.getvalue()) < 22_000
    path = small.upload(buffer.getvalue(), "a.bmp").json()[0]
    before = used(small)
    file = {"path": path, "orig_name": "a.bmp", "meta": {"_type": "gradio.FileData"}}
    small.call([file, *TINY, "fgsm", "gradcam"])
    assert used(small) - before < 1_000_000


def test_a_full_disk_is_told_by_uploads_rest_and_readiness(
    models_dir: Path, tmp_path: Path
) -> None:
    scratch_dir = tmp_path / "scratch"
    settings = Settings(models_dir=models_dir, scratch_dir=scratch_dir, min_free_bytes=10**15)
    with whole_app(settings) as app:
        uploaded = app.post(f"{API}/upload", files={"files": ("a.png", b"a")})
        for answer in (uploaded, post(app)):
            assert answer.status_code == 507
            assert answer.json()["type"] == "/docs#disk-full"
            assert "NLS_MIN_FREE_BYTES" in answer.json()["detail"]
        ready = app.get("/readyz")
        assert ready.status_code == 503
        assert "bytes free" in ready.json()["detail"]
        assert str(tmp_path) not in ready.text
        assert app.get("/healthz").status_code == 200
        assert app.get(f"{API}/info").status_code == 200


def test_what_is_old_goes_and_what_is_pinned_stays(tmp_path: Path) -> None:
    settings = Settings(scratch_dir=tmp_path / "s", scratch_seconds=1, min_free_bytes=0)
    kept = scratch.fresh(settings, "kept.json")
    kept.write_text("a")
    sweeper = scratch.Sweeper(settings)
    sweeper.pin()
    export = scratch.fresh(settings, "export.json")
    export.write_text("b")
    assert sweeper.sweep() > 0
    assert export.exists()
    time.sleep(1.1)
    sweeper.sweep()
    assert kept.exists()
    assert not export.exists()
    time.sleep(1.1)
    sweeper.sweep()  # its folder was changed by the deletion, and is old now
    assert not export.parent.exists()


def test_exports_need_room(tmp_path: Path) -> None:
    settings = Settings(scratch_dir=tmp_path / "s", min_free_bytes=10**15)
    with pytest.raises(DiskFull, match="NLS_SCRATCH_DIR"):
        scratch.fresh(settings, "export.json")


def test_the_folder_is_private_and_no_link(tmp_path: Path) -> None:
    folder = scratch.folder(Settings(scratch_dir=tmp_path / "own"))
    assert folder.stat().st_mode & 0o077 == 0
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(OSError, match="folder of this user"):
        scratch.folder(Settings(scratch_dir=tmp_path / "link"))

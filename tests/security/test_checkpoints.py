"""Checkpoints: no flipped bit loads, a full disk harms nothing, exit statuses name the signal."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nls_core import files
from nls_core.errors import CheckpointError, NotWritten
from nls_core.settings import ROOT
from nls_core.training import checkpoints, loop, publish
from nls_core.training.checkpoints import BEST, LAST, Position
from tests.helpers.launching import TORCHRUN
from tests.helpers.site import with_separable
from tests.helpers.steps import RECIPE, separable, write_folder

SHORT = replace(RECIPE, epochs=3, batch_size=16, freeze_bn=False)
FLIPS = 400


# ---------------------------------------------------------------- damage


@pytest.mark.parametrize("name", [LAST, BEST])
def test_no_flipped_bit_loads(name: str, tmp_path: Path) -> None:
    loop.run(SHORT, tmp_path, separable())
    path = tmp_path / name
    whole = path.read_bytes()
    generator = torch.Generator().manual_seed(0)
    places = torch.randint(0, 8 * len(whole), (FLIPS,), generator=generator).tolist()
    seal = 8 * (len(whole) - len(files.checksum(b"")))  # each bit of the checksum itself, too
    for place in [*places, *range(seal, 8 * len(whole)), 0]:
        changed = bytearray(whole)
        changed[place // 8] ^= 1 << place % 8
        path.write_bytes(changed)
        with pytest.raises(CheckpointError, match=r"is damaged \(.*checksum"):
            checkpoints.read(path, SHORT)
    path.write_bytes(whole)
    assert checkpoints.read(path, SHORT)["model"]


@pytest.mark.parametrize("kept", [0, 1, 50, 81, 5000, -1, -82, -5000])
def test_a_cut_checkpoint_is_refused(kept: int, tmp_path: Path) -> None:
    loop.run(SHORT, tmp_path, separable(), max_steps=1)
    path = tmp_path / LAST
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"last\.pt is damaged .*remove it to train anew"):
        loop.run(SHORT, tmp_path, separable(), resume=True)


def test_a_checkpoint_of_an_older_version_is_refused_in_words(tmp_path: Path) -> None:
    loop.run(SHORT, tmp_path, separable(), max_steps=1)
    torch.save(torch.load(tmp_path / LAST, weights_only=True), tmp_path / LAST)
    with pytest.raises(CheckpointError, match=r"no checksum .* made by an older version"):
        loop.run(SHORT, tmp_path, separable(), resume=True)


# ---------------------------------------------------------------- the disk


def full(path: Path) -> Path:
    """Let the next write of a file meet a full disk: the kernel's own ENOSPC."""
    partial = path.with_name(path.name + files.PARTIAL)
    partial.symlink_to("/dev/full")
    return partial


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "last.pt"
    files.write_bytes(path, b"before")
    partial = full(path)
    with pytest.raises(NotWritten, match=r"runs/last\.pt: No space left .* unchanged") as raised:
        files.write_bytes(path, b"after" * 100_000)
    assert isinstance(raised.value.__cause__, OSError)
    assert raised.value.__cause__.errno == errno.ENOSPC
    assert str(tmp_path) not in str(raised.value)
    assert path.read_bytes() == b"before"
    assert not partial.is_symlink()
    files.write_bytes(path, b"after")
    assert path.read_bytes() == b"after"


def test_a_full_disk_in_training_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    def fill(position: Position, steps: int) -> None:
        if position.epoch == 1 and not saved:
            saved.append((tmp_path / LAST).read_bytes())
            full(tmp_path / LAST)

    saved: list[bytes] = []
    with pytest.raises(NotWritten, match="No space left on device"):
        loop.run(SHORT, tmp_path, separable(), progress=fill)
    assert saved == [(tmp_path / LAST).read_bytes()]
    assert not list(tmp_path.glob("*.partial"))
    resumed = loop.run(SHORT, tmp_path, separable(), resume=True)
    whole = loop.run(SHORT, tmp_path / "whole", separable())
    assert [row["val_nll"] for row in resumed.rows] == [row["val_nll"] for row in whole.rows]


def test_every_file_is_synced_before_its_name_and_its_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    sync, rename = os.fsync, Path.replace

    def fsync(number: int) -> None:
        seen.append(Path(os.readlink(f"/proc/self/fd/{number}")).name)
        sync(number)

    def replace_(self: Path, to: Path) -> Path:
        seen.append(f"{self.name} -> {to.name}")
        return rename(self, to)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace_)
    files.write_bytes(tmp_path / "run" / "x", b"1")
    assert seen == ["x.partial", "x.partial -> x", "run"]


def test_leftovers_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    loop.run(SHORT, tmp_path, separable(), max_steps=1)
    for name in ("last.pt.partial", "best.partial"):
        (tmp_path / name).write_bytes(b"half")
    loop.run(SHORT, tmp_path, separable(), resume=True)
    assert not list(tmp_path.glob("*.partial"))


# ---------------------------------------------------------------- the command


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """`nls train` of a tiny net that never ends by itself, into `run`."""
    data = with_separable(monkeypatch, tmp_path / "site")
    options = "--arch smallresnet-8 --epochs 100000 --batch-size 16 --lr 0.05 --no-amp --quiet"
    where = ["--dataset", data, "--out", str(tmp_path / "run")]
    return ["-m", "nls_core", "train", *options.split(), *where]


def start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.02)


def test_a_full_disk_ends_the_command_with_one_line(command: list[str], tmp_path: Path) -> None:
    process = start(command)
    run = tmp_path / "run"
    wait_for(run / LAST, process)
    while process.poll() is None:  # a file of that name may be there for a moment
        try:
            full(run / LAST)
            break
        except FileExistsError:
            continue
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 1, errors
    assert len(errors.splitlines()) == 1
    assert "cannot write run/last.pt: No space left on device" in errors
    files.read_checkpoint(run / LAST)


def test_a_limit_on_file_sizes_ends_the_command_with_one_line(command: list[str]) -> None:
    process = start([*command, "--arch", "smallresnet-24"])
    limit = 300_000  # bytes; less than a checkpoint of this net, more than a file of coverage
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, limit))
    errors = process.communicate(timeout=120)[1]
    assert process.returncode == 1, errors
    assert len(errors.splitlines()) == 1
    assert "File too large; what was there before is unchanged" in errors


def test_two_processes_stop_together_with_one_line(command: list[str], tmp_path: Path) -> None:
    """A child of torchrun gets the signal, as from a terminal; SIGTERM comes by torchrun below."""
    process = start([*TORCHRUN, *command])
    wait_for(tmp_path / "run" / LAST, process)
    # one child is enough: they vote at each step
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGINT)
    errors = process.communicate(timeout=120)[1]
    ours = [line for line in errors.splitlines() if line.startswith("nls: ")]
    assert len(ours) == 1, errors
    assert "stopped by SIGINT; saved in epoch" in ours[0]
    assert f"exitcode  : {128 + signal.SIGINT}" in errors
    assert files.read_checkpoint(tmp_path / "run" / LAST)["progress"]["epoch"] >= 1


def test_sigterm_to_torchrun_itself_saves_too(command: list[str], tmp_path: Path) -> None:
    process = start([*TORCHRUN, *command])
    wait_for(tmp_path / "run" / LAST, process)
    process.terminate()
    errors = process.communicate(timeout=120)[1]
    assert process.returncode != 0
    assert "nls: stopped by SIGTERM; saved in epoch" in errors
    assert files.read_checkpoint(tmp_path / "run" / LAST)["progress"]["epoch"] >= 1


def test_a_signal_before_the_training_is_told_too(command: list[str], tmp_path: Path) -> None:
    """While the data set is read: a named pipe in it waits for ever."""
    images = write_folder(separable(), tmp_path / "images")
    pipe = images / "left" / "000.png"
    pipe.unlink()
    os.mkfifo(pipe)
    process = start([*command, "--dataset", f"imagefolder:{images}?size=28"])
    with pipe.open("wb"):  # returns once the other side reads
        process.terminate()
        errors = process.communicate(timeout=60)[1]
    assert process.returncode == 143, errors
    assert (
        errors == "nls: stopped by SIGTERM; what was saved before is whole; go on with --resume\n"
    )


# ---------------------------------------------------------------- the log of a run


@pytest.mark.parametrize(
    "text", ["", "epoch,val_accuracy\n", "epoch,val_accuracy\n1\n", "a,b\n1,2\n", "\0\n1\n", "é\n1"]
)
def test_a_damaged_log_is_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "log.csv").write_text(text, encoding="latin-1")
    with pytest.raises(CheckpointError, match=r"^run/log\.csv is damaged: .+$"):
        publish.rows(tmp_path / "run" / "log.csv")

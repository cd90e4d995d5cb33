"""Push what a Docker Space needs to a git remote, as one commit of the files as they are committed.

    python scripts/deploy_space.py https://huggingface.co/spaces/owner/name --space owner/name

A Space has no use for tests and history, and its preview needs a whole address: with --space the
front matter of README.md gets a thumbnail. The remote's branch is replaced.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path

LEFT_OUT = ("tests", ".ci")
PICTURE = "docs/images/compare-desktop.png"


def git(*arguments: str, folder: Path) -> str:
    """Run git in a folder; gives what it prints."""
    done = subprocess.run(  # noqa: S603 - what who runs it says
        ["git", *arguments],  # noqa: S607 - git is where PATH says
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def with_thumbnail(readme: str, space: str) -> str:
    """README.md with a thumbnail in its front matter."""
    address = f"https://huggingface.co/spaces/{space}/resolve/main/{PICTURE}"
    before, front, rest = readme.split("---\n", 2)
    return f"{before}---\n{front}thumbnail: {address}\n---\n{rest}"


def deploy(remote: str, *, space: str | None, branch: str, source: Path) -> str:
    """Push; gives the name of the commit that was taken from `source`."""
    if git("status", "--porcelain", folder=source):
        raise SystemExit("expected a clean working tree; commit, or stash, what is changed")
    commit = git("rev-parse", "--short", "HEAD", folder=source)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        git("clone", "--depth", "1", f"file://{source.resolve()}", name, folder=source)
        git("checkout", "--orphan", "space", folder=folder)
        git("rm", "-rqf", "--ignore-unmatch", *LEFT_OUT, folder=folder)
        if space:
            readme = folder / "README.md"
            text = with_thumbnail(readme.read_text(encoding="utf-8"), space)
            readme.write_text(text, encoding="utf-8")
        git("add", "-A", folder=folder)
        git("commit", "-qm", f"NLS Lab at {commit}", folder=folder)
        git("push", "--force", remote, f"HEAD:{branch}", folder=folder)
    return commit


def main() -> None:
    """Read the command line and push."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("remote", help="address of the Space's repository")
    parser.add_argument("--space", help="owner/name, for the thumbnail")
    parser.add_argument("--branch", default="main")
    given = parser.parse_args()
    source = Path(__file__).resolve().parent.parent
    commit = deploy(given.remote, space=given.space, branch=given.branch, source=source)
    print(f"pushed {commit} to {given.remote}")  # noqa: T201


if __name__ == "__main__":
    main()

"""Which commit the package's own source is of."""

import json
import os
import subprocess
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

NAME = "maclcore"


def of_checkout(package: Path) -> str:
    """The commit of the repository whose `maclcore/` the folder `package` is, with "+" if that was
    changed since; "" for a copy that lies in another repository, or in none."""
    root = package.parent
    try:
        project = tomllib.loads(_git(root, "show", "HEAD:./pyproject.toml")).get("project", {})
        own = project.get("name") == NAME == package.name
        if not own or not root.samefile(_git(root, "rev-parse", "--show-toplevel")):
            return ""
        changed = _git(root, "status", "--porcelain", "--", NAME)
        return _git(root, "rev-parse", "--short=10", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError, ValueError):
        return ""


def day(package: Path, commit: str) -> str:
    """The day of a commit of that repository, such as 2026-11-24; "" if it is not known there."""
    if not commit or not of_checkout(package):
        return ""
    try:
        return _git(package.parent, "show", "--no-patch", "--format=%cs", commit.rstrip("+"))
    except (OSError, subprocess.CalledProcessError):
        return ""


def of_installation(package: Path) -> str:
    """The commit from which the folder `package` was installed, if that was from a repository's
    address; else ""."""
    try:
        installed = distribution(NAME)
        if not package.samefile(str(installed.locate_file(NAME))):  # another copy is installed
            return ""
        origin = json.loads(installed.read_text("direct_url.json") or "{}")
        return origin.get("vcs_info", {}).get("commit_id", "")[:10]
    except (PackageNotFoundError, OSError, ValueError):
        return ""


def _git(root: Path, *words: str) -> str:
    # as a git hook runs it, the environment names the repository that is being worked on
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    command = ["git", "--no-optional-locks", "-C", str(root), *words]
    done = subprocess.run(command, capture_output=True, check=True, env=environment)
    return done.stdout.decode().strip()

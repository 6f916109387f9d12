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
    # as a git hook runs it, the environment names the repository that is being worked on
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}

    def git(*words: str) -> str:
        command = ["git", "--no-optional-locks", "-C", str(root), *words]
        done = subprocess.run(command, capture_output=True, check=True, env=environment)
        return done.stdout.decode().strip()

    try:
        project = tomllib.loads(git("show", "HEAD:./pyproject.toml")).get("project", {})
        own = project.get("name") == NAME == package.name
        if not own or not root.samefile(git("rev-parse", "--show-toplevel")):
            return ""
        changed = git("status", "--porcelain", "--", NAME)
        return git("rev-parse", "--short=10", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError, ValueError):
        return ""


def of_installation(package: Path) -> str:
    """The commit from which the folder `package` was installed, if that was from a repository's
    address; else ""."""
    try:
        installed = distribution(NAME)
        if not package.samefile(installed.locate_file(NAME)):  # another copy is installed
            return ""
        origin = json.loads(installed.read_text("direct_url.json") or "{}")
        return origin.get("vcs_info", {}).get("commit_id", "")[:10]
    except (PackageNotFoundError, OSError, ValueError):
        return ""

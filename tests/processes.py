"""Python in another process, as a user starts it."""

import os
import pathlib
import subprocess
import sys

PROJECT = pathlib.Path(__file__).resolve().parents[1]


def run_python(*arguments, status=0, timeout=300, **options):
    """Runs `python *arguments` and checks its exit status.

    Args:
        *arguments: As on the command line: a file, or `"-c"` and code, and what follows.
        status: The exit status expected.
        timeout: Seconds until it is killed and the test fails.
        **options: Environment variables (upper case) and options of `subprocess.run`.

    Returns:
        The `subprocess.CompletedProcess`, with its output as text.
    """
    finished = subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        timeout=timeout,
        encoding="utf-8",
        **_split(options),
    )
    assert finished.returncode == status, f"{finished.stdout[-3000:]}\n{finished.stderr[-3000:]}"
    return finished


def start_python(*arguments, **options):
    """Starts `python *arguments` and returns the `subprocess.Popen` at once."""
    return subprocess.Popen([sys.executable, *map(str, arguments)], **_split(options))


def _split(options):
    environment = {name: value for name, value in options.items() if name.isupper()}
    rest = {name: value for name, value in options.items() if not name.isupper()}
    return {"env": {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", **environment}, **rest}

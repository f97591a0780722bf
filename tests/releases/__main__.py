"""`make test-releases`: the client and the runtime on releases that users have, and the wheel.

Runs, in each environment, the client's tests that need no daemon and the runtime's tests of what it overrides in
distributed; then, from the development environment, real clients of each environment, and the wheel's tests.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from .environments import HERE, NAMES, ROOT, make_all, python_of, version_of

# what runs with nothing of the daemon's installed
ON_EVERY_RELEASE = [
    "tests/runtime/test_overrides.py",
    "tests/runtime/test_dashboard_socket.py",
    "tests/runtime/test_held.py",
    "tests/runtime/test_joined_versions.py",
    "tests/runtime/test_resume.py",
    "tests/runtime/test_retire.py",
    "tests/client/test_address.py",
    "tests/client/test_api.py",
    "tests/client/test_auth.py",
    "tests/client/test_request.py",
    "tests/client/test_showing.py",
    "tests/client/test_versions.py",
]
# called by name: a plain run of pytest does not collect them
FROM_HERE = ["tests/releases/real_client.py", "tests/releases/older_environment.py", "tests/releases/wheel.py"]


def passes(title: str, python: str | Path, tests: list[str]) -> bool:
    """Run tests by an interpreter, with its output in ours."""
    print(f"==> {title}", flush=True)
    since = time.monotonic()
    parallel = os.environ.get("PARALLEL", "-n 2").split()
    done = subprocess.run(
        [str(python), "-m", "pytest", "--quiet", *parallel, *tests], cwd=ROOT, stdin=subprocess.DEVNULL, check=False
    )
    print(f"==> {title}: exit {done.returncode} after {time.monotonic() - since:.0f} s", flush=True)
    return done.returncode == 0


def main() -> int:
    """Run all of it, whatever fails; answers with the exit code."""
    since = time.monotonic()
    try:
        make_all()
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"==> environments ready after {time.monotonic() - since:.0f} s", flush=True)
    passed = {name: passes(f"{name} ({', '.join(pins(name))})", python_of(name), ON_EVERY_RELEASE) for name in NAMES}
    passed["real clients, wheel"] = passes(
        "real clients of each release, the wheel", sys.executable, [*FROM_HERE, "--dist", "loadfile"]
    )
    for name, well in passed.items():
        print(f"{'passed' if well else 'FAILED'}: {name}")
    return 0 if all(passed.values()) else 1


def pins(name: str) -> list[str]:
    """The Python of an environment, and the releases that its list names."""
    lines = (HERE / f"{name}.txt").read_text().splitlines()
    return [f"Python {version_of(python_of(name))}", *(line for line in lines if line and not line.startswith("#"))]


if __name__ == "__main__":
    sys.exit(main())

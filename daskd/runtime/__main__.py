"""``python -m daskd_runtime scheduler|node INSTANCE_DIRECTORY``: the process of a scheduler or of a node.

``python -m daskd_runtime zygote CLUSTER_DIRECTORY``: the process that those are forked from.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import traceback
from typing import Any, NoReturn

from .exits import Ended, ExitCode, last_line
from .report import Report, write_report
from .spec import NodeSpec, SchedulerSpec, SpecError, read_spec


def _end_at_once(_number: int, _frame: Any) -> NoReturn:
    """SIGTERM while nothing has been started yet: imports can't be unwound, and need not be."""
    sys.stderr.write(last_line(ExitCode.OK) + "\n")
    sys.stderr.flush()
    os._exit(ExitCode.OK)


def _import_distributed() -> None:
    try:
        import distributed  # noqa: F401
    except Exception as error:  # an import runs foreign code, which may raise anything
        mend = "install distributed into this Python, or name another Python in the cluster's spec"
        words = f"{sys.executable}: {type(error).__name__}: {error}; {mend}"
        raise Ended(ExitCode.NO_DISTRIBUTED, words) from error


def _run(spec: SchedulerSpec | NodeSpec, directory: str) -> ExitCode:
    _import_distributed()
    importlib.import_module(".ticks", __package__).calm()
    role = importlib.import_module(".node" if isinstance(spec, NodeSpec) else ".scheduler", __package__)
    return ExitCode(role.main(spec, directory) or 0)


def _report_failure(directory: str, instance: str, words: str) -> None:
    try:
        write_report(directory, Report(instance, "failed", failure=words))
    except OSError as error:
        sys.stderr.write(f"daskd: report.json can't be written: {error}\n")


def main(arguments: list[str]) -> int:
    """Run a scheduler or a node to its end; returns the exit code, and says it in the log's last line."""
    if len(arguments) == 2 and arguments[0] == "zygote":
        zygote = importlib.import_module(".zygote", __package__)
        born = zygote.serve(arguments[1])
        if born is None:
            return 0
        arguments = born  # here goes on a child that it forked
    signal.signal(signal.SIGTERM, _end_at_once)
    if len(arguments) != 2 or arguments[0] not in ("scheduler", "node"):
        sys.stderr.write(
            "usage: python -m daskd_runtime scheduler|node INSTANCE_DIRECTORY | zygote CLUSTER_DIRECTORY\n"
        )
        return 2
    role, directory = arguments
    instance = os.path.basename(os.path.abspath(directory))
    words = ""
    try:
        try:
            spec = read_spec(directory, role)
        except SpecError as error:
            raise Ended(ExitCode.SPEC_DAMAGED, str(error)) from error
        instance = spec.instance
        code = _run(spec, directory)
    except Ended as ended:
        code, words = ended.code, ended.words
    except Exception as error:  # the edge of the process: the log must say why in its last line
        traceback.print_exc()
        code, words = ExitCode.FAILED, f"{type(error).__name__}: {error}"
    line = last_line(code, words)
    if code is not ExitCode.OK:
        _report_failure(directory, instance, line)
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
    return int(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`docs/reliability.md` names tests that there are."""

from __future__ import annotations

import ast
import re

from .pages import ROOT, page, section, table


def test_every_promise_names_tests_that_there_are() -> None:
    """Who doubts a promise finds what holds it."""
    rows = table(section(page("reliability.md"), "Which test holds what"), "promise")
    assert rows
    for row in rows:
        named = re.findall(r"(tests/[\w/]+\.py)(?:::(\w+))?", row["test"])
        assert named, row
        for path, function in named:
            tree = ast.parse((ROOT / path).read_text())
            found = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
            assert not function or function in found, f"{path} has no {function}"

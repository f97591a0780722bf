"""`docs/errors.md` against the code: every reason, its gRPC code, its exception."""

from __future__ import annotations

import inspect

import grpc

import daskd_client
from daskd.api import status
from daskd.model import errors as daemon_errors
from daskd_client import errors as client_errors

from .pages import page, section, table

# Told by a daemon that does not start, never by one that answers.
_NEVER_ANSWERED = {"INVALID_CONFIG"}


def daemon_kinds() -> dict[str, type[daemon_errors.DaskdError]]:
    """The daemon's errors by reason."""
    found = [
        kind
        for module in (daemon_errors, status)
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, daemon_errors.DaskdError)
    ]
    return {kind.reason: kind for kind in found if kind.reason not in _NEVER_ANSWERED}


class _Answer(grpc.RpcError):
    """A failed call, as gRPC raises it for what the daemon answers."""

    def __init__(self, error: daemon_errors.DaskdError) -> None:
        self._status = status.details_of(error)
        self._code = status.code_of(error)

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._status.message

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        return ((status.DETAILS_KEY, self._status.SerializeToString()),)


def answered() -> list[dict[str, str]]:
    """The page's table of what the daemon answers."""
    return table(section(page("errors.md"), "What the daemon answers"), "reason")


def of_client() -> list[dict[str, str]]:
    """The page's table of what the client says itself."""
    return table(section(page("errors.md"), "What the client says itself"), "reason")


def test_the_page_has_every_reason_of_the_daemon_once() -> None:
    """What the daemon can answer is on the page, and nothing else is."""
    assert sorted(row["reason"] for row in answered()) == sorted(daemon_kinds())


def test_codes_on_the_page_are_those_that_the_api_gives() -> None:
    """Each reason stands beside the gRPC code that the one place which maps them has for it."""
    told = {row["reason"]: row["gRPC code"] for row in answered()}
    assert told == {reason: status.code_of(kind("words")).name for reason, kind in daemon_kinds().items()}


def test_exceptions_on_the_page_are_those_that_the_client_raises() -> None:
    """Each reason stands beside the exception that the client makes of the daemon's very answer."""
    told = {row["reason"]: row["exception"] for row in answered()}
    raised = {
        reason: type(client_errors.from_rpc(_Answer(kind("words")), "unix:/run/s")).__name__
        for reason, kind in daemon_kinds().items()
    }
    assert told == raised


def test_every_exception_of_the_client_is_on_the_page() -> None:
    """Nothing that can be caught is left untold, and what the page names can be imported from the package."""
    told = {row["exception"] for row in [*answered(), *of_client()]}
    kinds = {
        name
        for name, kind in inspect.getmembers(client_errors, inspect.isclass)
        if issubclass(kind, client_errors.DaskdError)
    }
    assert told == kinds
    assert kinds <= set(daskd_client.__all__)


def test_the_clients_own_reasons_are_those_of_its_exceptions() -> None:
    """In the client's table a reason is its exception's own; `DaskdError` has none of its own."""
    for row in of_client():
        if row["exception"] != "DaskdError":
            assert row["reason"] == getattr(client_errors, row["exception"]).reason


def test_builtin_bases_on_the_page_are_the_classes_own() -> None:
    """`except ValueError` and the like catch what the page says they do, and no other error has such a base."""
    told = {
        "ValueError": {"InvalidSpec", "InvalidArgument", "InvalidAddress"},
        "LookupError": {"ClusterNotFound", "GroupNotFound", "TokenNotFound", "WorkerNotFound"},
        "PermissionError": {"NotAllowed", "Unauthenticated", "UntrustedDaemon"},
        "ConnectionError": {"DaemonUnavailable"},
        "TimeoutError": {"DeadlineExceeded"},
    }
    text = page("errors.md").partition("`InvalidSpec`, `InvalidArgument` and")[2]
    bases = {base: set[str]() for base in told}
    for name, kind in inspect.getmembers(client_errors, inspect.isclass):
        for base in kind.__bases__:
            if issubclass(kind, client_errors.DaskdError) and base.__name__ in bases:
                bases[base.__name__].add(name)
    assert bases == told
    assert all(f"`{base}`" in text or f"`{base}`s" in text for base in told)

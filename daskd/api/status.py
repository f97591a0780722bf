"""Errors as gRPC tells them: a status code, words, and google.rpc details. The one place that maps them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from daskd.model import errors

DOMAIN = "daskd"
DETAILS_KEY = "grpc-status-details-bin"
REQUEST_ID_KEY = "x-request-id"

_CODES: dict[type[errors.DaskdError], grpc.StatusCode] = {
    errors.InvalidSpec: grpc.StatusCode.INVALID_ARGUMENT,
    errors.InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    errors.ClusterNotFound: grpc.StatusCode.NOT_FOUND,
    errors.GroupNotFound: grpc.StatusCode.NOT_FOUND,
    errors.WorkerNotFound: grpc.StatusCode.NOT_FOUND,
    errors.TokenNotFound: grpc.StatusCode.NOT_FOUND,
    errors.ClusterExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.GroupExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.SpecImmutable: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ClusterNotRunning: grpc.StatusCode.FAILED_PRECONDITION,
    errors.NoDashboard: grpc.StatusCode.FAILED_PRECONDITION,
    errors.SchedulerUnreachable: grpc.StatusCode.UNAVAILABLE,
    errors.LimitExceeded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.NotAllowed: grpc.StatusCode.PERMISSION_DENIED,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.ResumeTokenExpired: grpc.StatusCode.OUT_OF_RANGE,
    # not UNAVAILABLE: a client that tries again would not mend a full disk
    errors.StateUnusable: grpc.StatusCode.FAILED_PRECONDITION,
}

# All trailing metadata of an answer must fit into 8 KiB, or gRPC drops the answer itself; a third goes to base64.
_MOST_MESSAGE = 1000
_MOST_FACT = 200
_MOST_PROBLEM = 300
_MOST_DETAILS = 4500


class MessageTooLarge(errors.DaskdError):
    """A request is larger than the configuration allows."""

    reason = "MESSAGE_TOO_LARGE"


class MalformedMessage(errors.DaskdError):
    """A request's bytes are not the protobuf message that the call takes."""

    reason = "MALFORMED_MESSAGE"


class UnknownFields(errors.DaskdError):
    """A request of a newer client says something that this release does not know."""

    reason = "UNKNOWN_FIELDS"


class DaemonStopping(errors.DaskdError):
    """The daemon is stopping; clusters go on, and the next daemon answers."""

    reason = "DAEMON_STOPPING"


_CODES |= {
    MessageTooLarge: grpc.StatusCode.RESOURCE_EXHAUSTED,
    MalformedMessage: grpc.StatusCode.INVALID_ARGUMENT,
    UnknownFields: grpc.StatusCode.INVALID_ARGUMENT,
    DaemonStopping: grpc.StatusCode.UNAVAILABLE,
}


def code_of(error: errors.DaskdError) -> grpc.StatusCode:
    """The status code of an error; INTERNAL for what no call should raise."""
    for kind in type(error).__mro__:
        if kind in _CODES:
            return _CODES[kind]
    return grpc.StatusCode.INTERNAL


def details_of(error: errors.DaskdError) -> status_pb2.Status:
    """The error with its reason, its facts and its fields, cut down to what fits into an answer."""
    message = _cut(error.words, _MOST_MESSAGE)
    info = error_details_pb2.ErrorInfo(
        domain=DOMAIN,
        reason=error.reason,
        metadata={name: _cut(value, _MOST_FACT) for name, value in error.facts.items()},
    )
    status = status_pb2.Status(code=code_of(error).value[0], message=message, details=[_packed(info)])
    violations = [
        error_details_pb2.BadRequest.FieldViolation(
            field=_cut(problem.field, _MOST_FACT), description=_cut(problem.words, _MOST_PROBLEM)
        )
        for problem in _problems(error)
    ]
    room = _MOST_DETAILS - status.ByteSize()
    fitting: list[error_details_pb2.BadRequest.FieldViolation] = []
    for violation in violations:
        room -= violation.ByteSize() + 8
        if room < 0:
            break
        fitting.append(violation)
    if fitting:
        status.details.append(_packed(error_details_pb2.BadRequest(field_violations=fitting)))
    return status


async def refuse(context: grpc.aio.ServicerContext, error: errors.DaskdError, request_id: str) -> NoReturn:
    """End the call with that error."""
    details = details_of(error)
    trailing = ((REQUEST_ID_KEY, request_id), (DETAILS_KEY, details.SerializeToString()))
    await context.abort(code_of(error), details.message, trailing)
    raise AssertionError("abort returned")


def _problems(error: errors.DaskdError) -> Sequence[errors.Problem]:
    if not error.problems and isinstance(error, errors.InvalidArgument) and (field := error.facts.get("field")):
        return (errors.Problem(field, error.words),)
    return error.problems


def _packed(message: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def _cut(text: str, length: int) -> str:
    clean = text.encode("utf-8", "replace").decode()
    return clean if len(clean) <= length else clean[: length - 3] + "..."

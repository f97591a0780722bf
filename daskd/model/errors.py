"""What can be wrong with a call. Each has a stable reason, words with the mend, and the facts as metadata."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one field of a request, in the user's words. `field` as in "groups[0].memory_limit"."""

    field: str
    words: str


class DaskdError(Exception):
    """A call that can't be served; the base of the daemon's errors.

    Attributes
    ----------
    reason
        A stable UPPER_SNAKE word for programs.
    facts
        The message's facts, by name.
    problems
        The fields at fault, if any.
    """

    reason = "INTERNAL"

    def __init__(self, words: str, *, facts: Mapping[str, str] | None = None, problems: Iterable[Problem] = ()) -> None:
        super().__init__(words)
        self.words = words
        self.facts = dict(facts or {})
        self.problems = tuple(problems)


class InvalidSpec(DaskdError):
    """A field of the request is wrong."""

    reason = "INVALID_SPEC"


class InvalidArgument(DaskdError):
    """An argument other than a spec's field is wrong."""

    reason = "INVALID_ARGUMENT"


class ClusterNotFound(DaskdError):
    """No such cluster, or none that the caller may see."""

    reason = "CLUSTER_NOT_FOUND"


class ClusterExists(DaskdError):
    """The owner has a live cluster of that name."""

    reason = "CLUSTER_EXISTS"


class GroupNotFound(DaskdError):
    """The cluster has no such worker group."""

    reason = "GROUP_NOT_FOUND"


class GroupExists(DaskdError):
    """The cluster has another worker group of that name."""

    reason = "GROUP_EXISTS"


class SpecImmutable(DaskdError):
    """What differs can only be chosen when the cluster, or the group, is made."""

    reason = "SPEC_IMMUTABLE"


class WorkerNotFound(DaskdError):
    """The cluster has no such worker."""

    reason = "WORKER_NOT_FOUND"


class ClusterNotRunning(DaskdError):
    """The call needs a running scheduler, or a cluster that is not ending."""

    reason = "CLUSTER_NOT_RUNNING"


class NoDashboard(DaskdError):
    """The cluster has no dashboard."""

    reason = "NO_DASHBOARD"


class SchedulerUnreachable(DaskdError):
    """The cluster's scheduler does not answer."""

    reason = "SCHEDULER_UNREACHABLE"


class LimitExceeded(DaskdError):
    """More than the profile or the configuration allows."""

    reason = "LIMIT_EXCEEDED"


class NotAllowed(DaskdError):
    """The caller may not do this."""

    reason = "NOT_ALLOWED"


class Unauthenticated(DaskdError):
    """Nobody can say who the caller is."""

    reason = "UNAUTHENTICATED"


class TokenNotFound(DaskdError):
    """No such token, or none that the caller may end."""

    reason = "TOKEN_NOT_FOUND"


class ResumeTokenExpired(DaskdError):
    """The changes after that token are not kept any more."""

    reason = "RESUME_TOKEN_EXPIRED"


class StateUnusable(DaskdError):
    """The state directory or its database can't be used."""

    reason = "STATE_UNUSABLE"


class InvalidConfig(DaskdError):
    """The configuration is wrong: names file, key, and the mend."""

    reason = "INVALID_CONFIG"

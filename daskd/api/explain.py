"""Why a cluster is as it is: what the control plane says, and the limits that its owner has reached."""

from __future__ import annotations

from daskd.control.quota import reached
from daskd.model.cluster import Cluster
from daskd.model.views import Explanation, GroupExplanation, WaitingView
from daskd.security.authorize import Caller
from daskd_api.v1 import cluster_pb2 as pb

from .listing import shown_to
from .services import Services
from .translate import timestamp


async def explain_cluster(services: Services, caller: Caller, cluster: Cluster) -> pb.ExplainClusterResponse:
    """The explanation of a cluster that the caller may see."""
    explanation = await services.control.explain(cluster)
    message = _message(explanation)
    message.cluster.CopyFrom(shown_to(caller, cluster))
    if cluster.ended is None:
        live = [each for each in await services.store.live() if each.owner_uid == cluster.owner_uid]
        message.reasons.extend(reached(services.config, live, cluster))
    return message


def _message(explanation: Explanation) -> pb.ExplainClusterResponse:
    return pb.ExplainClusterResponse(
        reasons=explanation.reasons, groups=[_group_message(group) for group in explanation.groups]
    )


def _group_message(group: GroupExplanation) -> pb.GroupExplanation:
    return pb.GroupExplanation(
        name=group.name,
        target=group.target,
        decided_by=group.decided_by,
        reasons=group.reasons,
        ready_tasks=group.ready_tasks,
        waiting=[_waiting_message(item) for item in group.waiting],
    )


def _waiting_message(item: WaitingView) -> pb.WaitingInstances:
    return pb.WaitingInstances(
        instances=item.instances,
        workers=item.workers,
        state=pb.WorkerState.Value(f"WORKER_STATE_{item.state.value}"),
        reason=item.reason,
        since_time=timestamp(item.since),
    )

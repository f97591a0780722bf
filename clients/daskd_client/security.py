"""The keys to a cluster, for Dask's comm layer."""

from __future__ import annotations

from typing import Any

from distributed.security import Security

from .types import Connection


class LateSecurity(Security):
    """A `Security` whose keys come when the cluster runs.

    ``Client(cluster)`` asks for its connection arguments when it is made, and only then waits for the cluster. What was
    handed out until the keys are there is filled in then: the client holds the same dictionary.
    """

    # No __slots__: the base class reads them as the names of its fields.

    def __init__(self) -> None:
        super().__init__(require_encryption=False)
        self._handed_out: list[dict[str, Any]] = []
        self._keys: Security | None = None

    def arrive(self, connection: Connection) -> None:
        """Take the keys that the daemon gave; none mean a scheduler that takes plain connections."""
        if not connection.tls_ca_certificate:
            return
        self._keys = Security(
            tls_ca_file=connection.tls_ca_certificate,
            tls_client_cert=connection.tls_client_certificate,
            tls_client_key=connection.tls_client_key,
            require_encryption=True,
        )
        for arguments in self._handed_out:
            arguments.update(self._keys.get_connection_args("client"))

    def get_connection_args(self, role: str) -> dict[str, Any]:
        """What a connection to the scheduler is made with."""
        arguments: dict[str, Any] = (self._keys.get_connection_args if self._keys else super().get_connection_args)(
            role
        )
        self._handed_out.append(arguments)
        return arguments

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'without keys yet' if self._keys is None else 'with keys'})"

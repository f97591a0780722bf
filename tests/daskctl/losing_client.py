"""A client of a cluster that computes something and is lost: it is killed without saying goodbye.

python losing_client.py CLUSTER
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from distributed import Client
from distributed.security import Security

from daskd_client import AsyncDaskd


async def main(name: str) -> None:
    """Compute three things, then go."""
    async with AsyncDaskd() as daskd:
        connection = await daskd.connection(name)
    security = Security(
        tls_ca_file=connection.tls_ca_certificate,
        tls_client_cert=connection.tls_client_certificate,
        tls_client_key=connection.tls_client_key,
        require_encryption=True,
    )
    async with Client(connection.scheduler_address, security=security, asynchronous=True) as client:
        futures = client.map(abs, range(-3, 0))
        await client.gather(futures)
        os.kill(os.getpid(), signal.SIGKILL)


asyncio.run(main(sys.argv[1]))

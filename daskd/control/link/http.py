"""One HTTP/1.1 exchange, bounded in size and time, with a peer that may be hostile."""

from __future__ import annotations

import asyncio

import h11

from daskd.drivers.streams import Stream

from .dialing import Dial, NotReached

MOST_BYTES = 8 * 1024 * 1024


class ExchangeError(Exception):
    """The exchange failed; the words say how."""


def _request(method: str, target: str, body: bytes) -> list[h11.Event]:
    headers = [("Host", "daskd"), ("Accept", "application/json"), ("Connection", "close")]
    if body:
        headers += [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    events: list[h11.Event] = [h11.Request(method=method, target=target, headers=headers)]
    if body:
        events.append(h11.Data(data=body))
    return [*events, h11.EndOfMessage()]


def _check_head(response: h11.Response) -> None:
    """A runtime says how long its answer is. One that comes in pieces could make each of them a byte."""
    headers = {bytes(name): bytes(value) for name, value in response.headers}
    length = headers.get(b"content-length")
    if length is None or b"transfer-encoding" in headers:
        raise ExchangeError("its answer does not say how long it is, as a runtime's does")
    if int(length) > MOST_BYTES:
        raise ExchangeError(f"its answer is longer than {MOST_BYTES} bytes")


async def _answer(stream: Stream, connection: h11.Connection) -> tuple[int, bytes]:
    status, body = 0, bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive())
            # what has come already is read without waiting: the others, and the time limit, have their turn here
            await asyncio.sleep(0)
        elif isinstance(event, h11.Response):
            _check_head(event)
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return status, bytes(body)
        elif isinstance(event, h11.InformationalResponse):
            raise ExchangeError(f"its answer is none: {event.status_code}, which announces another")
        else:
            raise ExchangeError("it hung up before its answer was whole")


async def exchange(dial: Dial, method: str, target: str, body: bytes = b"", *, timeout: float) -> tuple[int, bytes]:
    """Status and body of one call.

    Parameters
    ----------
    dial
        Opens a stream to who is asked.
    timeout
        Seconds for the whole exchange.

    Raises
    ------
    ExchangeError
        When nobody listens, somebody else does, the answer is no HTTP, too long, or not there in time.
    """
    try:
        return await asyncio.wait_for(_exchange(dial, method, target, body), timeout)
    except (asyncio.TimeoutError, TimeoutError):
        raise ExchangeError(f"it did not answer within {timeout:g} s") from None
    except NotReached as error:
        raise ExchangeError(str(error)) from None
    except (h11.RemoteProtocolError, ValueError) as error:
        raise ExchangeError(f"its answer is no HTTP: {error}"[:300]) from None
    except OSError as error:
        raise ExchangeError(f"the connection with its link broke: {error.strerror or error}"[:300]) from None


async def _exchange(dial: Dial, method: str, target: str, body: bytes) -> tuple[int, bytes]:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=64 * 1024)
    stream = await dial()
    try:
        await stream.send(b"".join(connection.send(event) or b"" for event in _request(method, target, body)))
        return await _answer(stream, connection)
    finally:
        stream.close()

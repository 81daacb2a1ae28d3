"""A vendor that answers after some seconds, or at once: python -m tests.bench.vendor PORT SECONDS

Lean, so that it is the poller that is measured. Every answer has other figures than the one before it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

PRODUCTS = {"interactions": ("Email", "Facebook", "Twitter"), "interaction_licenses": ("Licences",)}
numbers = itertools.count(1)


def rows_of(api: str, now: datetime) -> list[dict[str, str]]:
    if api == "token_info":
        return [{"token_limit": "100000", "token_use_today": "1", "all_token_today": "1"}]
    number = next(numbers)
    return [
        {
            "operation": "Bogotá",
            "description": description,
            "items": str(number + position),
            "date": f"{now - timedelta(hours=5):%Y-%m-%d}",
        }
        for position, description in enumerate(PRODUCTS[api])
    ]


def response(api: str) -> bytes:
    now = datetime.now(tz=UTC)
    rows = rows_of(api, now)
    body = json.dumps({"code": 200, "error": None, "msg": "Information found", "data": rows}).encode()
    head = (
        "HTTP/1.1 200 OK",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        f"Date: {format_datetime(now, usegmt=True)}",
        "Connection: close",
    )
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


class Call(asyncio.Protocol):
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.request = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.request += data
        if self.request.endswith(b"\r\n\r\n"):
            asyncio.get_running_loop().call_later(self.seconds, self.answer)

    def answer(self) -> None:
        api = self.request.split(b"api=", 1)[1].split(b" ", 1)[0].decode()
        self.transport.write(response(api))
        self.transport.close()


async def serve(port: int, seconds: float) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Call(seconds), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2])))

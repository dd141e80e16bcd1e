"""A load client for a process of its own: raw sockets, prepared requests; it decodes only the status.

python -m benchmarks.client PORT CLIENTS SECONDS PHOTOS -> one JSON line
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

BOUNDARY = "benchmark-boundary"


def request(photo: Path, port: int) -> bytes:
    """A whole multipart POST /predict."""
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="{photo.name}"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    body = head.encode() + photo.read_bytes() + f"\r\n--{BOUNDARY}--\r\n".encode()
    lines = (
        "POST /predict HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}",
        f"Content-Length: {len(body)}",
        "",
        "",
    )
    return "\r\n".join(lines).encode() + body


async def one_client(port: int, requests: list[bytes], until: float, latencies: list[float], wrong: list[int]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    number = 0
    while time.perf_counter() < until:
        started = time.perf_counter()
        writer.write(requests[number % len(requests)])
        status, length = 0, 0
        async for line in reader:
            if line == b"\r\n":
                break
            if not status:
                status = int(line.split()[1])
            elif line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        await reader.readexactly(length)
        latencies.append(time.perf_counter() - started)
        if status != 200:
            wrong.append(status)
        number += 1
    writer.close()


async def load(port: int, clients: int, seconds: float, photos: list[Path]) -> dict[str, float]:
    """Requests per second, latency percentiles in ms, and the number of answers other than 200."""
    requests = [request(photo, port) for photo in photos]
    latencies: list[float] = []
    wrong: list[int] = []
    started = time.perf_counter()
    turned = [requests[n % len(requests) :] + requests[: n % len(requests)] for n in range(clients)]
    await asyncio.gather(*(one_client(port, mine, started + seconds, latencies, wrong) for mine in turned))
    took = time.perf_counter() - started
    latencies.sort()
    at = {p: 1000 * latencies[min(len(latencies) - 1, int(p / 100 * len(latencies)))] for p in (50, 95, 99)}
    return {
        "rate": (len(latencies) - len(wrong)) / took,
        "p50": at[50],
        "p95": at[95],
        "p99": at[99],
        "requests": len(latencies),
        "wrong": len(wrong),
    }


if __name__ == "__main__":
    files = sorted(p for p in Path(sys.argv[4]).rglob("*") if p.is_file())
    print(json.dumps(asyncio.run(load(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), files))))

"""Where the service may listen; wrong addresses are said in a sentence before anything is loaded."""

from __future__ import annotations

import ipaddress
import socket

from service.artifact.errors import UsageError


def check_address(host: str, port: int, *, has_key: bool) -> None:
    """Loopback unless there is a key; an address that is none, or is taken, is a `UsageError`."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError as e:
        raise UsageError(f"--host {host!r} is no IP address; one like 127.0.0.1 is expected.") from e
    if not address.is_loopback and not has_key:
        raise UsageError(f"{host} can be reached from other machines: set HANDFUL_API_KEY, or take 127.0.0.1.")
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as e:
            raise UsageError(f"{host}:{port} cannot be listened on: {e.strerror}.") from e

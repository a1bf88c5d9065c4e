"""A port of this machine, taken before anything slow begins, and its address for people."""

import ipaddress
import socket

from sfv.errors import SfvError, reason


def take(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 is any that is free. OSError if it cannot be had."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    taken = socket.socket(family, kind, protocol)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(address)
        taken.listen(128)
    except OSError:
        taken.close()
        raise
    return taken


def surely(host: str, port: int) -> socket.socket:
    """The same; SfvError says what to do if it cannot be had."""
    try:
        return take(host, port)
    except OSError as error:
        sentence = f"{host}:{port} cannot be listened on ({reason(error)}); name another --port or --host"
        raise SfvError(sentence) from error


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host name or address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def url(host: str, taken: socket.socket) -> str:
    """The address of a host's socket as a browser takes it."""
    return f"http://{f'[{host}]' if ':' in host else host}:{taken.getsockname()[1]}"

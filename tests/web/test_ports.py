"""Ports of this machine: one that is taken or not ours is one sentence, one that is free has its real number."""

import socket

import pytest

from sfv.errors import SfvError
from sfv.web.ports import surely, take, url


def test_any_free_port_has_its_real_number() -> None:
    with take("127.0.0.1", 0) as first, take("127.0.0.1", 0) as second:
        ports = {first.getsockname()[1], second.getsockname()[1]}
        assert len(ports) == 2 and 0 not in ports
        assert url("127.0.0.1", first) == f"http://127.0.0.1:{first.getsockname()[1]}"
        socket.create_connection(first.getsockname()).close()


@pytest.mark.parametrize(("host", "before"), [("localhost", "http://localhost:"), ("0.0.0.0", "http://0.0.0.0:")])
def test_names_and_every_network_are_reached_by_ipv4(host: str, before: str) -> None:
    with take(host, 0) as taken:
        assert taken.family == socket.AF_INET and url(host, taken).startswith(before)
        socket.create_connection(("127.0.0.1", taken.getsockname()[1])).close()


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_an_ipv6_address_is_bracketed() -> None:
    try:
        taken = take("::1", 0)
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with taken:
        assert url("::1", taken) == f"http://[::1]:{taken.getsockname()[1]}"


@pytest.mark.parametrize(("host", "says"), [("192.0.2.1", "assign requested address"), ("no such host", "")])
def test_a_host_that_is_not_this_machine_is_one_sentence(host: str, says: str) -> None:
    with pytest.raises(
        SfvError, match=rf"^{host}:80 cannot be listened on \(.*{says}.*\); name another --port or --host"
    ):
        surely(host, 80)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_a_port_that_is_taken_is_one_sentence(host: str) -> None:
    with take("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(
            SfvError, match=rf"^{host}:{port} cannot be listened on \(.*already in use.*\); name another"
        ):
            surely(host, port)

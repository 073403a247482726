"""Tell the addresses of the public internet from those of this machine, its network and protocols.

The ranges are IANA's (iana.org/assignments/iana-ipv4-special-registry, iana-ipv6-special-registry and
ipv6-address-space), and multicast; Python's own `is_global` has others from one version to the next.
"""

import contextlib
import re
import socket
from ipaddress import IPv4Address, ip_address, ip_network

_SPECIAL = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
    *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15"),
    *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    *("2001::/23", "2001:db8::/32", "3fff::/20"),
)
_PUBLIC_IPV6 = "2000::/3"  # all others are private, reserved or for protocols
# An IPv4 address that is written in IPv6, one behind NAT64 (RFC 6052) and one behind 6to4, and how many bits follow
# it. In 64:ff9b:1::/48 (RFC 8215) each network has its own place for one.
_EMBEDDING = {"::ffff:0:0/96": 0, "64:ff9b::/96": 0, "2002::/16": 80}
_NUMERIC_HOST = r"(?i)[0-9a-fx.]*[0-9][0-9a-fx.]*"  # as 127.1, 0x7f.1 and 2130706433, all of them this machine


class PrivatePeer(Exception):
    """A connection was made to an address that is not a public one."""


def is_public(address: str) -> bool:
    """Say whether an IP address is public, by the IPv4 address in it where it has one; a name is a ValueError."""
    known = ip_address(address.partition("%")[0])
    for network, following in _EMBEDDING.items():
        if known in ip_network(network):
            known = IPv4Address(int(known) >> following & 0xFFFFFFFF)
            break
    if known.version == 6 and known not in ip_network(_PUBLIC_IPV6):
        return False
    return not any(known in ip_network(network) for network in _SPECIAL)


def is_private(host: str, port: int, *, is_proxied: bool) -> bool:
    """Say whether a host is, or resolves to, an address that is not a public one.

    Behind a proxy only an address written out is judged: the proxy resolves names, by its own rules.
    """
    with contextlib.suppress(ValueError):
        return not is_public(host)
    if re.fullmatch(_NUMERIC_HOST, host):
        with contextlib.suppress(OSError):
            return not is_public(socket.inet_ntoa(socket.inet_aton(host)))
    if host.lower().rpartition(".")[2] == "localhost":
        return True
    if is_proxied:
        return False
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False  # the connection will say it better
    return any(not is_public(str(entry[4][0])) for entry in found)


def check_peer(address: str) -> None:
    """Raise PrivatePeer for the address of a connection that is not a public one."""
    if not is_public(address):
        raise PrivatePeer(address)

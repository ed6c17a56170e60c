"""Network addresses: which are loopback, and which to write into a link."""

import ipaddress
import socket


def is_loopback(host: str) -> bool:
    """Return whether a host is reachable from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def reachable_address(host: str) -> str:
    """Return the address to write into a link: for "all addresses", this machine's own on its network."""
    if host not in ("0.0.0.0", "::", ""):
        return host
    family = socket.AF_INET6 if host == "::" else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            # Sends nothing: the kernel reports which address it would use. (Addresses reserved for documentation.)
            probe.connect(("2001:db8::1" if host == "::" else "192.0.2.1", 9))
            return probe.getsockname()[0]
        except OSError:
            return socket.gethostname()


def neighbourhood(host: str) -> str:
    """Return what one client can have many addresses of: its IPv4 address, or the first half of its IPv6 address."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:  # on a socket for both
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))

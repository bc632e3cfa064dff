"""What the kernel has in an attachment's namespace, compared with its record. Reads only, by netlink.

It runs no program: a minimal node has no `ip`.
"""

from __future__ import annotations

import ipaddress
import socket
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple

from cni_chain.node.errors import UnreadableError

# include/uapi/linux/if.h and rtnetlink.h
_IFF_UP = 1
_RT_SCOPE_LINK = 253
_RT_TABLE_MAIN = 254
_RTN_UNICAST = 1

_ANYWHERE = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}  # noqa: S104  # target of a default route, not a listener


class Interface(NamedTuple):
    """An interface as the kernel has it; addresses with their prefix, without link-local ones."""

    mac: str
    mtu: int
    is_up: bool
    addresses: frozenset[str]


class Namespace(NamedTuple):
    """The content of a network namespace: its interfaces by name, and its main table's routes, as (to, gateway)."""

    interfaces: dict[str, Interface]
    routes: frozenset[tuple[str, str]]


def differences(netns: str, result: dict[str, Any]) -> list[str]:
    """Return how the namespace at `netns` differs from a recorded `result`. Raises UnreadableError.

    Of what isn't recorded, only addresses count as a difference: agents add routes of their own.
    """
    inside, on_node = read(netns), read(None)
    found: list[str] = []
    for index, interface in enumerate(result.get("interfaces") or []):
        name = interface.get("name")
        if interface.get("sandbox"):
            recorded = [ip["address"] for ip in result.get("ips") or [] if ip.get("interface") == index]
            found += _interface(interface, recorded, inside.interfaces.get(name))
        elif name and name not in on_node.interfaces:
            found.append(f"{name}: recorded on the node, not found")
    for route in result.get("routes") or []:
        wanted = (_network(route["dst"]), route.get("gw") or "")
        if wanted not in inside.routes and not (not wanted[1] and any(to == wanted[0] for to, _ in inside.routes)):
            found.append(f"route {route['dst']}{f' via {wanted[1]}' if wanted[1] else ''}: recorded, not found")
    return found


def read(netns: str | None) -> Namespace:
    """Return the content of the namespace at the path `netns`, or of this process's own. Raises UnreadableError."""
    pyroute2 = _pyroute2()
    try:
        # The library opens its socket there in a child process; without the flags it would create the namespace.
        with pyroute2.IPRoute(netns=netns, flags=0) if netns else pyroute2.IPRoute() as asked:
            return _namespace(list(asked.get_links()), list(asked.get_addr()), list(asked.get_routes()))
    except pyroute2.NetlinkError as error:
        raise UnreadableError(f"the kernel doesn't answer: {error}") from None
    except OSError as error:
        raise UnreadableError(f"{netns or 'this namespace'}: {error.strerror or error}") from None
    except (RuntimeError, ValueError) as error:  # its child process ended; a path that it can't take
        raise UnreadableError(f"{netns or 'this namespace'}: {error}") from None


def _pyroute2() -> Any:
    """Return the library, which takes as long to import as all other modules of a command."""
    import asyncio  # noqa: F401  # before the stand-in: it looks for ssl, and works without

    try:
        import ssl  # noqa: F401
    except ImportError:
        # The frozen program has no OpenSSL, and the library imports it for its own probes, which cni-chain doesn't use.
        sys.modules["ssl"] = ModuleType("ssl")
    import pyroute2

    return pyroute2


def _namespace(links: list[Any], addresses: list[Any], routes: list[Any]) -> Namespace:
    held: dict[int, set[str]] = {}
    for entry in addresses:
        if entry["scope"] != _RT_SCOPE_LINK:
            address = entry.get("local") or entry.get("address")  # IFA_LOCAL is IPv4's alone
            held.setdefault(entry["index"], set()).add(_address(f"{address}/{entry['prefixlen']}"))
    interfaces = {
        str(link.get("ifname")): Interface(
            str(link.get("address") or ""),
            int(link.get("mtu") or 0),
            bool(link["flags"] & _IFF_UP),
            frozenset(held.get(link["index"], ())),
        )
        for link in links
    }
    return Namespace(interfaces, frozenset(found for route in routes for found in _routes(route)))


def _routes(route: Any) -> Iterator[tuple[str, str]]:
    """Yield the target and the gateway of a route of the main table, once for each of its gateways."""
    if (route.get("table") or route["table"]) != _RT_TABLE_MAIN or route["type"] != _RTN_UNICAST:
        return
    to = _network(f"{route.get('dst') or _ANYWHERE.get(route['family'])}/{route['dst_len']}")
    for hop in route.get("multipath") or [route]:
        yield to, str(hop.get("gateway") or (hop.get("via") or {}).get("addr") or "")


def _interface(interface: dict[str, Any], recorded: list[str], there: Interface | None) -> list[str]:
    name = interface.get("name")
    if there is None:
        return [f"{name}: recorded, not found"]
    found = []
    mac = interface.get("mac")
    if mac and mac.lower() != there.mac.lower():
        found.append(f"{name}: MAC {mac} recorded, {there.mac} found")
    mtu = interface.get("mtu")
    if mtu and mtu != there.mtu:
        found.append(f"{name}: MTU {mtu} recorded, {there.mtu} found")
    if not there.is_up:
        found.append(f"{name}: is down")
    wanted = {_address(address) for address in recorded}
    found += [f"{name}: {address} recorded, not found" for address in sorted(wanted - there.addresses)]
    return found + [f"{name}: {address} found, not recorded" for address in sorted(there.addresses - wanted)]


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return text


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_interface(text))
    except ValueError:
        return text

"""What the kernel has in an attachment's namespace, compared with its record. Reads only, by netlink.

It runs no program: a minimal node has no `ip`.
"""

from __future__ import annotations

import importlib
import ipaddress
import os
import socket
import sys
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple

from cni_chain.node import system_calls
from cni_chain.node.errors import UnreadableError

# include/uapi/linux/if.h, rtnetlink.h and netlink.h
_IFF_UP = 1
_RT_SCOPE_LINK = 253
_RT_TABLE_MAIN = 254
_RTN_UNICAST = 1
_NETLINK_ROUTE = 0

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


# What the library imports for its own probes, for its own way into a namespace, and for a kernel that it simulates. The
# frozen program has none of that, and the library uses none of it here; what it names while it is imported is there.
_ABSENT: dict[str, dict[str, object]] = {
    "ssl": {},
    "ctypes": {"CDLL": None},
    "ctypes.util": {},
    "unittest": {},
    "unittest.mock": {"Mock": object},
}


def read(netns: str | None) -> Namespace:
    """Return the content of the namespace at the path `netns`, or of this process's own. Raises UnreadableError."""
    try:
        asking = netlink_socket(netns) if netns else None
    except OSError as error:
        raise UnreadableError(f"{netns}: {error.strerror or error}") from None
    except ValueError as error:  # a path with a null byte
        raise UnreadableError(f"{netns}: {error}") from None
    library = pyroute2()
    try:
        with library.IPRoute(**({"fileno": asking.detach()} if asking else {})) as asked:
            return _namespace(list(asked.get_links()), list(asked.get_addr()), list(asked.get_routes()))
    except library.NetlinkError as error:
        raise UnreadableError(f"the kernel doesn't answer: {error}") from None
    except OSError as error:
        raise UnreadableError(f"{netns or 'this namespace'}: {error.strerror or error}") from None


def netlink_socket(netns: str) -> socket.socket:
    """Return a socket of rtnetlink(7) in a namespace. Raises OSError, ValueError.

    A thread goes there, because a thread may be in another namespace than its process, and ends there.
    """
    opened: list[socket.socket | Exception] = []

    def enter() -> None:
        try:
            namespace = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
            try:
                system_calls.setns(namespace, system_calls.CLONE_NEWNET)
            finally:
                os.close(namespace)
            opened.append(socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_ROUTE))
        except (OSError, ValueError) as error:
            opened.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if isinstance(opened[0], Exception):
        raise opened[0]
    return opened[0]


def pyroute2() -> Any:
    """Return the library of this name, which takes as long to import as all other modules of a command."""
    import asyncio  # noqa: F401  # before the stand-ins: it looks for ssl, and works without

    for absent, names in _ABSENT.items():
        try:
            importlib.import_module(absent)
        except ImportError:
            parent, _, child = absent.rpartition(".")
            sys.modules[absent] = ModuleType(absent)
            sys.modules[absent].__dict__.update(names)
            if parent:
                setattr(sys.modules[parent], child, sys.modules[absent])
    import pyroute2 as library

    return library


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

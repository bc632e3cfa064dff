"""What the kernel has in an attachment's namespace, compared with what was recorded for it. Runs `ip`, reads only."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

from cni_chain.cli import programs

_SECONDS = 5.0


class UntoldError(Exception):
    """What is in the namespace can't be told; the text says why."""


def differences(netns: str, result: dict[str, Any]) -> list[str]:
    """Return how the namespace at `netns` differs from a recorded `result`. Raises UntoldError.

    Only what was recorded is looked for, and addresses that are there beyond it: agents add routes of their own.
    """
    inside = ["-n", _name(netns)]
    links = {link.get("ifname"): link for link in _ask(*inside, "address", "show")}
    routes = {_route(route) for family in ("-4", "-6") for route in _ask(*inside, family, "route", "show")}
    on_node = {link.get("ifname") for link in _ask("link", "show")}
    told: list[str] = []
    interfaces = result.get("interfaces") or []
    for index, interface in enumerate(interfaces):
        if interface.get("sandbox"):
            recorded = [ip["address"] for ip in result.get("ips") or [] if ip.get("interface") == index]
            told += _interface(interface, recorded, links.get(interface.get("name")))
        elif interface.get("name") and interface["name"] not in on_node:
            told.append(f"{interface['name']}: recorded on the node, not there")
    for route in result.get("routes") or []:
        wanted = (_network(route["dst"]), route.get("gw") or "")
        if wanted not in routes and not (not wanted[1] and any(dst == wanted[0] for dst, _ in routes)):
            told.append(f"route {route['dst']}{f' via {wanted[1]}' if wanted[1] else ''}: recorded, not there")
    return told


def _interface(interface: dict[str, Any], recorded: list[str], link: dict[str, Any] | None) -> list[str]:
    name = interface.get("name")
    if link is None:
        return [f"{name}: recorded, not there"]
    told = []
    mac = interface.get("mac")
    if mac and mac.lower() != str(link.get("address", "")).lower():
        told.append(f"{name}: MAC {mac} recorded, {link.get('address')} there")
    mtu = interface.get("mtu")
    if mtu and mtu != link.get("mtu"):
        told.append(f"{name}: MTU {mtu} recorded, {link.get('mtu')} there")
    if "UP" not in (link.get("flags") or []):
        told.append(f"{name}: is down")
    there = {
        _address(f"{entry['local']}/{entry['prefixlen']}")
        for entry in link.get("addr_info") or []
        if entry.get("scope") != "link"
    }
    wanted = {_address(address) for address in recorded}
    told += [f"{name}: {address} recorded, not there" for address in sorted(wanted - there)]
    return told + [f"{name}: {address} there, not recorded" for address in sorted(there - wanted)]


def _name(netns: str) -> str:
    """Return what `ip` takes for the namespace at a path: a name below /run/netns, from where any path is reached."""
    for directory in ("/run/netns/", "/var/run/netns/"):
        netns = netns.removeprefix(directory)
    return f"../../..{netns}" if "/" in netns else netns


def _ask(*question: str) -> list[dict[str, Any]]:
    ip = programs.which("ip")
    if ip is None:
        raise UntoldError("ip is not installed")
    done = programs.run([ip, "-json", *question], _SECONDS)
    if done is None or done.status != 0:
        said = "" if done is None else done.stderr.strip().partition("\n")[0]
        raise UntoldError(f"{ip} failed{f': {said}' if said else ''}")
    try:
        answer = json.loads(done.stdout or "[]")
    except ValueError:
        raise UntoldError(f"{ip} speaks no JSON") from None
    return [entry for entry in answer if isinstance(entry, dict)] if isinstance(answer, list) else []


def _route(route: dict[str, Any]) -> tuple[str, str]:
    dst = str(route.get("dst", ""))
    gateway = str(route.get("gateway") or (route.get("via") or {}).get("host") or "")
    if dst == "default":
        dst = "::/0" if ":" in gateway or "pref" in route else "0.0.0.0/0"
    return _network(dst), gateway


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

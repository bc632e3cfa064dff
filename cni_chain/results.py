"""Results of every version of the specification, converted so that nothing a delegate can't say is lost. Pure.

Three shapes exist: 0.1.0 and 0.2.0 have one address a family, 0.3.0 to 0.4.0 have lists and a family's number with each
address, 1.0.0 and 1.1.0 dropped that number. What a conversion keeps is what libcni keeps (`pkg/types/internal`,
`pkg/types/{020,040,100}`); what it loses on the way to an older delegate, `restore` puts back.
"""

from __future__ import annotations

from cni_chain.spec import VERSIONS, at_least

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Result = dict[str, Any]

# The version that can say all that any other can: what a chain passes on is kept in it.
WHOLE = VERSIONS[-1]

# What 1.1.0 added to an interface and to a route; a delegate of an older version can't be asked to carry it.
_INTERFACE_EXTRAS = ("mtu", "socketPath", "pciID")
_ROUTE_EXTRAS = ("mtu", "advmss", "priority", "table", "scope")


def check(result: Any) -> str:
    """Return what keeps `result`, which a delegate or a runtime gave, from being a Result, "" if nothing does."""
    if not isinstance(result, dict):
        return "not a JSON object"
    version = result.get("cniVersion") or VERSIONS[0]
    if version not in VERSIONS:
        return f"key cniVersion: unsupported: {version!r}"
    if not isinstance(result.get("dns") or {}, dict):
        return "key dns: must be an object"
    interfaces = result.get("interfaces")
    return (
        _fault_in_list("interfaces", interfaces, network="", texts=("name", "mac", "sandbox"))
        or _fault_in_list("ips", result.get("ips"), network="address", texts=("gateway",))
        or _fault_in_list("routes", result.get("routes"), network="dst", texts=("gw",))
        or _fault_in_indices(result.get("ips") or (), len(interfaces or ()))
        or _fault_in_family("ip4", result.get("ip4"))
        or _fault_in_family("ip6", result.get("ip6"))
    )


def _fault_in_list(key: str, entries: Any, *, network: str, texts: tuple[str, ...]) -> str:
    if entries is None:
        return ""
    if not isinstance(entries, list):
        return f"key {key}: must be a list"
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            return f"key {key}[{number}]: must be an object"
        for name in texts:
            if not isinstance(entry.get(name) or "", str):
                return f"key {key}[{number}].{name}: must be a text"
        if network and not _is_cidr(entry.get(network)):
            return f"key {key}[{number}].{network}: must be an address with a prefix length"
    return ""


def _fault_in_indices(ips: Iterable[Result], interfaces: int) -> str:
    for number, ip in enumerate(ips):
        index = ip.get("interface")
        if index is not None and (type(index) is not int or not 0 <= index < interfaces):
            return f"key ips[{number}].interface: {index!r} is out of range, the result has {interfaces} interfaces"
    return ""


def _fault_in_family(key: str, entry: Any) -> str:
    if entry is None:
        return ""
    return _fault_in_list(key, [entry], network="ip", texts=("gateway",)) or _fault_in_list(
        f"{key}.routes", entry.get("routes"), network="dst", texts=("gw",)
    )


def _is_cidr(text: Any) -> bool:
    """Tell roughly whether Go's net.ParseCIDR would take `text`; the runtime fails a pod on what it doesn't take."""
    if not isinstance(text, str):
        return False
    address, _, length = text.partition("/")
    if not (length.isascii() and length.isdigit() and len(length) <= 3):
        return False
    if ":" in address:
        digits = frozenset("0123456789abcdefABCDEF:.")
        return int(length) <= 128 and digits.issuperset(address)
    parts = address.split(".")
    return (
        int(length) <= 32
        and len(parts) == 4
        and all(part.isascii() and part.isdigit() and len(part) <= 3 and int(part) <= 255 for part in parts)
    )


def has_addresses(result: Result) -> bool:
    """Tell whether `result` gives a pod any address, in the words of its version."""
    if _shape(result["cniVersion"]) == "020":
        return bool(result.get("ip4") or result.get("ip6"))
    return bool(result.get("ips"))


def convert(result: Result, to: str) -> Result:
    """Return `result` in version `to`. A result without `cniVersion` must be given one before.

    The given result is not changed, but parts of it may be shared.
    """
    version = result["cniVersion"]
    if version == to:
        return result
    source, target = _shape(version), _shape(to)
    if source == target:
        converted = dict(result)
    elif source == "020":
        converted = _from_020(result)
        if target == "040":
            _number_families(converted)
    elif target == "020":
        converted = _to_020(result)
    else:
        converted = dict(result)
        if target == "040":
            _number_families(converted)
        else:
            _drop_families(converted)
    if target == "040":
        # libcni always prints it there (`pkg/types/040/types.go`).
        converted.setdefault("dns", {})
    converted["cniVersion"] = to
    return converted


def _shape(version: str) -> str:
    if at_least(version, "1.0.0"):
        return "100"
    return "040" if at_least(version, "0.3.0") else "020"


def _family(address: str) -> str:
    # Go prints an IPv4 address mapped into IPv6 as the former, and counts it so (net.IP.To4).
    if ":" not in address or (address.lower().startswith("::ffff:") and "." in address):
        return "4"
    return "6"


def _number_families(result: Result) -> None:
    if result.get("ips") is not None:
        result["ips"] = [{"version": _family(ip["address"]), **ip} for ip in result["ips"]]
    if result.get("interfaces") is not None:
        result["interfaces"] = [
            {key: value for key, value in interface.items() if key not in _INTERFACE_EXTRAS}
            for interface in result["interfaces"]
        ]


def _drop_families(result: Result) -> None:
    if result.get("ips") is not None:
        result["ips"] = [{key: value for key, value in ip.items() if key != "version"} for ip in result["ips"]]


def _from_020(result: Result) -> Result:
    converted: Result = {}
    ips = []
    routes: list[Any] = []
    for key in ("ip4", "ip6"):
        entry = result.get(key)
        if entry:
            ip = {"address": entry["ip"]}
            if entry.get("gateway"):
                ip["gateway"] = entry["gateway"]
            ips.append(ip)
            routes += entry.get("routes") or []
    if ips:
        converted["ips"] = ips
    if routes:
        converted["routes"] = routes
    if result.get("dns"):
        converted["dns"] = result["dns"]
    return converted


def _to_020(result: Result) -> Result:
    """Keep the first address of each family and the routes of those families; a result without any has neither."""
    converted: Result = {}
    for ip in result.get("ips") or ():
        key = "ip" + _family(ip["address"])
        if key not in converted:
            converted[key] = {"ip": ip["address"]}
            if ip.get("gateway"):
                converted[key]["gateway"] = ip["gateway"]
    for route in result.get("routes") or ():
        entry = converted.get("ip" + _family(route["dst"]))
        if entry is not None:
            carried = {key: route[key] for key in ("dst", "gw") if route.get(key)}
            entry.setdefault("routes", []).append(carried)
    converted["dns"] = result.get("dns") or {}
    return converted


def restore(result: Result, before: Result, answered: str) -> Result:
    """Return a delegate's `result` with what it could not carry, having answered in version `answered`, from `before`.

    `before` is the result that it was given; both are in WHOLE. Only what `answered` has no words for is put back, and
    only where the delegate left the thing itself alone: an interface by its name and sandbox, a route by its
    destination and gateway.
    """
    if at_least(answered, WHOLE):
        return result
    restored = dict(result)
    if _shape(answered) == "020":
        _restore_lists(restored, before)
        return restored
    for key, identity, extras in (
        ("interfaces", ("name", "sandbox"), _INTERFACE_EXTRAS),
        ("routes", ("dst", "gw"), _ROUTE_EXTRAS),
    ):
        if restored.get(key) and before.get(key):
            restored[key] = _with_extras(restored[key], before[key], identity, extras)
    return restored


def _with_extras(
    entries: list[Result], before: list[Result], identity: tuple[str, ...], extras: tuple[str, ...]
) -> list[Result]:
    """Give each of `entries` the extras of its counterpart: the first of an identity those of the first, and so on."""
    named = _identity
    ours, theirs = _by_identity(before, identity), _by_identity(entries, identity)
    if ours.keys() != theirs.keys():
        # One side may have written an address as nobody else does (`FD00:0::/8`); a delegate in Go writes it anew.
        named = _canonical_identity
        ours, theirs = _by_identity(before, identity, named), _by_identity(entries, identity, named)
    completed = []
    for entry in entries:
        key = named(entry, identity)
        kept: Result = {}
        # Where entries came or went, nobody can tell which is which; and what carried one extra carried all.
        if len(ours.get(key, ())) == len(theirs[key]) and not any(name in entry for name in extras):
            source = ours[key][_position(theirs[key], entry)]
            kept = {name: source[name] for name in extras if name in source}
        completed.append({**entry, **kept} if kept else entry)
    return completed


def _identity(entry: Result, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(entry.get(name) or "" for name in names)


def _canonical_identity(entry: Result, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_canonical(text) for text in _identity(entry, names))


def _canonical(address: str) -> str:
    """Return an IPv6 address, or a range of them, as Go writes it (net.IP.String); other text as it is."""
    if ":" not in address:
        return address
    from ipaddress import IPv6Address  # hardly a result needs it

    host, slash, length = address.partition("/")
    try:
        return f"{IPv6Address(host)}{slash}{length}"
    except ValueError:  # a MAC address, or part of a name
        return address


def _by_identity(
    entries: list[Result],
    names: tuple[str, ...],
    named: Callable[[Result, tuple[str, ...]], tuple[str, ...]] = _identity,
) -> dict[tuple[str, ...], list[Result]]:
    groups: dict[tuple[str, ...], list[Result]] = {}
    for entry in entries:
        groups.setdefault(named(entry, names), []).append(entry)
    return groups


def _position(entries: list[Result], entry: Result) -> int:
    return next(index for index, other in enumerate(entries) if other is entry)


def _restore_lists(result: Result, before: Result) -> None:
    """Put back what 0.1.0 and 0.2.0 have no lists for, in the order in which it was.

    They carry the first address of each family, and routes of those families by destination and gateway alone.
    """
    if before.get("interfaces"):
        result["interfaces"] = before["interfaces"]
    answered = {_family(ip["address"]): ip for ip in result.get("ips") or ()}
    ips: list[Result] = []
    carried: set[str] = set()
    for ip in before.get("ips") or ():
        family = _family(ip["address"])
        if family in carried:
            ips.append(ip)  # a second of its family: it was never told of it
        elif family in answered:
            own = answered.pop(family)
            is_the_same = _canonical(own["address"]) == _canonical(ip["address"])
            ips.append({**ip, **own} if is_the_same else own)
        carried.add(family)
    routes: list[Result] = []
    answered_routes = _by_identity(result.get("routes") or [], ("dst", "gw"), _canonical_identity)
    for route in before.get("routes") or ():
        same = answered_routes.get(_canonical_identity(route, ("dst", "gw")))
        if _family(route["dst"]) not in carried:
            routes.append(route)
        elif same:
            routes.append({**route, **same.pop(0)})
    for key, entries in (
        ("ips", [*ips, *answered.values()]),
        ("routes", [*routes, *(route for rest in answered_routes.values() for route in rest)]),
    ):
        if entries:
            result[key] = entries

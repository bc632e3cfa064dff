"""Results in every version of the specification, and the conversion from one to another. Pure.

Three shapes exist: 0.1.0 and 0.2.0 have one address a family, 0.3.0 to 0.4.0 have lists and a family's number with each
address, 1.0.0 and 1.1.0 dropped that number. What a conversion keeps is what libcni keeps (`pkg/types/internal`,
`pkg/types/{020,040,100}`); what an older delegate's version can't carry, `restoring` puts back.
"""

from __future__ import annotations

from cni_chain.plugin.spec import VERSIONS, at_least

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    Result = dict[str, Any]

# What 1.1.0 added to an interface and to a route; a delegate of an older version can't be asked to carry it.
INTERFACE_EXTRAS = ("mtu", "socketPath", "pciID")
ROUTE_EXTRAS = ("mtu", "advmss", "priority", "table", "scope")


def check(result: Any) -> str:
    """Return why `result`, which a delegate or a runtime gave, is not a valid Result, "" if it is one."""
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
                return f"key {key}[{number}].{name}: must be a string"
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
    """Return whether `result` gives a pod any address, by the keys of its version."""
    if shape_of(result["cniVersion"]) == "020":
        return bool(result.get("ip4") or result.get("ip6"))
    return bool(result.get("ips"))


def convert(result: Result, to: str) -> Result:
    """Return `result` in version `to`. A result without `cniVersion` must be given one before.

    The given result is not changed, but parts of it may be shared.
    """
    version = result["cniVersion"]
    if version == to:
        return result
    source, target = shape_of(version), shape_of(to)
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


def shape_of(version: str) -> str:
    """Return which of the three shapes a version's results have: 020, 040 or 100."""
    if at_least(version, "1.0.0"):
        return "100"
    return "040" if at_least(version, "0.3.0") else "020"


def family_of(address: str) -> str:
    """Return the number of an address' family as 0.3.0 to 0.4.0 have it: 4 or 6."""
    # Go prints an IPv4 address mapped into IPv6 as the former, and counts it so (net.IP.To4).
    if ":" not in address or (address.lower().startswith("::ffff:") and "." in address):
        return "4"
    return "6"


def _number_families(result: Result) -> None:
    if result.get("ips") is not None:
        result["ips"] = [{"version": family_of(ip["address"]), **ip} for ip in result["ips"]]
    if result.get("interfaces") is not None:
        result["interfaces"] = [
            {key: value for key, value in interface.items() if key not in INTERFACE_EXTRAS}
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
        key = "ip" + family_of(ip["address"])
        if key not in converted:
            converted[key] = {"ip": ip["address"]}
            if ip.get("gateway"):
                converted[key]["gateway"] = ip["gateway"]
    for route in result.get("routes") or ():
        entry = converted.get("ip" + family_of(route["dst"]))
        if entry is not None:
            carried = {key: route[key] for key in ("dst", "gw") if route.get(key)}
            entry.setdefault("routes", []).append(carried)
    converted["dns"] = result.get("dns") or {}
    return converted

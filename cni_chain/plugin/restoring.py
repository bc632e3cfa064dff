"""Puts back into a delegate's answer what its older version could not carry. Pure."""

from __future__ import annotations

from cni_chain.plugin.results import INTERFACE_EXTRAS, ROUTE_EXTRAS, family_of, shape_of
from cni_chain.plugin.spec import LATEST, at_least

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cni_chain.plugin.results import Result


def restore(result: Result, before: Result, answered: str) -> Result:
    """Return a delegate's `result` with what it could not carry, having answered in version `answered`, from `before`.

    `before` is the result that it was given; both are in spec.LATEST. This puts back only what `answered` has no keys
    for, and only where the delegate didn't change the thing itself: an interface by its name and sandbox, a route by
    its destination and gateway.
    """
    if at_least(answered, LATEST):
        return result
    restored = dict(result)
    if shape_of(answered) == "020":
        _restore_lists(restored, before)
        return restored
    for key, identity, extras in (
        ("interfaces", ("name", "sandbox"), INTERFACE_EXTRAS),
        ("routes", ("dst", "gw"), ROUTE_EXTRAS),
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
        # One side may have written an address in an unusual form (`FD00:0::/8`); a delegate in Go rewrites it.
        named = _canonical_identity
        ours, theirs = _by_identity(before, identity, named), _by_identity(entries, identity, named)
    completed = []
    for entry in entries:
        key = named(entry, identity)
        kept: Result = {}
        # If entries came or went, it isn't known which is which; and an entry that has one extra has all.
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
    answered = {family_of(ip["address"]): ip for ip in result.get("ips") or ()}
    ips: list[Result] = []
    carried: set[str] = set()
    for ip in before.get("ips") or ():
        family = family_of(ip["address"])
        if family in carried:
            ips.append(ip)  # a second of its family: the delegate never got it
        elif family in answered:
            own = answered.pop(family)
            is_the_same = _canonical(own["address"]) == _canonical(ip["address"])
            ips.append({**ip, **own} if is_the_same else own)
        carried.add(family)
    routes: list[Result] = []
    answered_routes = _by_identity(result.get("routes") or [], ("dst", "gw"), _canonical_identity)
    for route in before.get("routes") or ():
        same = answered_routes.get(_canonical_identity(route, ("dst", "gw")))
        if family_of(route["dst"]) not in carried:
            routes.append(route)
        elif same:
            routes.append({**route, **same.pop(0)})
    for key, entries in (
        ("ips", [*ips, *answered.values()]),
        ("routes", [*routes, *(route for rest in answered_routes.values() for route in rest)]),
    ):
        if entries:
            result[key] = entries

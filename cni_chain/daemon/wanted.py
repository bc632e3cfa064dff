"""What a node is to be, as the agent's options say it. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

from cni_chain.change import install
from cni_chain.node.errors import UsageError
from cni_chain.plugin import facade

PREPARED, ON, OFF = "prepared", "on", "off"
STATES = (PREPARED, ON, OFF)
NONE = "none"  # reached: neither of these yet


class Wanted(NamedTuple):
    """The options of `cni-chain agent`; None: not given."""

    state: str
    bin_dir: str
    net_dir: str
    chain_dir: str | None = None
    program_dir: str | None = None
    owners: list[dict[str, Any]] | None = None
    optional: frozenset[str] = frozenset()  # owners that no pod waits for
    without: tuple[str, ...] = ()  # owners that the facade is not to have
    name: str | None = None  # the network's, on a node that has none
    runtime: str | None = None  # whose rules choose the list in use, if both may run

    @property
    def chains(self) -> str:
        """The directory of the owners' directories."""
        return self.chain_dir or facade.CHAIN_DIR

    def options(self, *, with_facade: bool) -> install.Options:
        """Return the options of the `install` that the agent makes."""
        return install.Options(
            bin_dir=self.bin_dir,
            net_dir=self.net_dir,
            program_dir=self.program_dir,
            chain_dir=self.chain_dir,
            owners=self.owners,
            name=self.name,
            with_facade=with_facade,
        )


def state(text: str) -> str:
    """Return one of the states. Raises UsageError."""
    if text not in STATES:
        near = facade.near(text, STATES)
        raise UsageError(
            f"--state {text}: must be {', '.join(STATES[:-1])} or {STATES[-1]}" + (near and f"; did you mean {near}?")
        )
    return text


def address(text: str) -> tuple[str, int]:
    """Return the address and port of `ADDRESS:PORT`, `[IPV6]:PORT`, `:PORT` or `PORT`. Raises UsageError."""
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        port = ""  # an IPv6 address without its brackets
    if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise UsageError(f"--listen {text}: must be ADDRESS:PORT, as in {ADDRESS}")
    return host or ("0.0.0.0" if text.startswith(":") else "127.0.0.1"), int(port)  # noqa: S104  # as it is asked for


ADDRESS = "127.0.0.1:9753"

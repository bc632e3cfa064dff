"""The rules of nftables as the kernel holds them, and what they make of a packet.

include/uapi/linux/netfilter/nf_tables.h, nf_tables_compat.h and nfnetlink.h. iptables over nftables lays such rules
too, with matches and targets of xtables as expressions in them.
"""

from __future__ import annotations

import operator
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

from cni_chain.mesh import rules
from cni_chain.mesh.packet import TCP, Packet
from cni_chain.mesh.rules import Walked

_NETLINK_NETFILTER = 12
_SUBSYSTEM = 10 << 8  # NFNL_SUBSYS_NFTABLES
_GET_TABLE, _GET_CHAIN, _GET_RULE = 1, 4, 7
_DORMANT = 0x1  # NFT_TABLE_F_DORMANT
_REQUEST_DUMP = 0x1 | 0x300
_ERROR, _DONE = 2, 3
_NEST = 0x3FFF  # NLA_TYPE_MASK

_FAMILIES = {1: (4, 6), 2: (4,), 10: (6,)}  # NFPROTO_INET, IPV4, IPV6: whose packets a table sees
_DROP, _ACCEPT, _CONTINUE, _BREAK, _JUMP, _GOTO, _RETURN = 0, 1, -1, -2, -3, -4, -5

_OPERATORS: list[Callable[[bytes, bytes], bool]] = [
    *(operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge)  # enum nft_cmp_ops
]

_Attributes = dict[int, bytes]


class Chain(NamedTuple):
    """A chain: its rules, each a list of expressions with their attributes. `hook` is None in one that is jumped to."""

    family: int
    table: str
    name: str
    hook: int | None
    priority: int
    policy: int
    rules: list[list[tuple[str, _Attributes]]]


def read() -> list[Chain]:
    """Return the chains of this thread's network namespace that packets of IPv4 or IPv6 can meet. Raises OSError.

    Those of a dormant table aren't among them: it keeps its rules, and sees no packet.
    """
    asleep = {
        (family, _text(attributes[1]))  # NFTA_TABLE_NAME, NFTA_TABLE_FLAGS
        for family, attributes in _dump(_GET_TABLE)
        if _number(attributes.get(2, b"")) & _DORMANT
    }
    found: dict[tuple[int, str, str], Chain] = {}
    for family, attributes in _dump(_GET_CHAIN):
        table, name = _text(attributes[1]), _text(attributes[3])  # NFTA_CHAIN_TABLE, NFTA_CHAIN_NAME
        hook = _parse(attributes[4]) if 4 in attributes else {}  # NFTA_CHAIN_HOOK: HOOKNUM 1, PRIORITY 2
        number = struct.unpack("!I", hook[1])[0] if 1 in hook else None
        priority = struct.unpack("!i", hook[2])[0] if 2 in hook else 0
        policy = struct.unpack("!I", attributes[5])[0] if 5 in attributes else _ACCEPT  # NFTA_CHAIN_POLICY
        if family in _FAMILIES and (family, table) not in asleep:
            found[family, table, name] = Chain(family, table, name, number, priority, policy, [])
    for family, attributes in _dump(_GET_RULE):
        key = family, _text(attributes[1]), _text(attributes[2])  # NFTA_RULE_TABLE, NFTA_RULE_CHAIN
        if key in found:
            found[key].rules.append([*_expressions(attributes.get(4, b""))])  # NFTA_RULE_EXPRESSIONS
    return list(found.values())


def walk(chains: list[Chain], packet: Packet) -> Walked:
    """Return what the chains make of a packet.

    Raises UnclearError, DroppedError and UntrackedError of `rules`.
    """
    named = {(chain.family, chain.table, chain.name): chain for chain in chains}
    bases = [chain for chain in chains if chain.hook == packet.hook and packet.family in _FAMILIES[chain.family]]
    for base in sorted(bases, key=lambda chain: chain.priority):
        machine = _Machine(named, packet)
        verdict = machine.run(base)
        packet = machine.packet
        if verdict == _DROP or (verdict in (_CONTINUE, _RETURN) and base.policy == _DROP):
            raise rules.DroppedError
        if machine.port:
            return Walked(machine.port, packet, machine.rule, machine.redirected)
    return Walked(rules.PASSED, packet)


class _Machine:
    """The registers of nf_tables, for one packet in one base chain."""

    def __init__(self, chains: dict[tuple[int, str, str], Chain], packet: Packet) -> None:
        self.chains = chains
        self.packet = packet
        self.port = rules.PASSED
        # Of the rule that is being walked. A table of the family inet has one rule for both families.
        self.rule = ""
        self.redirected: int | None = None
        self.registers = bytearray(16 + 4 * 20)

    def run(self, chain: Chain) -> int:
        """Return the verdict of a chain's rules, _CONTINUE at its end."""
        for number, rule in enumerate(chain.rules):
            self.rule = f"{chain.family} {chain.table} {chain.name} {number}"
            verdict, target = self._rule(rule)
            if verdict in (_JUMP, _GOTO):
                called = self.chains.get((chain.family, chain.table, target))
                if called is None:  # the rules are listed after the chains, and somebody lays them meanwhile
                    raise rules.UnclearError(f"chain {target}, which was made while the rules were read")
                inner = self.run(called)
                if verdict == _GOTO:
                    return inner if inner in (_ACCEPT, _DROP) else _RETURN
                verdict = inner if inner in (_ACCEPT, _DROP) else _CONTINUE
            if verdict in (_ACCEPT, _DROP, _RETURN):
                return verdict
        return _CONTINUE

    def _rule(self, rule: list[tuple[str, _Attributes]]) -> tuple[int, str]:
        self.redirected = None
        for name, attributes in rule:
            evaluate = getattr(self, f"_{name}", None)
            if evaluate is None:
                raise rules.UnclearError(f"expression {name}")
            verdict = evaluate(attributes)
            if verdict is not None:
                code, target = verdict
                if code == _BREAK:
                    return _CONTINUE, ""
                return code, target
        return _CONTINUE, ""

    # The expressions, by their names: each returns None to go on, or a verdict and the chain that it names.

    def _meta(self, attributes: _Attributes) -> None:
        key = _number(attributes[2])
        if 3 in attributes:  # NFTA_META_SREG: it sets
            if key == 3:
                self.packet = self.packet._replace(mark=struct.unpack("=I", self._get(attributes[3], 4))[0])
            elif key != 12:  # NFT_META_NFTRACE
                raise rules.UnclearError(f"sets meta {key}")
            return
        packet = self.packet
        values = {
            1: b"\x08\x00" if packet.family == 4 else b"\x86\xdd",  # NFT_META_PROTOCOL
            3: struct.pack("=I", packet.mark),
            6: packet.interface_in.encode().ljust(16, b"\0"),
            7: packet.interface_out.encode().ljust(16, b"\0"),
            10: struct.pack("=I", packet.user),  # NFT_META_SKUID, NFT_META_SKGID
            11: struct.pack("=I", packet.group),
            15: bytes([2 if packet.family == 4 else 10]),  # NFT_META_NFPROTO
            16: bytes([TCP]),  # NFT_META_L4PROTO
        }
        if key not in values:
            raise rules.UnclearError(f"meta {key}")
        self._set(attributes[1], values[key])

    def _ct(self, attributes: _Attributes) -> None:
        key = _number(attributes[2])
        if 4 in attributes:  # NFTA_CT_SREG: it sets the connection's mark or zone, which no rule of it asks for here
            return
        if key == 3:  # NFT_CT_MARK, of a new connection
            self._set(attributes[1], bytes(4))
        elif key == 0:  # NFT_CT_STATE: NF_CT_STATE_BIT(IP_CT_NEW)
            self._set(attributes[1], struct.pack("=I", 8))
        else:
            raise rules.UnclearError(f"ct {key}")

    def _payload(self, attributes: _Attributes) -> None:
        base, offset, length = (_number(attributes[number]) for number in (2, 3, 4))
        headers = {1: self.packet.network_header, 2: self.packet.transport_header}
        if 1 not in attributes or base not in headers or offset + length > len(headers[base]):
            raise rules.UnclearError(f"payload of header {base}")
        self._set(attributes[1], headers[base][offset : offset + length])

    def _cmp(self, attributes: _Attributes) -> tuple[int, str] | None:
        wanted = _parse(attributes[3])[1]
        held = self._get(attributes[1], len(wanted))
        return None if _OPERATORS[_number(attributes[2])](held, wanted) else (_BREAK, "")

    def _bitwise(self, attributes: _Attributes) -> None:
        if 6 in attributes and _number(attributes[6]) != 0:  # NFTA_BITWISE_OP: NFT_BITWISE_MASK_XOR is 0
            raise rules.UnclearError("bitwise shift")
        mask, flip = (_parse(attributes[number])[1] for number in (4, 5))
        held = self._get(attributes[1], len(mask))
        self._set(attributes[2], bytes(one & two ^ three for one, two, three in zip(held, mask, flip, strict=True)))

    def _byteorder(self, attributes: _Attributes) -> None:
        if _number(attributes[5]) != 4 or _number(attributes[4]) != 4:  # NFTA_BYTEORDER_SIZE, _LEN
            raise rules.UnclearError("byteorder of other than one number of 4 bytes")
        held = self._get(attributes[1], 4)
        self._set(attributes[2], held[::-1] if sys.byteorder == "little" else held)

    def _range(self, attributes: _Attributes) -> tuple[int, str] | None:
        first, last = (_parse(attributes[number])[1] for number in (3, 4))
        within = first <= self._get(attributes[1], len(first)) <= last
        return None if within != bool(_number(attributes[2])) else (_BREAK, "")  # NFT_RANGE_EQ 0, NEQ 1

    def _immediate(self, attributes: _Attributes) -> tuple[int, str] | None:
        data = _parse(attributes[2])
        if 2 in data:  # NFTA_DATA_VERDICT: CODE 1, CHAIN 2
            verdict = _parse(data[2])
            return struct.unpack("!i", verdict[1])[0], _text(verdict.get(2, b""))
        self._set(attributes[1], data[1])
        return None

    def _redir(self, attributes: _Attributes) -> tuple[int, str]:
        # NFTA_REDIR_REG_PROTO_MIN; without it the port stays
        kept = self.packet.destination_port
        self.port = struct.unpack("!H", self._get(attributes[1], 2))[0] if 1 in attributes else kept
        return _ACCEPT, ""

    def _match(self, attributes: _Attributes) -> tuple[int, str] | None:
        name, revision, info = _text(attributes[1]), _number(attributes[2]), attributes[3]
        return None if rules.matches(name, revision, info, self.packet) else (_BREAK, "")

    def _target(self, attributes: _Attributes) -> tuple[int, str] | None:
        name, revision, info = _text(attributes[1]), _number(attributes[2]), attributes[3]
        if name == "REDIRECT":
            self.port = rules.redirected_to(self.packet.family, info)
            return _ACCEPT, ""
        self.packet = rules.after_target(name, revision, info, self.packet)
        return None

    def _notrack(self, _: _Attributes) -> None:
        raise rules.UntrackedError

    def _counter(self, attributes: _Attributes) -> None:
        self.redirected = _number(attributes[2])  # NFTA_COUNTER_PACKETS

    def _log(self, _: _Attributes) -> None:
        """Log nothing."""

    def _get(self, register: bytes, length: int) -> bytes:
        at = _place(register)
        return bytes(self.registers[at : at + length])

    def _set(self, register: bytes, value: bytes) -> None:
        at = _place(register)
        padded = value + bytes(-len(value) % 4)
        self.registers[at : at + len(padded)] = padded


def _place(register: bytes) -> int:
    """Return where a register is: NFT_REG_1 to 4 have 16 bytes each, NFT_REG32_00 (8) and after it four."""
    number = _number(register)
    return 16 * number if number < 8 else 16 + 4 * (number - 8)


def _expressions(content: bytes) -> Iterator[tuple[str, _Attributes]]:
    for _, element in _parts(content):  # NFTA_LIST_ELEM, each with NFTA_EXPR_NAME 1 and NFTA_EXPR_DATA 2
        expression = _parse(element)
        yield _text(expression[1]), _parse(expression.get(2, b""))


def _dump(kind: int) -> Iterator[tuple[int, _Attributes]]:
    """Yield each object of a kind: its family and its attributes."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER) as asked:
        # struct nlmsghdr; struct nfgenmsg: nfgen_family (all), version, res_id
        asked.send(struct.pack("=IHHIIBBH", 20, _SUBSYSTEM | kind, _REQUEST_DUMP, 1, 0, 0, 0, 0))
        while True:
            answer = memoryview(asked.recv(1 << 18))
            while answer:
                length, number = struct.unpack_from("=IH", answer)
                if number == _DONE:
                    return
                if number == _ERROR:
                    raise OSError(-struct.unpack_from("=i", answer, 16)[0], "the kernel doesn't list nftables' rules")
                yield answer[16], _parse(bytes(answer[20:length]))
                answer = answer[(length + 3) & ~3 :]


def _parts(content: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(content):
        length, kind = struct.unpack_from("=HH", content, at)
        yield kind & _NEST, content[at + 4 : at + length]
        at += (length + 3) & ~3


def _parse(content: bytes) -> _Attributes:
    return dict(_parts(content))


def _number(value: bytes) -> int:
    return int.from_bytes(value, "big")


def _text(value: bytes) -> str:
    return value.split(b"\0", 1)[0].decode(errors="surrogateescape")

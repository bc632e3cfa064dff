"""The DELs of one record, without processes: which are called, and what one of them can do to the others."""

from __future__ import annotations

from typing import Any

import pytest

from cni_chain.plugin.call import Call
from cni_chain.plugin.errors import CNIError
from cni_chain.plugin.facade import Facade, Owner
from cni_chain.plugin.invoke import Invoker
from cni_chain.plugin.log import Log
from cni_chain.plugin.record import Attachment, Record, RecordedDelegate
from cni_chain.plugin.request import Request
from cni_chain.plugin.spec import CmdArgs
from cni_chain.plugin.undoing import Undoing

TYPES = ("cilium-cni", "istio-cni", "portmap")


class Delegates(Invoker):
    """Delegates that answer what the table says, and are written down."""

    def __init__(self, call: Call, failures: dict[str, Exception]) -> None:
        super().__init__(call.request, call.chain.owner, call.state, call.log)
        self.failures = failures
        self.ran: list[str] = []

    def find(self, delegate: Any) -> str:
        return f"/bin/{delegate.type}"

    def supported_versions(self, delegate: Any, file: str, deadline: float) -> tuple[str, ...]:
        del delegate, file, deadline
        return ("1.1.0",)

    def run(self, delegate: Any, *args: Any, **how: Any) -> None:
        del args, how
        self.ran.append(delegate.type)
        if delegate.type in self.failures:
            raise self.failures[delegate.type]


def a_call(failures: dict[str, Exception], state_dir: str) -> tuple[Call, Delegates]:
    facade = Facade()
    facade.owners = [Owner("o")]
    facade.state_dir = facade.chain_dir = state_dir
    args = CmdArgs("DEL", container_id="c1", ifname="eth0", path="/bin")
    call = Call(Request(args, {"name": "net"}, "1.1.0", facade, {}), Log(args, "net"))
    call.invoker = delegates = Delegates(call, failures)
    return call, delegates


def a_record() -> Record:
    delegates = [
        RecordedDelegate(
            owner="o",
            type=name,
            path=f"/etc/{name}.conf",
            conf={"type": name},
            capabilities=[],
            version="1.1.0",
            disable_check=False,
            on_del_error="retry",
        )
        for name in TYPES
    ]
    return Record(Attachment("net", "c1", "eth0"), delegates, {"path": "/bin", "netns": "", "cniArgs": ""}, 1.5)


@pytest.mark.parametrize(
    ("failures", "ran", "pending", "codes"),
    [
        pytest.param({}, [2, 1, 0], [], [], id="none"),
        pytest.param({1: CNIError(12, "no")}, [2, 1], [0, 1], [12], id="the-middle-one"),
        pytest.param({0: CNIError(12, "no")}, [2, 1, 0], [0], [12], id="the-first"),
        pytest.param({2: RuntimeError("x"), 1: ValueError("y")}, [2, 1], [0, 1, 2], [999, 999], id="by-an-exception"),
        pytest.param({2: OSError(5, "Input/output error")}, [2, 1], [0, 2], [5], id="by-the-system"),
    ],
)
def test_a_failure_costs_one_delegate_and_keeps_the_addresses(
    failures: dict[int, Exception], ran: list[int], pending: list[int], codes: list[int], tmp_path: Any
) -> None:
    call, delegates = a_call({TYPES[index]: error for index, error in failures.items()}, str(tmp_path))
    record = a_record()

    errors = Undoing(call, record, on_disk=False).run(call.request.deadline)

    assert delegates.ran == [TYPES[index] for index in ran]
    assert record.pending == pending
    assert [error.code for error in errors] == codes


def test_what_is_unknown_before_keeps_the_addresses_too(tmp_path: Any) -> None:
    call, delegates = a_call({}, str(tmp_path))

    errors = Undoing(call, a_record(), on_disk=False).run(
        call.request.deadline, before=[CNIError(7, "owner x: refused")]
    )

    assert delegates.ran == ["portmap", "istio-cni"]
    assert [error.msg for error in errors] == ["owner x: refused"]

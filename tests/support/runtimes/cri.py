"""A kubelet's side of the CRI (runtime.v1): what it says of a pod, and the calls it makes. Needs grpcio alone."""

import json
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple, cast

import grpc

from tests.support.runtimes.protobuf import Decoded, Message, encode

# How long a call may take, unless its test says otherwise: far more than any does on a busy machine.
PATIENCE = 120.0
PAUSE, BUSYBOX = "test.local/pause:1", "test.local/busybox:1"


class CriError(Exception):
    """A call failed. As text it is what a kubelet logs, and what it puts into the pod's event."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"rpc error: code = {code.title().replace('_', '')} desc = {message}")
        self.code = code
        self.message = message


class Namespaces(IntEnum):
    """Whose PID namespace a container has (NamespaceMode)."""

    POD = 0
    CONTAINER = 1


class Port(NamedTuple):
    container: int
    host: int


@dataclass(frozen=True)
class PodConfig:
    """What a kubelet says of a pod."""

    name: str
    namespace: str = "default"
    cgroup: str = "/cni-chain-tests"
    ports: tuple[Port, ...] = ()
    annotations: dict[str, str] = field(default_factory=dict)
    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()

    def message(self) -> Message:
        """PodSandboxConfig."""
        dns: Message | None = {1: list(self.servers), 2: list(self.searches)} if self.servers else None
        return {
            1: {1: self.name, 2: f"uid-{self.name}", 3: self.namespace},
            2: self.name,
            3: "/var/log/pods",
            4: dns,
            5: [{2: port.container, 3: port.host} for port in self.ports],
            6: table({"app": self.name}),
            7: table(self.annotations),
            8: {1: self.cgroup, 2: {1: {2: Namespaces.CONTAINER}}},
        }


def table(entries: dict[str, str]) -> list[Message]:
    return [{1: key, 2: value} for key, value in entries.items()]


class Condition(NamedTuple):
    """One of the runtime's own conditions, as the kubelet makes the node's Ready of it."""

    true: bool
    reason: str
    message: str


@dataclass(frozen=True)
class SandboxStatus:
    """What the runtime says of a pod."""

    ready: bool
    ip: str
    more_ips: tuple[str, ...]
    info: dict[str, Any]

    @property
    def netns(self) -> str:
        """The pod's network namespace, where the runtime has pinned it."""
        namespaces: list[dict[str, str]] = self.info["runtimeSpec"]["linux"]["namespaces"]
        [path] = [namespace.get("path", "") for namespace in namespaces if namespace["type"] == "network"]
        return path


class Client:
    """Calls to a runtime's socket."""

    def __init__(self, socket: str) -> None:
        self._channel = grpc.insecure_channel(f"unix://{socket}", options=[("grpc.enable_http_proxy", 0)])

    def close(self) -> None:
        self._channel.close()

    def _call(self, method: str, request: Message, timeout: float = PATIENCE) -> Decoded:
        call = self._channel.unary_unary(
            f"/runtime.v1.RuntimeService/{method}", request_serializer=encode, response_deserializer=Decoded
        )
        try:
            answer = call(request, timeout=timeout)
        except grpc.RpcError as e:
            failed = cast("grpc.Call", e)
            raise CriError(failed.code().name, failed.details() or "") from e
        assert isinstance(answer, Decoded)
        return answer

    def version(self) -> str:
        """Name and version of the runtime."""
        answer = self._call("Version", {1: "v1"})
        return f"{answer.text(2)} {answer.text(3)}"

    def conditions(self) -> dict[str, Condition]:
        found = self._call("Status", {}).message(1).messages(1)
        return {one.text(1): Condition(bool(one.number(2)), one.text(3), one.text(4)) for one in found}

    def network(self) -> Condition:
        return self.conditions()["NetworkReady"]

    def info(self) -> dict[str, str]:
        """What a verbose Status adds."""
        return self._call("Status", {1: True}).table(2)

    def run(self, pod: PodConfig, timeout: float = PATIENCE) -> str:
        """RunPodSandbox; the sandbox's ID."""
        return self._call("RunPodSandbox", {1: pod.message()}, timeout).text(1)

    def stop(self, sandbox: str, timeout: float = PATIENCE) -> None:
        self._call("StopPodSandbox", {1: sandbox}, timeout)

    def remove(self, sandbox: str) -> None:
        self._call("RemovePodSandbox", {1: sandbox})

    def status(self, sandbox: str) -> SandboxStatus:
        answer = self._call("PodSandboxStatus", {1: sandbox, 2: True})
        status = answer.message(1)
        network = status.message(5)
        info = json.loads(answer.table(2).get("info", "{}"))
        more = tuple(ip.text(1) for ip in network.messages(2))
        return SandboxStatus(status.number(3) == 0, network.text(1), more, info)

    def sandboxes(self) -> list[str]:
        """The IDs of all sandboxes, in whatever state they are."""
        return [one.text(1) for one in self._call("ListPodSandbox", {}).messages(1)]

    def running(self) -> dict[str, tuple[str, str]]:
        """The sandboxes that are ready: ID → the pod's namespace and name."""
        pods = self._call("ListPodSandbox", {}).messages(1)
        named = {pod.text(1): pod.message(2) for pod in pods if pod.number(3) == 0}
        return {sandbox: (name.text(3), name.text(1)) for sandbox, name in named.items()}

    def container(
        self, sandbox: str, pod: PodConfig, *command: str, image: str = BUSYBOX, arguments: tuple[str, ...] = ()
    ) -> str:
        """A container of the pod, made and started; its ID. Without a command the image's own gets the arguments."""
        config: Message = {
            1: {1: "main"},
            2: {1: image, 18: image},
            3: list(command),
            4: list(arguments),
            11: "main.log",
            15: {2: {3: {2: Namespaces.CONTAINER}}},
        }
        made = self._call("CreateContainer", {1: sandbox, 2: config, 3: pod.message()}).text(1)
        self._call("StartContainer", {1: made})
        return made

    def containers(self, sandbox: str) -> list[str]:
        return [one.text(1) for one in self._call("ListContainers", {1: {3: sandbox}}).messages(1)]

    def kill_container(self, container: str) -> None:
        """StopContainer, without grace."""
        self._call("StopContainer", {1: container})

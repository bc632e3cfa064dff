"""What a stand-in is told to do wrong: a file of orders, which it looks at with every call."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Order:
    """Calls that match `call`, a regular expression for all of "METHOD path", get this answer.

    `hang`: no answer for as long as the order stands; after that the usual one. `late`: the usual one, after so many
    seconds.
    """

    call: str
    status: int = 503
    body: object = None
    hang: bool = False
    late: float = 0

    def concerns(self, call: str) -> bool:
        return re.fullmatch(self.call, call) is not None


def kubernetes_status(code: int, reason: str, message: str) -> dict[str, object]:
    """A failure as the Kubernetes API tells it."""
    words = {"status": "Failure", "code": code, "reason": reason, "message": message}
    return {"apiVersion": "v1", "kind": "Status"} | words


# Cilium's agent: unable to load a policy; with an endpoint that does not work.
ENDPOINT_REFUSED = Order(r"PUT /v1/endpoint/.*", 500, "endpoint failed to regenerate (as ordered)")
UNHEALTHY = Order(r"GET /v1/endpoint/.*/healthz", 200, {"overallHealth": "Failure", "bpf": "Failure"})
# Istio's node agent: up, but unable to enrol a pod.
ENROLMENT_FAILS = Order(r"POST /cmdadd", 500, "as ordered")
# The Kubernetes API: with the namespaces out of reach; with no answer about them; to a token that has expired.
NAMESPACES_FAIL = Order(r"GET /api/v1/namespaces/[^/]+", 503, {})
NAMESPACES_HANG = Order(r"GET /api/v1/namespaces/[^/]+", hang=True)
UNAUTHORIZED = Order(r".*", 401, kubernetes_status(401, "Unauthorized", "Unauthorized"))


def slow(seconds: float) -> Order:
    """All is well, but each answer takes so long."""
    return Order(r".*", late=seconds)


def give(file: Path, orders: Sequence[Order]) -> None:
    """Write the orders; they hold from the next call on."""
    temporary = file.with_name(f".{file.name}.new")
    temporary.write_text(json.dumps([asdict(order) for order in orders]))
    temporary.replace(file)


def standing(file: Path | None) -> list[Order]:
    """The orders of now. No file is no order."""
    try:
        return [Order(**order) for order in json.loads(file.read_bytes())] if file else []
    except FileNotFoundError:
        return []


def concerning(file: Path | None, call: str) -> Order | None:
    """The first order for a call."""
    return next((order for order in standing(file) if order.concerns(call)), None)

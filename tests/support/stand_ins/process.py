"""A stand-in as a process in a sandbox, for a test: started, stopped, killed, given orders, asked what it was asked."""

import contextlib
import os
import signal
import subprocess
import sys
import time

from tests.support.sandbox.namespaces import CHECKOUT, Sandbox, members
from tests.support.stand_ins import calls, orders
from tests.support.stand_ins.calls import Call
from tests.support.stand_ins.orders import Order

# In the sandbox, whose /tmp is its own.
PLACE = "/tmp/stand-ins"  # noqa: S108
PYTHONPATH = {"PYTHONPATH": str(CHECKOUT), "PYTHONDONTWRITEBYTECODE": "1"}


class Process:
    """One stand-in, by its module's name: cilium, istio or kubernetes."""

    def __init__(self, sandbox: Sandbox, name: str, *arguments: str, files: str = "") -> None:
        """`files`: what its files are called, if there is another one of that name."""
        self.name = name
        self._sandbox = sandbox
        place = sandbox.path(PLACE)
        place.mkdir(parents=True, exist_ok=True)
        files = files or name
        given = [f"--calls={PLACE}/{files}.calls", f"--orders={PLACE}/{files}.orders", *arguments]
        self._command = [sys.executable, "-m", f"tests.support.stand_ins.{name}", *given]
        self._calls, self._orders = place / f"{files}.calls", place / f"{files}.orders"
        self._stack: contextlib.ExitStack | None = None
        self._process: subprocess.Popen[str] | None = None
        self._seen = 0

    def start(self) -> None:
        """Returns when it answers."""
        assert self._stack is None, f"{self.name} runs"
        self._stack = contextlib.ExitStack()
        self._process = self._stack.enter_context(self._sandbox.running(*self._command, env=PYTHONPATH))

    def stop(self) -> None:
        """As a DaemonSet's rollout stops it: its socket goes with it."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """As when it runs out of memory: its socket stays, and nobody answers there."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """It is there, takes connections and answers none, until `thaw`."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGCONT)  # nsenter stops with its child, and continues it
        self._signal(signal.SIGCONT)

    @property
    def runs(self) -> bool:
        return self._stack is not None

    def order(self, *given: Order) -> None:
        """From the next call on, and instead of earlier orders. None: it does all right again."""
        orders.give(self._orders, given)

    def calls(self) -> list[Call]:
        """All that it was ever asked."""
        return calls.recorded(self._calls)

    def news(self) -> list[Call]:
        """What it was asked since this was last called."""
        now = self.calls()
        new = now[self._seen :]
        self._seen = len(now)
        return new

    def close(self) -> None:
        if self._stack:
            self._end(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        assert self._process
        for pid in members(self._process):
            with contextlib.suppress(ProcessLookupError):  # it has just ended, of an earlier signal
                os.kill(pid, number)

    def _end(self, number: int) -> None:
        assert self._stack is not None, f"{self.name} does not run"
        assert self._process
        self._signal(number)
        process = self._process
        end = time.monotonic() + 60
        while process.poll() is None:
            assert time.monotonic() < end, f"{self.name} does not end"
            self.thaw()  # a frozen one ends too
            time.sleep(0.01)
        self._stack.close()
        self._stack = self._process = None

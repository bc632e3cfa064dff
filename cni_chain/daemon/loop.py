"""The agent's process: look at the node, do what it needs, say what it is, and wait until something changes."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import IO, Any, NamedTuple, NoReturn

from cni_chain.change import installed
from cni_chain.checks.glance import Glance
from cni_chain.checks.wording import printable
from cni_chain.daemon import report
from cni_chain.daemon.collecting import Collector
from cni_chain.daemon.converging import Converging
from cni_chain.daemon.entering import Image, is_outside
from cni_chain.daemon.metrics import CONTENT_TYPE, Metrics
from cni_chain.daemon.report import Report
from cni_chain.daemon.serving import JSON, Answer, Server
from cni_chain.daemon.wanted import Wanted
from cni_chain.daemon.watch import Watch
from cni_chain.node import facades
from cni_chain.node.errors import RefusedError
from cni_chain.node.following import Follower
from cni_chain.node.survey import Survey
from cni_chain.node.tree import Tree
from cni_chain.plugin.facade import LOG_FILE

LOCK = "/run/cni-chain/agent.lock"
# Of no host (RFC 6761). A kubelet follows no redirect to another host: it counts it as alive, and writes the body into
# an event of the pod. It does that with no other answer.
ELSEWHERE = "http://not-ready.invalid/"

_SETTLE = 0.2  # seconds after a change until the node is looked at, for writers that make several
_REPEATED = 600.0  # seconds after which the log has the report again: whoever reads its end finds one
_LEAST = 1.0  # seconds between two looks, however often something changes
_SOON, _LONGER = 1.0, 2.0  # seconds until a node that isn't ready is looked at again, and how that grows
_MORE_WATCHES = "other programs may have too many watches: raise fs.inotify.max_user_instances on this node"


class Process(NamedTuple):
    """What the command line gives to the agent beside what is wanted."""

    listen: tuple[str, int]
    every: float  # seconds between two looks
    collect: float  # seconds between two clean-ups, 0: none
    words: list[str]  # of the command line, for the program that is installed
    image: int | None  # the descriptor of the container's program, in the node
    document: Callable[[str, dict[str, Any]], str]  # a kind and its members as a document for programs


class Agent:
    """One agent, with what it knows of its node."""

    def __init__(self, wanted: Wanted, process: Process) -> None:
        """Raises RefusedError if the port can't be had."""
        self.wanted = wanted
        self.process = process
        self.metrics = Metrics(time.time())
        self.report = report.unseen(wanted.state, "the node was not looked at yet", self._named(), refused=False)
        self._looked = time.time()
        self._said = 0.0  # when the log last had the report
        self._followers: dict[str, Follower] = {}
        self._reading = threading.Lock()
        self._server = Server(*process.listen, self.answer)

    def _named(self) -> list[str]:
        return [entry["name"] for entry in self.wanted.owners or ()]

    def answer(self, path: str) -> Answer:
        """Return the answer to a request."""
        known = self.report
        if path == "/healthz":
            return Answer(200, "ok\n")
        if path == "/livez":
            return Answer(200, "ok\n") if known.ready else Answer(307, known.text(), location=ELSEWHERE)
        if path == "/readyz":
            return Answer(200 if known.ready else 503, known.text())
        if path.startswith("/readyz/"):
            return _of_owner(known, path.removeprefix("/readyz/"))
        if path == "/metrics":
            self._read_logs()
            return Answer(200, self.metrics.text(known, self._looked), CONTENT_TYPE)
        if path == "/status":
            return self._status(known)
        return Answer(404, "/healthz, /livez, /readyz, /readyz/OWNER, /metrics, /status\n")

    def _status(self, known: Report) -> Answer:
        if known.status is None:
            return Answer(503, self.process.document("agent", {"agent": known.document()}), JSON)
        return Answer(200, self.process.document("status", known.status | {"agent": known.document()}), JSON)

    def enter(self) -> None:
        """Go on as the program that is installed on the node, if this process is in a container.

        While that is refused, say so, and try again.
        """
        pause = _SOON
        image = None
        while True:
            try:
                if not is_outside():
                    return
                image = image or Image()  # one descriptor, however often it is refused
                image.install(self.wanted)
                if self._server.is_serving:  # a process with threads can't move: begin again as one without
                    os.execv(sys.executable, [sys.executable, *self.process.words])  # noqa: S606  # no shell
                image.go_on(self.wanted, self.process.words)
            except RefusedError as error:
                self._refused(str(error))
            except OSError as error:
                self._refused(_words(error))
            self._server.start()
            time.sleep(pause)
            pause = min(pause * _LONGER, self.process.every)

    def run(self) -> NoReturn:
        """Keep the node, until a signal comes."""
        self._server.start()
        self._held = self._alone()
        tree = Tree()
        source = installed.running() if self.process.image is None else Image(self.process.image).source
        converging = Converging(tree, self.wanted, source)
        program = f"{self.wanted.bin_dir}/{installed.NAME}"
        where = ["--net-dir", self.wanted.net_dir, "--bin-dir", self.wanted.bin_dir]
        collector = Collector(program, where, self.process.collect)
        watch = Watch([self.wanted.net_dir, self.wanted.bin_dir], [self.wanted.chains], converging.paths.facade)
        pause = _SOON
        while True:
            begun = time.monotonic()
            found = self._look(converging, watch)
            if found is not None:
                collector.collect(found.node.states, self._collected)
            self._read_logs()
            pause = self.process.every if self.report.ready else min(pause, self.process.every)
            if watch.wait(pause):
                pause = _SOON
                time.sleep(max(_SETTLE, _LEAST - (time.monotonic() - begun)))
            else:
                pause *= _LONGER

    def _alone(self) -> IO[str]:
        """Return the lock that one agent of a node has, as soon as it can be had."""
        pause = _SOON
        while True:
            try:
                os.makedirs(os.path.dirname(LOCK), mode=0o700, exist_ok=True)
                # Until this process ends. Whoever can open it can hold it: so only root.
                held = open(os.open(LOCK, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "a+")  # noqa: SIM115
                os.fchmod(held.fileno(), 0o600)
                try:
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    held.seek(0)
                    other = held.read(32).strip() or "unknown"
                    held.close()
                    raise RefusedError(f"{LOCK}: another agent keeps this node, process {other}") from None
                held.truncate(0)
                held.write(f"{os.getpid()}\n")
                held.flush()
            except OSError as error:
                self._refused(_words(error))
            except RefusedError as error:
                self._refused(str(error))
            else:
                return held
            time.sleep(pause)
            pause = min(pause * _LONGER, self.process.every)

    def _look(self, converging: Converging, watch: Watch) -> Glance | None:
        """Take a step, and report what the node is then; return what was found, None if it can't be looked at."""
        found = None
        try:
            standing = converging.step()
            _tell(converging)
            found = self._glance(converging.tree)
            self._follow(found)  # before it is said to be ready: every call from then on counts
            self._looked = time.time()
            limit, warnings = converging.limit, self._warnings(watch)
            self._say(report.of(self.wanted.state, standing, limit, found, self._named(), watch.writer(), warnings))
        except RefusedError as error:
            self._refused(str(error))
        except OSError as error:
            self._refused(_words(error))
        except Exception as error:  # noqa: BLE001  # a node that isn't ready says why; a process that ends does not
            traceback.print_exc()
            self._refused(f"a fault of the agent's own: {type(error).__name__}: {error}")
        _tell(converging)
        return found

    def _warnings(self, watch: Watch) -> tuple[str, ...]:
        if not watch.unwatched:
            return ()
        often = f"{self.process.every:g} s"
        return (f"{watch.unwatched}; what changes there is seen only every {often}: {_MORE_WATCHES}",)

    def _glance(self, tree: Tree) -> Glance:
        directory = facades.look(tree, self.wanted.net_dir)
        bin_dirs = [self.wanted.bin_dir]
        surveys = [Survey(tree, file, bin_dirs, directory.facades) for file in directory.facades]
        return Glance(tree, directory, surveys, bin_dirs, [])

    def _refused(self, reason: str) -> None:
        self._say(report.unseen(self.wanted.state, reason, self._named()))

    def _say(self, known: Report) -> None:
        before, self.report = self.report, known
        now = time.monotonic()
        if before.verdict() != known.verdict() or now - self._said > _REPEATED:
            self._said = now
            _print(known.line())

    def _collected(self, freed: int, failures: list[str]) -> None:
        self.metrics.collected(freed, failed=bool(failures))
        _print({"did": f"freed {freed} attachments", "failed": failures})

    def _follow(self, found: Glance) -> None:
        """Follow the logs that the facades name now."""
        paths = {survey.facade.log_file for survey in found.node.surveys if survey.facade.log_file} or {LOG_FILE}
        with self._reading:
            for path in paths - self._followers.keys():
                self._followers[path] = Follower(path)
            for path in self._followers.keys() - paths:
                self._followers.pop(path).close()

    def _read_logs(self) -> None:
        with self._reading:
            for follower in self._followers.values():
                self.metrics.read(follower.lines())


def _tell(converging: Converging) -> None:
    """Log what was done."""
    for text in converging.did:
        _print({"did": text})
    converging.did.clear()


def _of_owner(known: Report, name: str) -> Answer:
    why = known.owners.get(name)
    if why is None:
        return Answer(404, f"no owner {printable(name)}\n")
    return Answer(503, f"not ready: {printable(why)}\n") if why else Answer(200, "ready\n")


def _words(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)


def _print(members: dict[str, Any]) -> None:
    moment = time.time()
    text = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(moment))}.{int(moment % 1 * 1000):03d}Z"
    with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
        print(json.dumps({"time": text, **members}), flush=True)


def main(wanted: Wanted, process: Process) -> NoReturn:
    """Be the agent. Raises RefusedError if its port can't be had."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))  # the node is whole after each step
    agent = Agent(wanted, process)
    agent.enter()
    agent.run()

"""The calls in which system calls are made to fail, each with what a node is like before and what must hold after.

Three owners have one plugin each, which succeeds in everything. Whatever has been run for a pod was run with the
fragments of generation "then"; by the time of the call they are of generation "now", so that a DEL with today's
configuration in place of the recorded one is seen.
"""

import json
import os
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.lab.faults.inject import Ended, Fault, Injector
from tests.support.files.node import Call, Json, Node, alive
from tests.support.files.outcome import PATIENCE

OWNERS = {"cilium": "cilium-cni", "istio": "istio-cni", "local": "portmap"}
FORWARD = tuple(OWNERS.values())
FIRST, BACKWARD = FORWARD[0], FORWARD[::-1]
THEN, NOW = "then", "now"
# Of the state directory, what belongs to no attachment.
SHARED = (".lock", ".versions", ".new-.versions")
TIMEOUTS = {"ADD": 4, "DEL": 4, "CHECK": 4, "GC": 5, "STATUS": 2}  # of a call that a fault may make hang


class Ran(NamedTuple):
    """One call of a delegate that came as far as reading its configuration; `ended` if it then came to its end."""

    verb: str
    type: str
    container: str
    generation: str
    conf: Json
    started: int
    ended: int | None


class Violation(NamedTuple):
    """What must never be: of which kind, and what of it was seen."""

    kind: str
    seen: str = ""


SOMETHING_LEFT = "success that left something"
NOT_DELETED = "success without every delegate's DEL"
TODAYS = "success with today's configuration in place of the recorded"
INCOMPLETE = "success that is incomplete"
LOST = "record lost"
FORGOTTEN = "a stranded record that nobody retries"
GONE = "failure whose record is gone, all its DELs done"
RECORDED = "failure that recorded what was never known"
SET_ASIDE = "record set aside though it is whole"
TOUCHED = "a listed attachment touched"
EARLY = "address freed under a plugin that refers to it"
NO_ANSWER = "no error object"
INTERNAL = "error 999"
TRACEBACK = "traceback"
HUNG = "hung"
RUNNING = "a delegate left running"
NOT_HEALED = "the clean call after it fails or leaves something"


class Scene:
    """One call on one node. A subclass says which, and what it takes for a success."""

    name = ""
    verb = "DEL"
    # Where a file must be to be in the bounded set, as a folder of the node; what else is called is as in other scenes.
    focus: tuple[str, ...] = ()
    startup = False  # whether what comes before the request is read is tried here: it is the same in all
    refused = False  # the fragments are such that nothing of them may be run
    pods: tuple[str, ...] = ("c1",)  # what was added before
    recorded = True  # and has its record still
    stay: tuple[str, ...] = ()  # of which something may be left after a success
    fails_with: tuple[str, ...] = ("c1",)  # whose records are gone only if the call succeeds

    def __init__(self, host: Node, injector: Injector) -> None:
        self.host, self._injector = host, injector
        self._saved = host.root / f"saved-{self.name.replace(' ', '-')}"
        self.expected: dict[tuple[str, str, str], Json] = {}  # what each delegate got in a run without a fault
        self.answer = b""
        host.owners.extend({"name": owner, "types": [plugin]} for owner, plugin in OWNERS.items())
        self._fragments(THEN)
        for pod in self.pods:
            self._require(self._plain("ADD", pod))
        self.records = {path.name: path.read_bytes() for path in host.records}
        if not self.recorded:
            for path in host.records:
                path.unlink()
        # What every later call finds known.
        for verb in ("ADD", "DEL"):
            self._require(self._plain(verb, "x"))
        self._before()
        shutil.copytree(host.state_dir, self._saved)

    def _before(self) -> None:
        """Have happen what else has happened on this node."""

    # What is run.

    def reference(self) -> tuple[Ended, list[Violation]]:
        """Run the call without a fault, and keep what it did as what is expected."""
        self.prepare()
        ended = self._traced(None)
        ran = self.ran()
        self.answer = ended.stdout
        self.expected = {(call.verb, call.type, call.container): call.conf for call in ran}
        return ended, self.judge(ended, startup=False)

    def run(self, fault: Fault, *, startup: bool) -> tuple[Ended, list[Violation]]:
        """Run the call with a fault and return what must not be. At `startup` there may be no answer yet."""
        self.prepare()
        ended = self._traced(fault)
        return ended, self.judge(ended, startup=startup)

    def run_limited(self, descriptors: int) -> list[Violation]:
        """Run the call with few descriptors and return what must not be; too few may be none for an answer."""
        self.prepare()
        asked = self._asked(self.verb, self.pods[0], self.refused, timeouts=TIMEOUTS)
        return self.judge(self._injector.limited(self.host.program, *asked, descriptors), startup=True)

    def prepare(self) -> None:
        """Put the node back to where every run begins."""
        self.host.close()
        for folder in (self.host.state_dir, self.host.double_dir / "calls"):
            shutil.rmtree(folder)
        shutil.copytree(self._saved, self.host.state_dir)
        (self.host.double_dir / "calls").mkdir()
        self.host.log.unlink(missing_ok=True)
        self._fragments(self.generation_of_call())

    def generation_of_call(self) -> str:
        return NOW

    def _traced(self, fault: Fault | None) -> Ended:
        asked = self._asked(self.verb, self.pods[0], self.refused, timeouts=TIMEOUTS if fault else None)
        return self._injector.run(self.host.program, *asked, fault)

    def _plain(self, verb: str, pod: str) -> Ended:
        return self._injector.plain(self.host.program, *self._asked(verb, pod, refused=False))

    def _asked(
        self, verb: str, pod: str, refused: bool, timeouts: Mapping[str, int] | None = None
    ) -> tuple[dict[str, str], bytes]:
        for folder in OWNERS:
            self.host.folder(folder).chmod(0o777 if refused else 0o755)
        request: Json = {"timeouts": timeouts} if timeouts else {}
        if verb == "GC":
            pod = ""
            request["cni.dev/valid-attachments"] = [{"containerID": "kept", "ifname": "eth0"}]
        return self.host.attachment(verb, pod), json.dumps(self.host.request(**request)).encode()

    def _require(self, ended: Ended) -> None:
        assert ended.status == 0, ended

    def _fragments(self, generation: str) -> None:
        for owner, plugin in OWNERS.items():
            self.host.fragment(owner, f"10-{plugin}.conf", {"type": plugin, "generation": generation})

    # What is seen.

    def ran(self) -> list[Ran]:
        """The delegates' calls so far, without the questions for their versions."""
        return sorted((ran(call) for call in self.host.calls if call.verb != "VERSION"), key=lambda call: call.started)

    def judge(self, ended: Ended, *, startup: bool) -> list[Violation]:
        """Return what must not be after the call, and after the clean one that follows a failure."""
        if ended.status is None:
            return [Violation(HUNG)]
        found = [*self._left_running(), *self._said(ended, startup)]
        if ended.status == 0:
            found += self.succeeded(ended)
        else:
            found += self._kept()
            found += self.healed()
        return [*found, *self.order(self.ran())]

    def _left_running(self) -> Iterable[Violation]:
        for folder in (self.host.double_dir / "calls").iterdir():
            pid = int(folder.name.split("-")[1])
            until = time.monotonic() + PATIENCE
            while not (folder / "ended").exists() and alive(pid):
                if time.monotonic() > until:
                    yield Violation(RUNNING, folder.name.split("-", 2)[2])
                    break
                time.sleep(0.002)

    def _said(self, ended: Ended, startup: bool) -> Iterable[Violation]:
        log = self.host.log.read_text(errors="replace") if self.host.log.exists() else ""
        if "Traceback" in ended.stderr + log and not startup:
            yield Violation(TRACEBACK, ended.stderr.strip().rpartition("\n")[2])
        if ended.status == 0:
            return
        unwritable = any(call.target == str(self._injector.stdout) for call in ended.calls)
        if not ended.stdout and (startup or unwritable):
            return
        try:
            document = json.loads(ended.stdout)
        except ValueError:
            document = None
        if not isinstance(document, dict) or ended.status != 1 or not {"cniVersion", "code", "msg"} <= document.keys():
            words = ended.stdout.decode(errors="replace")
            yield Violation(NO_ANSWER, f"status {ended.status}, {words[:200]!r}, {ended.stderr.strip()[-200:]!r}")
        elif document["code"] == 999 and not startup:
            yield Violation(INTERNAL, document["msg"])

    def _kept(self) -> Iterable[Violation]:
        """A record stays, in its first line as it was, for as long as its DEL hasn't succeeded."""
        if not self.recorded:
            return
        for name, text in self.records.items():
            path = self.host.state_dir / name
            if (self.host.state_dir / f".damaged-{name}").exists():
                yield Violation(SET_ASIDE, name)
            elif not path.exists():
                done = deleted(self.ran(), pod_of(name), THEN)
                if done < set(FORWARD):
                    yield Violation(LOST, f"had its DEL: {', '.join(sorted(done)) or 'none'}")
                elif pod_of(name) in self.fails_with:
                    yield Violation(GONE, name)
            elif path.read_bytes().split(b"\n")[0] != text.split(b"\n")[0]:
                yield Violation(LOST, "its first line is another")

    def left(self) -> list[str]:
        """What is on disk of the attachments that should be gone."""
        files = [path for path in self.host.state_dir.rglob("*") if not path.is_dir()]
        return [
            path.name for path in files if path.name not in SHARED and not any(pod in path.name for pod in self.stay)
        ]

    def order(self, calls: list[Ran]) -> Iterable[Violation]:
        """The first delegate holds the addresses: its DEL comes when nothing of those behind it is left."""
        for call in calls:
            if (call.verb, call.type) != ("DEL", FIRST):
                continue
            before = [other for other in calls if other.started < call.started and other.container == call.container]
            for kind in BACKWARD[:-1]:
                if self._lives(kind, before, call):
                    yield Violation(EARLY, f"{kind} of {call.container} is still there")

    def _lives(self, kind: str, before: list[Ran], at: Ran) -> bool:
        lives = at.container in self.pods and self.verb != "ADD"
        for call in before:
            if call.type == kind and call.verb == "ADD":
                lives = True
            elif call.type == kind and call.verb == "DEL" and call.ended and call.ended < at.started:
                lives = False
        return lives

    def owed(self) -> dict[str, str]:
        """The pods that a clean DEL must leave nothing of, and the generation of their delegates."""
        return dict.fromkeys(self.pods, THEN if self.recorded else NOW)

    def undone(self, calls: list[Ran], *, kind: str) -> Iterable[Violation]:
        """Every delegate that is owed one had a DEL that came to its end, with the configuration of its ADD."""
        for pod, generation in self.owed().items():
            all_, right = deleted(calls, pod), deleted(calls, pod, generation, self.expected)
            for plugin in BACKWARD:
                if plugin not in right:
                    how = f"{plugin} of {pod} had {'another' if plugin in all_ else 'no'} DEL"
                    yield Violation(TODAYS if plugin in all_ and kind == NOT_DELETED else kind, how)

    # What a subclass may say otherwise.

    def succeeded(self, ended: Ended) -> Iterable[Violation]:
        """What must hold after a success."""
        calls = self.ran()
        if ended.stdout:
            yield Violation(INCOMPLETE, f"an answer: {ended.stdout[:100]!r}")
        yield from self.undone(calls, kind=NOT_DELETED)
        for pod in self.owed():
            order = [call.type for call in calls if call.verb == "DEL" and call.container == pod]
            if [plugin for plugin in BACKWARD if plugin in order] != list(dict.fromkeys(order)):
                yield Violation(INCOMPLETE, f"in the order {order}")
        if self.left():
            yield Violation(SOMETHING_LEFT, ", ".join(self.left()))

    def healed(self) -> Iterable[Violation]:
        """What must hold after a failure and the clean call that follows it."""
        ended = self._plain("DEL", self.pods[0])
        yield from self._clean(ended)
        yield from self.undone(self.ran(), kind=NOT_HEALED)

    def _clean(self, ended: Ended) -> Iterable[Violation]:
        if ended.status != 0:
            yield Violation(NOT_HEALED, ended.stdout.decode(errors="replace").strip()[:200])
        if self.left():
            yield Violation(NOT_HEALED, ", ".join(self.left()))


class Delete(Scene):
    """DEL of a pod with a record."""

    name = "DEL"
    startup = True


class DeleteRefused(Scene):
    """The same, while the fragments are refused: all that is known of the pod is its record."""

    name = "DEL, fragments refused"
    focus: tuple[str, ...] = ("state",)
    refused = True


class DeleteBare(Scene):
    """DEL of a pod without a record, as one of before the migration: the chain as it is now."""

    name = "DEL, no record"
    focus: tuple[str, ...] = ("state", "bin", "chain.d")
    recorded = False

    def _kept(self) -> Iterable[Violation]:
        if self.left():
            yield Violation(RECORDED, ", ".join(self.left()))


class DeleteNothing(DeleteBare):
    """The same, while the fragments are refused: nothing is known, so that it can't be a success."""

    name = "DEL, no record, fragments refused"
    focus: tuple[str, ...] = ("chain.d", "answer")
    refused = True


class DeleteSweeping(Scene):
    """DEL of a pod, after which a stranded one is due for its retry."""

    name = "DEL, another stranded"
    focus: tuple[str, ...] = ("state", "bin")
    pods = ("c1", "c2")
    stay: tuple[str, ...] = ("c2",)

    def _before(self) -> None:
        behind = [self.host.plugin(plugin) for plugin in FORWARD[1:]]
        for plugin in behind:
            plugin.fails("DEL")
        assert self._plain("DEL", "c2").status == 1
        for plugin in behind:
            plugin.behaves("DEL")
        for path in (*self._markers(), *self.host.state_dir.glob(".stranded")):
            os.utime(path, (0, 0))

    def _markers(self) -> list[Path]:
        return list((self.host.state_dir / ".stranded").glob("*"))

    def owed(self) -> dict[str, str]:
        return {"c1": THEN}

    def judge(self, ended: Ended, *, startup: bool) -> list[Violation]:
        found = super().judge(ended, startup=startup)
        return found if ended.status is None else [*found, *self._goes_at_last()]

    def succeeded(self, ended: Ended) -> Iterable[Violation]:
        yield from super().succeeded(ended)
        yield from self._retried_or_not()

    def _kept(self) -> Iterable[Violation]:
        yield from super()._kept()
        yield from self._retried_or_not()

    def _retried_or_not(self) -> Iterable[Violation]:
        """The stranded pod's DELs were done as recorded, or it will be retried once more."""
        record = self.host.state_dir / "pods:c2:eth0"
        if record.exists() and not self._markers():
            yield Violation(FORGOTTEN, record.name)
        missing = set(FORWARD) - deleted(self.ran(), "c2", THEN)
        if missing and not record.exists():
            yield Violation(LOST, f"{', '.join(sorted(missing))} of c2 had no DEL")

    def _goes_at_last(self) -> Iterable[Violation]:
        self.stay = ()
        yield from self._clean(self._plain("DEL", "c2"))
        self.stay = ("c2",)


class Collect(Scene):
    """GC with three stale attachments and one that the runtime lists."""

    name = "GC"
    focus: tuple[str, ...] = ("state", "bin", "chain.d")
    verb = "GC"
    startup = True
    pods = ("s1", "s2", "s3", "kept")
    stay = ("kept",)
    fails_with = ()

    def owed(self) -> dict[str, str]:
        return dict.fromkeys(self.pods[:3], THEN)

    def judge(self, ended: Ended, *, startup: bool) -> list[Violation]:
        found = super().judge(ended, startup=startup)
        for name, text in self.records.items():
            path = self.host.state_dir / name
            if "kept" in name and (not path.exists() or path.read_bytes() != text):
                found.append(Violation(TOUCHED, "its record"))
        if any(call.container == "kept" for call in self.ran()):
            found.append(Violation(TOUCHED, "a delegate was called"))
        return found

    def succeeded(self, ended: Ended) -> Iterable[Violation]:
        yield from super().succeeded(ended)
        told = [call.type for call in self.ran() if call.verb == "GC" and call.ended and self._expects(call)]
        if sorted(told) != sorted(FORWARD):
            yield Violation(INCOMPLETE, f"the list was handed to {told}")

    def _expects(self, call: Ran) -> bool:
        return call.conf == self.expected[call.verb, call.type, call.container]

    def healed(self) -> Iterable[Violation]:
        yield from self._clean(self._plain("GC", ""))
        yield from self.undone(self.ran(), kind=NOT_HEALED)


class Check(Scene):
    """CHECK of a pod with a record."""

    name = "CHECK"
    focus: tuple[str, ...] = ("state", "bin")
    verb = "CHECK"
    startup = True

    def succeeded(self, ended: Ended) -> Iterable[Violation]:
        if ended.stdout:
            yield Violation(INCOMPLETE, f"an answer: {ended.stdout[:100]!r}")
        yield from self._kept()
        right = {
            call.type
            for call in self.ran()
            if call.verb == "CHECK" and call.ended and call.conf == self.expected[call.verb, call.type, call.container]
        }
        if right != set(FORWARD):
            yield Violation(INCOMPLETE, f"checked as recorded: {', '.join(sorted(right)) or 'none'}")

    def healed(self) -> Iterable[Violation]:
        if self._plain("CHECK", self.pods[0]).status != 0:
            yield Violation(NOT_HEALED, "CHECK")


class Add(Scene):
    """ADD, and the runtime's DEL after it, by when the fragments have changed."""

    name = "ADD"
    focus: tuple[str, ...] = ("state", "bin", "chain.d", "answer")
    verb = "ADD"
    startup = True
    pods = ("c1",)
    recorded = False
    before = NOW

    def generation_of_call(self) -> str:
        return THEN

    def succeeded(self, ended: Ended) -> Iterable[Violation]:
        if ended.stdout != self.answer:
            yield Violation(INCOMPLETE, f"the answer is {ended.stdout.decode(errors='replace')[:200]}")
        added = [call.type for call in self.ran() if (call.verb, call.generation) == ("ADD", self.generation_of_call())]
        if added != list(FORWARD):
            yield Violation(INCOMPLETE, f"added: {', '.join(added) or 'none'}")
        yield from self.healed()

    def healed(self) -> Iterable[Violation]:
        self._fragments(NOW)
        yield from self._clean(self._plain("DEL", self.pods[0]))
        yield from self._all_undone()

    def _all_undone(self) -> Iterable[Violation]:
        """Whatever an ADD was begun of had a DEL after it, with the configuration of that ADD."""
        calls = self.ran()
        for begun in calls:
            if begun.verb == "ADD" and not any(
                (call.verb, call.type, call.generation) == ("DEL", begun.type, begun.generation)
                and call.ended
                and call.started > begun.started
                for call in calls
            ):
                yield Violation(NOT_HEALED, f"{begun.type} had an ADD and no DEL with its configuration")


class AddRefused(Add):
    """ADD that the last delegate refuses, so that all must be taken back."""

    name = "ADD, refused by the last"
    focus: tuple[str, ...] = ("state", "bin", "pipe", "")

    def _before(self) -> None:
        self.host.plugin(BACKWARD[0]).fails("ADD")

    def succeeded(self, ended: Ended) -> Iterable[Violation]:
        yield Violation(INCOMPLETE, f"though the last delegate refused: {ended.stdout[:100]!r}")
        yield from self.healed()


class AddAgain(Add):
    """ADD of a pod that has a record, as after a killed ADD: what it has had gets its DELs first."""

    name = "ADD, left-over record"
    focus: tuple[str, ...] = ("state",)
    recorded = True

    def generation_of_call(self) -> str:
        return NOW

    def _lives(self, kind: str, before: list[Ran], at: Ran) -> bool:
        lives = True
        for call in before:
            if call.type == kind and (call.verb == "ADD" or (call.ended and call.ended < at.started)):
                lives = call.verb == "ADD"
        return lives

    def _kept(self) -> Iterable[Violation]:
        """The old record until its DELs are done; from then on it is the new one's place."""
        if not deleted(self.ran(), self.pods[0], THEN) >= set(FORWARD):
            yield from super()._kept()

    def healed(self) -> Iterable[Violation]:
        yield from self._clean(self._plain("DEL", self.pods[0]))
        yield from self._all_undone()
        missing = set(FORWARD) - deleted(self.ran(), self.pods[0], THEN)
        if missing:
            yield Violation(NOT_HEALED, f"{', '.join(sorted(missing))} had no DEL as recorded")


SCENES: tuple[type[Scene], ...] = (
    Delete,
    DeleteRefused,
    DeleteBare,
    DeleteNothing,
    DeleteSweeping,
    Collect,
    Check,
    Add,
    AddRefused,
    AddAgain,
)


def ran(call: Call) -> Ran:
    """Return what one of the double's folders tells."""
    conf, ended = call.conf, call.folder / "ended"
    at_end = int(ended.read_text()) if ended.exists() and ended.stat().st_size else None
    container = call.env.get("CNI_CONTAINERID", "")
    return Ran(call.verb, call.type, container, str(conf.get("generation")), conf, call.started, at_end)


def pod_of(record: str) -> str:
    """Return the container ID in the name of a record."""
    return record.split(":")[1]


def deleted(
    calls: Iterable[Ran], pod: str, generation: str = "", expected: Mapping[tuple[str, str, str], Json] | None = None
) -> set[str]:
    """The delegates that had a DEL for a pod which came to its end, with the configuration of that generation."""
    return {
        call.type
        for call in calls
        if call.verb == "DEL" and call.container == pod and call.ended and generation in ("", call.generation)
        if expected is None or call.conf == expected.get((call.verb, call.type, pod), call.conf)
    }

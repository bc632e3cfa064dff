"""What runtimes do with a node: they call cni-chain, and every call is looked at.

What holds for all of them: the exit status, one JSON document or nothing on stdout, no traceback anywhere, and after
a DEL no trace of the attachment.
"""

import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.support.files.double import Call, Json
from tests.support.files.outcome import PATIENCE, Outcome, assert_error, attachment, wait_until
from tests.support.files.tree import ROOT, Tree

ALL_VERSIONS = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]
ABSENT: Any = object()


class Running:
    """A call of cni-chain that may not have ended yet."""

    def __init__(self, node: "RuntimeCalls", process: subprocess.Popen[bytes], before: set[Path]) -> None:
        self.node, self.process, self.before = node, process, before

    def new_calls(self) -> list[Call]:
        return [Call.recorded(folder) for folder in self.node.folders if folder not in self.before]

    def reaches(self, verb: str, delegate: str) -> Call:
        """Waits until that delegate runs and has read its stdin."""
        found: list[Call] = []

        def arrived() -> bool:
            has_ended = self.process.poll() is not None
            found[:] = [call for call in self.new_calls() if (call.verb, call.type) == (verb, delegate)]
            assert found or not has_ended, f"ended before {verb} {delegate}: {self.process.communicate()}"
            return bool(found)

        wait_until(arrived, f"{verb} {delegate}")
        return found[0]

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)
        self.process.communicate()

    def ends(self) -> Outcome:
        stdout, stderr = self.process.communicate(timeout=PATIENCE + 10)
        return Outcome(self.process.returncode, stdout, stderr.decode(errors="replace"), self.new_calls())


class RuntimeCalls(Tree):
    """A node's files, and the calls that a runtime makes."""

    def __init__(self, root: Path, program: str, double: Path | None = None) -> None:
        super().__init__(root, double)
        self.program = program
        self.cni_path = str(self.bin_dir)
        self.network = "pods"
        self.owners: list[Json] = []  # as requests list them
        self.keys: Json = {
            "chainDir": str(self.chain_dir),
            "stateDir": str(self.state_dir),
            "logFile": str(self.log),
            "owners": self.owners,
        }
        if not ROOT:
            self.keys["allowUnsafePermissions"] = True
        self.environ = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        self.attachments: set[tuple[str, ...]] = set()
        self.under_way: set[Running] = set()
        self.sent = 0  # calls so far

    def close(self) -> None:
        """Ends what delegates have left running."""
        for folder in self.folders:
            for pid in [folder.name.split("-")[1], *([p.read_text() for p in folder.glob("child")])]:
                with suppress(OSError):
                    if os.readlink(f"/proc/{pid}/exe").startswith(str(self.root)):
                        os.kill(int(pid), signal.SIGKILL)

    def owner(self, name: str, *types: str, **keys: Any) -> None:
        """Lists an owner in the requests, with one file for each of its plugins, as 10-TYPE.conf."""
        self.owners.append({"name": name, **keys})
        for plugin in types:
            self.fragment(name, f"10-{plugin}.conf", {"type": plugin})

    def result(self, version: str = "1.1.0", container: str = "c1", **more: Any) -> Json:
        """What a delegate that behaves answers when it is the first."""
        four = {"version": "4"} if version.startswith("0.") else {}
        return {
            "cniVersion": version,
            "interfaces": [{"name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": str(self.netns(container))}],
            "ips": [{**four, "interface": 0, "address": "10.1.0.5/24", "gateway": "10.1.0.1"}],
            "routes": [{"dst": "0.0.0.0/0"}],
            "dns": {},
            **more,
        }

    def netns(self, container: str) -> Path:
        path = self.root / "netns" / container
        path.parent.mkdir(exist_ok=True)
        path.touch()
        return path

    def request(self, **keys: Any) -> Json:
        """What a runtime sends: the facade's plugin object and its own keys; ABSENT takes a key away."""
        document = {"cniVersion": "1.1.0", "name": self.network, "type": "cni-chain", **self.keys, **keys}
        return {key: value for key, value in document.items() if value is not ABSENT}

    def attachment(self, verb: str, container: str, ifname: str = "eth0", **env: str) -> dict[str, str]:
        """The environment of a call for one attachment; without a container, as libcni calls GC and STATUS."""
        variables = {"CNI_CONTAINERID": "", "CNI_NETNS": "", "CNI_IFNAME": "", "CNI_ARGS": ""}
        if container:
            netns = str(self.netns(container)) if "CNI_NETNS" not in env else ""
            variables |= {"CNI_CONTAINERID": container, "CNI_NETNS": netns, "CNI_IFNAME": ifname}
        return self.environ | variables | {"CNI_COMMAND": verb, "CNI_PATH": self.cni_path} | env

    def start(self, env: Mapping[str, str], stdin: bytes, *, leaks: Sequence[int] = ()) -> Running:
        """Starts cni-chain and gives it its stdin; `leaks` are descriptors that it inherits."""
        if env.get("CNI_COMMAND") in ("ADD", "DEL"):
            self.attachments.add(attachment(env, stdin))
        before = set(self.folders)
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            [self.program], stdin=pipe, stdout=pipe, stderr=pipe, env=dict(env), cwd=self.root, pass_fds=leaks
        )
        running = Running(self, process, before)
        assert process.stdin
        with suppress(BrokenPipeError), process.stdin:
            process.stdin.write(stdin)
        process.stdin = None
        return running

    def begin(
        self, verb: str, container: str = "c1", ifname: str = "eth0", /, *, leaks: Sequence[int] = (), **request: Any
    ) -> Running:
        """Starts a verb without awaiting its end."""
        env = {key: request.pop(key) for key in list(request) if key.startswith("CNI_")}
        stdin = json.dumps(self.request(**request)).encode()
        return self.start(self.attachment(verb, container, ifname, **env), stdin, leaks=leaks)

    def send(self, env: Mapping[str, str], stdin: bytes) -> Outcome:
        """One call with exactly this environment and stdin."""
        self.sent += 1
        running = self.start(env, stdin)
        self.under_way.add(running)
        outcome = running.ends()
        self.under_way.discard(running)
        self.assert_contract(env, stdin, outcome)
        return outcome

    def call(self, verb: str, container: str = "c1", ifname: str = "eth0", /, **request: Any) -> Outcome:
        """One verb. CNI_* are variables of the environment, everything else keys of its stdin."""
        env = {key: request.pop(key) for key in list(request) if key.startswith("CNI_")}
        stdin = json.dumps(self.request(**request)).encode()
        return self.send(self.attachment(verb, container, ifname, **env), stdin)

    def add(self, container: str = "c1", /, **request: Any) -> Outcome:
        return self.call("ADD", container, **request)

    def delete(self, container: str = "c1", /, **request: Any) -> Outcome:
        return self.call("DEL", container, **request)

    def check_pod(self, container: str = "c1", /, **request: Any) -> Outcome:
        return self.call("CHECK", container, **request)

    def status(self, **request: Any) -> Outcome:
        return self.call("STATUS", "", **request)

    def gc(self, valid: object = ABSENT, /, **request: Any) -> Outcome:
        """valid: ABSENT, None, or the container IDs that the runtime still knows."""
        if isinstance(valid, list):
            valid = [{"containerID": container, "ifname": "eth0"} for container in valid]
        return self.call("GC", "", **{"cni.dev/valid-attachments": valid, "cni.dev/attachments": valid, **request})

    # What is left on the machine.

    @property
    def folders(self) -> list[Path]:
        return sorted(path.parent for path in self.double_dir.glob("calls/*/ready"))

    @property
    def calls(self) -> list[Call]:
        """Every call of a delegate so far, by the time of its start."""
        return [Call.recorded(folder) for folder in self.folders]

    @property
    def ran(self) -> list[str]:
        return [f"{call.verb} {call.type}" for call in self.calls if call.verb != "VERSION"]

    @property
    def state_files(self) -> list[Path]:
        return sorted(self.state_dir.iterdir()) if self.state_dir.is_dir() else []

    @property
    def records(self) -> list[Path]:
        return [path for path in self.state_files if not path.name.startswith(".")]

    @property
    def damaged(self) -> list[Path]:
        return [path for path in self.state_files if path.name.startswith(".damaged-")]

    @property
    def stranded(self) -> list[str]:
        """The records that wait for the retry of a DEL, by file name."""
        directory = self.state_dir / ".stranded"
        return sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []

    @property
    def log_lines(self) -> list[Json]:
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    # What holds after every call.

    def assert_contract(self, env: Mapping[str, str], stdin: bytes, outcome: Outcome) -> None:
        verb = env.get("CNI_COMMAND", "")
        log = self.log.read_text() if self.log.is_file() else ""
        assert outcome.status in (0, 1), outcome
        assert "Traceback" not in outcome.stdout.decode() + outcome.stderr + log
        if outcome.status == 1:
            assert_error(verb, outcome)
        elif verb in ("ADD", "VERSION"):
            assert "code" not in outcome.answer
        else:
            assert outcome.stdout == b""
            if verb == "DEL":
                self.attachments.discard(attachment(env, stdin))
                self.assert_no_trace()

    def assert_no_trace(self) -> None:
        # Another thread's call may end, or begin, while the files are listed.
        known, others, sent = set(self.attachments), set(self.under_way), self.sent
        assert len(self.records) <= len(known | self.attachments) or self.sent > sent, self.records
        own = [path.name for path in self.state_files if path.name.startswith(".")]
        lasting = (".lock", ".versions", ".new-.versions", *([".stranded"] if self.stranded else []))
        extra = [name for name in own if name not in lasting and not name.startswith(".damaged-")]
        assert extra == [] or others or self.sent > sent

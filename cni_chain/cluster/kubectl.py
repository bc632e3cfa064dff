"""Asks kubectl. The only module of the package that starts a process; it knows no cluster's credentials itself."""

from __future__ import annotations

import json
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from cni_chain.node.errors import UnknownError

SECONDS = 30  # for a list
LOG_SECONDS = 4  # for a log, which is asked of a node that may be gone

_AT_ONCE = 10  # processes
_KLOG = re.compile(r"[IWEF]\d{4} \d\d:\d\d:\d\d")  # how a line of kubectl's own log begins
_PREFIX = re.compile(r"^(error|Error from server( \(\w+\))?): ")

Json = dict[str, Any]


class ForbiddenError(UnknownError):
    """The API server knows who asks, and doesn't let them."""


class UnreachableError(UnknownError):
    """No answer came; the next one may."""


class Kubectl(NamedTuple):
    """A kubectl, and the options that say which cluster it asks as whom."""

    program: str = "kubectl"
    context: str | None = None
    kubeconfig: str | None = None

    def objects(self, kind: str, *words: str) -> list[Json]:
        """Return all objects of a kind that `words` select. Raises UnknownError."""
        return self._items(kind, self._call("get", kind, *words, "--output=json"))

    def pods(self, namespace: str, selector: str) -> list[Json]:
        """Return the pods of a namespace that a selector selects; they may be many. Raises UnknownError.

        `get --raw` hands the API server's answer through; to read and to write it again takes kubectl twenty times as
        long. But an older one (1.32 does, 1.36 doesn't) drops the path of the server's address there, by which proxies
        such as Rancher's tell clusters apart, and would ask another one.
        """
        if self._has_path():
            return self.objects("pods", "--namespace", namespace, "--selector", selector)
        words = f"/api/v1/namespaces/{quote(namespace)}/pods?labelSelector={quote(selector, safe='')}"
        return self._items("pods", self._call("get", "--raw", words))

    def _has_path(self) -> bool:
        """Return whether the server's address has a path, or can't be learnt, as in a pod."""
        try:
            server = self._call("config", "view", "--minify", "--output=jsonpath={..server}").strip()
        except UnknownError:
            return True
        return not server or bool(urlsplit(server).path.strip("/"))

    def _items(self, kind: str, text: str) -> list[Json]:
        try:
            items: list[Json] | None = json.loads(text)["items"]
        except (ValueError, KeyError, TypeError):
            raise UnknownError(f"{self.program} get {kind}: its answer is no list in JSON") from None
        return items or []

    def namespace(self) -> str:
        """Return the namespace that kubectl takes without --namespace. Raises UnknownError."""
        return self._call("config", "view", "--minify", "--output=jsonpath={..namespace}").strip() or "default"

    def logs(self, pods: list[tuple[str, str, str]], lines: int) -> list[str | UnknownError]:
        """Return the last lines of the log of each (namespace, pod, container), or why it can't be read."""

        def read(pod: tuple[str, str, str]) -> str | UnknownError:
            namespace, name, container = pod
            try:
                words = ("--namespace", namespace, f"--container={container}", f"--tail={lines}")
                return self._call("logs", name, *words, seconds=LOG_SECONDS)
            except UnknownError as error:
                return error

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(read, pods))

    def _call(self, *words: str, seconds: int = SECONDS) -> str:
        command = [self.program, *words, f"--request-timeout={seconds}s"]
        command += ["--context", self.context] if self.context else []
        command += ["--kubeconfig", self.kubeconfig] if self.kubeconfig else []
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False)
        except subprocess.TimeoutExpired:
            raise UnreachableError(
                f"{self.program}: no answer in {seconds} s", "is the API server reachable from here?"
            ) from None
        except OSError as error:
            hint = "install kubectl, or name it with --kubectl" if isinstance(error, FileNotFoundError) else ""
            raise UnknownError(f"{self.program}: can't be run: {error.strerror}", hint) from None
        if done.returncode:
            raise _error(self.program, done.stderr.decode(errors="replace"), done.returncode)
        return done.stdout.decode(errors="replace")


def _error(program: str, said: str, status: int) -> UnknownError:
    """Return the error that kubectl has told, in one line."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and not _KLOG.match(line)]
    text = lines[-1] if lines else f"ended with status {status} and no message"
    words = f"{program}: {_PREFIX.sub('', text)}"
    if "Error from server (Forbidden)" in text or " is forbidden: " in text:
        return ForbiddenError(words)
    if "must be logged in" in text or "Unauthorized" in text:
        return UnknownError(words, "log in, or name another user's file with --kubeconfig")
    # What it says if nobody listens, the way is blocked, a name isn't known, or the server is starting.
    if re.search(r"connect|timeout|timed out|deadline|refused|no such host|ServiceUnavailable|EOF|TLS", text):
        return UnreachableError(words)
    return UnknownError(words)

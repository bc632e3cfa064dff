"""One call of cni-chain: what was asked, and how a delegate is asked on its behalf."""

from __future__ import annotations

import time

from cni_chain.plugin import answer, chain, delegate, fragments, jsontext, record, records, request, results, system
from cni_chain.plugin.answer import DelegateError, NotStarted
from cni_chain.plugin.errors import (
    DELEGATE_FAILED,
    DELEGATE_TIMED_OUT,
    INVALID_CONFIG,
    INVALID_NETNS,
    IO_FAILURE,
    TRY_AGAIN,
    CNIError,
)
from cni_chain.plugin.facade import Owner
from cni_chain.plugin.spec import VERSIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeVar

    T = TypeVar("T")

    from cni_chain.plugin.chain import Link, Part
    from cni_chain.plugin.facade import Facade
    from cni_chain.plugin.log import Log
    from cni_chain.plugin.record import Step
    from cni_chain.plugin.spec import CmdArgs
    from cni_chain.plugin.stranded import Stranded


class Call:
    """What a runtime asked, with the facade that it came through.

    `version` is the request's cniVersion, which is one that cni-chain speaks; `network` is its valid name.
    """

    def __init__(
        self,
        args: CmdArgs,
        conf: Mapping[str, Any],
        version: str,
        facade: Facade,
        environ: Mapping[str, str],
        log: Log,
    ) -> None:
        self.args = args
        self.conf = conf
        self.network: str = conf["name"]
        self.version = version
        self.facade = facade
        self.environ = environ
        self.log = log
        self.state = records.State(facade.state_dir, allow_unsafe=facade.allow_unsafe)
        self.deadline = self.until(args.command)
        self._remembered: dict[str, Any] | None = None
        self.limit = ""  # whose deadline it is, if not the verb's
        self._owners: list[Owner] | None = None
        self._asked_disk = False

    def until(self, verb: str) -> float:
        """Return when a budget of `verb` that begins now is used up (monotonic seconds)."""
        return time.monotonic() + self.facade.timeouts[verb]

    @property
    def stranded(self) -> Stranded:
        """The attachments that wait for the retry of a DEL that failed."""
        from cni_chain.plugin.stranded import Stranded  # most calls have none

        return Stranded(self.state.stranded)

    def attachment(self) -> record.Attachment:
        """Return the attachment that the call is about."""
        return record.Attachment(self.network, self.args.container_id, self.args.ifname)

    def circumstances(self) -> dict[str, Any]:
        """Return what a later DEL may need of this call and a GC doesn't get from the runtime."""
        told = {"path": self.args.path, "netns": self.args.netns, "cniArgs": self.args.args}
        return told | {key: self.conf[key] for key in ("runtimeConfig", "args") if key in self.conf}

    def refuse_own_namespace(self) -> None:
        """Raise CNIError 8 if the container's namespace is this process's (`pkg/skel/skel.go`, with its override)."""
        if self.environ.get("CNI_NETNS_OVERRIDE", "").upper() in ("TRUE", "1"):
            return
        if is_own_namespace(self.args.netns):
            raise CNIError(
                INVALID_NETNS,
                f"CNI_NETNS {self.args.netns} is the network namespace that the runtime itself is in; nothing was run",
            )

    def owners(self) -> list[Owner]:
        """Return the owners in order. Raises CNIError 5.

        If nobody can tell who is listed (a DEL's faulty facade), each directory has one, and counts.
        """
        listed = self._listed()
        if listed is not None:
            return listed
        try:
            names, _ = fragments.owner_names(self.facade.chain_dir)
        except OSError as error:
            raise io_error(error, self.facade.chain_dir) from None
        return chain.owners(self.facade, names)

    def owner(self, name: str) -> Owner | None:
        """Return today's owner of that name, None if the facade lists others."""
        listed = self._listed()
        return Owner(name) if listed is None else next((owner for owner in listed if owner.name == name), None)

    def _listed(self) -> list[Owner] | None:
        """Return the facade's owners, None if they can't be told. DEL and GC ask the facade on disk first."""
        if not self._asked_disk:
            self._asked_disk = True
            self._owners = self.facade.owners
            if self.args.command in ("DEL", "GC"):
                from cni_chain.plugin import policy

                chain_dir, unsafe = self.facade.chain_dir, self.facade.allow_unsafe
                sent = self.conf.get("owners")
                on_disk = policy.owners_on_disk(self.network, chain_dir, sent, self.log.note, allow_unsafe=unsafe)
                self._owners = on_disk or self._owners
        return self._owners

    def part(self, owner: Owner, *, wait: float = fragments.HALF_WRITTEN, exempt: bool = True) -> Part:
        """Return what one owner contributes now; with `exempt`, nothing if it exempts the call's pod."""
        pod = self.args.pod() if exempt else ("", "")
        directory = fragments.Directory(owner.name, self.facade.chain_dir)
        if not owner.exempts(pod):
            unsafe = self.facade.allow_unsafe
            directory = fragments.read(owner.name, self.facade.chain_dir, allow_unsafe=unsafe, wait=wait)
        return chain.resolve([owner], [directory], pod)[0]

    def parts(self) -> list[Part]:
        """Return what each owner contributes now, in order."""
        return [self.part(owner) for owner in self.owners()]

    def find(self, step: Step | Link) -> str:
        """Return a delegate's file. Raises CNIError 11 if CNI_PATH hasn't got it."""
        try:
            return delegate.find(step.type, self.args.path)
        except delegate.NotFoundError as error:
            name = step.owner if isinstance(step.owner, str) else step.owner.name
            raise CNIError(TRY_AGAIN, f"{name}/{step.type}: {error}") from None

    def prev_result(self) -> results.Result | None:
        """Return the runtime's prevResult in results.WHOLE. Raises CNIError 7 if it is no Result."""
        given = self.conf.get("prevResult")
        if given is None:
            return None
        fault = results.check(given)
        if fault:
            raise CNIError(INVALID_CONFIG, f"network configuration: key prevResult: {fault}")
        return results.convert({**given, "cniVersion": given.get("cniVersion") or self.version}, results.WHOLE)

    def step(self, link: Link) -> Step:
        """Return a link as it is recorded; its delegate's version is yet to be asked."""
        return record.Step(
            owner=link.owner.name,
            type=link.type,
            path=link.path,
            conf=request.own_part(link.conf),
            capabilities=request.capabilities(link.conf),
            version=self.version,
            disable_check=link.disable_check,
            on_del_error=link.owner.on_del_error,
        )

    def speaks(self, step: Step, file: str, deadline: float) -> tuple[str, ...]:
        """Return the versions that a delegate's binary supports, asking it once (SPEC section 2, VERSION).

        The answer is kept for as long as the file is the same. Raises CNIError.
        """
        try:
            status = system.stat(file)
        except OSError as error:
            raise CNIError(TRY_AGAIN, f"{step.owner}/{step.type}: {file} was taken away: {error.strerror}") from None
        identity = [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
        if self._remembered is None:
            self._remembered = self.state.versions()
        known = _remembered_versions(self._remembered.get(file), identity)
        if known:
            return known
        question = jsontext.encode({"cniVersion": self.version})
        environ = {**self.environ, "CNI_COMMAND": "VERSION"}
        outcome = self._execute(step, file, environ, question, deadline - time.monotonic())
        versions = self._judged(step, "VERSION", outcome, lambda: answer.versions(outcome))
        self._remembered[file] = {"file": identity, "versions": list(versions)}
        try:
            self.state.remember_versions(self._remembered)
        except OSError as error:
            self.log.note(f"what {file} supports can't be remembered: {error}")
        return versions

    def choose(self, supported: tuple[str, ...]) -> str:
        """Return what a delegate is spoken to in: the call's version if it supports that, else its highest."""
        return self.version if self.version in supported else supported[-1]

    def add(self, step: Step, file: str, before: results.Result | None, deadline: float) -> results.Result:
        """Run a delegate's ADD and return the result so far, as `before` in results.WHOLE. Raises CNIError."""
        outcome = self._run(step, file, "ADD", before, deadline - time.monotonic())
        return self._judged(step, "ADD", outcome, lambda: answer.added(outcome, step.version, before))

    def run(
        self,
        step: Step,
        file: str,
        command: str,
        prev_result: results.Result | None,
        seconds: float,
        *,
        conf: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """Run a delegate for a verb that has no answer but success.

        `prev_result` is in results.WHOLE. `conf` and `environ` stand in for the call's own. Raises CNIError.
        """
        outcome = self._run(step, file, command, prev_result, seconds, conf, environ)
        self._judged(step, command, outcome, lambda: answer.require_success(outcome))

    def _run(
        self,
        step: Step,
        file: str,
        command: str,
        prev_result: results.Result | None,
        seconds: float,
        conf: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> answer.Outcome:
        sent = None if prev_result is None else results.convert(prev_result, step.version)
        stdin = request.derive(step.conf, step.capabilities, conf or self.conf, step.version, sent)
        environ = {**(environ or self.environ), "CNI_COMMAND": command}
        return self._execute(step, file, environ, jsontext.encode(stdin), seconds)

    def _execute(
        self, step: Step, file: str, environ: Mapping[str, str], stdin: bytes, seconds: float
    ) -> answer.Outcome:
        command = environ["CNI_COMMAND"]
        verb = command if command in self.facade.timeouts else self.args.command
        limit = self.limit or f"timeouts.{verb} is {self.facade.timeouts[verb]:g} s for all delegates"
        owner = self.owner(step.owner)
        if owner is not None and owner.timeout is not None and owner.timeout < seconds:
            seconds, limit = owner.timeout, f"timeoutSeconds is {owner.timeout:g} s"
        if seconds <= 0:  # starting it only to kill it at once would leave something half done
            failed = NotStarted(
                DELEGATE_TIMED_OUT, f"{step.owner}/{step.type}: was not started: no time was left ({limit})"
            )
            self.log.call(step.owner, step.type, command, None, failed)
            raise failed
        try:
            outcome = delegate.execute(file, environ, stdin, seconds)
        except OSError as error:
            kind = NotStarted if isinstance(error, delegate.NotStartedError) else CNIError
            could_not = kind(DELEGATE_FAILED, f"{step.owner}/{step.type}: {file} can't be executed: {error.strerror}")
            self.log.call(step.owner, step.type, command, None, could_not)
            raise could_not from None
        outcome.limit = limit
        return outcome

    def _judged(self, step: Step, command: str, outcome: answer.Outcome, judge: Callable[[], T]) -> T:
        """Return what `judge` makes of an execution, and log that; its failure says whose delegate it was."""
        try:
            verdict = judge()
        except DelegateError as error:
            error.msg = f"{step.owner}/{step.type}: {error.msg}"
            self.log.call(step.owner, step.type, command, outcome, error)
            raise
        self.log.call(step.owner, step.type, command, outcome, None)
        return verdict


def is_own_namespace(netns: str) -> bool:
    """Tell whether a path leads to the network namespace of this process; one that can't be opened doesn't."""
    try:
        theirs, ours = system.stat(netns), system.stat("/proc/self/ns/net")
    except (OSError, ValueError):
        return False
    return (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino)


def _remembered_versions(entry: Any, identity: list[int]) -> tuple[str, ...]:
    """Return the versions in an entry of the remembered ones, none unless it is about this very file."""
    if not isinstance(entry, dict) or entry.get("file") != identity or not isinstance(entry.get("versions"), list):
        return ()
    return tuple(version for version in VERSIONS if version in entry["versions"])


def io_error(error: OSError, path: str) -> CNIError:
    """Return an OSError as the specification's I/O failure, with the file's name."""
    return CNIError(IO_FAILURE, f"{error.filename or path}: {error.strerror or error}")

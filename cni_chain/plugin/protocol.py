"""The CNI protocol: environment and standard input in, one verb, one JSON document (or nothing) out.

This runs for every pod of a node, so neither it nor what it imports may load what only people need: no typer, rich,
pyroute2, asyncio, logging, dataclasses, pathlib, subprocess, argparse, enum, re or json. A test checks that.
"""

from __future__ import annotations

import sys

from cni_chain.plugin import spec, system
from cni_chain.plugin.errors import (
    DECODING_FAILURE,
    INCOMPATIBLE_VERSION,
    INTERNAL,
    INVALID_NETNS,
    IO_FAILURE,
    CNIError,
    invalid_facade,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from cni_chain.plugin.call import Call
    from cni_chain.plugin.delegate import Execute
    from cni_chain.plugin.facade import Problem
    from cni_chain.plugin.log import Log
    from cni_chain.plugin.spec import CmdArgs


_NEEDS = "the program needs the files beside it: install cni-chain again"


def main(environ: Mapping[str, str]) -> int:
    """Carry out the call that this process was started for; return the exit status, 0 or 1."""
    stdout = _claim_stdout()
    if not getattr(sys, "frozen", False):  # the launcher has done it, with less
        _restore_signals()
    if environ.get("CNI_COMMAND") != "VERSION":  # which starts nothing
        _keep_to_ourselves()
    return dispatch(environ, 0, stdout)


def dispatch(environ: Mapping[str, str], stdin: int, stdout: int, executor: Execute | None = None) -> int:
    """Carry out the call that `environ` and the descriptor `stdin` ask for; return the exit status, 0 or 1.

    The answer goes to the descriptor `stdout`. `executor` takes the place of `delegate.execute`.
    """
    version = spec.LATEST
    document: dict[str, Any] | None = None
    failure: CNIError | None = None
    call: Call | None = None
    try:
        args = spec.parse_environment(environ)
        if args.command == "VERSION":
            # A runtime asks this with a made-up environment: nothing is read, and the answer is always the same.
            document = {"cniVersion": spec.LATEST, "supportedVersions": list(spec.VERSIONS)}
        else:
            conf = _read_conf(stdin)
            requested = _requested_version(conf)
            version = requested if requested in spec.VERSIONS else spec.LATEST
            document, call = _carry_out(args, conf, environ, executor)
    except BaseException as error:  # noqa: BLE001  # whatever it is, the runtime gets an Error object
        failure = _as_failure(error)
    if failure is not None:
        if environ.get("CNI_COMMAND") == "DEL":
            failure = _without_not_found(failure)
        document = failure.document(version)
    answered = document is None or _answer(stdout, document)
    if answered and call is not None and call.request.args.command in ("ADD", "DEL"):
        _sweep(call)
    return 0 if answered and failure is None else 1


def _as_failure(error: BaseException) -> CNIError:
    if isinstance(error, CNIError):
        return error
    if isinstance(error, OSError):
        return CNIError(IO_FAILURE, f"{error.filename}: {error.strerror}" if error.filename else str(error))
    if isinstance(error, ImportError):  # the program was copied without the files beside it
        return CNIError(INTERNAL, f"{sys.executable}: {error}; {_NEEDS}")
    return CNIError(INTERNAL, f"{type(error).__name__}: {error}")


def _without_not_found(failure: CNIError) -> CNIError:
    try:
        from cni_chain.plugin.quirks import without_not_found
    except Exception as error:  # noqa: BLE001  # whatever the import raises: the original words may not go out
        return CNIError(INTERNAL, f"{type(error).__name__} while an error was being reported")
    return without_not_found(failure)


def _sweep(call: Call) -> None:
    """Retry stranded DELs, now that the answer is out; a failure here doesn't change that the call has succeeded."""
    try:
        if system.exists(call.state.stranded):
            from cni_chain.plugin.sweep import sweep

            sweep(call)
    except Exception:  # noqa: BLE001  # the next call tries again
        return


def _claim_stdout() -> int:
    """Return a descriptor for the one document, and turn standard output itself into standard error.

    So nothing that any library prints can spoil the answer, and no delegate can inherit it. Descriptors that the
    caller left closed are opened, or a delegate's pipes would take their numbers.
    """
    try:
        while (spare := system.open(system.devnull, system.O_RDWR)) <= 2:
            system.set_inheritable(spare, True)
        system.close(spare)
        answer_to = system.dup(1)
        system.dup2(2, 1)
    except OSError:  # no /dev/null, no descriptors: standard output stays as it is
        return 1
    return answer_to


def _restore_signals() -> None:
    """Let SIGINT end the process as SIGTERM does, and keep ended children until they are waited for.

    Python's exception for SIGINT could interrupt any line, where the kernel's default leaves the record to the next
    DEL. If a caller starts cni-chain with SIGCHLD ignored, cni-chain could not learn how a delegate ended.
    """
    # The signal module wraps this one in enumerations, which takes longer than a whole VERSION.
    import _signal  # type: ignore[import-not-found]

    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)


def _keep_to_ourselves() -> None:
    """Keep delegates from inheriting what the caller left open beyond the standard three."""
    try:
        descriptors = system.listdir("/proc/self/fd")
    except OSError:
        return
    for descriptor in descriptors:
        if int(descriptor) > 2:
            try:
                system.set_inheritable(int(descriptor), False)
            except OSError:  # the one that listed the others
                continue


def _answer(descriptor: int, document: Mapping[str, Any]) -> bool:
    """Print the whole document; False if the caller doesn't read it, or if another had to be printed."""
    whole = True
    try:
        from cni_chain.plugin import jsontext  # imported here, so that a failure can't prevent an answer

        unwritten = jsontext.encode(document) + b"\n"
    except Exception as error:  # noqa: BLE001  # a missing module, or one that can't be read
        unwritten, whole = _incomplete(error), False
    try:
        while unwritten:
            unwritten = unwritten[system.write(descriptor, unwritten) :]
    except OSError:
        return False
    return whole


def _incomplete(error: Exception) -> bytes:
    """Return the error where `jsontext` can't be loaded: of an interpreter without _json, if files are missing."""
    text = f"{sys.executable}: {error}; {_NEEDS}"
    plain = "".join(char if " " <= char <= "~" and char not in '"\\' else "?" for char in text)
    return f'{{"cniVersion":"{spec.LATEST}","code":{INTERNAL},"msg":"{plain}"}}\n'.encode()


def _read_conf(stdin: int) -> dict[str, Any]:
    from cni_chain.plugin import jsontext  # VERSION doesn't need it

    chunks = []
    try:
        while chunk := system.read(stdin, 1 << 16):
            chunks.append(chunk)
    except OSError as error:
        raise CNIError(IO_FAILURE, f"standard input can't be read: {error.strerror}") from None
    try:
        conf = jsontext.decode(b"".join(chunks))
    except ValueError as error:
        raise CNIError(DECODING_FAILURE, f"network configuration on standard input is not JSON: {error}") from None
    if not isinstance(conf, dict):
        raise CNIError(DECODING_FAILURE, "network configuration on standard input is not a JSON object")
    return conf


def _carry_out(
    args: CmdArgs, conf: Mapping[str, Any], environ: Mapping[str, str], executor: Execute | None
) -> tuple[dict[str, Any] | None, Call]:
    """Carry out a verb; return its answer, and the call."""
    from cni_chain.plugin import facade as keys
    from cni_chain.plugin.log import Log

    log = Log(args, conf.get("name"))
    facade, problems, _ = keys.parse(conf)
    failure: CNIError | None = None
    try:
        version = _version(conf, args.command)
        network = spec.network_name(conf)
        conf = _without_faults(args.command, network, conf, problems, log)
        from cni_chain.plugin.call import Call
        from cni_chain.plugin.request import Request

        if args.command in ("ADD", "DEL"):
            _refuse_own_namespace(args.netns, environ)
        call = Call(Request(args, conf, version, facade, environ), log, executor)
        return _verb(args.command)(call), call
    except BaseException as error:  # noqa: BLE001  # as in `dispatch`
        failure = _as_failure(error)
        raise failure from None
    finally:
        log.write(facade.log_file, facade.log_level, failure)


def _without_faults(
    command: str, network: str, conf: Mapping[str, Any], problems: list[Problem], log: Log
) -> Mapping[str, Any]:
    """Return the request without faulty keys that DEL and GC can ignore: a typo must not keep a pod Terminating.

    Raises CNIError 7 for every other verb, and if the fault hides where the records or the chain are.
    """
    wrong = [str(problem) for problem in problems]
    if not isinstance(conf.get("runtimeConfig") or {}, dict):
        wrong.append("key runtimeConfig: must be an object")
        conf = {key: value for key, value in conf.items() if key != "runtimeConfig"}
    if wrong:
        error = invalid_facade(network, wrong)
        if command not in ("DEL", "GC") or any(problem.key in ("chainDir", "stateDir") for problem in problems):
            raise error
        log.note(f"{error.msg}; {command} ignores that")
    return conf


def _refuse_own_namespace(netns: str, environ: Mapping[str, str]) -> None:
    """Raise CNIError 8 if the container's namespace is this process's (`pkg/skel/skel.go`, with its override)."""
    if environ.get("CNI_NETNS_OVERRIDE", "").upper() not in ("TRUE", "1") and system.is_own_namespace(netns):
        raise CNIError(INVALID_NETNS, f"CNI_NETNS {netns} is the runtime's own network namespace; nothing was run")


def _version(conf: Mapping[str, Any], command: str) -> str:
    """Return the request's version. Raises CNIError 6 if it isn't a string, 1 if cni-chain or the command lacks it."""
    version = _requested_version(conf)
    if not isinstance(version, str):
        raise CNIError(DECODING_FAILURE, "network configuration: key cniVersion: must be a string")
    if version not in spec.VERSIONS:
        raise CNIError(
            INCOMPATIBLE_VERSION,
            "incompatible CNI versions",
            f"config is {version!r}, cni-chain supports {', '.join(spec.VERSIONS)}",
        )
    minimum = spec.MINIMUM.get(command)
    if minimum and not spec.at_least(version, minimum):
        raise CNIError(
            INCOMPATIBLE_VERSION,
            f"cniVersion {version} does not allow {command}",
            f"{command} exists since {minimum}",
        )
    return version


def _requested_version(conf: Mapping[str, Any]) -> Any:
    """Return the request's cniVersion; the specification's first where it has none, as in libcni."""
    version = conf.get("cniVersion")
    return spec.VERSIONS[0] if version is None or version == "" else version


def _verb(command: str) -> Callable[[Call], dict[str, Any] | None]:
    if command == "ADD":
        from cni_chain.plugin.add import add

        return add
    if command == "DEL":
        from cni_chain.plugin.delete import delete

        return delete
    if command == "CHECK":
        from cni_chain.plugin.check import check

        return check
    if command == "STATUS":
        from cni_chain.plugin.status import status

        return status
    from cni_chain.plugin.gc import collect

    return collect

"""The CNI protocol: environment and standard input in, one verb, one JSON document (or nothing) out.

This is run for every pod of a node, so nothing here or below it may import what only people need: no typer, rich,
pyroute2, asyncio, logging, dataclasses, pathlib, subprocess, argparse, enum, re or json. A test holds it to that.
"""

from __future__ import annotations

import os

from cni_chain import spec
from cni_chain.errors import (
    DECODING_FAILURE,
    INCOMPATIBLE_VERSION,
    INTERNAL,
    INVALID_CONFIG,
    IO_FAILURE,
    CNIError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from cni_chain.facade import Facade
    from cni_chain.spec import CmdArgs

_LATEST = spec.VERSIONS[-1]


def main(environ: Mapping[str, str]) -> int:
    """Carry out the call that `environ` and standard input ask for; return the exit status, 0 or 1."""
    answer_to = _claim_stdout()
    speaking = _LATEST
    document: dict[str, Any] | None
    try:
        args = spec.parse_environment(environ)
        if args.command == "VERSION":
            # A runtime asks this with a made-up environment: nothing is read, and the answer is always the same.
            document = {"cniVersion": _LATEST, "supportedVersions": list(spec.VERSIONS)}
        else:
            _keep_to_ourselves()
            conf = _read_conf()
            speaking = _version(conf)
            document = _carry_out(args, conf, speaking, environ)
    except CNIError as error:
        document = error.document(speaking)
        status = 1
    except RecursionError:
        document = CNIError(DECODING_FAILURE, "network configuration: nested too deeply").document(speaking)
        status = 1
    except BaseException as error:  # noqa: BLE001  # whatever it is, a runtime must be told in its own terms
        document = CNIError(INTERNAL, f"{type(error).__name__}: {error}").document(speaking)
        status = 1
    else:
        status = 0
    return status if document is None or _answer(answer_to, document) else 1


def _claim_stdout() -> int:
    """Return a descriptor for the one document, and turn standard output itself into standard error.

    So nothing that any library prints can spoil the answer, and no delegate can inherit it. Descriptors that the
    caller left closed are opened, or a delegate's pipes would take their numbers.
    """
    while (spare := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(spare, True)
    os.close(spare)
    answer_to = os.dup(1)
    os.dup2(2, 1)
    return answer_to


def _keep_to_ourselves() -> None:
    """Keep what the caller may have left open beyond the standard three from delegates."""
    try:
        descriptors = os.listdir("/proc/self/fd")
    except OSError:
        return
    for descriptor in descriptors:
        if int(descriptor) > 2:
            try:
                os.set_inheritable(int(descriptor), False)
            except OSError:  # the one that listed the others
                continue


def _answer(descriptor: int, document: Mapping[str, Any]) -> bool:
    """Print the document in whole; False if nobody takes it."""
    from cni_chain import jsontext  # after the answer is known, so that this can't keep it from being told

    unwritten = jsontext.encode(document) + b"\n"
    try:
        while unwritten:
            unwritten = unwritten[os.write(descriptor, unwritten) :]
    except OSError:
        return False
    return True


def _read_conf() -> dict[str, Any]:
    from cni_chain import jsontext  # VERSION does without

    chunks = []
    try:
        while chunk := os.read(0, 1 << 16):
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


def _version(conf: Mapping[str, Any]) -> str:
    version = conf.get("cniVersion")
    if version is None or version == "":
        version = spec.VERSIONS[0]
    if not isinstance(version, str):
        raise CNIError(DECODING_FAILURE, "network configuration: key cniVersion: must be a text")
    if version not in spec.VERSIONS:
        raise CNIError(
            INCOMPATIBLE_VERSION,
            "incompatible CNI versions",
            f"config is {version!r}, cni-chain supports {', '.join(spec.VERSIONS)}",
        )
    return version


def _carry_out(
    args: CmdArgs, conf: Mapping[str, Any], version: str, environ: Mapping[str, str]
) -> dict[str, Any] | None:
    from cni_chain import verbs  # VERSION does without, and so does a request that is refused before
    from cni_chain.call import Call
    from cni_chain.log import Log

    minimum = verbs.MINIMUM_VERSION.get(args.command)
    if minimum and not spec.at_least(version, minimum):
        raise CNIError(
            INCOMPATIBLE_VERSION,
            f"cniVersion {version} does not allow {args.command}",
            f"{args.command} exists since {minimum}",
        )
    log = Log(args)
    log.network = spec.network_name(conf)
    facade, refused = _facade(conf)
    failure: CNIError | None = None
    try:
        if refused is not None:
            raise refused
        document: dict[str, Any] | None = verbs.VERBS[args.command](Call(args, conf, version, facade, environ, log))
    except CNIError as error:
        failure = error
        raise
    except BaseException as error:
        failure = CNIError(INTERNAL, f"{type(error).__name__}: {error}")
        raise
    finally:
        log.write(facade.log_file, facade.log_level, failure)
    return document


def _facade(conf: Mapping[str, Any]) -> tuple[Facade, CNIError | None]:
    """Return the facade in a request, with what is wrong with its keys if anything is."""
    from cni_chain import facade as keys

    facade, problems, _ = keys.parse(conf)
    if not problems:
        return facade, None
    told = "; ".join(str(problem) for problem in problems)
    return facade, CNIError(INVALID_CONFIG, f"facade of network {conf['name']}: {told}")

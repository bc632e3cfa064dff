"""The words of the CNI specification: versions, names, and what a verb's environment must hold. Pure.

Source: https://github.com/containernetworking/cni/blob/spec-v1.1.0/SPEC.md, sections 1 and 2, and, for rules that it
leaves out, what its own library does (`pkg/skel/skel.go`, `pkg/utils/utils.go`).
"""

from __future__ import annotations

from cni_chain.plugin.errors import INVALID_CONFIG, INVALID_ENVIRONMENT, CNIError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
# It can express all that the others can, so a chain passes results on in it.
LATEST = VERSIONS[-1]

# The variables that each verb needs, in the order in which skel names them.
REQUIRED = {
    "ADD": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"),
    "CHECK": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"),
    "DEL": ("CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"),
    "GC": ("CNI_PATH",),
    "STATUS": ("CNI_PATH",),
    "VERSION": (),
}

# The lowest cniVersion of a request for each verb that the first specification didn't have.
MINIMUM = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}

_ALPHANUMERIC = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_NAME = _ALPHANUMERIC | frozenset("_.-")


class CmdArgs:
    """One call's CNI_* variables; those that the verb doesn't need may be empty."""

    __slots__ = ("args", "command", "container_id", "ifname", "netns", "path")

    def __init__(
        self,
        command: str,
        container_id: str = "",
        netns: str = "",
        ifname: str = "",
        args: str = "",
        path: str = "",
    ) -> None:
        self.command = command
        self.container_id = container_id
        self.netns = netns
        self.ifname = ifname
        self.args = args
        self.path = path

    def pod(self) -> tuple[str, str]:
        """Return the pod's namespace and name as CNI_ARGS has them, "" for what it lacks."""
        pairs = dict(pair.partition("=")[::2] for pair in self.args.split(";"))
        return pairs.get("K8S_POD_NAMESPACE", ""), pairs.get("K8S_POD_NAME", "")


def at_least(version: str, minimum: str) -> bool:
    """Return whether `version`, which may be any text from a file, is `minimum` or later."""
    if version in VERSIONS and minimum in VERSIONS:
        return VERSIONS.index(version) >= VERSIONS.index(minimum)
    return _numbers(version) >= _numbers(minimum)


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.split(".")
    if len(parts) > 3 or not all(part.isascii() and part.isdigit() and len(part) < 6 for part in parts):
        return (0,)
    return tuple(int(part) for part in parts)


def is_name(text: str) -> bool:
    """Return whether `text` may be a network's name or a container's ID (`pkg/utils/utils.go`)."""
    return text[:1] in _ALPHANUMERIC and _NAME.issuperset(text) if text else False


def is_interface_name(text: str) -> bool:
    """Return whether the kernel takes `text` for an interface (`net/core/dev.c`, dev_valid_name)."""
    return (
        0 < len(text.encode("utf-8", "surrogateescape")) <= 15
        and text not in (".", "..")
        and not any(char in "/:" or char.isspace() for char in text)
    )


def parse_environment(environ: Mapping[str, str]) -> CmdArgs:
    """Return the call that `environ` asks for. Raises CNIError 4 that names every variable at fault."""
    command = environ.get("CNI_COMMAND", "")
    if not command:
        raise CNIError(
            INVALID_ENVIRONMENT,
            "CNI_COMMAND is missing from the environment: a runtime sets it to the verb; "
            "for the command line see cni-chain --help",
        )
    if command not in REQUIRED:
        raise CNIError(INVALID_ENVIRONMENT, f"unknown CNI_COMMAND: {command}", f"one of {', '.join(REQUIRED)}")
    args = CmdArgs(
        command,
        container_id=environ.get("CNI_CONTAINERID", ""),
        netns=environ.get("CNI_NETNS", ""),
        ifname=environ.get("CNI_IFNAME", ""),
        args=environ.get("CNI_ARGS", ""),
        path=environ.get("CNI_PATH", ""),
    )
    missing = [name for name in REQUIRED[command] if not environ.get(name)]
    faults = [f"required env variables [{','.join(missing)}] missing"] if missing else []
    if "CNI_CONTAINERID" in REQUIRED[command]:
        if args.container_id and not is_name(args.container_id):
            faults.append("CNI_CONTAINERID has characters other than letters, digits, '_', '.' and '-'")
        if args.ifname and not is_interface_name(args.ifname):
            faults.append("CNI_IFNAME must be 1 to 15 bytes, not '.' or '..', and have no '/', ':' or white space")
    if command in ("ADD", "CHECK") and args.args and not _is_args(args.args):
        faults.append("CNI_ARGS must be KEY=VALUE pairs joined by ';'")
    if faults:
        raise CNIError(INVALID_ENVIRONMENT, "; ".join(faults))
    return args


def _is_args(text: str) -> bool:
    return all("=" in pair for pair in text.removesuffix(";").split(";"))


def network_name(conf: Mapping[str, object]) -> str:
    """Return the request's network name. Raises CNIError 7 if it is missing or invalid."""
    name = conf.get("name")
    if not isinstance(name, str) or not is_name(name):
        raise CNIError(
            INVALID_CONFIG,
            f"network configuration: key name: {'missing' if name is None or name == '' else 'invalid'}: "
            "must be letters, digits, '_', '.' and '-', beginning with a letter or digit",
        )
    return name

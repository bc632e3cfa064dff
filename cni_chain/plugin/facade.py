"""cni-chain's own plugin object in the facade: its keys, their valid values and their defaults. Pure.

It collects every fault, so that an operator sees all of them at once; the plugin refuses a call if one exists.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

CHAIN_DIR = "/etc/cni/chain.d"
STATE_DIR = "/var/lib/cni/chain"
LOG_FILE = "/var/log/cni-chain.log"
TIMEOUTS = {"ADD": 110.0, "DEL": 50.0, "CHECK": 35.0, "GC": 25.0, "STATUS": 2.0}
LOG_LEVELS = ("error", "info", "debug")
WARN, ENFORCE = "warn", "enforce"  # what `mesh.serviceAddress` may be

# The keys of the plugin object that are cni-chain's own.
KEYS = ("chainDir", "stateDir", "owners", "timeouts", "logFile", "logLevel", "allowUnsafePermissions", "mesh")

# What libcni adds to every plugin's object (SPEC section 3), and what the conflist's own entry carries.
_OF_EVERY_PLUGIN = frozenset(
    ("type", "capabilities", "name", "cniVersion", "prevResult", "runtimeConfig", "args", "ipam", "dns")
)
_OWNER_NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


class Problem:
    """A fault at one key, `key` written as an operator finds it: `owners[1].exempt[0].namespace`."""

    __slots__ = ("key", "text")

    def __init__(self, key: str, text: str) -> None:
        self.key = key
        self.text = text

    def __str__(self) -> str:
        return f"key {self.key}: {self.text}"


class Owner:
    """The agent that writes one directory of fragments, and what it may contribute."""

    __slots__ = (
        "disable_check",
        "disable_gc",
        "duplicates",
        "exempt",
        "name",
        "on_del_error",
        "required",
        "timeout",
        "types",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.types: frozenset[str] | None = None  # None: every type
        self.required = True
        self.exempt: list[tuple[str, str]] = []  # namespace, prefix of the pod's name
        self.duplicates = "first"
        self.disable_check = False
        self.disable_gc = False
        self.on_del_error = "retry"
        self.timeout: float | None = None  # seconds for one delegate call; None: the verb's budget

    @property
    def agent(self) -> str:
        """Return the name of the agent that writes this owner's files, "" if the facade has none.

        The first pods that are exempt are the agent's own, since they must start before its files exist. The plugin
        has no other source for the name: it loads no table of agents, and a key of its own could contradict this one.
        """
        return self.exempt[0][1].rstrip("-") if self.exempt else ""

    def exempts(self, pod: tuple[str, str]) -> bool:
        """Return whether this owner is skipped for the pod (namespace, name)."""
        return any(pod[0] == namespace and pod[1].startswith(prefix) for namespace, prefix in self.exempt)


class Facade:
    """The plugin object's keys with their defaults in place."""

    __slots__ = (
        "allow_unsafe",
        "chain_dir",
        "log_file",
        "log_level",
        "owners",
        "service_address",
        "state_dir",
        "timeouts",
    )

    def __init__(self) -> None:
        self.chain_dir = CHAIN_DIR
        self.state_dir = STATE_DIR
        self.owners: list[Owner] | None = None  # None: the key has a fault, so the owners are unknown
        self.timeouts = dict(TIMEOUTS)
        self.log_file = LOG_FILE
        self.log_level = "info"
        self.allow_unsafe = False
        self.service_address = ""  # the key `mesh.serviceAddress`; "": nobody looks


def is_owner_name(text: str) -> bool:
    """Return whether `text` may be an owner's name."""
    return bool(text) and text[0] != "-" and _OWNER_NAME.issuperset(text)


def parse(conf: Mapping[str, Any]) -> tuple[Facade, list[Problem], list[str]]:
    """Return the facade in a plugin object `conf`, its faults, and its unknown keys.

    A key with a fault keeps its default, so that a command that only reads can go on, and so can DEL and GC. Owners
    without a valid name are left out. An unknown key of an owner is a fault: with "type" for "types" that owner could
    run everything. An unknown key of the plugin object is not, because Multus and runtimes add their own keys.
    """
    facade = Facade()
    keys = _Keys(conf, "")
    facade.chain_dir = keys.take("chainDir", _path, facade.chain_dir)
    facade.state_dir = keys.take("stateDir", _path, facade.state_dir)
    facade.log_file = keys.take("logFile", _log_file, facade.log_file)
    facade.log_level = keys.take("logLevel", _one_of(LOG_LEVELS), facade.log_level)
    facade.allow_unsafe = keys.take("allowUnsafePermissions", _boolean, False)
    timeouts = _Keys(keys.take("timeouts", _object, {}), "timeouts.")
    for verb in TIMEOUTS:
        facade.timeouts[verb] = timeouts.take(verb, _seconds, facade.timeouts[verb])
    facade.owners = _owners(keys)
    facade.service_address = _mesh(keys)
    keys.merge(timeouts)
    return facade, keys.problems, [key for key in keys.unknown() if not _is_of_every_plugin(key)]


def near(key: str, known: Iterable[str] = ()) -> str:
    """Return which of the `known` keys (default: the plugin object's) `key` is a misspelling of, "" if none."""
    try:
        from difflib import get_close_matches  # imported here: only a typo needs it
    except ImportError:  # the files beside the program are missing, and a hint must not keep a pod Terminating
        return ""
    by_lower_case = {name.lower(): name for name in known or KEYS}
    return next((by_lower_case[one] for one in get_close_matches(key.lower(), by_lower_case, n=1, cutoff=0.75)), "")


def _owners(keys: _Keys) -> list[Owner] | None:
    entries = keys.take("owners", _owner_list, None)
    if "owners" not in keys.values:
        meant = next((key for key in keys.values if key not in KEYS and near(key) == "owners"), "")
        wrong = "list the owners; without them no plugin is required"
        if meant:
            wrong = f"{meant!r} is not a key of cni-chain; did you mean owners?"
        keys.problems.append(Problem("owners", f"missing: {wrong}"))
    if entries is None:
        return None
    owners: list[Owner] = []
    for index, entry in enumerate(entries):
        owner = _owner(entry, f"owners[{index}]", keys)
        if owner.name in [other.name for other in owners]:
            keys.problems.append(Problem(f"owners[{index}].name", f"{owner.name!r} is listed twice"))
        elif owner.name:
            owners.append(owner)
    return owners


def _mesh(parent: _Keys) -> str:
    keys = _Keys(parent.take("mesh", _object, {}), "mesh.")
    found: str = keys.take("serviceAddress", _one_of((WARN, ENFORCE)), "")
    if parent.values.get("mesh") == {}:
        keys.problems.append(Problem("mesh.serviceAddress", f"missing: must be one of {WARN}, {ENFORCE}"))
    parent.merge(keys, closed=True)  # a typo would let pods bypass the mesh
    return found


def _is_of_every_plugin(key: str) -> bool:
    return key in _OF_EVERY_PLUGIN or key.startswith("cni.dev/")


def _owner(entry: Any, where: str, parent: _Keys) -> Owner:
    if not isinstance(entry, dict):
        parent.problems.append(Problem(where, "must be an object"))
        return Owner("")
    keys = _Keys(entry, f"{where}.")
    owner = Owner(keys.take("name", _owner_name, ""))
    if "name" not in entry:
        keys.problems.append(Problem(f"{where}.name", "missing"))
    types = keys.take("types", _type_names, None)
    owner.types = None if types is None else frozenset(types)
    owner.required = keys.take("required", _boolean, owner.required)
    owner.duplicates = keys.take("duplicates", _one_of(("first", "all")), owner.duplicates)
    owner.disable_check = keys.take("disableCheck", _boolean, False)
    owner.disable_gc = keys.take("disableGC", _boolean, False)
    owner.on_del_error = keys.take("onDelError", _one_of(("retry", "ignore")), owner.on_del_error)
    owner.timeout = keys.take("timeoutSeconds", _seconds, None)
    for index, pods in enumerate(keys.take("exempt", _list, [])):
        exempt = _exempt(pods, f"{where}.exempt[{index}]", keys)
        if exempt is not None:
            owner.exempt.append(exempt)
    parent.merge(keys, closed=True)
    return owner


def _exempt(pods: Any, where: str, parent: _Keys) -> tuple[str, str] | None:
    if not isinstance(pods, dict):
        parent.problems.append(Problem(where, "must be an object with namespace and podNamePrefix"))
        return None
    keys = _Keys(pods, f"{where}.")
    namespace = keys.take("namespace", _text, "")
    prefix = keys.take("podNamePrefix", _text, "")
    for key in ("namespace", "podNamePrefix"):
        if key not in pods:
            keys.problems.append(
                Problem(f"{where}.{key}", "missing: both keys are needed, or other pods would be exempt too")
            )
    parent.merge(keys, closed=True)
    return (namespace, prefix) if namespace and prefix else None


class _Keys:
    """One object of the facade while it is read: which keys are known, what is wrong with their values."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self.values = values
        self.where = where
        self.known: set[str] = set()
        self.problems: list[Problem] = []
        self._inner_unknown: list[str] = []

    def take(self, key: str, check: Callable[[Any], str], default: Any) -> Any:
        self.known.add(key)
        if key not in self.values:
            return default
        value = self.values[key]
        fault = check(value)
        if fault:
            self.problems.append(Problem(self.where + key, fault))
            return default
        return value

    def unknown(self) -> list[str]:
        return [self.where + key for key in self.values if key not in self.known] + self._inner_unknown

    def merge(self, inner: _Keys, *, closed: bool = False) -> None:
        """Add what was found in an inner object. With `closed`, an unknown key there is a fault."""
        self.problems += inner.problems
        if not closed:
            self._inner_unknown += inner.unknown()
            return
        for key in inner.values:
            if key not in inner.known:
                meant = near(key, inner.known)
                hint = f"did you mean {meant}?" if meant else f"the keys here are {', '.join(sorted(inner.known))}"
                self.problems.append(Problem(inner.where + key, f"unknown key; {hint}"))


# Each check returns what is wrong with a value, "" if nothing is.


def _boolean(value: Any) -> str:
    return "" if isinstance(value, bool) else "must be true or false"


def _object(value: Any) -> str:
    return "" if isinstance(value, dict) else "must be an object"


def _list(value: Any) -> str:
    return "" if isinstance(value, list) else "must be a list"


def _owner_list(value: Any) -> str:
    return "" if isinstance(value, list) and value else "must be a list of at least one owner"


def _text(value: Any) -> str:
    return "" if isinstance(value, str) and value else "must be a string, not empty"


def _path(value: Any) -> str:
    if isinstance(value, str) and value.startswith("/") and "\0" not in value and not _lone_surrogate(value):
        return ""
    return "must be an absolute path"


def _lone_surrogate(value: str) -> bool:
    """Return whether `value` has half of a character, which JSON can write and no file name holds."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return True
    return False


def _log_file(value: Any) -> str:
    return "" if value == "" else _path(value) and 'must be an absolute path, or "" for no log'


def _seconds(value: Any) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= 86400:
        return ""
    return "must be a number of seconds above 0, at most 86400"


def _owner_name(value: Any) -> str:
    if isinstance(value, str) and is_owner_name(value):
        return ""
    return "must be lower-case letters, digits and '-', beginning with a letter or digit"


def _type_names(value: Any) -> str:
    if isinstance(value, list) and value and all(isinstance(name, str) and name for name in value):
        return ""
    return "must be a list of plugin types, at least one"


def _one_of(words: tuple[str, ...]) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        return "" if isinstance(value, str) and value in words else f"must be one of {', '.join(words)}"

    return check

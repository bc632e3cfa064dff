"""DaemonSets and pods, as the API server has them, cut down to what the reports need. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from cni_chain.cluster.times import seconds
from cni_chain.daemon.wanted import STATES
from cni_chain.node import distros
from cni_chain.plugin import facade

Json = Mapping[str, Any]

_GENERATION = "deprecated.daemonset.template.generation"  # of a DaemonSet; its pods have it as a label
_POD_GENERATION = "pod-template-generation"
_VERSION = "app.kubernetes.io/version"
_RELEASE = "meta.helm.sh/release-name"
_SHORT = 12  # digits of a digest
# What may be part of a command that somebody copies: a name of a release of Helm, and a directory.
_NAME, _DIRECTORY = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?"), re.compile(r"/[\w./@:+=,%-]*")


class Options(NamedTuple):
    """The command line of an agent, as its container has it."""

    state: str
    owners: tuple[str, ...]  # NAME[:TYPE,…]
    optional: tuple[str, ...]
    net_dir: str
    chain_dir: str


class Release(NamedTuple):
    """A DaemonSet whose pods are agents of cni-chain."""

    namespace: str
    name: str
    container: str
    options: Options
    version: str
    image: str
    helm: str  # the release's name, "" if Helm has not made it
    selector: str
    strategy: str  # RollingUpdate or OnDelete
    max_unavailable: int
    min_ready: int  # seconds
    generation: str
    seen: bool  # whether the controller knows the DaemonSet as it is now
    desired: int
    scheduled: int
    updated: int
    available: int

    @property
    def place(self) -> str:
        """Its name with its namespace."""
        return f"{self.namespace}/{self.name}"


class Pod(NamedTuple):
    """An agent's pod."""

    name: str
    node: str  # "" if not even that is known
    options: Options | None
    version: str
    generation: str
    image: str
    ready: bool
    ready_since: float | None  # when Ready became what it is
    answering: bool  # its container says ready, though the pod isn't: then it is the node that doesn't answer
    running: bool  # so that it has a log
    restarts: int
    leaving: bool
    troubles: tuple[str, ...]  # what Kubernetes says of it


class Writer(NamedTuple):
    """Another DaemonSet that has a directory of the node's CNI configurations, and which one."""

    namespace: str
    name: str
    paths: tuple[str, ...]
    updated: bool  # its own roll-out is done

    @property
    def place(self) -> str:
        """Its name with its namespace."""
        return f"{self.namespace}/{self.name}"


def release(daemonset: Json) -> Release | None:
    """Return a DaemonSet as one of cni-chain's, None if its pods aren't agents."""
    metadata, spec, status = daemonset.get("metadata", {}), daemonset.get("spec", {}), daemonset.get("status", {})
    template = spec.get("template", {})
    found = _agent(template.get("spec", {}))
    if found is None:
        return None
    container, options = found
    update = spec.get("updateStrategy", {})
    desired = int(status.get("desiredNumberScheduled", 0))
    labels = {**metadata.get("labels", {}), **template.get("metadata", {}).get("labels", {})}
    image = str(container.get("image", ""))
    return Release(
        namespace=str(metadata.get("namespace", "")),
        name=str(metadata.get("name", "")),
        container=str(container.get("name", "")),
        options=options,
        version=version(image, labels),
        image=image,
        helm=_plain(_NAME, metadata.get("annotations", {}).get(_RELEASE)),
        selector=_selector(spec.get("selector", {})),
        strategy=str(update.get("type", "RollingUpdate")),
        max_unavailable=_share((update.get("rollingUpdate") or {}).get("maxUnavailable", 1), desired),
        min_ready=int(spec.get("minReadySeconds", 0)),
        generation=str(metadata.get("annotations", {}).get(_GENERATION, "")),
        seen=int(status.get("observedGeneration", 0)) >= int(metadata.get("generation", 0)),
        desired=desired,
        scheduled=int(status.get("currentNumberScheduled", 0)),
        updated=int(status.get("updatedNumberScheduled", 0)),
        available=int(status.get("numberAvailable", 0)),
    )


def pod(found: Json) -> Pod:
    """Return an agent's pod."""
    metadata, spec, status = found.get("metadata", {}), found.get("spec", {}), found.get("status", {})
    agent = _agent(spec)
    name = str(agent[0].get("name", "")) if agent else ""
    conditions = {one.get("type"): one for one in status.get("conditions") or ()}
    ready = conditions.get("Ready", {})
    containers = status.get("containerStatuses") or ()
    own: Json = next((one for one in containers if one.get("name") == name), {})
    is_ready = ready.get("status") == "True"
    labels = metadata.get("labels") or {}
    image = str(agent[0].get("image", "")) if agent else ""
    return Pod(
        name=str(metadata.get("name", "")),
        node=str(spec.get("nodeName") or _intended(spec)),
        options=agent[1] if agent else None,
        version=version(image, labels),
        generation=str(labels.get(_POD_GENERATION, "")),
        image=image,
        ready=is_ready,
        ready_since=seconds(ready.get("lastTransitionTime")) or seconds(metadata.get("creationTimestamp")),
        answering=not is_ready and bool(containers) and all(one.get("ready") for one in containers),
        running="running" in (own.get("state") or {}),
        restarts=int(own.get("restartCount", 0)),
        leaving="deletionTimestamp" in metadata,
        troubles=tuple(_troubles(status, conditions, containers, own)),
    )


def is_current(one: Pod, of: Release) -> bool:
    """Return whether a pod is made by the DaemonSet's template as it is now."""
    if one.generation and of.generation:
        return one.generation == of.generation
    return (one.options, one.image) == (of.options, of.image)


def writer(daemonset: Json, net_dirs: Iterable[str], chain_dirs: Iterable[str]) -> Writer | None:
    """Return a DaemonSet that has the runtime's directory, or an owner's, or one above them; None for any other."""
    metadata, spec, status = daemonset.get("metadata", {}), daemonset.get("spec", {}), daemonset.get("status", {})
    volumes = spec.get("template", {}).get("spec", {}).get("volumes") or ()
    paths = [str((one.get("hostPath") or {}).get("path", "")).rstrip("/") for one in volumes]
    known = [*net_dirs, *chain_dirs]
    having = [path for path in paths if path and any(path == one or path.startswith(f"{one}/") for one in known)]
    if not having:
        return None
    desired = int(status.get("desiredNumberScheduled", 0))
    seen = int(status.get("observedGeneration", 0)) >= int(metadata.get("generation", 0))
    done = seen and min(int(status.get("updatedNumberScheduled", 0)), int(status.get("numberAvailable", 0))) >= desired
    return Writer(str(metadata.get("namespace", "")), str(metadata.get("name", "")), tuple(sorted(set(having))), done)


def version(image: str, labels: Json) -> str:
    """Return what says which version an image is: its tag, a label of its pod, or the first digits of its digest."""
    name, _, digest = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    return tag or str(labels.get(_VERSION, "")) or digest.rpartition(":")[2][:_SHORT]


def _agent(spec: Json) -> tuple[Json, Options] | None:
    """Return the container of a pod that is an agent of cni-chain, and its options."""
    for container in spec.get("containers") or ():
        words = [str(word) for word in (*(container.get("command") or ()), *(container.get("args") or ()))]
        if "agent" not in words:
            continue
        given = _given(words[words.index("agent") + 1 :])
        state = (given.get("state") or [""])[-1]
        if state in STATES and all(_plain(_DIRECTORY, path) for path in _directories(given)):
            distro = distros.DISTROS.get((given.get("distro") or ["kubeadm"])[-1], distros.DISTROS["kubeadm"])
            return container, Options(
                state=state,
                owners=tuple(given.get("owner", ())),
                optional=tuple(given.get("optional", ())),
                net_dir=(given.get("net-dir") or [distro.net_dir])[-1],
                chain_dir=(given.get("chain-dir") or [facade.CHAIN_DIR])[-1],
            )
    return None


def _directories(given: Mapping[str, list[str]]) -> list[str]:
    return [path for option in ("net-dir", "chain-dir") for path in given.get(option, ())]


def _plain(pattern: re.Pattern[str], text: Any) -> str:
    """Return a text that a pattern allows, "" for any other."""
    return text if isinstance(text, str) and pattern.fullmatch(text) else ""


def _given(words: list[str]) -> dict[str, list[str]]:
    """Return the values of options, written as `--name=value` or `--name value`."""
    found: dict[str, list[str]] = {}
    for index, word in enumerate(words):
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--"):
            continue
        if not equals:
            value = words[index + 1] if index + 1 < len(words) else ""
        found.setdefault(name, []).append(value)
    return found


def _selector(selector: Json) -> str:
    """Return a selector as kubectl takes it."""
    parts = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    for one in selector.get("matchExpressions") or ():
        key, operator, values = one.get("key"), one.get("operator"), ",".join(one.get("values") or ())
        parts.append(
            {"Exists": f"{key}", "DoesNotExist": f"!{key}"}.get(operator, f"{key} {operator} ({values})".lower())
        )
    return ",".join(parts)


def _share(given: Any, desired: int) -> int:
    """Return a number of nodes, given as such or as a share of all, which is rounded up as Kubernetes does."""
    text = str(given)
    if text.endswith("%") and text[:-1].isdecimal():
        return max(1, -(-int(text[:-1]) * desired // 100))
    return max(1, int(text)) if text.isdecimal() else 1


def _intended(spec: Json) -> str:
    """Return the node for which a DaemonSet's controller has made a pod that is not scheduled yet."""
    affinity = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    ) or {}
    for term in affinity.get("nodeSelectorTerms") or ():
        for field in term.get("matchFields") or ():
            if field.get("key") == "metadata.name" and field.get("values"):
                return str(field["values"][0])
    return ""


def _troubles(status: Json, conditions: Json, containers: Iterable[Json], own: Json) -> Iterable[str]:
    """Yield what Kubernetes itself says of a pod that has not got so far as to ask its agent."""
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        yield f"not scheduled: {scheduled.get('message') or scheduled.get('reason')}"
    if status.get("phase") == "Failed":
        yield f"the pod has failed: {status.get('message') or status.get('reason') or 'Kubernetes does not say why'}"
    for one in containers:
        waiting = (one.get("state") or {}).get("waiting") or {}
        if waiting and waiting.get("reason") not in ("ContainerCreating", "PodInitializing"):
            yield f"container {one.get('name')}: {waiting.get('reason')}: {waiting.get('message') or 'no message'}"
    ended = (own.get("state") or {}).get("terminated") or (own.get("lastState") or {}).get("terminated") or {}
    if ended and not own.get("ready"):
        last = str(ended.get("message") or "").strip().splitlines()
        code = ended.get("exitCode")
        yield f"the agent has ended with status {code} ({ended.get('reason')})" + (f": {last[-1]}" if last else "")

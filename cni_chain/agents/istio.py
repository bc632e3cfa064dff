"""Istio's node agent: its chart and its plugin's keys changed with its releases, which nothing on a node names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cni_chain.agents.agent import Agent, Chart, Proxy, Sign, Writer, text

RUN_DIR = "/var/run/istio-cni"
_RETRY, _RETRY_VALUE = "enable_ambient_detection_retry", "ambient.enableAmbientDetectionRetry"
_REMARK = (
    f"{_RETRY_VALUE} changes istio-cni's configuration on purpose: without it a pod starts outside the "
    "mesh if istio-cni can't look up its namespace"
)

# The kubelet's retry comes after istio-cni's own tries (constants in istio-cni).
_AWAY = (
    "New pods of the ambient mesh don't start. When the agent's pod has been gone for about 10 s, no new pod starts, "
    "in the mesh or outside: istio-cni asks the Kubernetes API about each pod, and the token in {kubeconfig} is bound "
    "to the agent's pod and no longer valid (Unauthorized). Running pods are not affected, and pods can be deleted."
)
_BACK = (
    "Check the istio-cni-node pod on this node. Waiting pods start by themselves, mostly within 48 s after it is back: "
    "istio-cni tries for 31 s with the token that it has read, and the kubelet tries again 12 to 15 s later. "
    "timeoutSeconds of the owner shortens that (docs/agents/istio-away.md)."
)


class Istio(Agent):
    """Istio's node agent."""

    def values(self, conf: Mapping[str, Any], directory: str, *, beside_mesh: bool) -> dict[str, str]:
        values = super().values(conf, directory, beside_mesh=beside_mesh)
        if is_ambient(conf):
            values["ambient.enabled"] = "true"
            if _RETRY in conf:
                values[_RETRY_VALUE] = "true"
        return _in_chart(conf, values)

    def values_back(self, conf: Mapping[str, Any], net_dir: str, list_name: str, *, is_shared: bool) -> dict[str, str]:
        return _in_chart(conf, super().values_back(conf, net_dir, list_name, is_shared=is_shared))

    def remarks(self, conf: Mapping[str, Any]) -> list[str]:
        return [_REMARK] if conf.get(_RETRY) is False else []

    def own_pods(self, conf: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
        namespace = text(conf, "pod_namespace")  # where Istio's agent itself runs (1.26)
        return tuple((namespace or usual, prefix) for usual, prefix in self.exempt)

    def sign_of(self, conf: Mapping[str, Any]) -> Sign | None:
        """Return the sign of the ambient agent; with sidecars the plugin asks only the Kubernetes API."""
        if self.sign is None or not is_ambient(conf):
            return None
        run_dir = text(conf, "cni_agent_run_dir") or RUN_DIR
        return self.sign._replace(
            path=text(conf, "cni_event_address") or f"{run_dir}/pluginevent.sock",
            why=_AWAY.format(kubeconfig=kubeconfig(run_dir)),
        )


def is_ambient(conf: Mapping[str, Any]) -> bool:
    """Return whether a plugin's configuration is for pods of the ambient mesh."""
    return conf.get("ambient_enabled") is True


def lacks_retry(conf: Mapping[str, Any]) -> bool:
    """Return whether `conf` is istio-cni's, ambient, and lets pods run outside the mesh when the API fails."""
    return conf.get("type") == ISTIO.type and is_ambient(conf) and conf.get(_RETRY) is not True


def leaves_others_first(conf: Mapping[str, Any]) -> bool:
    """Return whether an Istio that wrote `conf` only warns when another file sorts first (1.27); older ones append.

    No file on the node names its version; these keys came with 1.27.
    """
    return "native_nftables" in conf or "enablement_selectors" in conf


def kubeconfig(run_dir: str) -> str:
    """Return the path of the kubeconfig that the agent keeps for its plugin (1.24)."""
    return f"{run_dir}/istio-cni-kubeconfig"


def _in_chart(conf: Mapping[str, Any], values: dict[str, str]) -> dict[str, str]:
    """Return values as the chart of the Istio that wrote `conf` has them: at the top (1.24), before that below `cni`.

    Without a configuration Istio is yet to come, in a release of today.
    """
    return values if "plugin_log_level" in conf or not conf else {f"cni.{key}": one for key, one in values.items()}


ISTIO = Istio(
    name="Istio",
    owner="istio",
    types=("istio-cni",),
    file="10-istio.conf",
    single=True,
    mesh=True,
    edits=True,
    exempt=(("istio-system", "istio-cni-node-"),),
    chart=Chart(
        name="istio/cni",
        file="istio-cni-values.yaml",
        values={"cniConfDir": "{directory}", "chained": "false", "cniConfFileName": "10-istio.conf"},
        back={"cniConfDir": "{net_dir}", "chained": "true", "cniConfFileName": ""},
        more={"ambient.enabled": "true", _RETRY_VALUE: "true"},
        releases="1.24 to 1.31",
        otherwise=f"1.18 to 1.23: all of them below `cni.`; 1.28 and later, ambient: `{_RETRY_VALUE}: true`",
        release="istio-cni",
        namespace="istio-system",
        daemonset="istio-cni-node",
        restart=True,
    ),
    sign=Sign(
        agent="Istio's CNI agent",
        path=f"{RUN_DIR}/pluginevent.sock",
        only="ambient",
        why=_AWAY,
        do=_BACK,
        frozen="New pods of the ambient mesh don't start: istio-cni gives up after 5 s. Running pods, and pods "
        "outside the mesh, are not affected.",
    ),
    writer=Writer("install-cni", "cniConfDir, with chained=false"),
    # cni/pkg/config and the injection template of Istio
    proxies=(
        Proxy("ztunnel", (15001, 15006, 15008), mark=0x539, ipv6="istio-cni's Helm value ambient.ipv6=true"),
        Proxy("istio-proxy", (15001, 15006), ipv6="ISTIO_DUAL_STACK=true in meshConfig.defaultConfig.proxyMetadata"),
    ),
    hint="For Istio: cniConfDir must be this directory and chained=false, or its agent waits forever.",
)

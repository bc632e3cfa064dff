"""install-cni, as Istio's chart starts it: what the chart sets in the environment, as the installer's flags.

The installer is Istio's own. For the ambient server stands a stand-in, which answers the plugin and records each call.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping

from tests.lab.rollout.agents.inside import api, asked, health

RUN, CALLS = "/var/run/istio-cni", "/var/run/istio-cni/calls"
FLAGS = {
    "CNI_CONF_NAME": "cni-conf-name",
    "CHAINED_CNI_PLUGIN": "chained-cni-plugin",
    "ISTIO_OWNED_CNI_CONFIG": "istio-owned-cni-config",
    "ISTIO_OWNED_CNI_CONF_FILENAME": "istio-owned-cni-config-filename",
    "AMBIENT_ENABLED": "ambient-enabled",
    "ENABLE_AMBIENT_DETECTION_RETRY": "enable-ambient-detection-retry",
    "EXCLUDE_NAMESPACES": "exclude-namespaces",
    "POD_NAMESPACE": "pod-namespace",
    "KUBERNETES_SERVICE_HOST": "api-host",
    "KUBERNETES_SERVICE_PORT": "api-port",
}
# Where the agent has them in its own container.
FIXED = {
    "mounted-cni-net-dir": "/host/etc/cni/net.d",
    "cni-agent-run-dir": RUN,
    "service-account": api.ACCOUNT,
    "bin-source": "/opt/cni/bin",
    "bin-target": "/host/opt/cni/bin",
    "api-protocol": "https",
}


def command(environment: Mapping[str, str]) -> list[str]:
    """The installer's command line. It cleans up when it is asked to end."""
    given = {flag: environment[name] for name, flag in FLAGS.items() if name in environment}
    return ["istio-installer", *(f"--{flag}={value}" for flag, value in (FIXED | given).items()), "--cleanup"]


def is_upgrade(namespace: str) -> bool:
    """Whether the DaemonSet stays, and so its file and its plugin must: what the agent asks at its end."""
    daemonset = api.get(f"/apis/apps/v1/namespaces/{namespace}/daemonsets/istio-cni-node")
    return daemonset is not None and "deletionTimestamp" not in daemonset["metadata"]


def main() -> None:
    end = asked.to_end()
    server = [sys.executable, "-B", "-m", "tests.support.stand_ins.istio", f"--run-dir={RUN}", f"--calls={CALLS}"]
    ambient = subprocess.Popen(server, env=os.environ | {"PYTHONPATH": "/lab"})
    installer = subprocess.Popen(command(os.environ), stdout=subprocess.PIPE, text=True)
    health.follow(installer.stdout, health.serve(8000))
    while installer.poll() is None and not end.is_set():
        time.sleep(0.05)
    if installer.poll() is None:
        kept = is_upgrade(os.environ["POD_NAMESPACE"])
        installer.send_signal(signal.SIGKILL if kept else signal.SIGTERM)
    ambient.terminate()
    sys.exit(installer.wait() and not end.is_set())


if __name__ == "__main__":
    main()

"""The settings that `cni-chain migrate` prints for the agents' charts, as the agents' own writers take them."""

import itertools
import shlex
from collections.abc import Sequence

# Each chart hands the value on to its agent: the hostPath that is mounted where the agent writes, or a variable.
WRITERS = {
    "cni.confPath": "--write-cni-conf-when-ready={}/05-cilium.conflist",
    "cniConfDir": "--mounted-cni-net-dir={}",
    "chained": "--chained-cni-plugin={}",
    "cniConfFileName": "--cni-conf-name={}",
    "ambient.enabled": "--ambient-enabled={}",
    "ambient.enableAmbientDetectionRetry": "--enable-ambient-detection-retry={}",
}
# What the agent's datapath is told, not its writer.
OTHERS = {"socketLB.hostNamespaceOnly"}


def flags(commands: Sequence[str]) -> list[str]:
    """The writer's flags for the `--set KEY=VALUE` of printed commands. Raises KeyError for a value nobody knows."""
    words = [word for command in commands for word in shlex.split(command)]
    values = [after for word, after in itertools.pairwise(words) if word == "--set"]
    given = [value.partition("=") for value in values]
    return [WRITERS[key].format(value) for key, _, value in given if key not in OTHERS]

"""The agents that are data alone, one entry each."""

from __future__ import annotations

from cni_chain.agents.agent import Agent, Chart, Proxy, Sign

TABLE = (
    Agent(
        name="Linkerd",
        owner="linkerd",
        types=("linkerd-cni",),
        file="10-seed.conflist",  # its installer skips files that are named after it
        mesh=True,
        edits=True,
        exempt=(("linkerd-cni", "linkerd-cni-"),),
        seed="seed",
        chart=Chart(
            name="linkerd/linkerd2-cni",
            file="linkerd2-cni-values.yaml",
            values={"destCNINetDir": "{directory}"},
            back={"destCNINetDir": "{net_dir}"},
            release="linkerd2-cni",
            namespace="linkerd-cni",
            daemonset="linkerd-cni",
        ),
        # the values of the chart linkerd-control-plane
        proxies=(Proxy("linkerd-proxy", (4140, 4143), ipv6="Linkerd's Helm value disableIPv6=false"),),
        hint='Linkerd only edits lists that exist here: put one with "plugins": [] here as its seed, under a name '
        'without "linkerd" (conf/examples/linkerd).',
    ),
    Agent(
        name="Kuma",
        owner="kuma",
        types=("kuma-cni",),
        file="kuma-cni.conf",
        single=True,
        mesh=True,
        edits=True,
        exempt=(("kube-system", "kuma-cni-node-"),),
        chart=Chart(
            name="kuma/kuma",
            file="kuma-values.yaml",
            values={"cni.netDir": "{directory}", "cni.chained": "false", "cni.confName": "kuma-cni.conf"},
            back={"cni.netDir": "{net_dir}", "cni.chained": "true", "cni.confName": "{list}"},
            more={"cni.enabled": "true"},
            release="kuma",
            namespace="kuma-system",
        ),
        # pkg/transparentproxy of Kuma
        proxies=(
            Proxy(
                "kuma-sidecar",
                (15001, 15006),
                ipv6="the pod's annotation kuma.io/transparent-proxying-ip-family-mode: dualstack",
            ),
        ),
    ),
    Agent(
        name="Consul",
        owner="consul",
        types=("consul-cni",),
        file="10-seed.conflist",
        mesh=True,
        edits=True,
        exempt=(("consul", "consul-cni-"),),
        seed="seed",
        before=("loopback",),
        chart=Chart(
            name="hashicorp/consul",
            file="consul-values.yaml",
            values={"connectInject.cni.cniNetDir": "{directory}"},
            back={"connectInject.cni.cniNetDir": "{net_dir}"},
            more={"connectInject.cni.enabled": "true"},
            release="consul",
            namespace="consul",
            daemonset="consul-cni",
        ),
        proxies=(Proxy("consul-dataplane", (15001, 20000)),),
        hint="Consul only edits a list that has a plugin: put one with loopback here as its seed "
        "(conf/examples/consul), and leave loopback out with the owner's types.",
    ),
    Agent(
        name="Calico",
        owner="calico",
        types=("calico",),
        file="10-calico.conflist",
        network="k8s-pod-network",
        contributes=("calico", "bandwidth", "portmap"),
        early=True,
        by_hand="hostPath of the volume cni-net-dir and CNI_NET_DIR of the DaemonSet calico-node, or cni.confDir of "
        "the operator's Installation, must be {directory}",
        # Its plugin asks no agent, but reads the file that the agent wrote when it started; a boot or an uninstall
        # removes that file. The same is true for flannel.
        sign=Sign(
            agent="Calico's node agent",
            path="/var/lib/calico/nodename",
            pod="calico-node",
            key="nodename_file",
            unless="nodename_file_optional",
        ),
    ),
    Agent(
        name="Flannel",
        owner="flannel",
        types=("flannel",),
        file="10-flannel.conflist",
        network="cbr0",
        contributes=("flannel", "portmap"),
        chart=Chart(
            name="flannel/flannel",
            file="flannel-values.yaml",
            values={"flannel.cniConfDir": "{directory}"},
            back={"flannel.cniConfDir": "{net_dir}"},
            release="flannel",
            namespace="kube-flannel",
            daemonset="kube-flannel-ds",
        ),
        sign=Sign(agent="Flannel's daemon", path="/run/flannel/subnet.env", pod="kube-flannel", key="subnetFile"),
    ),
    Agent(
        name="AWS VPC CNI",
        owner="aws",
        types=("aws-cni", "egress-cni", "egress-v4-cni", "egress-v6-cni"),
        file="10-aws.conflist",
        network="aws-cni",
        contributes=("aws-cni", "egress-cni", "portmap"),
        by_hand="hostPath of the volume cni-net-dir of the DaemonSet aws-node must be {directory}",
        sign=Sign(agent="Amazon's ipamd", path="127.0.0.1:50051", pod="aws-node"),
    ),
    Agent(
        name="Azure CNI",
        owner="azure",
        types=("azure-vnet",),
        file="10-azure.conflist",
        movable=False,
        by_hand="AKS restores its own settings, so no change is kept; its file stays in its place, after the facade",
    ),
    Agent(
        name="Antrea",
        owner="antrea",
        types=("antrea",),
        file="10-antrea.conflist",
        network="antrea",
        contributes=("antrea", "portmap", "bandwidth"),
        by_hand="the chart has no value for it: patch the hostPath to {directory}",
        sign=Sign(agent="Antrea's agent", path="/var/run/antrea/cni.sock", pod="antrea-agent"),
    ),
    Agent(
        name="Kube-OVN",
        owner="kube-ovn",
        types=("kube-ovn",),
        file="01-kube-ovn.conflist",
        network="kube-ovn",
        contributes=("kube-ovn", "portmap"),
        chart=Chart(
            name="kubeovn/kube-ovn",
            file="kube-ovn-values.yaml",
            values={"cni_conf.CNI_CONF_DIR": "{directory}", "cni_conf.MOUNT_CNI_CONF_DIR": "{directory}"},
        ),
        by_hand="hostPath and mountPath of the volume cni-conf, and CNI_CONF_DIR, of the DaemonSet kube-ovn-cni must "
        "be {directory}; in the chart, cni_conf.CNI_CONF_DIR and cni_conf.MOUNT_CNI_CONF_DIR "
        "(conf/helm/kube-ovn-values.yaml)",
        sign=Sign(
            agent="Kube-OVN's daemon",
            path="/run/openvswitch/kube-ovn-daemon.sock",
            pod="kube-ovn-cni",
            key="server_socket",
        ),
    ),
    Agent(
        name="OVN-Kubernetes",
        owner="ovn-kubernetes",
        types=("ovn-k8s-cni-overlay",),
        file="10-ovn-kubernetes.conf",
        network="ovn-kubernetes",
        single=True,
        by_hand="--cni-conf-dir of ovnkube-node must be {directory}",
        sign=Sign(agent="OVN-Kubernetes", path="/var/run/ovn-kubernetes/cni/ovn-cni-server.sock", pod="ovnkube-node"),
    ),
    Agent(
        name="Weave",
        owner="weave",
        types=("weave-net",),
        file="10-weave.conflist",
        sign=Sign(agent="Weave's router", path="127.0.0.1:6784", pod="weave-net"),
    ),
    Agent(
        name="Terway",
        owner="terway",
        types=("terway",),
        file="10-terway.conflist",
        sign=Sign(agent="Terway's daemon", path="/var/run/eni/eni.socket", pod="terway-eniip"),
    ),
)

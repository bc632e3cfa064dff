"""The Helm chart, read by the real Helm: what it installs, what it refuses, and what is made of it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from cni_chain import __version__
from tests.conftest import available
from tests.support.files.node import run
from tests.support.helm import CHART, DEPLOY, NEWEST, OLDEST, PRESET, Helm, Json, options
from tests.support.published import made

WITH_PRESET = ("--set", f"preset={PRESET}")
CAPABILITIES = ["SYS_ADMIN", "SYS_CHROOT", "SYS_PTRACE", "DAC_OVERRIDE", "FOWNER", "CHOWN", "NET_ADMIN", "NET_RAW"]
IMAGE = f"localhost/cni-chain:{__version__}"


@pytest.fixture(scope="module")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    with available():
        return Helm(tmp_path_factory.mktemp("helm"))


def daemonset(objects: list[Json]) -> Json:
    [found] = [one for one in objects if one["kind"] == "DaemonSet"]
    return found


def pod(objects: list[Json]) -> Json:
    spec: Json = daemonset(objects)["spec"]["template"]["spec"]
    return spec


def agent(objects: list[Json]) -> Json:
    container: Json = pod(objects)["containers"][0]
    assert container["name"] == "agent"
    return container


def arguments(objects: list[Json]) -> list[str]:
    words: list[str] = agent(objects)["args"]
    return words


def test_helm_finds_nothing_to_complain_of(helm: Helm) -> None:
    for given in ((), WITH_PRESET, ("--set", "owners={cilium:cilium-cni}")):
        done = helm.run("lint", "--strict", CHART, *given)
        found = [line for line in done.stdout.splitlines() if line.startswith("[")]
        assert (done.returncode, found) == (0, ["[INFO] Chart.yaml: icon is recommended"])


@pytest.mark.parametrize("kubernetes", [OLDEST, NEWEST])
def test_a_release_is_one_daemonset_and_nothing_else(helm: Helm, kubernetes: str) -> None:
    objects = helm.template(*WITH_PRESET, kubernetes=kubernetes)

    assert [(one["kind"], one["metadata"]["name"], one["metadata"]["namespace"]) for one in objects] == [
        ("DaemonSet", "cni-chain", "cni-chain")
    ]
    assert "helm.sh/hook" not in helm.text(*WITH_PRESET, kubernetes=kubernetes)


@pytest.mark.parametrize("kubernetes", [OLDEST, NEWEST])
def test_its_pods_run_on_every_node_and_can_ask_nothing_of_the_cluster(helm: Helm, kubernetes: str) -> None:
    spec = pod(helm.template(*WITH_PRESET, kubernetes=kubernetes))

    [container] = spec.pop("containers")
    [term] = spec.pop("affinity")["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert {one["key"]: one["values"] for one in term["matchExpressions"]} == {
        "kubernetes.io/arch": ["amd64", "arm64"],
        "eks.amazonaws.com/compute-type": ["fargate"],
        "type": ["virtual-kubelet"],
    }
    assert spec == {
        "hostNetwork": True,
        "hostPID": True,
        "priorityClassName": "system-node-critical",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 5,
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"operator": "Exists"}],
    }
    assert not {"env", "envFrom", "volumeMounts", "command"} & set(container)


@pytest.mark.parametrize(
    ("kubernetes", "by_field"), [(OLDEST, False), ("1.29.9", False), ("1.30.0", True), (NEWEST, True)]
)
def test_the_agent_has_the_rights_that_it_needs_and_no_more(helm: Helm, kubernetes: str, by_field: bool) -> None:
    objects = helm.template(*WITH_PRESET, kubernetes=kubernetes)

    unconfined = {"appArmorProfile": {"type": "Unconfined"}} if by_field else {}
    assert agent(objects)["securityContext"] == unconfined | {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"], "add": CAPABILITIES},
        "seLinuxOptions": {"type": "spc_t"},
    }
    annotations = daemonset(objects)["spec"]["template"]["metadata"]["annotations"]
    before = "container.apparmor.security.beta.kubernetes.io/agent"
    assert annotations.get(before) == (None if by_field else "unconfined")


def test_the_probes_ask_the_port_on_which_the_agent_listens(helm: Helm) -> None:
    for given, listen in ((["--set", "port=9999"], "127.0.0.1:9999"), (["--set", "metrics.expose=true"], ":9753")):
        objects = helm.template(*WITH_PRESET, *given)
        [port] = agent(objects)["ports"]
        assert f"--listen={listen}" in arguments(objects)
        assert port["containerPort"] == port["hostPort"] == int(listen.partition(":")[2])
        asked = {name: agent(objects)[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
        assert asked == {
            "startup": {"host": "127.0.0.1", "port": "http", "path": "/healthz"},
            "readiness": {"host": "127.0.0.1", "port": "http", "path": "/readyz"},
            "liveness": {"host": "127.0.0.1", "port": "http", "path": "/livez"},
        }


def test_the_state_is_the_only_difference_between_two_steps(helm: Helm) -> None:
    """So the DaemonSet's controller replaces the pods, at the pace that the values give."""
    prepared, on = (helm.text(*WITH_PRESET, "--set-string", f"state={state}") for state in ("prepared", "on"))

    assert prepared.replace("--state=prepared", "--state=on") == on
    assert daemonset(list(yaml.safe_load_all(on)))["spec"]["updateStrategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": 1},
    }


@pytest.mark.parametrize(("written", "meant"), [("on", "on"), ("off", "off"), ('"on"', "on"), ("prepared", "prepared")])
def test_a_state_without_quotes_is_what_it_looks_like(helm: Helm, tmp_path: Path, written: str, meant: str) -> None:
    """YAML 1.1 reads on and off as true and false."""
    (tmp_path / "values.yaml").write_text(f"state: {written}\n")

    objects = helm.template(*WITH_PRESET, "--values", str(tmp_path / "values.yaml"))

    assert f"--state={meant}" in arguments(objects)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (
            {"preset": PRESET},
            ["--owner=cilium:cilium-cni", "--owner=istio:istio-cni", "--owner=local", "--name=cilium"],
        ),
        (
            {"preset": "calico+istio"},
            [
                "--owner=calico:calico,bandwidth,portmap",
                "--owner=istio:istio-cni",
                "--owner=local",
                "--name=k8s-pod-network",
            ],
        ),
        ({"preset": "flannel"}, ["--owner=flannel:flannel,portmap", "--owner=local", "--name=cbr0"]),
        (
            {"preset": "flannel", "networkName": "pods"},
            ["--owner=flannel:flannel,portmap", "--owner=local", "--name=pods"],
        ),
        (
            {"owners": ["kindnet:ptp,portmap", "istio:istio-cni"], "optional": ["istio"], "exempt": ["istio=mesh/a-"]},
            ["--owner=kindnet:ptp,portmap", "--owner=istio:istio-cni", "--optional=istio", "--exempt=istio=mesh/a-"],
        ),
        (
            {"preset": "flannel", "without": ["istio", "edge"]},
            ["--owner=flannel:flannel,portmap", "--owner=local", "--without=istio", "--without=edge", "--name=cbr0"],
        ),
    ],
    ids=["preset", "another", "without a mesh", "name", "owners", "without a mesh any more"],
)
def test_the_agent_is_told_the_owners_in_their_order(helm: Helm, values: Json, expected: list[str]) -> None:
    words = arguments(helm.template(*options(values)))

    assert words == [
        "agent",
        "--state=prepared",
        *expected,
        "--distro=kubeadm",
        "--listen=127.0.0.1:9753",
        "--every=30s",
        "--gc-every=5m",
    ]


def test_directories_and_distribution_reach_the_agent(helm: Helm) -> None:
    paths = {"binDir": "/a/bin", "netDir": "/a/net.d", "chainDir": "/a/chain.d", "programDir": "/a/cni chain"}

    words = arguments(helm.template(*WITH_PRESET, *options({"distro": "k3s", "paths": paths | {"programDir": "/a/p"}})))

    assert words[-8:-3] == [
        "--distro=k3s",
        "--bin-dir=/a/bin",
        "--net-dir=/a/net.d",
        "--chain-dir=/a/chain.d",
        "--program-dir=/a/p",
    ]
    assert "/paths/programDir" in helm.refused(*WITH_PRESET, *options({"paths": paths}))


def test_the_program_takes_every_argument_that_the_chart_gives(helm: Helm, program: str) -> None:
    """It reads the options' names before it prints its help."""
    paths = {"binDir": "/a/bin", "netDir": "/a/net.d", "chainDir": "/a/chain.d", "programDir": "/a/program"}
    exempt = ["istio=mesh/istio-cni-node-"]
    words = arguments(
        helm.template(
            *WITH_PRESET,
            *options({"paths": paths, "exempt": exempt, "optional": ["istio"], "without": ["edge"], "state": "on"}),
        )
    )

    assert run(program, *words, "--help").status == 0
    assert run(program, *words, "--unknown", "--help").status == 2


def test_the_image_is_by_tag_or_by_digest(helm: Helm) -> None:
    digest = f"sha256:{'0123456789abcdef' * 4}"

    def image(**values: str) -> str:
        given = options({f"image.{key}": value for key, value in values.items()})
        return str(agent(helm.template(*WITH_PRESET, *given))["image"])

    assert image() == IMAGE
    assert image(repository="example.org:5000/a/b", tag="1") == "example.org:5000/a/b:1"
    assert image(digest=digest) == f"localhost/cni-chain@{digest}"
    both = helm.refused(*WITH_PRESET, *options({"image.tag": "1", "image.digest": digest}))
    assert "image.digest: not together with image.tag" in both


def test_how_a_change_comes_to_the_nodes_is_the_operators(helm: Helm) -> None:
    def given(**values: object) -> Json:
        chosen = options({f"rollout.{key}": value for key, value in values.items()})
        spec: Json = daemonset(helm.template(*WITH_PRESET, *chosen))["spec"]
        strategy: Json = spec["updateStrategy"]
        return {"minReadySeconds": spec["minReadySeconds"]} | strategy

    assert given(maxUnavailable="10%", minReadySeconds=60) == {
        "minReadySeconds": 60,
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": "10%"},
    }
    assert given(type="OnDelete") == {"minReadySeconds": 5, "type": "OnDelete"}


REFUSED: list[tuple[Json, str]] = [
    ({"preset": ""}, "preset: name the agents of this cluster, such as --set preset=cilium+istio-ambient, or give own"),
    (
        {"owners": ["cilium"]},
        "owners: not together with preset: empty one of the two, by --set preset= or --set-json 'o",
    ),
    ({"state": "enabled"}, "- at '/state': value must be one of 'prepared', 'on', 'off'"),
    ({"stat": "on"}, "additional properties 'stat' not allowed"),
    ({"preset": "cillium"}, "- at '/preset': 'cillium' does not match pattern"),
    ({"preset": "istio+cilium"}, "- at '/preset': 'istio+cilium' does not match pattern"),
    ({"preset": "", "owners": ["Cilium:cilium-cni"]}, "- at '/owners/0': 'Cilium:cilium-cni' does not match pattern"),
    ({"preset": "", "owners": ["cilium:"]}, "- at '/owners/0': 'cilium:' does not match pattern"),
    ({"preset": "", "owners": ["a", "a"]}, "- at '/owners': items at 0 and 1 are equal"),
    ({"exempt": ["istio-system/istio-cni-node-"]}, "- at '/exempt/0': "),
    ({"optional": ["istio:istio-cni"]}, "- at '/optional/0': "),
    ({"without": ["istio:istio-cni"]}, "- at '/without/0': "),
    (
        {"without": ["istio"]},
        "without: istio is one of the owners: cilium, istio, local; --set-json 'without=[]' takes nobody out",
    ),
    ({"optional": ["linkerd"]}, "optional: linkerd is none of the owners: cilium, istio, local"),
    ({"exempt": ["linkerd=a/b"]}, "exempt: linkerd=a/b: its owner is none of: cilium, istio, local"),
    ({"preset": "", "owners": ["a:x", "a:y"]}, "owners: each one time only, with all its types: a:x, a:y"),
    (
        {"distro": "talos"},
        "- at '/distro': value must be one of 'kubeadm', 'k3s', 'rke2', 'microk8s', 'gke', 'openshift'",
    ),
    ({"paths.netDir": "etc/cni/net.d"}, "- at '/paths/netDir': 'etc/cni/net.d' does not match pattern"),
    ({"image.digest": "latest"}, "- at '/image/digest': 'latest' does not match pattern"),
    ({"image.repository": "example.org/a@sha256:00"}, "- at '/image/repository': "),
    ({"image.repository": "example.org:5000/a:1"}, "- at '/image/repository': "),
    ({"image.repository": "https://example.org/a"}, "- at '/image/repository': "),
    ({"image.pullPolicy": "Sometimes"}, "- at '/image/pullPolicy': value must be one of"),
    ({"rollout.maxUnavailable": 0}, "- at '/rollout/maxUnavailable': "),
    ({"rollout.maxUnavailable": "ten"}, "- at '/rollout/maxUnavailable': "),
    ({"rollout.minReadySeconds": -1}, "- at '/rollout/minReadySeconds': minimum: got -1, want 0"),
    ({"port": 70000}, "- at '/port': maximum: got 70,000, want 65,535"),
    ({"lookEvery": "30"}, "- at '/lookEvery': '30' does not match pattern"),
    ({"gcEvery": "1000000d"}, "- at '/gcEvery': '1000000d' does not match pattern"),
    ({"priorityClassName": "a: b"}, "- at '/priorityClassName': 'a: b' does not match pattern"),
    ({"tolerations": {"operator": "Exists"}}, "- at '/tolerations': got object, want array"),
    ({"seLinuxType": "system_u:spc_t"}, "- at '/seLinuxType': "),
    ({"metrics.podMonitor": True}, "metrics.podMonitor: needs metrics.expose=true"),
    ({"startupTaint.enabled": True}, "startupTaint.image: an image that has sh and kubectl"),
    ({"startupTaint.key": "no-prefix"}, "- at '/startupTaint/key': "),
    # In a file a value that is left empty takes the default away.
    ({"state": None}, "missing property 'state'"),
    ({"distro": None}, "missing property 'distro'"),
    ({"port": None}, "missing property 'port'"),
    ({"image.repository": None}, "- at '/image': missing property 'repository'"),
    ({"rollout": None}, "missing property 'rollout'"),
    ({"rollout.maxUnavailable": None}, "- at '/rollout': missing property 'maxUnavailable'"),
    # The chart sets these itself, and a YAML file has a key one time.
    ({"podLabels": {"app.kubernetes.io/name": "x"}}, "- at '/podLabels/app.kubernetes.io~1name': false schema"),
    ({"podAnnotations": {"kubectl.kubernetes.io/default-container": "x"}}, "- at '/podAnnotations/kubectl.k"),
]


@pytest.mark.parametrize(("values", "reason"), REFUSED, ids=[" ".join(map(str, values)) for values, _ in REFUSED])
def test_a_wrong_value_is_refused_by_its_name(helm: Helm, values: Json, reason: str) -> None:
    assert reason in helm.refused(*options({"preset": PRESET} | values))


# As names they are good; without quotes YAML has numbers, a boolean and nothing in their place.
@pytest.mark.parametrize("name", ["123", "0x10", "1e3", "on", "null"])
def test_a_name_that_looks_like_something_else_stays_a_name(helm: Helm, name: str) -> None:
    values = {"priorityClassName": name, "image.pullSecrets": [name], "seLinuxType": name, "createNamespace": True}
    taint = {"startupTaint.enabled": True, "startupTaint.image": "example.org/kubectl:1"}
    more = {"distro": "gke", "metrics.expose": True, "metrics.podMonitor": True}
    made = helm.printed(
        "template",
        name,
        CHART,
        "--namespace",
        name,
        *WITH_PRESET,
        *options(values | taint | more),
        "--kube-version",
        NEWEST,
    )

    objects = [one for one in yaml.safe_load_all(made) if one]

    assert {one["kind"] for one in objects} > {"Namespace", "DaemonSet", "PodMonitor", "ResourceQuota", "Pod"}
    for one in objects:
        assert one["metadata"]["name"].startswith(name)
        assert one["metadata"].get("namespace", name) == name
        labels = one["metadata"].get("labels", {}).get("app.kubernetes.io/instance", name)
        assert (one["kind"], labels) == (one["kind"], name)
    spec = pod(objects)
    assert (spec["priorityClassName"], spec["imagePullSecrets"]) == (name, [{"name": name}])
    assert agent(objects)["securityContext"]["seLinuxOptions"] == {"type": name}


def test_an_older_kubernetes_is_refused(helm: Helm) -> None:
    assert "chart requires kubeVersion: >=1.26.0-0" in helm.refused(*WITH_PRESET, kubernetes="1.25.16")


def test_the_namespace_that_the_chart_makes_admits_its_pods(helm: Helm) -> None:
    namespace, *_ = helm.template(*WITH_PRESET, "--set", "createNamespace=true")

    assert (namespace["kind"], namespace["metadata"]["name"]) == ("Namespace", "cni-chain")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "privileged"


def test_gke_gets_the_quota_that_lets_critical_pods_in(helm: Helm) -> None:
    gke = (*WITH_PRESET, "--set", "distro=gke")
    [quota] = [one for one in helm.template(*gke) if one["kind"] == "ResourceQuota"]

    [scope] = quota["spec"]["scopeSelector"]["matchExpressions"]
    assert (scope["scopeName"], scope["values"]) == ("PriorityClass", ["system-node-critical"])


def test_prometheus_is_told_where_the_metrics_are(helm: Helm) -> None:
    objects = helm.template(*WITH_PRESET, "--set", "metrics.expose=true,metrics.podMonitor=true")
    [monitor] = [one for one in objects if one["kind"] == "PodMonitor"]

    labels = daemonset(objects)["spec"]["template"]["metadata"]["labels"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("http", "/metrics")


TAINT = (*WITH_PRESET, "--set", "startupTaint.enabled=true,startupTaint.image=example.org/kubectl:1")


def test_with_a_start_up_taint_only_the_second_container_has_a_token(helm: Helm) -> None:
    objects = helm.template(*TAINT)
    spec = pod(objects)

    first, second = spec["containers"]
    assert (first["name"], second["name"]) == ("agent", "untaint")
    assert not {"env", "volumeMounts"} & set(first)
    assert [one["name"] for one in second["volumeMounts"]] == ["token"]
    assert "add" not in second["securityContext"]["capabilities"]
    assert spec["automountServiceAccountToken"] is False
    kinds = sorted(one["kind"] for one in objects)
    policy = ["ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"]
    assert kinds == ["ClusterRole", "ClusterRoleBinding", "DaemonSet", "ServiceAccount", *policy]


def test_the_token_is_bound_by_the_policy_of_its_own_account_and_taint(helm: Helm) -> None:
    objects = {one["kind"]: one for one in helm.template(*TAINT, "--set", "startupTaint.key=example.org/starting")}

    account = objects["ServiceAccount"]["metadata"]
    policy = objects["ValidatingAdmissionPolicy"]["spec"]
    [condition] = policy["matchConditions"]
    user = f"system:serviceaccount:{account['namespace']}:{account['name']}"
    assert condition["expression"] == f'request.userInfo.username == "{user}"'
    assert policy["failurePolicy"] == "Fail"
    assert objects["ClusterRole"]["rules"] == [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "patch"]}]
    assert objects["ValidatingAdmissionPolicyBinding"]["spec"] == {
        "policyName": objects["ValidatingAdmissionPolicy"]["metadata"]["name"],
        "validationActions": ["Deny"],
    }
    assert any('taint.key != "example.org/starting"' in one["expression"] for one in policy["validations"])
    assert pod([objects["DaemonSet"]])["serviceAccountName"] == account["name"]


def test_a_start_up_taint_needs_tokens_that_name_the_node(helm: Helm) -> None:
    assert "startupTaint.enabled: needs Kubernetes 1.30" in helm.refused(*TAINT, kubernetes="1.29.9")


def test_helm_test_starts_an_ordinary_pod_that_the_daemonset_does_not_take_for_its_own(helm: Helm) -> None:
    text = helm.printed("template", "cni-chain", CHART, *WITH_PRESET, "--show-only", "templates/tests/pod-starts.yaml")
    test = yaml.safe_load(text)

    assert test["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert not {"hostNetwork", "hostPID", "tolerations", "serviceAccountName"} & set(test["spec"])
    [container] = test["spec"]["containers"]
    assert (container["image"], container["args"]) == (IMAGE, ["version"])
    selector = daemonset(helm.template(*WITH_PRESET))["spec"]["selector"]["matchLabels"]
    assert not selector.items() <= test["metadata"]["labels"].items()


def notes(helm: Helm, folder: Path, *given: str) -> str:
    """What `helm install` prints at its end, which needs a cluster: a copy of the chart has it in an object."""
    chart = Path(shutil.copytree(CHART, folder / "cni-chain"))
    text = chart / "templates/NOTES.txt"
    shown = '{"apiVersion": "v1", "kind": "ConfigMap", "data": {"notes": {{ include "shown" . | toJson }}}}'
    (chart / "templates/shown.yaml").write_text(f'{{{{- define "shown" }}}}{text.read_text()}{{{{- end }}}}\n{shown}\n')
    text.unlink()
    [found] = [one for one in helm.template("--namespace", "mesh", *given, chart=chart) if one["kind"] == "ConfigMap"]
    return str(found["data"]["notes"])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"preset": PRESET},
            [
                "kubectl --namespace mesh rollout status daemonset/cni-chain",
                "--set cni.confPath=/etc/cni/chain.d/cilium.d --set socketLB.hostNamespaceOnly=true",
                "helm upgrade cni-chain <chart> --namespace mesh --reuse-values --set state=on",
                "kubectl label namespace mesh pod-security.kubernetes.io/enforce=privileged",
            ],
        ),
        (
            {"preset": PRESET, "state": "on"},
            [
                "--set cniConfDir=/etc/cni/chain.d/istio.d",
                "ambient.enableAmbientDetectionRetry=true",
                "helm test cni-chain --namespace mesh",
                "--reuse-values --set state=off",
            ],
        ),
        (
            {"preset": PRESET, "state": "off"},
            ["kubectl cni-chain plan off", "  helm uninstall cni-chain --namespace mesh\n"],
        ),
        (
            {"preset": "cilium+linkerd"},
            [
                "If Linkerd runs already, cordon every node",
                "destCNINetDir=/etc/cni/chain.d/linkerd.d",
                "uncordon the nod",
            ],
        ),
        (
            {"preset": "cilium+linkerd", "state": "on"},
            ["(first put conf/examples/linkerd/10-seed.conflist into /etc/cni/chain.d/linkerd.d of each node)"],
        ),
        (
            {"preset": "cilium", "paths.chainDir": "/srv/chain.d"},
            ["--set cni.confPath=/srv/chain.d/cilium.d\n"],
        ),
        ({"owners": ["kindnet:ptp,portmap"]}, ["--set state=on"]),
        ({"preset": "cilium", "distro": "openshift"}, ["add-scc-to-user privileged --serviceaccount default --names"]),
    ],
    ids=["prepared", "on", "off", "a mesh that edits lists", "a seed", "another directory", "owners", "openshift"],
)
def test_the_notes_say_what_comes_next(helm: Helm, tmp_path: Path, given: Json, said: list[str]) -> None:
    text = notes(helm, tmp_path, *options(given))

    assert [words for words in said if words not in text] == []
    assert "<no value>" not in text
    assert "%!" not in text


def test_the_kustomize_base_is_the_chart_as_helm_renders_it(helm: Helm) -> None:
    rendered = helm.text(*WITH_PRESET, "--set", "createNamespace=true")

    same = (DEPLOY / "kustomize/base/cni-chain.yaml").read_text() == rendered
    assert same, "the chart has changed: make manifests"
    assert helm.kustomized(DEPLOY / "kustomize/base") == list(yaml.safe_load_all(rendered))


def test_the_kustomization_of_the_next_step_changes_the_state_alone(helm: Helm) -> None:
    base, on = (helm.kustomized(DEPLOY / "kustomize" / name) for name in ("base", "on"))

    assert "--state=on" in arguments(on)
    arguments(on)[1] = "--state=prepared"
    assert on == base


def test_a_kustomization_whose_base_has_moved_on_stops(helm: Helm, tmp_path: Path) -> None:
    """Its patch goes by a place in a list."""
    shutil.copytree(DEPLOY / "kustomize", tmp_path / "kustomize")
    base = tmp_path / "kustomize/base/cni-chain.yaml"
    base.write_text(base.read_text().replace("- --state=prepared", "- --new\n            - --state=prepared"))

    done = helm.run(tmp_path / "kustomize/on", program="kustomize")

    assert (done.returncode, done.stdout) == (1, "")
    assert "test failed" in done.stderr


def values_of(file: Path) -> Json:
    """What a GitOps controller hands to Helm."""
    documents = {one["kind"]: one.get("spec", {}) for one in yaml.safe_load_all(file.read_text())}
    release = documents.get("HelmRelease") or documents["Application"]["source"]["helm"]
    values: Json = release.get("values") or release["valuesObject"]
    return values


@pytest.mark.parametrize("name", ["argocd.yaml", "flux.yaml"])
def test_the_examples_for_gitops_have_values_that_the_chart_takes(helm: Helm, tmp_path: Path, name: str) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values_of(DEPLOY / "gitops" / name)))

    objects = helm.template("--values", str(file))

    assert objects == helm.template(*WITH_PRESET)


def test_a_released_chart_names_its_image_by_the_digest(helm: Helm, tmp_path: Path) -> None:
    digest = f"sha256:{'0123456789abcdef' * 4}"
    [file] = made("chart", tmp_path, "--name", "example.org/cni-chain", "--digest", digest)

    assert Path(file).name == f"cni-chain-{__version__}.tgz"
    shown: Any = yaml.safe_load(helm.printed("show", "chart", file))
    assert (shown["name"], shown["version"]) == ("cni-chain", __version__)
    assert helm.run("lint", "--strict", file).returncode == 0
    objects = helm.template(*WITH_PRESET, chart=Path(file))
    assert agent(objects)["image"] == f"example.org/cni-chain@{digest}"
    agent(objects)["image"] = IMAGE
    assert objects == helm.template(*WITH_PRESET)


def test_the_chart_is_packed_whole_and_the_same_each_time(tmp_path: Path) -> None:
    [file] = made("chart", tmp_path / "one")
    [again] = made("chart", tmp_path / "two")

    assert Path(file).read_bytes() == Path(again).read_bytes()
    (tmp_path / "there").mkdir()
    subprocess.run(["tar", "-xzf", file, "-C", tmp_path / "there"], check=True)  # noqa: S607
    names = {path.relative_to(CHART) for path in CHART.rglob("*") if path.is_file()}
    unpacked = tmp_path / "there/cni-chain"
    assert {path.relative_to(unpacked) for path in unpacked.rglob("*") if path.is_file()} == names
    assert all((unpacked / name).read_bytes() == (CHART / name).read_bytes() for name in names)

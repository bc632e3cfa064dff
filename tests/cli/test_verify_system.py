"""What `cni-chain verify` finds about executables, and about who may write what root runs."""

import os

import pytest

from tests.support.files.node import CILIUM, FACADE, LOCAL, Json, Node, at


def cilium(**keys: object) -> Json:
    return {"plugins": [{"type": "cilium-cni", **keys}]}


@pytest.mark.parametrize("directories", [["/usr/lib/cni:/opt/cni/bin"], ["/usr/lib/cni", "/opt/cni/bin"]])
def test_the_runtime_may_have_several_directories_of_plugins(node: Node, directories: list[str]) -> None:
    (node.root / "usr/lib/cni").mkdir(parents=True)
    (node.bin_dir / "portmap").rename(node.root / "usr/lib/cni/portmap")

    assert node.findings(*(word for directory in directories for word in ("--bin-dir", directory))) == []


def test_a_file_that_is_no_executable(node: Node) -> None:
    (node.bin_dir / "portmap").chmod(0o644)

    assert node.findings() == [
        f"{LOCAL}/10-portmap.conf:4:3: local/portmap: /opt/cni/bin/portmap is not executable (chmod +x)"
    ]


def test_the_plugin_for_addresses_must_be_there_too(node: Node) -> None:
    node.write("cilium.d/05-cilium.conflist", cilium(ipam={"type": "azure-ipam"}))

    assert node.findings() == [
        f"{CILIUM}:6:5: cilium/cilium-cni: no plugin azure-ipam in /opt/cni/bin; its agent installs it there"
    ]


def test_plugins_are_asked_for_their_versions_as_a_runtime_asks(node: Node) -> None:
    asked = node.root / "asked"
    node.install(
        "portmap",
        f'#!/bin/sh\n[ "$CNI_COMMAND" ] || exit\n(env; cat) > {asked}\necho \'{{"supportedVersions": ["1.0.0"]}}\'\n',
    )

    assert node.findings_here() == []
    lines = asked.read_text().splitlines()
    assert {line for line in lines if line.startswith("CNI_")} == {
        "CNI_COMMAND=VERSION",
        f"CNI_PATH={node.bin_dir}",
        "CNI_IFNAME=dummy",
        "CNI_NETNS=dummy",
    }
    assert lines[-1] == '{"cniVersion":"1.0.0"}'


def test_plugins_of_another_tree_are_not_run(node: Node) -> None:
    asked = node.root / "asked"
    node.install("portmap", f"#!/bin/sh\ntouch {asked}\n")

    assert node.findings() == []
    assert not asked.exists()


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("#!/bin/sh\nexit 3\n", ", asked for its versions: failed without an error object: exit status 3"),
        ("#!/bin/sh\necho hello\n", ", asked for its versions: answered VERSION with something that is not JSON: "),
        ("#!/nowhere\n", " can't be executed: No such file or directory"),
        (
            '#!/bin/sh\nread -r x; echo \'{"supportedVersions": ["0.2.0"]}\'\n',
            " supports 0.2.0 at most: cni-chain never",
        ),
    ],
)
def test_plugins_that_no_runtime_could_use(node: Node, script: str, message: str) -> None:
    node.install("portmap", script)

    (finding,) = node.findings_here()

    assert f"{node.bin_dir}/portmap{message}" in finding
    assert ("warning" in finding) is ("supports 0" in message)


@pytest.mark.root
@pytest.mark.parametrize("path", ["/", "/etc", "/etc/cni/net.d", "/etc/cni/chain.d", "/opt/cni/bin", "/opt"])
def test_directories_in_which_others_could_replace_what_root_runs(node: Node, path: str) -> None:
    directory = node.root / path.lstrip("/")
    directory.chmod(0o775)

    message = f"{path}: mode 0775: users other than root can replace what root runs (chmod go-w)"
    assert node.findings() == [message]

    directory.chmod(0o1777)

    assert node.findings() == []


@pytest.mark.root
def test_files_that_are_not_roots(node: Node) -> None:
    os.chown(node.facade, 1234, 0)
    os.chown(node.bin_dir / "cilium-cni", 1234, 0)
    os.chown(node.chain_dir / "istio.d", 1234, 0)
    (node.chain_dir / "local.d/10-portmap.conf").chmod(0o664)

    assert node.findings() == [
        "/etc/cni/chain.d/istio.d: owned by uid 1234, must be owned by root (chown root)",
        f"{LOCAL}/10-portmap.conf: mode 0664: writable by users other than root (chmod go-w)",
        f"{FACADE}: owned by uid 1234, who can replace what root runs (chown root)",
        "/opt/cni/bin/cilium-cni: owned by uid 1234, who can replace what root runs (chown root)",
    ]


@pytest.mark.root
def test_files_that_are_too_large_for_a_configuration(node: Node) -> None:
    for path in (node.net_dir / "50-other.conflist", node.chain_dir / "local.d/10-portmap.conf"):
        path.touch(0o644)
        os.truncate(path, 80 << 20)

    assert node.findings() == [
        f"{LOCAL}/10-portmap.conf: has 80 MiB, and a configuration has at most 4 MiB",
        "/etc/cni/net.d/50-other.conflist: warning: can't be read: more than 4 MiB",
    ]


@pytest.mark.root
def test_where_permissions_are_not_to_be_checked_that_is_told(node: Node) -> None:
    os.chown(node.facade, 1234, 0)
    node.change_facade(allowUnsafePermissions=True)

    assert node.findings() == [
        (
            f"{at(node, 'allowUnsafePermissions')}: warning: key allowUnsafePermissions: is true: cni-chain "
            "doesn't check who can write the fragments that root runs"
        )
    ]

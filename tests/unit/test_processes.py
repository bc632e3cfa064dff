"""What a process's cgroup says: its pod and container, or its unit, in the layouts that runtimes make."""

from pathlib import Path

import pytest

from cni_chain.node.processes import Place, Processes, place_of

UID = "3c1f0f44-6a0e-4b8e-9d61-2f5a7b1c9d00"
ID = "0123456789abcdef" * 4
OF_SYSTEMD = UID.replace("-", "_")  # in the name of a slice


@pytest.mark.parametrize(
    ("cgroups", "place"),
    [
        (f"0::/kubepods/burstable/pod{UID}/{ID}", Place(UID, ID)),
        (
            f"0::/kubepods.slice/kubepods-pod{OF_SYSTEMD}.slice/cri-containerd-{ID}.scope",
            Place(UID, ID),
        ),
        (
            f"0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{OF_SYSTEMD}.slice/crio-{ID}.scope/container",
            Place(UID, ID),
        ),
        (f"0::/kubelet.slice/kubelet-kubepods-pod{OF_SYSTEMD}.slice/{ID}", Place(UID, ID)),
        (f"0::/kubepods/pod{UID.replace('-', '')}/{ID}", Place(UID.replace("-", ""), ID)),  # a static pod's
        (f"4:memory:/kubepods/pod{UID}/{ID}\n1:name=systemd:/system.slice/kubelet.service\n0::/", Place(UID, ID)),
        (f"0::/kubepods/pod{UID}", Place(UID)),
        (f"0::/system.slice/docker-{ID}.scope", Place("", ID)),
        ("0::/system.slice/containerd.service", Place(unit="containerd.service")),
        ("0::/user.slice/user-0.slice/user@0.service/app.slice/x.scope", Place(unit="x.scope")),
        ("0::/user.slice/user-0.slice/session-3.scope", Place(unit="session-3.scope")),
        ("0::/init.scope", Place(unit="init.scope")),
        ("0::/", Place()),
        ("", Place()),
        ("not a cgroup\n::", Place()),
    ],
)
def test_a_cgroup_names_a_pod_or_a_unit(cgroups: str, place: Place) -> None:
    assert place_of(cgroups) == place


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """Processes: 1 of a pod, 2 of a unit."""
    for number, command, cgroup in ((1, "cilium-agent", f"0::/kubepods/pod{UID}/{ID}"), (2, "sshd", "0::/a.service")):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "comm").write_text(f"{command}\n")
        (tmp_path / str(number) / "cmdline").write_bytes(b"/bin/x\0-y\0")
        (tmp_path / str(number) / "cgroup").write_text(f"{cgroup}\n")
    return tmp_path


def test_a_process_is_named_with_its_pod_and_remembered_when_it_is_gone(proc: Path, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    (logs / f"kube-system_cilium_x_{UID}").mkdir(parents=True)
    processes = Processes(str(proc), str(logs))

    writer = processes.writer(1)
    (proc / "1/comm").unlink()

    assert (writer.text(), writer.where) == ("cilium-agent", "pod kube-system/cilium_x")
    assert processes.writer(1) == writer
    assert processes.writer(2).where == "a.service"
    processes.close()


@pytest.mark.parametrize(
    ("comm", "command_line", "name"),
    [
        ("cilium-conf-wri", b"/opt/bin/cilium-conf-writer\0--x\0", "cilium-conf-writer"),
        ("install-cni", b"python3\0-c\0", "install-cni"),  # it has named itself
        ("kworker/0:1", b"", "kworker/0:1"),
        ("sh", b"\xff\0", "sh"),
    ],
)
def test_a_command_is_not_cut_to_the_kernels_15_characters(
    proc: Path, comm: str, command_line: bytes, name: str
) -> None:
    (proc / "1/comm").write_text(f"{comm}\n")
    (proc / "1/cmdline").write_bytes(command_line)
    processes = Processes(str(proc), "/nowhere")

    assert processes.writer(1).command == name
    processes.close()


def test_a_pod_without_logs_has_its_uid_and_an_unknown_process_is_said_to_have_ended(proc: Path) -> None:
    processes = Processes(str(proc), "/nowhere")

    assert processes.writer(1).where == f"pod {UID}"
    assert (processes.writer(99).text(), processes.writer(99).identity) == ("a process that has ended", ())
    processes.close()

"""Which BPF programs see where a cgroup's processes connect: one query of bpf(2) for each hook, for reading."""

from __future__ import annotations

import errno

from cni_chain.plugin import raw, system

# enum bpf_attach_type, include/uapi/linux/bpf.h: where a program can replace the address that was asked for.
REPLACING = {"connect4": 10, "connect6": 11, "sendmsg4": 14, "sendmsg6": 15}

# A kernel that doesn't know a hook, or was built without it.
NO_HOOK = (errno.EINVAL, errno.ENOENT, errno.EOPNOTSUPP)

_PROG_QUERY = 16  # enum bpf_cmd
_EFFECTIVE = 1  # BPF_F_QUERY_EFFECTIVE
_MOST = 64  # BPF_CGROUP_MAX_PROGS

# Bytes for `union bpf_attr`, which is shorter. The kernel writes where an answer has its place, however short the
# caller's structure is: this command's revision, at 56, for tcx, and since Linux 6.17 for cgroups.
ROOM = 160


def effective(cgroup: str) -> dict[str, list[int]]:
    """Return, for each hook, the IDs of the programs that run for processes of a cgroup, in that order.

    Raises OSError; needs CAP_NET_ADMIN.
    """
    opened = system.open(cgroup, system.O_RDONLY | system.O_DIRECTORY | system.O_CLOEXEC)
    try:
        return {hook: _ids(opened, kind) for hook, kind in REPLACING.items()}
    finally:
        system.quiet_close(opened)


def query(target: int, kind: int, *, effective: bool) -> tuple[list[int], int]:
    """Return the IDs of the programs on a hook (enum bpf_attach_type), and how they were attached. Raises OSError.

    `target` is the descriptor of a cgroup or the index of an interface. With `effective`: of the programs that run for
    a cgroup's processes, wherever they were attached.
    """
    ids, asked = bytearray(4 * _MOST), bytearray(ROOM)
    # union bpf_attr: target_fd or target_ifindex, attach_type, query_flags, attach_flags, prog_ids (64 bits), prog_cnt
    words = memoryview(asked).cast("I")
    words[0], words[1], words[2], words[6] = target, kind, _EFFECTIVE if effective else 0, _MOST
    memoryview(asked).cast("Q")[2] = raw.address(ids)
    raw.bpf(_PROG_QUERY, asked)
    return memoryview(ids).cast("I")[: words[6]].tolist(), words[3]


def _ids(cgroup: int, kind: int) -> list[int]:
    try:
        return query(cgroup, kind, effective=True)[0]
    except OSError as error:
        if error.errno in NO_HOOK:
            return []
        raise

# shellcheck shell=bash
# In a sandbox whose processes are in a cgroup namespace: what a kubelet and Cilium's agent need, and what keeps them from
# the machine. $1: where the cgroup v2 hierarchy is mounted; $2: what the node has for a disk, if it outlives the sandbox.
set -eu
unified=$1
disk=${2:-}

# A sysfs of this network namespace, and in it a cgroup v2 hierarchy whose root is our own group.
new=$(mktemp -d)
mount -t sysfs sysfs "$new"
mount --rbind /sys/fs/cgroup "$new/fs/cgroup"
mount --move "$new" /sys
rmdir "$new"
umount "$unified"
mount -t cgroup2 cgroup2 "$unified"
# The pins in here are all that holds the agent's programs: they go with the sandbox.
mount -t bpf bpf /sys/fs/bpf

# The agent and the kubelet set sysctls of the whole machine (kernel.unprivileged_bpf_disabled=1 can't even be undone
# before a reboot): they get copies. Those below net belong to the network namespace.
new=$(mktemp -d)
mount -t tmpfs -o mode=755 node "$new"
if [ -n "$disk" ]; then
    mkdir "$new/disk"
    mount --bind "$disk" "$new/disk"
fi
mount --move "$new" /mnt
rmdir "$new"
for tree in kernel vm fs; do
    mkdir -p "/mnt/sysctl/$tree"
    cd "/proc/sys/$tree"
    find . -type d -exec mkdir -p "/mnt/sysctl/$tree/{}" \;
    find . -type f -perm -400 | while read -r file; do
        cat "$file" >"/mnt/sysctl/$tree/$file" 2>/dev/null || true
    done
    mount --bind "/mnt/sysctl/$tree" "/proc/sys/$tree"
done

# Nothing on the machine's disk can be written to. Where a kubelet must, the writes go to memory.
cd /
mount -o remount,bind,ro /
mkdir /mnt/upper /mnt/work
mount -t overlay -o lowerdir=/var/lib,upperdir=/mnt/upper,workdir=/mnt/work node /var/lib
mkdir -p /var/lib/cni
mount -t tmpfs -o mode=755 node /var/lib/cni
if [ -n "$disk" ]; then
    for directory in /opt/cni /etc/cni /var/lib/cni /var/log; do
        mkdir -p "/mnt/disk/of-the-node$directory"
        mount --bind "/mnt/disk/of-the-node$directory" "$directory"
    done
fi
[ ! -d /etc/logrotate.d ] || mount -t tmpfs -o mode=755 node /etc/logrotate.d

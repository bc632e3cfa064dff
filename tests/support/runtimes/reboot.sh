# shellcheck shell=sh
# In a sandbox: what a reboot takes. Every process but the first and this shell, interfaces and namespaces of pods, all
# rules, and what is in /run. The namespace `outside` stays, and the link to it: that is another host.
set -u

for process in /proc/[0-9]*; do
    number=${process#/proc/}
    [ "$number" = 1 ] || [ "$number" = $$ ] || kill -9 "$number" 2>/dev/null
done
links() {
    ip -o link show type "$1" | sed 's/^[0-9]*: //; s/[@:].*//' | grep -v '^eth0$'
}
for kind in veth bridge ifb; do
    for link in $(links $kind); do ip link delete "$link" 2>/dev/null; done
done
nft flush ruleset
awk '$2 ~ "^/run/|^/mnt/disk/" && $2 != "/run/netns" && $2 !~ "/outside$" {print $2}' /proc/mounts | tac |
    while read -r place; do umount -l "$place"; done
find /run -mindepth 1 -maxdepth 1 ! -name netns -exec rm -rf {} +
find /run/netns -mindepth 1 ! -name outside -delete
mkdir -p /run/lock

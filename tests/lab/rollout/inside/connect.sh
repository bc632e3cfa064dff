# shellcheck shell=sh
# On a node: its name ($1), address ($2) and, if its pods' network is a bridge, its number ($3), for the ways to the
# others' pods.
set -eu
# Agents' charts mount it, and hand on what they mount.
if [ ! -d /lib/modules ]; then
    mkdir /mnt/lib-upper /mnt/lib-work
    mount -t overlay -o lowerdir=/usr/lib,upperdir=/mnt/lib-upper,workdir=/mnt/lib-work node /usr/lib
    mkdir /usr/lib/modules
fi
mount --make-rshared /
hostname "$1"
ip link set "$1" name eth0
ip addr add "$2/24" dev eth0
ip link set eth0 up
ip route add default via 192.0.2.1
echo 1 >/proc/sys/net/ipv4/ip_forward
for other in 1 2 3 4 5 6 7 8 9; do
    [ -z "$3" ] || [ "$other" = "$3" ] || ip route add "10.244.$other.0/24" via "192.0.2.1$other"
done
# No kube-proxy: the one service that agents ask is the API server's.
for chain in OUTPUT PREROUTING; do
    iptables -t nat -A $chain -d 10.96.0.1 -p tcp --dport 443 -j DNAT --to-destination 192.0.2.1:6443
done

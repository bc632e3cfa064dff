# shellcheck shell=sh
# In a sandbox: the interface of a node that is alone, and its way out, which leads nowhere.
set -eu
ip link add eth0 type veth peer name outside
ip addr add 192.0.2.10/24 dev eth0
ip link set eth0 up
ip link set outside up
ip route add default via 192.0.2.1 dev eth0

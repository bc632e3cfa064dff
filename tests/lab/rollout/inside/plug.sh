# shellcheck shell=sh
# In the control plane's network: a cable for a node ($1), whose other end is given to its namespaces ($2: a process).
set -eu
ip link delete "lan-$1" 2>/dev/null || true
ip link add "lan-$1" type veth peer name "$1"
ip link set "lan-$1" master lan up
ip link set "$1" netns "$2"

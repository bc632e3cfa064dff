// consul-rules lays Consul's rules in the network namespace that it is started in, by the code of Consul's plugin and init
// container, with their ports and user. It calls iptables and ip6tables as PATH has them.
package main

import (
	"fmt"
	"os"

	"github.com/hashicorp/consul/sdk/iptables"
)

func main() {
	err := iptables.Setup(iptables.Config{
		ProxyUserID:         "5995",
		ProxyInboundPort:    20000,
		ProxyOutboundPort:   iptables.DefaultTProxyOutboundPort,
		ExcludeInboundPorts: []string{"20200"},
		ExcludeUIDs:         []string{"5996"},
	}, true)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

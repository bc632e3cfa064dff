// istio-rules lays the rules of one of Istio's modes in the network namespace that it is started in, by the code with
// which Istio itself does it: for the ambient mesh that of istio-cni's node agent, which does it in the pod's namespace;
// for sidecars that of the init container. It takes the mode as its first argument, and what follows as its flags:
//
//	istio-rules ambient [--nftables] [--iptables legacy|nft] [--delete]
//	istio-rules sidecar (the flags of istio-iptables)
package main

import (
	"flag"
	"fmt"
	"net/netip"
	"os"

	"istio.io/istio/cni/pkg/config"
	"istio.io/istio/cni/pkg/iptables"
	"istio.io/istio/cni/pkg/trafficmanager"
	"istio.io/istio/pkg/log"
	"istio.io/istio/tools/istio-iptables/pkg/cmd"
	"istio.io/istio/tools/istio-iptables/pkg/dependencies"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) > 0 && arguments[0] == "ambient" {
		return ambient(arguments[1:])
	}
	if len(arguments) > 0 && arguments[0] == "sidecar" {
		sidecar := cmd.GetCommand(log.DefaultOptions())
		sidecar.SetArgs(arguments[1:])
		return sidecar.Execute()
	}
	return fmt.Errorf("ambient or sidecar must be the first argument")
}

// What the node agent does for a pod that is enrolled or leaves the mesh (nodeagent.initMeshDataplane, NetServer).
func ambient(arguments []string) error {
	flags := flag.NewFlagSet("ambient", flag.ExitOnError)
	nftables := flags.Bool("nftables", false, "chart: global.nativeNftables")
	binary := flags.String("iptables", "", "legacy or nft")
	remove := flags.Bool("delete", false, "as for a pod that leaves the mesh")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	settings := config.AmbientConfig{
		RedirectDNS:            true,
		EnableIPv6:             true,
		HostProbeSNATAddress:   netip.MustParseAddr("169.254.7.127"), // nodeagent.DefaultHostProbeSNATIP and …IPV6
		HostProbeV6SNATAddress: netip.MustParseAddr("fd16:9254:7127:1337:ffff:ffff:ffff:ffff"),
	}
	_, pod, err := trafficmanager.NewTrafficRuleManager(&trafficmanager.TrafficRuleManagerConfig{
		NativeNftables: *nftables,
		HostConfig:     &settings,
		PodConfig:      &settings,
		HostDeps:       &dependencies.RealDependencies{ForceIptablesBinary: *binary},
		PodDeps:        &dependencies.RealDependencies{ForceIptablesBinary: *binary, UsePodScopedXtablesLock: true},
		NlDeps:         iptables.RealNlDeps(),
	})
	if err != nil {
		return err
	}
	scope := log.FindScope(log.DefaultScopeName)
	if *remove {
		return pod.DeleteInpodRules(scope)
	}
	return pod.CreateInpodRules(scope, config.PodLevelOverrides{})
}

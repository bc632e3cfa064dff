// gocni calls a network through containerd's own go-cni, as containerd does for a pod: it takes the first file of the
// configuration directory, and on remove it swallows the errors that containerd takes for "already gone".
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/containerd/go-cni"
)

func main() {
	conf := flag.String("conf", "/etc/cni/net.d", "`directory` of the configuration files")
	bin := flag.String("bin", "/opt/cni/bin", "`directory` of the plugins")
	id := flag.String("id", "", "container `ID`")
	netns := flag.String("netns", "", "network namespace's `path`; containerd passes none once the namespace is gone")
	args := flag.String("args", "", "CNI_ARGS, `K=V;K=V`")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: gocni [options] add|check|remove|status")
		flag.PrintDefaults()
	}
	flag.Parse()
	if err := call(*conf, *bin, flag.Arg(0), *id, *netns, *args); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func call(conf, bin, verb, id, netns, args string) error {
	network, err := cni.New(cni.WithPluginConfDir(conf), cni.WithPluginDir([]string{bin}), cni.WithMinNetworkCount(1))
	if err != nil {
		return err
	}
	if err := network.Load(cni.WithDefaultConf); err != nil {
		return err
	}
	var options []cni.NamespaceOpts
	for _, arg := range strings.FieldsFunc(args, func(r rune) bool { return r == ';' }) {
		key, value, _ := strings.Cut(arg, "=")
		options = append(options, cni.WithArgs(key, value))
	}
	switch ctx := context.Background(); verb {
	case "add":
		_, err = network.Setup(ctx, id, netns, options...)
	case "check":
		err = network.Check(ctx, id, netns, options...)
	case "remove":
		err = network.Remove(ctx, id, netns, options...)
	case "status":
		err = network.Status()
	default:
		err = fmt.Errorf("no such verb: %q", verb)
	}
	return err
}

// cnidrv calls one network configuration list through libcni, as a runtime does. Unlike cnitool it takes the container's
// ID, libcni's cache directory and, for gc, the attachments that are still valid; and it reports an error's code.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
)

func main() {
	conf := flag.String("conf", "", "the conflist's `file`")
	cache := flag.String("cache", "", "libcni's cache `directory`")
	id := flag.String("id", "", "container `ID`")
	netns := flag.String("netns", "", "network namespace's `path`")
	ifname := flag.String("ifname", "eth0", "interface `name`")
	args := flag.String("args", "", "CNI_ARGS, `K=V;K=V`")
	capabilities := flag.String("capabilities", "{}", "capability arguments, a JSON `object`")
	valid := flag.String("valid", "", "gc: the valid `attachments`, ID/IFNAME,ID/IFNAME")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: cnidrv [options] add|check|del|gc|status|validate (CNI_PATH says where the plugins are)")
		flag.PrintDefaults()
	}
	flag.Parse()

	rt := &libcni.RuntimeConf{ContainerID: *id, NetNS: *netns, IfName: *ifname}
	if err := json.Unmarshal([]byte(*capabilities), &rt.CapabilityArgs); err != nil {
		fail(fmt.Errorf("-capabilities: %w", err))
	}
	for _, arg := range split(*args, ";") {
		key, value, _ := strings.Cut(arg, "=")
		rt.Args = append(rt.Args, [2]string{key, value})
	}
	list, err := libcni.NetworkConfFromFile(*conf)
	if err != nil {
		fail(err)
	}
	cni := libcni.NewCNIConfigWithCacheDir(filepath.SplitList(os.Getenv("CNI_PATH")), *cache, nil)
	if err := call(cni, list, rt, flag.Arg(0), split(*valid, ",")); err != nil {
		fail(err)
	}
}

func call(cni *libcni.CNIConfig, list *libcni.NetworkConfigList, rt *libcni.RuntimeConf, verb string, valid []string) error {
	ctx := context.Background()
	switch verb {
	case "add":
		result, err := cni.AddNetworkList(ctx, list, rt)
		if err != nil {
			return err
		}
		return result.Print()
	case "check":
		return cni.CheckNetworkList(ctx, list, rt)
	case "del":
		return cni.DelNetworkList(ctx, list, rt)
	case "gc":
		// Never nil: libcni leaves the list out then, which means "collect nothing".
		gc := &libcni.GCArgs{ValidAttachments: []types.GCAttachment{}}
		for _, attachment := range valid {
			id, ifname, _ := strings.Cut(attachment, "/")
			gc.ValidAttachments = append(gc.ValidAttachments, types.GCAttachment{ContainerID: id, IfName: ifname})
		}
		return cni.GCNetworkList(ctx, list, gc)
	case "status":
		return cni.GetStatusNetworkList(ctx, list)
	case "validate":
		_, err := cni.ValidateNetworkList(ctx, list)
		return err
	}
	return fmt.Errorf("no such verb: %q", verb)
}

func split(list, separator string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return strings.ContainsRune(separator, r) })
}

// fail ends the program: libcni's whole message on stderr, and on stdout the plugin's own error object, if there is one.
func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	var plugin *types.Error
	if errors.As(err, &plugin) {
		_ = plugin.Print()
	}
	os.Exit(1)
}

// istio-installer runs Istio's own CNI installer: the part of istio-cni-node that copies the plugin, writes its
// configuration and watches both. It has none of the ambient server. What the agent takes from its environment (named in
// each flag's help by the chart's value or the variable) are flags here. It runs until SIGINT or SIGTERM. Its readiness,
// which the agent serves on /readyz, goes to stdout, one JSON object for each change; its log to stderr.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"istio.io/istio/cni/pkg/config"
	"istio.io/istio/cni/pkg/install"
	"istio.io/istio/pkg/log"
)

// What the chart sets as AMBIENT_ENABLEMENT_SELECTOR by default.
const selectors = `
- podSelector:
    matchLabels: {istio.io/dataplane-mode: ambient}
- podSelector:
    matchExpressions: [{key: istio.io/dataplane-mode, operator: NotIn, values: [none]}]
  namespaceSelector:
    matchLabels: {istio.io/dataplane-mode: ambient}
`

func main() {
	c := &config.InstallConfig{KubeconfigMode: 0o600, SkipTLSVerify: true, AmbientEnablementSelector: selectors}
	flag.StringVar(&c.MountedCNINetDir, "mounted-cni-net-dir", "/etc/cni/net.d", "chart: cniConfDir")
	flag.StringVar(&c.CNIAgentRunDir, "cni-agent-run-dir", "/var/run/istio-cni", "where its socket and kubeconfig are")
	flag.StringVar(&c.CNIConfName, "cni-conf-name", "", "chart: cniConfFileName")
	flag.BoolVar(&c.ChainedCNIPlugin, "chained-cni-plugin", true, "chart: chained")
	flag.BoolVar(&c.IstioOwnedCNIConfig, "istio-owned-cni-config", false, "chart: istioOwnedCNIConfig")
	flag.StringVar(&c.IstioOwnedCNIConfigFilename, "istio-owned-cni-config-filename", "02-istio-cni.conflist",
		"chart: istioOwnedCNIConfigFileName")
	flag.BoolVar(&c.AmbientEnabled, "ambient-enabled", true, "chart: ambient.enabled")
	flag.BoolVar(&c.EnableAmbientDetectionRetry, "enable-ambient-detection-retry", false,
		"chart: ambient.enableAmbientDetectionRetry")
	flag.StringVar(&c.ExcludeNamespaces, "exclude-namespaces", "kube-system", "chart: excludeNamespaces")
	flag.StringVar(&c.PodNamespace, "pod-namespace", "istio-system", "POD_NAMESPACE")
	flag.StringVar(&c.PluginLogLevel, "plugin-log-level", "info", "chart: logging.level")
	flag.StringVar(&c.K8sServiceProtocol, "api-protocol", "http", "KUBERNETES_SERVICE_PROTOCOL")
	flag.StringVar(&c.K8sServiceHost, "api-host", "127.0.0.1", "KUBERNETES_SERVICE_HOST")
	flag.StringVar(&c.K8sServicePort, "api-port", "6443", "KUBERNETES_SERVICE_PORT")
	flag.StringVar(&c.K8sServiceAccountPath, "service-account", "", "`directory` with a file \"token\"")
	flag.StringVar(&c.CNIBinSourceDir, "bin-source", "", "`directory` that holds istio-cni and nothing else")
	targets := flag.String("bin-target", "", "`directories` that it is copied to, comma-separated")
	cleanup := flag.Bool("cleanup", false, "undo the installation on exit, as the agent does when it is uninstalled")
	flag.Parse()
	c.CNIBinTargetDirs = strings.Split(*targets, ",")
	if !c.IstioOwnedCNIConfig {
		c.IstioOwnedCNIConfigFilename = ""
	}
	if err := logToStderr(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ready := &atomic.Value{}
	ready.Store(false)
	go report(ctx, ready)
	installer := install.NewInstaller(c, ready)
	err := installer.Run(ctx)
	if *cleanup {
		if err := installer.Cleanup(); err != nil {
			fmt.Fprintln(os.Stderr, "cleanup:", err)
		}
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func logToStderr() error {
	options := log.DefaultOptions()
	options.OutputPaths = []string{"stderr"}
	options.JSONEncoding = true
	return log.Configure(options)
}

func report(ctx context.Context, ready *atomic.Value) {
	out := json.NewEncoder(os.Stdout)
	last := "unknown"
	for ctx.Err() == nil {
		if now := fmt.Sprint(ready.Load()); now != last {
			last = now
			_ = out.Encode(map[string]string{"ready": now})
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// cilium-conf-writer runs Cilium's own conflist writer (the hive cell "cni-config" of its agent) and nothing else of the
// agent. Its flags are the agent's: --write-cni-conf-when-ready, --cni-exclusive, --cni-chaining-mode,
// --cni-chaining-target, --read-cni-conf, --cni-log-file. It runs until SIGINT or SIGTERM. The writer's own status, which
// the agent folds into its health, goes to stdout, one JSON object for each change; its log to stderr.
package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/cilium/cilium/daemon/cmd/cni"
	"github.com/cilium/cilium/pkg/option"
	"github.com/cilium/hive"
	"github.com/cilium/hive/cell"
	"github.com/spf13/pflag"
)

func main() {
	debug := pflag.Bool("debug", false, "the agent's --debug: log more, and write enable-debug: true")
	h := hive.New(
		cni.Cell,
		cell.Provide(func() *option.DaemonConfig { return &option.DaemonConfig{Debug: *debug} }),
		cell.Invoke(reportWhileRunning),
	)
	h.RegisterFlags(pflag.CommandLine)
	pflag.Parse()
	level := slog.LevelInfo
	if *debug {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	if err := h.Run(log); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func reportWhileRunning(lifecycle cell.Lifecycle, manager cni.CNIConfigManager) {
	stop := make(chan struct{})
	lifecycle.Append(cell.Hook{
		OnStart: func(cell.HookContext) error { go report(manager, stop); return nil },
		OnStop:  func(cell.HookContext) error { close(stop); return nil },
	})
}

func report(manager cni.CNIConfigManager, stop <-chan struct{}) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	out := json.NewEncoder(os.Stdout)
	last := ""
	for {
		if status := manager.Status(); status != nil && status.State+status.Msg != last {
			last = status.State + status.Msg
			_ = out.Encode(map[string]string{"state": status.State, "msg": status.Msg})
		}
		select {
		case <-stop:
			return
		case <-tick.C:
		}
	}
}

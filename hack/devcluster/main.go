// Command devcluster is a real Kubernetes control plane in one executable, for tests
// and demos on one machine: etcd, kube-apiserver, kube-controller-manager and, if
// asked for, kube-scheduler, kubelet and kube-proxy, with the kubectl that fits them.
//
//	devcluster up --dir D [flags]      a control plane, until SIGTERM
//	devcluster kubectl ...             kubectl; so does a link called kubectl
//	devcluster kube-apiserver ...      any component, with its upstream flags
//
// "up" runs every component as a child process of the same executable. Nothing
// outlives it: SIGTERM stops the children in reverse order, and if devcluster itself
// is killed, the kernel kills them.
//
// Built with "-tags assets" it carries no component, needs nothing but the standard
// library, and supervises the executables named by --assets.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

func main() {
	name, args := filepath.Base(os.Args[0]), os.Args[1:]
	if _, linked := components[name]; !linked && len(args) > 0 {
		name, args = args[0], args[1:]
	}
	if run, linked := components[name]; linked {
		// Upstream programs read os.Args and call os.Exit themselves.
		os.Args = append([]string{name}, args...)
		run()
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, name, args)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "devcluster:", err)
		os.Exit(1)
	}
}

func command(ctx context.Context, name string, args []string) error {
	switch name {
	case "up":
		return up(ctx, args)
	case "help", "-h", "-help", "--help":
		printUsage(os.Stdout)
		return nil
	default:
		printUsage(os.Stderr)
		return fmt.Errorf("%q is not a command of devcluster", name)
	}
}

func printUsage(w io.Writer) {
	linked := "none, name a folder that has them with --assets"
	if len(components) > 0 {
		linked = strings.Join(slices.Sorted(maps.Keys(components)), ", ")
	}
	_, _ = fmt.Fprintf(w, `A Kubernetes control plane in one executable.

  devcluster up --dir D [flags]   a control plane in D, until SIGTERM ("devcluster up --help" lists the flags)
  devcluster COMPONENT [flags]    a component, with its upstream flags

Components in this executable: %s

Example:
  devcluster up --dir /tmp/cluster --port 0
`, linked)
}

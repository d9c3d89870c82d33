package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	readyTimeout = 2 * time.Minute // 20 times what it takes on two busy cores
	pollInterval = 50 * time.Millisecond
)

// up runs a control plane until ctx is done.
func up(ctx context.Context, args []string) error {
	c, err := parseUp(args)
	if err != nil {
		return err
	}
	for _, folder := range []string{"log", "run", "kubeconfig", "kubelet"} {
		if err := os.MkdirAll(filepath.Join(c.dir, folder), 0o755); err != nil {
			return err
		}
	}
	lock, err := lockDir(c.dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	port, claim, err := claimPorts(c.port)
	if err != nil {
		return err
	}
	defer claim.Close()
	c.port = port
	// One that was killed has left its ready file behind.
	if err := c.removeReadyFile(); err != nil {
		return err
	}

	started := time.Now()
	step := func(format string, values ...any) {
		fmt.Printf("%6.2fs  %s\n", time.Since(started).Seconds(), fmt.Sprintf(format, values...))
	}
	if err := c.writeCredentials(); err != nil {
		return err
	}
	step("certificates and kubeconfigs in %s", c.dir)

	s := &supervisor{dir: c.dir, assets: c.assets}
	defer s.stop()
	if err := c.start(ctx, s, step); err != nil {
		if ctx.Err() != nil {
			return errors.New("stopped before it was ready")
		}
		return err
	}
	if err := c.announce(); err != nil {
		return err
	}
	<-ctx.Done()
	return c.removeReadyFile()
}

func parseUp(args []string) (*cluster, error) {
	c := &cluster{}
	var nodeIPs string
	host, _ := os.Hostname() // only the default of --node-name
	flags := flag.NewFlagSet("devcluster up", flag.ContinueOnError)
	flags.StringVar(&c.dir, "dir", "", "folder for all state (required); a cluster found there is started again")
	flags.IntVar(&c.port, "port", 6443, "the API server's port, the other components take the ports after it; 0 = any free block")
	flags.StringVar(&c.bind, "bind", "127.0.0.1", "address the API server listens on")
	flags.StringVar(&c.readyFile, "ready-file", "", "file to write KUBECONFIG=... to once the cluster is ready; removed at the end")
	flags.StringVar(&c.assets, "assets", "", "folder with etcd and kube-apiserver (KUBEBUILDER_ASSETS) to run instead of what is built in")
	flags.StringVar(&nodeIPs, "node-ip", "", "address(es) of the node, comma-separated, IPv4 first, also advertised as the API server's; needed for --kubelet and --proxy")
	flags.StringVar(&c.nodeName, "node-name", strings.ToLower(host), "name of the node")
	flags.StringVar(&c.serviceCIDRs, "service-cidr", "10.96.0.0/16,fd00:10:96::/112", "ranges for services")
	flags.StringVar(&c.podCIDRs, "pod-cidr", "10.244.0.0/16,fd00:10:244::/56", "ranges for pods")
	flags.StringVar(&c.runtimeEndpoint, "cri", "unix:///run/containerd/containerd.sock", "container runtime for --kubelet")
	flags.StringVar(&c.proxyMode, "proxy-mode", "nftables", "mode of kube-proxy: nftables or iptables")
	flags.Func("apiserver-arg", "one more flag for kube-apiserver, such as --service-node-port-range=30000-63999; may be repeated", func(arg string) error {
		c.extraAPIServerArgs = append(c.extraAPIServerArgs, arg)
		return nil
	})
	flags.BoolVar(&c.scheduler, "scheduler", false, "run kube-scheduler")
	flags.BoolVar(&c.kubelet, "kubelet", false, "run kubelet (and kube-scheduler)")
	flags.BoolVar(&c.proxy, "proxy", false, "run kube-proxy")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("%q is not a flag", flags.Arg(0))
	}
	if nodeIPs != "" {
		c.nodeIPs = strings.Split(nodeIPs, ",")
	}
	c.scheduler = c.scheduler || c.kubelet
	return c, c.complete()
}

// complete checks what flags alone cannot, and makes paths independent of where
// devcluster was started.
func (c *cluster) complete() error {
	if c.dir == "" {
		return errors.New("--dir is missing: name a folder for the state of the cluster")
	}
	if (c.kubelet || c.proxy) && len(c.nodeIPs) == 0 {
		return errors.New("--kubelet and --proxy need --node-ip: an address of this machine that is not loopback")
	}
	for _, path := range []*string{&c.dir, &c.assets, &c.readyFile} {
		if *path == "" {
			continue
		}
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return err
		}
		*path = absolute
	}
	needed := []string{"etcd", "kube-apiserver"}
	if c.scheduler {
		needed = append(needed, "kube-scheduler")
	}
	if c.kubelet {
		needed = append(needed, "kubelet")
	}
	if c.proxy {
		needed = append(needed, "kube-proxy")
	}
	for _, name := range needed {
		if !c.has(name) {
			return fmt.Errorf("there is no %s in %s", name, c.source())
		}
	}
	c.controllerManager = c.has("kube-controller-manager")
	return nil
}

func (c *cluster) has(component string) bool {
	if c.assets == "" {
		_, linked := components[component]
		return linked
	}
	info, err := os.Stat(filepath.Join(c.assets, component))
	return err == nil && info.Mode().IsRegular()
}

func (c *cluster) source() string {
	if c.assets == "" {
		return "this devcluster; name a folder that has it with --assets"
	}
	return c.assets
}

// lockDir keeps a second devcluster out of the folder. The lock goes with the
// process; its content says which one that is.
func lockDir(dir string) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		err = lock.Truncate(0)
	} else {
		err = fmt.Errorf("another devcluster runs in %s", dir)
	}
	if err == nil {
		_, err = fmt.Fprintln(lock, os.Getpid())
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// start brings the components up, each once what it depends on is ready.
func (c *cluster) start(ctx context.Context, s *supervisor, step func(string, ...any)) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	etcd, err := s.start("etcd", c.etcdArgs())
	if err != nil {
		return err
	}
	if err := await(ctx, client, "https://"+c.local(etcdPort)+"/health", etcd); err != nil {
		return err
	}
	step("etcd at %s", c.local(etcdPort))
	apiServer, err := s.start("kube-apiserver", c.apiServerArgs())
	if err != nil {
		return err
	}
	if err := await(ctx, client, c.server()+"/readyz", apiServer); err != nil {
		return err
	}
	step("kube-apiserver at %s", c.server())
	if !c.controllerManager {
		step("no kube-controller-manager in %s: owned objects are not collected, no default service accounts", c.assets)
		return nil
	}
	controllerManager, err := s.start("kube-controller-manager", c.controllerManagerArgs())
	if err != nil {
		return err
	}
	if err := c.startNode(s); err != nil {
		return err
	}
	// The default service account is the first work of the controllers that shows.
	serviceAccount := c.server() + "/api/v1/namespaces/default/serviceaccounts/default"
	if err := await(ctx, client, serviceAccount, controllerManager); err != nil {
		return err
	}
	step("kube-controller-manager at work")
	return nil
}

// startNode starts what makes this machine a node. Nothing waits for them here: they
// are ready when the node is, which depends on a container runtime that is not ours.
func (c *cluster) startNode(s *supervisor) error {
	if c.scheduler {
		if err := s.startUnawaited("kube-scheduler", c.schedulerArgs()); err != nil {
			return err
		}
	}
	if c.kubelet {
		args, err := c.kubeletArgs()
		if err != nil {
			return err
		}
		if err := s.startUnawaited("kubelet", args); err != nil {
			return err
		}
	}
	if c.proxy {
		args, err := c.proxyArgs()
		if err != nil {
			return err
		}
		return s.startUnawaited("kube-proxy", args)
	}
	return nil
}

// announce tells people on standard output and scripts by the ready file.
func (c *cluster) announce() error {
	fmt.Printf("export KUBECONFIG=%s\n", c.kubeconfig("admin"))
	if c.readyFile == "" {
		return nil
	}
	// Renamed into place, so that nobody reads half of it.
	partial := c.readyFile + ".partial"
	if err := os.WriteFile(partial, fmt.Appendf(nil, "KUBECONFIG=%s\n", c.kubeconfig("admin")), 0o644); err != nil {
		return err
	}
	return os.Rename(partial, c.readyFile)
}

func (c *cluster) removeReadyFile() error {
	if c.readyFile == "" {
		return nil
	}
	if err := os.Remove(c.readyFile); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// client speaks to etcd and the API server as admin.
func (c *cluster) client() (*http.Client, error) {
	cred := c.credentials
	cert, err := tls.LoadX509KeyPair(cred.cert("admin"), cred.key("admin"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(cred.caCert)
	return &http.Client{
		Timeout: 2 * time.Second,
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{cert}},
			// A connection that was kept would hold up the API server's shutdown.
			DisableKeepAlives: true,
		},
	}, nil
}

// await polls url until it answers 200, and then counts p as ready.
func await(ctx context.Context, client *http.Client, url string, p *process) error {
	deadline := time.After(readyTimeout)
	for {
		answer := ask(ctx, client, url)
		if answer == nil {
			p.ready.Store(true)
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-p.failed:
			return err
		case <-deadline:
			return fmt.Errorf("%s is not ready after %s (%w); the end of %s:\n%s", p.name, readyTimeout, answer, p.logFile, p.logTail())
		case <-time.After(pollInterval):
		}
	}
}

// ask returns nil for a 200 and otherwise what came instead.
func ask(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", response.Status, body)
	}
	return nil
}

package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// cluster is everything that was chosen about one control plane, and from it the
// command line of every component.
type cluster struct {
	dir       string
	assets    string
	readyFile string
	bind      string
	port      int
	nodeIPs   []string
	nodeName  string
	// Ranges, comma-separated, IPv4 first.
	serviceCIDRs, podCIDRs string
	runtimeEndpoint        string
	proxyMode              string
	extraAPIServerArgs     []string
	// Which of the optional components run.
	controllerManager, scheduler, kubelet, proxy bool

	credentials *credentials
}

// local is where a component listens that only others of the cluster talk to.
func (c *cluster) local(offset int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(c.port+offset))
}

// server is the address for everybody on this machine.
func (c *cluster) server() string {
	host := c.bind
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "https://" + net.JoinHostPort(host, strconv.Itoa(c.port+apiServerPort))
}

func (c *cluster) kubeconfig(name string) string {
	return filepath.Join(c.dir, "kubeconfig", name)
}

// writeCredentials makes the certificates and kubeconfigs of all components. "admin"
// may do everything.
func (c *cluster) writeCredentials() error {
	local := []string{"localhost", "127.0.0.1", "::1"}
	apiServer := append([]string{
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", c.bind,
	}, local...)
	services, err := firstAddresses(c.serviceCIDRs)
	if err != nil {
		return fmt.Errorf("--service-cidr: %w", err)
	}
	apiServer = append(apiServer, services...)
	apiServer = append(apiServer, c.nodeIPs...)
	node := append(append([]string{c.nodeName}, local...), c.nodeIPs...)

	c.credentials, err = newCredentials(filepath.Join(c.dir, "pki"), map[string]identity{
		"etcd":                    {user: "etcd", hosts: local},
		"apiserver":               {user: "kube-apiserver", hosts: apiServer},
		"apiserver-kubelet":       {user: "kube-apiserver-kubelet-client", groups: []string{"system:masters"}},
		"front-proxy":             {user: "front-proxy-client"},
		"admin":                   {user: "admin", groups: []string{"system:masters"}},
		"kube-controller-manager": {user: "system:kube-controller-manager", hosts: local},
		"kube-scheduler":          {user: "system:kube-scheduler", hosts: local},
		"kube-proxy":              {user: "system:kube-proxy"},
		"kubelet":                 {user: "system:node:" + c.nodeName, groups: []string{"system:nodes"}, hosts: node},
	})
	if err != nil {
		return err
	}
	for _, name := range []string{"admin", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet"} {
		if err := c.credentials.writeKubeconfig(c.kubeconfig(name), c.server(), name); err != nil {
			return fmt.Errorf("kubeconfig %s: %w", name, err)
		}
	}
	return nil
}

// firstAddresses returns the first address of each range, which is the one that the
// API server gives the service "kubernetes".
func firstAddresses(cidrs string) ([]string, error) {
	var addresses []string
	for cidr := range strings.SplitSeq(cidrs, ",") {
		_, network, err := net.ParseCIDR(cidr)
		if err != nil {
			return nil, err
		}
		network.IP[len(network.IP)-1]++
		addresses = append(addresses, network.IP.String())
	}
	return addresses, nil
}

func (c *cluster) etcdArgs() []string {
	cred, client, peer := c.credentials, "https://"+c.local(etcdPort), "https://"+c.local(etcdPeerPort)
	return []string{
		"--name=dev",
		"--data-dir=" + filepath.Join(c.dir, "etcd"),
		"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=dev=" + peer,
		"--cert-file=" + cred.cert("etcd"), "--key-file=" + cred.key("etcd"),
		"--trusted-ca-file=" + cred.cert("ca"), "--client-cert-auth",
		"--peer-cert-file=" + cred.cert("etcd"), "--peer-key-file=" + cred.key("etcd"),
		"--peer-trusted-ca-file=" + cred.cert("ca"), "--peer-client-cert-auth",
		"--heartbeat-interval=50", "--election-timeout=250", // one member elects itself; let it do so at once
		"--unsafe-no-fsync", // data of a test cluster need not outlive a power cut
		"--log-level=warn",
	}
}

func (c *cluster) apiServerArgs() []string {
	cred := c.credentials
	args := []string{
		"--bind-address=" + c.bind,
		"--secure-port=" + strconv.Itoa(c.port+apiServerPort),
		"--tls-cert-file=" + cred.cert("apiserver"), "--tls-private-key-file=" + cred.key("apiserver"),
		"--client-ca-file=" + cred.cert("ca"),
		"--etcd-servers=https://" + c.local(etcdPort),
		"--etcd-cafile=" + cred.cert("ca"), "--etcd-certfile=" + cred.cert("etcd"), "--etcd-keyfile=" + cred.key("etcd"),
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true",
		"--service-cluster-ip-range=" + c.serviceCIDRs,
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + cred.public("sa"), "--service-account-signing-key-file=" + cred.key("sa"),
		"--kubelet-client-certificate=" + cred.cert("apiserver-kubelet"), "--kubelet-client-key=" + cred.key("apiserver-kubelet"),
		"--kubelet-preferred-address-types=InternalIP,Hostname",
		"--requestheader-client-ca-file=" + cred.cert("ca"), "--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + cred.cert("front-proxy"), "--proxy-client-key-file=" + cred.key("front-proxy"),
		"--profiling=false",
	}
	if len(c.nodeIPs) > 0 {
		args = append(args, "--advertise-address="+c.nodeIPs[0])
	} else {
		// The service "kubernetes" gets no endpoints, as they may not be loopback
		// addresses. Without an address to advertise the API server looks for a default
		// route, and a network namespace may have none.
		args = append(args, "--endpoint-reconciler-type=none", "--advertise-address=127.0.0.1")
	}
	if !c.controllerManager {
		// Nobody makes the service accounts that this plugin would insist on.
		args = append(args, "--disable-admission-plugins=ServiceAccount")
	}
	return append(args, c.extraAPIServerArgs...)
}

func (c *cluster) controllerManagerArgs() []string {
	name, cred := "kube-controller-manager", c.credentials
	return append(c.controllerArgs(name, controllerManagerPort),
		"--kube-api-qps=500", "--kube-api-burst=1000", // the default (20/s) makes the start take seconds longer
		"--use-service-account-credentials=true",
		"--service-account-private-key-file="+cred.key("sa"),
		"--root-ca-file="+cred.cert("ca"),
		"--cluster-signing-cert-file="+cred.cert("ca"), "--cluster-signing-key-file="+cred.key("ca"),
		"--allocate-node-cidrs=true", "--cluster-cidr="+c.podCIDRs, "--service-cluster-ip-range="+c.serviceCIDRs,
	)
}

func (c *cluster) schedulerArgs() []string {
	return c.controllerArgs("kube-scheduler", schedulerPort)
}

// controllerArgs is what kube-controller-manager and kube-scheduler have in common.
func (c *cluster) controllerArgs(name string, offset int) []string {
	cred := c.credentials
	return []string{
		"--kubeconfig=" + c.kubeconfig(name),
		"--authentication-kubeconfig=" + c.kubeconfig(name),
		"--authorization-kubeconfig=" + c.kubeconfig(name),
		"--bind-address=127.0.0.1", "--secure-port=" + strconv.Itoa(c.port+offset),
		"--tls-cert-file=" + cred.cert(name), "--tls-private-key-file=" + cred.key(name),
		"--client-ca-file=" + cred.cert("ca"),
		"--leader-elect=false", "--profiling=false",
	}
}

// kubeletArgs writes the kubelet's configuration, which leaves the machine alone: no
// firewall rules of its own, no change to swap, no OOM scores it has no right to set.
func (c *cluster) kubeletArgs() ([]string, error) {
	cred, root, config := c.credentials, filepath.Join(c.dir, "kubelet"), filepath.Join(c.dir, "kubelet.yaml")
	content := fmt.Appendf(nil, `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 0.0.0.0
port: %d
healthzPort: %d
readOnlyPort: 0
tlsCertFile: %q
tlsPrivateKeyFile: %q
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: %q}
authorization: {mode: Webhook}
containerRuntimeEndpoint: %q
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
makeIPTablesUtilChains: false
resolvConf: ""
clusterDomain: cluster.local
podLogsDir: %q
volumePluginDir: %q
evictionHard: {memory.available: 100Mi, nodefs.available: 1%%, imagefs.available: 1%%}
imageGCHighThresholdPercent: 100
nodeStatusUpdateFrequency: 5s
shutdownGracePeriod: 0s
`, c.port+kubeletPort, c.port+kubeletHealthPort, cred.cert("kubelet"), cred.key("kubelet"), cred.cert("ca"),
		c.runtimeEndpoint, filepath.Join(root, "podlogs"), filepath.Join(root, "volumeplugins"))
	return []string{
		"--config=" + config,
		"--kubeconfig=" + c.kubeconfig("kubelet"),
		"--root-dir=" + root,
		"--cert-dir=" + cred.dir,
		"--hostname-override=" + c.nodeName,
		"--node-ip=" + strings.Join(c.nodeIPs, ","),
	}, os.WriteFile(config, content, 0o644)
}

// proxyArgs writes kube-proxy's configuration. Conntrack limits stay as they are:
// they belong to the whole machine.
func (c *cluster) proxyArgs() ([]string, error) {
	config := filepath.Join(c.dir, "kube-proxy.yaml")
	content := fmt.Appendf(nil, `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: %q
clientConnection: {kubeconfig: %q}
clusterCIDR: %q
hostnameOverride: %q
healthzBindAddress: %s
metricsBindAddress: %s
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
`, c.proxyMode, c.kubeconfig("kube-proxy"), c.podCIDRs, c.nodeName, c.local(proxyHealthPort), c.local(proxyMetricsPort))
	return []string{"--config=" + config}, os.WriteFile(config, content, 0o644)
}

//go:build assets

// Run with "go test -tags assets": that is all of devcluster except the linking of
// the components, so it is built and done in seconds.

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// If the authority changed with every start, tokens and kubeconfigs that were handed
// out would stop working.
func TestTheAuthorityOutlivesARestart(t *testing.T) {
	dir := t.TempDir()
	identities := map[string]identity{"admin": {user: "admin"}, "server": {user: "server", hosts: []string{"localhost", "::1"}}}
	var authorities, tokens, certificates [2][]byte
	for start := range 2 {
		c, err := newCredentials(dir, identities)
		if err != nil {
			t.Fatal(err)
		}
		authorities[start] = read(t, c.cert("ca"))
		tokens[start] = read(t, c.key("sa"))
		certificates[start] = read(t, c.cert("admin"))
	}
	if !bytes.Equal(authorities[0], authorities[1]) || !bytes.Equal(tokens[0], tokens[1]) {
		t.Error("the authority or the service account key changed")
	}
	if bytes.Equal(certificates[0], certificates[1]) {
		t.Error("a certificate was not issued anew: it would lack a node address that came later")
	}
}

// Two test runs that start at the same moment must not meet on one port.
func TestClustersGetBlocksOfTheirOwn(t *testing.T) {
	one, claim, err := claimPorts(0)
	if err != nil {
		t.Fatal(err)
	}
	defer claim.Close()
	two, other, err := claimPorts(0)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if two < one+blockSize && one < two+blockSize {
		t.Errorf("blocks %d and %d overlap", one, two)
	}
	if _, _, err := claimPorts(one); err == nil {
		t.Errorf("block %d was given twice", one)
	}
}

func TestOneFolderHasOneCluster(t *testing.T) {
	dir := t.TempDir()
	lock, err := lockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockDir(dir); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("a second devcluster in the folder: %v", err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := lockDir(dir); err != nil {
		t.Errorf("after the first has ended: %v", err)
	}
}

func TestTheServiceOfTheAPIServerHasTheFirstAddressOfEachRange(t *testing.T) {
	got, err := firstAddresses("10.96.0.0/16,fd00:10:96::/112")
	if want := []string{"10.96.0.1", "fd00:10:96::1"}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	if _, err := firstAddresses("10.96.0.0"); err == nil {
		t.Error("an address without a prefix length was accepted")
	}
}

func TestUpSaysWhatIsMissing(t *testing.T) {
	for _, sample := range []struct{ args, want string }{
		{"", "--dir is missing"},
		{"--dir d", "no etcd in this devcluster"},
		{"--dir d --assets nowhere", "there is no etcd in"},
		{"--dir d --proxy", "need --node-ip"},
		{"--dir d extra", `"extra" is not a flag`},
	} {
		if _, err := parseUp(strings.Fields(sample.args)); err == nil || !strings.Contains(err.Error(), sample.want) {
			t.Errorf("up %s: got %v, want %q", sample.args, err, sample.want)
		}
	}
}

// Killing a component is how tests of the operator simulate an outage: it must come back.
func TestAKilledComponentComesBack(t *testing.T) {
	s := supervisorOf(t, map[string]string{"one": sleeper})
	if err := s.startUnawaited("one", nil); err != nil {
		t.Fatal(err)
	}
	defer s.stop()
	pidFile := s.processes[0].pidFile
	first := waitForPid(t, pidFile, 0)
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitForPid(t, pidFile, first)
}

func TestComponentsStopInReverseOrder(t *testing.T) {
	s := supervisorOf(t, map[string]string{"one": sleeper, "two": sleeper, "three": sleeper})
	for _, name := range []string{"one", "two", "three"} {
		if err := s.startUnawaited(name, nil); err != nil {
			t.Fatal(err)
		}
		waitForPid(t, filepath.Join(s.dir, "run", name+".pid"), 0)
		waitForLine(t, filepath.Join(s.dir, "log", name+".log"), "up")
	}
	s.stop()
	if got := string(read(t, filepath.Join(s.dir, "stopped"))); got != "three\ntwo\none\n" {
		t.Errorf("stopped in the order %q", got)
	}
}

// A wrong flag must show at once and in words, not after two minutes of restarts.
func TestAComponentThatCannotStartIsReportedWithItsLog(t *testing.T) {
	s := supervisorOf(t, map[string]string{"one": "echo unknown flag: --nonsense; exit 3"})
	p, err := s.start("one", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.stop()
	select {
	case err := <-p.failed:
		if !strings.Contains(err.Error(), "unknown flag: --nonsense") {
			t.Errorf("the reason is not in %q", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("no report")
	}
}

const sleeper = `trap 'basename "$0" >>"$HOME/stopped"; exit 0' TERM; echo up; while :; do sleep 0.02; done`

// supervisorOf supervises shell scripts in place of components.
func supervisorOf(t *testing.T, scripts map[string]string) *supervisor {
	t.Helper()
	s := &supervisor{dir: t.TempDir(), assets: t.TempDir()}
	for _, folder := range []string{"log", "run"} {
		if err := os.Mkdir(filepath.Join(s.dir, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, script := range scripts {
		if err := os.WriteFile(filepath.Join(s.assets, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// waitForPid returns the process in a pid file once it is another one than before.
func waitForPid(t *testing.T, file string, before int) int {
	t.Helper()
	var pid int
	eventually(t, "a new process in "+file, func() bool {
		content, err := os.ReadFile(file)
		if err != nil {
			return false
		}
		pid, err = strconv.Atoi(strings.TrimSpace(string(content)))
		return err == nil && pid != before
	})
	return pid
}

func waitForLine(t *testing.T, file, line string) {
	t.Helper()
	eventually(t, line+" in "+file, func() bool {
		content, err := os.ReadFile(file)
		return err == nil && strings.Contains(string(content), line)
	})
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s", what)
		}
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

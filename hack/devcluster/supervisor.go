package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	restartPause = 300 * time.Millisecond // a component that was killed is back soon, one that cannot start does not spin
	stopGrace    = 10 * time.Second       // upstream components are gone within three seconds of SIGTERM
	logTailLines = 15
)

// supervisor starts components, starts again those that die, and stops all of them in
// the reverse of the order they were started in.
type supervisor struct {
	dir       string // logs and pid files go below it
	assets    string // folder of executables to run instead of this one; "" for this one
	processes []*process
}

// process is one component, over all its restarts.
type process struct {
	name     string
	command  func() *exec.Cmd
	logFile  string
	pidFile  string
	ready    atomic.Bool   // it has worked once: from then on it is started again when it ends
	failed   chan error    // it ended before it was ready
	stopping chan struct{} // closed to end it
	ended    chan struct{} // closed when it is gone for good
}

// start starts a component whose readiness somebody awaits.
func (s *supervisor) start(name string, args []string) (*process, error) {
	p, err := s.add(name, args)
	if err == nil {
		go p.supervise()
	}
	return p, err
}

// startUnawaited starts a component that is started again whenever it ends, from the
// first moment on.
func (s *supervisor) startUnawaited(name string, args []string) error {
	p, err := s.add(name, args)
	if err == nil {
		p.ready.Store(true)
		go p.supervise()
	}
	return err
}

func (s *supervisor) add(name string, args []string) (*process, error) {
	executable, args, err := s.locate(name, args)
	if err != nil {
		return nil, err
	}
	p := &process{
		name: name,
		command: func() *exec.Cmd {
			cmd := exec.Command(executable, args...)
			// A clean environment: no ETCD_* variable, proxy or KUBECONFIG of the caller reaches the components.
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir}
			cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
			return cmd
		},
		logFile:  filepath.Join(s.dir, "log", name+".log"),
		pidFile:  filepath.Join(s.dir, "run", name+".pid"),
		failed:   make(chan error, 1),
		stopping: make(chan struct{}),
		ended:    make(chan struct{}),
	}
	s.processes = append(s.processes, p)
	return p, nil
}

// locate returns how to run a component: from the assets, or as this executable.
func (s *supervisor) locate(name string, args []string) (string, []string, error) {
	if s.assets != "" {
		return filepath.Join(s.assets, name), args, nil
	}
	self, err := os.Executable()
	return self, append([]string{name}, args...), err
}

// stop ends the processes, last started first: each still has what it depends on
// while it goes.
func (s *supervisor) stop() {
	for i := len(s.processes) - 1; i >= 0; i-- {
		close(s.processes[i].stopping)
		<-s.processes[i].ended
	}
}

func (p *process) supervise() {
	defer close(p.ended)
	// Pdeathsig follows the thread that forked, not the process: keep the thread.
	runtime.LockOSThread()
	for {
		err := p.runOnce()
		if p.isStopping() {
			return
		}
		if !p.ready.Load() {
			p.failed <- fmt.Errorf("%s ended before it was ready (%v); the end of %s:\n%s", p.name, err, p.logFile, p.logTail())
			return
		}
		fmt.Fprintf(os.Stderr, "%s ended (%v), starting it again\n", p.name, err)
		select {
		case <-p.stopping:
			return
		case <-time.After(restartPause):
		}
	}
}

// runOnce starts the component and returns when it has ended.
func (p *process) runOnce() error {
	log, err := os.OpenFile(p.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := p.command()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	if err := os.WriteFile(p.pidFile, fmt.Appendln(nil, cmd.Process.Pid), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	defer os.Remove(p.pidFile)
	select {
	case err := <-ended:
		return err
	case <-p.stopping:
	}
	_ = cmd.Process.Signal(syscall.SIGTERM) // fails only if it has just ended
	select {
	case err := <-ended:
		return err
	case <-time.After(stopGrace):
		fmt.Fprintf(os.Stderr, "%s does not stop, killing it\n", p.name)
		_ = cmd.Process.Kill()
		return <-ended
	}
}

func (p *process) isStopping() bool {
	select {
	case <-p.stopping:
		return true
	default:
		return false
	}
}

func (p *process) logTail() string {
	content, err := os.ReadFile(p.logFile)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(string(bytes.TrimSpace(content)), "\n")
	return strings.Join(lines[max(0, len(lines)-logTailLines):], "\n")
}

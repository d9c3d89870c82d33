package main

import (
	"errors"
	"fmt"
	"net"
	"strconv"
)

// What each port of a cluster's block is for: the offset from its first port.
const (
	apiServerPort = iota
	etcdPort
	etcdPeerPort
	controllerManagerPort
	schedulerPort
	kubeletPort
	kubeletHealthPort
	proxyHealthPort
	proxyMetricsPort
	blockSize
)

// Blocks are looked for in a range that Linux hands out to nobody by itself (its
// ephemeral ports begin at 32768), away from node ports (30000) and Farrier's 63001.
const (
	firstBlock = 20000
	lastBlock  = 29990
	blockStep  = 10
)

// claimPorts returns the first port of a block. wanted = 0 picks a free block. The
// block stays claimed against other devclusters until the listener is closed.
func claimPorts(wanted int) (int, net.Listener, error) {
	if wanted != 0 {
		claim, err := claimBlock(wanted)
		return wanted, claim, err
	}
	for first := firstBlock; first <= lastBlock; first += blockStep {
		if claim, err := claimBlock(first); err == nil {
			return first, claim, nil
		}
	}
	return 0, nil, fmt.Errorf("no block of %d free ports between %d and %d on 127.0.0.1", blockSize, firstBlock, lastBlock)
}

// claimBlock takes an abstract socket named after the block, so that two devclusters
// which start at the same moment cannot both find it free. Like ports, such names are
// per network namespace, and the kernel drops them with the process.
func claimBlock(first int) (net.Listener, error) {
	claim, err := net.Listen("unix", fmt.Sprintf("@farrier-devcluster-%d", first))
	if err != nil {
		return nil, fmt.Errorf("ports %d-%d belong to another devcluster; choose another --port, or 0 for any", first, first+blockSize-1)
	}
	for port := first; port < first+blockSize; port++ {
		if err := probe(port); err != nil {
			return nil, errors.Join(fmt.Errorf("port %d is not free; choose another --port, or 0 for any: %w", port, err), claim.Close())
		}
	}
	return claim, nil
}

func probe(port int) error {
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return err
	}
	return listener.Close()
}

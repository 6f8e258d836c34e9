// A CSI driver whose volumes grow: each is a file system in the memory of one node (tmpfs), which a node that restarts
// loses. A file system on a disk would need CAP_SYS_RESOURCE to grow, which nodes that are containers may not have.
// What it runs, it runs in the node's own mount namespace.
//
// On a node it makes, mounts, grows and deletes that node's volumes, and registers itself with the kubelet. With
// --controller it has no node: it then only says that a larger size is the node's to give.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

const (
	name    = "memory.etcd-harness"
	version = "1"
	// Key of a node's name in topologies.
	topology = name + "/node"
	// Group of the sidecars' processes, which use the socket.
	group = 65532
	// Longest time for what is run in a node.
	limit = 60 * time.Second
)

type driver struct {
	csi.UnimplementedIdentityServer
	csi.UnimplementedControllerServer
	csi.UnimplementedNodeServer
	registration.UnimplementedRegistrationServer
	// Empty for a controller without a node.
	node string
	// Where the kubelet finds the socket.
	endpoint string
	// Runs a script in the node.
	run func(ctx context.Context, script string) (string, error)
}

func main() {
	node := flag.String("node", "", "name of this node")
	controller := flag.Bool("controller", false, "serve without a node")
	socket := flag.String("socket", "/csi/csi.sock", "socket to serve on")
	kubelet := flag.String("kubelet-socket", "", "the same, as the kubelet finds it")
	register := flag.String("registration", "", "folder of the kubelet's for sockets of plugins")
	flag.Parse()
	d := &driver{node: *node, endpoint: *kubelet, run: inNode}
	if err := d.serve(*controller, *socket, *register); err != nil {
		fmt.Fprintln(os.Stderr, "csi-memory:", err)
		os.Exit(1)
	}
}

func (d *driver) serve(controller bool, socket, register string) error {
	if controller == (d.node != "") {
		return errors.New("give either --node NAME or --controller")
	}
	server := grpc.NewServer()
	csi.RegisterIdentityServer(server, d)
	csi.RegisterControllerServer(server, d)
	listener, err := listen(socket)
	if err != nil {
		return err
	}
	if !controller {
		csi.RegisterNodeServer(server, d)
		registrar := grpc.NewServer()
		registration.RegisterRegistrationServer(registrar, d)
		at, err := listen(filepath.Join(register, name+"-reg.sock"))
		if err != nil {
			return err
		}
		go func() { _ = registrar.Serve(at) }()
	}
	ends, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	go func() {
		<-ends.Done()
		server.GracefulStop()
	}()
	return server.Serve(listener)
}

// A socket of an earlier process is in the way. Only root and the sidecars may use it.
func listen(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("failed to take the place of an old socket: %w", err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("failed to listen at %s: %w", path, err)
	}
	if os.Getuid() == 0 {
		if err := os.Chown(path, 0, group); err != nil {
			return nil, err
		}
	}
	return listener, os.Chmod(path, 0o660)
}

// The node's own programs, in its mount namespace: process 1 is the node's, whose file system is at /host.
func inNode(ctx context.Context, script string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	command := exec.CommandContext(ctx, "/usr/bin/nsenter", "--target", "1", "--mount", "--", "sh", "-ec", script)
	command.SysProcAttr = &syscall.SysProcAttr{Chroot: "/host"}
	command.Dir = "/"
	command.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	out, err := command.CombinedOutput()
	told := strings.TrimSpace(string(out))
	if err != nil {
		return told, fmt.Errorf("%w: %s", err, told)
	}
	return told, nil
}

func (d *driver) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{
		Type: registration.CSIPlugin, Name: name, Endpoint: d.endpoint, SupportedVersions: []string{"1.0.0"},
	}, nil
}

func (d *driver) NotifyRegistrationStatus(
	_ context.Context, status *registration.RegistrationStatus,
) (*registration.RegistrationStatusResponse, error) {
	if !status.PluginRegistered {
		fmt.Fprintln(os.Stderr, "csi-memory: the kubelet refuses to register it:", status.Error)
	}
	return &registration.RegistrationStatusResponse{}, nil
}

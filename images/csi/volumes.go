package main

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// Folder of all volumes in a node.
	folder      = "/var/etcd-harness/csi"
	mebibyte    = 1 << 20
	least, most = 1 * mebibyte, 4 << 30
)

// Names as the provisioner gives them; nothing else becomes part of a path or a script.
var (
	identifier = regexp.MustCompile(`^pvc-[0-9a-f-]{1,60}$`)
	target     = regexp.MustCompile(`^/var/lib/kubelet/[0-9A-Za-z/._~-]+$`)
)

// The size that is asked for, in whole MiB.
func size(asked *csi.CapacityRange) (int64, error) {
	bytes := max(asked.GetRequiredBytes(), least)
	bytes = (bytes + mebibyte - 1) / mebibyte * mebibyte
	if bytes > most || asked.GetLimitBytes() > 0 && bytes > asked.GetLimitBytes() {
		return 0, status.Errorf(codes.OutOfRange, "%d bytes are asked for: give %d to %d, in MiB", bytes, least, int64(most))
	}
	return bytes, nil
}

func place(id string) (string, error) {
	if !identifier.MatchString(id) {
		return "", status.Errorf(codes.InvalidArgument, "%q is no volume of this driver", id)
	}
	return filepath.Join(folder, id), nil
}

// Prints the bytes of a file system.
func measure(at string) string {
	return fmt.Sprintf("echo $(($(stat -f -c '%%S * %%b' %s)))", at)
}

// A path of the kubelet's that can stand in a script.
func checked(path string) (string, error) {
	if !target.MatchString(path) || strings.Contains(path, "..") {
		return "", status.Errorf(codes.InvalidArgument, "%q is no path below /var/lib/kubelet", path)
	}
	return path, nil
}

// One pod, or the pods of one node, through a file system.
func supported(capabilities []*csi.VolumeCapability) error {
	if len(capabilities) == 0 {
		return status.Error(codes.InvalidArgument, "no capability is named")
	}
	for _, asked := range capabilities {
		kind := asked.GetMount().GetFsType()
		switch {
		case asked.GetMount() == nil || kind != "" && kind != "tmpfs":
			return status.Error(codes.InvalidArgument, "volumes are file systems in memory: leave the type out")
		case strings.HasPrefix(asked.GetAccessMode().GetMode().String(), "MULTI_NODE"):
			return status.Error(codes.InvalidArgument, "volumes are on one node: give ReadWriteOnce or ReadWriteOncePod")
		}
	}
	return nil
}

func (d *driver) ControllerGetCapabilities(
	context.Context, *csi.ControllerGetCapabilitiesRequest,
) (*csi.ControllerGetCapabilitiesResponse, error) {
	capability := func(kind csi.ControllerServiceCapability_RPC_Type) *csi.ControllerServiceCapability {
		return &csi.ControllerServiceCapability{Type: &csi.ControllerServiceCapability_Rpc{
			Rpc: &csi.ControllerServiceCapability_RPC{Type: kind},
		}}
	}
	return &csi.ControllerGetCapabilitiesResponse{Capabilities: []*csi.ControllerServiceCapability{
		capability(csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME),
		capability(csi.ControllerServiceCapability_RPC_EXPAND_VOLUME),
	}}, nil
}

func (d *driver) ValidateVolumeCapabilities(
	_ context.Context, request *csi.ValidateVolumeCapabilitiesRequest,
) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	if _, err := place(request.VolumeId); err != nil {
		return nil, err
	}
	if err := supported(request.VolumeCapabilities); err != nil {
		return &csi.ValidateVolumeCapabilitiesResponse{Message: err.Error()}, nil
	}
	return &csi.ValidateVolumeCapabilitiesResponse{
		Confirmed: &csi.ValidateVolumeCapabilitiesResponse_Confirmed{VolumeCapabilities: request.VolumeCapabilities},
	}, nil
}

func (d *driver) CreateVolume(ctx context.Context, request *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	if d.node == "" {
		return nil, status.Error(codes.FailedPrecondition, "this driver has no node to make a volume on")
	}
	if err := supported(request.VolumeCapabilities); err != nil {
		return nil, err
	}
	if request.VolumeContentSource != nil || len(request.Parameters) > 0 {
		return nil, status.Error(codes.InvalidArgument, "neither parameters nor a source are supported: leave them out")
	}
	at, err := place(request.Name)
	if err != nil {
		return nil, err
	}
	bytes, err := size(request.CapacityRange)
	if err != nil {
		return nil, err
	}
	script := fmt.Sprintf("mkdir -p %[1]s\n"+
		"mountpoint -q %[1]s || mount -t tmpfs -o mode=0777,size=%[2]d tmpfs %[1]s\n%[3]s", at, bytes, measure(at))
	told, err := d.run(ctx, script)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "failed to make volume %s: %v", request.Name, err)
	}
	if told != fmt.Sprint(bytes) {
		return nil, status.Errorf(codes.AlreadyExists, "volume %s is there with %s bytes", request.Name, told)
	}
	return &csi.CreateVolumeResponse{Volume: &csi.Volume{
		VolumeId: request.Name, CapacityBytes: bytes,
		AccessibleTopology: []*csi.Topology{{Segments: map[string]string{topology: d.node}}},
	}}, nil
}

func (d *driver) DeleteVolume(ctx context.Context, request *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	at, err := place(request.VolumeId)
	if err != nil {
		return nil, err
	}
	if d.node == "" {
		return nil, status.Error(codes.FailedPrecondition, "this driver has no node to delete a volume on")
	}
	if _, err := d.run(ctx, fmt.Sprintf("! mountpoint -q %[1]s || umount %[1]s\n[ ! -d %[1]s ] || rmdir %[1]s", at)); err != nil {
		return nil, status.Errorf(codes.Internal, "failed to delete volume %s: %v", request.VolumeId, err)
	}
	return &csi.DeleteVolumeResponse{}, nil
}

// The volume is on a node: what grows, grows there.
func (d *driver) ControllerExpandVolume(
	_ context.Context, request *csi.ControllerExpandVolumeRequest,
) (*csi.ControllerExpandVolumeResponse, error) {
	if _, err := place(request.VolumeId); err != nil {
		return nil, err
	}
	bytes, err := size(request.CapacityRange)
	if err != nil {
		return nil, err
	}
	return &csi.ControllerExpandVolumeResponse{CapacityBytes: bytes, NodeExpansionRequired: true}, nil
}

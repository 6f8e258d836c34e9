package main

import (
	"context"
	"fmt"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func (d *driver) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{
		NodeId: d.node, AccessibleTopology: &csi.Topology{Segments: map[string]string{topology: d.node}},
	}, nil
}

func (d *driver) NodeGetCapabilities(
	context.Context, *csi.NodeGetCapabilitiesRequest,
) (*csi.NodeGetCapabilitiesResponse, error) {
	expand := &csi.NodeServiceCapability{Type: &csi.NodeServiceCapability_Rpc{
		Rpc: &csi.NodeServiceCapability_RPC{Type: csi.NodeServiceCapability_RPC_EXPAND_VOLUME},
	}}
	return &csi.NodeGetCapabilitiesResponse{Capabilities: []*csi.NodeServiceCapability{expand}}, nil
}

// A node's /dev shows the loop devices that there were when it was started: a newer one needs its file made. Another
// node may take the free one first: then the next is tried.
func (d *driver) NodePublishVolume(
	ctx context.Context, request *csi.NodePublishVolumeRequest,
) (*csi.NodePublishVolumeResponse, error) {
	if err := supported([]*csi.VolumeCapability{request.VolumeCapability}); err != nil {
		return nil, err
	}
	file, err := image(request.VolumeId)
	if err != nil {
		return nil, err
	}
	at, err := checked(request.TargetPath)
	if err != nil {
		return nil, err
	}
	options := "loop"
	if request.Readonly {
		options = "loop,ro"
	}
	script := fmt.Sprintf("mkdir -p %[1]s\nif ! mountpoint -q %[1]s; then\n"+
		"n=0; until l=$(losetup -f); [ -e $l ] || mknod $l b 7 ${l#/dev/loop}; mount -o %[3]s %[2]s %[1]s; do\n"+
		"n=$((n+1)); [ $n -lt 10 ]\ndone\nfi\n", at, file, options)
	if !request.Readonly {
		script += fmt.Sprintf("rm -rf %[1]s/lost+found; chmod 777 %[1]s\n", at)
	}
	if _, err := d.run(ctx, script); err != nil {
		return nil, status.Errorf(codes.Internal, "failed to mount volume %s: %v", request.VolumeId, err)
	}
	return &csi.NodePublishVolumeResponse{}, nil
}

func (d *driver) NodeUnpublishVolume(
	ctx context.Context, request *csi.NodeUnpublishVolumeRequest,
) (*csi.NodeUnpublishVolumeResponse, error) {
	at, err := checked(request.TargetPath)
	if err != nil {
		return nil, err
	}
	script := fmt.Sprintf("! mountpoint -q %[1]s || umount %[1]s\n[ ! -d %[1]s ] || rmdir %[1]s", at)
	if _, err := d.run(ctx, script); err != nil {
		return nil, status.Errorf(codes.Internal, "failed to unmount volume %s: %v", request.VolumeId, err)
	}
	return &csi.NodeUnpublishVolumeResponse{}, nil
}

// File, device, file system, in this order, under the pod that uses it. None becomes smaller.
func (d *driver) NodeExpandVolume(
	ctx context.Context, request *csi.NodeExpandVolumeRequest,
) (*csi.NodeExpandVolumeResponse, error) {
	file, err := image(request.VolumeId)
	if err != nil {
		return nil, err
	}
	bytes, err := size(request.CapacityRange)
	if err != nil {
		return nil, err
	}
	script := fmt.Sprintf("[ $(stat -c %%s %[1]s) -ge %[2]d ] || truncate -s %[2]d %[1]s\n"+
		"l=$(losetup -n -O NAME -j %[1]s); [ -n \"$l\" ]\nlosetup -c $l; resize2fs $l", file, bytes)
	if _, err := d.run(ctx, script); err != nil {
		return nil, status.Errorf(codes.Internal, "failed to grow volume %s: %v", request.VolumeId, err)
	}
	return &csi.NodeExpandVolumeResponse{CapacityBytes: bytes}, nil
}

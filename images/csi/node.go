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

func (d *driver) NodePublishVolume(
	ctx context.Context, request *csi.NodePublishVolumeRequest,
) (*csi.NodePublishVolumeResponse, error) {
	if err := supported([]*csi.VolumeCapability{request.VolumeCapability}); err != nil {
		return nil, err
	}
	from, err := place(request.VolumeId)
	if err != nil {
		return nil, err
	}
	at, err := checked(request.TargetPath)
	if err != nil {
		return nil, err
	}
	script := fmt.Sprintf("mountpoint -q %[1]s || { echo 'it was lost when its node restarted'; exit 1; }\n"+
		"mkdir -p %[2]s\nmountpoint -q %[2]s || mount --bind %[1]s %[2]s\n", from, at)
	if request.Readonly {
		script += fmt.Sprintf("mount -o remount,bind,ro %s\n", at)
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

// Under the pod that uses it. None becomes smaller.
func (d *driver) NodeExpandVolume(
	ctx context.Context, request *csi.NodeExpandVolumeRequest,
) (*csi.NodeExpandVolumeResponse, error) {
	at, err := place(request.VolumeId)
	if err != nil {
		return nil, err
	}
	bytes, err := size(request.CapacityRange)
	if err != nil {
		return nil, err
	}
	script := fmt.Sprintf("mountpoint -q %[1]s\n[ $(%[3]s) -ge %[2]d ] || mount -o remount,size=%[2]d %[1]s",
		at, bytes, measure(at))
	if _, err := d.run(ctx, script); err != nil {
		return nil, status.Errorf(codes.Internal, "failed to grow volume %s: %v", request.VolumeId, err)
	}
	return &csi.NodeExpandVolumeResponse{CapacityBytes: bytes}, nil
}

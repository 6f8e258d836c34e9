package main

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
)

// A node whose scripts are kept and answered with this text.
type node struct {
	answer  string
	scripts []string
}

func (n *node) driver() *driver {
	return &driver{node: "worker", run: func(_ context.Context, script string) (string, error) {
		n.scripts = append(n.scripts, script)
		return n.answer, nil
	}}
}

func mount(mode csi.VolumeCapability_AccessMode_Mode) *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{FsType: "tmpfs"}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: mode},
	}
}

func TestSizesAreWholeMebibytesWithinTheLimits(t *testing.T) {
	for asked, wanted := range map[int64]int64{0: least, least: least, least + 1: least + mebibyte, most: most} {
		got, err := size(&csi.CapacityRange{RequiredBytes: asked})
		if err != nil || got != wanted {
			t.Errorf("%d: %d, %v", asked, got, err)
		}
	}
	for _, bad := range []*csi.CapacityRange{{RequiredBytes: most + 1}, {RequiredBytes: least + 1, LimitBytes: least + 2}} {
		if got, err := size(bad); err == nil {
			t.Errorf("%v: %d", bad, got)
		}
	}
}

func TestNothingButAVolumesNameBecomesPartOfAScript(t *testing.T) {
	n := &node{}
	d, ctx := n.driver(), context.Background()
	for _, bad := range []string{"", "pvc-1;reboot", "../x", "pvc-", "other"} {
		if _, err := d.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: bad}); err == nil {
			t.Errorf("%q is deleted", bad)
		}
	}
	for _, bad := range []string{"/etc", "/var/lib/kubelet/../x", "/var/lib/kubelet/a b", "/var/lib/kubelet/$(x)"} {
		request := &csi.NodeUnpublishVolumeRequest{VolumeId: "pvc-1", TargetPath: bad}
		if _, err := d.NodeUnpublishVolume(ctx, request); err == nil {
			t.Errorf("%q is unmounted", bad)
		}
	}
	if len(n.scripts) > 0 {
		t.Errorf("%q", n.scripts)
	}
}

func TestAVolumeIsMadeOnItsNodeAndOneOfAnotherSizeIsInTheWay(t *testing.T) {
	request := &csi.CreateVolumeRequest{
		Name:               "pvc-1",
		CapacityRange:      &csi.CapacityRange{RequiredBytes: 64 * mebibyte},
		VolumeCapabilities: []*csi.VolumeCapability{mount(csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER)},
	}
	n := &node{answer: fmt.Sprint(64 * mebibyte)}
	made, err := n.driver().CreateVolume(context.Background(), request)
	if err != nil || made.Volume.AccessibleTopology[0].Segments[topology] != "worker" {
		t.Fatalf("%v, %v", made, err)
	}
	other := &node{answer: "1"}
	if _, err := other.driver().CreateVolume(context.Background(), request); err == nil {
		t.Error("a volume of another size is taken for this one")
	}
	request.VolumeCapabilities = []*csi.VolumeCapability{mount(csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER)}
	if _, err := n.driver().CreateVolume(context.Background(), request); err == nil {
		t.Error("nodes share a volume")
	}
}

func TestAControllerLeavesTheGrowthToTheNode(t *testing.T) {
	d := &driver{}
	grown, err := d.ControllerExpandVolume(context.Background(), &csi.ControllerExpandVolumeRequest{
		VolumeId: "pvc-1", CapacityRange: &csi.CapacityRange{RequiredBytes: 512 * mebibyte},
	})
	if err != nil || !grown.NodeExpansionRequired || grown.CapacityBytes != 512*mebibyte {
		t.Fatalf("%v, %v", grown, err)
	}
	n := &node{}
	request := &csi.NodeExpandVolumeRequest{
		VolumeId: "pvc-1", VolumePath: "/x", CapacityRange: &csi.CapacityRange{RequiredBytes: 512 * mebibyte},
	}
	if _, err := n.driver().NodeExpandVolume(context.Background(), request); err != nil {
		t.Fatal(err)
	}
	if len(n.scripts) != 1 || !strings.Contains(n.scripts[0], "remount,size=536870912") {
		t.Errorf("%q", n.scripts)
	}
}

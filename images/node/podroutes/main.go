// Keeps one route on this node for every other node's pod network, which is all that
// is left to do where the kubelet and containerd set up the pods' own interfaces.
// Reads nodes and nothing else from the API server; touches no route but its own,
// which it knows by their protocol number.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
)

const (
	// Any number that no routing daemon uses: it marks the routes made here.
	protocol = netlink.RouteProtocol(241)
	account  = "/var/run/secrets/kubernetes.io/serviceaccount/"
	resync   = 5 * time.Minute
)

type node struct {
	Metadata struct{ Name, ResourceVersion string }
	Spec     struct{ PodCIDR string }
	Status   struct {
		Addresses []struct{ Type, Address string }
	}
}

type nodeList struct {
	Metadata struct{ ResourceVersion string }
	Items    []node
}

func main() {
	log.SetFlags(0)
	self := os.Getenv("NODE_NAME")
	if self == "" {
		log.Fatal("NODE_NAME is not set")
	}
	for {
		// A watch that ends is nothing to speak of; anything else is worth a line.
		if err := follow(self); err != nil && !errors.Is(err, io.EOF) {
			log.Printf("%v", err)
		}
		time.Sleep(time.Second)
	}
}

// follow lists all nodes, puts their routes in place, and does so again after every
// change, until the watch ends.
func follow(self string) error {
	ctx, cancel := context.WithTimeout(context.Background(), resync+10*time.Second)
	defer cancel()
	client, base, err := connect()
	if err != nil {
		return err
	}
	body, err := get(ctx, client, base+"/api/v1/nodes")
	if err != nil {
		return err
	}
	var list nodeList
	err = json.NewDecoder(body).Decode(&list)
	body.Close()
	if err != nil {
		return err
	}
	nodes := map[string]node{}
	for _, n := range list.Items {
		nodes[n.Metadata.Name] = n
	}
	if err := apply(self, nodes); err != nil {
		return err
	}
	query := url.Values{
		"watch":           {"1"},
		"resourceVersion": {list.Metadata.ResourceVersion},
		"timeoutSeconds":  {fmt.Sprint(int(resync.Seconds()))},
	}
	body, err = get(ctx, client, base+"/api/v1/nodes?"+query.Encode())
	if err != nil {
		return err
	}
	defer body.Close()
	events := json.NewDecoder(bufio.NewReader(body))
	for {
		var event struct {
			Type   string
			Object node
		}
		if err := events.Decode(&event); err != nil {
			return err
		}
		switch event.Type {
		case "ADDED", "MODIFIED":
			nodes[event.Object.Metadata.Name] = event.Object
		case "DELETED":
			delete(nodes, event.Object.Metadata.Name)
		default: // ERROR: list again
			return fmt.Errorf("watch: %s", event.Type)
		}
		if err := apply(self, nodes); err != nil {
			return err
		}
	}
}

// connect builds a new client each time, since tokens and addresses change. The
// endpoint that kind passes needs no kube-proxy; the service is the other way.
func connect() (*http.Client, string, error) {
	authority, err := os.ReadFile(account + "ca.crt")
	if err != nil {
		return nil, "", err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	endpoint := os.Getenv("CONTROL_PLANE_ENDPOINT")
	if endpoint == "" {
		endpoint = net.JoinHostPort(os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT"))
	}
	transport := &http.Transport{
		TLSClientConfig:       &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		ResponseHeaderTimeout: 15 * time.Second,
		DisableKeepAlives:     true,
	}
	return &http.Client{Transport: transport}, "https://" + endpoint, nil
}

func get(ctx context.Context, client *http.Client, address string) (io.ReadCloser, error) {
	token, err := os.ReadFile(account + "token")
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		response.Body.Close()
		return nil, fmt.Errorf("%s: %s", address, response.Status)
	}
	return response.Body, nil
}

// apply makes this node's routes equal to what nodes say, changing only differences.
func apply(self string, nodes map[string]node) error {
	want := map[string]net.IP{}
	for name, n := range nodes {
		_, subnet, err := net.ParseCIDR(n.Spec.PodCIDR)
		if err != nil || name == self {
			continue // no pod network yet: the node will be seen again when it has one
		}
		for _, address := range n.Status.Addresses {
			if ip := net.ParseIP(address.Address).To4(); address.Type == "InternalIP" && ip != nil {
				want[subnet.String()] = ip
			}
		}
	}
	filter := &netlink.Route{Protocol: protocol}
	have, err := netlink.RouteListFiltered(netlink.FAMILY_V4, filter, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return err
	}
	for _, route := range have {
		subnet := route.Dst.String()
		if want[subnet].Equal(route.Gw) {
			delete(want, subnet)
		} else if _, replaced := want[subnet]; !replaced {
			if err := netlink.RouteDel(&route); err != nil {
				return err
			}
			log.Printf("removed %s", subnet)
		}
	}
	for subnet, gateway := range want {
		_, dst, _ := net.ParseCIDR(subnet)
		if err := netlink.RouteReplace(&netlink.Route{Dst: dst, Gw: gateway, Protocol: protocol}); err != nil {
			return fmt.Errorf("route %s via %s: %w", subnet, gateway, err)
		}
		log.Printf("%s via %s", subnet, gateway)
	}
	return nil
}

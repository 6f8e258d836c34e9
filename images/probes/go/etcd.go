package main

import (
	"context"
	"fmt"
	"os/exec"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Keys of a probe that are written in turn: what is stored stays small.
const keys = 128

func clientv3Writes(ctx context.Context, endpoint string) error {
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}})
	if err != nil {
		return fmt.Errorf("make a client of %s: %w", endpoint, err)
	}
	defer client.Close()
	paced(ctx, func(ctx context.Context, number int) error {
		_, err := client.Put(ctx, fmt.Sprintf("probe/go/%d", number%keys), fmt.Sprint(number))
		return err
	})
	return nil
}

func etcdctlWrites(ctx context.Context, endpoint string) error {
	oneByOne(ctx, func(ctx context.Context, number int) error {
		key := fmt.Sprintf("probe/etcdctl/%d", number%keys)
		command := exec.CommandContext(ctx, "etcdctl", "--endpoints", endpoint, "put", key, fmt.Sprint(number))
		said, err := command.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(said)))
		}
		return nil
	})
	return nil
}

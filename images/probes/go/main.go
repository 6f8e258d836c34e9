// Command probe writes to etcd as a user's client does, one write after the other, and says on stdout what became of
// each. The harness's `bench failover --client` runs it beside its recording client and reads the lines.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

const usage = `usage: probe go ENDPOINT              etcd's own client, default options, one connection
       probe etcdctl ENDPOINT         a process of etcdctl for each write
       probe kube-apiserver URL DIR   objects of an API server whose certificate and token are in DIR
       probe keys DIR                 makes what such an API server is started with`

func main() {
	context, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(context, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 2 && args[0] == "go":
		return clientv3Writes(ctx, args[1])
	case len(args) == 2 && args[0] == "etcdctl":
		return etcdctlWrites(ctx, args[1])
	case len(args) == 3 && args[0] == "kube-apiserver":
		return apiserverWrites(ctx, args[1], args[2])
	case len(args) == 2 && args[0] == "keys":
		return makeKeys(args[1])
	}
	return fmt.Errorf("unknown arguments %q\n%s", args, usage)
}

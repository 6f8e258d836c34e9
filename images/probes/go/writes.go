package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	// Time between the beginnings of two writes.
	pace = 10 * time.Millisecond
	// How long a write may take before its user gives it up.
	deadline = time.Second
	// Most writes under way: more than there can be at that pace and deadline.
	most = 128
	// Most bytes of an error that are reported.
	mostError = 200
)

// report says what became of writes, a line for each: nanoseconds since the line `begin`, and `ok` or why not.
type report struct {
	mutex sync.Mutex
	begun time.Time
}

func newReport() *report {
	begun := time.Now()
	fmt.Fprintf(os.Stdout, "begin %d\n", begun.UnixNano())
	return &report{begun: begun}
}

// ended reports a write, unless it was given up because the probe ends.
func (r *report) ended(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	since := time.Since(r.begun).Nanoseconds()
	if err == nil {
		fmt.Fprintf(os.Stdout, "write %d ok\n", since)
		return
	}
	why := strings.Join(strings.Fields(err.Error()), " ")
	fmt.Fprintf(os.Stdout, "write %d failed %.*s\n", since, mostError, why)
}

// paced begins a write every 10 ms, whatever became of the ones before, until the context ends.
func paced(ctx context.Context, write func(ctx context.Context, number int) error) {
	report := newReport()
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	var under sync.WaitGroup
	defer under.Wait()
	free := make(chan struct{}, most)
	for number := 0; ; number++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		select {
		case free <- struct{}{}:
		default:
			report.ended(ctx, fmt.Errorf("%d writes under way do not end at their deadlines", most))
			continue
		}
		under.Add(1)
		go func() {
			defer under.Done()
			defer func() { <-free }()
			limited, cancel := context.WithTimeout(ctx, deadline)
			defer cancel()
			report.ended(ctx, write(limited, number))
		}()
	}
}

// oneByOne begins a write when the one before has ended, and not sooner than 10 ms after it began.
func oneByOne(ctx context.Context, write func(ctx context.Context, number int) error) {
	report := newReport()
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	for number := 0; ; number++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			report.ended(ctx, write(ctx, number))
		}
	}
}

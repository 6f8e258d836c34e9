// Judges the logs of Jepsen's register tests with porcupine, to compare its verdicts and cost with ours:
// a line a log with its name, the verdict and microseconds, then the peak memory in KiB. hack/porcupine runs it.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/anishathalye/porcupine"
)

// What is asked: "read", "write" one, or "cas" one to other.
type request struct {
	what       string
	one, other int
}

// What is told; a register that was never written is not there.
type answer struct {
	known, there, done bool
	value              int
}

type register struct {
	there bool
	value int
}

var model = porcupine.Model{
	Init: func() any { return register{} },
	Step: func(state, input, output any) (bool, any) {
		now, asked, told := state.(register), input.(request), output.(answer)
		switch asked.what {
		case "read":
			return !told.known || now == register{told.there, told.value}, now
		case "write":
			return true, register{true, asked.one}
		}
		fits := now == register{true, asked.one}
		next := now
		if fits {
			next = register{true, asked.other}
		}
		return !told.known || told.done == fits, next
	},
}

func main() {
	for _, path := range os.Args[1:] {
		text, err := os.ReadFile(path)
		if err != nil {
			fail("failed to read the log: %v", err)
		}
		begin := time.Now()
		events, err := read(string(text))
		if err != nil {
			fail("failed to read %s: %v", path, err)
		}
		verdict := "broken"
		if len(events) == 0 {
			verdict = "empty"
		} else if porcupine.CheckEvents(model, events) {
			verdict = "linearizable"
		}
		fmt.Println(filepath.Base(path), verdict, time.Since(begin).Microseconds())
	}
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		fail("failed to ask for the peak memory: %v", err)
	}
	fmt.Println("peak", usage.Maxrss)
}

func read(text string) ([]porcupine.Event, error) {
	var events []porcupine.Event
	open := map[int]int{}
	next := 0
	for at, line := range strings.Split(text, "\n") {
		words := strings.Fields(strings.NewReplacer("[", " ", "]", " ").Replace(line))
		if len(words) < 6 || words[1] != "jepsen.util" {
			continue
		}
		process, err := strconv.Atoi(words[3])
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", at+1, err)
		}
		kind, what, values := words[4], strings.TrimPrefix(words[5], ":"), numbers(words[6:])
		if kind == ":invoke" {
			events = append(events, porcupine.Event{
				ClientId: process, Kind: porcupine.CallEvent, Id: next,
				Value: request{what, at0(values, 0), at0(values, 1)},
			})
			open[process] = next
			next++
			continue
		}
		// A write or a set whose outcome is not known may come at any time: it returns at the end.
		if kind == ":info" {
			continue
		}
		id, is := open[process]
		if !is {
			return nil, fmt.Errorf("line %d: process %d has nothing open", at+1, process)
		}
		delete(open, process)
		told := answer{known: true, there: len(values) > 0, done: kind == ":ok", value: at0(values, 0)}
		if kind == ":fail" && what == "read" {
			told = answer{}
		}
		events = append(events, porcupine.Event{ClientId: process, Kind: porcupine.ReturnEvent, Id: id, Value: told})
	}
	for process, id := range open {
		events = append(events, porcupine.Event{ClientId: process, Kind: porcupine.ReturnEvent, Id: id, Value: answer{}})
	}
	return events, nil
}

func numbers(words []string) []int {
	var all []int
	for _, word := range words {
		if number, err := strconv.Atoi(word); err == nil {
			all = append(all, number)
		}
	}
	return all
}

func at0(values []int, at int) int {
	if at < len(values) {
		return values[at]
	}
	return 0
}

func fail(format string, what ...any) {
	fmt.Fprintf(os.Stderr, "porcupine: "+format+"\n", what...)
	os.Exit(1)
}

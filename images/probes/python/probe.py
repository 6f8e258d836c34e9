"""Writes to etcd with the package etcd3, one write after the other, and prints what became of each: as ../go does."""

import signal
import sys
import time

import etcd3

# Seconds between the beginnings of two writes, and that a write may take.
PACE = 0.01
DEADLINE = 1
# Keys that are written in turn: what is stored stays small.
KEYS = 128
MOST_ERROR = 200


def main():
    if len(sys.argv) != 3 or sys.argv[1] != "python":
        sys.exit("usage: probe.py python HOST:PORT")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    host, port = sys.argv[2].rsplit(":", 1)
    client = etcd3.client(host=host, port=int(port), timeout=DEADLINE)
    begun = time.monotonic_ns()
    print(f"begin {time.time_ns()}", flush=True)
    number = 0
    while True:
        start = time.monotonic()
        try:
            client.put(f"probe/python/{number % KEYS}", str(number))
            told = "ok"
        except Exception as error:  # a user's program would try again, whatever it was
            told = "failed " + " ".join(repr(error).split())[:MOST_ERROR]
        print(f"write {time.monotonic_ns() - begun} {told}", flush=True)
        number += 1
        time.sleep(max(0.0, start + PACE - time.monotonic()))


if __name__ == "__main__":
    main()

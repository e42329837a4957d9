#!/usr/bin/python3
"""What a FLUSH costs: on a node alone, in an asynchronous pair, and in a synchronous one.

  bench/sync_flush.py [--seconds S] [--rounds N] [--folder DIR] [--json FILE]

Two nodes of their own on this machine, joined by a unix socket and removed at the end; both lie on the same disk, so the
synchronous figure has two durable writes, one after the other, and no distance. A host writes 4 KiB to a random
place and flushes, one after the other, over NBD; the time of the flush counts. The three ways take turns, N rounds of S seconds
each, in the same run: what else the machine does meets all of them. Prints the median and the 99th hundredth of each, and the
ratios to the node alone, by round.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/e2e"))
from tidemark_testing import MIB, Connection, Node, wait_until  # noqa: E402

SIZE = 64 * MIB
BLOCK = 4096


def flush_times(node, export, seconds):
    """Of each FLUSH, in microseconds."""
    times = []
    with Connection(node, export) as handle:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            handle.pwrite(random.randbytes(BLOCK), random.randrange(SIZE // BLOCK) * BLOCK)
            began = time.perf_counter()
            handle.flush()
            times.append((time.perf_counter() - began) * 1e6)
    return times


def pair_up(primary, secondary, group, *options):
    primary.cli("pair", "create", group, "--peer", f"unix:{secondary.folder}/replication.sock", *options)

    def joined():
        status = primary.cli("pair", "status", group)
        return status["state"] == "PAIR" and status.get("in_sync") is not False

    wait_until(joined, f"{group} is in PAIR")


def measure(folder, rounds, seconds):
    nodes = [Node(os.path.join(folder, name), name) for name in ("tokyo", "osaka")]
    ways = {"alone": None, "async": ("--mode", "async"), "sync": ("--mode", "sync", "--on-peer-loss", "wait")}
    figures = []
    try:
        for node in nodes:
            node.start()
        for way, options in ways.items():
            nodes[0].create(way, "disk", size=str(SIZE))
            if options:
                pair_up(*nodes, way, *options)
        for way in ways:  # warm
            flush_times(nodes[0], f"{way}/disk", min(seconds, 1))
        for _ in range(rounds):
            figures.append({way: flush_times(nodes[0], f"{way}/disk", seconds) for way in ways})
    finally:
        for node in nodes:
            if node.running():
                node.kill()
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", default="/var/tmp", help="where the nodes' disks lie; not a tmpfs")
    parser.add_argument("--json", help="write the figures there")
    options = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="sync-flush-", dir=options.folder)
    try:
        figures = measure(folder, options.rounds, options.seconds)
    finally:
        shutil.rmtree(folder)
    rows = []
    for number, times in enumerate(figures, 1):
        medians = {way: statistics.median(taken) for way, taken in times.items()}
        rows.append(medians)
        print(f"round {number}: " + ", ".join(
            f"{way} {median:.0f} us (99%: {statistics.quantiles(times[way], n=100)[98]:.0f}, {len(times[way])} flushes)"
            for way, median in medians.items()))
    for way in ("async", "sync"):
        ratios = sorted(row[way] / row["alone"] for row in rows)
        print(f"{way} / alone: {statistics.median(ratios):.2f} (from {ratios[0]:.2f} to {ratios[-1]:.2f})")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=2)


if __name__ == "__main__":
    main()

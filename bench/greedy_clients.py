#!/usr/bin/python3
"""What a node needs, and what an ordinary client gets, while others take all they can.

  bench/greedy_clients.py [--clients N] [--groups N] [--seconds S] [--cache SIZE]

A node of its own, removed at the end. For S seconds the clients, in turn over the groups, are: one that asks for
1 MiB reads and never takes an answer; one that announces writes of 32 MiB and sends them as fast as they go; one
with 64 reads of 1 MiB on their way; one with 32 reads of 32 MiB on their way, never taken. An ordinary client
reads and writes 4 KiB, one after the other, then 256 KiB. Prints its latencies without and with the others, and
the most memory that the node has had (VmHWM).
"""

import argparse
import os
import random
import shutil
import socket
import struct
import sys
import tempfile
import threading
import time
from multiprocessing import Process

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/e2e"))
from tidemark_testing import MIB, Connection, Node  # noqa: E402

VOLUME_BYTES = 128 * MIB
READ, WRITE = 0, 1


def attach(node, export):
    """A socket in transmission, with simple replies."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.connect(node.nbd_socket)
    take(sock, 18)
    name = export.encode()
    sock.sendall(struct.pack(">IQII", 3, 0x49484156454F5054, 1, len(name)) + name)
    take(sock, 10)
    return sock


def take(sock, count):
    view = memoryview(bytearray(count))
    while view:
        got = sock.recv_into(view)
        if got == 0:
            raise ConnectionError("closed")
        view = view[got:]


def request(kind, offset, length):
    return struct.pack(">IHHQQI", 0x25609513, 0, kind, 1, offset, length)


def deaf_reader(node, export, length):
    while True:
        sock = attach(node, export)
        try:
            while True:
                sock.sendall(request(READ, random.randrange(VOLUME_BYTES // length) * length, length))
        except ConnectionError:
            pass  # given up by the node: it comes back


def large_writer(node, export):
    sock = attach(node, export)
    data = random.randbytes(MIB) * 32

    def drain():
        while sock.recv(65536):
            pass

    threading.Thread(target=drain, daemon=True).start()
    while True:
        sock.sendall(request(WRITE, random.randrange(VOLUME_BYTES // len(data)) * len(data), len(data)))
        sock.sendall(data)


def keen_reader(node, export):
    sock = attach(node, export)
    for _ in range(64):
        sock.sendall(request(READ, random.randrange(VOLUME_BYTES // MIB) * MIB, MIB))
    while True:
        take(sock, 16 + MIB)
        sock.sendall(request(READ, random.randrange(VOLUME_BYTES // MIB) * MIB, MIB))


def greedy(node, export, number):
    kind = number % 4
    try:
        if kind == 0:
            deaf_reader(node, export, MIB)
        elif kind == 1:
            large_writer(node, export)
        elif kind == 2:
            keen_reader(node, export)
        else:
            deaf_reader(node, export, 32 * MIB)
    except OSError as error:
        print(f"client {number}: {error}", flush=True)


def ordinary(node, export, seconds, length):
    """Latencies [ms] of reads and writes, sorted."""
    reads, writes = [], []
    data = random.randbytes(length)
    with Connection(node, export) as handle:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            offset = random.randrange(VOLUME_BYTES // length) * length
            begin = time.monotonic()
            handle.pread(length, offset)
            between = time.monotonic()
            handle.pwrite(data, offset)
            writes.append(1000 * (time.monotonic() - between))
            reads.append(1000 * (between - begin))
    return sorted(reads), sorted(writes)


def tell(what, latencies):
    for word, values in zip(("read", "write"), latencies):
        print(f"{what} {word:5}: {len(values):6} requests, p50 {values[len(values) // 2]:8.2f} ms, "
              f"p99 {values[len(values) * 99 // 100]:8.2f} ms, longest {values[-1]:8.2f} ms", flush=True)


def memory_mib(node, key):
    with open(f"/proc/{node.process.pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith(key + ":"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--groups", type=int, default=1)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--cache", default="64M")
    options = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="tm-", dir="/tmp")
    node = Node(os.path.join(folder, "greedy"), "greedy")
    clients = []
    try:
        node.start("--cache-size", options.cache)
        exports = []
        for i in range(options.groups):
            node.create(f"g{i}", "v", size="128M", options=("--journal-size", "1G"))
            exports.append(f"g{i}/v")
            node.write(exports[-1], 0, random.randbytes(VOLUME_BYTES))
        print(f"filled: VmRSS {memory_mib(node, 'VmRSS'):.0f} MiB, VmHWM {memory_mib(node, 'VmHWM'):.0f} MiB", flush=True)
        for length in (4096, 256 << 10):
            tell(f"alone, {length >> 10} KiB", ordinary(node, exports[0], 3, length))
        clients += [Process(target=greedy, daemon=True, args=(node, exports[i % len(exports)], i))
                   for i in range(options.clients)]
        for client in clients:
            client.start()
        time.sleep(1)
        for length in (4096, 256 << 10):
            tell(f"among {options.clients}, {length >> 10} KiB",
                 ordinary(node, exports[0], options.seconds / 2, length))
        print(f"then: VmRSS {memory_mib(node, 'VmRSS'):.0f} MiB, VmHWM {memory_mib(node, 'VmHWM'):.0f} MiB", flush=True)
        for client in clients:
            client.kill()
        time.sleep(1)
        print(f"after them: VmRSS {memory_mib(node, 'VmRSS'):.0f} MiB", flush=True)
    finally:
        for client in clients:
            client.kill()
        node.kill()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()

#!/usr/bin/python3
"""Bytes that no client of ours would send, on every socket: the node drops the connection and goes on."""

import os
import random
import socket
import struct

from tidemark_testing import BLOCK, Connection, TidemarkTest, main

NBD_MAGIC = b"NBDMAGICIHAVEOPT"


class HostileBytes(TidemarkTest):
    def throw(self, path, pieces):
        """Sends the pieces and hangs up; what comes back is not of interest."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
            peer.settimeout(20)
            peer.connect(path)
            try:
                for piece in pieces:
                    peer.sendall(piece)
                peer.shutdown(socket.SHUT_WR)
                while peer.recv(65536):
                    pass
            except (BrokenPipeError, ConnectionResetError):
                pass  # it had heard enough

    def garbage(self, seed):
        dice = random.Random(seed)
        yield b""
        yield b"\x00"
        yield bytes(100_000)
        yield b"\xff" * 100_000
        yield b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        for _ in range(20):
            yield dice.randbytes(dice.randrange(1, 5000))

    def test_garbage_on_every_socket_leaves_the_node_serving(self):
        tokyo = self.node()
        tokyo.create("app", "db", size="4M")
        tokyo.write("app/db", 0, b"k" * BLOCK)
        for name in ("replication.sock", "nbd.sock", "control.sock"):
            for piece in self.garbage(seed=name):
                self.throw(os.path.join(tokyo.folder, name), [piece])
            self.assertTrue(tokyo.running(), tokyo.log())
            self.assertEqual(tokyo.read("app/db", 0, 1), b"k")
        self.assertEqual(tokyo.cli("status")["node"], "tokyo")

    def test_garbage_on_the_replication_port_does_not_touch_a_pair(self):
        tokyo, osaka = self.pair("db", size="4M")
        for piece in self.garbage(seed=7):
            self.throw(os.path.join(osaka.folder, "replication.sock"), [piece])
            self.throw(os.path.join(tokyo.folder, "replication.sock"), [piece])
        tokyo.write("app/db", 0, b"p" * BLOCK)
        tokyo.mark("app", "m", "--wait", "peer")
        self.assertEqual(osaka.read("app/db@m", 0, 1), b"p")
        self.assertEqual(tokyo.cli("pair", "status", "app")["state"], "PAIR")

    def test_malformed_nbd_options_and_requests(self):
        tokyo = self.node()
        tokyo.create("app", "db", size="4M")
        flags = struct.pack(">I", 3)

        def option(number, data, length=None):
            return b"IHAVEOPT" + struct.pack(">II", number, len(data) if length is None else length) + data

        go = option(7, struct.pack(">I", 6) + b"app/db" + struct.pack(">H", 0))
        shapes = [
            [flags, option(7, b"")],
            [flags, option(7, struct.pack(">I", 0xffffffff) + b"x")],
            [flags, option(1, b"x" * 5000)],
            [flags, option(99, b"data")],
            [flags, option(7, b"", length=0xffffffff)],
            [struct.pack(">I", 0xffffffff)],
            [flags, option(10, struct.pack(">I", 6) + b"app/db" + struct.pack(">I", 1_000_000))],
            [flags, go, b"\x00" * 28],
            [flags, go, struct.pack(">IHHQQI", 0x25609513, 0, 99, 1, 0, 4096)],
            [flags, go, struct.pack(">IHHQQI", 0x25609513, 0, 0, 1, 1 << 63, 4096)],
            [flags, go, struct.pack(">IHHQQI", 0x25609513, 0, 0, 1, 0, 0xffffffff)],
            [flags, go, struct.pack(">IHHQQI", 0x25609513, 0, 1, 1, 0, 0xffffffff)],
            [flags, go, struct.pack(">IHHQQI", 0x25609513, 0xffff, 1, 1, 0, 4096) + b"short"],
        ]
        for shape in shapes:
            self.throw(tokyo.nbd_socket, shape)
        self.assertTrue(tokyo.running(), tokyo.log())
        with Connection(tokyo, "app/db") as handle:
            handle.pwrite(b"w" * BLOCK, 0)
            self.assertEqual(bytes(handle.pread(1, 0)), b"w")

    def test_connections_that_say_nothing_do_not_keep_others_out(self):
        tokyo = self.node()
        tokyo.create("app", "db", size="4M")
        silent = []
        try:
            for name in ("nbd.sock", "control.sock", "replication.sock"):
                for _ in range(40):
                    peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                    silent.append(peer)
                    peer.connect(os.path.join(tokyo.folder, name))
            tokyo.write("app/db", 0, b"w" * BLOCK)
            self.assertEqual(tokyo.cli("status")["node"], "tokyo")
        finally:
            for peer in silent:
                peer.close()
        tokyo.stop()


if __name__ == "__main__":
    main()

#!/usr/bin/python3
"""A disk with a volatile write cache and no battery, as an NBD server: what was written since the last flush may be lost
when it is cut off, write by write or sector by sector. For the end-to-end tests, which start it as a program.

    volatile_disk.py SOCKET FILE SIZE SECTOR

It serves one connection on the unix socket, and keeps two sparse files: FILE is what is durable, FILE.seen is
what reads show. It is told what to do on its standard input, a line each, and answers with a line:

    cut SEED N  as soon as N writes wait for a flush, or else after a while, nothing reaches the durable file any more,
                and nothing is answered until `go`. Of the writes that no flush has covered a part, drawn from the seed,
                is there; the rest is lost.
    go          serves on, so that what uses the disk can be taken away in order. What is written now will never have
                been.
    back        reads show again what is durable.
    fail        writes and flushes fail with EIO, until `back`.
"""

import os
import random
import selectors
import socket
import struct
import sys

MAGIC, OPTION_MAGIC, REPLY_MAGIC = 0x4E42444D41474943, 0x49484156454F5054, 0x3E889045565A9
REQUEST_MAGIC, SIMPLE_REPLY_MAGIC = 0x25609513, 0x67446698
FIXED_NEWSTYLE, NO_ZEROES = 1, 2
OPT_EXPORT_NAME, OPT_ABORT, OPT_INFO, OPT_GO = 1, 2, 6, 7
REP_ACK, REP_INFO, REP_ERR_UNSUP = 1, 3, 0x80000001
HAS_FLAGS, SEND_FLUSH = 1, 4
CMD_READ, CMD_WRITE, CMD_DISC, CMD_FLUSH = 0, 1, 2, 3
EIO, EINVAL = 5, 22
CUT_SECONDS_MAX = 0.3
KINDS = ("nothing", "everything", "writes", "sectors", "the newest lost")


class Disk:
    """Two files, and the writes between them in the order in which they were made."""

    def __init__(self, path, size, sector):
        self.size, self.sector = size, sector
        self.durable = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self.seen = os.open(path + ".seen", os.O_RDWR | os.O_CREAT, 0o600)
        for file in (self.durable, self.seen):
            os.ftruncate(file, size)
        self.unflushed = []  # (offset, data)
        self.differing = None  # ranges in which the two files differ, once the disk is cut off
        self.failing = False
        self.flushes = 0

    def read(self, offset, length):
        return os.pread(self.seen, length, offset)

    def write(self, offset, data):
        os.pwrite(self.seen, data, offset)
        if self.differing is None:
            self.unflushed.append((offset, data))
        else:
            self.differing.append((offset, len(data)))

    def flush(self):
        self.flushes += 1
        for offset, data in self.unflushed:
            os.pwrite(self.durable, data, offset)
        self.unflushed = []

    def cut(self, seed):
        dice = random.Random(seed)
        kind = dice.choice(KINDS)
        lost = self.unflushed
        self.unflushed = []
        self.differing = [(offset, len(data)) for offset, data in lost]
        newest_lost = dice.randrange(len(lost) + 1)
        kept = 0
        for number, (offset, data) in enumerate(lost):
            for begin in range(0, len(data), self.sector):
                if kind == "everything" or (kind == "sectors" and dice.random() < 0.5):
                    keeps = True
                elif kind == "writes":
                    keeps = dice.random() < 0.5 if begin == 0 else keeps
                else:
                    keeps = kind == "the newest lost" and number < newest_lost
                if keeps:
                    os.pwrite(self.durable, data[begin:begin + self.sector], offset + begin)
                    kept += 1
        total = sum((len(data) + self.sector - 1) // self.sector for _, data in lost)
        return f"{self.flushes} flushes, {len(lost)} writes not flushed, of their {total} sectors {kept} kept: {kind}"

    def back(self):
        for offset, length in self.differing or ():
            os.pwrite(self.seen, os.pread(self.durable, length, offset), offset)
        self.differing = None

class Gone(Exception):
    pass


class Session:
    def __init__(self, disk, peer):
        self.disk, self.peer = disk, peer

    def receive(self, length):
        pieces = []
        while length > 0:
            piece = self.peer.recv(length)
            if not piece:
                raise Gone
            pieces.append(piece)
            length -= len(piece)
        return b"".join(pieces)

    def option_reply(self, option, kind, data=b""):
        self.peer.sendall(struct.pack(">QIII", REPLY_MAGIC, option, kind, len(data)) + data)

    def handshake(self):
        flags = HAS_FLAGS | SEND_FLUSH
        self.peer.sendall(struct.pack(">QQH", MAGIC, OPTION_MAGIC, FIXED_NEWSTYLE | NO_ZEROES))
        (client,) = struct.unpack(">I", self.receive(4))
        while True:
            _, option, length = struct.unpack(">QII", self.receive(16))
            self.receive(length)
            if option == OPT_EXPORT_NAME:
                self.peer.sendall(struct.pack(">QH", self.disk.size, flags) + (b"" if client & NO_ZEROES else bytes(124)))
                return
            if option in (OPT_INFO, OPT_GO):
                self.option_reply(option, REP_INFO, struct.pack(">HQH", 0, self.disk.size, flags))
                self.option_reply(option, REP_ACK)
                if option == OPT_GO:
                    return
            elif option == OPT_ABORT:
                self.option_reply(option, REP_ACK)
                raise Gone
            else:
                self.option_reply(option, REP_ERR_UNSUP)

    def request(self):
        _, _, kind, cookie, offset, length = struct.unpack(">IHHQQI", self.receive(28))
        error, answer = 0, b""
        data = self.receive(length) if kind == CMD_WRITE else b""
        if kind == CMD_DISC:
            raise Gone
        if kind == CMD_FLUSH:
            if self.disk.failing:
                error = EIO
            else:
                self.disk.flush()
        elif offset + length > self.disk.size:
            error = EINVAL
        elif kind == CMD_READ:
            answer = self.disk.read(offset, length)
        elif kind == CMD_WRITE:
            if self.disk.failing:
                error = EIO
            else:
                self.disk.write(offset, data)
        else:
            error = EINVAL
        self.peer.sendall(struct.pack(">IIQ", SIMPLE_REPLY_MAGIC, error, cookie) + answer)


def main():
    address, path, size, sector = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    disk = Disk(path, size, sector)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(address)
    listener.listen()
    print("ready", flush=True)
    peer, _ = listener.accept()
    session = Session(disk, peer)
    session.handshake()
    # One thing at a time: a cut is between two requests.
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin, selectors.EVENT_READ)
    selector.register(peer, selectors.EVENT_READ)
    wanted = None  # a cut: (seed, writes to wait for, until when)
    while True:
        for key, _ in selector.select(CUT_SECONDS_MAX):
            if key.fileobj is peer:
                session.request()
                continue
            word, *values = sys.stdin.readline().split() or [""]
            if word == "cut":
                wanted = values[0], int(values[1]), os.times().elapsed + CUT_SECONDS_MAX
                continue
            if word == "back":
                disk.back()
            elif word == "fail":
                disk.failing = True
            else:
                return
            print("done", flush=True)
        if wanted and (len(disk.unflushed) >= wanted[1] or os.times().elapsed >= wanted[2]):
            print(disk.cut(wanted[0]), flush=True)
            wanted = None
            if sys.stdin.readline().strip() != "go":
                return
            disk.failing = False
            print("done", flush=True)


if __name__ == "__main__":
    try:
        main()
    except (Gone, ConnectionError):
        pass

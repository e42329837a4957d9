#!/usr/bin/python3
"""A node that gets no more memory ends by itself and says why; what it had acknowledged as durable is there again."""

import os
import random
import resource
import threading

import nbd

from test_crash_rounds import BLOCKS, Order, Writer, numbers_in
from tidemark_testing import MIB, Connection, TidemarkTest, main, wait_until

ROUNDS = 3
MORE_MEMORY_MIB = (1, 24)  # than what it has
OUT_OF_MEMORY = 71  # the exit status


class OutOfMemory(TidemarkTest):
    def fill(self, node):
        """Large writes and reads until the node has gone: payloads, journal and cache all want memory."""
        while node.running():
            try:
                with Connection(node, "app/load") as handle:
                    for offset in range(0, 64 * MIB, 32 * MIB):
                        handle.pwrite(bytes([offset // MIB + 1]) * (32 * MIB), offset)
                        handle.pread(32 * MIB, offset)
            except nbd.Error:
                pass  # it has gone, or the kernel had no memory for that one

    def test_the_process_ends_with_a_reason_and_nothing_durable_is_lost(self):
        seed = int(os.environ.get("TIDEMARK_SEED") or random.SystemRandom().getrandbits(32))
        print("seed", seed)
        dice = random.Random(seed)
        salt = dice.randrange(BLOCKS)
        tokyo = self.node("tokyo", "--cache-size", "2G")
        tokyo.create("app", "db", size="1M", options=("--journal-size", "256M"))
        tokyo.cli("volume", "create", "app/load", "--size", "64M")
        order, last = Order(salt), 0
        for turn in range(ROUNDS):
            with self.subTest(turn=turn):
                writer = Writer(tokyo, last, salt)
                wait_until(lambda: writer.flushed > last, "a flush is answered")
                with open(f"/proc/{tokyo.process.pid}/statm", encoding="ascii") as sizes:
                    used = int(sizes.read().split()[0]) * resource.getpagesize()
                limit = used + dice.randrange(*MORE_MEMORY_MIB) * MIB
                resource.prlimit(tokyo.process.pid, resource.RLIMIT_AS, (limit, limit))
                loads = [threading.Thread(target=self.fill, args=(tokyo,)) for _ in range(4)]
                for load in loads:
                    load.start()
                status = tokyo.process.wait(120)
                writer.end()
                for load in loads:
                    load.join()
                self.assertEqual(status, OUT_OF_MEMORY, tokyo.log())
                self.assertIn("tidemark: out of memory: the process ends", tokyo.log())
                tokyo.start("--cache-size", "2G")
                numbers = numbers_in(tokyo.read("app/db"))
                found = max(numbers)
                self.assertGreaterEqual(found, writer.flushed, "a write is lost that was flushed")
                self.assertLessEqual(found, writer.sent)
                self.assertEqual(numbers, order.expected(found), "not a prefix of the order")
                last = found
        tokyo.stop()


if __name__ == "__main__":
    main()

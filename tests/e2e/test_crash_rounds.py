#!/usr/bin/python3
"""Twenty times: a node is killed in the middle of the work and must come back with an exact prefix of the order,
no shorter than what was flushed, while fio loads another volume of the group."""

import random
import struct
import subprocess
import threading

import nbd

from tidemark_testing import BLOCK, Connection, TidemarkTest, main

ROUNDS = 20
BLOCKS = 256


class CrashRounds(TidemarkTest):
    def fio(self, node):
        return subprocess.Popen(
            ["fio", "--name=load", "--ioengine=nbd", f"--uri={node.uri('app/load')}", "--rw=randwrite", "--bs=4k",
             "--iodepth=8", "--fsync=32", "--time_based", "--runtime=60", "--size=32M"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.folder)

    @staticmethod
    def block_of(number, dice):
        """Which block write `number` goes to; the dice are drawn anew for each run, not for each round."""
        return (number * 2654435761 + dice) % BLOCKS

    def write_until_killed(self, node, number, dice):
        """Numbered writes, one after the other, until the connection breaks: (last acknowledged, last flushed)."""
        acknowledged = flushed = number
        try:
            with Connection(node, "app/db") as handle:
                while True:
                    number += 1
                    handle.pwrite(struct.pack("<Q", number) * (BLOCK // 8), self.block_of(number, dice) * BLOCK)
                    acknowledged = number
                    if number % 37 == 0:
                        handle.flush()
                        flushed = number
        except nbd.Error:
            return acknowledged, flushed

    def check_prefix(self, content, flushed, number_max, dice):
        """The number that the content ends with: every block holds the last write to it up to there."""
        found = []
        for block in range(BLOCKS):
            words = set(struct.unpack(f"<{BLOCK // 8}Q", content[block * BLOCK:(block + 1) * BLOCK]))
            self.assertEqual(len(words), 1, f"block {block} is torn: {sorted(words)[:4]}")
            found.append(words.pop())
        last = max(found)
        self.assertGreaterEqual(last, flushed, "a flushed write is lost")
        self.assertLessEqual(last, number_max)
        expected = [0] * BLOCKS
        for number in range(1, last + 1):
            expected[self.block_of(number, dice)] = number
        self.assertEqual(found, expected, "not a prefix of the order")
        return last

    def test_killed_under_load_and_back_with_an_exact_prefix(self):
        seed = random.randrange(1 << 32)
        print(f"seed {seed}")
        dice = random.Random(seed)
        salt = dice.randrange(BLOCKS)
        tokyo = self.node()
        tokyo.create("app", "db", size="1M")
        tokyo.cli("volume", "create", "app/load", "--size", "32M")
        last = 0
        for turn in range(ROUNDS):
            load = self.fio(tokyo)
            killer = threading.Timer(dice.uniform(0.1, 0.8), tokyo.kill)
            killer.start()
            acknowledged, flushed = self.write_until_killed(tokyo, last, salt)
            killer.join()
            load.wait(60)
            tokyo.start()
            with self.subTest(round=turn):
                last = self.check_prefix(tokyo.read("app/db"), flushed, acknowledged + 1, salt)
        self.assertGreater(last, ROUNDS)


if __name__ == "__main__":
    main()

#!/usr/bin/python3
"""A pair whose payloads go over the link compressed: the copy, the stream, a restore from the peer, and the switch."""

import random
import threading

from tidemark_testing import BLOCK, MIB, Connection, TidemarkTest, main, wait_until

SIZE = 32 * MIB


def records(seed, size):
    """What a table looks like: rows with words in common, and numbers that are not."""
    numbers = random.Random(seed)
    rows, length = [], 0
    while length < size:
        row = f"order {numbers.randrange(10**8):08d} customer {numbers.randrange(10**6):06d} state paid;".encode()
        rows.append(row)
        length += len(row)
    return b"".join(rows)[:size]


class PairCompress(TidemarkTest):
    def status(self, node):
        return node.cli("pair", "status", "app")

    def wait_caught_up(self, node):
        def is_so():
            now = self.status(node)
            return now["state"] == "PAIR" and now["link_up"] and now["lag_entries"] == 0

        wait_until(is_so, f"{node.name}: the secondary has everything")

    def written(self, tokyo, data):
        """What crosses the link when the volume is written with these bytes: (bytes, uncompressed)."""
        before = self.status(tokyo)
        with Connection(tokyo, "app/db") as handle:
            for offset in range(0, len(data), MIB):
                handle.pwrite(data[offset:offset + MIB], offset)
            handle.flush()
        self.wait_caught_up(tokyo)
        after = self.status(tokyo)
        return tuple(after[name] - before[name] for name in ("link_sent_bytes", "link_sent_uncompressed_bytes"))

    def test_a_compressible_load_shrinks_and_an_incompressible_one_is_left_alone(self):
        tokyo, osaka = self.pair("db", size="32M", options=("--compress", "zstd"))
        table = records(1, SIZE)
        sent, uncompressed = self.written(tokyo, table)
        self.assertGreater(uncompressed, SIZE)
        self.assertLess(sent, uncompressed / 2)
        self.assertHolds(osaka, "app/db", table)
        noise = random.Random(2).randbytes(SIZE)
        sent, uncompressed = self.written(tokyo, noise)
        self.assertGreater(sent, SIZE)
        # The first batch of the new kind may be partly of the old one.
        self.assertGreater(sent, uncompressed * 0.95)
        self.assertHolds(osaka, "app/db", noise)
        here, there = self.status(tokyo), self.status(osaka)
        self.assertEqual((here["compress"], there["compress"]), ("zstd", "zstd"))
        self.assertGreater(there["link_received_uncompressed_bytes"], there["link_received_bytes"])
        self.assertIn("uncompressed", tokyo.say("pair", "status", "app")[1])
        verified = tokyo.cli("pair", "verify", "app")
        self.assertEqual((verified["state"], verified["differing_bytes"]), ("same", 0))

    def test_the_copy_and_blocks_from_the_peer_shrink_too(self):
        tokyo, osaka = self.node("tokyo"), self.node("osaka")
        tokyo.create("app", "db", size="32M")
        table = records(3, SIZE)
        tokyo.write("app/db", 0, table)
        tokyo.cli("pair", "create", "app", "--peer", f"unix:{osaka.folder}/replication.sock", "--compress", "zstd")
        self.wait_for_state(tokyo, "PAIR")
        copied = self.status(tokyo)
        self.assertGreater(copied["link_sent_uncompressed_bytes"], SIZE)
        self.assertLess(copied["link_sent_bytes"], SIZE / 2)
        self.assertHolds(osaka, "app/db", table)
        tokyo.mark("app", "table", "--wait", "peer")
        self.written(tokyo, records(4, SIZE))
        before = self.status(tokyo)
        tokyo.cli("restore", "app", "--to", "table", "--from", "peer")
        self.assertHolds(tokyo, "app/db", table)
        after = self.status(tokyo)
        came = after["link_received_uncompressed_bytes"] - before["link_received_uncompressed_bytes"]
        self.assertGreater(came, SIZE * 0.9)
        self.assertLess(after["link_received_bytes"] - before["link_received_bytes"], came / 2)
        self.wait_caught_up(tokyo)
        self.assertHolds(osaka, "app/db", table)

    def test_it_is_switched_while_hosts_write_and_stays_over_restarts(self):
        tokyo, osaka = self.pair("db", size="32M")
        self.assertEqual(self.status(tokyo)["compress"], "off")
        table, done = records(5, SIZE), threading.Event()

        def write_on():
            with Connection(tokyo, "app/db") as handle:
                number = 0
                while not done.is_set():
                    offset = number % (SIZE // BLOCK) * BLOCK
                    handle.pwrite(table[offset:offset + BLOCK], offset)
                    number += 1
                handle.flush()

        writer = threading.Thread(target=write_on)
        writer.start()
        try:
            for word in ("zstd", "off", "zstd"):
                self.assertEqual(tokyo.cli("pair", "set", "app", "--compress", word)["compress"], word)
                wait_until(lambda: self.status(osaka)["compress"] == word, f"osaka: compress is {word}")  # noqa: B023
        finally:
            done.set()
            writer.join()
        self.wait_caught_up(tokyo)
        sent, uncompressed = self.written(tokyo, table)
        self.assertLess(sent, uncompressed / 2)
        for node in (tokyo, osaka):
            node.kill()
            node.start()
            self.assertEqual(self.status(node)["compress"], "zstd")
        wait_until(lambda: self.status(tokyo)["link_up"], "the link is up again")
        table = records(6, SIZE)
        sent, uncompressed = self.written(tokyo, table)
        self.assertLess(sent, uncompressed / 2)
        tokyo.cli("pair", "set", "app", "--compress", "off")
        wait_until(lambda: self.status(osaka)["compress"] == "off", "osaka: compress is off")
        table = records(7, SIZE)
        sent, uncompressed = self.written(tokyo, table)
        self.assertEqual(sent, uncompressed)
        self.assertHolds(osaka, "app/db", table)
        code, text = tokyo.api("GET", "/v1/groups/app/pair")
        self.assertEqual((code, text["compress"]), (200, "off"))


if __name__ == "__main__":
    main()

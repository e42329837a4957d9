#!/usr/bin/python3
"""Several groups to several peers, in both directions: what befalls one pair is not felt by the others."""

import threading
import time

from tidemark_testing import MIB, Connection, Model, TidemarkTest, main, nbd, wait_until

SIZE = 32 * MIB


class Writer:
    """Writes to a group's volume until told to stop, flushing now and then; the longest that a flush took."""

    def __init__(self, node, group, seed):
        self.node, self.group = node, group
        self.model = Model(SIZE, seed)
        self.longest_seconds, self.flushes = 0.0, 0
        self.failed = None
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        try:
            with Connection(self.node, f"{self.group}/db") as handle:
                while not self._ending.is_set():
                    self.model.scribble(handle, 4)
                    began = time.monotonic()
                    handle.flush()
                    self.longest_seconds = max(self.longest_seconds, time.monotonic() - began)
                    self.flushes += 1
                    self._ending.wait(0.005)  # leaves the machine to the others
        except nbd.Error as error:
            self.failed = error

    def end(self):
        self._ending.set()
        self._thread.join()


class ManyPairs(TidemarkTest):
    def address(self, node):
        return f"unix:{node.folder}/replication.sock"

    def caught_up(self, node, group):
        def is_so():
            status = node.cli("pair", "status", group)
            return (status["state"], status["link_up"], status["lag_entries"]) == ("PAIR", True, 0)

        wait_until(is_so, f"{group}: the secondary has everything", 60)

    def test_the_trouble_of_one_pair_is_its_own(self):
        tokyo, osaka, nara = self.node("tokyo"), self.node("osaka"), self.node("nara")
        pairs = {"east": (tokyo, osaka), "west": (osaka, tokyo), "north": (tokyo, nara), "south": (nara, osaka)}
        for group, (primary, secondary) in pairs.items():
            primary.create(group, "db", size="32M", options=("--journal-size", "64M"))
            primary.cli("pair", "create", group, "--peer", self.address(secondary))
        for group, (primary, _) in pairs.items():
            self.wait_for_state(primary, "PAIR", group)
        rows = {row[0] for row in tokyo.cli("table", "pair")["rows"]}
        self.assertEqual(rows, {"east", "west", "north"})
        writers = {group: Writer(primary, group, seed)
                   for seed, (group, (primary, _)) in enumerate(pairs.items()) if group != "south"}
        try:
            # nara is gone: "north" has no secondary any more until its journal has to give way.
            nara.kill()
            wait_until(lambda: tokyo.cli("pair", "status", "north")["state"] == "PSUE", "north's journal filled up", 120)
            for group in ("east", "west"):
                status = pairs[group][0].cli("pair", "status", group)
                self.assertEqual((status["state"], status["link_up"]), ("PAIR", True), group)
            before = {group: writers[group].flushes for group in ("east", "west")}
            # A suspended pair beside them, and one that is verified.
            osaka.cli("pair", "suspend", "west")
            self.assertEqual(tokyo.cli("pair", "verify", "east")["state"], "same")
            osaka.cli("pair", "resync", "west")
            wait_until(lambda: all(writers[group].flushes > count + 20 for group, count in before.items()),
                       "the others go on")
        finally:
            for writer in writers.values():
                writer.end()
        for group, writer in writers.items():
            self.assertIsNone(writer.failed, group)
            self.assertLess(writer.longest_seconds, 5, f"{group}: a flush waited for another pair")
        for group in ("east", "west"):
            primary, secondary = pairs[group]
            self.caught_up(primary, group)
            self.assertHolds(secondary, f"{group}/db", writers[group].model.snapshot())
        nara.start()
        self.wait_for_state(nara, "PAIR", "south")
        tokyo.cli("pair", "resync", "north", "--give-up-window")
        self.wait_for_state(tokyo, "PAIR", "north")
        self.caught_up(tokyo, "north")
        self.assertHolds(nara, "north/db", writers["north"].model.snapshot())


if __name__ == "__main__":
    main()

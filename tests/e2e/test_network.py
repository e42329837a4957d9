#!/usr/bin/python3
"""Two nodes on two machines' networks: TLS over a real link that is cut, swallows packets one way, slows down and comes back."""

import os
import shutil
import subprocess
import time
import unittest

from tidemark_testing import MIB, PROGRAMS, Connection, Model, TidemarkTest, main, run, wait_until
from tls_testing import Authority

SIZE = 64 * MIB
TOKYO, OSAKA = "10.99.81.1", "10.99.81.2"
NOTICED_SECONDS_MAX = 15  # of a link that has fallen silent


def can_run():
    return os.geteuid() == 0 and all(shutil.which(tool) for tool in ("ip", "tc", "nsenter"))


class Network:
    """Two network namespaces with a veth pair between them."""

    def __init__(self):
        self.names = [f"tm{os.getpid()}a", f"tm{os.getpid()}b"]
        self.ends = ["veth-tokyo", "veth-osaka"]
        self.slow = None  # the node whose end is
        for name in self.names:
            run("ip", "netns", "add", name)
        a, b = self.names
        run("ip", "link", "add", self.ends[0], "netns", a, "type", "veth", "peer", "name", self.ends[1], "netns", b)
        for name, end, address in zip(self.names, self.ends, (TOKYO, OSAKA)):
            run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", end)
            run("ip", "-n", name, "link", "set", "lo", "up")
            run("ip", "-n", name, "link", "set", end, "up")

    def inside(self, node):
        return ("nsenter", f"--net=/run/netns/{self.names[node]}")

    def cut(self):
        """Both see that the cable is out."""
        run("ip", "-n", self.names[0], "link", "set", self.ends[0], "down")

    def swallow_from(self, node):
        """What this node sends is lost in silence; what is sent to it arrives."""
        run("ip", "-n", self.names[node], "route", "add", "blackhole", (OSAKA, TOKYO)[node] + "/32")

    def slow_down(self, node, rate):
        """What this node sends."""
        run("tc", "-n", self.names[node], "qdisc", "add", "dev", self.ends[node], "root", "tbf", "rate", rate,
            "burst", "16kb", "latency", "200ms")
        self.slow = node

    def heal(self):
        if self.slow is not None:
            run("tc", "-n", self.names[self.slow], "qdisc", "del", "dev", self.ends[self.slow], "root")
            self.slow = None
        for name, other in zip(self.names, (OSAKA, TOKYO)):
            subprocess.run(["ip", "-n", name, "route", "del", "blackhole", f"{other}/32"], stderr=subprocess.DEVNULL,
                           check=False)
        run("ip", "-n", self.names[0], "link", "set", self.ends[0], "up")

    def remove(self):
        for name in self.names:
            run("ip", "netns", "del", name)


@unittest.skipUnless(can_run(), "network namespaces take root and iproute2")
class TwoNetworks(TidemarkTest):
    def setUp(self):
        super().setUp()
        self.network = Network()
        self.addCleanup(self.network.remove)  # after the nodes have ended
        ca = Authority(self.path("ca"))
        self.tokyo, self.osaka = self.node("tokyo", start=False), self.node("osaka", start=False)
        for number, (node, address) in enumerate(((self.tokyo, TOKYO), (self.osaka, OSAKA))):
            node.prefix = self.network.inside(number)
            node.options = ("--replication", f"tcp:{address}:7083", *ca.options(ca.issue(node.name)))
            node.start()
        self.tokyo.create("app", "db", size="64M")
        self.tokyo.cli("pair", "create", "app", "--peer", f"tcp:{OSAKA}:7083")
        self.wait_for_state(self.tokyo, "PAIR")
        self.model = Model(SIZE, 41)

    def work(self, name, writes=60):
        """Writes, a flush that answers however the link is, a mark; what the volume holds at it."""
        with Connection(self.tokyo, "app/db") as handle:
            self.model.scribble(handle, writes)
            began = time.monotonic()
            handle.flush()
            self.assertLess(time.monotonic() - began, 5, f"{name}: a flush waited for the link")
        self.tokyo.mark("app", name)
        return self.model.snapshot()

    def caught_up(self):
        def is_so():
            status = self.tokyo.cli("pair", "status", "app")
            return (status["state"], status["link_up"], status["lag_entries"]) == ("PAIR", True, 0)

        wait_until(is_so, "osaka has everything", 60)

    def test_every_mark_is_there_after_each_trouble(self):
        points = {"at-first": self.work("at-first")}
        self.caught_up()
        troubles = (("cut", self.network.cut, True),
                    ("tokyo-unheard", lambda: self.network.swallow_from(0), True),
                    ("osaka-unheard", lambda: self.network.swallow_from(1), True),
                    ("slow", lambda: self.network.slow_down(0, "4mbit"), False))
        for name, begin, is_noticed in troubles:
            begin()
            points[name] = self.work(name)
            if is_noticed:
                wait_until(lambda: not self.tokyo.cli("pair", "status", "app")["link_up"], f"{name}: tokyo sees the link down",
                           NOTICED_SECONDS_MAX)
                self.assertGreater(self.tokyo.cli("pair", "status", "app")["lag_entries"], 0)
                self.assertEqual(self.tokyo.cli("pair", "status", "app")["state"], "PAIR", "a lost link is not a state")
            points[name + "-later"] = self.work(name + "-later", writes=20)
            self.network.heal()
            self.caught_up()
        for name, expected in points.items():
            self.assertHolds(self.osaka, f"app/db@{name}", expected)
        self.assertHolds(self.osaka, "app/db", self.model.snapshot())
        self.assertEqual(self.osaka.cli("pair", "verify", "app")["state"], "same")

    def test_a_takeover_while_the_machines_do_not_hear_each_other(self):
        before = self.work("before")
        self.caught_up()
        self.network.cut()
        self.wait_for_link(self.osaka, False)
        tail = self.work("only-tokyo", writes=10)
        took = self.osaka.cli("pair", "takeover", "app")
        self.assertTrue(took["may_be_behind"])
        self.assertHolds(self.osaka, "app/db", before)
        self.osaka.write("app/db", 0, b"osaka goes on")
        self.network.heal()
        # Both see it; nothing is given up; the old primary takes no more writes.
        wait_until(lambda: self.tokyo.cli("pair", "status", "app")["state"] == "SSWS", "tokyo hears of it", 30)
        self.osaka.cli("pair", "resync", "app", "--swap")
        wait_until(lambda: self.tokyo.cli("pair", "status", "app")["role"] == "secondary", "tokyo follows", 30)
        self.osaka.mark("app", "after", "--wait", "peer")
        self.assertHolds(self.tokyo, "app/db@after", b"osaka goes on" + before[13:])
        self.assertHolds(self.tokyo, "app/db@only-tokyo", tail)

    def test_a_synchronous_pair_goes_on_without_an_unheard_peer_and_comes_back_in_sync(self):
        self.tokyo.cli("pair", "set", "app", "--mode", "sync", "--peer-loss-after", "2s")

        def in_sync():
            return all(node.cli("pair", "status", "app").get("in_sync") for node in (self.tokyo, self.osaka))

        wait_until(in_sync, "the pair is in sync")
        self.network.swallow_from(1)  # osaka hears everything, and nobody hears osaka
        with Connection(self.tokyo, "app/db") as handle:
            self.model.scribble(handle, 10)
            began = time.monotonic()
            handle.flush()
            waited = time.monotonic() - began
            self.assertGreater(waited, 0.5, "a flush waits for the peer")
            self.assertLess(waited, NOTICED_SECONDS_MAX)
            self.model.scribble(handle, 10)
            began = time.monotonic()
            handle.flush()
            self.assertLess(time.monotonic() - began, 1.5, "and then goes on without it")
        problems = " ".join(problem["text"] for problem in self.tokyo.cli("status")["problems"])
        self.assertIn("goes on as asynchronous", problems)
        self.network.heal()
        wait_until(in_sync, "the pair is in sync again, by itself", 60)
        self.assertHolds(self.osaka, "app/db", self.model.snapshot())

    def test_a_restore_from_the_peer_that_is_cut_off_leaves_what_was_there(self):
        good = self.work("good", writes=200)
        with Connection(self.tokyo, "app/db") as handle:
            for place in range(0, 16 * MIB, 4 * MIB):
                self.model.bytes[place:place + 4 * MIB] = os.urandom(4 * MIB)
                handle.pwrite(bytes(self.model.bytes[place:place + 4 * MIB]), place)
            handle.flush()
        bad = self.model.snapshot()
        self.caught_up()
        self.network.slow_down(1, "16mbit")
        restoring = subprocess.Popen(
            [f"{PROGRAMS}/tidemark", "--node", self.tokyo.folder, "restore", "app", "--to", "good", "--from", "peer"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        time.sleep(2)
        self.assertIsNone(restoring.poll(), "16 MiB take eight seconds")
        self.network.cut()
        began = time.monotonic()
        said, _ = restoring.communicate(timeout=120)
        self.assertLess(time.monotonic() - began, NOTICED_SECONDS_MAX)
        self.assertNotEqual(restoring.returncode, 0, said)
        self.assertHolds(self.tokyo, "app/db", bad)
        self.network.heal()
        self.caught_up()
        self.assertTrue(self.tokyo.cli("restore", "app", "--to", "good", "--from", "peer")["from_peer"])
        self.assertHolds(self.tokyo, "app/db", good)
        self.caught_up()
        self.assertHolds(self.osaka, "app/db", good)


if __name__ == "__main__":
    main()

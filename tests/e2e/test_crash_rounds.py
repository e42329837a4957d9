#!/usr/bin/python3
"""Again and again a node of a pair, or both, is killed in the middle of the work. What was flushed is there again, what
is there is an exact prefix of the order, every mark reads as before, and the two nodes agree once they have met."""

import random
import struct
import subprocess
import threading

import nbd

from tidemark_testing import BLOCK, CommandFailed, Connection, TidemarkTest, first_difference, main, wait_until

ROUNDS = 20
SMALL_JOURNAL_ROUNDS = 8
BLOCKS = 256
RESTORE_EVERY = 4  # rounds
MARKS_COMPARED = 12  # after a round, of all that were made


class Writer:
    """Numbered writes to `app/db`, one after the other, until told to stop or the connection breaks."""

    def __init__(self, node, number, salt):
        self.acknowledged = self.flushed = number  # of those, the last
        self.sent = number  # may or may not be there
        self._node, self._salt = node, salt
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @staticmethod
    def block_of(number, salt):
        """Where write `number` goes. Any 256 numbers in a row go to 256 blocks."""
        return (number * 2654435761 + salt) % BLOCKS

    def end(self):
        self._ending.set()
        self._thread.join()

    def _run(self):
        try:
            with Connection(self._node, "app/db") as handle:
                while not self._ending.is_set():
                    number = self.sent + 1
                    self.sent = number
                    handle.pwrite(struct.pack("<Q", number) * (BLOCK // 8), self.block_of(number, self._salt) * BLOCK)
                    self.acknowledged = number
                    if number % 37 == 0:
                        handle.flush()
                        self.flushed = number
        except nbd.Error:
            pass  # the node was killed


class Order:
    """What the volume may hold: the numbers it began with (a restore gives it others), then the writes in order."""

    def __init__(self, salt):
        self.salt = salt
        self.begin = [0] * BLOCKS
        self.first = 1

    def restored(self, numbers, next_number):
        self.begin, self.first = numbers, next_number

    def expected(self, last):
        numbers = list(self.begin)
        for number in range(max(self.first, last - BLOCKS + 1), last + 1):
            numbers[Writer.block_of(number, self.salt)] = number
        return numbers


def numbers_in(content):
    """The number in every block; a block that holds two of them is torn."""
    numbers = []
    for begin in range(0, len(content), BLOCK):
        block = content[begin:begin + BLOCK]
        if block != block[:8] * (BLOCK // 8):
            raise AssertionError(f"block {begin // BLOCK} is torn: {block[:16].hex()}...{block[-16:].hex()}")
        numbers.append(struct.unpack_from("<Q", block)[0])
    return numbers


class CrashRounds(TidemarkTest):
    def fio(self, node):
        # --thread: one process, so that its end is the end of its writes.
        return subprocess.Popen(
            ["fio", "--name=load", "--ioengine=nbd", f"--uri={node.uri('app/load')}", "--rw=randwrite", "--bs=4k-64k",
             "--iodepth=8", "--fsync=32", "--time_based", "--runtime=60", "--size=8M", "--thread"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.folder)

    def check_prefix(self, content, order, at_least, at_most):
        """The number of the last write that is there, between the two; all before it are there, and none after."""
        numbers = numbers_in(content)
        last = max(max(numbers), order.first - 1)
        self.assertGreaterEqual(last, at_least, "a write is lost that must be there")
        self.assertLessEqual(last, at_most, "a write is there that was made later")
        self.assertEqual(numbers, order.expected(last), "not a prefix of the order")
        return last

    def make_marks(self, node, turn, writer, ended):
        """Marks while the writer runs: [(id, acknowledged before it was asked for, sent before its reply)]."""
        made = []
        while not ended.wait(0.05):
            before = writer.acknowledged
            mark = f"r{turn}-{len(made)}"
            try:
                node.mark("app", mark, *(("--wait", "peer") if len(made) % 3 == 2 else ()))
            except CommandFailed:
                break  # killed; whether the mark is there nobody was told
            made.append((mark, before, writer.sent))
        return made

    def work_until_killed(self, turn, nodes, victims, seconds, last, salt):
        """A round of load that ends with the kill: (writer, marks)."""
        tokyo = nodes[0]
        load = self.fio(tokyo)
        writer = Writer(tokyo, last, salt)
        ended = threading.Event()
        made = []
        marker = threading.Thread(target=lambda: made.extend(self.make_marks(tokyo, turn, writer, ended)))
        marker.start()
        ended.wait(seconds)
        for node in victims:
            node.kill()
        ended.set()
        writer.end()
        load.kill()
        load.wait(60)
        for node in victims:
            node.start()
        marker.join()
        return writer, made

    def meet(self, tokyo):
        """The two nodes are a pair again, also when the journal was too small for what osaka missed."""
        wait_until(lambda: tokyo.cli("pair", "status", "app")["state"] != "PAIR"
                   or tokyo.cli("pair", "status", "app")["link_up"], "tokyo hears osaka or gives it up")
        status = tokyo.cli("pair", "status", "app")
        if status["state"] == "PSUE":
            self.assertIn("the journal filled up while the peer was away", status["state_reason"])
            self.copied_anew += 1
            tokyo.cli("pair", "resync", "app", "--give-up-window")
            self.wait_for_state(tokyo, "PAIR")
        self.wait_for_link(tokyo, True)

    def assertSame(self, what, expected, found):
        difference = first_difference(expected, found)
        if difference:
            self.fail(f"{what}: {difference}")

    @staticmethod
    def restorable(kept, node):
        """Those of the marks that the node says it can go back to."""
        listed = node.cli("mark", "list", "app")["marks"]
        return sorted(mark["id"] for mark in listed if mark["restorable"] and mark["id"] in kept)

    def run_rounds(self, rounds, options=(), seconds_max=0.6):
        self.copied_anew = 0
        seed = random.randrange(1 << 32)
        print(f"seed {seed}")
        dice = random.Random(seed)
        salt = dice.randrange(BLOCKS)
        tokyo, osaka = self.node("tokyo"), self.node("osaka")
        tokyo.create("app", "db", size="1M", options=options)
        tokyo.cli("volume", "create", "app/load", "--size", "8M")
        tokyo.cli("pair", "create", "app", "--peer", f"unix:{osaka.folder}/replication.sock")
        self.wait_for_state(tokyo, "PAIR")
        order = Order(salt)
        kept = {}  # mark: (content of db, content of load or None)
        last = 0
        for turn in range(rounds):
            victims = dice.choice([(tokyo,), (osaka,), (tokyo, osaka)])
            what = f"round {turn}, {' and '.join(node.name for node in victims)} killed"
            writer, made = self.work_until_killed(turn, (tokyo, osaka), victims, dice.uniform(0.1, seconds_max), last, salt)
            with self.subTest(what):
                content = tokyo.read("app/db")
                at_least = writer.flushed if tokyo in victims else writer.acknowledged
                last = self.check_prefix(content, order, max([at_least] + [before for _, before, _ in made]), writer.sent)
                # What osaka holds before it hears of the rest is a prefix too; its marks are those of the order.
                self.meet(tokyo)
                together = f"r{turn}-end"
                tokyo.mark("app", together, "--wait", "peer")
                for volume in ("db", "load"):
                    there = osaka.read(f"app/{volume}@{together}")
                    self.assertSame(f"app/{volume} at {together} on osaka", tokyo.read(f"app/{volume}@{together}"), there)
                    self.assertSame(f"the head of app/{volume} on osaka", tokyo.read(f"app/{volume}"), there)
                still = self.restorable([mark for mark, _, _ in made], tokyo)
                for mark, before, sent in made:
                    if mark not in still:
                        continue  # expired already, as it may in a small journal
                    kept[mark] = tokyo.read(f"app/db@{mark}")
                    self.check_prefix(kept[mark], order, before, sent)
                kept[together] = content
                self.check_marks(kept, dice, tokyo, osaka)
                if turn % RESTORE_EVERY == RESTORE_EVERY - 1:
                    mark = dice.choice([mark for mark in self.restorable(kept, osaka)
                                        if mark in self.restorable(kept, tokyo)])
                    tokyo.cli("restore", "app", "--to", mark)
                    self.assertHolds(tokyo, "app/db", kept[mark])
                    order.restored(numbers_in(kept[mark]), last + 1)
        self.check_marks(kept, dice, tokyo, osaka, compared=len(kept))
        self.assertGreater(last, rounds)
        self.assertGreater(len(kept), rounds)
        for node in (tokyo, osaka):
            # A journal that is too small for its retention says so; nothing else is wrong.
            problems = [problem["text"] for problem in node.cli("status")["problems"]]
            self.assertEqual([text for text in problems if not text.startswith("history within the retention")], [])
        return tokyo, kept

    def check_marks(self, kept, dice, *nodes, compared=MARKS_COMPARED):
        for node in nodes:
            marks = self.restorable(kept, node)
            for mark in dice.sample(marks, min(compared, len(marks))):
                try:
                    found = node.read(f"app/db@{mark}")
                except nbd.Error:
                    # A small journal may have let it go since it was listed, and then says so.
                    self.assertEqual(self.restorable([mark], node), [], f"{mark} on {node.name} cannot be read")
                    continue
                self.assertSame(f"app/db@{mark} on {node.name}", kept[mark], found)

    def test_killed_under_load_and_back_with_an_exact_prefix(self):
        # Its journal keeps every mark to the end.
        tokyo, kept = self.run_rounds(ROUNDS, ("--journal-size", "2G"))
        self.assertEqual(self.copied_anew, 0, "the journal holds all that osaka may miss")
        self.assertEqual(self.restorable(kept, tokyo), sorted(kept))

    def test_killed_while_a_small_journal_destages_and_recycles(self):
        tokyo, kept = self.run_rounds(SMALL_JOURNAL_ROUNDS, ("--journal-size", "32M"), seconds_max=1.5)
        self.assertLess(len(self.restorable(kept, tokyo)), len(kept), "the journal was never recycled")


if __name__ == "__main__":
    main()

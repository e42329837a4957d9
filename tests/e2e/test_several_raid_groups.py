#!/usr/bin/python3
"""A node with several RAID groups: what lies where it was told to, what the loss of one costs, and what it does not."""

import os
import shutil
import subprocess
import time

from tidemark_testing import MIB, PROGRAMS, Connection, Model, TidemarkTest, main, wait_until

SIZE = 32 * MIB
JOURNAL = ("--journal-size", "64M")


class SeveralRaidGroups(TidemarkTest):
    def disk(self, name):
        return os.path.join(self.folder, f"{name}.img")

    def new_node(self):
        """With its own disk and two RAID groups beside it."""
        tokyo = self.node("tokyo", start=False)
        tokyo.options = ("--disk-size", "256M", "--cache-size", "16M")
        tokyo.start()
        self.make_raid(tokyo, "backup", "1", "b0", "b1")
        self.make_raid(tokyo, "fast", "0", "f0")
        return tokyo

    def make_raid(self, node, name, level, *disks):
        return node.cli("raid", "create", name, "--level", level,
                        *(word for disk in disks for word in ("--disk", self.disk(disk))))

    def raids(self, node):
        return {raid["name"]: raid["health"] for raid in node.cli("raid", "list")["raids"]}

    def scribble(self, node, export, model, count=60):
        with Connection(node, export) as handle:
            model.scribble(handle, count)
            handle.flush()

    def problems(self, node):
        return [problem["text"] for problem in node.cli("status")["problems"]]

    def hide(self, name):
        os.rename(self.disk(name), self.disk(name) + ".away")

    def bring_back(self, name):
        os.rename(self.disk(name) + ".away", self.disk(name))

    def wipe_first_mib(self, name):
        with open(self.disk(name), "r+b") as file:
            file.write(bytes(MIB))

    def test_volumes_and_journals_lie_where_they_are_told_to(self):
        tokyo = self.new_node()
        self.assertEqual(self.raids(tokyo), {"disk": "optimal", "backup": "optimal", "fast": "optimal"})
        tokyo.create("app", options=(*JOURNAL, "--log-raid", "fast"))
        tokyo.cli("volume", "create", "app/db", "--size", "32M")
        tokyo.cli("volume", "create", "app/other", "--size", "32M", "--raid", "backup")
        tokyo.create("app2", "db", size="32M", options=(*JOURNAL, "--raid", "backup"))
        models = {"app/db": Model(SIZE, 1), "app/other": Model(SIZE, 2), "app2/db": Model(SIZE, 3)}
        for name, model in models.items():
            self.scribble(tokyo, name, model)
        tokyo.kill()
        tokyo.start()
        for name, model in models.items():
            self.assertHolds(tokyo, name, model.snapshot())
        for name, raid in (("app/db", "disk"), ("app/other", "backup"), ("app2/db", "backup")):
            self.assertEqual(tokyo.cli("volume", "show", name)["raid"], raid)
        journals = {group: tokyo.cli("journal", "status", group)["log_volumes"][0]["raid"] for group in ("app", "app2")}
        self.assertEqual(journals, {"app": "fast", "app2": "backup"})
        # Numbers of logical units tell the pool; the tables, which disks.
        rows = tokyo.cli("table", "raid_address")["rows"]
        columns = tokyo.cli("table", "raid_address")["columns"]
        places = {(row[columns.index("lu_number")] // 100_000_000, row[columns.index("raid_group")]) for row in rows}
        self.assertLessEqual({(1, "backup"), (2, "fast")}, places)
        self.assertTrue(tokyo.cli("table", "check")["good"])
        # Written until it is destaged, a block lies on the disks of its RAID group, byte for byte.
        mark = bytes(range(256)) * 16
        with Connection(tokyo, "app/other") as handle:
            handle.pwrite(mark, 8192)
            for lap in range(100):
                handle.pwrite(bytes([lap]) * MIB, 16 * MIB)
            handle.flush()
        address = wait_until(lambda: (at := tokyo.cli("volume", "address", "app/other", "8192"))["allocated"] and at,
                             "the block is destaged")
        self.assertEqual({place["disk"] for place in address["places"]}, {self.disk("b0"), self.disk("b1")})
        used = {raid["name"]: raid["used_bytes"] for raid in tokyo.cli("raid", "list")["raids"]}
        tokyo.stop()
        for place in address["places"]:
            with open(place["disk"], "rb") as file:
                file.seek(place["address_bytes"])
                self.assertEqual(file.read(len(mark)), mark)
        tokyo.start()
        # Space goes back to where it was taken.
        tokyo.cli("group", "delete", "app2", "--force")
        after = {raid["name"]: raid["used_bytes"] for raid in tokyo.cli("raid", "list")["raids"]}
        self.assertLess(after["backup"], used["backup"])
        self.assertEqual(after["fast"], used["fast"])

    def test_a_raid_group_that_is_missing_costs_what_lies_on_it_and_nothing_else(self):
        tokyo = self.new_node()
        tokyo.create("app", "db", size="32M", options=JOURNAL)
        tokyo.create("split", options=(*JOURNAL, "--log-raid", "backup"))
        tokyo.cli("volume", "create", "split/db", "--size", "32M", "--raid", "fast")
        tokyo.create("gone", "db", size="32M", options=(*JOURNAL, "--raid", "fast"))
        models = {name: Model(SIZE, seed) for seed, name in enumerate(("app/db", "split/db", "gone/db"))}
        for name, model in models.items():
            self.scribble(tokyo, name, model)
        tokyo.stop()
        self.hide("f0")
        for _ in range(2):  # that it was missing before changes nothing
            tokyo.start()
            self.assertEqual(self.raids(tokyo)["fast"], "missing")
            self.assertHolds(tokyo, "app/db", models["app/db"].snapshot())
            self.assertEqual([group["group"] for group in tokyo.cli("group", "list")["groups"]], ["app"])
            problems = "\n".join(self.problems(tokyo))
            self.assertIn("RAID group fast is not here: none of its disks was found", problems)
            self.assertIn("cannot be opened: RAID group fast is not here", problems)
            for problem in tokyo.cli("status")["problems"]:
                if "cannot be opened" in problem["text"]:
                    self.assertRegex(problem["action"], "restart the node .*tidemark group delete [0-9a-f]{32} --force")
            self.assertRefused(tokyo.refused("group", "create", "new", "--raid", "fast"), "io", "fast is not here")
            self.assertRefused(tokyo.refused("raid", "create", "fast", "--level", "0", "--disk", self.disk("f9")),
                               "exists", "'fast' already")
            self.assertRegex(tokyo.say("raid", "list")[1], "fast +- +missing")
            tokyo.kill()
        # What is made meanwhile gets numbers of its own, and the name of a group that is not seen.
        tokyo.start()
        self.make_raid(tokyo, "third", "0", "t0")
        tokyo.create("gone", "db", size="32M", options=(*JOURNAL, "--raid", "third"))
        third = Model(SIZE, 9)
        self.scribble(tokyo, "gone/db", third)
        tokyo.kill()
        self.bring_back("f0")
        tokyo.start()
        self.assertEqual(set(self.raids(tokyo).values()), {"optimal"})
        for name in ("app/db", "split/db"):
            self.assertHolds(tokyo, name, models[name].snapshot())
        self.assertIn("its name is 'gone', and so is that of the group that is served", "\n".join(self.problems(tokyo)))
        # The other one is kept, and served when the name is free.
        self.assertHolds(tokyo, "gone/db", models["gone/db"].snapshot())
        tokyo.cli("group", "delete", "gone", "--force")
        tokyo.stop()
        tokyo.start()
        self.assertHolds(tokyo, "gone/db", third.snapshot())

    def test_without_a_list_nothing_is_taken_for_lost(self):
        # What a start finds is all that it knows of, and it may be a part.
        tokyo = self.new_node()
        tokyo.create("app", "db", size="32M", options=(*JOURNAL, "--log-raid", "backup"))
        self.make_raid(tokyo, "wide", "0", "w0", "w1")
        tokyo.create("other", options=JOURNAL)
        tokyo.cli("volume", "create", "other/db", "--size", "32M", "--raid", "wide")
        models = {name: Model(SIZE, seed) for seed, name in enumerate(("app/db", "other/db"))}
        for name, model in models.items():
            self.scribble(tokyo, name, model)
            with Connection(tokyo, name) as handle:  # until it is destaged
                for lap in range(100):
                    handle.pwrite(bytes([lap]) * MIB, 16 * MIB)
                handle.flush()
            model.bytes[16 * MIB:17 * MIB] = bytes([99]) * MIB
            wait_until(lambda name=name: tokyo.cli("volume", "show", name)["allocated_bytes"] > 0, "it is destaged")
        tokyo.kill()
        shutil.move(os.path.join(tokyo.folder, "disk"), self.disk("own"))
        shutil.rmtree(tokyo.folder)
        some = [word for disk in ("own", "w0", "f0") for word in ("--disk", self.disk(disk))]
        for options in (("--recover", *some), tuple(some)):
            tokyo.start(*options)
            problems = "\n".join(self.problems(tokyo))
            self.assertIn("1 volume of group", problems)
            self.assertIn("journal is on none of the disks", problems)
            self.assertIn("RAID group wide is not here", problems)
            self.assertIn(f"disk {self.disk('w0')} is not used: its RAID group is not here", problems)
            self.assertEqual(tokyo.cli("group", "list")["groups"], [])
            self.assertRefused(tokyo.refused("raid", "create", "new", "--level", "0", "--disk", self.disk("n0")),
                               "refused", "only its disks know its number")
            tokyo.stop()
        rest = [word for disk in ("b0", "b1", "w1") for word in ("--disk", self.disk(disk))]
        tokyo.start(*some, *rest)
        self.assertNotRegex("\n".join(self.problems(tokyo)), "RAID|disk")
        for name, model in models.items():
            self.assertHolds(tokyo, name, model.snapshot())
        tokyo.stop()
        # Nor when a RAID group was left out of the list, as by a folder from an old backup.
        with open(os.path.join(tokyo.folder, "raid-groups"), "r+", encoding="utf-8") as file:
            lines = [line for line in file if "wide" not in line]
            file.seek(0)
            file.truncate()
            file.writelines(lines)
        self.hide("w1")
        for _ in range(2):
            tokyo.start(*some, *rest)
            self.assertIn("RAID group wide is not here", "\n".join(self.problems(tokyo)))
            tokyo.stop()
        self.bring_back("w1")
        tokyo.start(*some, *rest)
        self.assertHolds(tokyo, "other/db", models["other/db"].snapshot())

    def test_a_raid_group_that_is_lost_for_good_is_forgotten(self):
        tokyo = self.new_node()
        tokyo.create("app", "db", size="32M", options=JOURNAL)
        tokyo.create("split", "own", size="32M", options=(*JOURNAL, "--log-raid", "fast"))
        tokyo.create("half", "db", size="32M", options=(*JOURNAL, "--raid", "fast", "--log-raid", "disk"))
        model = Model(SIZE, 8)
        self.scribble(tokyo, "app/db", model)
        half = Model(SIZE, 9)
        self.scribble(tokyo, "half/db", half)
        self.assertRefused(tokyo.refused("raid", "forget", "fast"), "refused", "is here")
        tokyo.stop()
        self.hide("f0")
        tokyo.start()
        # While something may lie there, nothing is made or deleted that it could be mistaken for.
        copy = ("pair", "create", "app", "--peer", "self", "--peer-group", "copy", "--raid", "backup")
        self.assertRefused(tokyo.refused(*copy), "io", "RAID group fast is not here")
        self.assertRefused(tokyo.refused("group", "delete", "app", "--force"), "io", "RAID group fast is not here")
        tokyo.cli("volume", "create", "app/more", "--size", "32M")
        self.assertIn("tidemark raid forget fast", "\n".join(self.problems(tokyo)))
        tokyo.cli("raid", "forget", "fast")
        self.assertEqual(set(self.raids(tokyo)), {"disk", "backup"})
        self.assertRefused(tokyo.refused("raid", "forget", "fast"), "not-found", "misses no RAID group")
        self.make_raid(tokyo, "new", "0", "n0")
        self.assertRefused(tokyo.refused("raid", "create", "fast", "--level", "0", "--disk", self.disk("n1")), "exists",
                           "was called 'fast'")
        tokyo.cli(*copy)
        tokyo.stop()
        tokyo.start()
        self.assertEqual(set(self.raids(tokyo)), {"disk", "backup", "new"})
        # Of this one all is in its journal still.
        self.assertHolds(tokyo, "half/db", half.snapshot())
        tokyo.cli("volume", "create", "half/more", "--size", "32M")
        # What is left of the other is told, and goes when somebody says so.
        self.assertIn("journal is on none of the disks", "\n".join(self.problems(tokyo)))
        for problem in tokyo.cli("status")["problems"]:
            identity = next(word for word in problem["text"].split() if len(word) == 32)
            self.assertRefused(tokyo.refused("group", "delete", identity), "refused", "--force")
            tokyo.cli("group", "delete", identity, "--force")
        self.assertEqual(self.problems(tokyo), [])
        self.assertHolds(tokyo, "app/db", model.snapshot())
        tokyo.stop()
        # Nor does it come back by itself, with what was of another time.
        self.bring_back("f0")
        for _ in range(2):
            tokyo.start()
            self.assertEqual(set(self.raids(tokyo)), {"disk", "backup", "new"})
            self.assertIn("what lies on it was forgotten", "\n".join(self.problems(tokyo)))
            self.assertHolds(tokyo, "half/db", half.snapshot())
            tokyo.stop()
        self.wipe_first_mib("f0")
        tokyo.start()
        self.make_raid(tokyo, "again", "0", "f0")
        self.assertEqual(self.problems(tokyo), [])

    def test_a_pool_that_cannot_be_opened_is_forgotten_for_good(self):
        tokyo = self.new_node()
        tokyo.stop()
        with open(self.disk("f0"), "r+b") as file:  # the label of its pool
            file.seek(MIB)
            file.write(bytes(MIB))
        for forget in (True, False):
            tokyo.start()
            if forget:
                self.assertEqual(self.raids(tokyo)["fast"], "missing")
                tokyo.cli("raid", "forget", "fast")
            self.assertEqual(set(self.raids(tokyo)), {"disk", "backup"})
            tokyo.stop()

    def test_what_a_cut_off_creation_left_is_in_nobodys_way(self):
        tokyo = self.new_node()
        self.make_raid(tokyo, "wide", "0", "w0", "w1")
        tokyo.stop()
        # As when one of the two disks had been labelled.
        listed = os.path.join(tokyo.folder, "raid-groups")
        with open(listed, encoding="utf-8") as file:
            lines = [line.replace(" wide", " wide creating") for line in file]
        with open(listed, "w", encoding="utf-8") as file:
            file.writelines(lines)
        self.wipe_first_mib("w1")
        tokyo.start()
        self.assertEqual(set(self.raids(tokyo)), {"disk", "backup", "fast"})
        self.assertIn(f"disk {self.disk('w0')} is not used: the `raid create` that it is of was cut off",
                      "\n".join(self.problems(tokyo)))
        self.make_raid(tokyo, "wide", "0", "n0", "n1")
        tokyo.create("app", "db", size="32M", options=(*JOURNAL, "--raid", "wide"))
        for _ in range(2):
            tokyo.stop()
            tokyo.start()
            self.assertEqual(set(self.raids(tokyo).values()), {"optimal"})
        self.assertEqual(tokyo.cli("volume", "show", "app/db")["raid"], "wide")
        tokyo.cli("group", "delete", "app", "--force")
        self.wipe_first_mib("w0")
        tokyo.stop()
        tokyo.start()
        self.make_raid(tokyo, "wider", "0", "w0", "w1")
        self.assertNotIn("cut off", "\n".join(self.problems(tokyo)))

    def test_a_secondary_takes_new_volumes_while_another_raid_group_is_missing(self):
        tokyo, osaka = self.node("tokyo"), self.node("osaka", start=False)
        osaka.options = ("--disk-size", "256M", "--cache-size", "16M")
        osaka.start()
        self.make_raid(osaka, "spare", "0", "s0")
        tokyo.create("app", "db", size="32M", options=JOURNAL)
        tokyo.cli("pair", "create", "app", "--peer", f"unix:{osaka.folder}/replication.sock")
        self.wait_for_state(tokyo, "PAIR")
        osaka.stop()
        self.hide("s0")
        osaka.start()
        tokyo.cli("volume", "create", "app/new", "--size", "32M")
        model = Model(SIZE, 3)
        self.scribble(tokyo, "app/new", model)
        for lap in range(2):  # past what its journal holds
            with Connection(tokyo, "app/new") as handle:
                for at in range(100):
                    handle.pwrite(bytes([lap + 1]) * MIB, 16 * MIB)
                handle.flush()
        model.bytes[16 * MIB:17 * MIB] = bytes([2]) * MIB
        tokyo.mark("app", "all", "--wait", "peer")
        self.assertHolds(osaka, "app/new@all", model.snapshot())
        osaka.kill()
        self.bring_back("s0")
        osaka.start()
        self.assertHolds(osaka, "app/new@all", model.snapshot())

    def test_a_creation_that_cannot_be_noted_labels_nothing(self):
        tokyo = self.new_node()
        in_the_way = os.path.join(tokyo.folder, "raid-groups.new")
        os.mkdir(in_the_way)
        refusal = tokyo.refused("raid", "create", "more", "--level", "0", "--disk", self.disk("m0"))
        self.assertRefused(refusal, "io", "raid-groups")
        with open(self.disk("m0"), "rb") as file:
            self.assertEqual(file.read(MIB).strip(b"\0"), b"")
        with open(os.path.join(tokyo.folder, "disks"), encoding="utf-8") as listed:
            self.assertNotIn("m0", listed.read())
        self.assertEqual(set(self.raids(tokyo)), {"disk", "backup", "fast"})
        os.rmdir(in_the_way)
        self.make_raid(tokyo, "more", "0", "m0")

    def test_a_refused_creation_forgets_no_disk_that_was_known(self):
        tokyo = self.new_node()
        tokyo.create("app", "db", size="32M", options=(*JOURNAL, "--raid", "fast"))
        tokyo.stop()
        self.hide("f0")
        tokyo.start()
        self.bring_back("f0")
        self.assertRefused(tokyo.refused("raid", "create", "more", "--level", "0", "--disk", self.disk("f0")), "exists",
                           self.disk("f0"))
        tokyo.stop()
        tokyo.start()
        self.assertEqual(self.raids(tokyo)["fast"], "optimal")
        # A disk of nobody is not taken for one that was left over.
        with open(self.disk("foreign"), "wb") as file:
            file.write(os.urandom(MIB))
            file.truncate(64 * MIB)
        tokyo.stop()
        self.hide("f0")
        tokyo.start()
        tokyo.cli("raid", "forget", "fast")
        tokyo.stop()
        self.bring_back("f0")
        tokyo.start("--disk", os.path.join(tokyo.folder, "disk"), "--disk", self.disk("foreign"))
        why = {disk["disk"]: disk["explanation"] for disk in tokyo.cli("disk", "list")["disks"]}
        self.assertIn("was forgotten", why[self.disk("f0")])
        self.assertTrue(why[self.disk("foreign")])
        self.assertNotIn("zero its first MiB", why[self.disk("foreign")])
        # A replacement that was made is answered again as one, whichever RAID group the old disk was of.
        for _ in range(2):
            tokyo.cli("disk", "replace", self.disk("b0"), self.disk("b2"))
        # What is not told where to lie goes to the first one, or nowhere.
        tokyo.stop()
        os.rename(os.path.join(tokyo.folder, "disk"), self.disk("own"))
        tokyo.start()
        self.assertRefused(tokyo.refused("group", "create", "new", *JOURNAL), "io", "the first of this node",
                           "name another")

    def test_a_copy_within_the_node_outlives_the_disks_of_the_original(self):
        tokyo = self.new_node()
        tokyo.create("app", "db", size="32M", options=JOURNAL)
        model = Model(SIZE, 4)
        self.scribble(tokyo, "app/db", model)
        refusal = tokyo.refused("pair", "create", "app", "--peer", "self", "--peer-group", "copy", "--raid", "nowhere")
        self.assertRefused(refusal, "not-found", "no RAID group 'nowhere'", "backup")
        tokyo.cli("pair", "create", "app", "--peer", "self", "--peer-group", "copy", "--raid", "backup")
        self.wait_for_state(tokyo, "PAIR")
        tokyo.mark("app", "good", "--wait", "peer")
        good = model.snapshot()
        self.scribble(tokyo, "app/db", model)
        tokyo.mark("app", "bad", "--wait", "peer")
        self.assertEqual(tokyo.cli("volume", "show", "copy/db")["raid"], "backup")
        self.assertEqual(tokyo.cli("journal", "status", "copy")["log_volumes"][0]["raid"], "backup")
        tokyo.kill()
        # The disk of the original is gone for good, and a member of the other RAID group with it.
        os.unlink(os.path.join(tokyo.folder, "disk"))
        self.hide("b1")
        tokyo.start()
        self.assertIn("RAID group disk is not here", "\n".join(self.problems(tokyo)))
        self.assertHolds(tokyo, "copy/db@good", good)
        tokyo.cli("pair", "takeover", "copy")
        self.assertHolds(tokyo, "copy/db", model.snapshot())
        tokyo.cli("restore", "copy", "--to", "good")
        self.assertHolds(tokyo, "copy/db", good)
        tokyo.write("copy/db", 0, b"mine")
        tokyo.stop()
        tokyo.start()
        self.assertHolds(tokyo, "copy/db", b"mine" + good[4:])

    def test_all_is_there_again_when_the_folder_is_lost(self):
        tokyo = self.new_node()
        tokyo.create("app", options=(*JOURNAL, "--log-raid", "backup"))
        tokyo.cli("volume", "create", "app/db", "--size", "32M", "--raid", "fast")
        tokyo.cli("volume", "create", "app/own", "--size", "32M")
        models = {"app/db": Model(SIZE, 5), "app/own": Model(SIZE, 6)}
        for name, model in models.items():
            self.scribble(tokyo, name, model)
        tokyo.kill()
        shutil.move(os.path.join(tokyo.folder, "disk"), self.disk("own"))
        shutil.rmtree(tokyo.folder)
        named = [word for disk in ("f0", "own", "b1", "b0") for word in ("--disk", self.disk(disk))]
        tokyo.start("--recover", *named)
        for name, model in models.items():
            self.assertHolds(tokyo, name, model.snapshot())
        with open(os.path.join(tokyo.folder, "raid-groups"), encoding="utf-8") as listed:
            self.assertEqual([(line.split()[0], line.split()[2]) for line in listed],
                             [("0", "disk"), ("1", "backup"), ("2", "fast")])
        tokyo.stop()
        tokyo.start(*named)
        self.assertEqual(set(self.raids(tokyo).values()), {"optimal"})

    def test_a_creation_that_was_cut_off_is_finished_or_leaves_nothing(self):
        tokyo = self.new_node()
        tokyo.stop()
        listed = os.path.join(tokyo.folder, "raid-groups")
        with open(listed, encoding="utf-8") as file:
            lines = file.readlines()
        # As when the node had gone just before the RAID group was noted; and then, before its pool was made.
        for pool_is_there in (True, False):
            with open(listed, "w", encoding="utf-8") as file:
                file.writelines([*lines[:2], lines[2].rstrip("\n") + " creating\n"])
            if not pool_is_there:
                with open(self.disk("f0"), "r+b") as file:
                    file.seek(MIB)
                    file.write(bytes(MIB))
            tokyo.start()
            self.assertEqual(self.raids(tokyo), {"disk": "optimal", "backup": "optimal", "fast": "optimal"})
            tokyo.create("app", "db", size="32M", options=(*JOURNAL, "--raid", "fast"))
            self.assertEqual(tokyo.cli("volume", "show", "app/db")["raid"], "fast")
            tokyo.cli("group", "delete", "app", "--force")
            tokyo.stop()
            with open(listed, encoding="utf-8") as file:
                self.assertEqual(file.readlines(), lines)
        # Killed anywhere on the way, it is there at the next start, or can be made again.
        for turn in range(6):
            name = f"again{turn}"
            disks = (name + "a", name + "b")
            tokyo.start()
            self.begin_and_kill(tokyo, name, turn * 0.003, disks)
            tokyo.start()
            if name not in self.raids(tokyo):
                for disk in disks:
                    if os.path.exists(self.disk(disk)) and os.path.getsize(self.disk(disk)) > 0:
                        self.wipe_first_mib(disk)
                self.make_raid(tokyo, name, "1", *disks)
            self.assertNotEqual(self.raids(tokyo)[name], "missing")
            tokyo.stop()

    def begin_and_kill(self, node, name, seconds, disks):
        named = [word for disk in disks for word in ("--disk", self.disk(disk))]
        with subprocess.Popen([f"{PROGRAMS}/tidemark", "--node", node.folder, "raid", "create", name, "--level", "1",
                               *named], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as asked:
            time.sleep(seconds)
            node.kill()
            asked.wait(60)

    def test_what_cannot_be_is_refused_and_changes_nothing(self):
        tokyo = self.new_node()
        self.assertRefused(tokyo.refused("raid", "create", "backup", "--level", "0", "--disk", self.disk("x")), "exists",
                           "'backup' already")
        for level, disks, words in (("1", ("x",), "RAID 1"), ("5", ("x", "y"), "RAID 5"), ("1", ("b0", "x"), "in use"),
                                    ("1", ("x", "x"), "named twice")):
            named = [word for disk in disks for word in ("--disk", self.disk(disk))]
            refusal = tokyo.refused("raid", "create", "more", "--level", level, *named)
            self.assertEqual(refusal.status, 1, refusal)
            self.assertIn(words, refusal.message)
        own = os.path.join(tokyo.folder, "disk")
        self.assertRefused(tokyo.refused("raid", "create", "more", "--level", "0", "--disk", own), "exists", "in use")
        self.assertRefused(tokyo.refused("raid", "create", "more", "--level", "0", "--disk", "x.img"), "invalid",
                           "whole path")
        with open(self.disk("other"), "wb") as file:
            file.write(os.urandom(MIB))
            file.truncate(64 * MIB)
        self.assertRefused(tokyo.refused("raid", "create", "more", "--level", "0", "--disk", self.disk("other")),
                           "exists", self.disk("other"))
        with open(self.disk("small"), "wb") as file:
            file.truncate(6 * MIB)
        self.assertRefused(tokyo.refused("raid", "create", "more", "--level", "0", "--disk", self.disk("small")),
                           "invalid", "too small for a pool")
        with open(self.disk("small"), "rb") as file:
            self.assertEqual(file.read().strip(b"\0"), b"")
        self.assertEqual(set(self.raids(tokyo)), {"disk", "backup", "fast"})
        with open(os.path.join(tokyo.folder, "raid-groups"), encoding="utf-8") as listed:
            self.assertEqual(len(listed.readlines()), 3)
        # Of several, one is named; a path names the one that it is of.
        for words in (("raid", "status"), ("raid", "scrub", "--no-wait"), ("disk", "add", self.disk("s")),
                      ("disk", "remove", "0")):
            self.assertRefused(tokyo.refused(*words), "invalid", "several RAID groups, backup, fast")
        tokyo.cli("disk", "add", self.disk("s"), "--raid", "backup")
        self.assertRefused(tokyo.refused("disk", "replace", "0", self.disk("s"), "--raid", "fast"), "exists", "in use")
        tokyo.cli("disk", "remove", self.disk("b0"))
        wait_until(lambda: self.raids(tokyo)["backup"] == "optimal", "the spare has taken its place")
        self.assertEqual(tokyo.cli("raid", "scrub", "backup")["scrub"]["mismatches"], 0)
        self.assertRefused(tokyo.refused("raid", "status", "disk"), "not-found", "as it is")
        self.assertRefused(tokyo.refused("raid", "status", "nothing"), "not-found", "no RAID group 'nothing'")
        tokyo.create("app", options=JOURNAL)
        self.assertRefused(tokyo.refused("volume", "create", "app/db", "--size", "32M", "--raid", "nothing"),
                           "not-found", "no RAID group 'nothing'")
        self.assertEqual(tokyo.cli("volume", "list")["volumes"], [])


if __name__ == "__main__":
    main()

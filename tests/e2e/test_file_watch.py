#!/usr/bin/python3
"""`tidemark watch`: marks that make themselves when files are saved."""

import os
import signal
import subprocess
import unittest

from mounts import device, mounted, mounts_are_possible
from tidemark_testing import COMMAND_SECONDS_MAX, PROGRAMS, Connection, TidemarkTest, main, wait_until

ROOT_USER = os.geteuid() == 0


class Watching:
    """A `tidemark watch` that runs."""

    def __init__(self, test, node, *arguments, group="app"):
        self.out, self.err = test.path("watch.out"), test.path("watch.err")
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.process = subprocess.Popen(
                [f"{PROGRAMS}/tidemark", "--node", node.folder, "watch", "--group", group, *arguments],
                stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        test.addCleanup(self.kill)
        wait_until(lambda: "watching with" in self.said() or self.process.poll() is not None, "it watches")

    def said(self):
        with open(self.err, encoding="utf-8") as file:
            return file.read()

    def printed(self):
        with open(self.out, encoding="utf-8") as file:
            return file.read().splitlines()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(COMMAND_SECONDS_MAX)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class FileWatch(TidemarkTest):
    def setUp(self):
        super().setUp()
        self.work = self.path("work")
        os.makedirs(os.path.join(self.work, "deep"))
        self.tokyo = self.node()
        self.tokyo.create("app", "db", size="16M")

    def file(self, name):
        """Put in place at once: one event, however busy the machine is."""
        staged = self.path("staged")
        with open(staged, "w", encoding="utf-8") as file:
            file.write("saved")
        os.rename(staged, os.path.join(self.work, name))

    def watch(self, *arguments):
        return Watching(self, self.tokyo, self.work, "--anywhere", "--quiet", "300ms", *arguments)

    def watch_until_the_end(self, *arguments):
        """What is saved is one burst until the watch is stopped."""
        return Watching(self, self.tokyo, self.work, "--anywhere", "--quiet", "1h", "--at-most", "1h", *arguments)

    def marks(self):
        return self.tokyo.cli("mark", "list", "app")["marks"]

    def wait_for_marks(self, count):
        wait_until(lambda: len(self.marks()) >= count, f"{count} marks")
        marks = self.marks()
        self.assertEqual(len(marks), count, marks)
        return marks

    def wait_for_mark_of(self, name, known):
        """A mark beyond the first `known` ones that names the file; how many there are now."""
        wait_until(lambda: any(name in mark["note"] for mark in self.marks()[known:]), f"a mark of {name}")
        return len(self.marks())

    def check_each_way_of_saving(self, source):
        watching = self.watch("--events", source)
        self.assertIn(f"watching with {source}", watching.said())
        with open(f"{self.work}/orders", "w", encoding="utf-8") as file:
            file.write("written and closed")
        known = self.wait_for_mark_of("orders", 0)
        # As editors save.
        with open(f"{self.work}/.letter.swp", "w", encoding="utf-8") as file:
            file.write("put in place")
        os.rename(f"{self.work}/.letter.swp", f"{self.work}/letter")
        known = self.wait_for_mark_of("letter", known)
        # In place, and kept open; nothing else happens to it.
        with open(f"{self.work}/letter", "r+b", buffering=0) as file:
            file.write(b"changed")
            known = self.wait_for_mark_of("letter", known)
        known = self.wait_for_mark_of("letter", known)  # closed, it is saved once more
        # In a folder that is made later.
        os.mkdir(os.path.join(self.work, "new"))
        with open(f"{self.work}/new/file", "w", encoding="utf-8") as file:
            file.write("in a new folder")
        self.wait_for_mark_of("new/file", known)
        self.assertEqual(watching.stop(), 0)
        marks = self.marks()
        self.assertEqual([line.split()[0] for line in watching.printed()], [mark["id"] for mark in marks])
        self.assertNotIn(".letter.swp", " ".join(mark["note"] for mark in marks))
        rows = self.tokyo.cli("mark", "list", "--here")["marks"]
        self.assertEqual([row["id"] for row in rows], [mark["id"] for mark in marks])
        self.assertEqual(rows[0]["path"], os.path.join(self.work, "orders"))

    def test_each_way_of_saving_makes_a_mark_with_inotify(self):
        self.check_each_way_of_saving("inotify")

    @unittest.skipUnless(ROOT_USER, "fanotify takes CAP_SYS_ADMIN")
    def test_each_way_of_saving_makes_a_mark_with_fanotify(self):
        self.check_each_way_of_saving("fanotify")

    def test_a_burst_is_one_mark_and_filters_leave_files_out(self):
        watching = self.watch_until_the_end("--match", "*.db", "--match", "deep/*", "--exclude", "*tmp*", "--id",
                                            "{path}_{n}")
        for name in ("a.txt", "b.db", "tmp.db", "deep/c", ".d.db.swp"):
            self.file(name)
        self.assertEqual(watching.stop(), 0)
        mark = self.wait_for_marks(1)[0]
        self.assertEqual(mark["note"].split(" (")[0], "b.db, deep/c")
        self.assertEqual(mark["id"], "b.db_1")

    @unittest.skipUnless(ROOT_USER, "fanotify takes CAP_SYS_ADMIN")
    def test_only_what_a_named_program_saves(self):
        watching = self.watch_until_the_end("--program", "dd", "--id", "{program}-{n}")
        self.file("by-python")
        subprocess.run(["dd", "if=/dev/zero", f"of={self.work}/by-dd", "bs=1k", "count=1", "status=none"], check=True)
        self.assertEqual(watching.stop(), 0)
        mark = self.wait_for_marks(1)[0]
        self.assertEqual(mark["note"].split(" (")[0], "by-dd")

    def test_ids_that_collide_get_a_number(self):
        self.tokyo.mark("app", "saved")
        self.watch("--id", "saved")
        for count, name in ((2, "a"), (3, "b")):
            self.file(name)
            self.wait_for_marks(count)
        self.assertEqual([mark["id"] for mark in self.marks()], ["saved", "saved-2", "saved-3"])

    def test_what_is_no_plain_file_harms_no_mark(self):
        watching = Watching(self, self.tokyo, self.work, "--anywhere", "--quiet", "1h", "--at-most", "1h")
        os.mkfifo(os.path.join(self.work, "moved"))
        os.rename(os.path.join(self.work, "moved"), os.path.join(self.work, "pipe"))
        self.file("orders")
        self.assertEqual(watching.stop(), 0)
        self.assertIn("orders", self.wait_for_marks(1)[0]["note"])

    def check_new_folders_after_lost_events(self, source, queue):
        with open(queue, encoding="ascii") as file:
            events_max = int(file.read())
        if events_max > 100_000:
            self.skipTest("the queue is too long to be filled")
        watching = self.watch("--events", source)
        watching.process.send_signal(signal.SIGSTOP)
        self.file("a")
        path = f"{self.work}/a"
        for number in range(events_max + 10):  # each with a name of its own: equal ones would be joined
            os.rename(path, f"{self.work}/{number}")
            path = f"{self.work}/{number}"
        os.makedirs(f"{self.work}/new/deeper")
        watching.process.send_signal(signal.SIGCONT)
        wait_until(lambda: "overflowed" in watching.said(), "events were lost")
        before = len(self.wait_for_any_mark())
        self.assertIn("events were lost", self.marks()[0]["note"])
        self.file("new/deeper/orders")
        wait_until(lambda: len(self.marks()) > before, "its mark")
        self.assertIn("new/deeper/orders", self.marks()[-1]["note"])

    def wait_for_any_mark(self):
        wait_until(self.marks, "a mark")
        return self.marks()

    def test_new_folders_are_watched_also_after_lost_events_with_inotify(self):
        self.check_new_folders_after_lost_events("inotify", "/proc/sys/fs/inotify/max_queued_events")

    @unittest.skipUnless(ROOT_USER, "fanotify takes CAP_SYS_ADMIN")
    def test_new_folders_are_watched_also_after_lost_events_with_fanotify(self):
        self.check_new_folders_after_lost_events("fanotify", "/proc/sys/fs/fanotify/max_queued_events")

    def check_what_is_gone_ends_the_watch(self, source):
        watching = Watching(self, self.tokyo, self.work, "--anywhere", "--quiet", "1h", "--at-most", "1h",
                            "--events", source)
        self.file("orders")
        os.rename(self.work, self.path("elsewhere"))
        self.assertEqual(watching.process.wait(COMMAND_SECONDS_MAX), 1)
        self.assertIn("is not what was watched any more", watching.said())
        if source == "inotify":  # whose events have the names of before; it has its mark all the same
            self.assertIn("orders", self.wait_for_marks(1)[0]["note"])

    def test_a_folder_that_is_gone_ends_the_watch_with_inotify(self):
        self.check_what_is_gone_ends_the_watch("inotify")

    @unittest.skipUnless(ROOT_USER, "fanotify takes CAP_SYS_ADMIN")
    def test_a_folder_that_is_gone_ends_the_watch_with_fanotify(self):
        self.check_what_is_gone_ends_the_watch("fanotify")

    @unittest.skipUnless(mounts_are_possible(), "mounting takes root")
    def test_an_unmount_ends_the_watch(self):
        os.mkdir(self.path("mnt"))
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", self.path("mnt")], check=True)
        watching = Watching(self, self.tokyo, self.path("mnt"), "--anywhere", "--events", "inotify")
        subprocess.run(["umount", self.path("mnt")], check=True)
        self.assertEqual(watching.process.wait(COMMAND_SECONDS_MAX), 1)
        self.assertIn("unmounted", watching.said())

    @unittest.skipUnless(ROOT_USER, "to give rights up takes root")
    def test_fanotify_whose_events_could_not_be_followed_is_not_used(self):
        command = ["setpriv", "--bounding-set=-dac_read_search", "--inh-caps=-dac_read_search",
                   f"{PROGRAMS}/tidemark", "--node", self.tokyo.folder, "watch", self.work, "--group", "app",
                   "--anywhere"]
        done = subprocess.run([*command, "--events", "fanotify"], capture_output=True, text=True, check=False,
                              timeout=COMMAND_SECONDS_MAX)
        self.assertEqual(done.returncode, 1)
        self.assertIn("CAP_DAC_READ_SEARCH", done.stderr)
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as watching:
            self.assertIn("watching with inotify", watching.stderr.readline())
            watching.terminate()

    @unittest.skipUnless(ROOT_USER, "mounting a small file system takes root")
    def test_a_full_disk_under_the_table_keeps_nobody_from_watching(self):
        small = self.path("small")
        os.mkdir(small)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=2", "tmpfs", small], check=True)
        self.addCleanup(subprocess.run, ["umount", small], check=True)
        with open(f"{small}/filler", "wb"):
            pass
        watching = Watching(self, self.tokyo, self.work, self.work, "--anywhere", "--quiet", "100ms", "--host-table",
                            f"{small}/marks.db")
        self.assertIn("would not be noticed", watching.said())
        self.file("orders")
        self.wait_for_marks(1)
        self.assertEqual(watching.stop(), 0)

    def test_a_path_in_brackets_and_one_that_is_named_twice(self):
        os.mkdir(f"{self.work}/[a,b]")
        watching = subprocess.Popen([f"{PROGRAMS}/tidemark", "--node", self.tokyo.folder, "watch", "--group", "app",
                                     "--quiet", "100ms", "--match", "[n-p]*", "--anywhere", "[a,b]", "./[a,b]"],
                                    cwd=self.work,
                                    stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        self.assertIn("watching with", watching.stderr.readline())
        self.file("[a,b]/invoices")
        self.file("[a,b]/orders")
        self.assertEqual(self.wait_for_marks(1)[0]["note"].split(" (")[0], "orders")
        watching.terminate()
        watching.communicate(timeout=COMMAND_SECONDS_MAX)
        self.assertEqual(watching.returncode, 0)

    def test_an_id_that_somebody_else_asked_for_is_not_its_own(self):
        self.tokyo.stop()
        self.tokyo.say("mark", "create", "app", "saved")  # no answer yet
        self.tokyo.start()
        self.assertEqual(self.tokyo.api("POST", "/v1/groups/app/marks", {"id": "saved", "host": "elsewhere"})[0], 200)
        self.watch("--id", "saved")
        self.file("a")
        self.assertEqual([mark["id"] for mark in self.wait_for_marks(2)], ["saved", "saved-2"])
        self.assertEqual([row["state"] for row in self.tokyo.cli("mark", "list", "--here")["marks"]],
                         ["unknown", "failed", "made"])

    def test_without_a_pair_a_mark_for_the_peer_is_made_once(self):
        watching = Watching(self, self.tokyo, self.work, "--anywhere", "--quiet", "100ms", "--wait", "peer",
                            "--timeout", "1s", "--id", "{path}")
        self.file("a")
        wait_until(lambda: "has not received it yet" in watching.said(), "it has asked again")
        self.assertEqual([mark["id"] for mark in self.marks()], ["a"])
        watching.stop()
        self.assertEqual([mark["id"] for mark in self.marks()], ["a"])

    def test_a_node_that_restarts_gets_the_mark_when_it_is_back_and_once(self):
        watching = self.watch("--id", "{path}")
        self.tokyo.stop()
        self.file("while-away")
        wait_until(lambda: "no node answers" in watching.said(), "it says that no node answers")
        self.file("later")
        self.tokyo.start()
        marks = self.wait_for_marks(2)
        self.assertEqual([mark["id"] for mark in marks], ["while-away", "later"])
        self.assertEqual(watching.stop(), 0)
        self.assertEqual([row["state"] for row in self.tokyo.cli("mark", "list", "--here")["marks"]], ["made"] * 2)

    def test_events_that_were_lost_are_said_and_answered_with_a_mark(self):
        with open("/proc/sys/fs/inotify/max_queued_events", encoding="ascii") as file:
            events_max = int(file.read())
        watching = self.watch("--events", "inotify")
        watching.process.send_signal(signal.SIGSTOP)
        with open(f"{self.work}/a", "wb", buffering=0) as a, open(f"{self.work}/b", "wb", buffering=0) as b:
            for _ in range(events_max // 2 + 10):
                a.write(b"x")
                b.write(b"x")
        watching.process.send_signal(signal.SIGCONT)
        self.assertIn("events were lost", self.wait_for_marks(1)[0]["note"])
        self.assertIn("overflowed", watching.said())

    def test_files_that_vanish_are_counted_and_harm_nothing(self):
        watching = self.watch_until_the_end()
        for name in ("stays", "goes"):
            self.file(name)
        os.unlink(f"{self.work}/goes")
        self.assertEqual(watching.stop(), 0)
        self.assertIn("gone since: 1", self.wait_for_marks(1)[0]["note"])

    def test_the_hosts_own_table_below_the_path_is_not_what_is_meant(self):
        table = f"{self.work}/deep/../table.db"
        watching = self.watch("--events", "inotify", "--host-table", table)
        for count, name in ((1, "a"), (2, "b")):
            self.file(name)
            self.wait_for_marks(count)
        self.assertEqual(watching.stop(), 0)  # with a mark for what has none
        self.wait_for_marks(2)
        self.assertEqual(len(self.tokyo.cli("--host-table", table, "mark", "list", "--here")["marks"]), 2)

    def test_nor_is_it_when_it_is_named_by_a_link(self):
        real, link = f"{self.work}/real.db", self.path("link.db")
        self.tokyo.cli("--host-table", real, "mark", "create", "app", "first")
        os.symlink(real, link)
        watching = self.watch("--events", "inotify", "--host-table", link)
        self.file("a")
        self.wait_for_marks(2)
        self.assertEqual(watching.stop(), 0)  # with a mark for what has none
        self.wait_for_marks(2)

    def test_a_dry_run_makes_nothing_and_the_end_marks_what_is_left(self):
        watching = self.watch("--dry-run")
        self.file("a")
        wait_until(lambda: watching.printed() and watching.printed()[0].startswith("would mark a-"), "it says so")
        self.assertEqual(watching.stop(), 0)
        self.assertEqual(self.marks(), [])
        watching = self.watch_until_the_end()
        self.file("b")
        self.assertEqual(watching.stop(), 0)
        self.assertIn("b", self.wait_for_marks(1)[0]["note"])

    def test_what_cannot_be_watched_is_refused_with_the_reason(self):
        tokyo = self.tokyo
        self.assertRefused(tokyo.refused("watch", self.path("none"), "--group", "app"), "not-found", "none")
        self.assertRefused(tokyo.refused("watch", self.work, "--group", "web"), "not-found", "web")
        self.assertRefused(tokyo.refused("watch", "/dev/shm", "--group", "app"), "refused", "/dev/shm", "in memory")
        self.assertRefused(tokyo.refused("watch", ROOT_FOLDER, "--group", "app"), "refused", "open for writing")
        self.assertEqual(tokyo.refused("watch", self.work, "--group", "app", "--id", "{when}").status, 2)
        # Somebody has the volume open: whether it lies under this path cannot be known.
        with Connection(tokyo, "app/db") as handle:
            handle.pwrite(b"x", 0)
            watching = Watching(self, tokyo, ROOT_FOLDER)
            self.assertIn("watching with", watching.said())
            self.assertRefused(tokyo.refused("watch", ROOT_FOLDER, "--group", "app"), "busy",
                               str(watching.process.pid))
            # Also by another name of the node.
            again = subprocess.run([f"{PROGRAMS}/tidemark", "--node", "tokyo/control.sock", "watch", ROOT_FOLDER + "/.",
                                    "--group", "app"], cwd=self.folder, capture_output=True, text=True, check=False,
                                   timeout=COMMAND_SECONDS_MAX)
            self.assertEqual(again.returncode, 1)
            self.assertIn("watched for group 'app' already", again.stderr)
            self.assertEqual(watching.stop(), 0)

    def test_a_group_without_history_is_warned_of(self):
        self.tokyo.cli("group", "create", "mirror", "--retain", "0")
        watching = Watching(self, self.tokyo, self.work, "--anywhere", group="mirror")
        self.assertIn("keeps no history", watching.said())
        self.assertEqual(watching.stop(), 0)


    @unittest.skipUnless(ROOT_USER, "to become another user takes root")
    def test_without_rights_it_says_what_is_missing(self):
        nobody = self.path("nobody")
        os.mkdir(nobody, 0o700)
        os.chown(nobody, 65534, 65534)
        for folder in (self.folder, self.tokyo.folder):
            os.chmod(folder, 0o755)
        os.chown(f"{self.tokyo.folder}/control.sock", 65534, 65534)
        os.chmod(self.work, 0o755)

        def refused(*arguments):
            done = subprocess.run([f"{PROGRAMS}/tidemark", "--node", self.tokyo.folder, *arguments], user=65534,
                                  group=65534, extra_groups=[], capture_output=True, text=True, check=False,
                                  env={"HOME": nobody, "XDG_STATE_HOME": "relative"}, cwd="/", timeout=COMMAND_SECONDS_MAX)
            self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
            return done.stderr

        watch = ("watch", self.work, "--group", "app", "--anywhere")
        self.assertIn("fanotify cannot be used: Operation not permitted; it takes CAP_SYS_ADMIN",
                      refused(*watch, "--events", "fanotify"))
        self.assertIn("CAP_SYS_ADMIN", refused(*watch, "--program", "vi"))
        if os.stat(self.work).st_dev == os.stat("/").st_dev:
            self.assertIn("root file system", refused("mark", "create", "app", "--freeze", self.work))
        os.mkdir(f"{self.work}/secret", 0o700)
        self.assertIn("Permission denied",
                      refused("watch", f"{self.work}/secret/deeper", "--group", "app", "--anywhere"))
        # The table is the user's own.
        refused("mark", "create", "nowhere", "m")
        self.assertTrue(os.path.exists(f"{nobody}/.local/state/tidemark/marks.db"))

    @unittest.skipUnless(mounts_are_possible(), "mounting takes root, FUSE, loop devices, nbdfuse and mkfs.ext4")
    def test_the_file_as_it_was_saved_is_inside_the_mark(self):
        with device(self.tokyo, "app/db", "live") as loop:
            subprocess.run(["mkfs.ext4", "-q", loop], check=True)
            with mounted(loop, self.path("mnt")) as folder:
                # The mount: one mark of fanotify for all of it.
                watching = Watching(self, self.tokyo, folder, "--quiet", "100ms", "--match", "orders", "--id",
                                    "{path}-{n}")
                self.assertIn("fanotify", watching.said())
                for number in (1, 2):
                    with open(f"{folder}/.new", "w", encoding="utf-8") as file:
                        file.write(f"version {number}\n" * 5000)
                    os.rename(f"{folder}/.new", f"{folder}/orders")
                    marks = self.wait_for_marks(number)
                self.assertEqual(watching.stop(), 0)
        for number, mark in enumerate(marks, 1):
            # Not at rest when it was marked: the file system's own journal is replayed in a writable view.
            with device(self.tokyo, f"app/db@{mark['id']}+rw", "view") as loop, \
                    mounted(loop, self.path("view")) as folder:
                with open(f"{folder}/orders", encoding="utf-8") as file:
                    self.assertEqual(file.read(), f"version {number}\n" * 5000)


ROOT_FOLDER = os.path.dirname(os.path.abspath(__file__))

if __name__ == "__main__":
    main()

#!/usr/bin/python3
"""`tidemark run`: a program between two marks, with one whenever it saves a file."""

import os
import signal
import subprocess

from tidemark_testing import COMMAND_SECONDS_MAX, PROGRAMS, TidemarkTest, main, wait_until


class Run(TidemarkTest):
    def setUp(self):
        super().setUp()
        self.work = self.path("work")
        os.mkdir(self.work)
        self.tokyo = self.node()
        self.tokyo.create("app", "db", size="16M")

    def command(self, *program, options=()):
        return [f"{PROGRAMS}/tidemark", "--node", self.tokyo.folder, "run", "--group", "app", "--path", self.work,
                "--anywhere", "--id", "job", *options, "--", *program]

    def run_program(self, *program, options=(), text_in=""):
        return subprocess.run(self.command(*program, options=options), input=text_in, capture_output=True, text=True,
                              timeout=COMMAND_SECONDS_MAX, check=False)

    def marks(self):
        return {mark["id"]: mark["note"] for mark in self.tokyo.cli("mark", "list", "app")["marks"]}

    def test_marks_at_the_start_at_each_save_and_at_the_end(self):
        script = f"cd {self.work}; read word; echo $word >one; while ! grep -q ' job-1:' ../said; do sleep 0.05; done; " \
                 "echo b >two; echo out; echo err >&2"
        with open(self.path("said"), "w", encoding="utf-8") as said:
            done = subprocess.run(
                self.command("sh", "-c", script, options=["--quiet", "100ms"]),
                input="hello\n", stdout=subprocess.PIPE, stderr=said, text=True, timeout=COMMAND_SECONDS_MAX,
                check=False)
        self.assertEqual((done.returncode, done.stdout), (0, "out\n"))
        with open(self.path("said"), encoding="utf-8") as said:
            self.assertIn("err\n", said.read())
        with open(f"{self.work}/one", encoding="utf-8") as file:
            self.assertEqual(file.read(), "hello\n")
        marks = self.marks()
        ids = list(marks)
        self.assertEqual((ids[0], ids[1], ids[-1]), ("job-start", "job-1", "job-end"))
        self.assertIn("one", marks["job-1"])
        self.assertTrue(any("two" in marks[saved] for saved in ids[2:-1]), marks)
        self.assertEqual(marks["job-end"], "'sh' exited with status 0")

    def test_a_failure_passes_through_and_names_the_way_back(self):
        done = self.run_program("sh", "-c", "exit 7")
        self.assertEqual(done.returncode, 7)
        self.assertIn("tidemark restore app --to job-start", done.stderr)
        self.assertEqual(self.marks()["job-end"], "'sh' exited with status 7")
        # Its ids are taken now.
        done = self.run_program("sh", "-c", "kill -9 $$")
        self.assertEqual(done.returncode, -signal.SIGKILL)
        self.assertIn("--to job-start-2", done.stderr)
        self.assertIn("signal 9", self.marks()["job-end-2"])

    def test_the_program_gets_its_words_as_they_are(self):
        words = ["[a,b]", "[c]", "", "--", "-x", "--group", "{}", "%%", "a b", "*", "[]", "--"]
        done = self.run_program("printf", "<%s>", *words)
        self.assertEqual((done.returncode, done.stdout), (0, "".join(f"<{word}>" for word in words)), done.stderr)

    def test_how_it_ended_is_known_also_where_children_are_ignored(self):
        command = self.command("sh", "-c", "exit 7")
        done = subprocess.run(["sh", "-c", 'trap "" CHLD; exec "$@"', "sh", *command], capture_output=True, text=True,
                              timeout=COMMAND_SECONDS_MAX, check=False)
        self.assertEqual(done.returncode, 7, done.stderr)

    def test_a_broken_pipe_ends_the_program_and_not_its_marks(self):
        reading, writing = os.pipe()
        os.close(reading)
        running = subprocess.Popen(self.command("sh", "-c", "yes"), stdout=writing, stderr=writing,
                                   preexec_fn=lambda: signal.signal(signal.SIGPIPE, signal.SIG_DFL))
        os.close(writing)
        self.assertNotEqual(running.wait(COMMAND_SECONDS_MAX), 0)
        self.assertIn("job-end", self.marks())

    def test_signals_reach_the_program(self):
        ready = self.path("ready")
        running = subprocess.Popen(
            self.command("sh", "-c", f"trap 'exit 5' TERM; touch {ready}; while :; do sleep 0.05; done"),
            stderr=subprocess.DEVNULL)
        wait_until(lambda: os.path.exists(ready), "it runs")
        running.send_signal(signal.SIGTERM)
        self.assertEqual(running.wait(COMMAND_SECONDS_MAX), 5)
        self.assertEqual(self.marks()["job-end"], "'sh' exited with status 5")

    def test_a_signal_before_the_program_is_started_keeps_it_from_that(self):
        self.tokyo.process.send_signal(signal.SIGSTOP)
        running = subprocess.Popen(self.command("touch", f"{self.work}/ran", options=["--anyway"]),
                                   stderr=subprocess.DEVNULL)
        wait_until(lambda: os.path.exists(self.host_table) and
                   self.tokyo.cli("mark", "list", "--here")["marks"], "the node is asked")
        running.send_signal(signal.SIGINT)
        self.tokyo.process.send_signal(signal.SIGCONT)
        self.assertEqual(running.wait(COMMAND_SECONDS_MAX), -signal.SIGINT)
        self.assertFalse(os.path.exists(f"{self.work}/ran"))
        self.assertIn("a signal came", self.marks()["job-end"])

    def test_signals_are_passed_on_also_when_files_are_no_longer_watched(self):
        ready = self.path("ready")
        running = subprocess.Popen(
            self.command("sh", "-c", f"trap 'exit 5' TERM; touch {ready}; while :; do sleep 0.05; done"),
            stderr=subprocess.PIPE, text=True)
        wait_until(lambda: os.path.exists(ready), "it runs")
        os.rename(self.work, self.path("elsewhere"))
        for line in running.stderr:
            if "no further marks" in line:
                break
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=COMMAND_SECONDS_MAX)
        self.assertEqual(running.returncode, 5)
        self.assertIn("job-end", self.marks())

    def test_only_what_the_program_saves_counts_where_that_can_be_known(self):
        if os.geteuid() != 0:
            self.skipTest("fanotify takes CAP_SYS_ADMIN")
        script = f"echo x >{self.work}/mine; touch {self.path('ready')}; read word"
        running = subprocess.Popen(self.command("sh", "-c", script), stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        wait_until(lambda: os.path.exists(self.path("ready")), "it runs")
        with open(f"{self.work}/theirs", "w", encoding="utf-8") as file:
            file.write("x")
        running.communicate(b"go\n", timeout=COMMAND_SECONDS_MAX)
        self.assertIn("mine", self.marks()["job-1"])
        self.assertNotIn("theirs", self.marks()["job-1"])

    def test_what_cannot_be_run_or_marked_is_not_run(self):
        done = self.run_program("no-such-program")
        self.assertEqual(done.returncode, 127)
        self.assertIn("no-such-program", done.stderr)
        self.assertEqual(list(self.marks()), ["job-start", "job-end"])
        self.assertIn("cannot be run", self.marks()["job-end"])
        self.assertEqual(self.run_program("/dev/null").returncode, 126)
        self.tokyo.stop()
        done = self.run_program("touch", f"{self.work}/ran")
        self.assertEqual(done.returncode, 1)
        self.assertFalse(os.path.exists(f"{self.work}/ran"))
        done = self.run_program("touch", f"{self.work}/ran", options=["--anyway"])
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(os.path.exists(f"{self.work}/ran"))
        self.assertIn("no node answers", done.stderr)


if __name__ == "__main__":
    main()

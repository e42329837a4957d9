"""Real nodes for the end-to-end tests: started in folders of their own, asked through the command line,
read and written by NBD clients, killed, and cleaned away.

A test file is run by itself, `/usr/bin/python3 tests/e2e/test_marks.py [Class.test]`, or by ctest. The programs are
those of $TIDEMARK_PROGRAMS (a folder), else of build/release/apps.
"""

import ctypes
import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import unittest
import urllib.parse

try:
    import nbd
except ImportError:
    sys.exit("the tests need the Python module nbd: apt-get install python3-libnbd, and run /usr/bin/python3")

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAMS = os.environ.get("TIDEMARK_PROGRAMS", os.path.join(ROOT, "build/release/apps"))
BLOCK = 4096
MIB = 1 << 20
READY_SECONDS_MAX = 60  # a loaded machine under a sanitizer takes its time
COMMAND_SECONDS_MAX = 120
CONDITION_SECONDS_MAX = 90

# The distribution's tools first: nbdsh wants the python3 that has its module.
os.environ["PATH"] = "/usr/bin:/bin:/usr/sbin:/sbin:" + os.environ.get("PATH", "")
_libc = ctypes.CDLL(None)
_tick = threading.Event()


def wait_until(condition, what, seconds=CONDITION_SECONDS_MAX):
    """Calls `condition` until it gives something true, and returns that."""
    begin = os.times().elapsed
    while True:
        value = condition()
        if value:
            return value
        if os.times().elapsed - begin > seconds:
            raise AssertionError(f"after {seconds} s still not: {what}")
        _tick.wait(0.02)


def run(*command, seconds=COMMAND_SECONDS_MAX, status=0, **options):
    """A foreign program's output; it must end with `status` (None: whatever)."""
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=seconds, check=False, text=True, errors="replace", **options)
    if status is not None and done.returncode != status:
        raise AssertionError(f"{' '.join(map(str, command))}: status {done.returncode} instead of {status}\n"
                             f"{done.stdout}{done.stderr}")
    return done.stdout


def die_with_parent():
    """In a child, before it runs: it shall not outlive a test that is killed for taking too long."""
    _libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class CommandFailed(AssertionError):
    """What `tidemark` said when it did not do what the test expected of it."""


class Refusal:
    """A failed command: its exit status, error code ("not-found") and sentence."""

    def __init__(self, status, code, message):
        self.status, self.code, self.message = status, code, message

    def __repr__(self):
        return f"status {self.status}, {self.code}: {self.message}"


class Node:
    """One tidemarkd and the command line that talks to it. Made by Machine.node()."""

    def __init__(self, folder, name):
        self.name = name
        self.folder = folder
        self.log_path = folder + ".log"
        self.out_path = folder + ".out"
        self.process = None
        self.prefix = ()  # a program that runs the daemon in its own place
        self.options = ()  # of every start

    # ---- Life

    def start(self, *arguments, wait=True):
        assert self.process is None or self.process.poll() is not None, "already running"
        os.makedirs(self.folder, exist_ok=True)
        with open(self.out_path, "wb") as out, open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, f"{PROGRAMS}/tidemarkd", "--data", self.folder, "--name", self.name, *self.options,
                 *arguments],
                stdin=subprocess.DEVNULL, stdout=out, stderr=log, start_new_session=True,
                preexec_fn=die_with_parent)
        if not wait:
            return self

        def ready():
            with open(self.out_path, encoding="utf-8", errors="replace") as said:
                if any(line.split()[:1] == ["ready"] for line in said):
                    return True
            if self.process.poll() is not None:
                raise AssertionError(f"{self.name} ended with {self.process.returncode} while starting:\n{self.log()}")
            return False

        wait_until(ready, f"{self.name} is ready", READY_SECONDS_MAX)
        return self

    def stop(self):
        """SIGTERM; an orderly end is status 0."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(COMMAND_SECONDS_MAX)
        if status != 0:
            raise AssertionError(f"{self.name} ended with {status} after SIGTERM:\n{self.log()}")

    def kill(self):
        """As a power failure of the process: nothing is written any more."""
        self.process.kill()
        self.process.wait(COMMAND_SECONDS_MAX)

    def running(self):
        return self.process is not None and self.process.poll() is None

    def log(self, lines=40):
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as file:
                return "".join(file.readlines()[-lines:])
        except FileNotFoundError:
            return ""

    # ---- Questions

    def try_cli(self, *arguments, seconds=COMMAND_SECONDS_MAX):
        """(exit status, standard output, standard error) of `tidemark -o json ...`."""
        return self.say("-o", "json", *arguments, seconds=seconds)

    def say(self, *arguments, seconds=COMMAND_SECONDS_MAX):
        """The same of `tidemark ...`, as a person sees it."""
        done = subprocess.run([f"{PROGRAMS}/tidemark", "--node", self.folder, *map(str, arguments)],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                              timeout=seconds, check=False, text=True, errors="replace")
        return done.returncode, done.stdout, done.stderr

    def cli(self, *arguments):
        """The answer, as JSON gives it, of a command that must work."""
        status, out, err = self.try_cli(*arguments)
        if status != 0:
            raise CommandFailed(f"{self.name}: tidemark {' '.join(map(str, arguments))}: status {status}: {out}{err}")
        return json.loads(out) if out.strip() else {}

    def refused(self, *arguments):
        """How a command that must not work was refused."""
        status, out, err = self.try_cli(*arguments)
        if status == 0:
            raise CommandFailed(f"{self.name}: tidemark {' '.join(map(str, arguments))} should have been refused: {out}")
        for text in (out, err):
            try:
                error = json.loads(text)["error"]
                return Refusal(status, error["code"], error["message"])
            except (ValueError, KeyError, TypeError):
                continue
        return Refusal(status, "", err or out)

    def api(self, method, path, body=None):
        """(HTTP status, answer) of the control API, past the command line."""
        connection = http.client.HTTPConnection("localhost", timeout=COMMAND_SECONDS_MAX)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.sock.connect(os.path.join(self.folder, "control.sock"))
            payload = None if body is None else json.dumps(body)
            connection.request(method, path, payload, {"Content-Type": "application/json"} if payload else {})
            response = connection.getresponse()
            text = response.read().decode()
            return response.status, json.loads(text) if text else {}
        finally:
            connection.close()

    def create(self, group, *volumes, size="64M", options=()):
        """A group with volumes. Its journal is small unless `options` say otherwise: a new one of the usual size
        writes hundreds of megabytes of zeroes ahead."""
        if "--journal-size" not in options:
            options = (*options, "--journal-size", "256M")
        self.cli("group", "create", group, *options)
        for volume in volumes:
            self.cli("volume", "create", f"{group}/{volume}", "--size", size)

    def mark(self, group, mark_id=None, *options):
        return self.cli("mark", "create", group, *([mark_id] if mark_id else []), *options)

    def head(self, group):
        return self.cli("group", "show", group)["journal"]["head"]["log_id"]

    # ---- Blocks

    @property
    def nbd_socket(self):
        return os.path.join(self.folder, "nbd.sock")

    def uri(self, export):
        return f"nbd+unix:///{urllib.parse.quote(export, safe='/@:+')}?socket={self.nbd_socket}"

    def connect(self, export):
        """A libnbd handle; close it with disconnect() or by leaving `with closing_nbd(...)`."""
        handle = nbd.NBD()
        handle.set_handshake_flags(nbd.HANDSHAKE_FLAG_MASK)
        handle.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
        handle.set_export_name(export)
        handle.connect_unix(self.nbd_socket)
        return handle

    def read(self, export, offset=0, length=None):
        with Connection(self, export) as handle:
            end = handle.get_size() if length is None else offset + length
            pieces = []
            while offset < end:
                count = min(MIB, end - offset)
                pieces.append(bytes(handle.pread(count, offset)))
                offset += count
            return b"".join(pieces)

    def write(self, export, offset, data, flush=True):
        with Connection(self, export) as handle:
            for begin in range(0, len(data), MIB):
                handle.pwrite(data[begin:begin + MIB], offset + begin)
            if flush:
                handle.flush()


class Connection:
    """`with Connection(node, "app/db") as handle:`, disconnected in order at the end, whatever happened."""

    def __init__(self, node, export):
        self.handle = node.connect(export)

    def __enter__(self):
        return self.handle

    def __exit__(self, *_):
        try:
            self.handle.shutdown()
        except nbd.Error:
            pass  # the node may have been killed


class Model:
    """What a volume should hold: random writes go to the handle and to a copy in memory."""

    def __init__(self, size, seed):
        self.bytes = bytearray(size)
        self.random = random.Random(seed)

    def scribble(self, handle, count):
        """Random writes of all shapes, aligned or not, with zeroes and discards among them."""
        for _ in range(count):
            shape = self.random.random()
            if shape < 0.15:
                length = self.random.randrange(1, 32) * BLOCK
                offset = self.random.randrange(0, (len(self.bytes) - length) // BLOCK) * BLOCK
                if shape < 0.08:
                    handle.zero(length, offset)
                else:
                    handle.trim(length, offset)
                self.bytes[offset:offset + length] = bytes(length)
                continue
            if shape < 0.3:
                length = self.random.randrange(1, 3 * BLOCK)
                offset = self.random.randrange(0, len(self.bytes) - length)
            else:
                length = self.random.choice([1, 1, 2, 4, 16, 64]) * BLOCK
                offset = self.random.randrange(0, (len(self.bytes) - length) // BLOCK) * BLOCK
            data = self.random.randbytes(length)
            handle.pwrite(data, offset)
            self.bytes[offset:offset + length] = data

    def snapshot(self):
        return bytes(self.bytes)


def damage_block(node, pattern):
    """Flips a bit of the first block on the node's disk that begins with `pattern`."""
    with open(os.path.join(node.folder, "disk"), "r+b", buffering=0) as disk:
        at = 0
        while True:
            at = os.lseek(disk.fileno(), at, os.SEEK_DATA)  # ENXIO: it is not there
            end = os.lseek(disk.fileno(), at, os.SEEK_HOLE)
            for begin in range(at // BLOCK * BLOCK, end, MIB):
                data = os.pread(disk.fileno(), MIB, begin)
                found = data.find(pattern)
                if found >= 0:
                    os.pwrite(disk.fileno(), bytes([pattern[0] ^ 1]), begin + found)
                    os.fsync(disk.fileno())
                    return
            at = end


def first_difference(expected, found):
    """In words, for a message; None when the two are the same."""
    if expected == found:
        return None
    if len(expected) != len(found):
        return f"{len(found)} bytes instead of {len(expected)}"
    for block in range(0, len(expected), BLOCK):
        if expected[block:block + BLOCK] != found[block:block + BLOCK]:
            return (f"the first differing block is {block // BLOCK}: found {found[block:block + 16].hex()}..., "
                    f"expected {expected[block:block + 16].hex()}...")
    return None


class TidemarkTest(unittest.TestCase):
    """A test with nodes: self.node("tokyo") makes one, and the end takes all away and shows logs of a failure."""

    maxDiff = None

    def setUp(self):
        # A short path: the name of a unix socket has at most 107 characters.
        self.folder = tempfile.mkdtemp(prefix="tm-", dir="/tmp")
        self.nodes = []
        # What the tests mark is no business of the machine's own table.
        self.host_table = os.path.join(self.folder, "host", "marks.db")
        os.environ["TIDEMARK_HOST_TABLE"] = self.host_table

    def tearDown(self):
        outcome = self._outcome.result
        failed = any(test is self for test, _ in outcome.failures + outcome.errors)
        for node in self.nodes:
            if node.running():
                node.kill()
        if failed:
            for node in self.nodes:
                print(f"-- the end of the log of {node.name}:\n{node.log()}", file=sys.stderr)
        shutil.rmtree(self.folder, ignore_errors=True)

    def node(self, name="tokyo", *arguments, start=True):
        node = Node(os.path.join(self.folder, name), os.path.basename(name))
        self.nodes.append(node)
        return node.start(*arguments) if start else node

    def path(self, name):
        return os.path.join(self.folder, name)

    def pair(self, *volumes, size="64M", options=()):
        """tokyo and osaka with group `app` in PAIR."""
        tokyo, osaka = self.node("tokyo"), self.node("osaka")
        tokyo.create("app", *volumes, size=size)
        tokyo.cli("pair", "create", "app", "--peer", f"unix:{osaka.folder}/replication.sock", *options)
        self.wait_for_state(tokyo, "PAIR")
        return tokyo, osaka

    def wait_for_state(self, node, state, group="app"):
        def reached():
            return node.cli("pair", "status", group)["state"] == state

        wait_until(reached, f"{node.name}: the pair is in {state}")

    def wait_for_link(self, node, up, group="app"):
        wait_until(lambda: node.cli("pair", "status", group)["link_up"] == up,
                   f"{node.name}: the link is {'up' if up else 'down'}")

    def assertHolds(self, node, export, expected):
        difference = first_difference(bytes(expected), node.read(export))
        if difference:
            self.fail(f"{export} on {node.name}: {difference}")

    def assertRefused(self, refusal, code, *words):
        """The refusal has the code, exit status 1, and names every one of the words."""
        self.assertEqual((refusal.status, refusal.code), (1, code), refusal)
        for word in words:
            self.assertIn(word, refusal.message)


def main():
    # Told to end, a test takes its mounts and loop devices away first.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    unittest.main(verbosity=2)

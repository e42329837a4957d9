#!/usr/bin/python3
"""The file systems of a QEMU guest at rest for a mark, by the guest agent.

  qemu_guest_agent.py [--freeze-limit SECONDS] [--timeout SECONDS] SOCKET freeze|thaw|status

SOCKET is the host's end of the guest's port org.qemu.guest_agent.0. Around a mark:

  tidemark mark create app evening --before 'qemu_guest_agent.py /run/vm.agent freeze' \\
                                   --after 'qemu_guest_agent.py /run/vm.agent thaw'

`freeze` leaves a process behind, which thaws when `thaw` tells it to on the socket SOCKET.freeze, and by itself when the
freeze limit (10 s) is over: a guest does not stay frozen because somebody here was killed. `thaw` fails when the guest
was not frozen until then: the mark is not of a guest at rest. Nothing but Python's own library is needed. The agent's
protocol: https://www.qemu.org/docs/master/interop/qemu-ga-ref.html
"""

import argparse
import contextlib
import json
import os
import secrets
import signal
import socket
import sys
import time

ANSWER_BYTES_MAX = 1 << 20
THAW_TRIES = 10
MARK = os.environ.get("TIDEMARK_MARK", "")
NOT_FROZEN = "the guest was not frozen until now: its limit was over, or somebody else has thawed it"


class Failed(Exception):
    """A sentence for whoever runs this."""


class Agent:
    """One connection to a guest's agent. The port has room for one client: another one waits until this one goes."""

    def __init__(self, path, timeout_seconds):
        self.deadline = time.monotonic() + timeout_seconds
        self.timeout_seconds = timeout_seconds
        self.rest = b""
        self.stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._wait_no_longer()
            self.stream.connect(path)
        except OSError as error:
            self.stream.close()
            raise Failed(f"{path}: {error.strerror or error}") from error
        self._sync()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()

    def ask(self, command):
        self.deadline = time.monotonic() + self.timeout_seconds
        self._send({"execute": command})
        return self._answer(command)

    def _sync(self):
        """What an earlier client has left is skipped, on both sides: the byte 0xFF is in no JSON."""
        number = secrets.randbits(31)
        self._send({"execute": "guest-sync-delimited", "arguments": {"id": number}}, b"\xff")
        while True:
            self._read_until(b"\xff")
            if self._answer("guest-sync-delimited") == number:
                return

    def _send(self, request, before=b""):
        try:
            self._wait_no_longer()
            self.stream.sendall(before + json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise Failed(f"the guest agent cannot be asked: {error}") from error

    def _answer(self, command):
        line = self._read_until(b"\n")
        try:
            answer = json.loads(line)
            if "error" in answer:
                raise Failed(f"the guest agent refuses {command}: {answer['error'].get('desc', answer['error'])}")
            return answer["return"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Failed(f"the guest agent answers {command} with {line[:100]!r}") from error

    def _read_until(self, end):
        while end not in self.rest:
            if len(self.rest) > ANSWER_BYTES_MAX:
                raise Failed("the guest agent says too much")
            try:
                self._wait_no_longer()
                got = self.stream.recv(65536)
            except OSError as error:
                raise Failed(f"the guest agent does not answer within {self.timeout_seconds:g} s: does it run in the "
                             "guest?") from error
            if not got:
                raise Failed("the guest agent's port was closed: has the guest ended?")
            self.rest += got
        line, _, self.rest = self.rest.partition(end)
        return line

    def _wait_no_longer(self):
        self.stream.settimeout(max(self.deadline - time.monotonic(), 0.001))


# ---- The process that stays: it freezes, and it thaws

def keep(options, listener, tell):
    """Freezes, tells how that went ("" is well), and thaws: when it is told to, when nobody heard, or in the end."""
    frozen_since = None
    try:
        with Agent(options.socket, options.timeout) as agent:
            if agent.ask("guest-fsfreeze-status") != "thawed":
                raise Failed("the guest is frozen already, by somebody else")
            frozen_since = time.monotonic()  # from here on it may be
            if not agent.ask("guest-fsfreeze-freeze"):
                raise Failed("the guest has no file system that can be frozen")
    except Failed as failure:
        trouble = ""
        if frozen_since is None:
            forget(options.place)
        else:
            trouble = thaw_surely(options)[1]
        tell(str(failure) + (f"; {trouble}" if trouble else ""))
        return
    caller = wait_for_thaw(listener, frozen_since + options.freeze_limit) if tell("") else None
    count, trouble = thaw_surely(options)
    if caller is not None:
        with contextlib.suppress(OSError):
            caller.sendall((trouble or ("thawed" if count else NOT_FROZEN)).encode())


def wait_for_thaw(listener, deadline):
    """Whoever wants the guest thawed, for the same mark or for none; None when the time is over."""
    while True:
        try:
            listener.settimeout(max(deadline - time.monotonic(), 0.001))
            caller, _ = listener.accept()
        except OSError:
            return None  # as well when a signal has closed it
        try:
            caller.settimeout(1)
            if caller.recv(4096).decode().strip() in ("", MARK):
                return caller
            caller.sendall(f"the guest is frozen for another mark, {MARK}".encode())
        except (OSError, ValueError):
            pass
        caller.close()


def thaw_surely(options):
    """(how many file systems, what went wrong). Only a guest that is thawed needs no `thaw` any more."""
    for attempt in range(THAW_TRIES):
        try:
            with Agent(options.socket, options.timeout) as agent:
                count = agent.ask("guest-fsfreeze-thaw")
            forget(options.place)
            return count, ""
        except Failed as failure:
            trouble = f"the guest may still be frozen, as it could not be thawed: {failure}"
            time.sleep(min(attempt / 10, 1))
    return 0, trouble


def forget(place):
    with contextlib.suppress(FileNotFoundError):
        os.unlink(place)


# ---- What the commands do

def freeze(options):
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(options.place)
    except OSError as error:
        raise Failed(f"{options.place}: {error.strerror or error}; if an earlier freeze has left it, `thaw` removes "
                     "it") from error
    os.chmod(options.place, 0o600)
    listener.listen()
    hearing, telling = os.pipe()
    if os.fork() == 0:
        stay(options, listener, hearing, telling)
    os.close(telling)
    listener.close()
    with open(hearing, encoding="utf-8") as lines:
        said = lines.read()
    if said != "\n":
        raise Failed(said.strip() or "it was ended while the guest was being frozen; `thaw` sees to it")


def stay(options, listener, hearing, telling):
    os.setsid()  # what ends the command that started it is nothing to it
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, lambda *_: listener.close())  # nobody can tell it to thaw: so it does
    os.close(hearing)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nothing, descriptor)

    def tell(words):
        try:
            os.write(telling, words.encode() + b"\n")
            os.close(telling)
        except OSError:
            return False
        return True

    try:
        keep(options, listener, tell)
    finally:
        os._exit(0)


def thaw(options):
    failed = os.environ.get("TIDEMARK_RESULT") == "failed"  # so perhaps it was not even frozen
    try:
        said = tell_keeper(options)
    except FileNotFoundError:
        # What somebody else has frozen is theirs.
        if failed:
            return
        raise Failed(NOT_FROZEN) from None
    except OSError:
        said = ""
    if said == "thawed":
        return
    if said:
        raise Failed(said)
    # The process that stays was killed, or its time was over just now.
    with Agent(options.socket, options.timeout) as agent:
        count = agent.ask("guest-fsfreeze-thaw")
    forget(options.place)
    if count == 0 and not failed:
        raise Failed(NOT_FROZEN)


def tell_keeper(options):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as keeper:
        keeper.settimeout(options.timeout * 2)
        keeper.connect(options.place)
        keeper.sendall(f"{MARK}\n".encode())
        return keeper.recv(65536).decode()


def status(options):
    with Agent(options.socket, options.timeout) as agent:
        print(agent.ask("guest-fsfreeze-status"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--freeze-limit", type=float, default=10, metavar="SECONDS", help="thaw after so long (10)")
    parser.add_argument("--timeout", type=float, default=15, metavar="SECONDS", help="wait so long for an answer (15)")
    parser.add_argument("socket", metavar="SOCKET")
    parser.add_argument("command", choices=("freeze", "thaw", "status"))
    options = parser.parse_args()
    options.place = options.socket + ".freeze"
    try:
        {"freeze": freeze, "thaw": thaw, "status": status}[options.command](options)
    except Failed as failure:
        print(f"qemu_guest_agent.py: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

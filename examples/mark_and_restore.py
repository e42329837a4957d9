#!/usr/bin/python3
"""A change with a way back, by the HTTP API: a mark before it, and a restore when it fails.

  mark_and_restore.py SOCKET GROUP COMMAND...

SOCKET is the node's control socket (DATA-FOLDER/control.sock). COMMAND makes the change; it must have closed its NBD
connections, or unmounted the volume, when it ends: a restore is refused while somebody writes. The exit status is
COMMAND's; 100 when what it left could not be taken back. Nothing but Python's own library is needed; docs/openapi.yaml
has every request.
"""

import datetime
import http.client
import json
import os
import socket
import subprocess
import sys
import time

TRIES = 3
TIMEOUT_SECONDS = 60


class Refused(Exception):
    """The node's own words; `code` is one of docs/errors.md."""

    def __init__(self, error):
        super().__init__(error["message"])
        self.code = error["code"]


class Node:
    """A node's control API on its unix socket."""

    def __init__(self, path):
        self.path = path

    def ask(self, method, target, body=None):
        connection = http.client.HTTPConnection("localhost", timeout=TIMEOUT_SECONDS)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.sock.settimeout(TIMEOUT_SECONDS)
            connection.sock.connect(self.path)
            text = None if body is None else json.dumps(body)
            connection.request(method, "/v1" + target, text, {"Content-Type": "application/json"} if text else {})
            answer = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        if "error" in answer:
            raise Refused(answer["error"])
        return answer

    def mark(self, group, mark_id, note):
        """Made once, however often it takes: an id that is taken by this host at this time is our own earlier try."""
        host, now = socket.gethostname(), time.time_ns()
        for attempt in range(1, TRIES + 1):
            try:
                return self.ask("POST", f"/groups/{group}/marks",
                                {"id": mark_id, "note": note, "host": host, "host_time": {"ns": now}})
            except Refused as refused:
                if refused.code != "exists":
                    raise
                mark = self.ask("GET", f"/groups/{group}/marks/{mark_id}")
                if mark["host"] == host and mark["host_time"]["ns"] == now:
                    return mark
                raise
            except (OSError, ValueError, http.client.HTTPException):
                if attempt == TRIES:
                    raise
                time.sleep(attempt)

    def restore(self, group, point):
        return self.ask("POST", f"/groups/{group}/restore", {"point": point})


def main():
    if len(sys.argv) < 4:
        print(__doc__.splitlines()[2].strip(), file=sys.stderr)
        return 2
    node, group, command = Node(sys.argv[1]), sys.argv[2], sys.argv[3:]
    stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%d-%H%M%S")
    mark_id = f"before-change-{stamp}-{os.getpid()}"
    try:
        mark = node.mark(group, mark_id, "before: " + " ".join(command))
    except (OSError, ValueError, http.client.HTTPException, Refused) as error:
        print(f"no mark, so nothing is changed: {error}", file=sys.stderr)
        return 1
    print(f"mark {mark_id} at log:{mark['log_id']}", file=sys.stderr)
    status = subprocess.run(command, check=False).returncode
    if status == 0:
        return 0
    print(f"'{command[0]}' failed with status {status}: back to {mark_id}", file=sys.stderr)
    try:
        done = node.restore(group, mark_id)
    except (OSError, ValueError, http.client.HTTPException, Refused) as error:
        print(f"it could not be taken back: {error}", file=sys.stderr)
        return 100
    print(f"to undo even that: restore to log:{done['from']['log_id']}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())

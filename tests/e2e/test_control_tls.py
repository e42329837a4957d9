"""The control API over TCP: TLS 1.3, tokens with roles, and what is written down."""

import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess

from tidemark_testing import MIB, PROGRAMS, Node, main, run, wait_until
from tls_testing import ANY_PORT, Authority, TlsTest

SLOW_CLIENTS = 300  # more than are kept


class Remote:
    """A node as another machine sees it: its control API over TCP, with a token."""

    def __init__(self, test, node, secret=None, ca=None, form="tcp"):
        self.node, self.test = node, test
        address = next(text for text in node.cli("status")["control_addresses"] if text.startswith("tcp:"))
        self.port = int(address.rsplit(":", 1)[1])
        self.address = f"tcp:localhost:{self.port}" if form == "tcp" else f"https://localhost:{self.port}"
        self.ca = ca or test.ca.certificate
        self.secret = secret
        self.token_file = None
        if secret:
            self.token_file = test.path(f"secret-{len(os.listdir(test.folder))}")
            with open(self.token_file, "w", encoding="utf-8", opener=private) as file:
                file.write(secret + "\n")

    def command(self, *arguments, address=None):
        words = [f"{PROGRAMS}/tidemark", "--node", address or self.address]
        if self.ca != "none":
            words += ["--ca", self.ca]
        if self.token_file:
            words += ["--token-file", self.token_file]
        return [*words, *map(str, arguments)]

    def say(self, *arguments, address=None, environment=None):
        """(exit status, standard output, standard error)."""
        done = subprocess.run(self.command(*arguments, address=address), stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=120, check=False, text=True, env={**clean_environment(), **(environment or {})})
        return done.returncode, done.stdout, done.stderr

    def cli(self, *arguments):
        status, out, err = self.say("-o", "json", *arguments)
        self.test.assertEqual(status, 0, out + err)
        return json.loads(out)

    def refused(self, *words, arguments=("status",), address=None, status=1):
        found, out, err = self.say(*arguments, address=address)
        self.test.assertEqual(found, status, out + err)
        for word in words:
            self.test.assertIn(word, err)

    def context(self):
        return ssl.create_default_context(cafile=self.test.ca.certificate)

    def api(self, method, path, secret=None, body=None):
        """(HTTP status, headers, answer) with a client that is not ours."""
        connection = http.client.HTTPSConnection("localhost", self.port, timeout=60, context=self.context())
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        payload = None if body is None else json.dumps(body)
        if payload:
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, path, payload, headers)
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read().decode()
        finally:
            connection.close()


def private(path, flags):
    return os.open(path, flags, 0o600)


def clean_environment():
    return {name: value for name, value in os.environ.items() if not name.startswith("TIDEMARK_")}


class ControlTest(TlsTest):
    def setUp(self):
        super().setUp()
        self.tokens = self.path("tokens")
        self.secrets = {role: self.token(role, role) for role in ("viewer", "operator", "administrator")}

    def token(self, name, role, *options):
        """A new token's secret; its line is added to the file."""
        return run(f"{PROGRAMS}/tidemark", "token", "create", name, "--role", role, "--file", self.tokens,
                   *options).strip()

    def serve(self, *options, issued=None, tokens=True, address=ANY_PORT):
        node = self.node("tokyo", start=False)
        more = ("--control-tokens", self.tokens) if tokens else ()
        return node.start("--control", address, "--control", f"unix:{node.folder}/control.sock", *more,
                          *self.ca.options(issued or self.ca.issue("tokyo")), *options)

    def remote(self, node, role="administrator", **more):
        return Remote(self, node, self.secrets.get(role), **more)

    def audit(self, node):
        with open(os.path.join(node.folder, "audit.log"), encoding="utf-8") as file:
            return file.read().splitlines()


class Works(ControlTest):
    def test_everything_works_from_elsewhere(self):
        node = self.serve(address="tcp:0.0.0.0:0")
        remote = self.remote(node)
        remote.cli("group", "create", "app")
        remote.cli("volume", "create", "app/db", "--size", "8M")
        data = os.urandom(2 * MIB)
        node.write("app/db", 0, data)
        remote.cli("mark", "create", "app", "one")
        node.write("app/db", 0, b"x" * MIB)
        self.assertEqual([mark["id"] for mark in remote.cli("mark", "list", "app")["marks"]], ["one"])
        plain, over_tls = self.path("plain.tmj"), self.path("tls.tmj")
        node.cli("journal", "export", "app", plain)
        status, out, err = remote.say("journal", "export", "app", over_tls)
        self.assertEqual(status, 0, out + err)
        self.assertGreater(os.path.getsize(over_tls), 3 * MIB)
        run("/usr/bin/python3", os.path.join(os.path.dirname(__file__), "../../examples/read_journal_export.py"), "verify",
            over_tls)
        remote.cli("restore", "app", "--to", "one")
        self.assertEqual(node.read("app/db", 0, len(data)), data)
        remote.cli("group", "delete", "app", "--force")
        self.assertEqual(remote.cli("group", "list")["groups"], [])

    def test_what_waits_and_watches_works_too(self):
        node = self.serve()
        osaka = self.node("osaka")
        node.create("app", "db")
        remote = self.remote(node)
        status, out, err = remote.say("pair", "create", "app", "--peer", f"unix:{osaka.folder}/replication.sock", "--wait")
        self.assertEqual(status, 0, out + err)
        self.assertEqual(remote.cli("pair", "status", "app")["state"], "PAIR")
        node.write("app/db", 0, os.urandom(MIB))
        remote.cli("mark", "create", "app", "there", "--wait", "peer")
        watch = subprocess.Popen(remote.command("pair", "status", "app", "--watch", "--interval", "1s"),
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment())
        try:
            self.assertTrue(watch.stdout.readline())
            self.assertTrue(watch.stdout.readline())
        finally:
            watch.terminate()
            watch.communicate(timeout=60)

    def test_the_forms_of_saying_who_and_where(self):
        node = self.serve()
        remote = self.remote(node, form="https")
        self.assertEqual(remote.cli("status")["node"], "tokyo")
        # All from the environment.
        bare = Remote(self, node, ca="none")
        status, out, err = bare.say("status", environment={
            "TIDEMARK_CA": self.ca.certificate, "TIDEMARK_TOKEN": self.secrets["viewer"]})
        self.assertEqual(status, 0, out + err)
        status, out, err = bare.say("status", environment={
            "TIDEMARK_CA": self.ca.certificate, "TIDEMARK_TOKEN_FILE": remote.token_file})
        self.assertEqual(status, 0, out + err)
        status, out, err = bare.say("status", environment={"TIDEMARK_TOKEN_FILE": self.path("gone")})
        self.assertEqual(status, 2, out + err)
        self.assertIn("gone", err)
        os.chmod(remote.token_file, 0o644)
        status, _, err = remote.say("status")
        self.assertEqual(status, 0)
        self.assertIn("chmod 600", err)
        # A foreign client, and what is for everybody.
        self.assertEqual(remote.api("GET", "/healthz")[0], 200)
        self.assertEqual(remote.api("GET", "/metrics")[0], 401)
        status, _, text = remote.api("GET", "/metrics", self.secrets["viewer"])
        self.assertEqual(status, 200)
        self.assertIn('tidemark_control_denied_total{reason="no-token"} 1\n', text)
        said = run("curl", "--silent", "--show-error", "--cacert", self.ca.certificate, "--header",
                   f"Authorization: Bearer {self.secrets['viewer']}", f"https://localhost:{remote.port}/v1/status")
        self.assertEqual(json.loads(said)["node"], "tokyo")


class Roles(ControlTest):
    def test_each_role_does_what_it_may(self):
        node = self.serve()
        node.create("app", "db", size="8M")
        viewer, operator, administrator = (self.remote(node, role) for role in ("viewer", "operator", "administrator"))
        self.assertEqual(viewer.cli("group", "show", "app")["group"], "app")
        viewer.refused("the token 'viewer' has the role viewer, and mark_create needs operator",
                       arguments=("mark", "create", "app", "one"))
        operator.cli("mark", "create", "app", "one")
        operator.refused("restore needs administrator", arguments=("restore", "app", "--to", "one"))
        administrator.cli("restore", "app", "--to", "one")
        lines = [line for line in self.audit(node) if " client=127.0.0.1:" in line]
        self.assertEqual(len(lines), 4, lines)
        for line, words in zip(lines, (
                ("token=viewer role=viewer operation=mark_create", "outcome=denied"),
                ("token=operator role=operator operation=mark_create", "outcome=done"),
                ("token=operator role=operator operation=restore", "outcome=denied"),
                ("token=administrator role=administrator operation=restore", "outcome=done"))):
            for word in words:
                self.assertIn(word, line)
        for secret in self.secrets.values():
            self.assertNotIn(secret, "\n".join(self.audit(node)) + node.log(1000))

    def test_a_token_that_is_taken_away_is_one_no_longer(self):
        node = self.serve()
        operator, viewer = self.remote(node, "operator"), self.remote(node, "viewer")
        self.assertEqual(operator.cli("status")["node"], "tokyo")
        with open(self.tokens, encoding="utf-8") as file:
            lines = file.readlines()
        with open(self.tokens, "w", encoding="utf-8") as file:
            file.writelines(line for line in lines if not line.startswith("operator "))
        operator.refused("none of this node's, or no longer")
        self.assertEqual(viewer.cli("status")["node"], "tokyo")
        self.assertLogged(node, "control-tokens-read", "tokens=2")
        late = Remote(self, node, self.token("late", "viewer", "--expires", "7d"))
        self.assertEqual(late.cli("status")["node"], "tokyo")
        with open(self.tokens, "a", encoding="utf-8") as file:
            file.write("nonsense\n")
        self.assertEqual(late.cli("status")["node"], "tokyo")
        self.assertLogged(node, "control-tokens-unusable", "line 4")

    def test_a_token_ends_when_it_says(self):
        secret = self.token("brief", "administrator", "--expires", "4s")
        node = self.serve()
        brief = Remote(self, node, secret)

        def expired():
            status, _, err = brief.say("status")
            self.assertTrue(status == 0 or "expired at" in err, err)
            return status != 0

        wait_until(expired, "the token has expired")
        brief.refused("the token 'brief' expired at", "tidemark token create")

    def test_tokens_are_made_with_care(self):
        def fails(*arguments, status, word):
            done = subprocess.run([f"{PROGRAMS}/tidemark", "token", "create", *arguments], capture_output=True, text=True,
                                  check=False, timeout=60)
            self.assertEqual(done.returncode, status, done)
            self.assertIn(word, done.stderr)

        self.assertEqual(os.stat(self.tokens).st_mode & 0o777, 0o600)
        fails("x", status=2, word="--role is required")
        fails("x", "--role", "root", status=2, word="viewer|operator|administrator")
        fails("x", "--role", "viewer", "--expires", "yesterday", status=2, word="neither a time")
        fails("x", "--role", "viewer", "--expires", "2001-01-01T00:00:00Z", status=2, word="is over")
        fails("a b", "--role", "viewer", status=2, word="token name")
        with open(self.tokens, encoding="utf-8") as file:
            before = file.read()
        fails("viewer", "--role", "viewer", "--file", self.tokens, status=1, word="there is a token 'viewer' already")
        with open(self.tokens, encoding="utf-8") as file:
            self.assertEqual(file.read(), before)
        secret, line = run(f"{PROGRAMS}/tidemark", "token", "create", "x", "--role", "operator").splitlines()
        hashed = run("sha256sum", input=secret).split()[0]
        self.assertEqual(line, f"x operator {hashed}")
        row = json.loads(run(f"{PROGRAMS}/tidemark", "-o", "json", "token", "create", "y", "--role", "viewer"))
        self.assertEqual(row["columns"], ["name", "role", "secret", "line"])


class Refusals(ControlTest):
    def test_who_has_no_token_gets_nowhere(self):
        node = self.serve()
        Remote(self, node).refused("wants a token", "--token-file")
        Remote(self, node, "tidemark-" + 64 * "0").refused("none of this node's")
        status, headers, text = Remote(self, node).api("DELETE", "/v1/groups/app", "guess")
        self.assertEqual(status, 401)
        self.assertEqual(headers["WWW-Authenticate"], 'Bearer realm="tidemark", error="invalid_token"')
        self.assertEqual(json.loads(text)["error"]["code"], "denied")
        self.assertLogged(node, "control-denied", "client=127.0.0.1:", "DELETE /v1/groups/app")
        self.assertIn("outcome=denied", self.audit(node)[-1])

    def test_certificates_that_do_not_count(self):
        other = Authority(self.path("other"), "other")
        node = self.serve()
        remote = self.remote(node)
        Remote(self, node, remote.secret, ca=other.certificate).refused("CN=tokyo", "not accepted", "--ca FILE")
        Remote(self, node, remote.secret, ca="none").refused("not accepted", "--ca FILE",
                                                             address=f"https://localhost:{remote.port}")
        remote.refused("other names than '127.0.0.1'", "subjectAltName", address=f"tcp:127.0.0.1:{remote.port}")
        remote.ca = self.path("gone.pem")
        remote.refused("--ca", "gone.pem")
        # The secret is not sent to who cannot prove to be the node.
        self.assertNotIn("token", node.log(1000))
        node.stop()
        self.nodes.remove(node)
        expired = self.serve(issued=self.ca.issue("expired", days=-1))
        self.remote(expired).refused("certificate has expired")
        self.assertLogged(expired, "control-refused", "expired")

    def test_nothing_older_than_tls_13_is_spoken(self):
        node = self.serve()
        remote = self.remote(node)
        context = remote.context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with self.assertRaises(ssl.SSLError) as raised:
            with socket.create_connection(("localhost", remote.port), timeout=30) as raw:
                context.wrap_socket(raw, server_hostname="localhost")
        self.assertIn("PROTOCOL_VERSION", str(raised.exception).upper().replace(" ", "_"))
        with socket.create_connection(("localhost", remote.port), timeout=30) as raw:
            with remote.context().wrap_socket(raw, server_hostname="localhost") as stream:
                self.assertEqual(stream.version(), "TLSv1.3")
        self.assertLogged(node, "control-refused", "does not speak TLS 1.3")

    def test_plain_and_tls_do_not_mix_and_say_so(self):
        node = self.serve()
        remote = self.remote(node)
        remote.ca = "none"
        remote.refused("speaks TLS 1.3 and nothing else", "--ca FILE", address=f"tcp:localhost:{remote.port}")
        self.assertLogged(node, "control-refused", "does not speak TLS")
        node.stop()
        self.nodes.remove(node)
        plain = self.serve(tokens=False)
        remote = Remote(self, plain)
        remote.refused("does not speak TLS", "leave https:// and --ca (TIDEMARK_CA) away")
        remote.ca = "none"
        # Loopback as it has been: in the clear, and open.
        self.assertEqual(remote.cli("status")["node"], "tokyo")

    def test_other_machines_need_both_tls_and_tokens(self):
        good = self.ca.options(self.ca.issue("tokyo"))
        for options, words in (((), ("--tls-cert", "--control-tokens", "tidemark token create")),
                               (good, ("--control-tokens",)),
                               (("--control-tokens", self.tokens), ("--tls-cert",))):
            node = Node(self.path("x"), "x")
            node.start("--control", "tcp:0.0.0.0:0", *options, wait=False)
            self.assertEqual(node.process.wait(60), 2)
            for word in ("--control:", "tcp:0.0.0.0:0", *words):
                self.assertIn(word, node.log(1))
            self.assertFalse(os.path.exists(self.path("x/identity")))
        node = self.node("y", start=False)
        with open(self.tokens, "a", encoding="utf-8") as file:
            file.write("nonsense\n")
        node.start("--control-tokens", self.tokens, wait=False)
        self.assertEqual(node.process.wait(60), 1)
        self.assertIn(f"--control-tokens '{self.tokens}': line 4", node.log(1))

    def test_certificates_are_renewed_without_a_restart(self):
        issued = self.ca.issue("tokyo")
        node = self.serve(issued=issued)
        remote = self.remote(node)
        self.assertEqual(remote.cli("status")["node"], "tokyo")
        renewed = self.ca.issue("renewed")
        shutil.copy(renewed.key, issued.key)
        shutil.copy(renewed.certificate, issued.certificate)
        with socket.create_connection(("localhost", remote.port), timeout=30) as raw:
            with remote.context().wrap_socket(raw, server_hostname="localhost") as stream:
                self.assertIn((("commonName", "renewed"),), stream.getpeercert()["subject"])
        self.assertLogged(node, "tls-files-read", "for=control")


class SlowClients(ControlTest):
    def test_clients_that_are_slow_hold_nobody_up(self):
        node = self.serve()
        remote = self.remote(node)
        slow = []
        hello = bytes.fromhex("1603010200010001fc0303")  # the beginning of a ClientHello
        try:
            for i in range(SLOW_CLIENTS):
                peer = socket.create_connection(("localhost", remote.port), timeout=30)
                slow.append(peer)
                if i % 3 == 1:
                    peer.sendall(hello)
                elif i % 3 == 2 and i < 100:
                    stream = remote.context().wrap_socket(peer, server_hostname="localhost")
                    stream.sendall(b"POST /v1/groups HTTP/1.1\r\nHost:")
                    slow.append(stream)
                if i % 100 == 99:
                    self.assertEqual(remote.cli("status")["node"], "tokyo")
                    self.assertFalse(self.is_gone(slow[-1]), "it was waited for")
            # In the end they are gone, whatever they do.
            wait_until(lambda: self.is_gone(slow[0]), "the first one was sent away", 30)
        finally:
            for peer in slow:
                peer.close()
        node.stop()

    def is_gone(self, peer):
        peer.setblocking(False)
        try:
            return peer.recv(1) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True


if __name__ == "__main__":
    main()

"""TLS: what a pair's link is made of between machines, and who is not let in."""

import os
import shutil
import socket
import ssl
import subprocess
import threading

from tidemark_testing import MIB, main, wait_until
from tls_testing import ANY_PORT, Authority, TlsTest


class Pairs(TlsTest):
    def test_a_pair_over_tls_replicates_and_swaps_its_roles(self):
        tokyo = self.start("tokyo", self.ca.issue("tokyo"))
        osaka = self.start("osaka", self.ca.issue("osaka"))
        self.pair_up(tokyo, osaka)
        data = os.urandom(3 * MIB)
        tokyo.write("app/db", 0, data)
        tokyo.mark("app", "written", "--wait", "peer")
        self.assertEqual(osaka.read("app/db@written", 0, len(data)), data)
        self.assertEqual(tokyo.cli("pair", "status", "app")["peer_certificate"], "CN=osaka")
        self.assertEqual(osaka.cli("pair", "status", "app")["peer_certificate"], "CN=tokyo")
        tokyo.cli("pair", "resync", "app", "--swap")
        osaka.write("app/db", MIB, data[:MIB])
        osaka.mark("app", "swapped", "--wait", "peer")
        self.assertEqual(tokyo.read("app/db@swapped", MIB, MIB), data[:MIB])

    def test_a_pair_from_before_is_bound_by_its_first_link_over_tls(self):
        tokyo = self.start("tokyo", None)
        osaka = self.start("osaka", None)
        self.pair_up(tokyo, osaka)
        addresses = {node: self.address(node) for node in (tokyo, osaka)}
        for node in (tokyo, osaka):
            self.assertEqual(node.cli("pair", "status", "app")["peer_certificate"], "")
            node.stop()
        for node in (osaka, tokyo):
            node.start("--replication", addresses[node], *self.ca.options(self.ca.issue(node.name)))
        self.wait_for_link(tokyo, True)
        for node, peer in ((tokyo, osaka), (osaka, tokyo)):
            wait_until(lambda node=node, peer=peer: node.cli("pair", "status", "app")["peer_certificate"] ==
                       f"CN={peer.name}", f"{node.name} knows {peer.name}")
        # There is no way back to a link that proves nothing.
        for node in (tokyo, osaka):
            node.stop()
        for node in (osaka, tokyo):
            node.start("--replication", addresses[node])
        self.assertLogged(tokyo, "link-refused", "shows no certificate", "CN=osaka")
        self.assertFalse(tokyo.cli("pair", "status", "app")["link_up"])

    def test_nothing_of_it_is_readable_on_the_wire(self):
        tokyo = self.start("tokyo", self.ca.issue("tokyo"))
        osaka = self.start("osaka", self.ca.issue("osaka"))
        relay = Relay(self.port(osaka))
        self.addCleanup(relay.stop)
        tokyo.create("app", "db")
        tokyo.cli("pair", "create", "app", "--peer", f"tcp:127.0.0.1:{relay.port}")
        self.wait_for_state(tokyo, "PAIR")
        secret = b"nobody must read this on the way" * 128
        tokyo.write("app/db", 0, secret)
        tokyo.mark("app", "mark-on-the-wire", "--wait", "peer")
        self.assertGreater(len(relay.seen), len(secret))
        for word in (b"nobody must read", b"mark-on-the-wire", b"TML1"):
            self.assertNotIn(word, bytes(relay.seen))

    def test_a_link_that_is_cut_off_comes_back(self):
        tokyo = self.start("tokyo", self.ca.issue("tokyo"))
        osaka = self.start("osaka", self.ca.issue("osaka"))
        relay = Relay(self.port(osaka))
        self.addCleanup(relay.stop)
        tokyo.create("app", "db")
        tokyo.cli("pair", "create", "app", "--peer", f"tcp:127.0.0.1:{relay.port}")
        self.wait_for_state(tokyo, "PAIR")
        relay.cut()
        self.assertLogged(osaka, "link-down", "cut off")
        self.wait_for_link(tokyo, True)
        tokyo.write("app/db", 0, b"x" * MIB)
        tokyo.mark("app", "after", "--wait", "peer")

    def test_certificates_are_renewed_without_a_restart(self):
        issued = self.ca.issue("osaka")
        tokyo = self.start("tokyo", self.ca.issue("tokyo"))
        osaka = self.start("osaka", issued)
        self.pair_up(tokyo, osaka)
        renewed = self.ca.issue("renewed", subject="/CN=osaka")
        shutil.copy(renewed.key, issued.key)
        shutil.copy(renewed.certificate, issued.certificate)
        tokyo.cli("pair", "suspend", "app")
        tokyo.cli("pair", "resync", "app")
        self.wait_for_link(tokyo, True)
        self.assertLogged(osaka, "tls-files-read")
        self.assertNotIn("tls-files-unusable", osaka.log(1000))


class Refusals(TlsTest):
    def refused_pair(self, tokyo, osaka, *words):
        tokyo.create("app", "db")
        refusal = tokyo.refused("pair", "create", "app", "--peer", self.address(osaka))
        self.assertEqual(refusal.status, 1)
        for word in words:
            self.assertIn(word, refusal.message)
        self.assertEqual(osaka.cli("group", "list")["groups"], [])

    def test_a_certificate_of_another_ca_is_refused_by_the_server(self):
        other = Authority(self.path("other"), "other")
        stranger = other.issue("tokyo")
        both = self.path("both.pem")
        with open(both, "wb") as out:
            for authority in (self.ca, other):
                with open(authority.certificate, "rb") as part:
                    out.write(part.read())
        osaka = self.start("osaka", self.ca.issue("osaka"))
        tokyo = self.node("tokyo", start=False)
        tokyo.start("--tls-cert", stranger.certificate, "--tls-key", stranger.key, "--tls-ca", both)
        self.refused_pair(tokyo, osaka, "does not know the CA")
        self.assertLogged(osaka, "link-refused", "CN=tokyo", "not accepted")
        self.assertLogged(tokyo, "link-refused", "does not know the CA")

    def test_a_certificate_of_another_ca_is_refused_by_the_client(self):
        other = Authority(self.path("other"), "other")
        osaka = self.start("osaka", other.issue("osaka"), ca=other)
        tokyo = self.start("tokyo", self.ca.issue("tokyo"))
        self.refused_pair(tokyo, osaka, "CN=osaka", "not accepted here")
        self.assertLogged(osaka, "link-refused")

    def test_an_expired_certificate_is_refused_on_either_side(self):
        expired = self.ca.issue("old", days=-1)
        osaka = self.start("osaka", self.ca.issue("osaka"))
        tokyo = self.start("tokyo", expired)
        self.refused_pair(tokyo, osaka, "expired")
        self.assertLogged(osaka, "link-refused", "CN=old", "expired")
        kobe = self.start("kobe", self.ca.issue("kobe"))
        kobe.create("app", "db")
        refusal = kobe.refused("pair", "create", "app", "--peer", self.address(tokyo))
        self.assertIn("expired", refusal.message)

    def test_a_peer_without_tls_is_refused_on_either_side(self):
        osaka = self.start("osaka", self.ca.issue("osaka"))
        plain = self.start("plain", None)
        self.refused_pair(plain, osaka)
        self.assertLogged(osaka, "link-refused", "does not speak TLS")
        osaka.create("mine", "db")
        refusal = osaka.refused("pair", "create", "mine", "--peer", self.address(plain))
        self.assertIn("does the other side speak TLS", refusal.message)

    def s_client(self, node, *options):
        """Output of openssl s_client, which says nothing and waits for the server."""
        done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{self.port(node)}", *options],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60,
                              check=False, text=True, errors="replace")
        return done.returncode, done.stdout

    def test_nothing_older_than_tls_13_is_spoken(self):
        osaka = self.start("osaka", self.ca.issue("osaka"))
        me = self.ca.issue("me")
        status, said = self.s_client(osaka, "-tls1_2", "-cert", me.certificate, "-key", me.key)
        self.assertNotEqual(status, 0)
        self.assertIn("protocol version", said)
        self.assertLogged(osaka, "link-refused", "does not speak TLS 1.3")

    def test_a_client_that_shows_no_certificate_is_refused(self):
        osaka = self.start("osaka", self.ca.issue("osaka"))
        context = ssl.create_default_context(cafile=self.ca.certificate)
        context.check_hostname = False
        with self.assertRaises(ssl.SSLError) as raised:
            with socket.create_connection(("127.0.0.1", self.port(osaka)), timeout=30) as raw:
                with context.wrap_socket(raw) as stream:
                    self.assertEqual(stream.version(), "TLSv1.3")
                    stream.recv(1)
        self.assertIn("CERTIFICATE_REQUIRED", str(raised.exception).upper().replace(" ", "_"))
        self.assertLogged(osaka, "link-refused", "shows no certificate")

    def test_after_pairing_another_certificate_of_the_same_ca_is_refused(self):
        tokyo = self.start("tokyo", self.ca.issue("tokyo"))
        osaka = self.start("osaka", self.ca.issue("osaka"))
        self.pair_up(tokyo, osaka)
        osaka_address = self.address(osaka)
        # The secondary comes back as somebody else.
        osaka.stop()
        osaka.start("--replication", osaka_address, *self.ca.options(self.ca.issue("mallory")))
        self.assertLogged(tokyo, "link-refused", "CN=mallory", "CN=osaka")
        status = tokyo.cli("pair", "status", "app")
        self.assertFalse(status["link_up"])
        self.assertIn("CN=mallory", status["state_reason"])
        osaka.stop()
        osaka.start("--replication", osaka_address, *self.ca.options(self.ca.issue("osaka")))
        self.wait_for_link(tokyo, True)
        # The primary comes back as somebody else.
        tokyo.stop()
        tokyo.start("--replication", ANY_PORT, *self.ca.options(self.ca.issue("mallory")))
        self.assertLogged(osaka, "link-refused", "CN=mallory", "CN=tokyo")
        self.assertLogged(tokyo, "link-refused", "CN=mallory", "CN=tokyo")
        wait_until(lambda: "CN=mallory" in osaka.cli("pair", "status", "app")["state_reason"], "osaka shows it")
        self.assertEqual(tokyo.cli("pair", "status", "app")["state"], "PAIR")
        tokyo.stop()
        tokyo.start("--replication", ANY_PORT, *self.ca.options(self.ca.issue("tokyo")))
        self.wait_for_link(tokyo, True)

    def test_plaintext_stays_on_the_machine(self):
        tokyo = self.node("tokyo", start=False)
        tokyo.start("--replication", "tcp:0.0.0.0:0", wait=False)
        self.assertEqual(tokyo.process.wait(60), 2)
        self.assertIn("--tls-cert", tokyo.log())
        self.assertIn("--replication-plaintext", tokyo.log())
        tokyo.start()
        tokyo.create("app", "db")
        refusal = tokyo.refused("pair", "create", "app", "--peer", "tcp:192.0.2.1:7083")
        self.assertRefused(refusal, "refused", "--tls-cert", "--replication-plaintext")
        osaka = self.node("osaka", start=False)
        osaka.start("--replication", "tcp:0.0.0.0:0", "--replication-plaintext")
        kobe = self.node("kobe", start=False)
        kobe.start("--replication-plaintext")
        kobe.create("app", "db")
        kobe.cli("pair", "create", "app", "--peer", f"tcp:127.0.0.1:{self.port(osaka)}")
        self.wait_for_state(kobe, "PAIR")

    def test_files_that_cannot_be_used_are_named(self):
        good = self.ca.issue("tokyo")
        other = self.ca.issue("other")
        with open(self.path("text"), "w", encoding="utf-8") as file:
            file.write("no certificate\n")
        tokyo = self.node("tokyo", start=False)
        for cert, key, ca, words in (
                (good.certificate, other.key, self.ca.certificate, ("--tls-key", "other.key", "belongs to the certificate")),
                (good.certificate, self.path("gone"), self.ca.certificate, ("--tls-key", "gone", "No such file")),
                (self.path("text"), good.key, self.ca.certificate, ("--tls-cert", "text")),
                (good.certificate, good.key, self.path("text"), ("--tls-ca", "text"))):
            tokyo.start("--tls-cert", cert, "--tls-key", key, "--tls-ca", ca, wait=False)
            self.assertEqual(tokyo.process.wait(60), 1)
            for word in words:
                self.assertIn(word, tokyo.log(1))
        tokyo.start("--tls-cert", good.certificate, wait=False)
        self.assertEqual(tokyo.process.wait(60), 2)
        self.assertIn("--tls-key", tokyo.log(1))

    def test_a_key_that_others_may_read_is_told(self):
        good = self.ca.issue("tokyo")
        os.chmod(good.key, 0o644)
        tokyo = self.start("tokyo", good)
        self.assertLogged(tokyo, "tls-key-exposed", good.key)


class Relay:
    """Passes connections on to a port, byte for byte, and keeps what went that way."""

    def __init__(self, target):
        self.target = target
        self.seen = bytearray()
        self.sockets = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self._spawn(self._accept)

    def _spawn(self, function, *arguments):
        threading.Thread(target=function, args=arguments, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client = self.listener.accept()[0]
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            self.sockets += [client, server]
            self._spawn(self._pass, client, server)
            self._spawn(self._pass, server, client)

    def _pass(self, source, sink):
        try:
            while data := source.recv(65536):
                self.seen += data
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        """Ends every connection, in order as TCP sees it and in the middle as TLS does."""
        for end in self.sockets:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()
        self.sockets.clear()

    def stop(self):
        self.listener.close()
        self.cut()


if __name__ == "__main__":
    main()

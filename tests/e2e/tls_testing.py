"""Nodes with certificates, made with openssl as docs/tls.md says."""

import os
import shutil

from tidemark_testing import TidemarkTest, run, wait_until

ANY_PORT = "tcp:127.0.0.1:0"
EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


class Certificate:
    def __init__(self, folder, name):
        self.certificate = os.path.join(folder, name + ".pem")
        self.key = os.path.join(folder, name + ".key")


class Authority(Certificate):
    """A CA in a folder of its own, and the certificates that it gives."""

    def __init__(self, folder, name="ca"):
        os.makedirs(folder)
        super().__init__(folder, name)
        self.folder = folder
        run("openssl", "req", "-x509", *EC, "-days", 30, "-subj", f"/CN=Tidemark test {name}", "-keyout", self.key,
            "-out", self.certificate)

    def issue(self, name, subject=None, days=30):
        """A certificate for `subject` (CN=`name`) and localhost; with negative `days` one that has expired."""
        issued = Certificate(self.folder, name)
        request = os.path.join(self.folder, name + ".csr")
        run("openssl", "req", "-new", *EC, "-subj", subject or f"/CN={name}", "-addext",
            "subjectAltName=DNS:localhost", "-keyout", issued.key, "-out", request)
        run("openssl", "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial",
            "-copy_extensions", "copy", "-days", days, "-out", issued.certificate)
        return issued

    def client_folder(self, issued=None):
        """A folder as libnbd and qemu want it, with the CA and, when there is one, a client's certificate."""
        folder = os.path.join(self.folder, "client-" + (os.path.basename(issued.key) if issued else "nobody"))
        os.makedirs(folder)
        shutil.copy(self.certificate, os.path.join(folder, "ca-cert.pem"))
        if issued:
            shutil.copy(issued.certificate, os.path.join(folder, "client-cert.pem"))
            shutil.copy(issued.key, os.path.join(folder, "client-key.pem"))
        return folder

    def options(self, issued):
        """What tidemarkd is started with, to show `issued` and to accept this CA's."""
        return ("--tls-cert", issued.certificate, "--tls-key", issued.key, "--tls-ca", self.certificate)


class TlsTest(TidemarkTest):
    def setUp(self):
        super().setUp()
        self.ca = Authority(self.path("ca"))

    def start(self, name, issued, *options, ca=None, address=ANY_PORT):
        """A node whose replication service is on TCP, with a certificate."""
        node = self.node(name, start=False)
        tls = (ca or self.ca).options(issued) if issued else ()
        return node.start("--replication", address, *tls, *options)

    def address(self, node):
        return node.cli("status")["replication_addresses"][0]

    def port(self, node):
        return int(self.address(node).rsplit(":", 1)[1])

    def pair_up(self, primary, secondary):
        primary.create("app", "db")
        primary.cli("pair", "create", "app", "--peer", self.address(secondary))
        self.wait_for_state(primary, "PAIR")

    def assertLogged(self, node, event, *words):
        def logged():
            return any(line.split()[1:2] == [event] and all(word in line for word in words)
                       for line in node.log(1000).splitlines())

        wait_until(logged, f"{node.name} logs {event} with {words}", 30)

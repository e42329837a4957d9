"""NBD inside TLS, with the clients that people have."""

import json
import os
import shutil

from tidemark_testing import MIB, main, run
from tls_testing import ANY_PORT, Authority, TlsTest


class Nbd(TlsTest):
    def setUp(self):
        super().setUp()
        self.client = self.ca.client_folder(self.ca.issue("host"))

    def serve(self, *options):
        node = self.start("tokyo", self.ca.issue("tokyo"), "--nbd", ANY_PORT, *options)
        node.create("app", "db", size="8M")
        return node

    def serve_on_both(self, *options):
        node = self.node("tokyo", start=False)
        tls = self.ca.options(self.ca.issue("tokyo"))
        node.start("--nbd", ANY_PORT, "--nbd", f"unix:{node.nbd_socket}", *tls, *options)
        node.create("app", "db", size="8M")
        return node

    def nbd_port(self, node):
        addresses = node.cli("status")["nbd_addresses"]
        return next(int(text.rsplit(":", 1)[1]) for text in addresses if text.startswith("tcp:"))

    def nbds(self, node, folder=None, export="app/db"):
        return f"nbds://localhost:{self.nbd_port(node)}/{export}?tls-certificates={folder or self.client}"

    def test_real_clients_read_and_write_inside_tls(self):
        node = self.serve_on_both()
        uri = self.nbds(node)
        info = json.loads(run("nbdinfo", "--json", uri))
        self.assertTrue(info["TLS"])
        self.assertEqual(info["exports"][0]["export-size"], 8 * MIB)
        self.assertIn("app/db", run("nbdinfo", "--list", self.nbds(node, export="")))
        image = self.path("image")
        data = os.urandom(8 * MIB)
        with open(image, "wb") as file:
            file.write(data)
        run("nbdcopy", image, uri)
        run("nbdcopy", uri, self.path("back"))
        with open(self.path("back"), "rb") as file:
            self.assertEqual(file.read(), data)
        unix = f"nbds+unix:///app/db?socket={node.nbd_socket}&tls-certificates={self.client}&tls-hostname=localhost"
        self.assertTrue(json.loads(run("nbdinfo", "--json", unix))["TLS"])
        # Without it, as it is only offered.
        self.assertEqual(node.read("app/db"), data)

    def test_qemu_reads_inside_tls(self):
        node = self.serve("--nbd-tls", "required")
        said = run("qemu-img", "compare", "--object", f"tls-creds-x509,id=tls,dir={self.client},endpoint=client",
                   "--image-opts", f"driver=nbd,host=localhost,port={self.nbd_port(node)},export=app/db,tls-creds=tls",
                   "driver=null-co,size=8M,read-zeroes=on")
        self.assertIn("identical", said)

    def test_where_it_is_required_nothing_goes_without(self):
        node = self.serve_on_both("--nbd-tls", "required")
        plain = f"nbd://localhost:{self.nbd_port(node)}/app/db"
        with self.assertRaises(AssertionError) as raised:
            run("nbdinfo", plain)
        self.assertIn("TLS", str(raised.exception))
        self.assertTrue(json.loads(run("nbdinfo", "--json", self.nbds(node)))["TLS"])
        status, out, _ = node.try_cli("uri", "app/db")
        self.assertEqual(status, 0)
        self.assertIn("nbds://127.0.0.1", out)
        # The socket's file guards it, and the tools of the machine go on.
        self.assertEqual(node.read("app/db", 0, 4096), bytes(4096))
        node.cli("export", "app/db", self.path("image"))

    def test_who_has_no_certificate_of_the_ca_is_not_served(self):
        node = self.serve()
        other = Authority(self.path("other"), "other")
        stranger = other.issue("stranger")
        folder = other.client_folder(stranger)
        shutil.copy(self.ca.certificate, os.path.join(folder, "ca-cert.pem"))
        run("nbdinfo", self.nbds(node, folder), status=1)
        self.assertLogged(node, "nbd-end", "CN=stranger", "not accepted")
        run("nbdinfo", self.nbds(node, self.ca.client_folder()), status=1)
        self.assertLogged(node, "nbd-end", "shows no certificate")

    def test_hosts_may_have_a_ca_of_their_own(self):
        hosts = Authority(self.path("hosts"), "hosts")
        folder = hosts.client_folder(hosts.issue("host"))
        shutil.copy(self.ca.certificate, os.path.join(folder, "ca-cert.pem"))
        node = self.serve("--nbd-tls-ca", hosts.certificate)
        self.assertTrue(json.loads(run("nbdinfo", "--json", self.nbds(node, folder)))["TLS"])
        run("nbdinfo", self.nbds(node), status=1)
        self.assertLogged(node, "nbd-end", "CN=host", "not accepted")

    def test_what_cannot_be_is_refused(self):
        tokyo = self.node("tokyo", start=False)
        for options, word in ((("--nbd-tls", "required"), "--tls-cert"), (("--nbd-tls", "perhaps"), "offered")):
            tokyo.start(*options, wait=False)
            self.assertEqual(tokyo.process.wait(60), 2)
            self.assertIn("--nbd-tls", tokyo.log(1))
            self.assertIn(word, tokyo.log(1))
        off = self.serve("--nbd-tls", "off")
        run("nbdinfo", self.nbds(off), status=1)
        run("nbdinfo", f"nbd://localhost:{self.nbd_port(off)}/app/db")


if __name__ == "__main__":
    main()

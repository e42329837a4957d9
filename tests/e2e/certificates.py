"""Certificates for the end-to-end tests, made with openssl as docs/tls.md says."""

import os

from tidemark_testing import run

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
        """A certificate for `subject` (CN=`name`); with negative `days` one that has expired."""
        issued = Certificate(self.folder, name)
        request = os.path.join(self.folder, name + ".csr")
        run("openssl", "req", "-new", *EC, "-subj", subject or f"/CN={name}", "-keyout", issued.key, "-out", request)
        run("openssl", "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial",
            "-days", days, "-out", issued.certificate)
        return issued

    def options(self, issued):
        """What tidemarkd is started with, to show `issued` and to accept this CA's."""
        return ("--tls-cert", issued.certificate, "--tls-key", issued.key, "--tls-ca", self.certificate)

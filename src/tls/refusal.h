#pragma once

#include <openssl/ssl.h>

#include <string>

namespace tidemark::tls {

// The reasons that OpenSSL has noted on this thread, last first; forgets them.
std::string take_ssl_reasons();

// Who a certificate is for: its subject name (RFC 2253), which a renewed one keeps; the SHA-256 of its public
// key ("key-sha256:9f86...") where the name is empty or longer than 400 bytes.
std::string identity_of(const X509* certificate);

// SSL_CTX_set_verify wants it: notes whose certificate is looked at in the std::string that is the SSL's app
// data, if there is one, for the message of a refusal.
int note_certificate(int accepted, X509_STORE_CTX* store);

// Why a handshake failed, or a connection after it.
struct Refusal {
  enum class Kind {
    kByOtherSide,    // it said so
    kCertificate,    // of the other side, which is not accepted here
    kNoCertificate,  // the other side shows none
    kOldVersion,     // the other side does not speak TLS 1.3
    kNotTls,         // what came is no TLS
    kOther,
  };
  Kind kind = Kind::kOther;
  std::string why;  // in words
};

// Of what OpenSSL has noted on this thread, of which the first counts; forgets it. `shown` is what
// note_certificate() noted.
Refusal take_refusal(const SSL* ssl, const std::string& shown);

}  // namespace tidemark::tls

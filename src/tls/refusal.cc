#include "tls/refusal.h"

#include <openssl/err.h>
#include <openssl/x509.h>

#include <array>
#include <memory>
#include <string_view>

#include "base/names.h"

namespace tidemark::tls {
namespace {

constexpr std::size_t kIdentityBytesMax = 400;

struct BioFree {
  void operator()(BIO* bio) const { ::BIO_free(bio); }
};

std::string subject_of(const X509* certificate) {
  const std::unique_ptr<BIO, BioFree> out(::BIO_new(::BIO_s_mem()));
  ::X509_NAME_print_ex(out.get(), ::X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253);
  char* text = nullptr;
  const long length = BIO_get_mem_data(out.get(), &text);
  return {text, static_cast<std::size_t>(length)};
}

std::string key_fingerprint_of(const X509* certificate) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int length = 0;
  unsigned char* key = nullptr;
  const int key_bytes = ::i2d_X509_PUBKEY(::X509_get_X509_PUBKEY(certificate), &key);
  if (key_bytes > 0) {
    ::EVP_Digest(key, static_cast<std::size_t>(key_bytes), digest.data(), &length, ::EVP_sha256(), nullptr);
  }
  ::OPENSSL_free(key);
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out = "key-sha256:";
  for (unsigned int i = 0; i < length; ++i) {
    out += kDigits[digest[i] >> 4];
    out += kDigits[digest[i] & 15];
  }
  return out;
}

// What the other side says of our certificate or of our way to speak.
std::string alert_text(int reason) {
  switch (reason) {
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
      return "it does not know the CA of this side's certificate";
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
      return "it finds this side's certificate expired, or not valid yet";
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
      return "it wants a certificate from this side";
    case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
      return "it does not speak TLS 1.3";
    default: {
      const char* text =
          ::ERR_reason_error_string(static_cast<unsigned long>(ERR_PACK(ERR_LIB_SSL, 0, reason)));
      return text == nullptr ? "alert " + std::to_string(reason - SSL_AD_REASON_OFFSET) : text;
    }
  }
}

bool is_alert(unsigned long error) {
  const int reason = ERR_GET_REASON(error);
  return ERR_GET_LIB(error) == ERR_LIB_SSL && reason > SSL_AD_REASON_OFFSET &&
         reason < SSL_AD_REASON_OFFSET + 256;
}

Refusal refusal_of(const SSL* ssl, const std::string& shown, unsigned long first) {
  const long verified = ::SSL_get_verify_result(ssl);
  if (is_alert(first)) {
    return {Refusal::Kind::kByOtherSide,
            "the other side refuses the connection: " + alert_text(ERR_GET_REASON(first))};
  }
  if (verified != X509_V_OK) {
    return {Refusal::Kind::kCertificate, "the certificate of '" + shown + "' is not accepted here: " +
                                             ::X509_verify_cert_error_string(verified)};
  }
  switch (ERR_GET_REASON(first)) {
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
      return {Refusal::Kind::kNoCertificate, "the other side shows no certificate"};
    case SSL_R_UNSUPPORTED_PROTOCOL:
      return {Refusal::Kind::kOldVersion,
              "the other side does not speak TLS 1.3, and nothing older is accepted"};
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_HTTP_REQUEST:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
      return {Refusal::Kind::kNotTls, "the other side does not speak TLS"};
    default:
      return {Refusal::Kind::kOther, take_ssl_reasons()};
  }
}

}  // namespace

std::string take_ssl_reasons() {
  std::string out;
  while (const unsigned long error = ::ERR_get_error()) {
    const char* reason = ::ERR_reason_error_string(error);
    std::string text = reason == nullptr ? "error " + std::to_string(ERR_GET_REASON(error)) : reason;
    out = text + (out.empty() ? "" : ", ") + out;
  }
  return out.empty() ? "unknown error" : out;
}

std::string identity_of(const X509* certificate) {
  std::string subject = subject_of(certificate);
  return subject.empty() || subject.size() > kIdentityBytesMax ? key_fingerprint_of(certificate) : subject;
}

int note_certificate(int accepted, X509_STORE_CTX* store) {
  auto* ssl = static_cast<SSL*>(::X509_STORE_CTX_get_ex_data(store, ::SSL_get_ex_data_X509_STORE_CTX_idx()));
  auto* shown = static_cast<std::string*>(SSL_get_app_data(ssl));
  const X509* certificate = ::X509_STORE_CTX_get0_cert(store);
  if (shown != nullptr && certificate != nullptr) {
    *shown = printable(identity_of(certificate), kIdentityBytesMax);
  }
  return accepted;
}

Refusal take_refusal(const SSL* ssl, const std::string& shown) {
  Refusal refusal = refusal_of(ssl, shown, ::ERR_peek_error());
  ::ERR_clear_error();
  return refusal;
}

}  // namespace tidemark::tls

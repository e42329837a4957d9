#pragma once

#include <chrono>
#include <string>

#include "base/result.h"
#include "control/address.h"
#include "control/types_json.h"

namespace tidemark::control {

// Where the node is that a person means by `text`: an address ("unix:PATH", "tcp:HOST:PORT",
// "https://HOST:PORT"), a data folder (then its control.sock) or the path of a socket. kInvalid: none of
// these.
Result<ControlAddress> find_node(const std::string& text);

// What is shown to a node, and asked of it, over TCP.
struct Credentials {
  std::string secret{};  // of a token; empty: none is sent
  std::string
      authorities_file{};  // PEM: the CAs of which the node must have a certificate; empty: the system's
};

// Asks a node over its control API, one connection a request. Blocks; used by one thread at a time.
//
// TCP is TLS 1.3, and the node's certificate must be one for the address's host: always with https:// and to
// other machines, on loopback when CAs are named. So a secret never leaves the machine in the clear.
class ApiClient {
 public:
  explicit ApiClient(ControlAddress address, Credentials credentials = {})
      : address_(std::move(address)), credentials_(std::move(credentials)) {}

  const ControlAddress& address() const { return address_; }

  // kClosed: no node answers. kRefused: TLS with it does not come about, and why. kDenied: the token, or that
  // there is none. kTimeout: the node did not finish within `time_limit` (1 s to
  // kTimeLimitSecondsMax), and may do so still. Otherwise the node's own error.
  template <typename Request>
  Result<typename OperationOf<Request>::Reply> call(const Request& request, std::chrono::seconds time_limit) {
    using Reply = typename OperationOf<Request>::Reply;
    TM_TRY_ASSIGN(Answer answer, exchange(http_request(request), time_limit, HasBinaryData<Reply>));
    if constexpr (HasBinaryData<Reply>) {
      if (answer.octets) return parse_octets<Reply>(std::move(answer.text));
    }
    return parse_answer<Reply>(answer.text);
  }

 private:
  struct Answer {
    std::string text;
    bool octets = false;
  };
  Result<Answer> exchange(HttpRequest request, std::chrono::seconds time_limit, bool octets_wanted);

  bool uses_tls() const;

  const ControlAddress address_;
  const Credentials credentials_;
};

}  // namespace tidemark::control

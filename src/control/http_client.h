#pragma once

#include <chrono>
#include <string>

#include "base/result.h"
#include "control/address.h"
#include "control/types_json.h"

namespace tidemark::control {

// Where the node is that a person means by `text`: an address ("unix:PATH", "tcp:HOST:PORT"), a data folder
// (then its control.sock) or the path of a socket. kInvalid: none of these.
Result<ControlAddress> find_node(const std::string& text);

// Asks a node over its control API, one connection a request. Blocks; used by one thread at a time.
class ApiClient {
 public:
  explicit ApiClient(ControlAddress address) : address_(std::move(address)) {}

  const ControlAddress& address() const { return address_; }

  // kClosed: no node answers. kTimeout: the node did not finish within `time_limit` (1 s to
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

  const ControlAddress address_;
};

}  // namespace tidemark::control

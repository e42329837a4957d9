#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "control/http_dispatcher.h"
#include "control/routes.h"
#include "control/types_json.h"

namespace tidemark::control {

// A call that knows how to write its result.
class JsonCall : public Call {
 public:
  // The least role that may ask for this.
  virtual Role role() const = 0;
  // After the call has finished: the answer, or the operation's error.
  virtual Result<std::string> answer() const = 0;
  // Whether the answer has bytes that can travel as they are, and the answer in that form.
  virtual bool has_octets() const = 0;
  virtual Result<std::string> octets() const = 0;
};

// One row of the table of operations, as the server uses it.
struct ServerRoute {
  RouteInfo info;
  Result<std::shared_ptr<JsonCall>> (*make_call)(const RequestParts& parts);
};

const std::vector<ServerRoute>& server_routes();

struct RouteMatch {
  const ServerRoute* route = nullptr;        // null: no operation has this path with this method
  std::map<std::string, std::string> texts;  // the path's parts in braces
  std::string allowed_methods;               // "GET, POST": the path exists, with these; empty: it does not
};

// `encoded_path` is percent-encoded as it was sent, without a query.
RouteMatch match_route(std::string_view method, std::string_view encoded_path);

// The HTTP status that goes with an error.
int http_status(ErrorCode code);

}  // namespace tidemark::control

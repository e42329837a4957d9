#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/result.h"
#include "control/routes.h"
#include "control/types.h"

// The JSON form of types.h. The templates are instantiated in types_json.cc for every request and answer, so
// that only that file pays for the JSON library.
namespace tidemark::control {

inline constexpr std::size_t kRequestBodyBytesMax = 1 << 20;
inline constexpr std::size_t kJsonDepthMax = 16;  // requests need 2

// A request as it travels over HTTP.
struct RequestParts {
  std::map<std::string, std::string> texts;  // from the path and the query, decoded
  std::string body;                          // JSON, or empty
};

// The request, checked in full: unknown and repeated keys, wrong types and values out of range are kInvalid
// with a message that names the key.
template <typename Request>
Result<Request> parse_request(const RequestParts& parts);

// {"version":1, ...}, on one line, or indented by `indent` spaces a level for a person.
template <typename Reply>
std::string answer_json(const Reply& reply, int indent = -1);

// An answer of a node. Keys that this version does not know are skipped; missing ones keep their default.
template <typename Reply>
Result<Reply> parse_answer(const std::string& text);

// {"version":1,"error":{"code":"not-found","message":"..."}}
std::string error_json(const Error& error, int indent = -1);
// The error in an error answer; kDamaged when `text` is none.
Error parse_error(const std::string& text);

// What a client sends for `request`.
struct HttpRequest {
  std::string method;
  std::string target;  // path and query, percent-encoded
  std::string body;    // JSON, for POST and PATCH
};
template <typename Request>
HttpRequest http_request(const Request& request);

// "17.1234"; kInvalid otherwise.
Result<LogId> parse_log_id(std::string_view text);

}  // namespace tidemark::control

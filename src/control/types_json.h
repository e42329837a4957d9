#pragma once

#include <concepts>
#include <map>
#include <string>
#include <string_view>
#include <utility>

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

// One structure on one line, without a version: the text of a record of an export file (export_file.h).
template <typename T>
std::string json_text(const T& value);

// An answer of a node. Keys that this version does not know are skipped; missing ones keep their default.
template <typename Reply>
Result<Reply> parse_answer(const std::string& text);

// An answer with bytes in it, as whoever asks with "Accept: application/octet-stream" gets it: the JSON with
// an empty `data`, a line feed, and then the bytes as they are.
inline constexpr std::string_view kOctets = "application/octet-stream";
template <typename Reply>
concept HasBinaryData = requires(Reply& reply) {
  { reply.data.bytes } -> std::same_as<std::string&>;
};
template <HasBinaryData Reply>
std::string answer_octets(Reply reply) {
  const std::string bytes = std::exchange(reply.data.bytes, {});
  std::string text = answer_json(reply);
  text.reserve(text.size() + 1 + bytes.size());
  text += '\n';
  text += bytes;
  return text;
}
template <HasBinaryData Reply>
Result<Reply> parse_octets(std::string text) {
  const std::size_t end = text.find('\n');
  if (end == std::string::npos) return fail(ErrorCode::kDamaged, "the node's answer lacks its bytes");
  TM_TRY_ASSIGN(Reply reply, parse_answer<Reply>(text.substr(0, end)));
  text.erase(0, end + 1);
  reply.data.bytes = std::move(text);
  return reply;
}

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

#include "control/types_json.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "base/bytes.h"
#include "control/base64.h"
#include "control/command_block.h"
#include "control/host_types.h"
#include "control/types_fields.h"

namespace tidemark::control {
namespace {

using Json = nlohmann::ordered_json;

std::string dump(const Json& json, int indent) {
  // What is not UTF-8 is replaced: an answer never fails for the sake of one odd byte in a path.
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

// ---- Writing

Json write(const std::string& value) {
  return value;
}
Json write(bool value) {
  return value;
}
Json write(std::uint32_t value) {
  return value;
}
Json write(std::uint64_t value) {
  return value;
}
Json write(double value) {
  return value;
}
Json write(const LogId& value) {
  return value.to_string();
}
Json write(const WallTime& value) {
  Json json = Json::object();
  json["ns"] = value.ns;
  json["time"] = format_time(value);
  return json;
}
Json write(const Duration& value) {
  return value.ns;
}
Json write(const BinaryData& value) {
  return base64_encode(value.bytes);
}
Json write(const TableCell& value) {
  return std::visit(
      [](const auto& cell) -> Json {
        if constexpr (std::is_same_v<std::decay_t<decltype(cell)>, std::monostate>) {
          return nullptr;
        } else {
          return cell;
        }
      },
      value);
}

template <typename Enum>
requires std::is_enum_v<Enum> Json write(Enum value) {
  return std::string(word(value));
}

template <typename T>
Json write(const std::vector<T>& values);

struct Writer;
template <typename T>
requires requires(Writer& v, const T& value) {
  visit_fields(v, value);
}
Json write(const T& value);

// Absent members are left out.
struct Writer {
  Json json = Json::object();
  template <typename T>
  void field(std::string_view name, const T& value, const Rule& = {}) {
    json[std::string(name)] = write(value);
  }
  template <typename T>
  void field(std::string_view name, const std::optional<T>& value, const Rule& = {}) {
    if (value.has_value()) json[std::string(name)] = write(*value);
  }
  template <typename T>
  void required(std::string_view name, const T& value, const Rule& = {}) {
    field(name, value);
  }
};

template <typename T>
requires requires(Writer& v, const T& value) {
  visit_fields(v, value);
}
Json write(const T& value) {
  Writer writer;
  visit_fields(writer, value);
  return std::move(writer.json);
}

template <typename T>
Json write(const std::vector<T>& values) {
  Json json = Json::array();
  for (const T& value : values) json.push_back(write(value));
  return json;
}

// ---- Reading

// A message about the value of one key; empty: none.
using Complaint = std::string;

template <typename Integer>
Complaint read_integer(const Json& json, Integer& out) {
  if (!json.is_number_integer()) return "must be a whole number";
  if (json.is_number_unsigned()) {
    const auto value = json.get<std::uint64_t>();
    if (value > static_cast<std::uint64_t>(std::numeric_limits<Integer>::max())) return "is too large";
    out = static_cast<Integer>(value);
    return {};
  }
  const auto value = json.get<std::int64_t>();
  if (std::is_unsigned_v<Integer> && value < 0) return "must not be negative";
  out = static_cast<Integer>(value);
  return {};
}

Complaint read(const Json& json, std::uint32_t& out, bool) {
  return read_integer(json, out);
}
Complaint read(const Json& json, std::uint64_t& out, bool) {
  return read_integer(json, out);
}
Complaint read(const Json& json, std::string& out, bool) {
  if (!json.is_string()) return "must be a string";
  out = json.get<std::string>();
  return {};
}
Complaint read(const Json& json, bool& out, bool) {
  if (!json.is_boolean()) return "must be true or false";
  out = json.get<bool>();
  return {};
}
Complaint read(const Json& json, double& out, bool) {
  if (!json.is_number()) return "must be a number";
  out = json.get<double>();
  return {};
}
Complaint read(const Json& json, LogId& out, bool) {
  if (!json.is_string()) return "must be a log id as text, EPOCH.SEQUENCE";
  Result<LogId> id = parse_log_id(json.get_ref<const std::string&>());
  if (!id.ok()) return "must be a log id, EPOCH.SEQUENCE, for example 1.42";
  out = *id;
  return {};
}
Complaint read(const Json& json, WallTime& out, bool) {
  if (json.is_string()) {
    Result<WallTime> time = parse_time(json.get_ref<const std::string&>());
    if (!time.ok()) return "must be a time as RFC 3339, for example 2026-05-01T12:00:00Z";
    out = *time;
    return {};
  }
  if (json.is_object() && json.contains("ns")) return read_integer(json["ns"], out.ns);
  return "must be a time: RFC 3339 text, or {\"ns\": nanoseconds since 1970}";
}
Complaint read(const Json& json, Duration& out, bool) {
  Complaint complaint = read_integer(json, out.ns);
  if (complaint.empty() && out.ns < 0) return "must not be negative";
  return complaint;
}
Complaint read(const Json& json, BinaryData& out, bool) {
  if (!json.is_string()) return "must be base64 text";
  auto bytes = base64_decode(json.get_ref<const std::string&>());
  if (!bytes.has_value()) return "must be base64 text";
  out.bytes = std::move(*bytes);
  return {};
}
Complaint read(const Json& json, TableCell& out, bool) {
  if (json.is_null()) {
    out = std::monostate{};
  } else if (json.is_string()) {
    out = json.get<std::string>();
  } else if (json.is_number_integer()) {
    std::int64_t value = 0;
    const Complaint complaint = read_integer(json, value);
    if (!complaint.empty()) return complaint;
    out = value;
  } else if (json.is_number_float()) {
    out = json.get<double>();
  } else {
    return "must be null, a number or a string";
  }
  return {};
}

template <typename Enum>
requires std::is_enum_v<Enum> Complaint read(const Json& json, Enum& out, bool lenient) {
  std::string words;
  const std::string text = json.is_string() ? json.get<std::string>() : std::string();
  for (const auto& entry : enum_words(std::type_identity<Enum>{})) {
    if (json.is_string() && entry.text == text) {
      out = entry.value;
      return {};
    }
    words += (words.empty() ? "" : ", ") + std::string(entry.text);
  }
  if constexpr (requires { Enum::kOther; }) {
    if (lenient && json.is_string()) {
      out = Enum::kOther;
      return {};
    }
  }
  return "must be one of: " + words;
}

template <typename T>
Complaint read(const Json& json, std::vector<T>& out, bool lenient);

struct AnswerReader;
template <typename T>
requires requires(AnswerReader& v, T& value) {
  visit_fields(v, value);
}
Complaint read(const Json& json, T& out, bool lenient);

// Reads what is there, skips what it does not know.
struct AnswerReader {
  const Json& json;
  Complaint complaint;

  template <typename T>
  void field(std::string_view name, T& value, const Rule& = {}) {
    const auto found = json.find(std::string(name));
    if (found == json.end() || !complaint.empty()) return;
    note(name, read(*found, value, true));
  }
  template <typename T>
  void field(std::string_view name, std::optional<T>& value, const Rule& = {}) {
    const auto found = json.find(std::string(name));
    if (found == json.end() || found->is_null() || !complaint.empty()) return;
    note(name, read(*found, value.emplace(), true));
  }
  template <typename T>
  void required(std::string_view name, T& value, const Rule& = {}) {
    field(name, value);
  }
  void note(std::string_view name, const Complaint& about) {
    if (!about.empty()) complaint = "'" + std::string(name) + "' " + about;
  }
};

template <typename T>
requires requires(AnswerReader& v, T& value) {
  visit_fields(v, value);
}
Complaint read(const Json& json, T& out, bool) {
  if (!json.is_object()) return "must be an object";
  AnswerReader reader{json, {}};
  visit_fields(reader, out);
  return reader.complaint;
}

template <typename T>
Complaint read(const Json& json, std::vector<T>& out, bool lenient) {
  if (!json.is_array()) return "must be a list";
  out.clear();
  out.reserve(json.size());
  for (const Json& item : json) {
    const Complaint complaint = read(item, out.emplace_back(), lenient);
    if (!complaint.empty()) return complaint;
  }
  return {};
}

// ---- Requests

// A value that came as text, in a path or a query, in the form that the member's type has in JSON.
template <typename T>
Json from_text(const std::string& text) {
  if constexpr (std::is_same_v<T, bool>) {
    if (text == "true") return true;
    if (text == "false") return false;
  } else if constexpr (std::is_same_v<T, std::uint32_t> || std::is_same_v<T, std::uint64_t>) {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error == std::errc() && end == text.data() + text.size()) return value;
  }
  return text;
}

bool printable_token(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < '\x7f'; });
}

bool has_control_character(const std::string& text) {
  return std::any_of(text.begin(), text.end(), [](char c) { return (c >= '\0' && c < ' ') || c == '\x7f'; });
}

// What came as JSON is UTF-8 already; a text of a path or a query has not been looked at. The library tells
// only by what it does on writing: leaving out and replacing what is wrong come to the same where nothing is.
bool is_utf8(const std::string& text) {
  const Json json = text;
  return json.dump(-1, ' ', false, Json::error_handler_t::ignore) == dump(json, -1);
}

Complaint check_text(const std::string& value, const Rule& rule) {
  const std::string what(rule.what);
  if (value.empty()) return rule.empty_allowed || rule.kind == Rule::Kind::kAny ? "" : what + " is empty";
  if (value.size() > rule.max) {
    return what + " is longer than " + std::to_string(rule.max) + " bytes";
  }
  switch (rule.kind) {
    case Rule::Kind::kName: {
      const Result<void> valid = validate_name(rule.what, value, rule.max);
      return valid.ok() ? "" : valid.error().message;
    }
    case Rule::Kind::kToken:
      return printable_token(value)
                 ? ""
                 : what + " '" + printable(value) + "' has a space or an unprintable character";
    case Rule::Kind::kText:
      if (has_control_character(value)) return what + " has a control character; write it on one line";
      return is_utf8(value) ? "" : what + " is not UTF-8";
    case Rule::Kind::kAny:
    case Rule::Kind::kNumber:
      break;
  }
  return {};
}

class RequestReader {
 public:
  RequestReader(const Json& body, const std::map<std::string, std::string>& texts)
      : body_(body), texts_(texts) {}

  template <typename T>
  void field(std::string_view name, T& value, const Rule& rule = {}) {
    member(name, value, rule, false);
  }
  template <typename T>
  void field(std::string_view name, std::optional<T>& value, const Rule& rule = {}) {
    const auto found = body_.find(std::string(name));
    if (found != body_.end() && found->is_null()) {
      known_.emplace_back(name);
      return;
    }
    T plain{};
    if (member(name, plain, rule, false)) value = std::move(plain);
  }
  template <typename T>
  void required(std::string_view name, T& value, const Rule& rule = {}) {
    member(name, value, rule, true);
  }

  // The first thing that is wrong. Call when all members have been visited.
  Complaint complaint() {
    for (const auto& [key, value] : texts_) check_known(key);
    for (const auto& item : body_.items()) check_known(item.key());
    return complaint_;
  }

 private:
  // True when a good value was read.
  template <typename T>
  bool member(std::string_view name, T& value, const Rule& rule, bool is_required) {
    known_.emplace_back(name);
    const std::string key(name);
    const auto text = texts_.find(key);
    const auto json = body_.find(key);
    if (text == texts_.end() && json == body_.end()) {
      if (is_required) note("'" + key + "' is missing");
      return false;
    }
    if (text != texts_.end() && json != body_.end()) {
      note("'" + key + "' is given twice, in the path or query and in the body");
      return false;
    }
    Complaint about = read(text != texts_.end() ? from_text<T>(text->second) : *json, value, false);
    if (!about.empty()) {
      note("'" + key + "' " + about);
      return false;
    }
    if constexpr (std::is_same_v<T, std::string>) {
      about = check_text(value, rule);
    } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
      for (const std::string& item : value) {
        if (about.empty()) about = check_text(item, rule);
      }
    } else if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
      if (value < rule.min || value > rule.max) {
        about = "'" + key + "' must be from " + std::to_string(rule.min) + " to " + std::to_string(rule.max);
      }
    }
    note(about);
    return about.empty();
  }

  void check_known(const std::string& key) {
    if (std::find(known_.begin(), known_.end(), key) != known_.end()) return;
    std::string names;
    for (const std::string& name : known_) names += (names.empty() ? "" : ", ") + name;
    note("unknown key '" + printable(key) + "'; " +
         (names.empty() ? "this request takes none" : "this request takes " + names));
  }

  void note(const Complaint& about) {
    if (complaint_.empty()) complaint_ = about;
  }

  const Json& body_;
  const std::map<std::string, std::string>& texts_;
  std::vector<std::string> known_;
  Complaint complaint_;
};

// How deep brackets nest, without recursion, so that it can be known before anything is built.
std::size_t nesting_depth(std::string_view text) {
  std::size_t depth = 0;
  std::size_t deepest = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      deepest = std::max(deepest, ++depth);
    } else if ((c == '}' || c == ']') && depth > 0) {
      --depth;
    }
  }
  return deepest;
}

Result<Json> parse_body(const std::string& body) {
  if (body.size() > kRequestBodyBytesMax) {
    return fail(ErrorCode::kInvalid, "the body is larger than " + format_size(kRequestBodyBytesMax));
  }
  if (nesting_depth(body) > kJsonDepthMax) {
    return fail(ErrorCode::kInvalid,
                "the body nests deeper than " + std::to_string(kJsonDepthMax) + " levels");
  }
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  std::string repeated;
  const auto watch_keys = [&](int, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start) {
      keys.emplace_back();
    } else if (event == Json::parse_event_t::object_end) {
      keys.pop_back();
    } else if (event == Json::parse_event_t::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!keys.back().insert(key).second) repeated = key;
    }
    return true;
  };
  Json json = Json::parse(body, watch_keys, false);
  if (json.is_discarded()) return fail(ErrorCode::kInvalid, "the body is not JSON");
  if (!json.is_object()) return fail(ErrorCode::kInvalid, "the body must be a JSON object");
  if (!repeated.empty()) {
    return fail(ErrorCode::kInvalid, "the key '" + printable(repeated) + "' appears twice in the body");
  }
  return json;
}

// ---- A client's side

std::string percent_encode(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '.' || c == '_' || c == '~';
    if (plain) {
      out.push_back(c);
    } else {
      char escaped[4];
      std::snprintf(escaped, sizeof escaped, "%%%02X", static_cast<unsigned>(static_cast<unsigned char>(c)));
      out += escaped;
    }
  }
  return out;
}

std::string as_text(const Json& json) {
  return json.is_string() ? json.get<std::string>() : json.dump();
}

HttpRequest compose(const RouteInfo& route, Json members) {
  HttpRequest request{std::string(route.method), {}, {}};
  for (std::size_t at = 0; at < route.path.size();) {
    if (route.path[at] != '{') {
      request.target.push_back(route.path[at++]);
      continue;
    }
    const std::size_t end = route.path.find('}', at);
    const std::string key(route.path.substr(at + 1, end - at - 1));
    request.target += percent_encode(as_text(members.at(key)));
    members.erase(key);
    at = end + 1;
  }
  if (route.method == "POST" || route.method == "PATCH") {
    request.body = dump(members, -1);
    return request;
  }
  char separator = '?';
  for (const auto& item : members.items()) {
    if (item.value().is_string() && item.value().get_ref<const std::string&>().empty()) continue;
    request.target += separator + percent_encode(item.key()) + "=" + percent_encode(as_text(item.value()));
    separator = '&';
  }
  return request;
}

ErrorCode error_code_of(const std::string& name) {
  for (int i = 0; i <= static_cast<int>(ErrorCode::kDenied); ++i) {
    const auto code = static_cast<ErrorCode>(i);
    if (name == error_code_name(code)) return code;
  }
  return ErrorCode::kUnsupported;
}

}  // namespace

Result<LogId> parse_log_id(std::string_view text) {
  const Error bad =
      fail(ErrorCode::kInvalid,
           "'" + printable(text, 40) + "' is not a log id; write EPOCH.SEQUENCE, for example 1.42");
  std::uint32_t epoch = 0;
  std::uint64_t sequence = 0;
  const char* const end = text.data() + text.size();
  const auto [after_epoch, epoch_error] = std::from_chars(text.data(), end, epoch);
  if (epoch_error != std::errc() || after_epoch == end || *after_epoch != '.') return bad;
  const auto [after_sequence, sequence_error] = std::from_chars(after_epoch + 1, end, sequence);
  if (sequence_error != std::errc() || after_sequence != end) return bad;
  if (epoch > kEpochMax || sequence > kSequenceMax) return bad;
  return LogId(Epoch{epoch}, sequence);
}

Result<CommandBlock> parse_command_block(std::string_view text) {
  // Mostly zeroes, which are passed over quickly.
  const std::size_t first_zero = std::min(text.find('\0'), text.size());
  if (all_zero(as_bytes(text.substr(first_zero)))) text = text.substr(0, first_zero);
  const auto is_padding = [](char c) { return c == '\0' || c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  text.remove_suffix(
      static_cast<std::size_t>(std::find_if_not(text.rbegin(), text.rend(), is_padding) - text.rbegin()));
  if (text.empty()) return fail(ErrorCode::kInvalid, "the block is empty; it holds no command");
  TM_TRY_ASSIGN(Json json, parse_body(std::string(text)));
  CommandBlock block;
  for (const auto& [key, member] : {std::pair{"command", &block.command}, std::pair{"token", &block.token}}) {
    const auto found = json.find(key);
    if (found == json.end()) continue;
    if (!found->is_string()) return fail(ErrorCode::kInvalid, std::string("'") + key + "' must be a string");
    *member = found->get<std::string>();
    json.erase(key);
  }
  if (block.command.empty()) return fail(ErrorCode::kInvalid, "'command' is missing");
  block.body = dump(json, -1);
  return block;
}

template <typename Request>
Result<Request> parse_request(const RequestParts& parts) {
  Json body = Json::object();
  if (!parts.body.empty()) {
    TM_TRY_ASSIGN(body, parse_body(parts.body));
  }
  Request request;
  RequestReader reader(body, parts.texts);
  visit_fields(reader, request);
  const Complaint complaint = reader.complaint();
  if (!complaint.empty()) return fail(ErrorCode::kInvalid, complaint);
  return request;
}

template <typename Reply>
std::string answer_json(const Reply& reply, int indent) {
  Writer writer;
  writer.json["version"] = kApiVersion;
  visit_fields(writer, reply);
  return dump(writer.json, indent);
}

template <typename Reply>
Result<Reply> parse_answer(const std::string& text) {
  const Json json = Json::parse(text, nullptr, false);
  Reply reply;
  const Complaint complaint = json.is_discarded() ? "it is not JSON" : read(json, reply, true);
  if (!complaint.empty()) {
    return fail(ErrorCode::kDamaged, "the node's answer cannot be understood (" + complaint +
                                         "); is it a tidemarkd of another version?");
  }
  return reply;
}

std::string error_json(const Error& error, int indent) {
  Json json = Json::object();
  json["version"] = kApiVersion;
  json["error"] = Json::object();
  json["error"]["code"] = error_code_name(error.code);
  json["error"]["message"] = error.message;
  return dump(json, indent);
}

Error parse_error(const std::string& text) {
  const Json json = Json::parse(text, nullptr, false);
  if (json.is_object() && json.contains("error") && json["error"].is_object()) {
    const Json& error = json["error"];
    if (error.contains("code") && error["code"].is_string() && error.contains("message") &&
        error["message"].is_string()) {
      return fail(error_code_of(error["code"].get<std::string>()), error["message"].get<std::string>());
    }
  }
  return fail(ErrorCode::kDamaged, "the answer is not one of tidemarkd: '" + printable(text) + "'");
}

template <typename Request>
HttpRequest http_request(const Request& request) {
  return compose(OperationOf<Request>::kRoute, write(request));
}

#define TM_INSTANTIATE(operation, Request, Reply, role, method, path, summary) \
  template Result<Request> parse_request<Request>(const RequestParts& parts);  \
  template HttpRequest http_request<Request>(const Request& request);
TM_CONTROL_OPERATIONS(TM_INSTANTIATE)
#undef TM_INSTANTIATE

#define TM_INSTANTIATE_ANSWER(Reply)                                       \
  template std::string answer_json<Reply>(const Reply& reply, int indent); \
  template Result<Reply> parse_answer<Reply>(const std::string& text);
TM_INSTANTIATE_ANSWER(BranchInfo)
TM_INSTANTIATE_ANSWER(BranchListReply)
TM_INSTANTIATE_ANSWER(DiffReply)
TM_INSTANTIATE_ANSWER(DiskListReply)
TM_INSTANTIATE_ANSWER(Done)
TM_INSTANTIATE_ANSWER(GroupInfo)
TM_INSTANTIATE_ANSWER(GroupListReply)
TM_INSTANTIATE_ANSWER(HostMarkList)
TM_INSTANTIATE_ANSWER(HostPruning)
TM_INSTANTIATE_ANSWER(Reconciliation)
TM_INSTANTIATE_ANSWER(JournalDataReply)
TM_INSTANTIATE_ANSWER(JournalExportInfo)
TM_INSTANTIATE_ANSWER(JournalExportPage)
TM_INSTANTIATE_ANSWER(JournalShowReply)
TM_INSTANTIATE_ANSWER(JournalStatus)
TM_INSTANTIATE_ANSWER(MarkInfo)
TM_INSTANTIATE_ANSWER(MarkListReply)
TM_INSTANTIATE_ANSWER(NodeStatus)
TM_INSTANTIATE_ANSWER(PairComparison)
TM_INSTANTIATE_ANSWER(PairStatus)
TM_INSTANTIATE_ANSWER(PairTakeoverReply)
TM_INSTANTIATE_ANSWER(RaidInfo)
TM_INSTANTIATE_ANSWER(RaidListReply)
TM_INSTANTIATE_ANSWER(RehearsalInfo)
TM_INSTANTIATE_ANSWER(RestoreReply)
TM_INSTANTIATE_ANSWER(SessionsReply)
TM_INSTANTIATE_ANSWER(TableReply)
TM_INSTANTIATE_ANSWER(TableCheckReply)
TM_INSTANTIATE_ANSWER(Verification)
TM_INSTANTIATE_ANSWER(VolumeAddress)
TM_INSTANTIATE_ANSWER(VolumeInfo)
TM_INSTANTIATE_ANSWER(VolumeListReply)
#undef TM_INSTANTIATE_ANSWER

template <typename T>
std::string json_text(const T& value) {
  return dump(write(value), -1);
}
template std::string json_text(const JournalExportInfo& value);
template std::string json_text(const ExportedEntry& value);
template std::string json_text(const ExportFileEnd& value);

}  // namespace tidemark::control

// Requests of the management API, as the server takes them apart: the first byte chooses the operation, up to
// a line's end come the texts of its path and query (key=value, divided by &, percent-encoded), and then the
// body. A request that is taken must survive the way through the client: composed again, matched by the
// server's routes and parsed, it must be composed to the same. Then the same bytes say what changes in a good
// request of that operation and in a good answer to it, every member of which is there.
#include <string>

#include <nlohmann/json.hpp>

#include "control/command_block.h"
#include "control/router.h"
#include "control/sample.h"
#include "control/types_json.h"
#include "fuzz/fuzz.h"

namespace tidemark::control {
namespace {

std::string percent_decode(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const auto digit = [&](std::size_t i) {
      const char c = i < text.size() ? text[i] : 'x';
      if (c >= '0' && c <= '9') return c - '0';
      if (c >= 'A' && c <= 'F') return c - 'A' + 10;
      return -1;
    };
    if (text[at] == '%' && digit(at + 1) >= 0 && digit(at + 2) >= 0) {
      out.push_back(static_cast<char>(digit(at + 1) * 16 + digit(at + 2)));
      at += 2;
    } else {
      out.push_back(text[at]);
    }
  }
  return out;
}

void add_texts(std::string_view query, std::map<std::string, std::string>& texts) {
  while (!query.empty()) {
    const std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(pair.size() + 1, query.size()));
    const std::size_t equals = std::min(pair.find('='), pair.size());
    texts[percent_decode(pair.substr(0, equals))] =
        percent_decode(pair.substr(std::min(equals + 1, pair.size())));
  }
}

template <typename Request>
void try_request(const RequestParts& parts) {
  const Result<Request> request = parse_request<Request>(parts);
  if (!request.ok()) {
    (void)error_json(request.error());
    return;
  }
  const HttpRequest sent = http_request(*request);
  const std::string_view target = sent.target;
  const std::size_t path_end = std::min(target.find('?'), target.size());
  RouteMatch match = match_route(sent.method, target.substr(0, path_end));
  TM_ASSERT(match.route != nullptr);
  TM_ASSERT(match.route->info.operation == OperationOf<Request>::kRoute.operation);
  RequestParts received{std::move(match.texts), sent.body};
  add_texts(target.substr(std::min(path_end + 1, target.size())), received.texts);
  const Result<Request> again = parse_request<Request>(received);
  TM_ASSERT(again.ok());
  const HttpRequest sent_again = http_request(*again);
  TM_ASSERT(sent_again.target == sent.target && sent_again.body == sent.body);
}

// Once as it is, and once with the path's members filled in where they are missing, which lets the rest
// matter.
template <typename Request>
void try_both(RequestParts parts) {
  try_request<Request>(parts);
  std::string_view path = OperationOf<Request>::kRoute.path;
  for (std::size_t at = path.find('{'); at != path.npos; at = path.find('{')) {
    path.remove_prefix(at + 1);
    const std::string key(path.substr(0, path.find('}')));
    parts.texts.emplace(key, key == "epoch" ? "1" : key == "log_id" ? "1.2" : "app");
  }
  try_request<Request>(parts);
}

using Json = nlohmann::json;

// A good text, parsed, and where its values are.
struct Good {
  Json json;
  std::vector<Json::json_pointer> places;

  explicit Good(const std::string& text) : json(Json::parse(text)) {
    const Json flat = json.flatten();
    for (const auto& [path, value] : flat.items()) {
      if (!path.empty()) places.emplace_back(path);  // else it is an empty object
    }
  }
};

// For each two bytes of `changes` one value of it is replaced: by an odd one or, when the byte is beyond
// those, by a number.
Json changed(const Good& good, std::string_view changes) {
  static const std::vector<Json> odd = {nullptr,
                                        true,
                                        -1,
                                        1,
                                        18446744073709551615u,
                                        1e300,
                                        "",
                                        "a b",
                                        "\x01",
                                        "../x",
                                        "1.2",
                                        "app",
                                        "QUJD",
                                        "2026-05-01T12:00:00Z",
                                        std::string(300, 'x'),
                                        Json::array(),
                                        Json::array({1, "x"}),
                                        Json::object(),
                                        Json::object({{"ns", 5}}),
                                        Json::object({{"ns", "x"}})};
  constexpr std::size_t kChangesMax = 8;
  Json json = good.json;
  for (std::size_t i = 0; i + 1 < changes.size() && i < 2 * kChangesMax && !good.places.empty(); i += 2) {
    const auto which = static_cast<unsigned char>(changes[i + 1]);
    json[good.places[static_cast<unsigned char>(changes[i]) % good.places.size()]] =
        which < odd.size() ? odd[which] : Json(which);
  }
  return json;
}

template <typename Request>
void try_changed_request(std::string_view changes) {
  static const HttpRequest good = http_request(sample<Request>());
  const std::string_view target = good.target;
  const std::size_t path_end = std::min(target.find('?'), target.size());
  RouteMatch match = match_route(good.method, target.substr(0, path_end));
  TM_ASSERT(match.route != nullptr);
  RequestParts parts{std::move(match.texts), ""};
  add_texts(target.substr(std::min(path_end + 1, target.size())), parts.texts);
  if (!good.body.empty()) {
    static const Good body(good.body);
    Json json = changed(body, changes);
    const bool repeats = changes.size() % 8 == 7;
    if (repeats && !parts.texts.empty()) json[parts.texts.begin()->first] = "app";
    parts.body = json.dump();
    if (changes.size() % 8 == 6) parts.body.replace(parts.body.size() - 1, 1, R"(,"a":1,"a":2})");
  } else if (changes.size() > 1 && !parts.texts.empty()) {
    auto text = parts.texts.begin();
    std::advance(text, static_cast<unsigned char>(changes[0]) % parts.texts.size());
    text->second = changes.substr(1);
  }
  try_request<Request>(parts);
}

template <typename Reply>
void try_changed_answer(std::string_view changes) {
  static const Good good(answer_json(sample<Reply>()));
  const Result<Reply> reply = parse_answer<Reply>(changed(good, changes).dump());
  if (!reply.ok()) {
    TM_ASSERT(!reply.error().message.empty());
    return;
  }
  const std::string text = answer_json(*reply);
  const Result<Reply> again = parse_answer<Reply>(text);
  TM_ASSERT(again.ok());
  TM_ASSERT(answer_json(*again) == text);
}

void try_block(std::string_view text) {
  const Result<CommandBlock> block = parse_command_block(text);
  if (!block.ok()) return;
  TM_ASSERT(!block->command.empty());
  RequestParts parts;
  parts.texts.emplace("group", "app");
  parts.body = block->body;
  (void)parse_request<MarkCreateRequest>(parts);
}

struct Tries {
  void (*request)(RequestParts parts);
  void (*changed_request)(std::string_view changes);
  void (*changed_answer)(std::string_view changes);
};
constexpr Tries kTries[] = {
#define TM_TRIES(operation, Request, Reply, role, method, path, summary) \
  {&try_both<Request>, &try_changed_request<Request>, &try_changed_answer<Reply>},
    TM_CONTROL_OPERATIONS(TM_TRIES)
#undef TM_TRIES
};

// Each kind of error, as a client reads it.
void try_error(std::string_view changes) {
  const auto code = static_cast<ErrorCode>(changes.empty() ? 0 : changes[0] & 31);
  if (code > ErrorCode::kDenied) return;
  const Error error = fail(code, std::string(changes));
  const Error read = parse_error(error_json(error));
  TM_ASSERT(read.code == code || code == ErrorCode::kUnsupported);
  TM_ASSERT(http_status(code) >= 400);
}

}  // namespace
}  // namespace tidemark::control

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tidemark::control;
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::size_t line_end = std::min(text.find('\n'), text.size());
  RequestParts parts;
  add_texts(text.substr(0, line_end), parts.texts);
  parts.body = text.substr(std::min(line_end + 1, text.size()));
  const Tries& tries = kTries[data[0] % std::size(kTries)];
  tries.request(parts);
  tries.changed_request(text);
  tries.changed_answer(text);
  try_error(text);
  // The same bytes as a node's answer, for the command line's side.
  (void)parse_error(parts.body);
  (void)parse_answer<GroupInfo>(parts.body);
  (void)parse_answer<TableReply>(parts.body);
  // And as the block of a command export: what it takes is JSON again.
  try_block(text);
  static const Good block(R"({"command": "mark", "token": "see", "id": "m1", "note": "closed"})");
  try_block(changed(block, text).dump());
  return 0;
}

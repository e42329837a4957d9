// Requests of the management API, as the server takes them apart: the first byte chooses the operation, up to
// a line's end come the texts of its path and query (key=value, divided by &, percent-encoded), and then the
// body. A request that is taken must survive the way through the client: composed again, matched by the
// server's routes and parsed, it must be composed to the same.
#include <string>

#include "control/command_block.h"
#include "control/router.h"
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
  RouteMatch match = match_route(sent.method, percent_decode(target.substr(0, path_end)));
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

using TryRequest = void (*)(RequestParts parts);
constexpr TryRequest kTries[] = {
#define TM_TRY_REQUEST(operation, Request, Reply, role, method, path, summary) &try_both<Request>,
    TM_CONTROL_OPERATIONS(TM_TRY_REQUEST)
#undef TM_TRY_REQUEST
};

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
  kTries[data[0] % std::size(kTries)](parts);
  // The same bytes as a node's answer, for the command line's side.
  (void)parse_error(parts.body);
  (void)parse_answer<GroupInfo>(parts.body);
  (void)parse_answer<TableReply>(parts.body);
  // And as the block of a command export: what it takes is JSON again.
  const tidemark::Result<CommandBlock> block = parse_command_block(text);
  if (block.ok()) {
    TM_ASSERT(!block->command.empty());
    RequestParts of_block;
    of_block.texts.emplace("group", "app");
    of_block.body = block->body;
    (void)parse_request<MarkCreateRequest>(of_block);
  }
  return 0;
}

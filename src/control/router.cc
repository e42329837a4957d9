#include "control/router.h"

#include <optional>

namespace tidemark::control {
namespace {

template <typename Request>
class OperationCall final : public JsonCall {
 public:
  using Reply = typename OperationOf<Request>::Reply;

  explicit OperationCall(Request request) : request_(std::move(request)) {}

  io::Task<void> run(NodeOperations& operations) override {
    constexpr auto kCall = OperationOf<Request>::kCall;
    io::Task<Result<Reply>> task = (operations.*kCall)(request_);
    Result<Reply> result = co_await task;
    result_.emplace(std::move(result));
  }

  Result<std::string> answer() const override {
    TM_ASSERT(result_.has_value());
    if (!result_->ok()) return result_->error();
    return answer_json(result_->value());
  }

  Role role() const override { return role_of(request_); }

  bool has_octets() const override { return HasBinaryData<Reply>; }
  Result<std::string> octets() const override {
    TM_ASSERT(result_.has_value());
    if (!result_->ok()) return result_->error();
    if constexpr (HasBinaryData<Reply>) {
      return answer_octets(result_->value());
    } else {
      return answer_json(result_->value());
    }
  }

 private:
  const Request request_;
  std::optional<Result<Reply>> result_;
};

template <typename Request>
Result<std::shared_ptr<JsonCall>> make_call(const RequestParts& parts) {
  TM_TRY_ASSIGN(Request request, parse_request<Request>(parts));
  return std::shared_ptr<JsonCall>(std::make_shared<OperationCall<Request>>(std::move(request)));
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

// A percent sign without two digits stands for itself.
std::string percent_decode(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const int high = text[i] == '%' && i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
    const int low = high < 0 ? -1 : hex_digit(text[i + 2]);
    if (low < 0) {
      out.push_back(text[i]);
    } else {
      out.push_back(static_cast<char>(high * 16 + low));
      i += 2;
    }
  }
  return out;
}

std::vector<std::string_view> split_path(std::string_view path) {
  std::vector<std::string_view> parts;
  while (!path.empty()) {
    const std::size_t end = path.find('/', 1);
    parts.push_back(path.substr(0, end));
    path = end == std::string_view::npos ? std::string_view() : path.substr(end);
  }
  return parts;
}

// Parts carry their leading slash: "/{group}".
bool parts_match(const std::vector<std::string_view>& pattern, const std::vector<std::string>& path,
                 std::map<std::string, std::string>& texts) {
  if (pattern.size() != path.size()) return false;
  texts.clear();
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i].starts_with("/{")) {
      if (path[i].size() < 2) return false;
      texts.emplace(pattern[i].substr(2, pattern[i].size() - 3), path[i].substr(1));
    } else if (pattern[i] != path[i]) {
      return false;
    }
  }
  return true;
}

}  // namespace

const std::vector<ServerRoute>& server_routes() {
  static const std::vector<ServerRoute> kRoutes = {
#define TM_SERVER_ROUTE(operation, Request, Reply, role, method, path, summary) \
  {OperationOf<Request>::kRoute, &make_call<Request>},
      TM_CONTROL_OPERATIONS(TM_SERVER_ROUTE)
#undef TM_SERVER_ROUTE
  };
  return kRoutes;
}

RouteMatch match_route(std::string_view method, std::string_view encoded_path) {
  // A part may have a slash in it.
  std::vector<std::string> parts;
  for (const std::string_view part : split_path(encoded_path)) parts.push_back(percent_decode(part));
  RouteMatch match;
  for (const ServerRoute& route : server_routes()) {
    std::map<std::string, std::string> texts;
    if (!parts_match(split_path(route.info.path), parts, texts)) continue;
    if (route.info.method == method) {
      match.route = &route;
      match.texts = std::move(texts);
      return match;
    }
    match.allowed_methods += (match.allowed_methods.empty() ? "" : ", ") + std::string(route.info.method);
  }
  return match;
}

int http_status(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalid:
      return 400;
    case ErrorCode::kReadOnly:
    case ErrorCode::kDenied:
      return 403;
    case ErrorCode::kNotFound:
      return 404;
    case ErrorCode::kExists:
    case ErrorCode::kRefused:
    case ErrorCode::kNotReceived:
    case ErrorCode::kInGap:
      return 409;
    case ErrorCode::kExpired:
      return 410;
    case ErrorCode::kIo:
    case ErrorCode::kDamaged:
      return 500;
    case ErrorCode::kUnsupported:
      return 501;
    case ErrorCode::kClosed:
      return 502;
    case ErrorCode::kBusy:
    case ErrorCode::kShutdown:
      return 503;
    case ErrorCode::kTimeout:
      return 504;
    case ErrorCode::kNoSpace:
      return 507;
  }
  return 500;
}

}  // namespace tidemark::control

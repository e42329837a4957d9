#include "control/http_client.h"

#include <httplib.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/names.h"

#ifndef CPPHTTPLIB_OPENSSL_SUPPORT
#error "compile with what `pkg-config --cflags cpp-httplib` says: the library's classes are laid out by it"
#endif

namespace tidemark::control {
namespace {

constexpr time_t kConnectTimeoutSeconds = 5;
constexpr time_t kAnswerGraceSeconds = 5;  // for the node's own time limit to reach us as an answer

}  // namespace

Result<ControlAddress> find_node(const std::string& text) {
  if (text.starts_with("unix:") || text.starts_with("tcp:")) return parse_control_address(text);
  struct stat info {};
  if (::stat(text.c_str(), &info) != 0) {
    return fail(ErrorCode::kInvalid,
                "'" + printable(text) +
                    "' is neither an address (unix:PATH, tcp:HOST:PORT) nor a node's data folder");
  }
  if (S_ISDIR(info.st_mode)) return parse_control_address("unix:" + text + "/control.sock");
  if (S_ISSOCK(info.st_mode)) return parse_control_address("unix:" + text);
  return fail(ErrorCode::kInvalid,
              "'" + printable(text) + "' is a file; name a node's data folder or its address");
}

Result<ApiClient::Answer> ApiClient::exchange(HttpRequest request, std::chrono::seconds time_limit,
                                              bool octets_wanted) {
  constexpr int kAnyPort = 80;  // not used for a unix socket
  httplib::Client client(address_.is_unix ? address_.path : address_.host,
                         address_.is_unix ? kAnyPort : address_.port);
  if (address_.is_unix) client.set_address_family(AF_UNIX);
  client.set_connection_timeout(kConnectTimeoutSeconds);
  client.set_read_timeout(static_cast<time_t>(time_limit.count()) + kAnswerGraceSeconds);

  httplib::Request message;
  message.method = request.method;
  message.path = request.target + (request.target.find('?') == std::string::npos ? "?" : "&") +
                 "timeout_seconds=" + std::to_string(time_limit.count());
  message.headers = {{"Host", "tidemark"}, {"Connection", "close"}};
  if (octets_wanted) message.headers.emplace("Accept", kOctets);
  if (request.method == "POST" || request.method == "PATCH") {
    message.headers.emplace("Content-Type", "application/json");
    message.body = std::move(request.body);
  }
  const httplib::Result result = client.send(message);
  if (!result) {
    const std::string where = address_.to_string();
    switch (result.error()) {
      case httplib::Error::Connection:
        return fail(ErrorCode::kClosed, "no node answers at " + where + "; is tidemarkd running?");
      case httplib::Error::Read:
        return fail(ErrorCode::kTimeout,
                    "the node at " + where + " stopped answering; what was asked may be done");
      default:
        return fail(ErrorCode::kClosed, "the talk with the node at " + where + " broke off (" +
                                            httplib::to_string(result.error()) +
                                            "); what was asked may be done");
    }
  }
  if (result->status != 200) return parse_error(result->body);
  Answer answer;
  answer.octets = result->get_header_value("Content-Type") == kOctets;
  answer.text = result->body;
  return answer;
}

}  // namespace tidemark::control

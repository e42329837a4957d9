#include "nbd/server.h"

#include <algorithm>

#include "base/log_field.h"
#include "nbd/request.h"

namespace tidemark::nbd {
Server::Server(io::Environment environment, ExportDirectory& directory, ServerLimits limits, Report report,
               TlsMode tls)
    : environment_(environment),
      directory_(directory),
      limits_(limits),
      report_(std::move(report)),
      tls_(tls),
      budgets_{{limits.payload_share_bytes, limits.ordinary_payload_bytes_max},
               {0, limits.large_payload_bytes_max}},
      changed_(environment.scheduler),
      running_(environment.scheduler) {
  TM_ASSERT(limits.ordinary_payload_bytes_max >= PayloadBudgets::kOrdinaryBytesMax);
  TM_ASSERT(limits.large_payload_bytes_max >= kPayloadBytesMax);
}

io::Task<void> Server::serve(std::unique_ptr<io::Listener> listener) {
  // Entered and left also when the Task is destroyed half-way.
  struct Registration {
    Server& server;
    std::list<io::Listener*>::iterator place;
    Registration(Server& s, io::Listener* l) : server(s), place(s.listeners_.insert(s.listeners_.end(), l)) {}
    Registration(const Registration&) = delete;
    Registration& operator=(const Registration&) = delete;
    ~Registration() {
      server.listeners_.erase(place);
      server.changed_.wake_all();
    }
  };
  const Registration registration(*this, listener.get());
  co_await accept_loop(*listener);
  listener->close();
}

io::Task<void> Server::accept_loop(io::Listener& listener) {
  TlsMode tls = tls_;
  if (listener.address().kind == io::Address::Kind::kUnix) tls.required = false;
  while (!stopping_) {
    Result<std::unique_ptr<io::Stream>> accepted = co_await listener.accept();
    if (accepted.ok()) {
      start_session(std::move(accepted).value(), tls);
      continue;
    }
    if (accepted.error().code == ErrorCode::kClosed) co_return;
    ++counters_.accept_failures;
    if (report_) report_("nbd-accept-failed", log_field("reason", displayable(accepted.error().message)));
    co_await environment_.scheduler.sleep_for(limits_.accept_pause);
  }
}

void Server::start_session(std::unique_ptr<io::Stream> stream, TlsMode tls) {
  if (stopping_ || sessions_.size() >= limits_.connections_max) {
    if (!stopping_) {
      ++counters_.over_connection_limit;
      // Once, however many come.
      if (report_ && !told_of_limit_) report_("nbd-limit", log_field("connections", limits_.connections_max));
      told_of_limit_ = true;
    }
    stream->close();
    return;
  }
  told_of_limit_ = false;
  ++counters_.accepted;
  auto session =
      std::make_unique<Session>(environment_, std::move(stream), directory_, budgets_, limits_.session, tls);
  const auto place = sessions_.insert(sessions_.end(), Entry{next_number_, std::move(session)});
  ++next_number_;
  running_.spawn(run_session(place));
}

io::Task<void> Server::run_session(std::list<Entry>::iterator place) {
  co_await place->session->run();
  account_for_end(*place->session);
  sessions_.erase(place);
  changed_.wake_all();
}

void Server::account_for_end(const Session& session) {
  if (session.end() == SessionEnd::kHandshakeTimeout) ++counters_.handshake_timeouts;
  if (session.end() == SessionEnd::kStalled) ++counters_.stalled;
  if (session.end() == SessionEnd::kViolation) ++counters_.violations;
  const bool is_ordinary =
      session.end() == SessionEnd::kDisconnected || session.end() == SessionEnd::kStopped;
  if (is_ordinary || !report_) return;
  report_("nbd-end", log_field("client", session.client()) + " " +
                         log_field("export", session.export_name()) + " " +
                         log_field("reason", displayable(session.end_reason())));
}

bool Server::any_left(const std::vector<std::uint64_t>& numbers) const {
  return std::any_of(sessions_.begin(), sessions_.end(), [&](const Entry& entry) {
    return std::find(numbers.begin(), numbers.end(), entry.number) != numbers.end();
  });
}

io::Task<void> Server::disconnect(std::function<bool(const std::string& export_name)> matches) {
  std::vector<std::uint64_t> numbers;
  for (Entry& entry : sessions_) {
    if (!entry.session->has_chosen() || !matches(entry.session->export_name())) continue;
    numbers.push_back(entry.number);
    entry.session->begin_stop();
  }
  while (any_left(numbers)) co_await changed_.wait();
}

io::Task<void> Server::stop() {
  stopping_ = true;
  for (io::Listener* listener : listeners_) listener->close();
  for (Entry& entry : sessions_) entry.session->begin_stop();
  while (!sessions_.empty() || !listeners_.empty()) co_await changed_.wait();
}

std::vector<SessionStatus> Server::sessions() const {
  std::vector<SessionStatus> all;
  all.reserve(sessions_.size());
  for (const Entry& entry : sessions_) {
    const Session& session = *entry.session;
    SessionStatus status;
    status.number = entry.number;
    status.client = session.client();
    status.export_name = session.export_name();
    status.read_only = session.read_only();
    status.since = session.since();
    status.phase = session.phase();
    status.counters = session.counters();
    status.requests_in_flight = session.requests_in_flight();
    status.memory_bytes = session.memory_bytes();
    all.push_back(std::move(status));
  }
  return all;
}

}  // namespace tidemark::nbd

#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "io/environment.h"
#include "io/stream.h"
#include "io/sync.h"
#include "io/task.h"
#include "nbd/payload_budget.h"
#include "nbd/session.h"
#include "nbd/target.h"

namespace tidemark::nbd {

struct ServerLimits {
  // Over it a connection is closed as soon as it is accepted, and counted.
  std::size_t connections_max = 256;
  // After an accept that failed (no file descriptors left, say), so that the failure does not spin.
  Duration accept_pause = Duration::milliseconds(100);
  // Memory for the payloads of all connections together; see PayloadBudget. For each connection alone, for
  // what all share, and for long requests, of which two of the longest fit: 128 MiB in all.
  std::uint64_t payload_share_bytes = 128u << 10;
  std::uint64_t ordinary_payload_bytes_max = 32u << 20;
  std::uint64_t large_payload_bytes_max = 64u << 20;
  SessionLimits session;
};

struct ServerCounters {
  std::uint64_t accepted = 0;
  std::uint64_t over_connection_limit = 0;
  std::uint64_t accept_failures = 0;
  std::uint64_t handshake_timeouts = 0;
  std::uint64_t stalled = 0;     // connections ended because others needed what they kept
  std::uint64_t violations = 0;  // connections ended because the client broke the protocol
};

struct SessionStatus {
  std::uint64_t number = 0;  // in order of arrival, never used twice
  std::string client;
  std::string export_name;  // empty until the client has chosen; may hold any bytes: printable()
  bool read_only = false;
  WallTime since;
  SessionPhase phase = SessionPhase::kHandshake;
  SessionCounters counters;
  std::size_t requests_in_flight = 0;
  std::uint64_t memory_bytes = 0;
};

// Serves the exports of a directory over any number of listeners.
//
// Owned by the node, used on the reactor thread. Environment, directory and what `tls` points to outlive it;
// it outlives the Tasks that serve(), disconnect() and stop() gave. Destroying it drops every connection at
// once; stop() first ends them in order.
class Server {
 public:
  // Told of what somebody may look for: connections that end for an uncommon reason, or cannot be taken. A
  // word for the event, then fields of a log line.
  using Report = std::function<void(const std::string& event, const std::string& fields)>;

  Server(io::Environment environment, ExportDirectory& directory, ServerLimits limits = {},
         Report report = nullptr, TlsMode tls = {});
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Accepts until stop(), or until the listener is closed. Destroying the Task closes the listener and
  // leaves its connections.
  io::Task<void> serve(std::unique_ptr<io::Listener> listener);

  // Ends the connections whose export name (as the client gave it) matches, those that are just opening it
  // included, and returns when they are closed: their requests in flight have finished, or were
  // cancelled after drain_timeout. It does not keep clients from coming back; the directory does. Not to be
  // awaited by a request of a connection that matches.
  io::Task<void> disconnect(std::function<bool(const std::string& export_name)> matches);

  // Accepts no more, ends every connection in order, and returns when all are closed and every serve() has
  // ended. May be called again.
  io::Task<void> stop();

  std::vector<SessionStatus> sessions() const;
  const ServerCounters& counters() const { return counters_; }

 private:
  struct Entry {
    std::uint64_t number = 0;
    std::unique_ptr<Session> session;
  };

  io::Task<void> accept_loop(io::Listener& listener);
  void start_session(std::unique_ptr<io::Stream> stream, TlsMode tls);
  io::Task<void> run_session(std::list<Entry>::iterator place);
  void account_for_end(const Session& session);
  bool any_left(const std::vector<std::uint64_t>& numbers) const;

  io::Environment environment_;
  ExportDirectory& directory_;
  ServerLimits limits_;
  Report report_;
  TlsMode tls_;
  ServerCounters counters_;
  PayloadBudgets budgets_;
  std::uint64_t next_number_ = 1;
  bool stopping_ = false;
  bool told_of_limit_ = false;  // since a connection was last taken
  std::list<io::Listener*> listeners_;
  std::list<Entry> sessions_;
  io::WaitQueue changed_;  // a session or a listener has ended, or a stop has begun
  io::TaskScope running_;  // the run_session() of every entry; ends before they go
};

}  // namespace tidemark::nbd

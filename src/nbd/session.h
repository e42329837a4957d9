#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "io/environment.h"
#include "io/stream.h"
#include "io/sync.h"
#include "io/task.h"
#include "nbd/handshake.h"
#include "nbd/payload_budget.h"
#include "nbd/receive_buffer.h"
#include "nbd/reply_queue.h"
#include "nbd/request.h"
#include "nbd/target.h"

namespace tidemark::nbd {

// Bounds of one connection. A client that reaches one is not read from until it falls below again; it
// holds up nobody else.
struct SessionLimits {
  Duration handshake_timeout = Duration::seconds(10);  // from accept to transmission, all options together
  std::size_t requests_in_flight_max = 128;            // given to the target and not yet answered by it
  // Payload of writes until the target has taken it, and of reads until it has been sent. Twice the longest
  // request at least, so that one is received while another is worked on. The budget of all may allow less.
  std::uint64_t payload_bytes_max = 64u << 20;
  // Replies without payload that wait for the client to read. A client may legally have thousands of small
  // writes answered in one pass.
  std::uint64_t reply_bytes_max = 128u << 10;
  // How long a client may keep memory that others wait for, while it takes no reply, or sends nothing of the
  // payload that it has announced. Then its connection is ended.
  Duration stall_timeout = Duration::seconds(10);
  // How long an ending connection waits for its client to read the last replies.
  Duration flush_timeout = Duration::seconds(5);
  // How long an orderly stop waits for requests that the target has not answered.
  Duration drain_timeout = Duration::seconds(30);
};

struct SessionCounters {
  std::uint64_t reads = 0;
  std::uint64_t writes = 0;
  std::uint64_t flushes = 0;
  std::uint64_t trims = 0;
  std::uint64_t write_zeroes = 0;
  std::uint64_t caches = 0;
  std::uint64_t block_statuses = 0;
  std::uint64_t bytes_read = 0;
  std::uint64_t bytes_written = 0;
  std::uint64_t refused = 0;  // by validation, before the target saw them
  std::uint64_t failed = 0;   // by the target
};

enum class SessionPhase { kHandshake, kTransmission, kEnding };

// How a connection ended.
enum class SessionEnd {
  kRunning,
  kDisconnected,      // by the client, in order or by breaking off
  kStopped,           // by begin_stop()
  kHandshakeTimeout,  // the client took too long to choose an export
  kViolation,         // the client broke the protocol; end_reason() says how
  kStalled,           // others needed the memory that the client kept occupied
  kRefused,           // EXPORT_NAME of something that cannot be opened
};

// One connection, from the greeting to its end: handshake, then requests, each answered once.
//
// One coroutine receives: it takes apart all requests that a read brought, does writes at once where the
// target can, and starts the others as tasks of their own. One coroutine sends what is queued, in one
// gathered write. run() watches over both.
//
// Owned by the server, used on the reactor thread. Directory, environment and budgets outlive it. Destroying
// it ends everything at once: requests in flight are cancelled, the export closed, the stream closed.
//
// Every way to end is: receive no more, let requests in flight finish, send what is queued as long as
// the client reads within flush_timeout, close the export, close the stream. Only after begin_stop() are
// requests cancelled, when drain_timeout has passed.
class Session final : private PayloadBudget::Holder {
 public:
  // Payloads from here on are received into aligned memory of their own, so that they can go to a disk
  // without a copy; smaller ones are slices of the receive buffer.
  static constexpr std::uint32_t kOwnBufferBytesMin = 64 << 10;
  // After such a payload another is likely: no more than this is received with its header, for all of it that
  // comes into the receive buffer has to be copied.
  static constexpr std::size_t kReadAfterLargeBytes = 4 << 10;
  // Descriptors in one BLOCK_STATUS reply, 8 bytes each; the client asks on where they end.
  static constexpr std::size_t kExtentsMax = 2048;
  // How often one that waits for memory looks whether somebody keeps it for no use.
  static constexpr Duration kStallLookInterval = Duration::seconds(1);

  Session(io::Environment environment, std::unique_ptr<io::Stream> stream, ExportDirectory& directory,
          PayloadBudgets& budgets, SessionLimits limits, TlsMode tls = {});
  ~Session() override;
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Once. Returns when the connection is closed and its export with it.
  io::Task<void> run();
  // Ends the connection in order; requests that arrive from now on get ESHUTDOWN. May be called again.
  void begin_stop();

  const std::string& client() const { return client_; }
  // Of the export in use or being opened; empty before, and for the default export.
  const std::string& export_name() const;
  // It uses an export, or is opening one.
  bool has_chosen() const;
  bool read_only() const { return agreement_.read_only; }
  WallTime since() const { return since_; }
  SessionPhase phase() const { return phase_; }
  const SessionCounters& counters() const { return counters_; }
  std::size_t requests_in_flight() const { return requests_in_flight_; }
  // Held for this connection now: payloads, queued replies, receive buffers.
  std::uint64_t memory_bytes() const;
  SessionEnd end() const { return end_; }
  const std::string& end_reason() const { return end_reason_; }

 private:
  // run()
  io::Task<bool> negotiate();
  io::Task<void> negotiate_task();
  io::Task<void> transmit();
  io::Task<void> let_requests_finish();
  io::Task<void> let_replies_leave();
  io::Task<void> set_after(Duration delay, bool* flag);
  void end_with(SessionEnd end, std::string reason);
  void close_stream();

  // receiving
  io::Task<void> receive_task();
  io::Task<bool> receive(std::size_t message_bytes);
  io::Task<bool> receive_payload(Request request);
  io::Task<bool> skip_payload(std::uint32_t bytes);
  io::Task<bool> wait_for_room(std::uint64_t memory_bytes);
  bool has_room_of_its_own(std::uint64_t memory_bytes) const;
  std::uint64_t payload_bytes() const { return ordinary_account_.held() + large_account_.held(); }
  PayloadBudget::Account& account_for(std::uint64_t memory_bytes);
  void give_back(std::uint64_t memory_bytes) { account_for(memory_bytes).give_back(memory_bytes); }
  void give_back(const ReplyQueue::Batch& batch);
  bool take_room(std::uint64_t memory_bytes);
  void room_may_have_come() override { room_.wake_all(); }
  bool is_stalled() const override;
  void give_up() override;
  bool start_at_once(const Request& request);
  io::Task<bool> handle(Request request);
  std::optional<Refusal> check(const Request& request) const;

  // requests
  void start(const Request& request, Buffer payload);
  void count(const Request& request);
  io::Task<void> perform(Request request, Buffer payload);
  io::Task<Result<void>> perform_plain(Request request, Buffer payload);
  io::Task<void> perform_read(Request request);
  io::Task<void> perform_block_status(Request request);
  void finished();

  // replies
  void reply_done(const Request& request);
  void reply_error(const Request& request, WireError error, const std::string& message);
  void reply_failure(const Request& request, const Error& error);
  void reply_data(const Request& request, Buffer data);
  void reply_extents(const Request& request, const std::vector<AllocationExtent>& extents);
  void enqueue();
  io::Task<void> send_task();
  void break_off();

  io::Scheduler& scheduler_;
  std::unique_ptr<io::Stream> stream_;  // null while it is taken into TLS, and when that has failed
  SessionLimits limits_;
  std::string client_;
  WallTime since_;
  ReceiveBuffer input_;
  Handshake handshake_;
  // Of requests in flight and of read data not yet sent.
  PayloadBudget::Account ordinary_account_;
  PayloadBudget::Account large_account_;
  std::unique_ptr<BlockTarget> target_;
  std::string export_name_;
  Agreement agreement_;
  SessionCounters counters_;
  SessionPhase phase_ = SessionPhase::kHandshake;
  SessionEnd end_ = SessionEnd::kRunning;
  std::string end_reason_;

  ReplyQueue replies_;
  WireEncoder scratch_;  // one reply being encoded
  std::size_t requests_in_flight_ = 0;
  std::uint64_t sending_plain_bytes_ = 0;
  bool sending_ = false;            // the stream has a batch of replies
  bool receiving_payload_ = false;  // of a write that has been charged
  bool last_was_large_ = false;     // the last write had memory of its own
  MonotonicTime sending_since_{};
  MonotonicTime received_at_{};
  bool stopping_ = false;
  bool broken_ = false;  // the client can be told nothing more
  bool handshake_ended_ = false;
  bool handshake_expired_ = false;
  bool receiving_ended_ = false;
  bool drain_expired_ = false;
  bool drain_timer_set_ = false;
  bool flush_expired_ = false;

  io::WaitQueue changed_;        // what run() waits for
  io::WaitQueue room_;           // what the receiver waits for
  io::WaitQueue replies_ready_;  // what the sender waits for
  // Ended in this order, by the destructor at the latest; each may use what is declared above.
  io::TaskScope timers_;
  io::TaskScope receiver_;
  io::TaskScope requests_;
  io::TaskScope sender_;
};

}  // namespace tidemark::nbd

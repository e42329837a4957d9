#include "nbd/session.h"

#include <algorithm>
#include <cstring>

namespace tidemark::nbd {
namespace {

// What a request may take up until it is answered, as it is allocated: in whole pages.
std::uint64_t memory_of(const Request& request) {
  std::uint64_t bytes = request.type == kCommandRead ? request.length : request.payload_bytes();
  if (request.type == kCommandBlockStatus) bytes = 8 * Session::kExtentsMax;
  return (bytes + 4095) & ~std::uint64_t{4095};
}

}  // namespace

Session::Session(io::Environment environment, std::unique_ptr<io::Stream> stream, ExportDirectory& directory,
                 PayloadBudgets& budgets, SessionLimits limits, TlsMode tls)
    : scheduler_(environment.scheduler),
      stream_(std::move(stream)),
      limits_(limits),
      client_(stream_->peer_name()),
      since_(environment.clock.now()),
      handshake_(stream_, input_, directory, client_, tls),
      ordinary_account_(budgets.ordinary, *this),
      large_account_(budgets.large, *this),
      changed_(scheduler_),
      room_(scheduler_),
      replies_ready_(scheduler_),
      timers_(scheduler_),
      receiver_(scheduler_),
      requests_(scheduler_),
      sender_(scheduler_) {
  TM_ASSERT(limits_.payload_bytes_max >= kPayloadBytesMax);
  TM_ASSERT(limits_.requests_in_flight_max > 0);
  TM_ASSERT(limits_.reply_bytes_max > 0);
}

Session::~Session() {
  timers_.cancel_all();
  receiver_.cancel_all();
  requests_.cancel_all();
  sender_.cancel_all();
  target_.reset();
  close_stream();
}

void Session::close_stream() {
  if (stream_ != nullptr) stream_->close();
}

const std::string& Session::export_name() const {
  const bool is_opening = phase_ == SessionPhase::kHandshake && handshake_.opening().has_value();
  return is_opening ? *handshake_.opening() : export_name_;
}

bool Session::has_chosen() const {
  return phase_ != SessionPhase::kHandshake || handshake_.opening().has_value();
}

std::uint64_t Session::memory_bytes() const {
  return payload_bytes() + replies_.plain_bytes() + sending_plain_bytes_ +
         input_.blocks() * ReceiveBuffer::kBlockBytes;
}

// ---- run(): the phases and their ends ----

io::Task<void> Session::run() {
  const bool agreed = co_await negotiate();
  if (agreed) {
    phase_ = SessionPhase::kTransmission;
    co_await transmit();
  }
  phase_ = SessionPhase::kEnding;
  timers_.cancel_all();
  target_.reset();
  close_stream();
}

io::Task<bool> Session::negotiate() {
  receiver_.spawn(negotiate_task());
  timers_.spawn(set_after(limits_.handshake_timeout, &handshake_expired_));
  while (!handshake_ended_ && !handshake_expired_) {
    if (stopping_ && handshake_.is_waiting_for_client()) {
      end_with(SessionEnd::kStopped, "the server is shutting down");
      break;
    }
    co_await changed_.wait();
  }
  receiver_.cancel_all();
  timers_.cancel_all();
  if (!handshake_ended_ && end_ == SessionEnd::kRunning) {
    end_with(SessionEnd::kHandshakeTimeout, "the client did not choose an export in time");
  }
  co_return target_ != nullptr;
}

io::Task<void> Session::negotiate_task() {
  Result<std::optional<Negotiated>> negotiated = co_await handshake_.run();
  if (!negotiated.ok()) {
    const Error& error = negotiated.error();
    switch (error.code) {
      case ErrorCode::kClosed:
        end_with(SessionEnd::kDisconnected, error.message);
        break;
      case ErrorCode::kShutdown:
        end_with(SessionEnd::kStopped, error.message);
        break;
      case ErrorCode::kInvalid:
        end_with(SessionEnd::kViolation, error.message);
        break;
      default:
        end_with(SessionEnd::kRefused, error.message);
    }
  } else if (!negotiated->has_value()) {
    end_with(SessionEnd::kDisconnected, "the client left without choosing an export");
  } else {
    Negotiated& agreed = **negotiated;
    target_ = std::move(agreed.target);
    export_name_ = std::move(agreed.export_name);
    agreement_ = agreed.agreement;
  }
  handshake_ended_ = true;
  changed_.wake_all();
}

io::Task<void> Session::transmit() {
  receiver_.spawn(receive_task());
  sender_.spawn(send_task());
  while (!receiving_ended_ && !(stopping_ && requests_in_flight_ == 0) && !drain_expired_) {
    co_await changed_.wait();
  }
  phase_ = SessionPhase::kEnding;
  receiver_.cancel_all();
  if (stopping_) end_with(SessionEnd::kStopped, "the server ended the connection");
  co_await let_requests_finish();
  co_await let_replies_leave();
  sender_.cancel_all();
}

io::Task<void> Session::let_requests_finish() {
  while (requests_in_flight_ > 0 && !drain_expired_) co_await changed_.wait();
  requests_.cancel_all();
  requests_in_flight_ = 0;
}

io::Task<void> Session::let_replies_leave() {
  timers_.spawn(set_after(limits_.flush_timeout, &flush_expired_));
  while ((!replies_.empty() || sending_) && !broken_ && !flush_expired_) co_await changed_.wait();
}

io::Task<void> Session::set_after(Duration delay, bool* flag) {
  co_await scheduler_.sleep_for(delay);
  *flag = true;
  changed_.wake_all();
}

void Session::begin_stop() {
  if (stopping_) return;
  stopping_ = true;
  handshake_.begin_shutdown();
  if (!drain_timer_set_ && phase_ != SessionPhase::kHandshake) {
    drain_timer_set_ = true;
    timers_.spawn(set_after(limits_.drain_timeout, &drain_expired_));
  }
  changed_.wake_all();
}

// The first reason is the one that is told.
void Session::end_with(SessionEnd end, std::string reason) {
  if (end_ != SessionEnd::kRunning) return;
  end_ = end;
  end_reason_ = std::move(reason);
}

// ---- receiving ----

io::Task<void> Session::receive_task() {
  for (;;) {
    if (input_.unread().size() < kRequestHeaderBytes) {
      const bool there = co_await receive(kRequestHeaderBytes);
      if (!there) break;
    }
    const Request request = Request::decode(input_.unread().first(kRequestHeaderBytes));
    input_.consume(kRequestHeaderBytes);
    if (request.magic != kRequestMagic) {
      end_with(SessionEnd::kViolation, "the client sent a request without its magic; it was disconnected");
      break;
    }
    if (request.type == kCommandDisconnect) {
      end_with(SessionEnd::kDisconnected, "the client disconnected");
      break;
    }
    if (request.payload_bytes() > kPayloadBytesMax) {
      end_with(SessionEnd::kViolation, "the client announced a write of " + std::to_string(request.length) +
                                           " bytes, where at most 33554432 are taken; it was disconnected");
      break;
    }
    if (start_at_once(request)) continue;
    const bool goes_on = co_await handle(request);
    if (!goes_on) break;
  }
  receiving_ended_ = true;
  changed_.wake_all();
}

// At least `message_bytes` unread, in one piece. False when the client is gone.
io::Task<bool> Session::receive(std::size_t message_bytes) {
  while (input_.unread().size() < message_bytes) {
    Buffer space = input_.space_for(message_bytes);
    if (last_was_large_) space = space.slice(0, std::min(space.size(), kReadAfterLargeBytes));
    const Result<std::size_t> got = co_await stream_->read_some(std::move(space));
    if (!got.ok() || *got == 0) {
      const bool in_between = input_.unread().empty() && message_bytes == kRequestHeaderBytes;
      end_with(SessionEnd::kDisconnected, in_between ? "the client closed the connection"
                                                     : "the client broke off in the middle of a request");
      co_return false;
    }
    input_.received(*got);
  }
  co_return true;
}

std::optional<Refusal> Session::check(const Request& request) const {
  std::optional<Refusal> refusal = validate(request, agreement_);
  if (!refusal.has_value() && stopping_) {
    refusal = Refusal{WireError::kShutdown, "the server is shutting down"};
  }
  return refusal;
}

// The common case, without a wait: acceptable, here in full, and within the limits.
bool Session::start_at_once(const Request& request) {
  const std::uint32_t payload_bytes = request.payload_bytes();
  if (payload_bytes >= kOwnBufferBytesMin || payload_bytes > input_.unread().size()) return false;
  if (check(request).has_value() || !take_room(memory_of(request))) return false;
  last_was_large_ = false;
  start(request, payload_bytes == 0 ? Buffer() : input_.take(payload_bytes));
  return true;
}

// One request whose header has been read. False when the client is gone.
io::Task<bool> Session::handle(Request request) {
  const std::uint64_t memory_bytes = memory_of(request);
  last_was_large_ = false;
  std::optional<Refusal> refusal = check(request);
  if (!refusal.has_value() && !take_room(memory_bytes)) {
    const bool there = co_await wait_for_room(memory_bytes);
    if (!there) co_return false;
    refusal = check(request);  // a stop may have begun meanwhile
    if (refusal.has_value()) give_back(memory_bytes);
  }
  if (refusal.has_value()) {
    const bool there = co_await wait_for_room(0);
    if (!there) co_return false;
    const bool skipped = co_await skip_payload(request.payload_bytes());
    if (!skipped) co_return false;
    ++counters_.refused;
    reply_error(request, refusal->error, refusal->message);
    co_return true;
  }
  if (request.payload_bytes() >= kOwnBufferBytesMin) co_return co_await receive_payload(request);
  Buffer payload;
  if (request.payload_bytes() > 0) {
    const bool there = co_await receive(request.payload_bytes());
    if (!there) co_return false;
    payload = input_.take(request.payload_bytes());
  }
  start(request, std::move(payload));
  co_return true;
}

// A large payload, into memory of its own: first what has come already, then straight from the stream.
io::Task<bool> Session::receive_payload(Request request) {
  receiving_payload_ = true;
  received_at_ = scheduler_.now();
  Buffer payload = Buffer::allocate(request.length);
  std::size_t filled = std::min<std::size_t>(input_.unread().size(), request.length);
  if (filled > 0) std::memcpy(payload.data(), input_.unread().data(), filled);
  input_.consume(filled);
  while (filled < payload.size()) {
    Buffer rest = payload.slice(filled, payload.size() - filled);
    const Result<std::size_t> got = co_await stream_->read_some(std::move(rest));
    if (!got.ok() || *got == 0) {
      end_with(SessionEnd::kDisconnected, "the client broke off in the middle of a request");
      co_return false;
    }
    filled += *got;
    received_at_ = scheduler_.now();
  }
  receiving_payload_ = false;
  last_was_large_ = true;
  start(request, std::move(payload));
  co_return true;
}

io::Task<bool> Session::skip_payload(std::uint32_t bytes) {
  while (bytes > 0) {
    const bool there = co_await receive(1);
    if (!there) co_return false;
    const std::size_t part = std::min<std::size_t>(bytes, input_.unread().size());
    input_.consume(part);
    bytes -= static_cast<std::uint32_t>(part);
  }
  co_return true;
}

bool Session::has_room_of_its_own(std::uint64_t memory_bytes) const {
  return requests_in_flight_ < limits_.requests_in_flight_max &&
         payload_bytes() + memory_bytes <= limits_.payload_bytes_max &&
         replies_.plain_bytes() + sending_plain_bytes_ < limits_.reply_bytes_max;
}

PayloadBudget::Account& Session::account_for(std::uint64_t memory_bytes) {
  return memory_bytes > PayloadBudgets::kOrdinaryBytesMax ? large_account_ : ordinary_account_;
}

void Session::give_back(const ReplyQueue::Batch& batch) {
  ordinary_account_.give_back(batch.ordinary_charge_bytes);
  large_account_.give_back(batch.large_charge_bytes);
}

bool Session::take_room(std::uint64_t memory_bytes) {
  PayloadBudget::Account& account = account_for(memory_bytes);
  if (!has_room_of_its_own(memory_bytes) || !account.may_take(memory_bytes)) return false;
  account.take(memory_bytes);
  return true;
}

// Returns when the room has been taken; false when the client can be told nothing more. It stands in the
// line of all connections only while nothing of its own keeps it.
io::Task<bool> Session::wait_for_room(std::uint64_t memory_bytes) {
  struct LeavesLine {
    PayloadBudget::Account& account;
    explicit LeavesLine(PayloadBudget::Account& a) : account(a) {}
    LeavesLine(const LeavesLine&) = delete;
    LeavesLine& operator=(const LeavesLine&) = delete;
    ~LeavesLine() { account.leave_line(); }
  };
  PayloadBudget::Account& account = account_for(memory_bytes);
  const LeavesLine leaves_line(account);
  while (!take_room(memory_bytes)) {
    if (broken_) co_return false;
    if (!has_room_of_its_own(memory_bytes)) {
      account.leave_line();
      co_await room_.wait();
      continue;
    }
    account.stand_in_line(memory_bytes);
    const bool woken = co_await room_.wait_until(scheduler_.now() + kStallLookInterval);
    if (!woken) account.end_a_stalled_one();
  }
  co_return true;
}

bool Session::is_stalled() const {
  if (broken_) return false;
  const MonotonicTime now = scheduler_.now();
  return (sending_ && now - sending_since_ >= limits_.stall_timeout) ||
         (receiving_payload_ && phase_ == SessionPhase::kTransmission &&
          now - received_at_ >= limits_.stall_timeout);
}

void Session::give_up() {
  end_with(SessionEnd::kStalled, sending_ ? "others waited for memory while the client took no replies"
                                          : "others waited for memory while the client did not send the "
                                            "payload it had announced");
  break_off();
}

// ---- requests ----

void Session::start(const Request& request, Buffer payload) {
  count(request);
  if (request.type == kCommandWrite && !request.has(kCommandFlagFua) &&
      target_->write_now(request.offset, payload)) {
    give_back(memory_of(request));
    reply_done(request);
    return;
  }
  ++requests_in_flight_;
  requests_.spawn(perform(request, std::move(payload)));
}

void Session::count(const Request& request) {
  switch (request.type) {
    case kCommandRead:
      ++counters_.reads;
      counters_.bytes_read += request.length;
      break;
    case kCommandWrite:
      ++counters_.writes;
      counters_.bytes_written += request.length;
      break;
    case kCommandFlush:
      ++counters_.flushes;
      break;
    case kCommandTrim:
      ++counters_.trims;
      break;
    case kCommandWriteZeroes:
      ++counters_.write_zeroes;
      break;
    case kCommandCache:
      ++counters_.caches;
      break;
    default:
      ++counters_.block_statuses;
  }
}

io::Task<void> Session::perform(Request request, Buffer payload) {
  if (request.type == kCommandRead) {
    co_await perform_read(request);
  } else if (request.type == kCommandBlockStatus) {
    co_await perform_block_status(request);
  } else {
    const Result<void> result = co_await perform_plain(request, std::move(payload));
    give_back(memory_of(request));
    if (result.ok()) {
      reply_done(request);
    } else {
      reply_failure(request, result.error());
    }
  }
  finished();
}

io::Task<Result<void>> Session::perform_plain(Request request, Buffer payload) {
  const bool fua = request.has(kCommandFlagFua);
  switch (request.type) {
    case kCommandWrite:
      return target_->write(request.offset, std::move(payload), fua);
    case kCommandFlush:
      return target_->flush();
    case kCommandTrim:
      return target_->trim(request.offset, request.length, fua);
    case kCommandWriteZeroes:
      return target_->write_zeroes(request.offset, request.length, request.has(kCommandFlagNoHole), fua);
    default:
      return target_->cache(request.offset, request.length);
  }
}

io::Task<void> Session::perform_read(Request request) {
  Buffer data = Buffer::allocate(request.length);
  Buffer out = data;
  const Result<void> result = co_await target_->read(request.offset, std::move(out));
  if (result.ok()) {
    reply_data(request, std::move(data));  // counted until it has been sent
  } else {
    give_back(memory_of(request));
    reply_failure(request, result.error());
  }
}

io::Task<void> Session::perform_block_status(Request request) {
  const std::size_t extents_max = request.has(kCommandFlagReqOne) ? 1 : kExtentsMax;
  const auto extents = co_await target_->block_status(request.offset, request.length, extents_max);
  if (extents.ok()) {
    reply_extents(request, *extents);  // counted until it has been sent
  } else {
    give_back(memory_of(request));
    reply_failure(request, extents.error());
  }
}

void Session::finished() {
  --requests_in_flight_;
  room_.wake_all();
  if (requests_in_flight_ == 0 && (stopping_ || receiving_ended_)) changed_.wake_all();
}

// ---- replies ----

void Session::reply_done(const Request& request) {
  encode_simple_reply(scratch_, request.cookie, WireError::kNone);
  enqueue();
}

void Session::reply_error(const Request& request, WireError error, const std::string& message) {
  if (agreement_.structured_replies) {
    encode_error_chunk(scratch_, request.cookie, error, displayable(message));
  } else {
    encode_simple_reply(scratch_, request.cookie, error);
  }
  enqueue();
}

void Session::reply_failure(const Request& request, const Error& error) {
  ++counters_.failed;
  reply_error(request, wire_error(error.code, request), error.message);
}

// One chunk, which is also the last: the data lies in memory, so nothing can fail any more.
void Session::reply_data(const Request& request, Buffer data) {
  if (broken_) {
    give_back(memory_of(request));
    return;
  }
  if (agreement_.structured_replies) {
    encode_chunk_header(scratch_, kChunkFlagDone, kChunkOffsetData, request.cookie, request.length + 8);
    scratch_.u64(request.offset);
  } else {
    encode_simple_reply(scratch_, request.cookie, WireError::kNone);
  }
  enqueue();
  replies_.add_payload(std::move(data), memory_of(request));
}

// What the target says is held to the protocol: no empty descriptor, neighbours differ, the sum does not
// exceed what was asked, at least one.
void Session::reply_extents(const Request& request, const std::vector<AllocationExtent>& extents) {
  if (broken_) {
    give_back(memory_of(request));
    return;
  }
  struct Descriptor {
    std::uint32_t length;
    std::uint32_t state;
  };
  const std::size_t descriptors_max = request.has(kCommandFlagReqOne) ? 1 : kExtentsMax;
  std::vector<Descriptor> descriptors;
  std::uint32_t left = request.length;
  for (const AllocationExtent& extent : extents) {
    const auto length = static_cast<std::uint32_t>(std::min<std::uint64_t>(extent.length_bytes, left));
    const std::uint32_t state = (extent.hole ? kStateHole : 0) | (extent.zero ? kStateZero : 0);
    if (length == 0) continue;
    if (!descriptors.empty() && descriptors.back().state == state) {
      descriptors.back().length += length;
    } else if (descriptors.size() == descriptors_max) {
      break;
    } else {
      descriptors.push_back({length, state});
    }
    left -= length;
  }
  // "A server MAY always safely report a status of 0."
  if (descriptors.empty()) descriptors.push_back({request.length, 0});
  encode_chunk_header(scratch_, kChunkFlagDone, kChunkBlockStatus, request.cookie,
                      static_cast<std::uint32_t>(4 + 8 * descriptors.size()));
  scratch_.u32(kAllocationContextId);
  enqueue();
  WireEncoder data;
  for (const Descriptor& descriptor : descriptors) {
    data.u32(descriptor.length);
    data.u32(descriptor.state);
  }
  replies_.add_payload(Buffer::copy_of(data.bytes()), memory_of(request));
}

// What is encoded in scratch_, as one reply or the head of one.
void Session::enqueue() {
  if (!broken_) {
    replies_.add(scratch_.bytes());
    replies_ready_.wake_one();
  }
  scratch_.clear();
}

io::Task<void> Session::send_task() {
  for (;;) {
    while (replies_.empty()) co_await replies_ready_.wait();
    ReplyQueue::Batch batch = replies_.take();
    sending_ = true;
    sending_since_ = scheduler_.now();
    sending_plain_bytes_ = batch.plain_bytes;
    std::vector<Buffer> pieces = std::move(batch.pieces);
    const Result<void> sent = co_await stream_->write(std::move(pieces));
    sending_ = false;
    sending_plain_bytes_ = 0;
    give_back(batch);
    if (!sent.ok()) {
      break_off();
      co_return;
    }
    room_.wake_all();
    if (replies_.empty() && phase_ == SessionPhase::kEnding) changed_.wake_all();
  }
}

// Nothing more reaches the client: what is queued for it goes, and so does what is still to come.
void Session::break_off() {
  end_with(SessionEnd::kDisconnected, "the client stopped taking replies");
  broken_ = true;
  while (!replies_.empty()) give_back(replies_.take());
  stream_->close();
  room_.wake_all();
  changed_.wake_all();
}

}  // namespace tidemark::nbd

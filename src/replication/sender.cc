#include "replication/sender.h"

#include <algorithm>

#include "base/crc32c.h"

namespace tidemark::replication {
namespace {

constexpr Duration kConnectTimeout = Duration::seconds(5);
constexpr Duration kRetryMin = Duration::milliseconds(100);
constexpr Duration kRetryMax = Duration::seconds(2);
// Sent and not acknowledged: beyond this the sender waits, so that a slow peer costs no memory here.
constexpr std::uint64_t kUnackedBytesMax = 32 << 20;
constexpr std::uint64_t kChunkBytes = 1 << 20;
constexpr std::uint64_t kLookAheadBytes = 256 << 20;

// Somebody listens there and does not answer a hello: another service, or a tidemarkd that ends just now.
Error no_service(const Error& error) {
  return fail(error.code, "no tidemarkd replication service answers there (" + error.message +
                              "); the peer's address is that of its --replication");
}

}  // namespace

std::vector<format::UnitOfVolume> units_of(const group::Group& group) {
  std::vector<format::UnitOfVolume> units;
  for (const group::VolumeShape& shape : group.volumes()) {
    if (units.size() == format::kLinkUnitsMax) break;
    units.push_back({shape.id, group.volume_status(shape).lu});
  }
  return units;
}

Sender::Sender(io::Environment environment, const NodeName& self, group::Group& group, PairRecord record,
               std::uint64_t number, std::shared_ptr<LinkTraffic> traffic, Calls calls)
    : environment_(environment),
      self_(self),
      group_(group),
      record_(std::move(record)),
      number_(number),
      traffic_(std::move(traffic)),
      calls_(std::move(calls)),
      acked_(group.local().peer_has),
      batches_(environment.scheduler, group.journal()),
      moved_(environment.scheduler),
      promise_moved_(environment.scheduler) {}

void Sender::moved_on() {
  moved_.wake_all();
  calls_.moved();
}

io::Task<Result<format::Welcome>> Sender::connect(format::HelloIntent intent, bool overrules) {
  TM_CO_TRY_ASSIGN(const io::Address address, io::Address::parse(record_.peer_address));
  TM_CO_TRY_ASSIGN(std::unique_ptr<io::Stream> stream,
                   co_await environment_.network.connect(address, kConnectTimeout));
  auto link = std::make_shared<Link>(environment_.scheduler, std::move(stream));
  // Before a stranger learns anything of the group.
  TM_CO_TRY(record_.check_peer(link->peer_identity()));
  const LogId had = group_.local().peer_has;
  auto welcome = co_await say_hello(std::move(link), intent, overrules);
  if (!welcome.ok() || !welcome->accepted) group_.set_peer_has(had);
  co_return welcome;
}

io::Task<Result<void>> Sender::prepare_copy(format::Hello* hello) {
  // State, point and checksum belong together: nothing is awaited between them.
  hello->start_checksum = group_.journal().checksum_of_last();
  hello->start = group_.head();
  hello->state = group_.encode_state();
  const std::uint64_t ticket = group_.journal().last_ticket();
  // What the peer has goes on to be held until it agrees to begin anew; when it has nothing, what follows the
  // point at which the copy begins.
  if (group_.local().peer_has.is_none()) group_.set_peer_has(hello->start);
  hello->parity = group_.local().parity + 1;
  hello->journal_size_bytes = group_.log_volumes_size_bytes();
  hello->retain_ns = group_.local().settings.retain.ns;
  begin_copy_at(format::CopyCursor());
  co_return co_await group_.journal().wait_durable(ticket);
}

void Sender::begin_copy_at(const format::CopyCursor& copied) {
  cursor_ = CopyCursor();
  cursor_.volumes = group_.volumes();
  progress_ = CopyProgress();
  for (const group::VolumeShape& shape : cursor_.volumes) {
    progress_.total_bytes += shape.size_bytes;
    if (shape.id < copied.volume) {
      ++cursor_.volume;
      progress_.done_bytes += shape.size_bytes;
    } else if (shape.id == copied.volume) {
      cursor_.offset = std::min(copied.offset_bytes, shape.size_bytes);
      progress_.done_bytes += cursor_.offset;
    }
  }
}

io::Task<Result<format::Welcome>> Sender::say_hello(std::shared_ptr<Link> link, format::HelloIntent intent,
                                                    bool overrules) {
  format::Hello hello;
  hello.intent = intent;
  hello.overrules = overrules;
  hello.addresses = self_.addresses;
  hello.node = self_.identity;
  hello.instance = self_.instance;
  hello.node_name = self_.name;
  hello.group = group_.identity();
  hello.group_name = record_.peer_group;
  if (intent == format::HelloIntent::kCreate || intent == format::HelloIntent::kReplace) {
    hello.raid = record_.peer_raid;
  }
  hello.primary_group = group_.name();
  hello.sync = record_.sync;
  hello.compression = record_.compression;
  // Whoever joins again has been without the other one.
  const bool joins_again =
      intent == format::HelloIntent::kContinue || intent == format::HelloIntent::kContinueCopy;
  if (joins_again) hello.not_in_sync = calls_.promise().why;
  const bool copy = intent == format::HelloIntent::kCreate || intent == format::HelloIntent::kReplace;
  const bool skips = intent == format::HelloIntent::kSkip;
  // What is whole again behind the gap is told from what is not by the epoch.
  if (skips) TM_CO_TRY(co_await group_.open_epoch_for_resync());
  if (copy || skips) TM_CO_TRY(co_await prepare_copy(&hello));
  if (intent == format::HelloIntent::kFollow) {
    hello.start = record_.fork;
    hello.start_checksum = record_.fork_checksum;
    if (!record_.needs_copy) {
      TM_CO_TRY_ASSIGN(hello.start_checksum, co_await group_.checksum_at(hello.start));
    }
  }
  std::vector<std::byte> body = format::encode_hello(hello);
  if (body.size() > format::kLinkBodyBytesMax) {
    co_return fail(ErrorCode::kRefused, "the group has too many marks for a copy by this version");
  }
  TM_CO_TRY(co_await link->send_within(kHelloTimeout, format::LinkMessage::kHello, std::move(body)));
  auto answered = co_await link->receive_within(kWelcomeTimeout, 1 << 16);
  // A server that does not accept our certificate says so after our hello.
  if (!answered.ok() && answered.error().code == ErrorCode::kRefused) co_return answered.error();
  if (!answered.ok()) co_return no_service(answered.error());
  const Message& answer = *answered;
  if (answer.type != format::LinkMessage::kWelcome) {
    co_return no_service(fail(ErrorCode::kInvalid, "the answer is not a welcome"));
  }
  TM_CO_TRY_ASSIGN(const format::Welcome welcome, format::decode_welcome(answer.body));
  if (record_.peer_node != NodeIdentity() && welcome.node != record_.peer_node) {
    co_return fail(ErrorCode::kClosed, "another node, " + welcome.node_name + ", answers at " +
                                           record_.peer_address + " than the peer " + record_.peer_name);
  }
  if (!welcome.accepted) co_return welcome;
  // It follows now, and what it lacks is gone: a resync is what comes next.
  if (intent == format::HelloIntent::kFollow && record_.needs_copy) co_return welcome;
  if (record_.peer_certificate.empty()) record_.peer_certificate = link->peer_identity();
  unacked_.clear();
  unacked_bytes_ = 0;
  copying_ = copy || welcome.copied.has_value();
  told_resync_end_ = false;
  if (welcome.copied.has_value()) {
    begin_copy_at(*welcome.copied);
    cursor_.not_before = group_.journal().durable();
  }
  sent_ = acked_ = copy || skips ? hello.start : welcome.received;
  peer_floor_ = welcome.floor;
  TM_CO_TRY_ASSIGN(next_, co_await place_after(sent_));
  // Nothing is awaited from here on: whoever sets other terms ends the link.
  if (hello.sync != record_.sync || hello.compression != record_.compression) {
    co_return fail(ErrorCode::kClosed, "the pair has another mode or compression by now");
  }
  link->agree_on(hello.compression, environment_.offload);
  link->count_in(traffic_);
  acked_place_ = next_;
  group_.set_peer_has(acked_);
  link_ = std::move(link);
  link_since_ = environment_.clock.now();
  last_error_.clear();
  heard_ns_ = 0;
  moved_on();
  co_return welcome;
}

// The first entry of the epoch in which the live path goes on after `point`; none where it goes on in the
// same one, or does not reach it.
std::optional<LogId> Sender::left_at(LogId point) const {
  const index::EpochTree& epochs = group_.state().epochs();
  for (const auto& [number, epoch] : epochs.all()) {
    const LogId first(number, 1);
    if (epoch.parent == point && epochs.is_ancestor(first, group_.head())) return first;
  }
  return std::nullopt;
}

io::Task<Result<Place>> Sender::place_after(LogId received) {
  if (received.sequence() == 0) co_return group_.journal().oldest();
  auto batch = co_await group_.journal().find(received);
  if (batch.ok()) {
    // What comes after it in its batch may be of a branch that was left there, of no use to the peer.
    if (batch->meta.last() != received && !left_at(received).has_value()) {
      co_return fail(ErrorCode::kDamaged, "the peer holds a part of a batch: log:" + received.to_string());
    }
    co_return batch->next;
  }
  if (batch.error().code != ErrorCode::kNotFound) co_return std::move(batch).error();
  // The batch of the floor itself may be freed; what follows it then begins the oldest segment.
  if (received == group_.local().destaged) co_return group_.journal().oldest();
  // This node took up the order there itself, behind a gap, so that what comes next is the first it has of
  // it.
  if (received == group_.local().skipped_to) {
    auto following = co_await group_.journal().find(left_at(received).value_or(received.next()));
    if (following.ok()) co_return following->place;
  }
  co_return fail(ErrorCode::kExpired, "what follows log:" + received.to_string() +
                                          " is no longer in the journal, or was never in it");
}

io::Task<Result<format::Welcome>> Sender::introduce(format::HelloIntent intent, bool overrules) {
  co_return co_await connect(intent, overrules);
}

void Sender::let_stream() {
  may_stream_ = true;
  moved_.wake_all();
}

io::Task<void> Sender::wait_until_let() {
  if (!may_stream_) calls_.report(Outcome::kLinkUp, std::string());
  while (!may_stream_) co_await moved_.wait();
}

void Sender::link_lost(const std::string& why) {
  if (link_ != nullptr) link_->close();
  link_ = nullptr;
  may_stream_ = false;
  link_since_ = environment_.clock.now();
  last_error_ = why;
  moved_on();
}

// Tried again soon, and told once: a refusal is for somebody to look at.
void Sender::not_connected(const Error& error) {
  if (error.message == last_error_) return;
  last_error_ = error.message;
  if (error.code == ErrorCode::kRefused) calls_.report(Outcome::kDistrusted, error.message);
}

// True when the link is up. False when that is over: the outcome was reported.
io::Task<bool> Sender::connected() {
  Duration retry = kRetryMin;
  // A copy begins anew only where the one before did not become complete: its end may have come while the
  // answer was lost, and what is readable there, or was written there since, is not this side's to give up.
  bool begins_anew = false;
  while (link_ == nullptr) {
    const bool copying = record_.state == PairState::kCopy;
    const auto goes_on =
        copying && !record_.resyncs ? format::HelloIntent::kContinueCopy : format::HelloIntent::kContinue;
    auto welcome = co_await connect(begins_anew ? format::HelloIntent::kReplace : goes_on, false);
    if (welcome.ok() && welcome->accepted) break;
    if (welcome.ok()) {
      const auto code = static_cast<ErrorCode>(welcome->error_code);
      if (copying && !record_.resyncs && !begins_anew &&
          (code == ErrorCode::kInGap || code == ErrorCode::kNotFound)) {
        begins_anew = true;
        continue;
      }
      const bool distrusted = code == ErrorCode::kClosed;
      const bool passes = distrusted || code == ErrorCode::kShutdown || code == ErrorCode::kBusy;
      if (welcome->taken_over) {
        calls_.report(Outcome::kTakenOver, welcome->error_message);
        co_return false;
      }
      if (!passes) {
        calls_.report(code == ErrorCode::kRefused ? Outcome::kSuspendedThere : Outcome::kRefused,
                      welcome->error_message);
        co_return false;
      }
      not_connected(fail(distrusted ? ErrorCode::kRefused : code, welcome->error_message));
    } else if (welcome.error().code == ErrorCode::kExpired) {
      calls_.report(Outcome::kNeedsCopy, welcome.error().message);
      co_return false;
    } else {
      not_connected(welcome.error());
    }
    begins_anew = false;
    co_await environment_.scheduler.sleep_for(retry);
    retry = std::min(kRetryMax, Duration{retry.ns * 2});
  }
  co_return true;
}

io::Task<void> Sender::run() {
  while (co_await connected()) {
    co_await wait_until_let();
    const std::shared_ptr<Link> link = link_;
    Result<void> streamed;
    {
      io::TaskScope link_tasks(environment_.scheduler);
      link_tasks.spawn(receive_acks(link));
      link_tasks.spawn(link->watch_silence());
      if (record_.sync.has_value()) link_tasks.spawn(keep_promising(link));
      streamed = co_await stream();
      link->close();
    }
    const std::string why = streamed.ok() ? "the link ended" : streamed.error().message;
    if (link_ != nullptr) link_lost(why);
    if (!streamed.ok() && streamed.error().code == ErrorCode::kExpired) {
      calls_.report(Outcome::kNeedsCopy, why);
      co_return;
    }
    calls_.report(Outcome::kLinkDown, why);
    // Whatever ended it is given a moment to pass.
    co_await environment_.scheduler.sleep_for(kRetryMin);
  }
}

void Sender::set_terms(std::optional<format::SyncTerms> terms, format::Compression compression) {
  if (record_.sync == terms && record_.compression == compression) return;
  record_.sync = terms;
  record_.compression = compression;
  // The hello carries them, and what follows it is of their version.
  if (link_ != nullptr) link_->close();
}

void Sender::set_copy_rate(std::uint64_t bytes_per_second) {
  record_.copy_rate_bytes = bytes_per_second;
  chunk_due_ = environment_.scheduler.now();
  group_.journal().durable_moved().wake_all();
}

// Each time anew what the secondary may count on, by its own clock: the primary says how long after an
// acknowledgement came it will answer no FLUSH without the secondary, which knows when it sent that one.
io::Task<void> Sender::keep_promising(std::shared_ptr<Link> link) {
  while (true) {
    const Promise promise = calls_.promise();
    format::InSync word;
    word.why = promise.why;
    word.since = promise.since;
    word.heard_ns = heard_ns_;
    const Duration holds_for = heard_ns_ == 0 ? format::kHoldsForMin : promise.holds_until - heard_at_;
    word.holds_for = std::clamp(holds_for, format::kHoldsForMin, format::kLossAfterMax);
    std::vector<std::byte> body = format::encode_in_sync(word);
    auto sent = co_await link->send(format::LinkMessage::kInSync, std::move(body));
    if (!sent.ok()) co_return;
    co_await promise_moved_.wait_until(environment_.scheduler.now() + kHeartbeatInterval);
  }
}

io::Task<Result<void>> Sender::tell_units() {
  std::vector<format::UnitOfVolume> units = units_of(group_);
  const std::shared_ptr<Link> link = link_;
  if (link == nullptr || units == told_units_) co_return Result<void>{};
  std::vector<std::byte> body = format::encode_units(units);
  told_units_ = std::move(units);
  co_return co_await link->send(format::LinkMessage::kUnits, std::move(body));
}

io::Task<Result<void>> Sender::stream() {
  told_units_.clear();
  TM_CO_TRY(co_await tell_units());
  MonotonicTime ping_due = environment_.scheduler.now() + kHeartbeatInterval;
  while (true) {
    if (link_ == nullptr)
      co_return fail(ErrorCode::kClosed, last_error_.empty() ? "the link was lost" : last_error_);
    if (group_.journal().failed().has_value()) co_return *group_.journal().failed();
    // Also a copy that sends nothing for long, of zeroes, is heard.
    if (environment_.scheduler.now() >= ping_due) {
      ping_due = environment_.scheduler.now() + kHeartbeatInterval;
      TM_CO_TRY(co_await tell_units());
      const std::shared_ptr<Link> link = link_;
      if (link == nullptr) continue;
      std::vector<std::byte> body = format::encode_log_id(group_.journal().durable());
      TM_CO_TRY(co_await link->send(format::LinkMessage::kPing, std::move(body)));
      continue;
    }
    const bool peer_is_behind = unacked_bytes_ > kUnackedBytesMax;
    if (!peer_is_behind) {
      TM_CO_TRY_ASSIGN(const bool sent_batch, co_await send_next_batch());
      if (link_ == nullptr) continue;
      bool sent_chunk = false;
      if (copying_) {
        TM_CO_TRY_ASSIGN(sent_chunk, co_await send_next_chunk());
      }
      if (sent_batch || sent_chunk || link_ == nullptr) continue;
      TM_CO_TRY_ASSIGN(const bool told, co_await tell_resync_end());
      if (told || link_ == nullptr) continue;
    }
    io::WaitQueue& progress = peer_is_behind ? moved_ : group_.journal().durable_moved();
    const bool paces =
        copying_ && !peer_is_behind && chunk_due_ > environment_.scheduler.now() && chunk_due_ < ping_due;
    (void)co_await progress.wait_until(paces ? chunk_due_ : ping_due);
  }
}

io::Task<Result<bool>> Sender::send_next_batch() {
  auto found = co_await batches_.read(next_);
  if (!found.ok() && found.error().code == ErrorCode::kExpired && sent_ == group_.local().destaged) {
    // Nothing is lost by it: all that was there has been sent.
    next_ = group_.journal().oldest();
    found = co_await batches_.read(next_);
  }
  if (!found.ok()) co_return std::move(found).error();
  if (!found->has_value()) co_return false;
  journal::StoredBatch& batch = (*found)->batch;
  Buffer payload = std::move((*found)->payload);
  const std::uint64_t bytes = payload.size() + batch.encoded_meta.size();
  unacked_.push_back({batch.meta.last(), batch.next, bytes, batch.meta.entries.front().timer});
  unacked_bytes_ += bytes;
  sent_ = batch.meta.last();
  next_ = batch.next;
  const std::shared_ptr<Link> link = link_;
  if (link == nullptr) co_return false;
  TM_CO_TRY(
      co_await link->send(format::LinkMessage::kBatch, std::move(batch.encoded_meta), std::move(payload)));
  co_return true;
}

// Whether the copy went on. What holds only zeroes is passed over in steps, so that between them the hosts'
// entries and pings get their turn, however long it is.
io::Task<Result<bool>> Sender::send_next_chunk() {
  const std::shared_ptr<Link> link = link_;
  while (cursor_.volume < cursor_.volumes.size()) {
    const group::VolumeShape shape = cursor_.volumes[cursor_.volume];
    if (cursor_.offset >= shape.size_bytes || group_.find_volume(shape.id) == nullptr) {
      progress_.done_bytes += shape.size_bytes - std::min(cursor_.offset, shape.size_bytes);
      ++cursor_.volume;
      cursor_.offset = 0;
      continue;
    }
    // A peer that had more, and came back with less: its copy was begun anew by somebody else.
    if (!group_.state().epochs().is_ancestor(group_.local().floor, sent_)) {
      co_return fail(ErrorCode::kExpired, "the peer holds log:" + sent_.to_string() +
                                              " of the copy, and the floor here is beyond that by now");
    }
    // Read at the last entry sent: whatever the chunk holds, the peer has the entries that made it so.
    const std::shared_ptr<const index::Path> path = group_.path_to(sent_);
    const std::uint64_t length = std::min(kLookAheadBytes, shape.size_bytes - cursor_.offset);
    auto runs = co_await group_.data().allocation(shape.id, path, cursor_.offset, length, 1);
    if (!runs.ok()) co_return std::move(runs).error();
    if (runs->empty() || runs->front().hole) {
      const std::uint64_t step = runs->empty() ? length : runs->front().length_bytes;
      cursor_.offset += step;
      progress_.done_bytes += step;
      co_await environment_.scheduler.yield();
      co_return true;
    }
    if (environment_.scheduler.now() < chunk_due_) co_return false;
    const std::uint64_t bytes = std::min(runs->front().length_bytes, kChunkBytes);
    Buffer data = Buffer::allocate(bytes);
    // A step of the floor may have ended since: what the path led through is in the base then.
    std::shared_ptr<const index::Path> path_now = group_.path_to(sent_);
    TM_CO_TRY(co_await group_.data().read(shape.id, std::move(path_now), cursor_.offset, data, false));
    const format::Chunk chunk{
        .volume = shape.id, .begin_block = cursor_.offset / kBlockSizeBytes, .checksum = crc32c(data)};
    cursor_.offset += bytes;
    progress_.done_bytes += bytes;
    if (record_.copy_rate_bytes > 0) {
      const double seconds = static_cast<double>(bytes) / static_cast<double>(record_.copy_rate_bytes);
      chunk_due_ = std::max(chunk_due_, environment_.scheduler.now()) +
                   Duration{static_cast<std::int64_t>(seconds * 1e9)};
    }
    if (all_zero(data)) co_return true;
    std::vector<std::byte> body = format::encode_chunk(chunk);
    TM_CO_TRY(co_await link->send(format::LinkMessage::kChunk, std::move(body), std::move(data)));
    co_return true;
  }
  const LogId not_before = cursor_.not_before;
  if (!not_before.is_none() && !group_.state().epochs().is_ancestor(not_before, sent_)) co_return false;
  copying_ = false;
  std::vector<std::byte> body = format::encode_log_id(sent_);
  TM_CO_TRY(co_await link->send(format::LinkMessage::kCopyDone, std::move(body)));
  co_return true;
}

void Sender::end_resync(LogId point) {
  resync_end_ = point;
  group_.journal().durable_moved().wake_all();
}

// The peer holds everything up to what was sent before this message.
io::Task<Result<bool>> Sender::tell_resync_end() {
  const bool reached = resync_end_.has_value() && group_.state().epochs().is_ancestor(*resync_end_, sent_);
  const std::shared_ptr<Link> link = link_;
  if (!reached || told_resync_end_ || link == nullptr) co_return false;
  told_resync_end_ = true;
  std::vector<std::byte> body = format::encode_log_id(sent_);
  TM_CO_TRY(co_await link->send(format::LinkMessage::kCopyDone, std::move(body)));
  co_return true;
}

io::Task<void> Sender::receive_acks(std::shared_ptr<Link> link) {
  std::string why;
  while (why.empty()) {
    auto received = co_await link->receive(1 << 16);
    if (!received.ok()) {
      why = received.error().message;
    } else if (received->type == format::LinkMessage::kSuspend) {
      auto suspend = format::decode_suspend(received->body);
      const auto cause = suspend.ok() ? suspend->cause : format::SuspendCause::kOperator;
      switch (cause) {
        case format::SuspendCause::kOperator:
          why = "suspended at the peer";
          calls_.report(Outcome::kSuspendedThere, why);
          break;
        case format::SuspendCause::kError:
          why = "the peer: " + suspend->reason;
          calls_.report(Outcome::kRefused, why);
          break;
        case format::SuspendCause::kTakeover:
          why = suspend->reason;
          calls_.report(Outcome::kTakenOver, why);
          break;
        case format::SuspendCause::kGap:
          why = "the peer: " + suspend->reason;
          calls_.report(Outcome::kNeedsCopy, why);
          break;
      }
    } else if (received->type == format::LinkMessage::kDelete) {
      why = "the peer has dissolved the pair";
      calls_.report(Outcome::kDeletedThere, why);
    } else {
      auto taken = take_message(*received);
      if (!taken.ok()) why = taken.error().message;
    }
  }
  link->close();
  if (link_ == link) link_lost(why);
  // Whoever waits for the journal to move looks at the link first when it wakes.
  group_.journal().durable_moved().wake_all();
}

Result<void> Sender::take_message(const Message& message) {
  if (message.type == format::LinkMessage::kUnits) {
    TM_TRY_ASSIGN(peer_units_, format::decode_units(message.body));
    return {};
  }
  if (message.type == format::LinkMessage::kMarkRequest) {
    TM_TRY_ASSIGN(format::MarkRequest request, format::decode_mark_request(message.body));
    calls_.mark_asked(std::move(request));
    return {};
  }
  if (message.type != format::LinkMessage::kAck) {
    return fail(ErrorCode::kInvalid, "the peer sent a message that a secondary does not send");
  }
  TM_TRY_ASSIGN(const format::Ack ack, format::decode_ack(message.body));
  take_ack(ack);
  return {};
}

void Sender::take_ack(const format::Ack& ack) {
  while (!unacked_.empty() && unacked_.front().last.raw() <= ack.durable.raw()) {
    acked_ = unacked_.front().last;
    acked_place_ = unacked_.front().next;
    unacked_bytes_ -= unacked_.front().bytes;
    unacked_.pop_front();
  }
  peer_floor_ = ack.floor;
  group_.set_peer_has(acked_);
  if (ack.window_open && record_.state == PairState::kCopy) {
    record_.state = PairState::kPair;
    record_.resyncs = false;
    resync_end_.reset();
    calls_.report(Outcome::kCopied, std::string());
  }
  if (ack.sent_ns.has_value()) {
    heard_ns_ = *ack.sent_ns;
    heard_at_ = environment_.scheduler.now();
  }
  moved_on();
}

io::Task<void> Sender::answer_mark(format::MarkReply reply) {
  const std::shared_ptr<Link> link = link_;
  if (link == nullptr) co_return;
  std::vector<std::byte> body = format::encode_mark_reply(reply);
  (void)co_await link->send(format::LinkMessage::kMarkReply, std::move(body));
}

io::Task<void> Sender::say_goodbye(format::LinkMessage message) {
  const std::shared_ptr<Link> link = link_;
  if (link == nullptr) co_return;
  std::vector<std::byte> body;
  if (message == format::LinkMessage::kSuspend) body = format::encode_suspend(format::Suspend());
  co_await link->send_last(message, std::move(body));
}

std::optional<WallTime> Sender::oldest_unacked() const {
  if (unacked_.empty()) return std::nullopt;
  return unacked_.front().timer;
}

}  // namespace tidemark::replication

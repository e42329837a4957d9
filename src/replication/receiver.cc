// The secondary's side of a pair: one connection from the primary at a time, its batches appended as they
// came, its copy written to the base, and what is durable here acknowledged.

#include "base/crc32c.h"
#include "replication/pairs.h"
#include "replication/pairs_entry.h"

namespace tidemark::replication {
namespace {

constexpr std::size_t kConnectionsMax = 64;
constexpr Duration kHelloTimeout = Duration::seconds(10);
constexpr Duration kAckInterval = Duration::milliseconds(500);

format::Welcome refusal(const Error& error, const NodeName& self) {
  return {.accepted = false,
          .error_code = static_cast<std::uint16_t>(error.code),
          .error_message = error.message,
          .node = self.identity,
          .node_name = self.name};
}

}  // namespace

io::Task<void> Pairs::serve(std::unique_ptr<io::Listener> listener) {
  while (!stopping_) {
    auto accepted = co_await listener->accept();
    if (!accepted.ok()) co_return;
    // Beyond the limit the newcomer is closed: a port that is being scanned must not fill the node.
    if (tasks_.running() >= kConnectionsMax) continue;
    tasks_.spawn(receive(std::move(accepted).value()));
  }
}

io::Task<void> Pairs::receive(std::unique_ptr<io::Stream> stream) {
  auto link = std::make_shared<Link>(environment_.scheduler, std::move(stream));
  const std::string client = link->peer_name();
  // Whoever does not introduce itself in time is closed.
  io::TaskScope timer(environment_.scheduler);
  timer.spawn([](io::Scheduler& scheduler, std::shared_ptr<Link> guarded) -> io::Task<void> {
    co_await scheduler.sleep_for(kHelloTimeout);
    guarded->close();
  }(environment_.scheduler, link));
  auto first = co_await link->receive();
  timer.cancel_all();
  Result<format::Hello> hello = fail(ErrorCode::kInvalid, "the first message is not a hello");
  if (!first.ok()) {
    hello = first.error();
  } else if (first->type == format::LinkMessage::kHello) {
    hello = format::decode_hello(first->body);
  }
  if (!hello.ok()) {
    if (!stopping_) host_.log("link-refused", "", client + ": " + hello.error().message);
    if (first.ok()) {
      std::vector<std::byte> body = format::encode_welcome(refusal(hello.error(), self_));
      (void)co_await link->send(format::LinkMessage::kWelcome, std::move(body));
    }
    co_return;
  }
  Result<Entry*> entry = co_await welcome(link, *hello);
  if (!entry.ok()) {
    host_.log("link-refused", hello->group_name,
              client + " (" + hello->node_name + "): " + entry.error().message);
    std::vector<std::byte> body = format::encode_welcome(refusal(entry.error(), self_));
    (void)co_await link->send(format::LinkMessage::kWelcome, std::move(body));
    co_return;
  }
  co_await apply(link, *entry);
}

io::Task<Result<Pairs::Entry*>> Pairs::welcome(std::shared_ptr<Link> link, format::Hello hello) {
  auto guard = co_await commands_.lock();
  if (stopping_) co_return fail(ErrorCode::kShutdown, "the node is stopping");
  if (hello.node == self_.identity) {
    co_return fail(ErrorCode::kInvalid,
                   "a node of the same identity speaks: one of the two is a copy of the other");
  }
  const bool makes =
      hello.intent == format::HelloIntent::kCreate || hello.intent == format::HelloIntent::kReplace;
  Result<Entry*> entry = fail(ErrorCode::kInvalid, "");
  if (makes) {
    entry = co_await welcome_new(std::move(hello));
  } else {
    entry = co_await welcome_back(std::move(hello));
  }
  if (!entry.ok()) co_return entry;
  Entry* taken = *entry;
  taken->link = link;
  taken->link_since = environment_.clock.now();
  taken->receiving = true;
  taken->received.clear();
  const format::Welcome answer{.accepted = true,
                               .node = self_.identity,
                               .node_name = self_.name,
                               .received = taken->durable,
                               .floor = taken->group->local().floor};
  std::vector<std::byte> body = format::encode_welcome(answer);
  auto sent = co_await link->send(format::LinkMessage::kWelcome, std::move(body));
  if (!sent.ok()) {
    taken->link = nullptr;
    taken->receiving = false;
    taken->receiver_moved.wake_all();
    co_return sent.error();
  }
  co_return taken;
}

io::Task<Result<Pairs::Entry*>> Pairs::welcome_new(format::Hello hello) {
  Epoch live{};
  auto state = group::GroupState::decode(hello.state, &live);
  if (!state.ok()) co_return std::move(state).error();
  const std::string name = hello.group_name;
  if (group::Group* existing = host_.find_group(name)) {
    Entry* entry = find(name);
    const bool ours = entry != nullptr && entry->record.side == Side::kSecondary &&
                      entry->record.peer_node == hello.node && existing->identity() == hello.group;
    if (hello.intent == format::HelloIntent::kCreate || !ours) {
      co_return fail(ErrorCode::kExists, "there is a group '" + name + "' on " + self_.name +
                                             " already; name another with --peer-group, or delete it there");
    }
    if (entry->record.state == PairState::kSsws || entry->record.state == PairState::kPsus) {
      host_.log("pair-window-given-up", name, "copied anew by " + hello.node_name);
    }
    co_await end_receiver(entry);
    entries_.erase(name);
    TM_CO_TRY(co_await host_.drop_group(name));
  }
  PairRecord record{.side = Side::kSecondary,
                    .state = PairState::kCopy,
                    .peer_address = {},
                    .peer_group = hello.primary_group,
                    .peer_node = hello.node,
                    .peer_name = hello.node_name,
                    .since = environment_.clock.now()};
  const LogId start = hello.start;
  auto group = co_await host_.create_secondary(std::move(hello), std::move(state).value());
  if (!group.ok()) co_return std::move(group).error();
  auto entry = std::make_unique<Entry>(environment_.scheduler, name, *group);
  entry->record = std::move(record);
  entry->durable = start;
  Entry* created = entry.get();
  entries_[name] = std::move(entry);
  TM_CO_TRY(co_await save(created, PairState::kCopy, std::string(), start));
  co_return created;
}

io::Task<Result<Pairs::Entry*>> Pairs::welcome_back(format::Hello hello) {
  Entry* entry = find(hello.group_name);
  if (entry == nullptr || entry->record.side != Side::kSecondary || entry->group->identity() != hello.group ||
      entry->record.peer_node != hello.node) {
    co_return fail(ErrorCode::kNotFound, "group '" + hello.group_name + "' on " + self_.name +
                                             " is not the secondary of that pair");
  }
  const PairState state = entry->record.state;
  if (state == PairState::kCopy) {
    co_return fail(ErrorCode::kInvalid, "the first copy of group '" + entry->name + "' was not finished");
  }
  if (hello.intent == format::HelloIntent::kContinue && state != PairState::kPair) {
    co_return fail(ErrorCode::kRefused,
                   std::string("the pair is ") + pair_state_name(state) + " on " + self_.name);
  }
  // A connection that was lost without our noticing gives way to the new one.
  co_await end_receiver(entry);
  if (state == PairState::kSsws) {
    co_await host_.disconnect_exports(entry->name);
    const LogId fork = entry->record.fork;
    auto checksum = co_await entry->group->checksum_at(fork);
    if (!checksum.ok()) co_return std::move(checksum).error();
    TM_CO_TRY(co_await entry->group->continue_epoch(fork, *checksum, true));
    entry->record.fork = LogId{};
  }
  entry->durable = entry->group->head();
  TM_CO_TRY(co_await entry->group->journal().wait_durable(entry->group->journal().last_ticket()));
  if (state != PairState::kPair)
    TM_CO_TRY(co_await save(entry, PairState::kPair, std::string(), entry->durable));
  co_return entry;
}

io::Task<void> Pairs::end_receiver(Entry* entry) {
  if (entry->link != nullptr) entry->link->close();
  while (entry->receiving) co_await entry->receiver_moved.wait();
}

io::Task<Result<void>> Pairs::become_alone(Entry* entry) {
  group::Group* group = entry->group;
  const bool own_epoch = entry->record.state == PairState::kSsws;
  if (!own_epoch && !group->local().window_open) {
    co_return fail(ErrorCode::kRefused, "the first copy of group '" + entry->name +
                                            "' was not finished; delete the group here instead");
  }
  if (!own_epoch) {
    // Its entries so far were the peer's to number; what is written here from now on is numbered here.
    TM_CO_TRY_ASSIGN(group::RestorePlan plan, co_await group->plan_restore("head", false));
    auto opened = co_await group->restore(std::move(plan), format::EpochReason::kTakeover);
    if (!opened.ok()) co_return std::move(opened).error();
  }
  co_return co_await group->save_pair(std::vector<std::byte>(), group::Role::kPrimary, LogId{});
}

io::Task<void> Pairs::apply(std::shared_ptr<Link> link, Entry* entry) {
  io::TaskScope acknowledging(environment_.scheduler);
  acknowledging.spawn(acknowledge(link, entry));
  std::string why = "the link ended";
  bool deleted = false;
  while (true) {
    auto message = co_await link->receive(1 << 20);
    if (!message.ok()) {
      why = message.error().message;
      break;
    }
    if (message->type == format::LinkMessage::kSuspend) {
      why = "suspended at the peer";
      (void)co_await save(entry, PairState::kPsus, why, entry->group->head());
      break;
    }
    if (message->type == format::LinkMessage::kDelete) {
      deleted = true;
      break;
    }
    auto applied = co_await apply_message(entry, std::move(*message));
    if (!applied.ok()) {
      why = applied.error().message;
      host_.log("link-failed", entry->name, why);
      if (applied.error().code == ErrorCode::kExpired) {
        (void)co_await save(entry, PairState::kPsue, why, entry->group->head());
      }
      break;
    }
  }
  link->close();
  acknowledging.cancel_all();
  entry->link = nullptr;
  entry->link_since = environment_.clock.now();
  entry->receiving = false;
  entry->receiver_moved.wake_all();
  if (deleted) {
    auto guard = co_await commands_.lock();
    const std::string name = entry->name;
    if (find(name) != entry) co_return;
    auto alone = co_await become_alone(entry);
    host_.log("pair-deleted", name, alone.ok() ? "by the peer" : alone.error().message);
    entries_.erase(name);
  }
}

io::Task<Result<void>> Pairs::apply_message(Entry* entry, Message message) {
  group::Group* group = entry->group;
  switch (message.type) {
    case format::LinkMessage::kBatch: {
      auto decoded = format::decode_batch_meta(message.body);
      if (!decoded.ok()) co_return std::move(decoded).error();
      if (message.payload.size() != decoded->meta.payload_blocks * kBlockSizeBytes) {
        co_return fail(ErrorCode::kInvalid, "a batch came with a payload of the wrong size");
      }
      const LogId last = decoded->meta.last();
      TM_CO_TRY(co_await group->append_received(std::move(decoded->meta), std::move(message.body),
                                                std::move(message.payload)));
      entry->received.push_back({group->journal().last_ticket(), last});
      co_return Result<void>{};
    }
    case format::LinkMessage::kChunk: {
      auto chunk = format::decode_chunk(message.body);
      if (!chunk.ok()) co_return std::move(chunk).error();
      if (entry->record.state != PairState::kCopy || message.payload.empty() ||
          crc32c(message.payload) != chunk->checksum) {
        co_return fail(ErrorCode::kInvalid, "a chunk of a copy came damaged or out of turn");
      }
      const BlockRange blocks{chunk->begin_block,
                              chunk->begin_block + message.payload.size() / kBlockSizeBytes};
      co_return co_await group->write_copy(chunk->volume, blocks, std::move(message.payload));
    }
    case format::LinkMessage::kCopyDone: {
      auto point = format::decode_log_id(message.body);
      if (!point.ok()) co_return std::move(point).error();
      if (entry->record.state != PairState::kCopy) co_return Result<void>{};
      TM_CO_TRY(co_await group->open_window(*point));
      TM_CO_TRY(co_await save(entry, PairState::kPair, std::string(), *point));
      entry->window_opened = true;
      group->journal().durable_moved().wake_all();
      co_return Result<void>{};
    }
    case format::LinkMessage::kPing: {
      auto head = format::decode_log_id(message.body);
      if (!head.ok()) co_return std::move(head).error();
      entry->primary_head = *head;
      co_return Result<void>{};
    }
    default:
      co_return fail(ErrorCode::kInvalid, "a message came that a primary does not send");
  }
}

io::Task<void> Pairs::acknowledge(std::shared_ptr<Link> link, Entry* entry) {
  LogId told;
  bool told_window = false;
  while (true) {
    const journal::Journal& journal = entry->group->journal();
    while (!entry->received.empty() && journal.is_durable(entry->received.front().ticket)) {
      entry->durable = entry->received.front().last;
      entry->received.pop_front();
    }
    if (entry->durable != told || entry->window_opened != told_window) {
      told = entry->durable;
      told_window = entry->window_opened;
      entry->group->set_peer_has(entry->durable);
      const format::Ack ack{.durable = told,
                            .floor = entry->group->local().floor,
                            .window_open = entry->group->local().window_open};
      std::vector<std::byte> body = format::encode_ack(ack);
      auto sent = co_await link->send(format::LinkMessage::kAck, std::move(body));
      if (!sent.ok()) co_return;
      continue;
    }
    const MonotonicTime due = environment_.scheduler.now() + kAckInterval;
    (void)co_await entry->group->journal().durable_moved().wait_until(due);
  }
}

}  // namespace tidemark::replication

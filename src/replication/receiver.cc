// The secondary's side of a pair: one connection from the primary at a time, its batches appended as they
// came, its copy written to the base, and what is durable here acknowledged.

#include "base/crc32c.h"
#include "base/log_field.h"
#include "format/journal_frame.h"
#include "replication/pairs.h"
#include "replication/pairs_entry.h"

namespace tidemark::replication {
namespace {

// That have not been let into a pair.
constexpr std::size_t kStrangersMax = 64;
// So much of a first copy a crash of the secondary costs.
constexpr std::uint64_t kCopyNoteBytes = 64 << 20;

// Where the peer can be reached, of the addresses that it gave: the first of the kind over which it came.
// Empty when it gave none.
std::string address_to_reach(const std::vector<std::string>& addresses, const std::string& client) {
  std::string any;
  const bool over_unix = client.find(':') == std::string::npos;
  for (const std::string& text : addresses) {
    auto address = io::Address::parse(text);
    if (!address.ok()) continue;
    if (any.empty()) any = address->to_string();
    if ((address->kind == io::Address::Kind::kUnix) != over_unix) continue;
    const bool everywhere = address->host == "0.0.0.0" || address->host == "::";
    if (everywhere) {
      address->host = client.substr(0, client.rfind(':'));
      if (address->host.starts_with('[')) address->host = address->host.substr(1, address->host.size() - 2);
    }
    return address->to_string();
  }
  return any;
}

format::Welcome refusal(const Error& error, const NodeName& self, bool taken_over) {
  return {.accepted = false,
          .error_code = static_cast<std::uint16_t>(error.code),
          .error_message = error.message,
          .node = self.identity,
          .node_name = self.name,
          .taken_over = taken_over};
}

// Older ones are not answered: what is begun for them is to end before the other side gives up.
constexpr Duration kHelloAgeMax = Duration{kWelcomeTimeout.ns / 2};

}  // namespace

io::Task<void> Pairs::serve(std::unique_ptr<io::Listener> listener) {
  bool told_of_limit = false;  // once, however many come
  while (!stopping_) {
    auto accepted = co_await listener->accept();
    if (!accepted.ok()) co_return;
    // Beyond the limit the newcomer is closed: a port that is being scanned must not fill the node.
    if (strangers_ >= kStrangersMax) {
      if (!told_of_limit) host_.log("replication-limit", "", log_field("connections", kStrangersMax));
      told_of_limit = true;
      continue;
    }
    told_of_limit = false;
    tasks_.spawn(receive(std::move(accepted).value()));
  }
}

io::Task<void> Pairs::receive(std::unique_ptr<io::Stream> stream) {
  // Also one that is given up half way is counted no more.
  struct Counted {
    std::size_t* strangers;
    ~Counted() { end(); }
    void end() {
      if (strangers != nullptr) --*strangers;
      strangers = nullptr;
    }
  };
  ++strangers_;
  Counted counted{&strangers_};
  auto link = std::make_shared<Link>(environment_.scheduler, std::move(stream));
  const std::string client = link->peer_name();
  // Whoever does not introduce itself, or stops in the middle of it, is closed.
  auto first = co_await link->receive_while_heard(kHelloTimeout, format::kLinkBodyBytesMax);
  Result<format::Hello> hello = fail(ErrorCode::kInvalid, "the first message is not a hello");
  if (!first.ok()) {
    hello = first.error();
  } else if (first->type == format::LinkMessage::kHello) {
    hello = format::decode_hello(first->body);
  }
  if (hello.ok() && hello->node == self_.identity) hello = from_itself(std::move(hello).value(), client);
  if (!hello.ok()) {
    if (!stopping_)
      host_.log("link-refused", "",
                log_field("client", client) + " " + log_field("reason", hello.error().message));
    if (first.ok()) {
      std::vector<std::byte> body = format::encode_welcome(refusal(hello.error(), self_, false));
      (void)co_await link->send(format::LinkMessage::kWelcome, std::move(body));
    }
    co_return;
  }
  if (Entry* known = find(hello->group_name); known != nullptr && known->record.peer_node == hello->node) {
    const Result<void> trusted = known->record.check_peer(link->peer_identity());
    if (!trusted.ok()) {
      known->turned_away = trusted.error().message;
      co_await turn_away(link, std::move(hello).value(), trusted.error());
      co_return;
    }
  }
  if (hello->intent == format::HelloIntent::kQuery) {
    co_await serve_queries(link, std::move(hello).value());
    co_return;
  }
  if (hello->intent == format::HelloIntent::kHandOver) {
    std::string peer_address = address_to_reach(hello->addresses, client);
    co_await receive_request(link, std::move(hello).value(), std::move(peer_address));
    co_return;
  }
  Result<Entry*> entry = co_await welcome(link, *hello);
  if (!entry.ok()) {
    host_.log("link-refused", hello->group_name,
              log_field("client", client) + " " + log_field("peer", hello->node_name) + " " +
                  log_field("reason", entry.error().message));
    const Entry* known = find(hello->group_name);
    const bool taken_over = known != nullptr && known->record.side == Side::kSecondary &&
                            known->record.state == PairState::kSsws &&
                            known->record.peer_node == hello->node &&
                            entry.error().code == ErrorCode::kRefused;
    std::vector<std::byte> body = format::encode_welcome(refusal(entry.error(), self_, taken_over));
    (void)co_await link->send(format::LinkMessage::kWelcome, std::move(body));
    co_return;
  }
  counted.end();
  co_await apply(link, *entry);
}

// The pair may have learnt whom to trust while this connection waited for its turn.
Result<void> Pairs::check_shown(const format::Hello& hello, const std::string& certificate) const {
  const Entry* known = find(hello.group_name);
  if (known == nullptr || known->record.peer_node != hello.node) return {};
  const Result<void> trusted = known->record.check_peer(certificate);
  if (trusted.ok()) return {};
  return fail(ErrorCode::kClosed, trusted.error().message);
}

// A pair within one node, whose copy is another group there.
Result<format::Hello> Pairs::from_itself(format::Hello hello, const std::string& client) const {
  // Whom this node has ever greeted knows its number.
  if (client.find(':') != std::string::npos) {
    return fail(
        ErrorCode::kInvalid,
        "the identity of the two nodes is the same, and a pair within one node goes over a unix socket");
  }
  if (hello.instance != self_.instance) {
    return fail(ErrorCode::kInvalid,
                "the identity of the two nodes is the same: one is a copy of the other. "
                "Give one of them a new data folder, or remove its identity");
  }
  if (hello.group_name == hello.primary_group) {
    return fail(ErrorCode::kInvalid, "a group cannot be the copy of itself; name another with --peer-group");
  }
  hello.group = twin_of(hello.group);
  return hello;
}

// Somebody who names himself the peer and cannot prove it. The peer itself, with a wrong certificate, tries
// again until that is put right.
io::Task<void> Pairs::turn_away(std::shared_ptr<Link> link, format::Hello hello, Error why) {
  host_.log("link-refused", hello.group_name,
            log_field("client", link->peer_name()) + " " + log_field("peer", hello.node_name) + " " +
                log_field("reason", why.message));
  why.code = ErrorCode::kClosed;
  std::vector<std::byte> body = format::encode_welcome(refusal(why, self_, false));
  (void)co_await link->send(format::LinkMessage::kWelcome, std::move(body));
}

io::Task<Result<void>> Pairs::answer_request(std::shared_ptr<Link> link, const format::Hello& hello,
                                             Result<void> accepted) {
  format::Welcome answer;
  if (accepted.ok()) {
    answer.accepted = true;
    answer.node = self_.identity;
    answer.node_name = self_.name;
  } else {
    answer = refusal(accepted.error(), self_, false);
    host_.log("link-refused", hello.group_name,
              log_field("client", link->peer_name()) + " " + log_field("peer", hello.node_name) + " " +
                  log_field("reason", accepted.error().message));
  }
  std::vector<std::byte> body = format::encode_welcome(answer);
  co_return co_await link->send(format::LinkMessage::kWelcome, std::move(body));
}

// Whoever gave it up may have done something else since, which this would contradict: two nodes that follow
// each other, in the worst case.
Result<void> Pairs::check_still_asked(const std::string& group, MonotonicTime arrived) const {
  if (environment_.scheduler.now() - arrived <= kHelloAgeMax) return {};
  return fail(ErrorCode::kBusy,
              "a command on group '" + group + "' took so long that the peer's hello is out of date");
}

Error Pairs::no_such_pair(const std::string& group) const {
  return fail(ErrorCode::kNotFound, "group '" + group + "' on " + self_.name + " is not of that pair");
}

io::Task<Result<Pairs::Entry*>> Pairs::welcome(std::shared_ptr<Link> link, format::Hello hello) {
  const std::string name = hello.group_name;
  const bool makes =
      hello.intent == format::HelloIntent::kCreate || hello.intent == format::HelloIntent::kReplace;
  // Nor does a name that nobody has get a lock.
  if (!makes && find(name) == nullptr) co_return no_such_pair(name);
  const MonotonicTime arrived = environment_.scheduler.now();
  auto guard = co_await lock(name);
  if (stopping_) co_return fail(ErrorCode::kShutdown, "the node is stopping");
  TM_CO_TRY(check_still_asked(name, arrived));
  TM_CO_TRY(check_shown(hello, link->peer_identity()));
  std::string peer_address = address_to_reach(hello.addresses, link->peer_name());
  const bool goes_on_copying = hello.intent == format::HelloIntent::kContinueCopy;
  const std::optional<format::SyncTerms> terms = hello.sync;
  const format::Compression compression = hello.compression;
  const format::NotInSync not_in_sync = hello.not_in_sync;
  Result<Entry*> entry = fail(ErrorCode::kInvalid, "");
  if (makes) {
    entry = co_await welcome_new(std::move(hello));
  } else if (hello.intent == format::HelloIntent::kFollow) {
    entry = co_await welcome_follow(std::move(hello), peer_address);
  } else if (hello.intent == format::HelloIntent::kSkip) {
    entry = co_await welcome_behind_gap(std::move(hello));
  } else {
    entry = co_await welcome_back(std::move(hello));
  }
  if (!entry.ok()) co_return entry;
  Entry* taken = *entry;
  const bool has_moved = !peer_address.empty() && taken->record.peer_address != peer_address;
  if (has_moved) taken->record.peer_address = std::move(peer_address);
  const bool has_learnt = taken->record.peer_certificate.empty() && !link->peer_identity().empty();
  if (has_learnt) taken->record.peer_certificate = link->peer_identity();
  const bool has_new_compression = std::exchange(taken->record.compression, compression) != compression;
  const bool has_new_terms = take_terms(*taken, terms) || has_new_compression;
  // What it was told before may have ended while it could not hear it.
  const bool has_left_sync = taken->record.in_sync() && not_in_sync != format::NotInSync::kNone;
  if (has_left_sync) taken->record.leave_sync(not_in_sync, environment_.clock.now());
  if (has_moved || has_learnt || has_new_terms || has_left_sync) {
    TM_CO_TRY(co_await save(taken, taken->record.state, taken->record.reason, taken->durable));
  }
  taken->link = link;
  taken->turned_away.clear();
  taken->link_since = environment_.clock.now();
  taken->receiving = true;
  taken->receivers = ++receivers_made_;
  taken->received.clear();
  taken->mark_replies.clear();
  taken->primary_head = LogId();
  link->agree_on(compression, environment_.offload);
  link->count_in(taken->traffic);
  format::Welcome answer;
  answer.accepted = true;
  answer.node = self_.identity;
  answer.node_name = self_.name;
  answer.received = taken->durable;
  answer.floor = taken->group->local().floor;
  if (goes_on_copying && !taken->group->local().window_open) {
    answer.copied = {taken->group->local().copied_volume, taken->group->local().copied_bytes};
  }
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
  TM_CO_TRY_ASSIGN(hello.raid, host_.place_for(hello));
  if (group::Group* existing = host_.find_group(name)) {
    Entry* entry = find(name);
    const bool complete = existing->local().window_open;
    const bool ours = entry != nullptr && entry->record.side == Side::kSecondary &&
                      entry->record.peer_node == hello.node && existing->identity() == hello.group;
    const bool gives_way = entry != nullptr && may_be_replaced(*entry, hello);
    // A copy that never became complete may be begun anew, even one whose record a stop prevented: nothing is
    // readable there.
    const bool began = entry == nullptr && !complete && existing->identity() == hello.group;
    const bool makes_anew = hello.intent == format::HelloIntent::kReplace || !complete;
    if (ours && entry->record.state == PairState::kSsws && !hello.overrules) {
      co_return fail(ErrorCode::kRefused,
                     "the secondary has written alone since log:" + entry->record.fork.to_string() +
                         "; a copy would write over that; `tidemark pair resync` with `--from primary "
                         "--give-up-window` does it nonetheless");
    }
    if (gives_way) TM_CO_TRY(check_not_refilling(*entry));
    const bool is_of_pair = entry != nullptr && entry->record.peer_node == hello.node &&
                            existing->identity() == hello.group && entry->record.side == Side::kPrimary;
    if (is_of_pair && !gives_way) {
      co_return fail(ErrorCode::kRefused, "group '" + name + "' is the primary's on " + self_.name +
                                              " and goes on; see `tidemark pair status` there");
    }
    if (!began && !gives_way && !(ours && makes_anew)) {
      co_return fail(ErrorCode::kExists, "there is a group '" + name + "' on " + self_.name +
                                             " already; name another with --peer-group, or delete it there");
    }
    if (const std::optional<Error>& failure = existing->failure(); failure.has_value()) {
      co_return fail(ErrorCode::kBusy, "group '" + name + "' on " + self_.name +
                                           " has stopped: " + failure->message + "; restart that node");
    }
    if (complete) {
      host_.log("pair-window-given-up", name, log_field("copied_anew_by", hello.node_name));
    }
    if (gives_way) {
      co_await stop_old_primary(
          entry, fail(ErrorCode::kReadOnly, "group '" + name + "' is copied anew from " + hello.node_name));
    }
    if (entry != nullptr) {
      co_await end_receiver(entry);
      release_gate(*entry);
    }
    entries_.erase(name);
    TM_CO_TRY(co_await host_.drop_group(name));
  }
  PairRecord record;
  record.side = Side::kSecondary;
  record.state = PairState::kCopy;
  record.peer_group = hello.primary_group;
  record.peer_node = hello.node;
  record.peer_name = hello.node_name;
  record.since = environment_.clock.now();
  record.sync = hello.sync;
  record.compression = hello.compression;
  record.sync_since = record.since;
  const LogId start = hello.start;
  auto group = co_await host_.create_secondary(std::move(hello), std::move(state).value());
  if (!group.ok()) co_return std::move(group).error();
  auto entry = std::make_unique<Entry>(environment_.scheduler, name, *group);
  entry->record = std::move(record);
  entry->durable = start;
  Entry* created = entry.get();
  entries_[name] = std::move(entry);
  attach_gate(*created);
  TM_CO_TRY(co_await save(created, PairState::kCopy, std::string(), start));
  co_return created;
}

io::Task<Result<Pairs::Entry*>> Pairs::check_returning(const format::Hello* hello) {
  Entry* entry = find(hello->group_name);
  if (entry == nullptr || entry->record.side != Side::kSecondary ||
      entry->group->identity() != hello->group || entry->record.peer_node != hello->node) {
    co_return no_such_pair(hello->group_name);
  }
  if (const std::optional<Error>& failure = entry->group->failure(); failure.has_value()) {
    co_return fail(ErrorCode::kBusy, "group '" + entry->name + "' on " + self_.name +
                                         " has stopped: " + failure->message + "; restart that node");
  }
  // A connection that was lost without our noticing gives way to the new one, and may change the state doing
  // so.
  co_await end_receiver(entry);
  const bool goes_on_copying =
      hello->intent == format::HelloIntent::kContinueCopy && entry->record.state == PairState::kCopy;
  if (!entry->group->local().window_open && !goes_on_copying) {
    co_return fail(ErrorCode::kInGap, "the first copy of group '" + entry->name + "' was not finished");
  }
  if (entry->record.state == PairState::kSsws && !hello->overrules) {
    co_return fail(ErrorCode::kRefused,
                   self_.name + " has gone on by itself after log:" + entry->record.fork.to_string() + " (" +
                       entry->record.reason + "); say which branch continues: `tidemark pair resync " +
                       hello->primary_group + " --swap` this one, `--from primary` yours");
  }
  co_return entry;
}

io::Task<Result<Pairs::Entry*>> Pairs::welcome_back(format::Hello hello) {
  TM_CO_TRY_ASSIGN(Entry * entry, co_await check_returning(&hello));
  const PairState state = entry->record.state;
  const bool goes_on =
      hello.intent == format::HelloIntent::kContinue || hello.intent == format::HelloIntent::kContinueCopy;
  const bool behind_gap = entry->group->is_behind_gap();
  const bool copies = !entry->group->local().window_open;
  if (goes_on && state == PairState::kCopy && (behind_gap || copies)) {
    entry->complete = false;
  } else if (goes_on && state != PairState::kPair) {
    const bool by_error = state == PairState::kPsue;
    co_return fail(by_error ? ErrorCode::kInvalid : ErrorCode::kRefused,
                   std::string("the pair is ") + pair_state_name(state) + " on " + self_.name +
                       (by_error ? ": " + entry->record.reason : ""));
  } else if (behind_gap) {
    // A primary that does not know it: it has to bring what differs.
    co_return fail(ErrorCode::kExpired, "group '" + entry->name + "' on " + self_.name +
                                            " is behind a gap, and the resync over it was not complete");
  } else {
    if (state == PairState::kSsws) TM_CO_TRY(co_await give_way(entry));
    entry->complete = true;
  }
  entry->durable = entry->held();
  TM_CO_TRY(co_await entry->group->journal().wait_durable(entry->group->journal().last_ticket()));
  if (entry->complete && state != PairState::kPair)
    TM_CO_TRY(co_await save(entry, PairState::kPair, std::string(), entry->durable));
  co_return entry;
}

// What was written here since the fork becomes a dead branch, and the group follows its primary again.
io::Task<Result<void>> Pairs::give_way(Entry* entry) {
  const LogId fork = entry->record.fork;
  const std::string reason = entry->record.reason;
  if (entry->record.needs_copy) {
    co_return fail(ErrorCode::kExpired, self_.name + " has gone on by itself after log:" + fork.to_string() +
                                            " for so long that it cannot go back to there");
  }
  // No more writes first; a stop before the end leaves the group taking them again.
  TM_CO_TRY(co_await save_as(entry, PairState::kSsws, "gives way", fork, group::Role::kSecondary));
  co_await host_.disconnect_exports(entry->name);
  auto turned = co_await turn_to(entry, fork);
  if (!turned.ok()) {
    // It goes on as it did; the reason is the peer's to hear.
    (void)co_await save(entry, PairState::kSsws, reason, fork);
    co_return turned;
  }
  co_return co_await save(entry, PairState::kPair, std::string(), fork);
}

io::Task<Result<void>> Pairs::turn_to(Entry* entry, LogId fork) {
  group::Group* group = entry->group;
  const index::EpochInfo* common = group->state().epochs().find(fork.epoch());
  if (common != nullptr && common->last != fork) {
    // It was turned before, with a tail of its own behind the fork: what comes next opens an epoch.
    TM_CO_TRY(co_await group->leave_tail(fork));
    entry->record.epoch_left = group->live_epoch();
    co_return Result<void>{};
  }
  TM_CO_TRY_ASSIGN(const std::uint32_t checksum, co_await group->checksum_at(fork));
  TM_CO_TRY(co_await group->continue_epoch(fork, checksum, true));
  entry->record.fork = LogId();
  co_return Result<void>{};
}

io::Task<void> Pairs::end_receiver(Entry* entry) {
  if (entry->link != nullptr) entry->link->close();
  while (entry->receiving) co_await entry->receiver_moved.wait();
}

Result<void> Pairs::check_may_be_alone(const Entry& entry) const {
  if (entry.record.side == Side::kPrimary || entry.group->local().window_open) return {};
  return fail(ErrorCode::kRefused,
              "the first copy of group '" + entry.name + "' was not finished; delete the group here instead");
}

io::Task<Result<void>> Pairs::become_alone(Entry* entry) {
  TM_CO_TRY(check_may_be_alone(*entry));
  group::Group* group = entry->group;
  const bool primary = entry->record.side == Side::kPrimary;
  // The epoch that it is in is one that the other node goes on in, or has left.
  const bool turns = primary == (entry->record.state == PairState::kSsws);
  if (turns) {
    // Its entries so far were the peer's to number; what is written here from now on is numbered here.
    auto turned = co_await turn_alone(entry);
    const bool is_full = !turned.ok() && turned.error().code == ErrorCode::kNoSpace;
    if (is_full && primary && co_await let_go_of_peer(entry)) turned = co_await turn_alone(entry);
    TM_CO_TRY(turned);
  }
  group->hold_back(std::nullopt);
  group->forget_changes();
  co_return co_await group->save_pair(std::vector<std::byte>(), group::Role::kPrimary, LogId());
}

io::Task<void> Pairs::apply(std::shared_ptr<Link> link, Entry* entry) {
  const std::string name = entry->name;
  bool deleted = false;
  {
    io::TaskScope link_tasks(environment_.scheduler);
    link_tasks.spawn(acknowledge(link, entry));
    link_tasks.spawn(offer_provisional_marks(link, entry));
    link_tasks.spawn(link->watch_silence());
    const std::string why = co_await apply_messages(link, entry, &deleted);
    if (!stopping_) host_.log("link-down", name, log_field("reason", why));
    link->close();
    // What could not be noted is copied again.
    if (!entry->group->local().window_open) (void)co_await note_copied(entry);
  }
  entry->link = nullptr;
  entry->link_since = environment_.clock.now();
  const std::uint64_t receiver = entry->receivers;
  entry->receiving = false;
  entry->receiver_moved.wake_all();
  entry->group->changed().wake_all();
  if (!deleted) co_return;
  // From here on the entry may go at any moment.
  auto guard = co_await lock(name);
  Entry* still = find(name);
  if (still == nullptr || still->receivers != receiver || stopping_) co_return;
  auto alone = co_await become_alone(still);
  host_.log("pair-deleted", name,
            "by=peer" + (alone.ok() ? "" : " " + log_field("failure", alone.error().message)));
  // One that could not be ended stays, and can be asked to end again here.
  if (!alone.ok()) co_return;
  release_gate(*still);
  entries_.erase(name);
}

// Until the link ends; why it did.
io::Task<std::string> Pairs::apply_messages(std::shared_ptr<Link> link, Entry* entry, bool* deleted) {
  while (true) {
    auto message = co_await link->receive(format::kFrameMetaBytesMax);
    if (!message.ok()) co_return message.error().message;
    if (message->type == format::LinkMessage::kDelete) {
      *deleted = true;
      co_return "the peer dissolved the pair";
    }
    if (message->type == format::LinkMessage::kSuspend) {
      const std::string why = "suspended at the peer";
      (void)co_await save(entry, PairState::kPsus, why, entry->held());
      co_return why;
    }
    auto applied = co_await apply_message(entry, std::move(*message));
    if (applied.ok()) continue;
    const Error& error = applied.error();
    // What a new connection may cure is left to one. The rest would come again and again.
    const bool passes = error.code == ErrorCode::kDamaged || error.code == ErrorCode::kShutdown ||
                        error.code == ErrorCode::kIo || stopping_;
    if (!passes) {
      std::string reason = error.message;
      if (error.code == ErrorCode::kNoSpace && entry->group->is_behind_gap()) {
        reason = "what differs does not fit into the journal beside the window that is kept readable (" +
                 reason + "); `tidemark pair resync --give-up-window` copies anew without it";
      }
      (void)co_await save(entry, PairState::kPsue, reason, entry->held());
      format::Suspend suspend;
      // What it stands on was never here, or is here no longer: entries alone will not do.
      const bool lacks = error.code == ErrorCode::kInGap || error.code == ErrorCode::kExpired;
      suspend.cause = lacks ? format::SuspendCause::kGap : format::SuspendCause::kError;
      suspend.reason = reason;
      std::vector<std::byte> body = format::encode_suspend(suspend);
      co_await link->send_last(format::LinkMessage::kSuspend, std::move(body));
    }
    co_return error.message;
  }
}

// A copy that is cut off goes on from here.
io::Task<Result<void>> Pairs::note_copied(Entry* entry) {
  if (std::exchange(entry->copied_since_noted_bytes, 0) == 0) co_return Result<void>{};
  const format::CopyCursor copied = entry->copied;
  co_return co_await entry->group->note_copied(copied.volume, copied.offset_bytes);
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
      if (entry->record.state != PairState::kCopy || group->local().window_open || message.payload.empty() ||
          crc32c(message.payload) != chunk->checksum) {
        co_return fail(ErrorCode::kDamaged, "a chunk of a copy came damaged or out of turn");
      }
      const BlockRange blocks{chunk->begin_block,
                              chunk->begin_block + message.payload.size() / kBlockSizeBytes};
      const std::uint64_t bytes = message.payload.size();
      TM_CO_TRY(co_await group->write_copy(chunk->volume, blocks, std::move(message.payload)));
      entry->copied = {chunk->volume, blocks.end * kBlockSizeBytes};
      entry->copied_since_noted_bytes += bytes;
      if (entry->copied_since_noted_bytes < kCopyNoteBytes) co_return Result<void>{};
      co_return co_await note_copied(entry);
    }
    case format::LinkMessage::kCopyDone: {
      auto point = format::decode_log_id(message.body);
      if (!point.ok()) co_return std::move(point).error();
      if (entry->record.state != PairState::kCopy) co_return Result<void>{};
      if (group->local().window_open) {
        TM_CO_TRY(co_await group->end_gap(*point));
      } else {
        TM_CO_TRY(co_await group->open_window(*point));
      }
      TM_CO_TRY(co_await save(entry, PairState::kPair, std::string(), *point));
      // Not told before it is on disk: a primary that goes on with entries must find a secondary that takes
      // them.
      entry->complete = true;
      group->journal().durable_moved().wake_all();
      co_return Result<void>{};
    }
    case format::LinkMessage::kUnits: {
      auto units = format::decode_units(message.body);
      if (!units.ok()) co_return std::move(units).error();
      entry->peer_units = std::move(units).value();
      co_return Result<void>{};
    }
    case format::LinkMessage::kMarkReply: {
      TM_CO_TRY_ASSIGN(format::MarkReply reply, format::decode_mark_reply(message.body));
      const std::uint64_t number = reply.number;
      constexpr std::size_t kRepliesMax = 1024;  // more than can be waited for; a peer could make them up
      if (entry->mark_replies.size() < kRepliesMax) {
        entry->mark_replies.insert_or_assign(number, std::move(reply));
      }
      entry->receiver_moved.wake_all();
      group->changed().wake_all();
      co_return Result<void>{};
    }
    case format::LinkMessage::kInSync: {
      TM_CO_TRY_ASSIGN(const format::InSync word, format::decode_in_sync(message.body));
      co_return co_await take_promise(entry, word);
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
  // As long as this link lasts; other terms come with another one.
  const bool is_sync = entry->record.sync.has_value();
  format::Ack told;
  std::vector<format::UnitOfVolume> told_units;
  MonotonicTime due = environment_.scheduler.now();
  while (true) {
    journal::Journal& journal = entry->group->journal();
    while (!entry->received.empty() && journal.is_durable(entry->received.front().ticket)) {
      entry->durable = entry->received.front().last;
      entry->received.pop_front();
      entry->group->changed().wake_all();
    }
    format::Ack ack;
    ack.durable = entry->durable;
    ack.floor = entry->group->local().floor;
    ack.window_open = entry->complete;
    if (is_sync) ack.sent_ns = environment_.scheduler.now().ns;
    const bool news =
        ack.durable != told.durable || ack.floor != told.floor || ack.window_open != told.window_open;
    std::vector<format::UnitOfVolume> units;
    if (environment_.scheduler.now() >= due) units = units_of(*entry->group);
    if (!units.empty() && units != told_units) {
      std::vector<std::byte> units_body = format::encode_units(units);
      told_units = std::move(units);
      auto units_sent = co_await link->send(format::LinkMessage::kUnits, std::move(units_body));
      if (!units_sent.ok()) co_return;
      continue;
    }
    if (news || environment_.scheduler.now() >= due) {
      told = ack;
      due = environment_.scheduler.now() + kHeartbeatInterval;
      entry->group->set_peer_has(entry->durable);
      std::vector<std::byte> body = format::encode_ack(ack);
      auto sent = co_await link->send(format::LinkMessage::kAck, std::move(body));
      if (!sent.ok()) co_return;
      continue;
    }
    (void)co_await journal.durable_moved().wait_until(due);
    // Nothing more becomes durable here, and the primary's hosts may be waiting for that.
    if (entry->group->failure().has_value()) {
      link->close();
      co_return;
    }
  }
}

}  // namespace tidemark::replication

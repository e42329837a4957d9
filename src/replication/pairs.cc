#include "replication/pairs.h"

#include <algorithm>

#include "base/log_field.h"

#include "replication/pairs_entry.h"

namespace tidemark::replication {
namespace {

constexpr const char* kSelf = "self";       // the peer is this node
constexpr std::size_t kMarksAskedMax = 64;  // by the peers of all groups, at once
constexpr Duration kSpaceCheckInterval = Duration::milliseconds(500);

}  // namespace

Pairs::Pairs(io::Environment environment, NodeName self, PairHost& host)
    : environment_(environment),
      self_(std::move(self)),
      host_(host),
      sync_moved_(environment.scheduler),
      tasks_(environment.scheduler),
      mark_tasks_(environment.scheduler),
      comparisons_(environment.scheduler) {
  self_.instance = environment_.random.next();
  tasks_.spawn(watch_space());
  tasks_.spawn(watch_lag());
  tasks_.spawn(watch_sync());
}

Pairs::~Pairs() {
  mark_tasks_.cancel_all();
  comparisons_.cancel_all();
  tasks_.cancel_all();
}

Pairs::Entry* Pairs::find(const std::string& group) {
  const auto at = entries_.find(group);
  return at == entries_.end() ? nullptr : at->second.get();
}

const Pairs::Entry* Pairs::find(const std::string& group) const {
  const auto at = entries_.find(group);
  return at == entries_.end() ? nullptr : at->second.get();
}

io::Task<Result<void>> Pairs::save(Entry* entry, PairState state, std::string reason, LogId peer_has) {
  const bool takes_writes = entry->record.side == Side::kPrimary || state == PairState::kSsws;
  const group::Role role = takes_writes ? group::Role::kPrimary : group::Role::kSecondary;
  co_return co_await save_as(entry, state, std::move(reason), peer_has, role);
}

io::Task<Result<void>> Pairs::save_as(Entry* entry, PairState state, std::string reason, LogId peer_has,
                                      group::Role role) {
  if (entry->record.state != state) entry->record.since = environment_.clock.now();
  if (state != PairState::kPair) entry->waiting = false;
  if (state != PairState::kCopy) entry->record.resyncs = false;
  // The peer has everything, or all that follows will come as entries.
  if (state == PairState::kPair) entry->group->forget_changes();
  entry->record.enter(state, environment_.clock.now());
  entry->record.reason = std::move(reason);
  // A full journal waits for this pair to give way, rather than refuse a write.
  entry->group->set_peer_gives_way(entry->record.may_let_go());
  hold(entry);
  std::vector<std::byte> bytes = entry->record.encode();
  host_.log("pair-state", entry->name,
            log_field("state", pair_state_name(state)) +
                (entry->record.reason.empty() ? "" : " " + log_field("reason", entry->record.reason)));
  const std::string name = entry->name;
  const std::shared_ptr<Entry::Sync> sync = entry->sync;
  ++sync->saving;
  auto saved = co_await entry->group->save_pair(std::move(bytes), role, peer_has);
  --sync->saving;
  sync_moved_.wake_all();
  Entry* still = find(name);
  if (still != nullptr && still->sync == sync) settle_sync(*still);
  co_return saved;
}

io::Task<Result<void>> Pairs::save_record(Entry* entry) {
  std::vector<std::byte> bytes = entry->record.encode();
  co_return co_await entry->group->save_pair(std::move(bytes), entry->group->local().role,
                                             entry->group->local().peer_has);
}

void Pairs::hold(Entry* entry) {
  std::optional<Error> reason;
  const PairRecord& record = entry->record;
  if (record.side == Side::kPrimary && record.state == PairState::kSsws) {
    reason =
        fail(ErrorCode::kReadOnly, "group '" + entry->name + "' takes no writes here: " + record.peer_name +
                                       " has taken over; `tidemark pair resync " + entry->name +
                                       " --swap` follows it, `--from primary` goes on here");
  } else if (entry->waiting) {
    reason = fail(ErrorCode::kBusy, "group '" + entry->name + "' has not heard its peer " + record.peer_name +
                                        " since the start, which may have taken over; if it has not, "
                                        "`tidemark group serve " +
                                        entry->name + " --alone` goes on without it");
  }
  entry->group->hold_back(std::move(reason));
}

io::Task<void> Pairs::set_alone(Entry* entry, bool alone) {
  if (entry->record.alone == alone) co_return;
  entry->record.alone = alone;
  co_await note(entry);
}

io::Task<void> Pairs::note(Entry* entry) {
  // A group that cannot note it has stopped, and says so.
  (void)co_await save_record(entry);
}

bool Pairs::learn_certificate(Entry* entry) {
  if (!entry->record.peer_certificate.empty() || entry->sender == nullptr) return false;
  entry->record.peer_certificate = entry->sender->peer_certificate();
  return !entry->record.peer_certificate.empty();
}

io::Task<io::Mutex::Guard> Pairs::lock(std::string group) {
  std::unique_ptr<io::Mutex>& mutex = locks_[group];
  if (mutex == nullptr) mutex = std::make_unique<io::Mutex>(environment_.scheduler);
  co_return co_await mutex->lock();
}

std::unique_ptr<Sender> Pairs::make_sender(const Entry& entry, const PairRecord& record) {
  const std::uint64_t number = ++senders_made_;
  const std::string name = entry.name;
  Sender::Calls calls;
  calls.report = [this, name, number](Sender::Outcome outcome, std::string reason) {
    tasks_.spawn(handle(name, number, outcome, std::move(reason)));
  };
  calls.mark_asked = [this, name, number](format::MarkRequest request) {
    // One that asks for more at once is not answered.
    if (mark_tasks_.running() >= kMarksAskedMax) return;
    mark_tasks_.spawn(make_asked_mark(name, number, std::move(request)));
  };
  calls.moved = [this, name, number] { peer_moved(name, number); };
  calls.promise = [this, name] { return promise_of(name); };
  return std::make_unique<Sender>(environment_, self_, *entry.group, record, number, entry.traffic,
                                  std::move(calls));
}

void Pairs::set_addresses(std::vector<std::string> addresses) {
  self_.addresses = std::move(addresses);
  if (std::exchange(has_addresses_, true)) return;
  for (auto& [name, entry] : entries_) {
    if (entry->sender != nullptr) entry->sender_task.spawn(entry->sender->run());
  }
}

void Pairs::start_sender(Entry* entry, std::unique_ptr<Sender> sender) {
  TM_ASSERT(entry->sender == nullptr);
  entry->sender = std::move(sender);
  if (entry->record.resyncs) comparisons_.spawn(catch_up(entry->name, entry->sender->number()));
  if (has_addresses_) entry->sender_task.spawn(entry->sender->run());
}

io::Task<void> Pairs::stop_sender(Entry* entry, std::optional<format::LinkMessage> message) {
  if (entry->sender == nullptr) co_return;
  if (entry->catching_up != nullptr) entry->catching_up->stop("the resync ended");
  if (message.has_value()) co_await entry->sender->say_goodbye(*message);
  if (entry->sender == nullptr) co_return;  // the node stops
  // The task waits for the network, the journal or a timer; none of them is left half done by ending it here.
  entry->sender_task.cancel_all();
  if (!entry->sender->peer_units().empty()) entry->peer_units = entry->sender->peer_units();
  entry->sender = nullptr;
}

io::Task<void> Pairs::handle(std::string group, std::uint64_t sender, Sender::Outcome outcome,
                             std::string reason) {
  auto guard = co_await lock(group);
  Entry* entry = find(group);
  if (entry == nullptr || entry->sender == nullptr || entry->sender->number() != sender || stopping_)
    co_return;
  const LogId acked = entry->sender->acked();
  // A resync that does not become complete leaves the peer behind its gap: the next one goes on from there.
  const bool was_resyncing = entry->record.resyncs;
  switch (outcome) {
    case Sender::Outcome::kCopied:
      (void)co_await save(entry, PairState::kPair, std::string(), acked);
      co_return;
    case Sender::Outcome::kLinkUp:
      co_return co_await link_is_up(entry);
    case Sender::Outcome::kLinkDown:
      // A start that waits has not gone on without its peer.
      if (!entry->waiting && !entry->sender->link_up() && entry->record.state == PairState::kPair) {
        co_await set_alone(entry, true);
      }
      co_return;
    case Sender::Outcome::kDistrusted:
      host_.log("link-refused", group,
                log_field("peer", entry->record.peer_name) + " " + log_field("reason", reason));
      co_return;
    default:
      break;
  }
  co_await stop_sender(entry, std::nullopt);
  if (was_resyncing) need_copy(entry, acked);
  const LogId peer_has = was_resyncing ? LogId() : acked;
  switch (outcome) {
    case Sender::Outcome::kCopied:
    case Sender::Outcome::kLinkUp:
    case Sender::Outcome::kLinkDown:
    case Sender::Outcome::kDistrusted:
      break;
    case Sender::Outcome::kTakenOver:
      // No write from here on; those that have a connection must not go on as if nothing were.
      (void)co_await save(entry, PairState::kSsws, reason, peer_has);
      co_await host_.disconnect_exports(group);
      break;
    case Sender::Outcome::kSuspendedThere:
      (void)co_await save(entry, PairState::kPsus, reason, peer_has);
      break;
    case Sender::Outcome::kRefused:
      // A copy that was cut off begins anew; until then the peer has nothing that entries could follow.
      if (entry->record.state == PairState::kCopy && !was_resyncing) need_copy(entry, LogId());
      (void)co_await save(entry, PairState::kPsue, reason, entry->record.needs_copy ? LogId() : acked);
      break;
    case Sender::Outcome::kNeedsCopy:
      need_copy(entry, acked);
      (void)co_await save(entry, PairState::kPsue, reason, LogId());
      break;
    case Sender::Outcome::kDeletedThere:
      entry->group->forget_changes();
      (void)co_await entry->group->save_pair(std::vector<std::byte>(), group::Role::kPrimary, LogId());
      release_gate(*entry);
      entries_.erase(group);
      break;
  }
}

io::Task<void> Pairs::link_is_up(Entry* entry) {
  if (!entry->sender->waits_to_be_let()) co_return;
  // A peer that is there can take over without this node's knowing: a stop from now on must ask it again.
  co_await set_alone(entry, false);
  if (learn_certificate(entry)) co_await note(entry);
  if (entry->sender == nullptr) co_return;  // the node stops
  entry->waiting = false;
  hold(entry);
  entry->sender->let_stream();
}

// Entries that the peer lacks may go from here on; where they were written is kept.
void Pairs::need_copy(Entry* entry, LogId peer_had) {
  entry->record.need_copy(peer_had);
  if (!peer_had.is_none()) entry->group->keep_changes();
}

// What a lost peer still needs is kept as long as the journal has room. When it has not, the host goes before
// the peer: the pair is suspended and says that it needs a copy.
io::Task<void> Pairs::watch_space() {
  while (!stopping_) {
    co_await environment_.scheduler.sleep_for(kSpaceCheckInterval);
    std::vector<std::string> names;
    for (const auto& [name, entry] : entries_) {
      if (entry->record.may_let_go() && !entry->record.needs_copy) names.push_back(name);
    }
    for (const std::string& name : names) {
      Entry* entry = find(name);
      if (entry == nullptr) continue;
      if (entry->restoring) {
        // It has the lock, changes nothing of the pair, and may wait for the very space that this is to free.
        entry->gives_way = true;
        // A peer that has come back meanwhile streams, or the restore would wait for what it alone can free.
        if (entry->sender != nullptr) co_await link_is_up(entry);
        co_await give_way_for_space(name);
        entry->gives_way = false;
        entry->gave_way.wake_all();
      } else if (!entry->looked_at) {
        entry->looked_at = true;
        tasks_.spawn(suspend_for_space(name));
      }
    }
  }
}

io::Task<void> Pairs::suspend_for_space(std::string name) {
  auto guard = co_await lock(name);
  if (Entry* entry = find(name)) entry->looked_at = false;
  co_await give_way_for_space(name);
}

io::Task<void> Pairs::give_way_for_space(std::string name) {
  Entry* entry = find(name);
  if (entry == nullptr || !entry->record.may_let_go() || entry->record.needs_copy || stopping_) co_return;
  if (entry->group->local().settings.on_full == group::OnFull::kStopWrites) co_return;
  const bool primary = entry->record.side == Side::kPrimary;
  // It takes no writes that would need the room, and must not begin to.
  if (entry->waiting || (primary && entry->record.state == PairState::kSsws)) co_return;
  // A peer that is there is waited for: the hosts go at its pace until it has caught up.
  if (entry->sender != nullptr && entry->sender->link_up()) co_return;
  const journal::JournalStatus status = entry->group->journal().status();
  const bool full = entry->group->waits_for_space() || status.segments_free * 8 <= status.segments_total;
  if (!full || entry->group->local().peer_has == entry->group->journal().durable()) co_return;
  if (!primary) co_return co_await let_go_of_primary(entry);
  co_await stop_sender(entry, std::nullopt);
  need_copy(entry, entry->group->local().peer_has);
  std::string reason = "the journal filled up while the peer was away; `tidemark pair resync " + name +
                       "` brings what differs";
  (void)co_await save(entry, PairState::kPsue, std::move(reason), LogId());
}

// A node that has taken over serves its hosts before it keeps what would bring the old primary up to date.
io::Task<void> Pairs::let_go_of_primary(Entry* entry) {
  // Asked for while it is still there.
  auto checksum = co_await entry->group->checksum_at(entry->record.fork);
  if (!checksum.ok()) {
    host_.log("cannot-let-go", entry->name, log_field("reason", checksum.error().message));
    co_return;
  }
  entry->record.let_go_of_primary(*checksum);
  entry->group->keep_changes();
  std::string reason = entry->record.reason + "; the journal filled up since, so " + entry->record.peer_name +
                       " can follow behind a gap only";
  (void)co_await save(entry, PairState::kSsws, std::move(reason), LogId());
}

io::Task<Result<void>> Pairs::adopt(std::string name) {
  group::Group* group = host_.find_group(name);
  TM_ASSERT(group != nullptr);
  if (group->local().pair.empty()) co_return Result<void>{};
  TM_CO_TRY_ASSIGN(PairRecord record, PairRecord::decode(group->local().pair));
  auto entry = std::make_unique<Entry>(environment_.scheduler, name, group);
  entry->record = record;
  entry->link_since = environment_.clock.now();
  entry->durable = record.state == PairState::kSsws ? record.fork : entry->held();
  entry->waiting = record.side == Side::kPrimary && record.state == PairState::kPair && !record.alone;
  // Of a copy that was asked for and whose outcome no record tells: nothing is held for a peer that needs
  // one.
  if (record.needs_copy) group->set_peer_has(LogId());
  group->set_peer_gives_way(record.may_let_go());
  hold(entry.get());
  Entry* adopted = entry.get();
  entries_[name] = std::move(entry);
  attach_gate(*adopted);
  settle_sync(*adopted);
  if (record.side == Side::kSecondary && record.state == PairState::kSsws) {
    // A stop between the decision to take writes and the epoch leaves a suspended pair, one between the epoch
    // and the role leaves the role to be set.
    const bool opened = group->live_epoch() != record.epoch_left;
    // What is beyond the fork is the tail of a node that was turned; otherwise it follows as before.
    if (!opened && record.fork == group->head()) adopted->record.fork = LogId();
    if (!opened) adopted->record.needs_copy = false;
    const std::string reason = opened ? record.reason : "suspended";
    co_return co_await save(adopted, opened ? PairState::kSsws : PairState::kPsus, reason,
                            opened ? record.kept_for_peer() : adopted->held());
  }
  if (record.side == Side::kSecondary && record.state == PairState::kCopy && group->local().window_open &&
      !group->is_behind_gap()) {
    // The stop came between the opening of the window, or the end of the gap, and the record of it.
    co_return co_await save(adopted, PairState::kPair, std::string(), group->head());
  }
  const bool streams = record.state == PairState::kPair || record.state == PairState::kCopy;
  if (record.side == Side::kPrimary && streams) {
    start_sender(adopted, make_sender(*adopted, record));
  }
  if (adopted->waiting) {
    host_.log("waiting-for-peer", name, log_field("peer", record.peer_name));
  }
  if (record.side == Side::kPrimary) co_await look_up_owed(name);
  co_return Result<void>{};
}

io::Task<void> Pairs::stop() {
  stopping_ = true;
  std::vector<std::string> names;
  for (auto& [name, entry] : entries_) {
    names.push_back(name);
    entry->sender_task.cancel_all();
    entry->sender = nullptr;
    if (entry->link != nullptr) entry->link->close();
    // Nobody waits any more for space that only the peer's progress would free.
    entry->group->set_peer_gives_way(false);
    for (const auto& comparison : {entry->comparison, entry->catching_up}) {
      if (comparison != nullptr) comparison->stop("the node stopped");
    }
  }
  for (const std::string& name : names) {
    auto guard = co_await lock(name);
    if (Entry* entry = find(name)) co_await end_receiver(entry);
  }
  for (const std::string& name : names) {
    while (find(name) != nullptr && find(name)->sync->saving > 0) co_await sync_moved_.wait();
  }
  mark_tasks_.cancel_all();
  co_await comparisons_.join();
  // Those left wait for a timer or for a stranger's first message.
  tasks_.cancel_all();
}

io::Task<void> Pairs::forget(std::string name) {
  auto guard = co_await lock(name);
  Entry* entry = find(name);
  if (entry == nullptr) co_return;
  co_await stop_sender(entry, std::nullopt);
  co_await end_receiver(entry);
  release_gate(*entry);
  entries_.erase(name);
}

io::Task<Result<void>> Pairs::create(std::string name, std::string address, PeerPlace place,
                                     PairChange wanted) {
  TM_CO_TRY_ASSIGN(const std::optional<format::SyncTerms> terms, changed_terms(std::nullopt, wanted));
  TM_CO_TRY(check_copy_rate(wanted.copy_rate_bytes.value_or(0)));
  auto guard = co_await lock(name);
  group::Group* group = host_.find_group(name);
  if (group == nullptr) co_return fail(ErrorCode::kNotFound, "there is no group '" + name + "'");
  if (address == kSelf) {
    // Over a unix socket nobody else can say that it is this node.
    const auto local = std::find_if(self_.addresses.begin(), self_.addresses.end(),
                                    [](const std::string& known) { return known.starts_with("unix:"); });
    if (local == self_.addresses.end()) {
      co_return fail(
          ErrorCode::kRefused,
          "a pair within one node goes over a unix socket, and the replication service of this node "
          "listens on none");
    }
    address = *local;
  }
  TM_CO_TRY_ASSIGN(const io::Address peer, io::Address::parse(address));
  if (Entry* entry = find(name)) {
    if (entry->record.side == Side::kPrimary && entry->record.peer_address == peer.to_string() &&
        entry->record.peer_group == place.group &&
        (place.raid.empty() || place.raid == entry->record.peer_raid)) {
      co_return Result<void>{};
    }
    co_return fail(ErrorCode::kExists,
                   "group '" + name + "' has a pair already, with " + entry->record.peer_name);
  }
  TM_CO_TRY(group->check_accepting());
  auto entry = std::make_unique<Entry>(environment_.scheduler, name, group);
  entry->record.side = Side::kPrimary;
  entry->record.peer_address = peer.to_string();
  entry->record.peer_group = place.group;
  entry->record.peer_raid = place.raid;
  entry->record.since = environment_.clock.now();
  entry->record.sync = terms;
  entry->record.copy_rate_bytes = wanted.copy_rate_bytes.value_or(0);
  entry->record.compression = wanted.compression.value_or(format::Compression::kOff);
  entry->record.sync_since = entry->record.since;
  PairRecord record = entry->record;
  record.state = PairState::kCopy;
  auto sender = make_sender(*entry, record);
  auto welcome = co_await sender->introduce(format::HelloIntent::kCreate, false);
  if (!welcome.ok() || !welcome->accepted) {
    if (!welcome.ok()) {
      if (welcome.error().code == ErrorCode::kRefused) {
        host_.log("link-refused", name,
                  log_field("peer", peer.to_string()) + " " + log_field("reason", welcome.error().message));
      }
      co_return fail(welcome.error().code,
                     "the peer at " + peer.to_string() + ": " + welcome.error().message);
    }
    co_return fail(static_cast<ErrorCode>(welcome->error_code),
                   "the peer refuses: " + welcome->error_message);
  }
  entry->record.peer_node = welcome->node;
  entry->record.peer_name = welcome->node_name;
  Entry* created = entry.get();
  entries_[name] = std::move(entry);
  attach_gate(*created);
  const LogId acked = sender->acked();
  sender->let_stream();
  start_sender(created, std::move(sender));
  (void)learn_certificate(created);
  co_return co_await save(created, PairState::kCopy, std::string(), acked);
}

io::Task<Result<void>> Pairs::suspend(std::string name) {
  auto guard = co_await lock(name);
  Entry* entry = find(name);
  if (entry == nullptr) co_return no_pair(name);
  // What suspended it stays to be read, and whether it needs a copy.
  TM_CO_TRY_ASSIGN(const bool to_do, check_pair_command(PairCommand::kSuspend, entry->record, name));
  if (!to_do) co_return Result<void>{};
  // A suspended primary takes writes; whether this one may, only the peer or an operator can tell.
  if (entry->waiting) co_return *entry->group->held_back();
  if (entry->record.side == Side::kPrimary) {
    const LogId acked = entry->sender == nullptr ? entry->group->local().peer_has : entry->sender->acked();
    co_await stop_sender(entry, format::LinkMessage::kSuspend);
    co_return co_await save(entry, PairState::kPsus, std::string(), acked);
  }
  // Before the primary hears of it: from then on it answers flushes alone, and this node must not come back
  // from a stop and say that it has everything.
  TM_CO_TRY(co_await save(entry, PairState::kPsus, std::string(), entry->held()));
  if (const std::shared_ptr<Link> link = entry->link; link != nullptr) {
    std::vector<std::byte> body = format::encode_suspend(format::Suspend());
    co_await link->send_last(format::LinkMessage::kSuspend, std::move(body));
  }
  co_await end_receiver(entry);
  entry->group->set_peer_has(entry->held());
  co_return co_await save_record(entry);
}

io::Task<Result<void>> Pairs::turn_alone(Entry* entry) {
  group::Group* group = entry->group;
  group->hold_back(std::nullopt);
  // Nobody streams any more, and whoever would let the peer give way waits for the end of this.
  group->set_peer_gives_way(false);
  std::string point = "log:" + group->takeover_point().to_string();
  auto plan = co_await group->plan_restore(std::move(point), false);
  Result<void> turned;
  if (plan.ok()) {
    auto opened = co_await group->restore(std::move(plan).value(), format::EpochReason::kTakeover);
    if (!opened.ok()) turned = opened.error();
  } else {
    turned = plan.error();
  }
  group->set_peer_gives_way(entry->record.may_let_go());
  hold(entry);
  co_return turned;
}

io::Task<bool> Pairs::let_go_of_peer(Entry* entry) {
  if (entry->record.needs_copy || entry->group->local().peer_has.is_none()) co_return false;
  need_copy(entry, entry->group->local().peer_has);
  std::string reason = entry->record.reason;
  auto saved = co_await save(entry, entry->record.state, std::move(reason), LogId());
  co_return saved.ok();
}

io::Task<Result<void>> Pairs::dissolve(std::string name) {
  auto guard = co_await lock(name);
  Entry* entry = find(name);
  if (entry == nullptr) co_return no_pair(name);
  TM_CO_TRY(check_pair_command(PairCommand::kDelete, entry->record, name));
  if (entry->record.side == Side::kPrimary) {
    co_await stop_sender(entry, format::LinkMessage::kDelete);
    TM_CO_TRY(co_await become_alone(entry));
    release_gate(*entry);
    entries_.erase(name);
    co_return Result<void>{};
  }
  TM_CO_TRY(check_may_be_alone(*entry));
  if (entry->record.state == PairState::kPair) {
    // Before the primary hears of it, as suspend() does.
    std::string reason = "the pair is being dissolved here";
    TM_CO_TRY(co_await save(entry, PairState::kPsus, std::move(reason), entry->held()));
  }
  if (const std::shared_ptr<Link> link = entry->link; link != nullptr) {
    co_await link->send_last(format::LinkMessage::kDelete, std::vector<std::byte>());
  }
  co_await end_receiver(entry);
  TM_CO_TRY(co_await become_alone(entry));
  release_gate(*entry);
  entries_.erase(name);
  co_return Result<void>{};
}

Result<void> Pairs::check_restore(const group::Group& group, LogId target) const {
  const Entry* entry = find(group.name());
  if (entry == nullptr) return {};
  TM_TRY(check_pair_command(PairCommand::kRestore, entry->record, group.name()));
  if (entry->sender != nullptr && entry->sender->link_up() &&
      !group.state().epochs().is_ancestor(entry->sender->peer_floor(), target)) {
    return fail(ErrorCode::kRefused, "the peer no longer holds log:" + target.to_string() +
                                         " and could not follow; suspend the pair first");
  }
  return {};
}

io::Task<Result<journal::Appended>> Pairs::restore(std::string name, group::RestorePlan plan) {
  auto guard = co_await lock(name);
  group::Group* group = host_.find_group(name);
  if (group == nullptr) co_return fail(ErrorCode::kNotFound, "there is no group '" + name + "'");
  TM_CO_TRY(check_restore(*group, plan.target.at));
  Entry* entry = find(name);
  if (entry != nullptr) TM_CO_TRY(check_not_refilling(*entry));
  if (entry == nullptr) co_return co_await group->restore(std::move(plan), format::EpochReason::kRestore);
  if (entry->record.side == Side::kPrimary || entry->record.state == PairState::kSsws) {
    entry->restoring = true;
    auto done = co_await group->restore(std::move(plan), format::EpochReason::kRestore);
    entry->restoring = false;
    while (entry->gives_way) co_await entry->gave_way.wait();
    co_return done;
  }
  co_return co_await open_own_epoch(entry, std::move(plan), format::EpochReason::kRestore, "restored here");
}

io::Task<Result<void>> Pairs::wait_received(std::string name, LogId id) {
  const MonotonicTime deadline = environment_.scheduler.now() + kReceivedTimeout;
  while (true) {
    Entry* entry = find(name);
    if (entry == nullptr) co_return no_pair(name);
    if (entry->sender == nullptr) {
      co_return fail(ErrorCode::kRefused, "the pair of group '" + name + "' is " +
                                              pair_state_name(entry->record.state) +
                                              "; the mark is durable here and will go over at a resync");
    }
    if (entry->sender->acked().raw() >= id.raw()) co_return Result<void>{};
    if (environment_.scheduler.now() >= deadline) {
      co_return fail(ErrorCode::kTimeout, entry->record.peer_name + " does not have log:" + id.to_string() +
                                              " yet; it is durable here and goes over when the link is back");
    }
    (void)co_await entry->sender->moved().wait_until(environment_.scheduler.now() + Duration::seconds(1));
  }
}

std::optional<PairStatus> Pairs::status(const std::string& name) const {
  const Entry* entry = find(name);
  if (entry == nullptr) return std::nullopt;
  PairStatus status{.record = entry->record};
  status.peer_units = entry->peer_units;
  status.sync = sync_status(*entry);
  status.traffic = *entry->traffic;
  if (entry->sender != nullptr) {
    status.link_up = entry->sender->link_up();
    status.link_since = entry->sender->link_since();
    status.sent = entry->sender->sent();
    status.received = entry->sender->acked();
    status.copy = entry->sender->copy_progress();
    if (entry->record.resyncs && entry->catching_up != nullptr) {
      const CompareProgress& progress = entry->catching_up->progress();
      status.copy = {progress.bytes_done, progress.bytes_total};
    }
    status.link_error = entry->sender->last_error();
    status.peer_floor = entry->sender->peer_floor();
    if (!entry->sender->peer_units().empty()) status.peer_units = entry->sender->peer_units();
  } else if (entry->record.side == Side::kPrimary) {
    status.received = entry->peer_has();
  } else {
    status.link_up = entry->link != nullptr;
    status.link_error = entry->turned_away;
    status.link_since = entry->link_since;
    status.received = entry->durable;
    status.sent = entry->primary_head;
  }
  if (entry->record.side == Side::kPrimary) status.lag = lag_of(*entry);
  return status;
}

}  // namespace tidemark::replication

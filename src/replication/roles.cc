// Who writes: a secondary that takes over, and the two nodes of a pair swapping their roles.

#include <algorithm>

#include "base/log_field.h"
#include "replication/pairs.h"
#include "replication/pairs_entry.h"

namespace tidemark::replication {
namespace {

constexpr Duration kConnectTimeout = Duration::seconds(5);
constexpr Duration kAnswerTimeout = Duration::seconds(30);
constexpr Duration kTurnTimeout = Duration::seconds(30);
constexpr Duration kTurnInterval = Duration::milliseconds(1);
// From its refusal to follow until an old primary must be told that it is copied anew.
constexpr Duration kReplaceTimeout = Duration::seconds(60);

}  // namespace

Result<void> Pairs::check_not_refilling(const Entry& entry) const {
  if (!entry.refilling) return {};
  return fail(ErrorCode::kBusy, "group '" + entry.name + "' is being restored from " +
                                    entry.record.peer_name + "; wait for its end");
}

// The fork is recorded first, then the epoch is opened, then the role: a stop between tells by the live epoch
// how far it came.
io::Task<Result<journal::Appended>> Pairs::open_own_epoch(Entry* entry, group::RestorePlan plan,
                                                          format::EpochReason reason, std::string why) {
  group::Group* group = entry->group;
  const PairRecord before = entry->record;
  // What came behind a gap that is not whole counts for nothing.
  const LogId fork = group->is_behind_gap() ? group->takeover_point() : entry->held();
  TM_CO_TRY(co_await group->journal().wait_durable(group->journal().last_ticket()));
  entry->record.fork = fork;
  entry->record.epoch_left = group->live_epoch();
  // What the peer lacks is kept from here on, whatever was given up in an earlier time alone.
  entry->record.needs_copy = false;
  // From the epoch on, and not before, it takes writes: those of now would be numbered as the primary's.
  TM_CO_TRY(co_await save_as(entry, PairState::kSsws, why, fork, group::Role::kSecondary));
  auto opened = co_await group->restore(std::move(plan), reason);
  if (!opened.ok()) {
    entry->record.fork = before.fork;
    entry->record.epoch_left = before.epoch_left;
    entry->record.needs_copy = before.needs_copy;
    const PairState state = before.state == PairState::kPair ? PairState::kPsus : before.state;
    (void)co_await save(entry, state, "suspended", fork);
    co_return opened;
  }
  TM_CO_TRY(co_await save(entry, PairState::kSsws, why, fork));
  // Nobody else will record what was taken here alone. That may wait for space which what is kept for the
  // peer takes, and the lock is held here.
  entry->restoring = true;
  for (const group::Mark& mark : group->provisional_marks()) {
    (void)co_await group->adopt_mark(group::record_of(mark), mark.at);
  }
  entry->restoring = false;
  while (entry->gives_way) co_await entry->gave_way.wait();
  co_return opened;
}

io::Task<Result<Takeover>> Pairs::take_over(std::string name, bool force) {
  auto guard = co_await lock(name);
  Entry* entry = find(name);
  if (entry == nullptr) {
    co_return no_pair(name);
  }
  TM_CO_TRY_ASSIGN(const bool to_do, check_pair_command(PairCommand::kTakeover, entry->record, name));
  Takeover taken;
  taken.primary_head = entry->primary_head;
  if (!to_do) {
    taken.epoch = entry->group->live_epoch();
    taken.point.at = entry->record.fork;
    auto timer = co_await entry->group->points().timer_at(taken.point.at);
    if (timer.ok()) taken.point.timer = *timer;
    judge_takeover(*entry, taken);
    co_return taken;
  }
  if (!entry->group->local().window_open) {
    co_return fail(ErrorCode::kRefused, "the first copy of group '" + name +
                                            "' was not finished: there is nothing to take over with");
  }
  const std::shared_ptr<Link> link = entry->link;
  const bool in_pair = entry->record.state == PairState::kPair || entry->record.state == PairState::kCopy;
  if (in_pair && link != nullptr && !force) {
    co_return fail(ErrorCode::kRefused,
                   "the primary " + entry->record.peer_name +
                       " is there and takes writes; `tidemark pair "
                       "resync " +
                       entry->record.peer_group +
                       " --swap` on it swaps the roles without losing one, --force takes over at once");
  }
  if (in_pair && link != nullptr) {
    format::Suspend suspend;
    suspend.cause = format::SuspendCause::kTakeover;
    suspend.reason = self_.name + " has taken over";
    std::vector<std::byte> body = format::encode_suspend(suspend);
    co_await link->send_last(format::LinkMessage::kSuspend, std::move(body));
  }
  co_await end_receiver(entry);
  judge_takeover(*entry, taken);
  // What a node that was turned has beyond the fork had been given up; what a refill began does not count.
  const LogId at = entry->group->takeover_point(entry->held());
  TM_CO_TRY_ASSIGN(group::RestorePlan plan,
                   co_await entry->group->plan_restore("log:" + at.to_string(), false));
  taken.point = plan.target;
  const PairRecord before = entry->record;
  // Said again, it is answered in the same way.
  entry->record.not_in_sync = taken.may_be_behind ? format::NotInSync::kCatchingUp : format::NotInSync::kNone;
  entry->record.sync_since = taken.behind_since;
  auto opened = co_await open_own_epoch(entry, std::move(plan), format::EpochReason::kTakeover, "taken over");
  if (!opened.ok()) {
    entry->record.not_in_sync = before.not_in_sync;
    entry->record.sync_since = before.sync_since;
  }
  if (!opened.ok()) co_return std::move(opened).error();
  taken.epoch = opened->id.epoch();
  host_.log("takeover", name,
            log_field("at", taken.point.at.to_string()) + " " + log_field("epoch", taken.epoch.value));
  co_return taken;
}

io::Task<Result<void>> Pairs::serve(std::string name, bool alone) {
  auto guard = co_await lock(name);
  Entry* entry = find(name);
  group::Group* group = host_.find_group(name);
  if (group == nullptr) co_return fail(ErrorCode::kNotFound, "there is no group '" + name + "'");
  if (entry == nullptr || !entry->waiting || !alone) co_return group->check_accepting();
  co_await set_alone(entry, true);
  entry->waiting = false;
  hold(entry);
  host_.log("serving-alone", name, log_field("peer", entry->record.peer_name));
  co_return group->check_accepting();
}

io::Task<Result<void>> Pairs::swap(std::string name, bool give_up_window) {
  {
    auto guard = co_await lock(name);
    Entry* entry = find(name);
    if (entry == nullptr) {
      co_return no_pair(name);
    }
    TM_CO_TRY(check_pair_command(PairCommand::kResyncSwap, entry->record, name));
    TM_CO_TRY(check_not_refilling(*entry));
    if (entry->record.side == Side::kSecondary) co_return co_await become_primary(entry, give_up_window);
    entry->cannot_follow.reset();
    if (give_up_window) {
      co_return fail(ErrorCode::kRefused,
                     "what is here is given up on the node that has taken over: say `tidemark pair resync " +
                         entry->record.peer_group + " --swap --give-up-window` on " +
                         entry->record.peer_name);
    }
    if (entry->record.state == PairState::kPair) {
      TM_CO_TRY(co_await hand_over(entry));
    } else {
      // One that was handing over goes on with it: it has taken no write since.
      const bool hands_over = entry->record.state == PairState::kSsws;
      TM_CO_TRY(co_await ask_to_take_over(entry, hands_over ? entry->group->head() : LogId()));
    }
  }
  // The peer turns this node around over a connection of its own.
  co_return co_await wait_until_following(std::move(name));
}

// No write is lost: none is accepted from here on, and the secondary takes over only with everything that
// was.
io::Task<Result<void>> Pairs::hand_over(Entry* entry) {
  group::Group* group = entry->group;
  if (entry->sender == nullptr || !entry->sender->link_up()) {
    co_return fail(ErrorCode::kRefused,
                   "the link to " + entry->record.peer_name +
                       " is down, so it may lack the newest writes; wait for the link, or "
                       "say `tidemark pair takeover` there");
  }
  group->hold_back(fail(ErrorCode::kBusy,
                        "group '" + entry->name + "' is being handed over to " + entry->record.peer_name));
  co_await host_.disconnect_exports(entry->name);
  co_await group->finish_commands();
  const Result<void> drained = co_await drain(entry);
  const LogId head = group->head();
  if (!drained.ok()) {
    hold(entry);
    co_return fail(drained.error().code,
                   drained.error().message + "; nothing has changed, and writes are taken here again");
  }
  // A stop from here on leaves a node that takes no writes: said again, or a resync, goes on.
  TM_CO_TRY(co_await save(entry, PairState::kSsws, "handing over to " + entry->record.peer_name, head));
  co_await stop_sender(entry, std::nullopt);
  co_return co_await ask_to_take_over(entry, head);
}

io::Task<Result<std::shared_ptr<Link>>> Pairs::introduce(Entry* entry, format::HelloIntent intent,
                                                         LogId start) {
  co_return co_await introduce(entry->record, entry->group->identity(), entry->name, intent, start,
                               kAnswerTimeout, entry->traffic);
}

io::Task<Result<std::shared_ptr<Link>>> Pairs::introduce(PairRecord record, GroupIdentity group,
                                                         std::string name, format::HelloIntent intent,
                                                         LogId start, Duration limit,
                                                         std::shared_ptr<LinkTraffic> traffic) {
  const std::string address_text = record.peer_address;
  TM_CO_TRY_ASSIGN(const io::Address address, io::Address::parse(address_text));
  format::Hello hello;
  hello.intent = intent;
  hello.node = self_.identity;
  hello.instance = self_.instance;
  hello.node_name = self_.name;
  hello.addresses = self_.addresses;
  hello.group = group;
  hello.group_name = record.peer_group;
  hello.primary_group = name;
  hello.start = start;
  // Only answers have a payload.
  if (intent == format::HelloIntent::kQuery) hello.compression = record.compression;
  auto stream = co_await environment_.network.connect(address, std::min(kConnectTimeout, limit));
  if (!stream.ok()) {
    co_return fail(stream.error().code,
                   "the peer at " + address_text + " cannot be reached: " + stream.error().message);
  }
  auto link = std::make_shared<Link>(environment_.scheduler, std::move(stream).value());
  TM_CO_TRY(record.check_peer(link->peer_identity()));
  std::vector<std::byte> body = format::encode_hello(hello);
  TM_CO_TRY(co_await link->send(format::LinkMessage::kHello, std::move(body)));
  auto answered = co_await link->receive_within(limit, 1 << 16);
  if (!answered.ok()) {
    co_return fail(answered.error().code, "the peer at " + address_text + " did not answer: " +
                                              answered.error().message + "; say it again");
  }
  TM_CO_TRY_ASSIGN(const format::Welcome welcome, format::decode_welcome(answered->body));
  if (welcome.node != record.peer_node) {
    co_return fail(ErrorCode::kClosed, "another node, " + welcome.node_name + ", answers at " + address_text +
                                           " than the peer " + record.peer_name);
  }
  if (!welcome.accepted) {
    co_return fail(static_cast<ErrorCode>(welcome.error_code), "the peer refuses: " + welcome.error_message);
  }
  link->agree_on(hello.compression, environment_.offload);
  link->count_in(std::move(traffic));
  co_return link;
}

// Asks the peer to take over, if it has not, and to have this node follow it.
io::Task<Result<void>> Pairs::ask_to_take_over(Entry* entry, LogId head) {
  auto welcomed = co_await introduce(entry, format::HelloIntent::kHandOver, head);
  if (!welcomed.ok()) co_return welcomed.error();
  co_return Result<void>{};
}

io::Task<Result<void>> Pairs::wait_until_following(std::string name) {
  const MonotonicTime due = environment_.scheduler.now() + kTurnTimeout;
  while (true) {
    const Entry* entry = find(name);
    if (entry == nullptr) {
      co_return fail(ErrorCode::kClosed, "the pair of group '" + name + "' was dissolved, or is copied anew");
    }
    // Shown with the link up, which it is in a moment.
    const bool follows = entry->record.side == Side::kSecondary;
    if (follows && entry->link != nullptr) co_return Result<void>{};
    if (environment_.scheduler.now() >= due && follows) co_return Result<void>{};
    if (!follows && entry->cannot_follow.has_value()) co_return entry->cannot_follow->why;
    if (stopping_) co_return fail(ErrorCode::kShutdown, "the node is stopping");
    if (environment_.scheduler.now() >= due) {
      co_return fail(ErrorCode::kTimeout,
                     entry->record.peer_name +
                         " has taken over, and has not reached this node to be followed; "
                         "see `tidemark pair status` there, and say it again");
    }
    // Not on what the group wakes: the peer may have the group copied anew meanwhile, and whoever holds it
    // keeps it from going.
    co_await environment_.scheduler.sleep_for(kTurnInterval);
  }
}

// A connection that carries one request instead of a stream.
io::Task<void> Pairs::receive_request(std::shared_ptr<Link> link, format::Hello hello,
                                      std::string peer_address) {
  const Result<void> accepted =
      co_await accept_hand_over(hello, std::move(peer_address), link->peer_identity());
  (void)co_await answer_request(std::move(link), hello, accepted);
  if (accepted.ok()) tasks_.spawn(turn_later(hello.group_name));
}

io::Task<Result<void>> Pairs::accept_hand_over(format::Hello hello, std::string peer_address,
                                               std::string certificate) {
  if (find(hello.group_name) == nullptr) co_return no_such_pair(hello.group_name);
  const MonotonicTime arrived = environment_.scheduler.now();
  auto guard = co_await lock(hello.group_name);
  if (stopping_) co_return fail(ErrorCode::kShutdown, "the node is stopping");
  TM_CO_TRY(check_still_asked(hello.group_name, arrived));
  TM_CO_TRY(check_shown(hello, certificate));
  Entry* entry = find(hello.group_name);
  if (entry == nullptr || entry->group->identity() != hello.group || entry->record.peer_node != hello.node ||
      entry->record.side != Side::kSecondary) {
    co_return no_such_pair(hello.group_name);
  }
  if (!peer_address.empty()) entry->record.peer_address = std::move(peer_address);
  if (entry->record.state == PairState::kSsws) co_return Result<void>{};
  co_await end_receiver(entry);
  if (entry->record.state != PairState::kPair || hello.start.is_none()) {
    co_return fail(ErrorCode::kRefused, self_.name + " has not taken over (" +
                                            pair_state_name(entry->record.state) +
                                            "): there is no other branch to follow; `tidemark pair resync` "
                                            "without --swap joins the pair again");
  }
  if (entry->held() != hello.start) {
    co_return fail(ErrorCode::kRefused, self_.name + " holds log:" + entry->held().to_string() +
                                            " and not yet log:" + hello.start.to_string());
  }
  TM_CO_TRY_ASSIGN(group::RestorePlan plan, co_await entry->group->plan_restore("head", false));
  auto opened = co_await open_own_epoch(entry, std::move(plan), format::EpochReason::kTakeover,
                                        "handed over by " + hello.node_name);
  if (!opened.ok()) co_return std::move(opened).error();
  co_return Result<void>{};
}

io::Task<void> Pairs::turn_later(std::string name) {
  auto guard = co_await lock(name);
  Entry* entry = find(name);
  if (entry == nullptr || stopping_ || entry->record.side != Side::kSecondary ||
      entry->record.state != PairState::kSsws) {
    co_return;
  }
  auto turned = co_await become_primary(entry, false);
  if (!turned.ok()) host_.log("swap-failed", name, log_field("reason", turned.error().message));
}

// The other node is told to follow; with its consent this one is the primary of the pair.
io::Task<Result<void>> Pairs::become_primary(Entry* entry, bool give_up_window) {
  PairRecord record = entry->record;
  if (record.peer_address.empty()) {
    co_return fail(ErrorCode::kRefused,
                   record.peer_name + " has not said where it can be reached; say `tidemark pair resync " +
                       record.peer_group + " --swap` on it");
  }
  record.side = Side::kPrimary;
  record.state = PairState::kPair;
  record.alone = false;
  auto sender = make_sender(*entry, record);
  auto welcome = co_await sender->introduce(format::HelloIntent::kFollow, false);
  // It cannot, or has lost the group: asked in this very moment, and it remembers that for as long.
  const bool has_refused = welcome.ok() && !welcome->accepted;
  const auto refused_as = static_cast<ErrorCode>(has_refused ? welcome->error_code : 0);
  const bool copies = give_up_window && has_refused &&
                      (refused_as == ErrorCode::kRefused || refused_as == ErrorCode::kNotFound ||
                       refused_as == ErrorCode::kExpired);
  if (copies) {
    record.state = PairState::kCopy;
    record.needs_copy = false;
    sender = make_sender(*entry, record);
    welcome = co_await sender->introduce(format::HelloIntent::kReplace, true);
  }
  if (!welcome.ok()) {
    co_return fail(welcome.error().code,
                   "the peer at " + record.peer_address + ": " + welcome.error().message);
  }
  if (!welcome->accepted) {
    const auto code = static_cast<ErrorCode>(welcome->error_code);
    co_return fail(
        code, record.peer_name + " cannot follow: " + welcome->error_message +
                  (code == ErrorCode::kNotFound ? "; where the group was lost there, `tidemark pair resync " +
                                                      entry->name + " --swap --give-up-window` makes it anew"
                                                : ""));
  }
  if (copies) {
    entry->record.needs_copy = false;
    entry->record.resyncs = false;
    entry->record.fork = LogId();
  }
  entry->record.side = Side::kPrimary;
  entry->record.leave_sync(format::NotInSync::kCatchingUp, environment_.clock.now());
  entry->record.alone = false;
  if (entry->record.needs_copy) {
    TM_CO_TRY(co_await save(entry, PairState::kPsue,
                            record.peer_name +
                                " follows, and what it lacks is no longer in the journal; "
                                "`tidemark pair resync " +
                                entry->name + "` brings what differs",
                            LogId()));
    co_return co_await resync_entry(entry, false, false);
  }
  const LogId acked = sender->acked();
  // Durable before the peer gets the first entry: it must never hold any of a node that does not know that it
  // is the primary.
  TM_CO_TRY(co_await save(entry, record.state, std::string(), acked));
  if (stopping_) co_return Result<void>{};
  sender->let_stream();
  start_sender(entry, std::move(sender));
  (void)learn_certificate(entry);
  co_return Result<void>{};
}

// Kept for whoever asked for it on this node, and for the peer that may ask for more.
Error Pairs::cannot_follow(Entry* entry, Error why, bool may_be_replaced) const {
  if (may_be_replaced) {
    why = fail(ErrorCode::kRefused, why.message + "; `tidemark pair resync " + entry->record.peer_group +
                                        " --swap --give-up-window` on " + entry->record.peer_name +
                                        " copies the volumes anew, and what " + self_.name +
                                        " can show until now goes with that");
  }
  entry->cannot_follow = Entry::CannotFollow{why, environment_.scheduler.now(), may_be_replaced};
  return why;
}

// An old primary that has just said to this peer that it cannot go back to where the two parted. The epoch
// that the peer opened when it took over is new to it.
bool Pairs::may_be_replaced(const Entry& entry, const format::Hello& hello) const {
  return hello.intent == format::HelloIntent::kReplace && hello.overrules &&
         entry.record.side == Side::kPrimary && entry.record.state != PairState::kCopy &&
         entry.record.peer_node == hello.node && entry.group->identity() == hello.group &&
         entry.cannot_follow.has_value() && entry.cannot_follow->may_be_replaced &&
         environment_.scheduler.now() - entry.cannot_follow->at < kReplaceTimeout &&
         entry.group->state().epochs().find(hello.start.epoch()) == nullptr;
}

io::Task<void> Pairs::stop_old_primary(Entry* entry, Error why) {
  co_await stop_sender(entry, std::nullopt);
  entry->group->hold_back(std::move(why));
  co_await host_.disconnect_exports(entry->name);
  co_await entry->group->finish_commands();
}

// The peer has taken over, and an operator has said on either side that its branch continues.
io::Task<Result<Pairs::Entry*>> Pairs::welcome_follow(format::Hello hello, std::string peer_address) {
  Entry* entry = find(hello.group_name);
  if (entry == nullptr || entry->group->identity() != hello.group || entry->record.peer_node != hello.node) {
    co_return no_such_pair(hello.group_name);
  }
  group::Group* group = entry->group;
  if (entry->record.side == Side::kSecondary) {
    if (entry->record.state == PairState::kPair) co_return co_await welcome_back(std::move(hello));
    co_await end_receiver(entry);
  }
  if (entry->record.state == PairState::kCopy) {
    co_return fail(
        ErrorCode::kRefused,
        entry->record.side == Side::kSecondary
            ? "a copy of the pair was not finished; --swap --give-up-window copies anew"
            : "a copy of the pair runs there; wait for its end, or say `tidemark pair suspend` there");
  }
  TM_CO_TRY(check_not_refilling(*entry));
  const LogId fork = hello.start;
  const index::EpochInfo* common = group->state().epochs().find(fork.epoch());
  if (common == nullptr || common->last < fork) {
    co_return fail(ErrorCode::kInvalid, self_.name + " does not have log:" + fork.to_string() +
                                            ", the last entry that both should have");
  }
  const bool is_primary = entry->record.side == Side::kPrimary;
  // Before anything is stopped for it.
  if (!group->state().epochs().is_ancestor(group->local().floor, fork)) {
    co_return cannot_follow(
        entry,
        fail(ErrorCode::kExpired,
             self_.name + " no longer holds log:" + fork.to_string() +
                 ", the last entry that both have; its floor is log:" + group->local().floor.to_string()),
        is_primary);
  }
  const auto checksum = co_await group->checksum_at(fork);
  if (!checksum.ok()) {
    co_return cannot_follow(entry, checksum.error(),
                            is_primary && checksum.error().code == ErrorCode::kExpired);
  }
  if (*checksum != hello.start_checksum) {
    co_return fail(ErrorCode::kInvalid,
                   "log:" + fork.to_string() + " on " + self_.name + " is of another history");
  }
  co_await stop_old_primary(entry,
                            fail(ErrorCode::kBusy, "group '" + entry->name + "' is turned into a secondary"));
  const LogId head = group->head();
  auto left = co_await group->leave_tail(fork);
  if (!left.ok()) {
    hold(entry);
    const bool streams = entry->record.side == Side::kPrimary && entry->record.state == PairState::kPair;
    if (streams && !stopping_) start_sender(entry, make_sender(*entry, entry->record));
    co_return cannot_follow(entry, left.error(), is_primary && left.error().code == ErrorCode::kExpired);
  }
  // It has heard it now.
  entry->waiting = false;
  PairRecord& record = entry->record;
  record.side = Side::kSecondary;
  record.leave_sync(format::NotInSync::kCatchingUp, environment_.clock.now());
  record.fork = fork;
  record.epoch_left = group->live_epoch();
  record.needs_copy = false;
  record.alone = false;
  if (!peer_address.empty()) record.peer_address = std::move(peer_address);
  TM_CO_TRY(co_await save(entry, PairState::kPair, std::string(), fork));
  entry->complete = true;
  entry->durable = fork;
  host_.log("follows", entry->name,
            log_field("primary", record.peer_name) + " " + log_field("from", fork.to_string()) + " " +
                log_field("left", head.to_string()));
  co_return entry;
}

}  // namespace tidemark::replication

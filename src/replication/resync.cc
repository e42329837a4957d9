// A pair that was apart for so long that the primary's journal no longer holds what the secondary lacks. The
// secondary goes on behind a gap: it takes over the primary's state, receives the entries from there on, and
// what else differs is written again on the primary, so that it comes as entries too. Its window before the
// gap stays readable, and a takeover goes on from there, until all of it has come
// (docs/decisions/0015-a-resync-writes-again-what-differs.md).

#include "base/log_field.h"
#include "replication/pairs.h"
#include "replication/pairs_entry.h"

namespace tidemark::replication {
namespace {

constexpr Duration kRetryInterval = Duration::milliseconds(500);
// A node that stops waits for it.
constexpr Duration kIntroductionTimeout = Duration::seconds(5);

// Whether a comparison that failed may do better over another connection.
bool may_pass(const Error& error) {
  switch (error.code) {
    case ErrorCode::kNoSpace:
    case ErrorCode::kInvalid:
    case ErrorCode::kUnsupported:
    case ErrorCode::kRefused:
    case ErrorCode::kReadOnly:
      return false;
    default:
      return true;
  }
}

}  // namespace

io::Task<Result<void>> Pairs::resync(std::string name, Continues continues, bool give_up_window) {
  auto guard = co_await lock(name);
  Entry* entry = find(name);
  if (entry == nullptr) co_return no_pair(name);
  const bool overrules = continues == Continues::kPrimary;
  const PairCommand command = overrules ? PairCommand::kResyncFromPrimary : PairCommand::kResync;
  TM_CO_TRY_ASSIGN(const bool to_do, check_pair_command(command, entry->record, name));
  if (!to_do) co_return Result<void>{};
  TM_CO_TRY(check_not_refilling(*entry));
  entry->cannot_follow.reset();
  // The peer might give up what it holds for one that can send nothing.
  if (entry->group->failure().has_value()) co_return entry->group->check_accepting().error();
  co_return co_await resync_entry(entry, overrules, give_up_window);
}

io::Task<Result<void>> Pairs::resync_entry(Entry* entry, bool overrules, bool give_up_window) {
  // A peer that has nothing has no window to keep either.
  auto intent = format::HelloIntent::kResync;
  if (entry->record.needs_copy) {
    intent = entry->record.fork.is_none() ? format::HelloIntent::kCreate : format::HelloIntent::kSkip;
  }
  if (give_up_window) intent = format::HelloIntent::kReplace;
  // What is found out on the way counts only when the pair goes on with it.
  PairRecord before = entry->record;
  const auto as_before = [entry, &before](Error error) {
    entry->record.needs_copy = before.needs_copy;
    entry->record.fork = before.fork;
    return error;
  };
  bool created = false;
  while (true) {
    auto joined = co_await join_again(entry, intent, overrules);
    if (joined.ok()) co_return joined;
    const Error& error = joined.error();
    const bool skips = intent == format::HelloIntent::kSkip;
    if (intent == format::HelloIntent::kResync && error.code == ErrorCode::kExpired) {
      // What the peer lacks is gone from the journal, as only the two together can tell.
      need_copy(entry, entry->group->local().peer_has);
      intent = format::HelloIntent::kSkip;
    } else if (intent == format::HelloIntent::kCreate && error.code == ErrorCode::kExists && !created) {
      intent = format::HelloIntent::kSkip;
      created = true;
    } else if (skips && (error.code == ErrorCode::kInGap || error.code == ErrorCode::kNotFound) && !created) {
      intent = format::HelloIntent::kCreate;
      created = true;
    } else if (skips && error.code == ErrorCode::kNoSpace && entry->record.may_let_go() &&
               before.state != PairState::kSsws && !entry->group->local().peer_has.is_none() &&
               entry->group->local().settings.on_full == group::OnFull::kDropHistory) {
      // What the journal keeps for the peer is of no use to it any more, and takes the room.
      need_copy(entry, entry->group->local().peer_has);
      TM_CO_TRY(
          co_await save(entry, PairState::kPsue, "the journal filled up while the peer was away", LogId()));
      before = entry->record;
    } else if (skips && (error.code == ErrorCode::kExpired || error.code == ErrorCode::kUnsupported)) {
      co_return as_before(fail(ErrorCode::kRefused,
                               error.message +
                                   "; --give-up-window copies the volumes anew, and what the peer can show "
                                   "until now goes with that"));
    } else {
      co_return as_before(error);
    }
  }
}

// The pair goes on as the peer was told, or the peer's refusal.
io::Task<Result<void>> Pairs::join_again(Entry* entry, format::HelloIntent intent, bool overrules) {
  const bool skips = intent == format::HelloIntent::kSkip;
  const bool copies = intent != format::HelloIntent::kResync;
  PairRecord record = entry->record;
  record.state = copies ? PairState::kCopy : PairState::kPair;
  record.resyncs = skips;
  auto sender = make_sender(*entry, record);
  auto welcome = co_await sender->introduce(intent, overrules);
  if (!welcome.ok()) {
    co_return fail(welcome.error().code,
                   "the peer at " + record.peer_address + ": " + welcome.error().message);
  }
  if (!welcome->accepted) {
    co_return fail(static_cast<ErrorCode>(welcome->error_code),
                   "the peer refuses: " + welcome->error_message);
  }
  entry->record.needs_copy = false;
  entry->record.resyncs = skips;
  entry->record.alone = false;
  entry->record.fork = LogId();
  const LogId acked = sender->acked();
  sender->let_stream();
  start_sender(entry, std::move(sender));
  (void)learn_certificate(entry);
  co_return co_await save(entry, record.state, std::string(), acked);
}

// The secondary's side of it.
io::Task<Result<Pairs::Entry*>> Pairs::welcome_behind_gap(format::Hello hello) {
  TM_CO_TRY_ASSIGN(Entry * entry, co_await check_returning(&hello));
  Epoch live{};
  TM_CO_TRY_ASSIGN(group::GroupState state, group::GroupState::decode(hello.state, &live));
  group::Group* group = entry->group;
  const PairRecord before = entry->record;
  if (before.state == PairState::kSsws) {
    // No more writes first. A stop before the end leaves the group taking them again, one after it a
    // suspended pair: the epoch that is live tells which.
    entry->record.epoch_left = hello.start.epoch();
    TM_CO_TRY(co_await save_as(entry, PairState::kSsws, "gives way", before.kept_for_peer(),
                               group::Role::kSecondary));
  }
  // Who reads the live volumes must not go on as if nothing were.
  co_await host_.disconnect_exports(entry->name);
  auto skipped = co_await group->skip_to(std::move(state), hello.start, hello.start_checksum);
  if (!skipped.ok()) {
    if (before.state == PairState::kSsws) {
      entry->record.epoch_left = before.epoch_left;
      (void)co_await save(entry, PairState::kSsws, before.reason, before.kept_for_peer());
    }
    co_return std::move(skipped).error();
  }
  // Who came while the state was being switched.
  co_await host_.disconnect_exports(entry->name);
  host_.log("gap", entry->name,
            log_field("after", group->takeover_point().to_string()) + " " +
                log_field("goes_on_at", hello.start.to_string()));
  entry->record.fork = LogId();
  entry->record.needs_copy = false;
  entry->complete = false;
  entry->durable = hello.start;
  TM_CO_TRY(co_await save(entry, PairState::kCopy, std::string(), hello.start));
  co_return entry;
}

// The pair that resyncs over this sender; null when that is over.
Pairs::Entry* Pairs::find_resyncing(const std::string& name, std::uint64_t sender) {
  Entry* entry = find(name);
  const bool resyncs = entry != nullptr && !stopping_ && entry->record.resyncs && entry->sender != nullptr &&
                       entry->sender->number() == sender && !entry->sender->resync_ended();
  return resyncs ? entry : nullptr;
}

// Until the secondary has everything in which it differs, over as many connections as that takes.
io::Task<void> Pairs::catch_up(std::string name, std::uint64_t sender) {
  std::string told;
  while (find_resyncing(name, sender) != nullptr) {
    const Result<void> done = co_await compare_to_catch_up(name, sender);
    Entry* entry = find_resyncing(name, sender);
    if (entry == nullptr) co_return;
    if (done.ok()) {
      entry->sender->end_resync(entry->group->journal().durable());
      co_return;
    }
    if (done.error().message != told && entry->sender->link_up()) {
      told = done.error().message;
      host_.log("resync-interrupted", name, log_field("reason", told));
    }
    if (!may_pass(done.error())) {
      auto guard = co_await lock(name);
      entry = find_resyncing(name, sender);
      if (entry != nullptr) co_await suspend_resync(entry, done.error().message);
      co_return;
    }
    co_await environment_.scheduler.sleep_for(kRetryInterval);
  }
}

// Compares everything once; durable here when it answers.
io::Task<Result<void>> Pairs::compare_to_catch_up(std::string name, std::uint64_t sender) {
  std::shared_ptr<Comparison> comparison;
  {
    auto guard = co_await lock(name);
    Entry* entry = find_resyncing(name, sender);
    if (entry == nullptr) co_return fail(ErrorCode::kClosed, "the resync is over");
    if (!entry->sender->link_up()) co_return fail(ErrorCode::kClosed, "the link is down");
    TM_CO_TRY_ASSIGN(
        std::shared_ptr<Link> link,
        co_await introduce(entry->record, entry->group->identity(), name, format::HelloIntent::kQuery,
                           LogId(), kIntroductionTimeout, entry->traffic));
    std::shared_ptr<group::Group> group = host_.hold_group(name);
    if (group == nullptr || find_resyncing(name, sender) == nullptr) {
      co_return fail(ErrorCode::kShutdown, "the resync is over");
    }
    CompareOptions options;
    options.repair = RepairFrom::kPrimary;
    options.resyncs = true;
    options.bytes_per_second_max = entry->record.copy_rate_bytes;
    std::function<LogId()> common = [this, name] {
      Entry* known = find(name);
      return known == nullptr || !known->record.resyncs ? LogId() : known->peer_has();
    };
    comparison = std::make_shared<Comparison>(environment_, std::move(group), std::move(link),
                                              entry->record.peer_name, options, std::move(common));
    entry->catching_up = comparison;
  }
  host_.log("resync-begin", name, log_field("peer", comparison->progress().peer_name));
  co_await comparison->run();
  const CompareProgress& progress = comparison->progress();
  host_.log("resync-compared", name,
            log_field("compared_bytes", progress.compared_bytes) + " " +
                log_field("written_again_bytes", progress.repaired_bytes) +
                (progress.reason.empty() ? "" : " " + log_field("reason", progress.reason)));
  if (comparison->failure().has_value()) co_return *comparison->failure();
  if (progress.unreadable_here_bytes > 0) {
    co_return fail(ErrorCode::kRefused,
                   std::to_string(progress.unreadable_here_bytes) +
                       " bytes cannot be read here, so the peer cannot be given them; `tidemark journal "
                       "verify " +
                       name + " --with-base` says which");
  }
  co_return Result<void>{};
}

// By an error on this side. The peer keeps what it has, and the next resync goes on from there.
io::Task<void> Pairs::suspend_resync(Entry* entry, std::string reason) {
  const LogId acked = entry->sender->acked();
  co_await stop_sender(entry, format::LinkMessage::kSuspend);
  need_copy(entry, acked);
  (void)co_await save(entry, PairState::kPsue, std::move(reason), LogId());
}

}  // namespace tidemark::replication

#include "simulation/simulation.h"

#include <algorithm>

#include "simulation/damage.h"
#include "simulation/play.h"

namespace tidemark::simulation {

Machine* Play::writer() {
  if (roles_move_) return writer_of_either();
  const bool b_alone = stage_.options.pair && b().group() != nullptr && state(b()) == PairState::kSsws;
  Machine& at = b_alone && draw(2) == 0 ? b() : a();
  // One that stopped in the middle of something is looked at first, when it is back.
  return at.group() != nullptr && !chronicle_.has_pending(at) ? &at : nullptr;
}

Machine* Play::running() {
  Machine& first = any_machine();
  if (first.group() != nullptr) return &first;
  Machine& second = &first == &a() ? b() : a();
  return second.group() != nullptr ? &second : nullptr;
}

control::PairStatus Play::status(Machine& machine) {
  control::PairStatusRequest request;
  request.group = kGroup;
  if (!machine.is_running()) return {};
  auto reply = stage_.ask(machine, machine.node()->pair_status(request));
  return reply.has_value() && reply->ok() ? **reply : control::PairStatus();
}

PairState Play::state(Machine& machine) {
  return status(machine).state;
}

void Play::check_follower() {
  if (stage_.failed()) return;
  // What commands appended.
  if (a().group() != nullptr && !chronicle_.has_pending(a())) chronicle_.learn(a());
  if (!stage_.options.pair || b().group() == nullptr || stage_.failed()) return;
  if (!chronicle_.has_pending(b())) chronicle_.learn_own(b());
  group::Group& group = *b().group();
  if (!group.local().window_open && state(b()) == PairState::kPair) {
    return stage_.broken(Rule::kPairAgrees, "osaka counts as a copy, and its copy was not finished");
  }
  if (b().group() == nullptr || !group.local().window_open || group.local().role != group::Role::kSecondary)
    return;
  if (group.head().epoch().value % 2 != 1) return;
  // What the primary does by itself may have come since its log was read.
  const index::EpochInfo* there =
      a().group() == nullptr ? nullptr : a().group()->state().epochs().find(group.head().epoch());
  const bool has_it = there != nullptr && there->last >= group.head();
  if (chronicle_.model.find(group.head()) == nullptr && !chronicle_.has_pending(a()) &&
      a().group() != nullptr && !has_it) {
    return stage_.broken(Rule::kPeerHoldsAPrefix,
                         "osaka holds log:" + group.head().to_string() +
                             ", which kyoto does not have; it is at log:" + a().group()->head().to_string());
  }
  if (state(b()) == PairState::kPair && group.check_accepting().ok()) {
    stage_.broken(Rule::kOneWriterInPair, "osaka follows and yet takes writes");
  }
}

void Play::step(Step step) {
  switch (step) {
    case Step::kRequests:
      return requests(false);
    case Step::kRestore:
      return restore();
    case Step::kReadPoint:
      return reader_.read_some_point(running());
    case Step::kEntryData:
      return reader_.read_entry_data(running());
    case Step::kOpenView:
      return reader_.open_view(running());
    case Step::kChangeMark:
      return change_mark();
    case Step::kNamePoint:
      return name_point();
    case Step::kReleaseBranch:
      return release_branch();
    case Step::kSettings:
      return settings();
    case Step::kDestage:
      return destage();
    case Step::kLogVolume:
      return change_log_volumes();
    case Step::kWait:
      if (draw(4) == 0) return stage_.world.run_for(Duration::seconds(static_cast<std::int64_t>(draw(20))));
      return stage_.world.run_for(Duration::microseconds(static_cast<std::int64_t>(draw(20'000))));
    case Step::kCrashInside:
      return requests(true);
    case Step::kRestart:
      return restart();
    case Step::kDiskError:
      return disk_error();
    case Step::kDiskHangs: {
      const Duration time = Duration::milliseconds(static_cast<std::int64_t>(draw(30'000)));
      Machine& machine = any_machine();
      // A shorter one would let what comes overtake what was there before, also what a killed node had
      // written.
      MonotonicTime& due = hangs_until_[&machine == &a() ? 0 : 1];
      if (stage_.world.now() < due) return;
      due = stage_.world.now() + time;
      stage_.say(machine.name() + ": its disk hangs for " + format_duration(time));
      return machine.disk().hang_until(stage_.world.now() + time);
    }
    case Step::kClockJump:
      return clock_jump();
    case Step::kLinkReset:
      stage_.say("all connections break");
      return stage_.world.network().reset_all();
    case Step::kLinkCut: {
      const std::uint64_t way = draw(4);
      stage_.say(way == 0   ? "the link is cut towards osaka"
                 : way == 1 ? "the link is cut towards kyoto"
                            : "the link is cut");
      if (way == 0) return stage_.world.network().cut_from_clients();
      if (way == 1) return stage_.world.network().cut_from_servers();
      return stage_.world.network().cut();
    }
    case Step::kLinkHeal:
      stage_.say("the link is healed");
      return stage_.world.network().heal();
    case Step::kLinkBit:
      stage_.say("a bit will turn on the link");
      return stage_.world.network().flip_next_bit();
    case Step::kReplaySession:
      return replay_session();
    case Step::kSuspend: {
      Machine* at = running();
      if (at == nullptr) return;
      control::PairSuspendRequest request;
      request.group = kGroup;
      if (at == &a()) unheard_word_ = true;
      tell(*at, "pair suspend", at->node()->pair_suspend(request));
      return;
    }
    case Step::kResync:
      return resync();
    case Step::kGoAlone:
      return go_alone();
    case Step::kLoseSecondary:
      return lose_secondary();
    case Step::kVerify:
      return verify();
    case Step::kIndexDamage: {
      Machine& machine = any_machine();
      stage_.say("the index of " + machine.name() + " is damaged");
      return machine.damage_index();
    }
    case Step::kLoseMember:
      return lose_member();
    case Step::kPullDisks:
      return pull_disks();
  }
}

void Play::set_up() {
  start(a());
  if (stage_.options.pair) start(b());
  if (stage_.failed()) return;
  control::GroupCreateRequest create;
  create.group = kGroup;
  create.journal_size_bytes = stage_.options.journal_bytes;
  create.retain = stage_.options.retain;
  create.on_full =
      stage_.options.stop_writes_when_full ? control::OnFull::kStopWrites : control::OnFull::kDropHistory;
  place(create);
  const auto made = stage_.ask(a(), a().node()->group_create(create));
  if (!made.has_value() || !made->ok()) {
    return stage_.broken(Rule::kRefusalsAreExpected,
                         "group create: " + (made.has_value() ? made->error().message : ""));
  }
  check_placed(a(), a().group()->log_volume(), create.log_raid);
  for (const char* volume : kVolumes) {
    control::VolumeCreateRequest request;
    request.group = kGroup;
    request.volume = volume;
    request.size_bytes = stage_.options.volume_blocks * kBlockSizeBytes;
    if (stage_.options.has_several_parts() && draw(3) == 0) request.raid = a().part(draw_part(a())).name();
    const auto created = stage_.ask(a(), a().node()->volume_create(request));
    if (!created.has_value() || !created->ok()) {
      return stage_.broken(Rule::kRefusalsAreExpected,
                           "volume create: " + (created.has_value() ? created->error().message : ""));
    }
    check_placed(a(), LuNumber{(*created)->lu_number}, request.raid.has_value() ? request.raid : create.raid);
  }
  chronicle_.account(a(), false, false);
  if (!stage_.options.pair) return;
  control::PairCreateRequest pair;
  pair.group = kGroup;
  pair.peer_address = b().address();
  add_terms(pair, b());
  const auto paired = stage_.ask(a(), a().node()->pair_create(pair));
  if (!paired.has_value() || !paired->ok()) {
    return stage_.broken(Rule::kRefusalsAreExpected,
                         "pair create: " + (paired.has_value() ? paired->error().message : ""));
  }
  first_session_ = stage_.world.network().last_session();
  first_identity_ = a().group()->identity();
}

void Play::add_terms(control::PairCreateRequest& request, Machine& peer) {
  if (stage_.options.has_several_parts() && draw(2) == 0)
    request.peer_raid = peer.part(draw_part(peer)).name();
  if (stage_.options.compresses) request.compress = control::PairCompression::kZstd;
  const std::optional<format::SyncTerms>& terms = stage_.options.sync;
  if (!terms.has_value()) return;
  request.mode = control::PairMode::kSync;
  constexpr control::OnPeerLoss kWords[] = {control::OnPeerLoss::kAsync, control::OnPeerLoss::kWait,
                                            control::OnPeerLoss::kFail};
  request.on_peer_loss = kWords[static_cast<std::size_t>(terms->on_loss) - 1];
  request.peer_loss_after = terms->loss_after;
}

// While the secondary says that it is in sync, nothing that was flushed on the primary is missing there. The
// word of an operator on a primary that it could not hear is not known to it; nor is a stranger's.
void Play::check_sync() {
  if (!stage_.options.sync.has_value() || stage_.failed() || b().group() == nullptr) return;
  const std::optional<replication::PairStatus> there = b().node()->pairs().status(kGroup);
  if (!there.has_value() || there->record.side != replication::Side::kSecondary ||
      there->record.state == replication::PairState::kSsws) {
    return;
  }
  if (unheard_word_ && a().group() != nullptr) {
    const std::optional<replication::PairStatus> here = a().node()->pairs().status(kGroup);
    const bool agree = here.has_value() && here->link_up && there->link_up && here->sync.in_sync &&
                       here->record.sync == there->record.sync &&
                       here->record.sync_since == there->record.sync_since;
    if (agree) unheard_word_ = false;
  }
  if (!there->sync.in_sync || unheard_word_ || watcher_.has_replayed()) return;
  // What the primary was asked for and has not accounted for is learnt from the secondary.
  if (chronicle_.has_pending(a())) {
    if (there->link_up || chronicle_.has_pending(b())) return;
    chronicle_.learn(b());
  }
  if (stage_.failed() || b().group() == nullptr || chronicle_.model.find(b().group()->head()) == nullptr)
    return;
  if (const auto missing = chronicle_.flushed_missing(a(), *b().group()); missing.has_value()) {
    stage_.broken(Rule::kInSyncHoldsTheFlushed, "osaka says that it is in sync and lacks " + *missing);
  }
}

// The faults stop: both nodes run, the pair is whole again, and both show the same.
void Play::settle() {
  stage_.say("the faults stop");
  faults_are_over_ = true;
  stage_.world.network().heal();
  stage_.world.network().set_options(sim::LinkOptions{});
  // To end them now would let what comes overtake what a killed node had written.
  const MonotonicTime hangs_end = std::max(hangs_until_[0], hangs_until_[1]);
  if (stage_.world.now() < hangs_end) stage_.world.run_for(hangs_end - stage_.world.now());
  // What a stranger sent is on its way for a while, and is a fault too.
  if (watcher_.has_replayed()) stage_.world.run_for(Duration::seconds(3));
  mend();
  if (stage_.failed() || !stage_.options.pair) return;
  settle_roles();
  if (stage_.failed() || (state(primary()) == PairState::kSmpl && !pair_again())) return;
  Machine& here = primary();
  Machine& there = secondary();
  const auto caught_up = [&] {
    const control::PairStatus now = status(here);
    return now.state == PairState::kPair && now.link_up && now.lag_entries == 0 && here.group() != nullptr &&
           here.group()->journal().durable() == here.group()->head() && there.group() != nullptr &&
           there.group()->head() == here.group()->head();
  };
  const auto suspended = [&] {
    const PairState now = state(here);
    return now == PairState::kPsus || now == PairState::kPsue || now == PairState::kSsws;
  };
  // What stands in the way of a resync, a pin or a floor, goes with the secondary's window.
  for (std::uint32_t tries = 0; tries < 4; ++tries) {
    if (!stage_.wait_for([&] { return caught_up() || suspended(); }, kCatchUpMax)) {
      const control::PairStatus now = status(here);
      const auto head_of = [](Machine& machine) {
        return machine.group() == nullptr ? "-" : machine.group()->head().to_string();
      };
      return stage_.broken(Rule::kEndsInTime, there.name() +
                                                  " does not catch up: it is at log:" + head_of(there) +
                                                  ", " + here.name() + " at log:" + head_of(here) + ", lag " +
                                                  std::to_string(now.lag_entries) +
                                                  (now.link_up ? ", link up; " : ", link down; ") +
                                                  now.state_reason + "; " + status(there).state_reason);
    }
    if (!suspended()) return agree();
    control::PairResyncRequest request;
    request.group = kGroup;
    request.give_up_window = tries > 0;
    request.from = control::ResyncFrom::kPrimary;
    Error why{ErrorCode::kInvalid, std::string()};
    tell(here, "pair resync", here.node()->pair_resync(request), &why);
    // It went with all its disks while this node could not be told: the copy goes to another one.
    const bool lacks_raid_group = why.message.find("has no RAID group") != std::string::npos;
    if (lacks_raid_group && !stage_.failed() && !pair_elsewhere()) return;
    if (!stage_.failed()) mend();
    if (stage_.failed()) return;
  }
  if (!stage_.wait_for(caught_up, kCatchUpMax)) {
    stage_.broken(Rule::kPairAgrees, "the pair does not get whole: " + status(here).state_reason + "; " +
                                         status(there).state_reason);
  }
  agree();
}

void Play::agree() {
  settle_sync();
  if (!stage_.failed()) verify_at_the_end();
}

void Play::settle_sync() {
  if (!stage_.options.sync.has_value() || stage_.failed()) return;
  const auto in_sync = [this] {
    return status(a()).in_sync.value_or(false) && status(b()).in_sync.value_or(false);
  };
  // The word of a suspension on the other side may come only now.
  const auto suspended = [this] { return state(primary()) == PairState::kPsus; };
  (void)stage_.wait_for([&] { return in_sync() || suspended(); }, kCatchUpMax);
  if (suspended()) {
    control::PairResyncRequest request;
    request.group = kGroup;
    request.from = control::ResyncFrom::kPrimary;
    tell(primary(), "pair resync", primary().node()->pair_resync(request));
  }
  if (!stage_.wait_for(in_sync, kCatchUpMax)) {
    stage_.broken(Rule::kPairAgrees, "the pair is not in sync again: " + status(primary()).sync_reason);
  }
}

bool Play::pair_elsewhere() {
  control::PairDeleteRequest request;
  request.group = kGroup;
  tell(primary(), "pair delete", primary().node()->pair_delete(request));
  return !stage_.failed() && pair_again();
}

// A crash came before the primary knew of its pair, or the secondary's disk was lost while the link was cut.
bool Play::pair_again() {
  control::PairCreateRequest create;
  create.group = kGroup;
  create.peer_address = secondary().address();
  add_terms(create, secondary());
  auto made = stage_.ask(primary(), primary().node()->pair_create(create));
  // What was under way when a disk hung may still keep it from answering in time.
  if (made.has_value() && !made->ok()) made = stage_.ask(primary(), primary().node()->pair_create(create));
  if (made.has_value() && !made->ok() && secondary().group() != nullptr) {
    // What an old session left there.
    control::GroupDeleteRequest remove;
    remove.group = kGroup;
    remove.force = true;
    (void)stage_.ask(secondary(), secondary().node()->group_delete(remove));
    watcher_.forget_second();
    made = stage_.ask(primary(), primary().node()->pair_create(create));
  }
  if (made.has_value() && made->ok()) return true;
  stage_.broken(Rule::kPairAgrees, "pair create: " + (made.has_value() ? made->error().message : ""));
  return false;
}

Outcome Play::run() {
  set_up();
  std::uint64_t weights = 0;
  for (const std::uint32_t weight : stage_.options.weights) weights += weight;
  for (std::uint32_t i = 0; i < stage_.options.steps && !stage_.failed(); ++i) {
    std::uint64_t at = draw(weights);
    std::size_t chosen = 0;
    while (at >= stage_.options.weights[chosen]) at -= stage_.options.weights[chosen++];
    step(static_cast<Step>(chosen));
    check_follower();
    check_sync();
    watcher_.look();
    // Nobody stays down for long, or without its disks.
    const auto needs_hands = [](const Machine& machine) { return !machine.is_on() || machine.misses_part(); };
    if (!stage_.failed() && draw(6) == 0 && (needs_hands(a()) || (stage_.options.pair && needs_hands(b())))) {
      mend();
    }
  }
  if (!stage_.failed()) exchange_roles();
  if (!stage_.failed()) settle();
  // What the primary did by itself meanwhile is looked up before what comes next hides it.
  Machine& here = primary();
  if (!stage_.failed() && here.group() != nullptr && !chronicle_.has_pending(here)) chronicle_.learn(here);
  // It knows the first machine as the primary.
  if (!roles_move_) watcher_.look();
  if (!stage_.failed()) reader_.compare_all();
  if (!stage_.failed() && stage_.options.damages > 0 && !roles_move_) {
    damage_and_look(stage_, chronicle_, reader_);
  }
  if (!stage_.failed()) lose_part_at_the_end();
  return stage_.outcome;
}

Outcome simulate(const Options& options, const TraceLine& trace) {
  return Play(options, trace).run();
}

}  // namespace tidemark::simulation

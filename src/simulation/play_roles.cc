// After the rest of a run: the two nodes exchange their roles, again and again, by a takeover and a swap or
// by a hand-over, while hosts work on whichever of them takes writes and all sorts of things go wrong.

#include <algorithm>
#include <optional>

#include "simulation/play.h"

namespace tidemark::simulation {
namespace {

using replication::Side;

// The primary by its own record, or one that has taken over. Both may be, or none for a moment.
bool writes(const replication::PairRecord& record) {
  return record.side == Side::kPrimary || record.state == replication::PairState::kSsws;
}

}  // namespace

std::optional<replication::PairRecord> Play::record(Machine& machine) {
  if (machine.group() == nullptr) return std::nullopt;
  const std::optional<replication::PairStatus> status = machine.node()->pairs().status(kGroup);
  if (!status.has_value()) return std::nullopt;
  return status->record;
}

Machine* Play::writer_of_either() {
  std::vector<Machine*> found;
  for (Machine* machine : {&a(), &b()}) {
    const auto known = record(*machine);
    if (known.has_value() && writes(*known) && !chronicle_.has_pending(*machine)) found.push_back(machine);
  }
  return found.empty() ? nullptr : found[draw(found.size())];
}

void Play::learn_both() {
  for (Machine* machine : {&a(), &b()}) {
    if (stage_.failed() || machine->group() == nullptr || chronicle_.has_pending(*machine)) continue;
    if (machine->group()->local().window_open) chronicle_.learn(*machine);
  }
}

// What a node has written durably is not lost when it becomes the other one's secondary.
void Play::note_tails() {
  for (Machine* machine : {&a(), &b()}) {
    group::Group* group = machine->group();
    const auto known = record(*machine);
    if (!known.has_value() || !writes(*known) || group->failure().has_value()) continue;
    const LogId head = group->head();
    if (group->local().window_open && group->journal().durable() == head) {
      tails_.push_back({machine, head, machine->windows_given_up});
    }
  }
}

// A restore leaves what comes after its point, and that may expire as any other past.
void Play::forget_live_tails() {
  std::erase_if(tails_, [](const Tail& tail) {
    const group::Group* group = tail.machine->group();
    return group == nullptr || group->state().epochs().is_ancestor(tail.at, group->head());
  });
}

void Play::check_tails() {
  std::erase_if(tails_,
                [](const Tail& tail) { return tail.machine->windows_given_up != tail.windows_given_up; });
  for (const Tail& tail : tails_) {
    const group::Group* group = tail.machine->group();
    const group::Group* other = (tail.machine == &a() ? b() : a()).group();
    if (group == nullptr || other == nullptr) continue;
    // What the other one has too may expire as any other past.
    const index::EpochInfo* there = other->state().epochs().find(tail.at.epoch());
    if (there != nullptr && there->last >= tail.at) continue;
    const index::EpochTree& epochs = group->state().epochs();
    const index::EpochInfo* info = epochs.find(tail.at.epoch());
    const bool is_held = info != nullptr && tail.at <= info->last && !info->released &&
                         epochs.is_ancestor(group->local().floor, tail.at);
    if (is_held || (info != nullptr && epochs.is_ancestor(tail.at, group->head()))) continue;
    return stage_.broken(Rule::kNeededIsKept,
                         tail.machine->name() + " wrote up to log:" + tail.at.to_string() +
                             " before roles were swapped, and nobody released that branch; "
                             "the floor is log:" +
                             group->local().floor.to_string() +
                             ", the head log:" + group->head().to_string());
  }
}

void Play::check_one_writer() {
  std::size_t writers = 0;
  std::size_t whole = 0;
  for (Machine* machine : {&a(), &b()}) {
    const auto known = record(*machine);
    if (!known.has_value() || known->state != replication::PairState::kPair) continue;
    ++whole;
    const bool accepts = machine->group()->check_accepting().ok();
    if (accepts) ++writers;
    if (accepts && known->side == Side::kSecondary) {
      return stage_.broken(Rule::kOneWriterInPair, machine->name() + " follows and yet takes writes");
    }
  }
  if (whole == 2 && writers == 2) stage_.broken(Rule::kOneWriterInPair, "both nodes of the pair take writes");
}

void Play::swap_roles() {
  Machine* at = running();
  if (at == nullptr) return;
  control::PairResyncRequest request;
  request.group = kGroup;
  request.from = control::ResyncFrom::kSecondary;
  request.give_up_window = draw(6) == 0;
  note_tails();
  tell(*at, request.give_up_window ? "pair resync --swap --give-up-window" : "pair resync --swap",
       at->node()->pair_resync(request));
}

void Play::resync_either() {
  Machine* at = running();
  if (at == nullptr) return;
  control::PairResyncRequest request;
  request.group = kGroup;
  request.give_up_window = draw(6) == 0;
  if (draw(2) == 0) request.from = control::ResyncFrom::kPrimary;
  note_tails();
  tell(*at, request.give_up_window ? "pair resync --give-up-window" : "pair resync",
       at->node()->pair_resync(request));
}

void Play::take_over_either() {
  Machine* at = running();
  if (at == nullptr) return;
  control::PairTakeoverRequest request;
  request.group = kGroup;
  request.force = draw(2) == 0;
  tell(*at, "pair takeover", at->node()->pair_takeover(request));
}

// The disk of one is lost for good, and an empty one is in its place; the other takes writes from then on,
// and gives it what it had. That is the runbook, whoever of the two was the primary.
void Play::lose_either() {
  Machine& lost = any_machine();
  Machine& survivor = &lost == &a() ? b() : a();
  if (!record(survivor).has_value() || survivor.disk_may_fail || chronicle_.has_pending(survivor)) return;
  if (!survivor.group()->local().window_open || survivor.group()->failure().has_value()) return;
  // That a first copy is complete is durable on the secondary when the primary has heard of it.
  const bool has_all = writes(*record(survivor)) ||
                       (lost.is_running() && !lost.misses_part() && state(lost) != PairState::kCopy);
  if (!has_all) return;
  stage_.world.network().heal();
  if (may_lose_part(lost) && draw(2) == 0) {
    lose_part(lost, part_of_journal(lost));
  } else {
    if (lost.is_on()) stage_.crash(lost, true);
    stage_.say(lost.name() + " loses its disk");
    lost.replace_disks();
    lost_[&lost == &a() ? 0 : 1].reset();
  }
  lost.has_crashed = lost.disk_may_fail = lost.gave_up_window = false;
  ++lost.windows_given_up;
  if (!take_writes_on(survivor)) return;
  // All that was still on its way has come.
  chronicle_.learn(survivor);
  if (stage_.failed()) return;
  chronicle_.lose_writer(lost, *survivor.group());
  reader_.forget_moments();
  start(lost);
  for (std::uint32_t tries = 0; tries < 8 && !stage_.failed(); ++tries) {
    if (pair_anew(survivor, lost)) return;
    if (!stage_.failed()) mend();
  }
  if (stage_.failed()) return;
  stage_.broken(Rule::kEndsInTime,
                survivor.name() + " does not get a new secondary: " + status(survivor).state_reason);
}

// Whether it is the primary or has taken over; at once, or by a takeover.
bool Play::take_writes_on(Machine& machine) {
  for (std::uint32_t tries = 0; tries < 8 && !stage_.failed(); ++tries) {
    if (!machine.is_on()) bring_back(machine);
    const auto known = record(machine);
    if (stage_.failed() || !known.has_value()) continue;
    if (writes(*known)) return true;
    control::PairTakeoverRequest request;
    request.group = kGroup;
    request.force = true;
    tell(machine, "pair takeover", machine.node()->pair_takeover(request));
  }
  if (!stage_.failed()) {
    stage_.broken(Rule::kEndsInTime, machine.name() + " does not take over: " + status(machine).state_reason);
  }
  return false;
}

// One step of the way from the old pair, if there is one, to a new one with an empty machine; true once that
// is there.
bool Play::pair_anew(Machine& machine, Machine& empty) {
  if (machine.group() == nullptr) return false;
  if (record(machine).has_value()) {
    control::PairDeleteRequest remove;
    remove.group = kGroup;
    tell(machine, "pair delete", machine.node()->pair_delete(remove));
    return false;
  }
  // What an attempt left there that was cut off.
  if (empty.group() != nullptr) {
    control::GroupDeleteRequest remove;
    remove.group = kGroup;
    remove.force = true;
    tell(empty, "group delete", empty.node()->group_delete(remove));
    if (stage_.failed() || machine.group() == nullptr) return false;
  }
  control::PairCreateRequest create;
  create.group = kGroup;
  create.peer_address = empty.address();
  add_terms(create, empty);
  tell(machine, "pair create", machine.node()->pair_create(create));
  return record(machine).has_value();
}

void Play::step_of_roles() {
  struct Weighed {
    std::uint32_t weight;
    std::optional<Step> step;  // none: one of this file
    void (Play::*does)();
  };
  static constexpr Weighed kSteps[] = {
      {60, std::nullopt, &Play::swap_roles},
      {25, std::nullopt, &Play::take_over_either},
      {25, std::nullopt, &Play::resync_either},
      {12, std::nullopt, &Play::lose_either},
      {120, Step::kRequests, nullptr},
      {40, Step::kCrashInside, nullptr},
      {40, Step::kRestore, nullptr},
      {30, Step::kReadPoint, nullptr},
      {10, Step::kEntryData, nullptr},
      {10, Step::kOpenView, nullptr},
      {10, Step::kDestage, nullptr},
      {40, Step::kWait, nullptr},
      {25, Step::kRestart, nullptr},
      {10, Step::kLinkReset, nullptr},
      {15, Step::kLinkCut, nullptr},
      {60, Step::kLinkHeal, nullptr},
      {10, Step::kSuspend, nullptr},
      {10, Step::kDiskError, nullptr},
      {5, Step::kVerify, nullptr},
  };
  std::uint64_t all = 0;
  for (const Weighed& one : kSteps) all += one.weight;
  std::uint64_t at = draw(all);
  const Weighed* chosen = kSteps;
  while (at >= chosen->weight) at -= chosen++->weight;
  // What this run does not have, it does not have here either.
  if (chosen->step.has_value() && stage_.options.weight(*chosen->step) == 0) return;
  if (chosen->step == Step::kRestore) forget_live_tails();
  if (chosen->step.has_value()) return step(*chosen->step);
  (this->*chosen->does)();
}

void Play::exchange_roles() {
  if (stage_.options.role_steps == 0) return;
  mend();
  if (stage_.failed() || state(a()) == PairState::kSmpl || state(b()) == PairState::kSmpl) return;
  stage_.say("the roles begin to move");
  roles_move_ = true;
  reader_.forget_moments();
  for (std::uint32_t i = 0; i < stage_.options.role_steps && !stage_.failed(); ++i) {
    // Whoever takes over may use again the numbers of epochs that went with its window.
    for (Machine* machine : {&a(), &b()}) {
      if (!chronicle_.has_pending(*machine)) chronicle_.forget_if_given_up(*machine);
    }
    step_of_roles();
    if (!stage_.failed()) learn_both();
    if (!stage_.failed()) check_tails();
    if (!stage_.failed()) check_one_writer();
    if (!stage_.failed() && draw(4) == 0) mend();
  }
}

// Once the faults are over: who the primary is. Where a swap was cut off, it is said again.
void Play::settle_roles() {
  if (!roles_move_) return;
  release_all_branches();
  for (std::uint32_t tries = 0; tries < 6 && !stage_.failed(); ++tries) {
    // A node that hands over, and one that was told to follow, have that to finish.
    stage_.world.run_for(Duration::seconds(10));
    const auto of_a = record(a());
    const auto of_b = record(b());
    if (of_a.has_value() && of_a->side == Side::kPrimary) {
      swapped_ = false;
      return;
    }
    if (of_b.has_value() && of_b->side == Side::kPrimary) {
      swapped_ = true;
      return;
    }
    // Two secondaries: one has taken over.
    Machine& at = of_b.has_value() && of_b->state == replication::PairState::kSsws ? b() : a();
    control::PairResyncRequest request;
    request.group = kGroup;
    request.from = control::ResyncFrom::kSecondary;
    request.give_up_window = tries > 1;
    tell(at, "pair resync --swap", at.node()->pair_resync(request));
    if (!stage_.failed()) mend();
  }
  if (stage_.failed()) return;
  stage_.broken(Rule::kPairAgrees, "no node of the pair becomes the primary: " + status(a()).state_reason +
                                       "; " + status(b()).state_reason);
}

// They hold space that what follows needs.
void Play::release_all_branches() {
  tails_.clear();
  for (Machine* machine : {&a(), &b()}) {
    if (machine->group() == nullptr) continue;
    for (const auto& branch : machine->group()->state().epochs().branches(machine->group()->head())) {
      control::BranchReleaseRequest request;
      request.group = kGroup;
      request.epoch = branch.epoch.value;
      tell(*machine, "branch release " + std::to_string(request.epoch),
           machine->node()->branch_release(request));
      if (stage_.failed() || machine->group() == nullptr) break;
    }
  }
}

}  // namespace tidemark::simulation

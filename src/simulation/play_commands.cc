// What an operator does.

#include "simulation/play.h"

#include <algorithm>

#include "control/types_fields.h"

namespace tidemark::simulation {

std::string Play::draw_mark(const Machine&) {
  const auto& marks = chronicle_.model.marks;
  if (marks.empty()) return {};
  auto found = marks.begin();
  std::advance(found, static_cast<std::ptrdiff_t>(draw(marks.size())));
  return found->first;
}

void Play::change_mark() {
  Machine* at = writer();
  if (at == nullptr) return;
  const std::string id = draw_mark(*at);
  if (id.empty()) return;
  node::Node* node = at->node();
  switch (draw(4)) {
    case 0: {
      control::MarkHoldRequest request;
      request.group = kGroup;
      request.id = id;
      const LogId point = chronicle_.model.marks[id];
      if (tell(*at, "mark hold " + id, node->mark_hold(request)) && at == &a()) {
        watcher_.mark_is_held(id, point);
      }
      break;
    }
    case 1: {
      control::MarkDeleteRequest request;
      request.group = kGroup;
      request.id = id;
      tell(*at, "mark delete " + id, node->mark_delete(request));
      break;
    }
    default: {
      control::MarkReleaseRequest request;
      request.group = kGroup;
      request.id = id;
      watcher_.mark_may_go(id);
      tell(*at, "mark release " + id, node->mark_release(request));
      break;
    }
  }
}

void Play::name_point() {
  Machine* at = writer();
  if (at == nullptr) return;
  const LogId point = reader_.draw_known_point();
  control::MarkNameRequest request;
  request.group = kGroup;
  request.id = "n" + std::to_string(++names_);
  request.point = point_name(point);
  if (tell(*at, "mark name " + request.id + " at " + request.point, at->node()->mark_name(request))) {
    chronicle_.model.marks[request.id] = point;
  }
}

void Play::release_branch() {
  Machine* at = running();
  if (at == nullptr) return;
  const auto branches = at->group()->state().epochs().branches(at->group()->head());
  if (branches.empty()) return;
  control::BranchReleaseRequest request;
  request.group = kGroup;
  request.epoch = branches[draw(branches.size())].epoch.value;
  watcher_.branch_may_go(Epoch{request.epoch});
  tell(*at, "branch release " + std::to_string(request.epoch), at->node()->branch_release(request));
}

void Play::settings() {
  Machine* at = running();
  if (at == nullptr) return;
  control::GroupSetRequest request;
  request.group = kGroup;
  const Duration retentions[] = {Duration{}, Duration::seconds(1), Duration::seconds(60),
                                 Duration::seconds(86'400)};
  request.retain = retentions[draw(4)];
  request.on_full = draw(2) == 0 ? control::OnFull::kDropHistory : control::OnFull::kStopWrites;
  const group::GroupSettings wanted{.retain = *request.retain,
                                    .on_full = *request.on_full == control::OnFull::kDropHistory
                                                   ? group::OnFull::kDropHistory
                                                   : group::OnFull::kStopWrites};
  if (at == &a()) watcher_.settings_are(std::nullopt);
  if (tell(*at, "group set --retain " + format_duration(wanted.retain), at->node()->group_set(request)) &&
      at == &a()) {
    watcher_.settings_are(wanted);
  }
}

void Play::destage() {
  Machine* at = running();
  if (at == nullptr) return;
  const std::uint64_t how = draw(3);
  if (how == 0) return destage_beside(*at);
  // What is opened and read meanwhile holds the floor, and its segments, or comes too late.
  for (std::uint64_t views = how == 1 ? draw(4) : 0; views > 0; --views) reader_.open_view(at);
  const bool short_of_space = draw(3) == 0;
  tell(*at, short_of_space ? "destages for space" : "destages",
       holding(at->hold_group(), at->group()->destage_now(short_of_space)));
}

void Play::change_log_volumes() {
  Machine* at = running();
  if (at == nullptr) return;
  const std::vector<group::GroupLogVolume> volumes = at->group()->log_volumes();
  if (volumes.size() > 1 && draw(2) == 0) {
    control::JournalVolumeRemoveRequest request;
    request.group = kGroup;
    request.lu_number = volumes[1 + draw(volumes.size() - 1)].number.value;
    tell(*at, "journal remove-volume " + std::to_string(request.lu_number),
         at->node()->journal_volume_remove(request));
    return;
  }
  control::JournalVolumeAddRequest request;
  request.group = kGroup;
  request.size_bytes = (1 + draw(6)) * at->group()->journal().status().segment_size_bytes;
  if (stage_.options.has_several_parts()) request.raid = at->part(draw_part(*at)).name();
  const std::string where = request.raid.has_value() ? " --raid " + *request.raid : "";
  const bool added = tell(*at, "journal add-volume --size " + format_size(request.size_bytes) + where,
                          at->node()->journal_volume_add(request));
  if (!added || stage_.failed() || at->group() == nullptr) return;
  check_placed(*at, at->group()->log_volumes().back().number, request.raid);
}

// Beside all that goes on, and whatever becomes of the nodes.
void Play::verify() {
  Machine* at = running();
  if (at == nullptr) return;
  look_at_comparison(*at);
  if (stage_.failed() || !at->is_on()) return;
  control::PairVerifyRequest request;
  request.group = kGroup;
  if (draw(2) == 0) request.rate_bytes = (1 + draw(64)) * kBlockSizeBytes;
  if (at == &a() && draw(3) == 0) {
    request.repair = draw(2) == 0 ? control::RepairFrom::kPrimary : control::RepairFrom::kSecondary;
  }
  stage_.say(at->name() + " begins to verify the pair");
  (void)stage_.ask(*at, at->node()->pair_verify(request));
}

// What both can read is the same, as long as no disk has been damaged.
void Play::look_at_comparison(Machine& machine) {
  if (machine.group() == nullptr) return;
  control::PairVerifyStatusRequest request;
  request.group = kGroup;
  const auto found = stage_.ask(machine, machine.node()->pair_verify_status(request));
  if (!found.has_value() || !found->ok()) return;
  for (const control::DifferenceInfo& difference : (*found)->differences) {
    if (!difference.readable_here || !difference.readable_there) continue;
    stage_.broken(Rule::kPairAgrees, machine.name() + " finds a difference in " + difference.volume + " at " +
                                         std::to_string(difference.offset_bytes) + " between log:" +
                                         (*found)->first_point.value_or(LogId()).to_string() +
                                         " and log:" + (*found)->last_point.value_or(LogId()).to_string());
  }
}

void Play::verify_at_the_end() {
  // A session that was replayed while the link was cut may be heard only now: the secondary is copied anew,
  // and the pair has to become whole once more.
  const std::uint64_t windows_before = b().windows_given_up;
  const auto is_copied_anew = [&] {
    return watcher_.has_replayed() && b().windows_given_up != windows_before;
  };
  for (Machine* at : {&a(), &b()}) {
    control::PairVerifyStopRequest stop;
    stop.group = kGroup;
    (void)stage_.ask(*at, at->node()->pair_verify_stop(stop));
    control::PairVerifyStatusRequest request;
    request.group = kGroup;
    control::PairComparison last;
    const auto has_ended = [&] {
      const auto asked = stage_.ask(*at, at->node()->pair_verify_status(request));
      if (asked.has_value() && asked->ok()) last = **asked;
      return last.state != control::CompareState::kRunning;
    };
    if (!stage_.wait_for(has_ended, kCatchUpMax)) {
      return stage_.broken(Rule::kEndsInTime, at->name() + ": a comparison does not stop");
    }
    control::PairVerifyRequest begin;
    begin.group = kGroup;
    const auto begun = stage_.ask(*at, at->node()->pair_verify(begin));
    last.state = control::CompareState::kRunning;
    if (!begun.has_value() || !begun->ok() || !stage_.wait_for(has_ended, kCatchUpMax)) {
      if (is_copied_anew()) return settle();
      return stage_.broken(Rule::kEndsInTime, at->name() + ": the whole pair cannot be compared: " +
                                                  (begun.has_value() && !begun->ok() ? begun->error().message
                                                                                     : "it does not end"));
    }
    if (last.state != control::CompareState::kSame && is_copied_anew()) return settle();
    // The pair was taken up anew meanwhile.
    if (last.state == control::CompareState::kNever) continue;
    if (last.state != control::CompareState::kSame) {
      return stage_.broken(Rule::kPairAgrees, at->name() + ": the comparison at the end is " +
                                                  std::string(control::word(last.state)) + ", " +
                                                  last.reason);
    }
  }
}

void Play::resync() {
  if (a().group() == nullptr) return;
  control::PairResyncRequest request;
  request.group = kGroup;
  request.give_up_window = draw(4) == 0;
  // What the secondary wrote alone gives way only when somebody says so.
  if (draw(2) == 0) request.from = control::ResyncFrom::kPrimary;
  // As long as the journal is held for the peer, no copy is needed.
  const bool is_held = !a().group()->local().peer_has.is_none();
  Error why{ErrorCode::kInvalid, std::string()};
  // The copy's beginning holds the floor.
  if (request.give_up_window && draw(2) == 0) destage_beside(a());
  tell(a(), request.give_up_window ? "pair resync --give-up-window" : "pair resync",
       a().node()->pair_resync(request), &why);
  if (is_held && !request.give_up_window && why.code == ErrorCode::kExpired && !watcher_.has_replayed()) {
    return stage_.broken(Rule::kNeededIsKept,
                         "kyoto cannot resync, though it held its journal: " + why.message);
  }
  if (stage_.failed()) return;
  if (!request.give_up_window) {
    // What the secondary wrote alone stays, however short its journal is of space.
    for (std::uint64_t times = draw(3); times > 0 && b().group() != nullptr; --times) {
      stage_.world.run_for(Duration::milliseconds(static_cast<std::int64_t>(draw(50))));
      if (b().group() != nullptr) destage_beside(b());
    }
    return;
  }
  // Chunks are on their way now.
  stage_.world.run_for(Duration::microseconds(static_cast<std::int64_t>(draw(5000))));
  turn_bit_perhaps();
}

// Of what comes over the link next.
void Play::turn_bit_perhaps() {
  if (stage_.options.weight(Step::kLinkBit) == 0 || draw(8) != 0) return;
  stage_.say("a bit will turn on the link");
  stage_.world.network().flip_next_bit();
}

// While all goes on.
void Play::destage_beside(Machine& machine) {
  stage_.say(machine.name() + " begins to destage");
  machine.tasks().spawn([](io::Task<Result<bool>> step) -> io::Task<void> {
    (void)co_await step;
  }(holding(machine.hold_group(), machine.group()->destage_now(draw(2) == 0))));
}

// With or without the primary: what it says of itself is what counts.
void Play::take_over() {
  chronicle_.forget_if_given_up(b());
  const LogId head = b().group()->head();
  control::PairTakeoverRequest request;
  request.group = kGroup;
  request.force = true;
  const auto taken = stage_.ask(b(), b().node()->pair_takeover(request));
  if (!taken.has_value()) return;
  stage_.say("osaka takes over: " +
             (taken->ok() ? (*taken)->point.log_id.to_string() : taken->error().message));
  if (!taken->ok() || b().group() == nullptr) return;
  // What the primary was asked for and has not accounted for is learnt with it.
  chronicle_.learn(b());
  if (stage_.failed() || b().group() == nullptr || head.epoch().value % 2 == 0) return;
  if (chronicle_.model.find(b().group()->head()) == nullptr) return;  // its disk does not let it be looked at
  const bool says_all = stage_.options.sync.has_value() && !(*taken)->may_be_behind;
  if (!says_all || unheard_word_ || watcher_.has_replayed()) return;
  if (const auto missing = chronicle_.flushed_missing(a(), *b().group()); missing.has_value()) {
    stage_.broken(Rule::kInSyncHoldsTheFlushed,
                  "osaka says at its takeover that nothing flushed is missing, and lacks " + *missing);
  }
}

void Play::go_alone() {
  if (b().group() == nullptr) return;
  const PairState now = state(b());
  if (b().group() == nullptr) return;
  const bool can_take_over = now == PairState::kPair || now == PairState::kPsus || now == PairState::kPsue ||
                             (now == PairState::kCopy && b().group()->is_behind_gap());
  if (can_take_over && draw(2) == 0) return take_over();
  // What the primary was asked for and has not accounted for is learnt from the secondary.
  control::PairSuspendRequest suspend;
  suspend.group = kGroup;
  tell(b(), "pair suspend", b().node()->pair_suspend(suspend));
  if (b().group() == nullptr || state(b()) == PairState::kPair || state(b()) == PairState::kCopy) return;
  if (b().group() == nullptr || !b().group()->local().window_open) return;
  chronicle_.learn(b());
  if (b().group() == nullptr) return;
  Request request;
  request.kind = Request::Kind::kRestore;
  request.text = "head";
  CrashPlan crash;
  if (stage_.options.weight(Step::kCrashInside) > 0 && draw(3) == 0) crash = draw_crash();
  carry_out_all(b(), {request}, &crash);
}

}  // namespace tidemark::simulation

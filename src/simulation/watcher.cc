#include "simulation/watcher.h"

#include <utility>

namespace tidemark::simulation {
namespace {

// An age told by a clock that drifts, and by a timer value that was taken a moment before its entry.
Duration allowance(Duration age) {
  return Duration{age.ns / 500} + Duration::milliseconds(500);
}

bool holds(const group::Group& group, LogId id) {
  const index::EpochInfo* info = group.state().epochs().find(id.epoch());
  return info != nullptr && id.sequence() <= info->last.sequence();
}

}  // namespace

void Watcher::look() {
  if (stage_.failed()) return;
  learn_when();
  look_at_held_marks();
  look_at_settings();
  look_at_shortening();
  look_at_floor(stage_.a, seen_[0]);
  if (!stage_.options.pair) return;
  look_at_floor(stage_.b, seen_[1]);
  look_at_tails();
  look_at_gap();
  look_at_pair();
}

void Watcher::forget_second() {
  wrote_alone_ = false;
  tails_.clear();
  seen_[1] = Seen();
  whole_ = LogId();
}

// What the model knows now and did not at the last look came after it, when all was known then.
void Watcher::learn_when() {
  for (const auto& [raw, image] : chronicle_.model.images()) not_before_.try_emplace(raw, complete_until_);
  bool complete = true;
  for (Machine* machine : {&stage_.a, &stage_.b}) {
    if (machine == &stage_.b && !stage_.options.pair) continue;
    const group::Group* group = machine->group();
    // A node that is down may hold entries that nobody has seen.
    if (group == nullptr) {
      complete = complete && machine == &stage_.b && chronicle_.appended(*machine).order.empty();
    } else {
      complete = complete && !chronicle_.has_pending(*machine) && !machine->has_crashed &&
                 !group->failure().has_value() && chronicle_.model.find(group->head()) != nullptr;
    }
  }
  if (complete) complete_until_ = stage_.world.now();
}

// What was acknowledged survives whatever came since.
void Watcher::look_at_settings() {
  const group::Group* group = stage_.a.group();
  if (group == nullptr || !settings_.has_value()) return;
  const group::GroupSettings& now = group->local().settings;
  if (now.retain == settings_->retain && now.on_full == settings_->on_full) return;
  stage_.broken(Rule::kFlushedSurvives, stage_.a.name() + ": acknowledged settings are lost: it retains " +
                                            format_duration(now.retain) + " instead of " +
                                            format_duration(settings_->retain));
}

void Watcher::look_at_held_marks() {
  const group::Group* group = stage_.a.group();
  if (group == nullptr) return;
  for (const auto& [id, at] : held_) {
    const auto readable = group->check_readable(at);
    if (readable.ok()) continue;
    return stage_.broken(Rule::kNeededIsKept,
                         stage_.a.name() + ": mark " + id + " is held: " + readable.error().message);
  }
}

// What the second machine wrote alone and left to follow again is kept until somebody releases it.
void Watcher::look_at_tails() {
  const Machine& machine = stage_.b;
  if (machine.windows_given_up != tails_windows_given_up_) {
    forget_second();
    tails_windows_given_up_ = machine.windows_given_up;
  }
  group::Group* group = stage_.b.group();
  if (group == nullptr || !group->local().window_open || chronicle_.has_pending(machine) ||
      machine.has_crashed) {
    return;
  }
  const bool alone = group->head().epoch().value % 2 == 0;
  if (alone) wrote_alone_ = true;
  if (alone || group->local().role != group::Role::kSecondary) return;
  const std::vector<LogId>& own = chronicle_.appended(machine).order;
  if (std::exchange(wrote_alone_, false) && !own.empty()) tails_.push_back(own.back());
  for (const LogId tail : tails_) {
    if (released_.contains(tail.epoch())) continue;
    const index::EpochInfo* info = group->state().epochs().find(tail.epoch());
    if (info != nullptr && !info->released && tail <= info->last &&
        group->state().epochs().is_ancestor(group->local().floor, tail)) {
      continue;
    }
    return stage_.broken(
        Rule::kNeededIsKept,
        machine.name() + " wrote up to log:" + tail.to_string() +
            " alone and nobody released that branch; the floor is log:" + group->local().floor.to_string());
  }
}

// What the second machine could show it can show, until the floor passes it: a gap begins after that.
void Watcher::look_at_gap() {
  Machine& machine = stage_.b;
  const group::Group* group = machine.group();
  if (group == nullptr || !group->local().window_open || machine.has_crashed ||
      machine.windows_given_up != whole_windows_given_up_) {
    whole_ = LogId();
    whole_windows_given_up_ = machine.windows_given_up;
  }
  if (group == nullptr || !group->local().window_open || machine.has_crashed || replayed_) return;
  const index::EpochTree& epochs = group->state().epochs();
  const LogId floor = group->local().floor;
  if (!whole_.is_none() && epochs.is_ancestor(floor, whole_) &&
      epochs.newest_whole(whole_, floor) != whole_) {
    return stage_.broken(Rule::kNeededIsKept, machine.name() + " could show log:" + whole_.to_string() +
                                                  ", and now only what comes before it, log:" +
                                                  epochs.newest_whole(whole_, floor).to_string());
  }
  // What is not durable a crash may take.
  const LogId whole = group->takeover_point();
  if (whole != group->head() || group->journal().durable() == whole) whole_ = whole;
}

// The floor of a group that stops writes when it is full passes nothing that is younger than the retention.
void Watcher::look_at_floor(Machine& machine, Seen& seen) {
  const group::Group* group = machine.group();
  if (group == nullptr || !group->local().window_open) {
    seen = Seen();
    return;
  }
  const group::LocalRecord& local = group->local();
  Seen now{true, local.settings, local.floor, machine.windows_given_up, seen.settings_since};
  const bool same_settings = seen.is_valid && seen.settings.retain == now.settings.retain &&
                             seen.settings.on_full == now.settings.on_full;
  if (!same_settings) now.settings_since = stage_.world.now();
  // A step of the floor that was under way when the settings changed still goes by the old ones.
  const bool unchanged = same_settings && seen.windows_given_up == now.windows_given_up &&
                         stage_.world.now() - now.settings_since > Duration::seconds(60) &&
                         now.settings.on_full == group::OnFull::kStopWrites;
  const auto found = not_before_.find(now.floor.raw());
  // A start takes the newest timer value for the present: a clock that jumped before it ages what is older.
  // One that was set back ages what comes until it has caught up.
  const bool aged_by_jump = clock_went_back_ || (clock_jumped_ && found != not_before_.end() &&
                                                 machine.started_at() >= found->second);
  if (unchanged && !aged_by_jump && seen.floor != now.floor && found != not_before_.end()) {
    const Duration age_max = stage_.world.now() - found->second;
    if (age_max + allowance(age_max) < now.settings.retain) {
      return stage_.broken(Rule::kNeededIsKept,
                           machine.name() + ": the floor rose to log:" + now.floor.to_string() +
                               ", which is at most " + format_duration(age_max) + " old; retained are " +
                               format_duration(now.settings.retain));
    }
  }
  seen = now;
}

// History within the retention goes only when the node says so. Where nobody moved the retention or the
// clock.
void Watcher::look_at_shortening() {
  const group::Group* group = stage_.a.group();
  if (group == nullptr || stage_.options.weight(Step::kSettings) != 0 || clock_jumped_) return;
  const group::LocalRecord& local = group->local();
  const bool is_within =
      local.floor.sequence() > 0 && local.floor_timer > stage_.world.wall_now() - stage_.options.retain;
  if (!is_within || group->shortened_window().has_value()) return;
  stage_.broken(Rule::kNeededIsKept, stage_.a.name() + ": the floor, log:" + local.floor.to_string() +
                                         ", is within the retention, and nothing says so");
}

// The primary counts as received, and destages, only what the secondary holds durably.
void Watcher::look_at_pair() {
  const group::Group* primary = stage_.a.group();
  const group::Group* secondary = stage_.b.group();
  if (primary == nullptr || secondary == nullptr || primary->identity() != secondary->identity() ||
      !secondary->local().window_open || primary->local().peer_has.is_none() || replayed_) {
    return;
  }
  // While a resync over a gap is being agreed on, the primary only holds what will follow.
  const auto pair = stage_.a.node()->pairs().status(kGroup);
  if (!pair.has_value() || pair->record.needs_copy) return;
  for (const LogId id : {primary->local().peer_has, primary->local().destaged}) {
    // What came before that it never had, but it goes on there.
    if (secondary->state().epochs().is_ancestor(id, secondary->local().skipped_to)) continue;
    const bool durable = id.epoch() != secondary->live_epoch() || secondary->journal().durable() >= id ||
                         secondary->local().destaged.raw() >= id.raw();
    if (holds(*secondary, id) && durable) continue;
    return stage_.broken(Rule::kPeerHoldsAPrefix,
                         stage_.a.name() + " counts on log:" + id.to_string() + " at " + stage_.b.name() +
                             ", which holds up to log:" + secondary->journal().durable().to_string());
  }
}

}  // namespace tidemark::simulation

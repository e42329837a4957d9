#include "simulation/reader.h"

#include <algorithm>
#include <cstring>

namespace tidemark::simulation {
namespace {

constexpr std::size_t kViewsMax = 3;
// At the end of a long run not every point is read, but so many, evenly.
constexpr std::size_t kPointsComparedMax = 60;

bool same(const Image& whole, std::size_t volume, const Image& part) {
  return std::equal(part.begin(), part.end(),
                    whole.begin() + static_cast<std::ptrdiff_t>(volume * part.size()));
}

std::string first_difference(const Image& expected, const Image& seen) {
  for (std::size_t i = 0; i < std::min(expected.size(), seen.size()); ++i) {
    if (expected[i] == seen[i]) continue;
    const std::size_t halves = expected.size() / kVolumeCount;
    return std::string(kVolumes[i / halves]) + " block " + std::to_string(i % halves / kHalves) + " is " +
           std::to_string(seen[i]) + " instead of " + std::to_string(expected[i]);
  }
  return "the sizes differ";
}

// From the floor on everything can be read, on the live path and on every branch that was not released, but
// for gaps, which the watcher looks at. What was before the volumes were made shows none.
bool is_in_window(const group::Group& group, LogId at) {
  const index::EpochTree& epochs = group.state().epochs();
  const index::EpochInfo* info = epochs.find(at.epoch());
  return group.local().window_open && info != nullptr && at <= info->last &&
         (!info->released || epochs.is_ancestor(at, group.head())) &&
         epochs.is_ancestor(group.local().floor, at) && at != group.local().floor &&
         epochs.newest_whole(at, group.local().floor) == at &&
         group.state().shape_at(at).size() == kVolumeCount;
}

io::Task<void> look_again_and_again(Stage* stage, Machine* machine, std::string name, std::size_t volume,
                                    LogId at, std::shared_ptr<const Image> expected, std::uint64_t reads,
                                    Duration after) {
  const std::uint64_t windows_before = machine->windows_given_up;
  co_await stage->world.sleep_for(after);
  if (!machine->is_running()) co_return;
  // The point went with the window. Its log id may name another entry by now.
  if (machine->windows_given_up != windows_before) co_return;
  auto target = co_await machine->node()->open(name, "viewer");
  if (!target.ok()) co_return;
  for (; reads > 0; --reads) {
    const auto image = co_await read_target(target->get());
    if (!image.ok()) {
      // A view yields when space runs out, and says so.
      stage->say(machine->name() + " view " + name + ": " + image.error().message);
      const ErrorCode code = image.error().code;
      const group::Group* group = machine->group();
      const bool is_same = group != nullptr && machine->windows_given_up == windows_before;
      const bool never_yields = stage->options.weight(Step::kSettings) == 0 && is_same &&
                                group->local().settings.on_full == group::OnFull::kStopWrites;
      // It yields when the floor has passed it, and at no other time.
      const bool is_held = is_same && group->local().window_open &&
                           group->state().epochs().is_ancestor(group->local().floor, at);
      // Damage that was done to the disk is told.
      if (code == ErrorCode::kDamaged && stage->options.damages > 0) co_return;
      if ((code == ErrorCode::kExpired && (never_yields || is_held)) ||
          (code != ErrorCode::kExpired && code != ErrorCode::kIo && code != ErrorCode::kShutdown &&
           code != ErrorCode::kClosed)) {
        stage->broken(Rule::kNeededIsKept,
                      machine->name() + ": an open view, " + name + ": " + image.error().message);
      }
      co_return;
    }
    ++stage->outcome.counts.points_read;
    if (!same(*expected, volume, *image)) {
      // The copy began anew before it was opened: its log ids may name other entries by now.
      if (machine->windows_given_up != windows_before) co_return;
      stage->broken(Rule::kReadsMatchTheOrder,
                    machine->name() + ": an open view, " + name + ", shows something else");
      co_return;
    }
    co_await stage->world.sleep_for(
        Duration::milliseconds(static_cast<std::int64_t>(1 + reads * reads * 300)));
  }
}

}  // namespace

LogId Reader::draw_known_point() {
  // What went with a window that was given up is no point any more, though nobody may have looked since.
  for (Machine* machine : {&stage_.a, &stage_.b}) {
    if (!chronicle_.has_pending(*machine)) chronicle_.forget_if_given_up(*machine);
  }
  const auto& images = chronicle_.model.images();
  auto found = images.begin();
  // Rather a late one: the early ones expire.
  std::size_t at = stage_.draw(images.size());
  if (stage_.draw(2) == 0) at = std::max<std::size_t>(at, stage_.draw(images.size()));
  std::advance(found, static_cast<std::ptrdiff_t>(at));
  return LogId::from_raw(found->first);
}

bool Reader::is_older(const Image& expected, const Image& seen) const {
  for (std::size_t half = 0; half < expected.size(); ++half) {
    if (seen[half] == expected[half]) continue;
    const bool was_held = std::any_of(chronicle_.model.images().begin(), chronicle_.model.images().end(),
                                      [&](const auto& point) { return (*point.second)[half] == seen[half]; });
    if (!was_held) return false;
  }
  return true;
}

void Reader::check(Machine& machine, const std::string& name, LogId at, Damage damage) {
  const std::shared_ptr<const Image> expected = chronicle_.model.find(at);
  if (expected == nullptr || machine.group() == nullptr) return;
  const bool in_window = is_in_window(*machine.group(), at);
  const auto windows_before = machine.windows_given_up;
  const auto image = stage_.ask(machine, read_image(machine.node(), name));
  if (!image.has_value()) return;
  if (image->ok()) {
    ++stage_.outcome.counts.points_read;
    if (**image != *expected && !(damage == Damage::kOlderAllowed && is_older(*expected, **image))) {
      stage_.broken(damage == Damage::kNone ? Rule::kReadsMatchTheOrder : Rule::kDamageIsRefused,
                    machine.name() + " at " + name + " (log:" + at.to_string() +
                        "): " + first_difference(*expected, **image));
    }
    return;
  }
  const Error& error = image->error();
  stage_.say(machine.name() + " at " + name + ": " + error_code_name(error.code) + ", " + error.message);
  if (damage != Damage::kNone && (error.code == ErrorCode::kDamaged || error.code == ErrorCode::kIo)) return;
  // A group that an operation of its disk has stopped may not get as far as to read.
  if (machine.disk_may_fail && error.code == ErrorCode::kIo) return;
  // The copy began anew meanwhile.
  if (machine.windows_given_up != windows_before) return;
  const bool by_mark = name.find(':') == std::string::npos;
  switch (error.code) {
    case ErrorCode::kExpired:
    case ErrorCode::kNotReceived:
    case ErrorCode::kInGap:
    case ErrorCode::kNotFound:
      if (by_mark && error.code == ErrorCode::kNotFound) return;  // deleted meanwhile
      // The floor may have risen meanwhile, or a restore may have come.
      if (!in_window || machine.group() == nullptr || !is_in_window(*machine.group(), at)) return;
      break;
    case ErrorCode::kBusy:
      // A primary that has not heard its peer since the start lets who comes wait, but not for ever.
      if (stage_.options.pair && by_mark &&
          (&machine == &stage_.a ||
           (machine.group() != nullptr && machine.group()->local().role == group::Role::kPrimary))) {
        return;
      }
      // A resync over a gap may have begun meanwhile.
      if (machine.group() == nullptr || machine.group()->is_behind_gap()) return;
      break;
    default:
      break;
  }
  stage_.broken(Rule::kNeededIsKept, machine.name() + " at " + name + " (log:" + at.to_string() +
                                         "), which is in the window: " + error.message);
}

// Its clock goes evenly, and all that was asked of it has ended: what a host would have read now.
void Reader::note_moment() {
  const group::Group* group = stage_.a.group();
  if (group == nullptr || stage_.options.weight(Step::kClockJump) > 0) return;
  stage_.world.run_for(Duration::microseconds(1));
  // What a crash may still take is followed by others of the same names.
  if (stage_.a.group() != group || group->journal().durable() != group->head()) return;
  moments_.push_back({stage_.world.wall_now(), group->head()});
  stage_.world.run_for(Duration::microseconds(1));
}

void Reader::read_some_point(Machine* machine) {
  if (machine == nullptr) return;
  if (machine == &stage_.a && !moments_.empty() && stage_.draw(4) == 0) {
    const Moment& moment = moments_[stage_.draw(moments_.size())];
    return check(*machine, "time:" + format_time(moment.time), moment.head, Damage::kNone);
  }
  const auto& marks = chronicle_.model.marks;
  if (stage_.draw(3) == 0 && machine->group()->local().window_open) {
    // The live volumes; by a view where entries may arrive meanwhile.
    const LogId head = machine->group()->head();
    Machine& other = machine == &stage_.a ? stage_.b : stage_.a;
    const bool is_primary = machine == &stage_.a && machine->group()->local().role != group::Role::kSecondary;
    const bool still = !chronicle_.has_pending(other) && !chronicle_.has_pending(*machine) &&
                       (is_primary || (other.group() != nullptr && other.group()->head() == head));
    return check(*machine, still ? "head" : "log:" + head.to_string(), head, Damage::kNone);
  }
  if (stage_.draw(2) == 0 && !marks.empty()) {
    auto found = marks.begin();
    std::advance(found, static_cast<std::ptrdiff_t>(stage_.draw(marks.size())));
    const group::Mark* mark = machine->group()->state().find_mark(found->first);
    // Deleted, not received yet, or given in a branch that this node does not know.
    if (mark == nullptr) return;
    if (mark->at != found->second) {
      return stage_.broken(Rule::kMarkCoversTheOrder, machine->name() + ": mark " + found->first +
                                                          " is at log:" + mark->at.to_string() +
                                                          " instead of log:" + found->second.to_string());
    }
    return check(*machine, found->first, found->second, Damage::kNone);
  }
  const LogId at = draw_known_point();
  check(*machine, "log:" + at.to_string(), at, Damage::kNone);
}

void Reader::read_entry_data(Machine* machine) {
  if (machine == nullptr) return;
  const node::GroupHandle held = machine->hold_group();
  const group::Group& group = *held;
  const LogId at = draw_known_point();
  const std::shared_ptr<const Image> after = chronicle_.model.find(at);
  const std::shared_ptr<const Image> before = chronicle_.model.find(at.previous());
  if (before == nullptr || at.sequence() < 2) return;
  if (!group.check_readable(at).ok() || !group.check_readable(at.previous()).ok()) return;
  const std::size_t volume = stage_.draw(kVolumeCount);
  const auto shape = group.state().find_volume(kVolumes[volume], at);
  if (!shape.has_value() || !group.state().find_volume(kVolumes[volume], at.previous()).has_value()) return;
  const std::uint64_t block = stage_.draw(stage_.options.volume_blocks);
  const BlockRange blocks{block, block + 1};
  for (const bool is_before : {true, false}) {
    const auto data = stage_.ask(*machine, holding(held, held->entry_data(at, shape->id, blocks, is_before)));
    if (!data.has_value() || !data->ok()) continue;  // not of the entry's range
    std::uint32_t seen = 0;
    std::memcpy(&seen, (*data)->data(), sizeof seen);
    const std::uint32_t expected =
        (is_before ? *before : *after)[(volume * stage_.options.volume_blocks + block) * kHalves];
    ++stage_.outcome.counts.points_read;
    if (seen != expected) {
      return stage_.broken(Rule::kReadsMatchTheOrder,
                           machine->name() + ": " + kVolumes[volume] + " block " + std::to_string(block) +
                               (is_before ? " before" : " after") + " log:" + at.to_string() + " is " +
                               std::to_string(seen) + " instead of " + std::to_string(expected));
    }
  }
}

void Reader::open_view(Machine* machine) {
  if (machine == nullptr || machine->clients().running() >= kViewsMax) return;
  const LogId at = draw_known_point();
  const std::size_t volume = stage_.draw(kVolumeCount);
  const std::string name = std::string(kGroup) + "/" + kVolumes[volume] + "@log:" + at.to_string();
  const std::uint64_t reads = 1 + stage_.draw(6);
  const Duration after =
      Duration::microseconds(static_cast<std::int64_t>(stage_.draw(2) * stage_.draw(2000)));
  machine->clients().spawn(
      look_again_and_again(&stage_, machine, name, volume, at, chronicle_.model.find(at), reads, after));
}

void Reader::compare_all() {
  const auto& images = chronicle_.model.images();
  const std::size_t stride = 1 + images.size() / kPointsComparedMax;
  std::vector<LogId> points;
  std::size_t at = stage_.draw(stride);
  for (const auto& [raw, image] : images) {
    if (at++ % stride == 0) points.push_back(LogId::from_raw(raw));
  }
  for (Machine* machine : {&stage_.a, &stage_.b}) {
    if (machine->group() == nullptr || stage_.failed()) continue;
    points.push_back(machine->group()->head());
    for (const LogId point : points) check(*machine, "log:" + point.to_string(), point, Damage::kNone);
  }
}

}  // namespace tidemark::simulation

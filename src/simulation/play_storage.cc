// What happens to the disks of a machine that has RAID groups, and to machines of which a part is not there.

#include <algorithm>
#include <set>

#include "simulation/play.h"

namespace tidemark::simulation {
namespace {

// The pools that hold something of the group.
std::set<PoolNumber> pools_of(group::Group& group) {
  std::set<PoolNumber> pools;
  for (const group::GroupLogVolume& volume : group.log_volumes()) pools.insert(pool::pool_of(volume.number));
  for (const auto& [id, size_bytes] : group.state().sizes_max()) {
    if (const group::Volume* volume = group.find_volume(id); volume != nullptr) {
      pools.insert(pool::pool_of(volume->lu));
    }
  }
  return pools;
}

}  // namespace

// Runs on one part draw nothing for it.
std::size_t Play::draw_part(const Machine& machine) {
  return machine.part_count() == 1 ? 0 : draw(machine.part_count());
}

void Play::lose_member() {
  Machine& machine = any_machine();
  const std::size_t number = draw_part(machine);
  if (!machine.part(number).is_whole() || machine.disk_may_fail) return;
  const std::uint64_t first = draw(4);
  const std::uint64_t count = 1 + draw(machine.part(number).losses_tolerated());
  stage_.say(machine.name() + " loses " + std::to_string(count) + " of the disks of " +
             machine.part(number).name());
  if (draw(2) == 0) {
    for (std::uint64_t i = 0; i < count; ++i) {
      const auto replaced = stage_.ask(machine, machine.replace_member_task(number, first + i));
      if (!replaced.has_value() || (replaced->ok() && machine.part(number).has_taken(first + i))) continue;
      return stage_.broken(Rule::kRefusalsAreExpected,
                           machine.name() + ": disk replace: " +
                               (replaced->ok() ? machine.part(number).name() + " does not have the new one"
                                               : replaced->error().message));
    }
    return;
  }
  // With the power, and of several RAID groups at once.
  std::vector<std::size_t> with_it;
  for (std::size_t other = 0; other < machine.part_count(); ++other) {
    if (other != number && machine.part(other).is_whole() && draw(2) == 0) with_it.push_back(other);
  }
  stage_.crash(machine, true);
  for (std::uint64_t i = 0; i < count; ++i) machine.part(number).put_blank_disk(first + i);
  for (const std::size_t other : with_it) machine.part(other).put_blank_disk(first);
  bring_back(machine);
}

// Whoever looks at the node is told what is not there.
void Play::check_told(Machine& machine, const std::string& part) {
  const auto status = stage_.ask(machine, machine.node()->node_status({}));
  if (!status.has_value() || !status->ok()) return;
  const auto names_it = [&part](const control::Problem& problem) {
    return problem.text.find("RAID group " + part + " is not here") != std::string::npos;
  };
  if (std::ranges::any_of((*status)->problems, names_it)) return;
  stage_.broken(Rule::kNeededIsKept, machine.name() + " does not say that " + part + " is not here");
}

// Disks of one part are not there at a start: so many that their RAID group can do without them, or too many.
// Nothing is lost by it, and as long as it lasts a group is served of which nothing lies there, and no other.
void Play::pull_disks() {
  Machine& machine = any_machine();
  if (machine.group() == nullptr || machine.disk_may_fail || chronicle_.has_pending(machine)) return;
  if (machine.has_pulled_disks() || machine.misses_part()) return;
  const std::size_t number = draw_part(machine);
  const Part& part = machine.part(number);
  const bool can_do_without = part.is_whole() && draw(3) == 0;
  const std::size_t least = can_do_without ? 1 : part.losses_too_many();
  const std::size_t most = can_do_without ? part.losses_tolerated() : part.disk_count();
  const std::size_t count = least + draw(most - least + 1);
  const std::size_t first = draw(part.disk_count());
  std::vector<std::size_t> disks;
  for (std::size_t i = 0; i < count; ++i) disks.push_back((first + i) % part.disk_count());
  const bool is_needed = !can_do_without && pools_of(*machine.group()).contains(part.number());

  LogId head;
  if (draw(2) == 0) {
    const std::optional<LogId> stopped = stop_in_order(machine);
    if (!stopped.has_value()) return;
    head = *stopped;
  } else {
    stage_.crash(machine, draw(2) == 0);
  }
  stage_.say(machine.name() + " starts without " + std::to_string(count) + " of the disks of " + part.name());
  machine.power_on_without(number, std::move(disks));
  const auto started = stage_.ask(machine, machine.start_task());
  if (!started.has_value() || stage_.failed()) return;
  if (!started->ok()) {
    return stage_.broken(Rule::kRefusalsAreExpected, machine.name() + " does not start without " +
                                                         part.name() + ": " + started->error().message);
  }
  if (!can_do_without) check_told(machine, part.name());
  if (stage_.failed()) return;
  if (machine.group() != nullptr) {
    chronicle_.account(machine, machine.has_crashed, false);
    machine.has_crashed = false;
    check_head(machine, head);
  } else if (!is_needed && !machine.gave_up_window && !chronicle_.appended(machine).order.empty()) {
    return stage_.broken(Rule::kNeededIsKept, machine.name() + " does not serve its group without " +
                                                  part.name() + ", where nothing of it lies");
  } else {
    stage_.say(machine.name() + " does not serve its group");
  }
  if (stage_.failed() || draw(2) == 0) return;  // it lasts
  stage_.world.run_for(Duration::milliseconds(static_cast<std::int64_t>(draw(2000))));
  const bool was_served = machine.group() != nullptr;
  stage_.crash(machine, draw(2) == 0);
  bring_back(machine);
  if (!was_served && !stage_.failed()) check_head(machine, head);
}

// All disks of one part are gone for good, and others come in their place. What its group had there is gone,
// and then the whole group is; the next start goes by the runbook.
void Play::lose_part(Machine& machine, std::size_t number) {
  group::Group& group = *machine.group();
  LostPart& lost = lost_[&machine == &a() ? 0 : 1].emplace();
  lost.group = group.identity();
  lost.had_some = pools_of(group).contains(machine.part(number).number());
  lost.name = machine.part(number).name();
  if (machine.is_on()) stage_.crash(machine, true);
  stage_.say(machine.name() + " loses all disks of " + lost.name);
  machine.lose_part(number);
}

bool Play::may_lose_part(Machine& machine) const {
  const bool has_all = machine.group() != nullptr && !machine.misses_part() && !machine.has_pulled_disks();
  return stage_.options.has_several_parts() && has_all && !lost_[&machine == &stage_.a ? 0 : 1].has_value();
}

// A node has come up that had lost a part: it says so, and is told that the part does not come back. True
// when its group is gone with it.
bool Play::give_up_lost_part(Machine& machine) {
  std::optional<LostPart>& lost = lost_[&machine == &a() ? 0 : 1];
  if (!lost.has_value()) return false;
  for (const std::string& name : machine.lost_parts()) {
    check_told(machine, name);
    control::RaidForgetRequest forget;
    forget.name = name;
    if (!stage_.failed() && machine.is_running()) {
      tell(machine, "raid forget " + name, machine.node()->raid_forget(forget));
    }
  }
  const bool is_gone = lost->is_gone || (machine.is_running() && machine.group() == nullptr);
  if (is_gone && !lost->is_gone) {
    lost->is_gone = true;
    if (!lost->had_some) {
      stage_.broken(Rule::kNeededIsKept,
                    machine.name() + " has lost its group with " + lost->name + ", where nothing of it lay");
    }
    chronicle_.forget_writer(machine);
    if (&machine == &b()) watcher_.forget_second();
    machine.has_crashed = false;
  }
  if (stage_.failed() || !machine.is_running() || !machine.lost_parts().empty()) return is_gone;
  if (machine.group() == nullptr) {
    control::GroupDeleteRequest remove;
    remove.group = lost->group.to_string();
    remove.force = true;
    Error why{ErrorCode::kInvalid, std::string()};
    const bool done =
        tell(machine, "group delete of what is left", machine.node()->group_delete(remove), &why);
    if (!done && why.code != ErrorCode::kNotFound) return is_gone;
  }
  lost.reset();
  return is_gone;
}

// The end of a run on several parts: one of them goes, and what lay on the others is as it was.
void Play::lose_part_at_the_end() {
  Machine& machine = any_machine();
  if (!may_lose_part(machine) || !machine.group()->local().window_open) return;
  if (chronicle_.has_pending(machine)) return;
  const LogId head = machine.group()->journal().durable();
  lose_part(machine, draw_part(machine));
  start(machine);
  if (stage_.failed() || machine.group() == nullptr) return;
  check_head(machine, head);
  if (!stage_.failed()) reader_.compare_all();
}

// Where a machine that has several parts keeps its first group.
void Play::place(control::GroupCreateRequest& request) {
  const std::size_t count = a().part_count();
  if (count == 1) return;
  const std::size_t volumes = draw(count);
  request.raid = a().part(volumes).name();
  request.log_raid = a().part((volumes + 1 + draw(count - 1)) % count).name();
}

// What was asked for by name lies there.
void Play::check_placed(Machine& machine, LuNumber unit, const std::optional<std::string>& part) {
  if (!part.has_value()) return;
  for (std::size_t i = 0; i < machine.part_count(); ++i) {
    const Part& at = machine.part(i);
    if ((at.name() == part) == (at.number() == pool::pool_of(unit))) continue;
    return stage_.broken(Rule::kReadsMatchTheOrder, machine.name() + ": logical unit " +
                                                        std::to_string(unit.value) + " is not on " + *part);
  }
}

// Without it nothing of the group is left.
std::size_t Play::part_of_journal(Machine& machine) {
  std::size_t found = 0;
  while (machine.part(found).number() != pool::pool_of(machine.group()->log_volume())) ++found;
  return found;
}

}  // namespace tidemark::simulation

#include <algorithm>
#include <map>
#include <string>

#include "raid/group.h"
#include "raid/labels.h"

namespace tidemark::raid {

using format::RaidLabel;
using format::RaidMemberState;
using format::RaidState;

const char* disk_role_name(DiskRole role) {
  switch (role) {
    case DiskRole::kMember:
      return "member";
    case DiskRole::kSpare:
      return "spare";
    case DiskRole::kFailed:
      return "failed";
    case DiskRole::kRolledBack:
      return "rolled back";
    case DiskRole::kClone:
      return "clone";
    case DiskRole::kForeign:
      return "foreign";
    case DiskRole::kBlank:
      return "blank";
    case DiskRole::kUnusable:
      return "unusable";
  }
  return "";
}

// ---- Creation ----

io::Task<Result<RaidIdentity>> RaidGroup::create(io::Environment& environment, std::vector<NamedDisk> disks,
                                                 NodeIdentity node, RaidSpec spec) {
  if (spec.name.empty() || spec.name.size() > format::kRaidNameBytesMax) {
    co_return fail(ErrorCode::kInvalid, "the name of a RAID group has 1 to 64 bytes");
  }
  std::uint64_t least = UINT64_MAX;
  for (std::size_t i = 0; i < disks.size(); ++i) {
    least = std::min(least, disks[i].disk->size_bytes());
    for (std::size_t j = 0; j < i; ++j) {
      if (disks[i].disk == disks[j].disk)
        co_return fail(ErrorCode::kInvalid, disks[i].name + " is named twice");
    }
  }
  TM_CO_TRY_ASSIGN(const format::RaidShape shape,
                   format::make_raid_shape(spec.level, static_cast<std::uint32_t>(disks.size()),
                                           spec.unit_bytes, disks.empty() ? 0 : least));
  for (const NamedDisk& disk : disks) TM_CO_TRY(co_await check_blank(disk, 0));
  RaidLabel label;
  label.node = node;
  label.raid = spec.identity.is_zero() ? environment.random.identity<RaidIdentity>() : spec.identity;
  label.generation = 1;
  label.name = spec.name;
  label.shape = shape;
  // All members hold zeroes, whose parity is zeroes; and a state, a map and a journal of nothing.
  std::vector<Member> members;
  for (NamedDisk& disk : disks) {
    TM_CO_TRY(co_await wipe(disk, shape, true));
    Member& member = members.emplace_back();
    member.disk = disk;
    member.record.disk = environment.random.identity<DiskIdentity>();
  }
  const Geometry geometry(shape);
  MemberSet set(environment, label.raid, label.name, geometry, members);
  set.set_clean(true);
  set.changed();
  StripeJournal journal(set);
  IntentMap intents(set);
  TM_CO_TRY(co_await set.settle());
  TM_CO_TRY(co_await intents.write_all());
  if (geometry.has_parity()) TM_CO_TRY(co_await journal.write_begin());
  for (std::uint32_t i = 0; i < set.count(); ++i) {
    if (set.all()[i].in_sync()) continue;
    co_return fail(ErrorCode::kIo, "no RAID group is made: " + set.describe(i) + ": " + set.all()[i].failure);
  }
  // The labels make the group, so they come last.
  for (std::uint32_t i = 0; i < disks.size(); ++i) {
    label.disk = members[i].record.disk;
    label.index = static_cast<std::uint16_t>(i);
    label.size_bytes = disks[i].disk->size_bytes();
    TM_CO_TRY(co_await save_label(disks[i], label));
  }
  co_return label.raid;
}

// ---- Assembly ----

namespace {

// A disk that says it is of the group.
struct Candidate {
  std::size_t report = 0;
  NamedDisk disk;
  RaidLabel label;
  std::optional<RaidState> state;
};

void describe(DiskReport* report, DiskRole role, std::string explanation) {
  report->role = role;
  report->explanation = report->name + " " + std::move(explanation);
}

// Whether the disk is one that the group may look at; the report is filled either way.
bool is_candidate(const Result<RaidLabel>& label, NodeIdentity node, RaidIdentity raid,
                  std::uint64_t size_bytes, DiskReport* report) {
  if (!label.ok()) {
    const bool is_blank = label.error().code == ErrorCode::kNotFound;
    describe(report, is_blank ? DiskRole::kBlank : DiskRole::kUnusable,
             is_blank
                 ? "is blank: it can become a spare or replace a member"
                 : "has no RAID label that can be read: " + label.error().message +
                       "; if it should be a member, look at the disk, else take it out of the configuration");
    return false;
  }
  report->disk = label->disk;
  if (label->raid != raid) {
    describe(
        report, DiskRole::kForeign,
        "belongs to RAID group '" + label->name + "' (" + label->raid.to_string() + "); it is left alone");
    return false;
  }
  if (label->node != node) {
    describe(report, DiskRole::kForeign,
             "belongs to node " + label->node.to_string() + ", this is node " + node.to_string() +
                 "; it is left alone");
    return false;
  }
  if (label->index != format::kRaidSpareIndex) report->index = label->index;
  if (size_bytes < label->size_bytes) {
    describe(report, DiskRole::kUnusable,
             "shrank: it has " + std::to_string(size_bytes) + " bytes and had " +
                 std::to_string(label->size_bytes) +
                 " when it was labelled; give it its size back, or replace it");
    return false;
  }
  return true;
}

Result<void> refuse_clones(const std::vector<Candidate>& candidates, std::vector<DiskReport>* reports) {
  Result<void> answer;
  for (const Candidate& a : candidates) {
    for (const Candidate& b : candidates) {
      if (a.report == b.report || a.label.disk != b.label.disk) continue;
      describe(&(*reports)[a.report], DiskRole::kClone,
               "and " + b.disk.name + " carry the same identity " + a.label.disk.to_string() +
                   ": one is a copy of the other; take the copy away and start again");
      answer = fail(ErrorCode::kRefused, (*reports)[a.report].explanation);
    }
  }
  return answer;
}

// A disk that the group failed and that itself says the group's newest disk failed: both went on alone.
Result<void> refuse_forks(const Candidate& newest, const std::vector<Candidate>& candidates,
                          std::vector<DiskReport>* reports) {
  const auto record_of = [](const RaidState& state, DiskIdentity disk) -> const format::RaidMemberRecord* {
    const auto found = std::ranges::find(state.members, disk, &format::RaidMemberRecord::disk);
    return found == state.members.end() ? nullptr : &*found;
  };
  for (const Candidate& other : candidates) {
    if (!other.state.has_value() || other.report == newest.report) continue;
    const auto* there = record_of(*newest.state, other.label.disk);
    const auto* back = record_of(*other.state, newest.label.disk);
    if (there == nullptr || back == nullptr || there->state != RaidMemberState::kFailed ||
        back->state != RaidMemberState::kFailed) {
      continue;
    }
    describe(
        &(*reports)[other.report], DiskRole::kFailed,
        "and " + newest.disk.name +
            " each went on without the other: both may hold what was acknowledged; take away the one that is "
            "to be given up and start again");
    return fail(ErrorCode::kRefused, (*reports)[other.report].explanation);
  }
  return {};
}

// The members as the newest state has them, with the disks that may be used.
std::vector<Member> choose_members(const RaidState& state, const std::vector<Candidate>& candidates,
                                   std::vector<DiskReport>* reports) {
  std::vector<Member> members;
  for (std::uint32_t i = 0; i < state.members.size(); ++i) {
    Member& member = members.emplace_back();
    member.record = state.members[i];
    const auto found = std::ranges::find_if(candidates, [&member](const Candidate& candidate) {
      return candidate.label.disk == member.record.disk;
    });
    const bool was_failed = member.record.state == RaidMemberState::kFailed;
    if (was_failed) member.failure = "failed out earlier";
    if (found == candidates.end()) {
      if (!was_failed) member.failure = "its disk " + member.record.disk.to_string() + " is missing";
    } else {
      DiskReport& report = (*reports)[found->report];
      report.index = i;
      member.disk.name = found->disk.name;
      if (was_failed) {
        describe(
            &report, DiskRole::kFailed,
            "was failed out of the group as member " + std::to_string(i) + " and is not used; replace it");
      } else if (!found->state.has_value()) {
        describe(&report, DiskRole::kUnusable,
                 "has no state of the group that can be read; it is not used as member " + std::to_string(i) +
                     "; replace it");
        member.failure = report.explanation;
      } else if (found->state->event < state.settled) {
        describe(&report, DiskRole::kRolledBack,
                 "holds an old state of the group (event " + std::to_string(found->state->event) +
                     ", the group is at " + std::to_string(state.event) +
                     "): it is an old copy, or was away while the group went on; it is not used as member " +
                     std::to_string(i) + "; replace it");
        member.failure = report.explanation;
      } else {
        report.role = DiskRole::kMember;
        member.disk = found->disk;
        member.rebuilt_now = member.record.rebuilt_bytes;
      }
    }
    if (member.disk.disk == nullptr) {
      member.record.state = RaidMemberState::kFailed;
      member.record.rebuilt_bytes = 0;
    }
  }
  return members;
}

std::vector<NamedDisk> choose_spares(const RaidState& state, const std::vector<Candidate>& candidates,
                                     std::vector<DiskReport>* reports) {
  std::vector<NamedDisk> spares;
  for (const Candidate& candidate : candidates) {
    const bool is_known = std::ranges::find(state.members, candidate.label.disk,
                                            &format::RaidMemberRecord::disk) != state.members.end();
    if (is_known) continue;
    DiskReport& report = (*reports)[candidate.report];
    // One that was about to take a member's place has its index and no state yet.
    if (candidate.label.index != format::kRaidSpareIndex && candidate.state.has_value()) {
      describe(
          &report, DiskRole::kFailed,
          "was member " + std::to_string(candidate.label.index) + " once; another disk has its place now");
      continue;
    }
    report.role = DiskRole::kSpare;
    report.index.reset();
    spares.push_back(candidate.disk);
  }
  return spares;
}

}  // namespace

io::Task<Assembly> RaidGroup::assemble(io::Environment& environment, std::vector<NamedDisk> disks,
                                       NodeIdentity node, RaidIdentity raid, RaidOptions options) {
  Assembly assembly;
  std::vector<Candidate> candidates;
  std::string why = "none of the disks is one of its members";
  for (const NamedDisk& disk : disks) {
    const auto label = co_await RaidGroup::inspect(*disk.disk);
    DiskReport& report = assembly.disks.emplace_back();
    report.raid = raid;
    report.name = disk.name;
    if (!is_candidate(label, node, raid, disk.disk->size_bytes(), &report)) {
      if (label.ok() && label->raid == raid) why = report.explanation;
      continue;
    }
    Candidate& candidate = candidates.emplace_back();
    candidate.report = assembly.disks.size() - 1;
    candidate.disk = disk;
    candidate.label = *label;
    auto state = co_await load_state(disk, *label);
    if (state.ok()) candidate.state = std::move(state).value();
  }
  const auto refused = refuse_clones(candidates, &assembly.disks);
  if (!refused.ok()) {
    assembly.group = refused.error();
    co_return std::move(assembly);
  }
  const Candidate* newest = nullptr;
  for (const Candidate& candidate : candidates) {
    if (!candidate.state.has_value()) continue;
    const auto age = [](const Candidate& c) { return std::pair(c.state->event, c.state->settled); };
    if (newest == nullptr || age(*newest) < age(candidate)) newest = &candidate;
  }
  if (newest == nullptr || newest->state->members.size() != newest->label.shape.member_count) {
    assembly.group = fail(ErrorCode::kNotFound, "RAID group " + raid.to_string() + " is not found: " + why);
    co_return std::move(assembly);
  }
  const auto forked = refuse_forks(*newest, candidates, &assembly.disks);
  if (!forked.ok()) {
    assembly.group = forked.error();
    co_return std::move(assembly);
  }
  std::vector<Member> members = choose_members(*newest->state, candidates, &assembly.disks);
  std::vector<NamedDisk> spares = choose_spares(*newest->state, candidates, &assembly.disks);
  const Geometry geometry(newest->label.shape);
  const MemberSet set(environment, raid, newest->label.name, geometry, members);
  if (!set.is_complete()) {
    assembly.group = fail(
        ErrorCode::kIo, "RAID group '" + newest->label.name + "' (" + level_name(newest->label.shape.level) +
                            " of " + std::to_string(members.size()) +
                            " disks) lacks more members than it can do without: " + set.describe_failed() +
                            "; bring the missing disks back");
    co_return std::move(assembly);
  }
  // A power cut in the middle of a change may have torn copy 1 of the states, and the start begins with a
  // change of copy 0: the next cut could leave neither. Who cannot be written to is failed out by that
  // change.
  for (const Member& member : members) {
    if (member.disk.disk != nullptr) (void)co_await mend_state(member.disk, newest->label);
  }
  auto group = std::make_unique<Group>(environment, newest->label, node, std::move(members),
                                       std::move(spares), options);
  const auto started = co_await group->start(newest->state->event, newest->state->settled);
  if (started.ok()) {
    assembly.group = std::unique_ptr<RaidGroup>(std::move(group));
  } else {
    assembly.group = started.error();
  }
  co_return std::move(assembly);
}

}  // namespace tidemark::raid

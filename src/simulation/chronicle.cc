#include "simulation/chronicle.h"

#include <algorithm>

#include "format/records.h"

namespace tidemark::simulation {
namespace {

constexpr std::size_t kEntriesMax = 100'000;

// Which volume an entry names; kVolumeCount when it is none of ours.
std::size_t volume_number(const group::Group& group, VolumeId id) {
  for (std::size_t i = 0; i < kVolumeCount; ++i) {
    const auto shape = group.state().find_volume(kVolumes[i], group.head());
    if (shape.has_value() && shape->id == id) return i;
  }
  return kVolumeCount;
}

// What makes everything before it durable when it is acknowledged.
bool settles(const Request& request) {
  return request.fua || request.kind == Request::Kind::kFlush || request.kind == Request::Kind::kMark ||
         request.kind == Request::Kind::kRestore;
}

bool flushes(const Request& request) {
  return request.fua || request.kind == Request::Kind::kFlush;
}

}  // namespace

Chronicle::Chronicle(Stage& stage) : model(kVolumeCount * stage.options.volume_blocks), stage_(stage) {
  model.add(LogId(Epoch{1}, 0), model.blank());
}

void Chronicle::adopt(const Chronicle& other) {
  model = other.model;
  for (std::size_t i = 0; i < std::size(sides_); ++i) sides_[i] = other.sides_[i];
  filling_ = other.filling_;
}

void Chronicle::add(const Machine& writer, Requests requests) {
  Side& at = side(writer);
  at.pending = std::move(requests);
  at.known_before = at.appended.order.size();
}

// The way from the head towards the root, up to what the model has.
std::optional<LogId> Chronicle::newest_known(const group::Group& group) {
  LogId at = group.head();
  while (model.find(at) == nullptr) {
    if (at.sequence() > 1) {
      at = at.previous();
      continue;
    }
    const index::EpochInfo* info = group.state().epochs().find(at.epoch());
    if (info == nullptr || info->parent.is_none()) return std::nullopt;
    at = info->parent;
  }
  return at;
}

void Chronicle::forget_if_given_up(Machine& holder) {
  const std::vector<LogId>& own = side(holder).appended.order;
  if (!holder.gave_up_window || holder.group() == nullptr) return;
  if (!own.empty() && holder.group()->state().epochs().find(own.back().epoch()) != nullptr) return;
  forget_writer(holder);
  holder.gave_up_window = false;
}

void Chronicle::learn(Machine& holder) {
  forget_if_given_up(holder);
  group::Group* group = holder.group();
  if (group == nullptr) return;
  const std::optional<LogId> known = newest_known(*group);
  if (!known.has_value()) {
    return stage_.broken(Rule::kReadsMatchTheOrder, holder.name() + ": the way to the head, log:" +
                                                        group->head().to_string() + ", meets no known entry");
  }
  learn_after(holder, *known, group->head());
  learn_own(holder);
}

void Chronicle::learn_own(Machine& holder) {
  const group::Group* group = holder.group();
  const std::vector<LogId>& own = side(holder).appended.order;
  if (group == nullptr || own.empty() || stage_.failed()) return;
  const index::EpochInfo* info = group->state().epochs().find(own.back().epoch());
  if (info != nullptr && info->last > own.back()) learn_after(holder, own.back(), info->last);
}

void Chronicle::learn_after(Machine& holder, LogId known, LogId end) {
  if (known == end || !wait_until_durable(holder, end)) return;
  const auto shown =
      stage_.ask(holder, holding(holder.hold_group(), holder.group()->show_entries(known, kEntriesMax)));
  if (!shown.has_value()) return;
  if (!shown->ok()) {
    // A secondary has never had what came before its window or in a gap, and can show nothing in its first
    // copy.
    const group::Group* now = holder.group();
    const ErrorCode code = shown->error().code;
    const bool in_gap = now != nullptr && code == ErrorCode::kInGap &&
                        !(now->local().skipped_to.is_none() && now->local().window_start.is_none() &&
                          now->local().window_open);
    const bool below = now != nullptr && code == ErrorCode::kNotFound &&
                       !now->local().window_start.is_none() &&
                       !now->state().epochs().is_ancestor(now->local().floor, known);
    if (holder.disk_may_fail || in_gap || below) return;
    if (code == ErrorCode::kExpired && now != nullptr && !has_pending(holder) &&
        !now->state().epochs().is_ancestor(now->local().floor, known)) {
      // The node's own doing, which changes nothing, is below the floor by now.
      model.add(end, model.find(known));
      side(holder).appended.order.push_back(end);
      return;
    }
    return stage_.broken(Rule::kNeededIsKept, holder.name() + " cannot show its newest entries, after log:" +
                                                  known.to_string() + ": " + shown->error().message);
  }
  if (holder.group() == nullptr) return;
  // What an epoch begins with comes after the entry that it left.
  LogId previous = known;
  if (known.sequence() == 0) previous = holder.group()->state().epochs().find(known.epoch())->parent;
  for (const group::ShownEntry& entry : **shown) {
    if (previous == end) break;  // what has come since, by the node's own doing
    if (model.find(entry.id) != nullptr) {
      previous = entry.id;  // the node was turned meanwhile, to where the other one is already
      continue;
    }
    record(*holder.group(), entry, previous);
    if (stage_.failed()) return;
    previous = entry.id;
  }
  // A group that was turned meanwhile shows of the branch that it left only the epoch that it is asked for.
  const index::EpochInfo* last = holder.group()->state().epochs().find(end.epoch());
  const LogId begin(end.epoch(), 0);
  const bool turned = !holder.group()->state().epochs().is_ancestor(end, holder.group()->head());
  if (previous != end && turned && known != begin && last != nullptr && last->parent == previous) {
    return learn_after(holder, begin, end);
  }
  // A restore from the other node was gone back from, and nobody reads what had come by then.
  if (previous != end && turned && last != nullptr && last->reason == format::EpochReason::kRefill) return;
  if (previous != end) {
    stage_.broken(Rule::kReadsMatchTheOrder, holder.name() + ": the log ends at log:" + previous.to_string() +
                                                 " instead of log:" + end.to_string());
  }
}

// The log shows what is durable, and no more.
bool Chronicle::wait_until_durable(Machine& holder, LogId end) {
  const node::GroupHandle held = holder.hold_group();
  const group::Group& group = *held;
  // What is not of the live epoch was left behind by an entry that is durable, or will be in a moment.
  const auto is_durable = [&, end] {
    const LogId durable = group.journal().durable();
    return (end.epoch() != group.live_epoch() && end.epoch() != durable.epoch()) || durable >= end ||
           end == group.local().skipped_to || end == group.local().destaged || group.failure().has_value() ||
           holder.group() != held.get();
  };
  if (!stage_.wait_for(is_durable, Duration::seconds(120)) && !stage_.failed()) {
    stage_.broken(Rule::kEndsInTime, holder.name() + ": log:" + end.to_string() + " does not become durable");
  }
  return !stage_.failed() && !group.failure().has_value() && holder.group() == held.get();
}

// One request, alone and acknowledged, has the one entry that is new: nobody need look.
bool Chronicle::record_alone(const group::Group& group, Side& from) {
  if (from.pending.size() != 1 || !from.pending.front()->acknowledged()) return false;
  Issued& issued = *from.pending.front();
  if (!issued.id.is_none()) return false;  // known already; what is new is something else
  const LogId previous = group.head().previous();
  const std::shared_ptr<const Image> image = model.find(previous);
  if (!issued.request.has_blocks() || image == nullptr || model.find(group.head()) != nullptr ||
      author(group.head()).appended.order.empty() || &author(group.head()) != &from) {
    return false;
  }
  issued.id = group.head();
  issued.position = from.appended.order.size();
  stage_.say("log:" + issued.id.to_string() + " " + issued.request.to_string() + ", as it seems");
  model.add(issued.id,
            std::make_shared<Image>(issued.request.applied_to(*image, stage_.options.volume_blocks)));
  from.appended.order.push_back(issued.id);
  return true;
}

void Chronicle::record(const group::Group& group, const group::ShownEntry& shown, LogId previous) {
  Side& from = author(shown.id);
  std::shared_ptr<const Image> image = model.find(previous);
  LogId expected = previous.next();
  std::string what;
  // Older than what is known of its writer: what that one could not show any more, and the other still can;
  // or what it has left by itself, as the epoch of a restore from the other node that failed. It was not
  // asked for by what is pending.
  const std::vector<LogId>& order = from.appended.order;
  const bool is_older = !order.empty() && shown.id < order.back();
  const std::shared_ptr<Issued> issued = is_older ? nullptr : match(from, group, shown, image.get());
  if (issued != nullptr) {
    issued->id = shown.id;
    issued->position = from.appended.order.size();
    what = issued->request.to_string();
  }
  if (shown.entry.kind == format::EntryKind::kControl) {
    const auto record = format::decode_control(shown.entry.body);
    if (!record.ok()) return stage_.broken(Rule::kReadsMatchTheOrder, record.error().message);
    if (const auto* opened = std::get_if<format::EpochOpened>(&*record)) {
      image = model.find(opened->parent);
      expected = LogId(shown.id.epoch(), 1);
      what.append(" epoch after log:").append(opened->parent.to_string());
      if (opened->reason == format::EpochReason::kRefill) filling_.insert(shown.id.epoch());
    } else if (const auto* filled = std::get_if<format::RefillDone>(&*record)) {
      image = model.find(filled->point);
      what = "filled as of log:" + filled->point.to_string();
      filling_.erase(shown.id.epoch());
    }
    if (what.empty()) what = "control";
  } else if (issued == nullptr && filling_.contains(shown.id.epoch())) {
    what = "from the other node";
  } else if (issued == nullptr && is_written_again(group, shown, image.get())) {
    what = "written again";
  } else if (issued == nullptr) {
    return stage_.broken(Rule::kReadsMatchTheOrder,
                         "log:" + shown.id.to_string() + " is an entry that nobody asked for");
  } else if (issued != nullptr && issued->request.has_blocks()) {
    image = std::make_shared<Image>(issued->request.applied_to(*image, stage_.options.volume_blocks));
  } else if (issued != nullptr && issued->request.kind == Request::Kind::kMark) {
    model.marks[issued->request.text] = shown.id;
  }
  if (shown.id != expected || image == nullptr) {
    return stage_.broken(Rule::kReadsMatchTheOrder,
                         "log:" + shown.id.to_string() + " follows log:" + previous.to_string());
  }
  stage_.say("log:" + shown.id.to_string() + " " + what);
  model.add(shown.id, std::move(image));
  if (!is_older) from.appended.order.push_back(shown.id);
}

// For a secondary that goes on behind a gap: the blocks are what they were.
bool Chronicle::is_written_again(const group::Group& group, const group::ShownEntry& shown,
                                 const Image* before) const {
  const format::Entry& entry = shown.entry;
  const std::size_t volume = volume_number(group, entry.volume);
  return before != nullptr && volume != kVolumeCount && entry.kind != format::EntryKind::kMark &&
         shows(*before, volume, stage_.options.volume_blocks, entry.blocks, entry.checksums);
}

std::shared_ptr<Issued> Chronicle::match(Side& from, const group::Group& group,
                                         const group::ShownEntry& shown, const Image* before) {
  const format::Entry& entry = shown.entry;
  const auto is_its_content = [&](const Request& request) {
    return before == nullptr ||
           shows(request.applied_to(*before, stage_.options.volume_blocks), request.volume,
                 stage_.options.volume_blocks, entry.blocks, entry.checksums);
  };
  const auto fits = [&](const Issued& issued) {
    const Request& request = issued.request;
    if (!issued.id.is_none()) return false;
    switch (entry.kind) {
      case format::EntryKind::kWrite:
        return request.kind == Request::Kind::kWrite && request.blocks == entry.blocks &&
               request.volume == volume_number(group, entry.volume) && is_its_content(request);
      case format::EntryKind::kZero:
      case format::EntryKind::kDiscard:
        return (request.kind == Request::Kind::kTrim || request.kind == Request::Kind::kWriteZeroes) &&
               request.blocks == entry.blocks && request.volume == volume_number(group, entry.volume);
      case format::EntryKind::kMark: {
        const auto mark = format::decode_mark(entry.body);
        return request.kind == Request::Kind::kMark && mark.ok() && mark->id == request.text;
      }
      case format::EntryKind::kControl: {
        const auto record = format::decode_control(entry.body);
        return request.kind == Request::Kind::kRestore && record.ok() &&
               std::holds_alternative<format::EpochOpened>(*record);
      }
    }
    return false;
  };
  for (const std::shared_ptr<Issued>& issued : from.pending) {
    if (fits(*issued)) return issued;
  }
  return nullptr;
}

void Chronicle::account(Machine& writer, bool crashed, bool lossy) {
  Side& at = side(writer);
  if (writer.group() == nullptr || stage_.failed()) return;
  // What a group that stopped has on disk is seen when it is opened again.
  if (writer.group()->failure().has_value()) return;
  // A FLUSH and its like cover all that was in the order before these requests.
  const bool settled = std::any_of(at.pending.begin(), at.pending.end(), [](const auto& issued) {
    return issued->acknowledged() && settles(issued->request);
  });
  const bool flushed = std::any_of(at.pending.begin(), at.pending.end(), [](const auto& issued) {
    return issued->acknowledged() && flushes(issued->request);
  });
  const std::size_t known_before = std::min(at.known_before, at.appended.order.size());
  if (settled && !lossy) at.appended.durable_count = std::max(at.appended.durable_count, known_before);
  if (flushed && !lossy) at.appended.flushed_count = std::max(at.appended.flushed_count, known_before);
  if (crashed || !record_alone(*writer.group(), at)) learn(writer);
  if (stage_.failed() || writer.group() == nullptr || writer.group()->failure().has_value()) return;
  // Its disk failed just now; a restart is to come.
  if (model.find(writer.group()->head()) == nullptr) return;
  if (crashed) cut_what_a_crash_took(writer, lossy);
  check_order(at.pending);
  for (const std::shared_ptr<Issued>& issued : at.pending) {
    const bool lost = issued->id.is_none() || !at.appended.position(issued->id).has_value();
    if (!issued->acknowledged() || issued->request.kind == Request::Kind::kFlush) continue;
    if (!lost) {
      if (settles(issued->request) && !lossy) {
        at.appended.durable_count = std::max(at.appended.durable_count, issued->position + 1);
      }
      if (flushes(issued->request) && !lossy) {
        at.appended.flushed_count = std::max(at.appended.flushed_count, issued->position + 1);
      }
    } else if (!crashed) {
      stage_.broken(Rule::kNoFalseAcknowledge, writer.name() + ": " + issued->request.to_string() +
                                                   " was acknowledged and is not in the order");
    } else if (settles(issued->request) && !lossy) {
      stage_.broken(Rule::kFlushedSurvives,
                    writer.name() + ": " + issued->request.to_string() + " was acknowledged and is lost");
    }
  }
  for (const std::shared_ptr<Issued>& flush : at.pending) {
    if (flush->request.kind != Request::Kind::kFlush || !flush->acknowledged() || lossy) continue;
    for (const std::shared_ptr<Issued>& before : at.pending) {
      if (!before->acknowledged() || before->ended_at > flush->issued_at || !before->request.has_blocks())
        continue;
      if (before->id.is_none()) {
        stage_.broken(Rule::kFlushedSurvives, writer.name() + ": " + before->request.to_string() +
                                                  " was acknowledged, then flushed, and is lost");
      } else {
        at.appended.durable_count = std::max(at.appended.durable_count, before->position + 1);
        at.appended.flushed_count = std::max(at.appended.flushed_count, before->position + 1);
      }
    }
  }
  at.pending.clear();
}

std::optional<std::string> Chronicle::flushed_missing(const Machine& writer,
                                                      const group::Group& other) const {
  const Side& at = side(writer);
  const auto holds = [&other](LogId id) {
    const index::EpochInfo* info = other.state().epochs().find(id.epoch());
    if (info == nullptr) return false;
    // What lies in a gap behind which all is whole is there without its entry; a branch that was left before
    // the gap ended is not.
    const index::EpochTree& epochs = other.state().epochs();
    const bool in_gap =
        !other.local().skipped_to.is_none() &&
        (epochs.is_ancestor(id, other.takeover_point()) || !epochs.is_ancestor(id, other.head()));
    return id.sequence() <= info->last.sequence() || in_gap;
  };
  const std::vector<LogId>& order = at.appended.order;
  const std::size_t count = std::min(at.appended.flushed_count, order.size());
  if (count > 0 && !holds(order[count - 1])) return "log:" + order[count - 1].to_string();
  for (const std::shared_ptr<Issued>& flush : at.pending) {
    if (!flush->acknowledged() || !flushes(flush->request)) continue;
    for (const std::shared_ptr<Issued>& one : at.pending) {
      const bool covered = one == flush || (one->acknowledged() && one->ended_at < flush->issued_at);
      if (!covered || !one->request.has_blocks()) continue;
      if (one->id.is_none() || !holds(one->id)) return one->request.to_string();
    }
  }
  return std::nullopt;
}

void Chronicle::cut_what_a_crash_took(Machine& writer, bool lossy) {
  Appended& at = side(writer).appended;
  const LogId head = writer.group()->head();
  // A secondary that follows has a head that the other node wrote: of its own entries it lost none then.
  const std::optional<std::size_t> position = at.position(head);
  if (!position.has_value()) return;
  std::size_t kept = *position + 1;
  // One that was turned to follow, and has nothing of the other one's yet, has an entry of its own as its
  // head. What it wrote after that is a branch.
  const auto is_there = [&writer](LogId id) {
    const index::EpochInfo* info = writer.group()->state().epochs().find(id.epoch());
    return info != nullptr && id <= info->last;
  };
  if (writer.group()->local().role == group::Role::kSecondary) {
    std::size_t count = at.order.size();
    while (count > kept && !is_there(at.order[count - 1])) --count;
    kept = count;
  }
  if (kept < at.durable_count && !lossy) {
    return stage_.broken(Rule::kFlushedSurvives,
                         writer.name() + " came back at log:" + head.to_string() +
                             ", but log:" + at.order[at.durable_count - 1].to_string() + " was durable");
  }
  for (std::size_t i = kept; i < at.order.size(); ++i) model.forget(at.order[i]);
  if (kept < at.order.size()) {
    stage_.say(writer.name() + " lost " + std::to_string(at.order.size() - kept) +
               " entries after log:" + head.to_string());
  }
  at.order.resize(kept);
  at.durable_count = std::min(at.durable_count, at.order.size());
  at.flushed_count = std::min(at.flushed_count, at.order.size());
}

// What ended before another was asked for comes before it; and nothing is missing between.
void Chronicle::check_order(const Requests& requests) {
  for (const std::shared_ptr<Issued>& first : requests) {
    if (!first->acknowledged() || first->request.kind == Request::Kind::kFlush) continue;
    for (const std::shared_ptr<Issued>& second : requests) {
      if (second->issued_at < first->ended_at || second->id.is_none()) continue;
      const bool is_mark =
          first->request.kind == Request::Kind::kMark || second->request.kind == Request::Kind::kMark;
      if (first->id.is_none()) {
        stage_.broken(Rule::kCrashLeavesAPrefix, first->request.to_string() + " is lost, " +
                                                     second->request.to_string() +
                                                     ", which came later, is not");
      } else if (first->position > second->position) {
        stage_.broken(is_mark ? Rule::kMarkCoversTheOrder : Rule::kReadsMatchTheOrder,
                      first->request.to_string() + " had been acknowledged, yet it comes after " +
                          second->request.to_string());
      }
    }
  }
}

void Chronicle::lose_writer(const Machine& writer, const group::Group& other) {
  // An epoch that went over in part was left where it ends there; those that grew out of what is lost are not
  // there at all.
  for (const LogId id : side(writer).appended.order) {
    const index::EpochInfo* info = other.state().epochs().find(id.epoch());
    if (info == nullptr || id > info->last) model.forget(id);
  }
  side(writer) = Side();
}

void Chronicle::forget_writer(const Machine& writer) {
  Side& at = side(writer);
  for (const LogId id : at.appended.order) model.forget(id);
  at = Side();
}

}  // namespace tidemark::simulation

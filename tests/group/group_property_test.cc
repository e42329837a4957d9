// A group on a simulated disk against a model that keeps every volume's whole contents at every point of the
// order: random requests, crashes and restarts; every point on every branch is what the model says, or is
// refused with the right reason. A failing seed is printed.

#include "group_bench.h"
#include "group_model.h"
#include "rounds.h"

namespace tidemark::group {
namespace {

using Point = GroupModel::Point;
using MarkChange = GroupModel::Point::MarkChange;

constexpr std::size_t kVolumesMaxHere = 3;

struct StoryOptions {
  std::uint64_t blocks_max = 64;
  bool big_writes = false;
  std::uint64_t index_damage_one_in = 0;  // look-ups
};

// What happens to one group over its lives. The model learns of an entry just before it is asked for, so that
// whatever of it a crash leaves is known.
class Story {
 public:
  Story(GroupBench& bench, std::uint64_t seed, StoryOptions options)
      : bench_(bench), options_(options), random_(seed) {
    model_.push({.id = LogId(Epoch{1}, 1), .epoch_parent = LogId(Epoch{1}, 0)});
    model_.durable = 1;
  }

  GroupModel& model() { return model_; }
  sim::SeededRandom& random() { return random_; }
  void forget_views() { views_.clear(); }

  // `count` steps; for ever when it is 0.
  io::Task<void> go_on(std::uint64_t count) {
    for (std::uint64_t step = 0; (count == 0 || step < count) && !::testing::Test::HasFailure(); ++step) {
      co_await one_step();
      check_invariants();
    }
  }
  io::Task<void> end_views() {
    while (!views_.empty()) co_await close_view();
  }

  // After a crash, or an orderly restart that loses nothing.
  void after_restart(bool orderly) {
    const LogId head = group().head();
    const std::optional<std::size_t> position = model_.position(head);
    ASSERT_TRUE(position.has_value()) << "head " << head.to_string() << " was never appended";
    EXPECT_GE(*position + 1, model_.durable) << "what was flushed is there";
    if (orderly) {
      EXPECT_EQ(head, model_.head());
    }
    model_.truncate_to(head);
    model_.durable = model_.order().size();
    EXPECT_EQ(group().live_epoch(), head.epoch());
    check_invariants();
  }

  // Reads points on every branch, in full.
  io::Task<void> check_everything(std::size_t points_max) {
    co_await check_live();
    std::vector<LogId> points = some_points();
    for (const auto& [epoch, parent] : model_.parents()) {
      points.push_back(LogId(epoch, 1));
      points.push_back(*model_.last_of(epoch));
      points.push_back(parent);
    }
    for (const auto& [id, mark] : model_.marks()) points.push_back(mark.at);
    while (points.size() > points_max) points.erase(points.begin() + below(points.size()));
    for (std::size_t i = 0; i < points_max; ++i)
      points.push_back(model_.order()[below(model_.order().size())].id);
    for (const LogId point : points) {
      co_await check_point(point);
      if (::testing::Test::HasFailure()) co_return;
    }
    for (const auto& [id, mark] : model_.marks()) {
      const Mark* found = group().state().find_mark(id);
      EXPECT_NE(found, nullptr) << id;
      if (found == nullptr) co_return;
      EXPECT_EQ(found->at, mark.at) << id;
      EXPECT_EQ(found->held, mark.held) << id;
    }
    EXPECT_EQ(group().state().marks().size(), model_.marks().size());
  }

 private:
  struct OpenView {
    std::unique_ptr<View> view;
    LogId at{};
    VolumeId volume{};
  };

  Group& group() { return *bench_.group; }
  std::int64_t below(std::uint64_t bound) { return static_cast<std::int64_t>(random_.below(bound)); }

  // ---- What the model expects ----

  std::optional<ErrorCode> expected_error(LogId point) const {
    const Group& group = *bench_.group;
    const std::optional<LogId> last = model_.last_of(point.epoch());
    if (!last.has_value()) return ErrorCode::kNotFound;
    if (point.sequence() > last->sequence()) return ErrorCode::kNotReceived;
    if (!model_.is_ancestor(group.local().floor, point)) return ErrorCode::kExpired;
    if (model_.released(point.epoch()) && !has_somebody_behind(point)) return ErrorCode::kExpired;
    return std::nullopt;
  }

  // The live path, a branch that nobody released, or a held mark.
  bool has_somebody_behind(LogId point) const {
    if (model_.is_ancestor(point, model_.head())) return true;
    for (const auto& [epoch, parent] : model_.parents()) {
      if (!model_.released(epoch) && model_.is_ancestor(point, *model_.last_of(epoch))) return true;
    }
    return std::any_of(model_.marks().begin(), model_.marks().end(), [&](const auto& mark) {
      return mark.second.held && model_.is_ancestor(point, mark.second.at);
    });
  }

  void check_invariants() {
    const LocalRecord& local = group().local();
    EXPECT_FALSE(group().failure().has_value()) << group().failure()->message;
    EXPECT_TRUE(model_.is_ancestor(local.destaged, local.floor));
    EXPECT_TRUE(model_.is_ancestor(local.floor, group().head()));
    for (const OpenView& open : views_) {
      // Only for want of space, and not in silence.
      EXPECT_TRUE(model_.is_ancestor(local.floor, open.at) || group().alarm().has_value())
          << "the floor " << local.floor.to_string() << " passed the view of " << open.at.to_string();
    }
    for (const auto& [id, mark] : model_.marks()) {
      if (!mark.held) continue;
      EXPECT_TRUE(model_.is_ancestor(local.floor, mark.at))
          << "the floor " << local.floor.to_string() << " passed the held mark at " << mark.at.to_string();
    }
    const auto shapes = group().volumes();
    EXPECT_EQ(shapes.size(), model_.shape().size());
    for (const VolumeShape& shape : shapes) {
      const auto at = model_.shape().find(shape.id);
      if (at == model_.shape().end()) {
        ADD_FAILURE() << "volume " << shape.name << " should not be there";
        continue;
      }
      EXPECT_EQ(shape.name, at->second.name);
      EXPECT_EQ(shape.size_bytes, at->second.size_bytes());
    }
  }

  std::string describe() {
    const journal::JournalStatus status = group().journal().status();
    std::string text = "\nfloor " + group().local().floor.to_string() + ", destaged " +
                       group().local().destaged.to_string() + ", head " + group().head().to_string() +
                       ", segments free " + std::to_string(status.segments_free) + " of " +
                       std::to_string(status.segments_total);
    for (const Destager::Pin& pin : group().pins()) text += "\n" + pin.text + " at " + pin.at.to_string();
    return text;
  }

  // Of a request that failed: only want of space may have stopped it, and something must have kept that
  // space; the request itself, where it works on a past point.
  void refused(const Error& error, LogId head_before, LogId works_on = LogId()) {
    EXPECT_EQ(error.code, ErrorCode::kNoSpace) << error.message;
    bool held = group().local().settings.on_full == OnFull::kStopWrites || !works_on.is_none();
    for (const auto& [id, mark] : model_.marks()) held = held || mark.held;
    EXPECT_TRUE(held) << "nothing kept the space: " << error.message << describe();
    const auto before = model_.position(head_before);
    const auto now = model_.position(group().head());
    EXPECT_TRUE(now.has_value() && *now >= *before);
    if (now.has_value()) model_.truncate_to(group().head());
  }
  void accepted() {
    EXPECT_EQ(group().head(), model_.head());
    if (group().head() != model_.head()) return;
    const index::EpochInfo* info = group().state().epochs().find(group().live_epoch());
    model_.set_timer(model_.head(), info->last_timer);
  }
  void settle(const Result<void>& done, LogId head_before) {
    if (done.ok()) {
      accepted();
    } else {
      refused(done.error(), head_before);
    }
  }

  // ---- Checks by reading ----

  io::Task<void> check_live() {
    const GroupModel::Shape shape = model_.shape();
    for (const auto& [id, volume] : shape) {
      Buffer out = Buffer::allocate(volume.size_bytes());
      const std::shared_ptr<const index::Path> path = group().live_path();
      const auto read = co_await group().data().read(id, path, 0, out, true);
      EXPECT_TRUE(read.ok()) << read.error().message;
      if (!read.ok()) co_return;
      const auto wrong = GroupModel::first_difference(*volume.content, out);
      EXPECT_FALSE(wrong.has_value()) << "live volume " << volume.name << ", block " << *wrong;
    }
  }

  io::Task<void> check_point(LogId point) {
    const std::string text = "log:" + point.to_string();
    const auto error_before = expected_error(point);
    const GroupModel::Shape shape = model_.shape_at(point);
    const std::vector<std::string> names{"a", "b", "c"};
    for (const std::string& name : names) {
      auto view = co_await group().open_view(name, text);
      const auto error_after = expected_error(point);
      if (!view.ok()) {
        const ErrorCode code = view.error().code;
        bool in_shape = false;
        for (const auto& [id, volume] : shape) in_shape = in_shape || volume.name == name;
        const bool no_volume = !in_shape && code == ErrorCode::kNotFound;
        EXPECT_TRUE(error_before == code || error_after == code || no_volume)
            << text << " of '" << name << "': " << view.error().message;
        continue;
      }
      EXPECT_FALSE(error_before.has_value() && error_after.has_value()) << text << " should be refused";
      co_await check_view(**view, point);
      co_await (*view)->close();
    }
  }

  io::Task<void> check_view(View& view, LogId point) {
    const GroupModel::Shape shape = model_.shape_at(point);
    const auto volume = shape.find(view.shape().id);
    EXPECT_NE(volume, shape.end()) << "no such volume at " << point.to_string();
    if (volume == shape.end()) co_return;
    EXPECT_EQ(view.shape().name, volume->second.name);
    EXPECT_EQ(view.shape().size_bytes, volume->second.size_bytes());
    if (view.shape().size_bytes != volume->second.size_bytes()) co_return;
    Buffer out = Buffer::allocate(view.shape().size_bytes);
    const auto read = co_await view.read(0, out);
    if (!read.ok()) {
      // A view that was given up never shows anything else.
      EXPECT_EQ(read.error().code, ErrorCode::kExpired) << read.error().message;
      EXPECT_FALSE(model_.is_ancestor(group().local().floor, point));
      co_return;
    }
    const auto wrong = GroupModel::first_difference(*volume->second.content, out);
    EXPECT_FALSE(wrong.has_value()) << "volume " << view.shape().name << " at log:" << point.to_string()
                                    << ", block " << *wrong << ", head " << model_.head().to_string()
                                    << ", floor " << group().local().floor.to_string();
  }

  std::vector<LogId> some_points() {
    return {LogId(Epoch{1}, 0),       model_.head(),        group().local().floor,
            group().local().destaged, model_.head().next(), LogId(Epoch{4000}, 1)};
  }

  // ---- Steps ----

  io::Task<void> one_step() {
    const std::uint64_t what = random_.below(100);
    if (model_.shape().empty() || (model_.shape().size() < kVolumesMaxHere && what < 3)) {
      co_await create_volume();
    } else if (what < 42) {
      co_await write();
    } else if (what < 50) {
      co_await zero();
    } else if (what < 54) {
      co_await flush();
    } else if (what < 60) {
      co_await make_mark();
    } else if (what < 64) {
      co_await change_mark();
    } else if (what < 66) {
      co_await name_point();
    } else if (what < 71) {
      co_await restore();
    } else if (what < 73) {
      co_await release_branch();
    } else if (what < 76) {
      co_await resize();
    } else if (what < 77) {
      co_await delete_volume();
    } else if (what < 80) {
      co_await open_view();
    } else if (what < 84) {
      co_await close_view();
    } else if (what < 88) {
      co_await destage();
    } else if (what < 90) {
      co_await change_settings();
    } else if (what < 92) {
      const Duration pause{below(what == 90 ? 3'000'000 : 3'000'000'000)};
      co_await bench_.world.sleep_for(pause);
    } else if (what < 95) {
      co_await check_point(some_point());
    } else if (what < 96) {
      co_await check_live();
    } else if (what < 97) {
      co_await check_difference();
    } else if (what < 98) {
      co_await check_shown();
    } else if (what < 99) {
      co_await check_entry();
    } else {
      co_await find_by_time();
    }
  }

  VolumeId some_volume() {
    auto at = model_.shape().begin();
    std::advance(at, below(model_.shape().size()));
    return at->first;
  }
  // Mostly points of late, so that many are readable.
  LogId some_point() {
    const std::size_t size = model_.order().size();
    const std::size_t back = random_.coin() ? std::min<std::size_t>(size, 20) : size;
    return model_.order()[size - 1 - random_.below(back)].id;
  }
  Buffer random_bytes(std::uint64_t size) {
    Buffer out = Buffer::allocate(size);
    for (std::uint64_t at = 0; at < size; at += 512) {
      const std::uint64_t word = random_.next();
      const std::uint64_t piece = std::min<std::uint64_t>(512, size - at);
      std::memset(out.data() + at, static_cast<int>(word & 0xff), piece);
      std::memcpy(out.data() + at, &word, std::min<std::uint64_t>(8, piece));
    }
    return out;
  }

  // The entries of a write of whole or partial blocks.
  void expect_write(VolumeId volume, std::uint64_t offset, Bytes data) {
    const std::uint64_t step = group().journal().entry_blocks_max() * kBlockSizeBytes;
    const std::uint64_t begin = offset / kBlockSizeBytes * kBlockSizeBytes;
    const std::uint64_t end = offset + data.size();
    for (std::uint64_t at = begin; at < end; at += step) {
      const std::uint64_t from = std::max(at, offset);
      const std::uint64_t to = std::min(at + step, end);
      Point point = model_.next();
      point.kind = format::EntryKind::kWrite;
      point.volume = volume;
      point.blocks = {at / kBlockSizeBytes, (to + kBlockSizeBytes - 1) / kBlockSizeBytes};
      GroupModel::overlay(point.shape, volume, from, data.subspan(from - offset, to - from));
      model_.push(std::move(point));
    }
  }
  void expect_zero(VolumeId volume, BlockRange blocks, bool discard) {
    Point point = model_.next();
    point.kind = discard ? format::EntryKind::kDiscard : format::EntryKind::kZero;
    point.volume = volume;
    point.blocks = blocks;
    GroupModel::zero_blocks(point.shape, volume, blocks);
    model_.push(std::move(point));
  }

  std::pair<std::uint64_t, std::uint64_t> some_range(VolumeId volume) {
    const std::uint64_t size = model_.shape().at(volume).size_bytes();
    const std::uint64_t unit = random_.below(3) == 0 ? (random_.coin() ? 1 : 512) : kBlockSizeBytes;
    const std::uint64_t units = size / unit;
    const std::uint64_t begin = random_.below(units);
    std::uint64_t most = units - begin;
    if (!options_.big_writes || random_.below(3) != 0) {
      most = std::min<std::uint64_t>(most, 8 * kBlockSizeBytes / unit);
    }
    return {begin * unit, (1 + random_.below(most)) * unit};
  }

  io::Task<void> write() {
    const VolumeId volume = some_volume();
    const auto [offset, length] = some_range(volume);
    const Buffer data = random_bytes(length);
    const bool fua = random_.below(6) == 0;
    const LogId before = model_.head();
    expect_write(volume, offset, data);
    const std::size_t count = model_.order().size();
    const auto done = co_await group().data().write(volume, offset, data, fua);
    settle(done, before);
    if (done.ok() && fua) model_.durable = count;
  }

  io::Task<void> zero() {
    const VolumeId volume = some_volume();
    const auto [offset, length] = some_range(volume);
    const std::uint64_t end = offset + length;
    const bool discard = random_.coin();
    const BlockRange whole{(offset + kBlockSizeBytes - 1) / kBlockSizeBytes, end / kBlockSizeBytes};
    const LogId before = model_.head();
    if (!discard) {
      const std::uint64_t lead_end = std::min(end, whole.begin * kBlockSizeBytes);
      const std::vector<std::byte> zeroes(kBlockSizeBytes);
      if (offset < lead_end) expect_write(volume, offset, Bytes(zeroes).first(lead_end - offset));
      const std::uint64_t tail_begin = std::max(lead_end, whole.end * kBlockSizeBytes);
      if (tail_begin < end) expect_write(volume, tail_begin, Bytes(zeroes).first(end - tail_begin));
    }
    if (!whole.empty()) expect_zero(volume, whole, discard);
    const auto done = co_await group().data().zero(volume, offset, length, discard, false);
    settle(done, before);
  }

  io::Task<void> flush() {
    const std::size_t count = model_.order().size();
    const auto done = co_await group().data().flush();
    EXPECT_TRUE(done.ok());
    model_.durable = std::max(model_.durable, count);
  }

  // A control entry was asked for and the answer is `done`: durable when it is good.
  template <typename T>
  void settle_control(const Result<T>& done, LogId before, LogId works_on = LogId()) {
    if (done.ok()) {
      accepted();
      model_.durable = model_.order().size();
    } else {
      refused(done.error(), before, works_on);
    }
  }

  io::Task<void> make_mark() {
    if (!model_.marks().empty() && random_.below(8) == 0) {
      const format::MarkRecord record{.id = model_.marks().begin()->first};
      const auto again = co_await group().create_mark(record);
      EXPECT_FALSE(again.ok());
      if (!again.ok() && again.error().code != ErrorCode::kExists) refused(again.error(), model_.head());
      co_return;
    }
    const LogId before = model_.head();
    Point point = model_.next();
    point.kind = format::EntryKind::kMark;
    point.mark = "m" + std::to_string(next_mark_++);
    point.mark_at = point.id;
    point.mark_change = MarkChange::kMake;
    const format::MarkRecord record{
        .id = point.mark, .host = "host", .note = std::string(random_.below(100), 'n')};
    model_.push(point);
    const auto made = co_await group().create_mark(record);
    settle_control(made, before);
    if (made.ok()) {
      EXPECT_EQ(made->at, point.id);
    }
  }

  io::Task<void> name_point() {
    const LogId target = some_point();
    const auto error = expected_error(target);
    const LogId before = model_.head();
    Point point = model_.next();
    point.mark = "n" + std::to_string(next_mark_++);
    point.mark_at = target;
    point.mark_change = MarkChange::kMake;
    const format::MarkRecord record{.id = point.mark};
    model_.push(point);
    const std::string text = "log:" + target.to_string();
    const auto made = co_await group().name_point(record, text);
    if (!made.ok() && made.error().code != ErrorCode::kNoSpace) {
      model_.truncate_to(before);
      EXPECT_TRUE(made.error().code == error || made.error().code == expected_error(target))
          << made.error().message;
      co_return;
    }
    settle_control(made, before);
  }

  io::Task<void> change_mark() {
    if (model_.marks().empty()) co_return;
    auto at = model_.marks().begin();
    std::advance(at, below(model_.marks().size()));
    const std::string id = at->first;
    const LogId target = at->second.at;
    const bool was_held = at->second.held;
    // Few are held for long, or the journal is full of them.
    const std::uint64_t what = at->second.held ? 1 + random_.below(2) : random_.below(3);
    const LogId before = model_.head();
    Point point = model_.next();
    point.mark = id;
    point.mark_change = what == 0   ? MarkChange::kHold
                        : what == 1 ? MarkChange::kRelease
                                    : MarkChange::kDelete;
    const auto action = what == 0   ? format::MarkAction::kHold
                        : what == 1 ? format::MarkAction::kRelease
                                    : format::MarkAction::kDelete;
    const auto error = expected_error(target);
    model_.push(point);
    const auto done = co_await group().change_mark(id, action);
    if (was_held && what == 2) {
      // Let go of first.
      EXPECT_EQ(done.ok() ? ErrorCode::kShutdown : done.error().code, ErrorCode::kRefused);
      model_.truncate_to(before);
      co_return;
    }
    if (!done.ok() && done.error().code != ErrorCode::kNoSpace) {
      model_.truncate_to(before);
      EXPECT_EQ(what, 0u) << done.error().message;
      EXPECT_TRUE(done.error().code == error || done.error().code == expected_error(target))
          << done.error().message;
      co_return;
    }
    if (done.ok() || !was_held) {
      settle_control(done, before, what == 0 ? target : LogId());
    } else {
      // The mark still keeps the space; a model that has let go of it cannot know.
      EXPECT_LE(group().journal().status().segments_free, 1u) << done.error().message << describe();
      model_.truncate_to(before);
    }
  }

  io::Task<void> restore() {
    LogId target = some_point();
    std::string text = "log:" + target.to_string();
    if (!model_.marks().empty() && random_.coin()) {
      auto at = model_.marks().begin();
      std::advance(at, below(model_.marks().size()));
      text = at->first;
      target = at->second.at;
    } else if (random_.below(6) == 0) {
      text = "floor";
      target = group().local().floor;
    }
    const bool before_it = random_.below(4) == 0;
    if (before_it && target.sequence() > 0) target = model_.parent(target);
    const auto error = expected_error(target);
    auto plan = co_await group().plan_restore(text, before_it);
    if (!plan.ok()) {
      EXPECT_TRUE(plan.error().code == error || plan.error().code == expected_error(target))
          << plan.error().message;
      co_return;
    }
    EXPECT_EQ(plan->target.at, target);
    EXPECT_EQ(plan->from.at, model_.head());
    std::uint64_t left = 0;
    for (LogId at = model_.head(); !model_.is_ancestor(at, target); at = model_.parent(at)) ++left;
    EXPECT_EQ(plan->entries_left, left);
    const LogId before = model_.head();
    Point point;
    point.id = LogId(*group().state().epochs().next_number(1), 1);
    point.epoch_parent = target;
    point.shape = model_.shape_at(target);
    model_.push(point);
    RestorePlan chosen = std::move(*plan);
    const auto done = co_await group().restore(std::move(chosen), format::EpochReason::kRestore);
    if (!done.ok() && done.error().code == ErrorCode::kExpired) {
      model_.truncate_to(before);
      EXPECT_EQ(expected_error(target), ErrorCode::kExpired);
      co_return;
    }
    settle_control(done, before, target);
  }

  io::Task<void> release_branch() {
    std::vector<Epoch> dead;
    for (const auto& [epoch, parent] : model_.parents()) {
      if (!model_.is_ancestor(LogId(epoch, 1), model_.head()) && !model_.released(epoch))
        dead.push_back(epoch);
    }
    const LogId before = model_.head();
    if (dead.empty()) {
      const auto refused_one = co_await group().release_branch(group().live_epoch());
      EXPECT_EQ(refused_one.ok() ? ErrorCode::kShutdown : refused_one.error().code, ErrorCode::kRefused);
      co_return;
    }
    Point point = model_.next();
    point.released = dead[random_.below(dead.size())];
    for (const OpenView& open : views_) {
      if (open.at.epoch() == point.released) co_return;  // what that means is a test of its own
    }
    for (const auto& [id, mark] : model_.marks()) {
      if (mark.held && mark.at.epoch() == point.released) co_return;
    }
    model_.push(point);
    const auto done = co_await group().release_branch(point.released);
    settle_control(done, before);
  }

  io::Task<void> create_volume() {
    std::string name;
    const std::vector<std::string> candidates{"a", "b", "c"};
    for (const std::string& candidate : candidates) {
      bool taken = false;
      for (const auto& [id, volume] : model_.shape()) taken = taken || volume.name == candidate;
      if (!taken) name = candidate;
    }
    const std::uint64_t blocks = 8 + random_.below(options_.blocks_max);
    const LogId before = model_.head();
    Point point = model_.next();
    const VolumeId volume = group().state().next_volume_id();
    point.shape[volume] = {name, std::make_shared<GroupModel::Content>(blocks)};
    model_.push(point);
    const auto made = co_await group().create_volume(name, blocks * kBlockSizeBytes);
    settle_control(made, before);
    if (made.ok()) {
      EXPECT_EQ(made->id, volume);
    }
  }

  io::Task<void> resize() {
    const VolumeId volume = some_volume();
    const std::string name = model_.shape().at(volume).name;
    const std::uint64_t old_blocks = model_.shape().at(volume).content->size();
    const std::uint64_t blocks = 8 + random_.below(options_.blocks_max);
    if (blocks == old_blocks) co_return;
    const LogId before = model_.head();
    if (blocks < old_blocks) expect_zero(volume, {blocks, old_blocks}, true);
    Point point = model_.next();
    GroupModel::resize(point.shape, volume, blocks);
    model_.push(point);
    const auto done = co_await group().resize_volume(name, blocks * kBlockSizeBytes);
    settle_control(done, before);
  }

  io::Task<void> delete_volume() {
    const VolumeId volume = some_volume();
    const std::string name = model_.shape().at(volume).name;
    const LogId before = model_.head();
    Point point = model_.next();
    point.shape.erase(volume);
    model_.push(point);
    const auto done = co_await group().delete_volume(name);
    settle_control(done, before);
  }

  io::Task<void> open_view() {
    if (views_.size() >= 3) co_return;
    const LogId point = some_point();
    const GroupModel::Shape shape = model_.shape_at(point);
    if (shape.empty()) co_return;
    auto volume = shape.begin();
    std::advance(volume, below(shape.size()));
    const std::string name = volume->second.name;
    const std::string text = "log:" + point.to_string();
    auto view = co_await group().open_view(name, text);
    if (!view.ok()) {
      EXPECT_EQ(expected_error(point), view.error().code) << view.error().message;
      co_return;
    }
    views_.push_back({std::move(*view), point, volume->first});
    co_await check_view(*views_.back().view, point);
  }

  // Looks at the oldest view once more, and mostly ends it.
  io::Task<void> close_view() {
    if (views_.empty()) co_return;
    const LogId at = views_.front().at;
    co_await check_view(*views_.front().view, at);
    co_await views_.front().view->close();
    views_.erase(views_.begin());
  }

  io::Task<void> destage() {
    const bool short_of_space = random_.coin();
    const LogId floor = group().local().floor;
    const auto stepped = co_await group().destage_now(short_of_space);
    EXPECT_TRUE(stepped.ok() || stepped.error().code == ErrorCode::kNoSpace) << stepped.error().message;
    EXPECT_TRUE(model_.is_ancestor(floor, group().local().floor)) << "the floor never goes down";
  }

  io::Task<void> change_settings() {
    GroupSettings settings;
    const std::int64_t retain[] = {0, 1'000'000, 1'000'000'000, 3'600'000'000'000};
    settings.retain = Duration{retain[random_.below(4)]};
    settings.on_full = random_.below(4) == 0 ? OnFull::kStopWrites : OnFull::kDropHistory;
    const auto done = co_await group().set_settings(settings);
    EXPECT_TRUE(done.ok());
  }

  // ---- Looking back ----

  io::Task<void> check_difference() {
    const VolumeId volume = some_volume();
    const LogId from = some_point();
    const LogId to = some_point();
    const GroupModel::Shape shape_from = model_.shape_at(from);
    const GroupModel::Shape shape_to = model_.shape_at(to);
    if (!shape_from.contains(volume) || !shape_to.contains(volume)) co_return;
    if (expected_error(from).has_value() || expected_error(to).has_value()) co_return;
    const GroupModel::Content& a = *shape_from.at(volume).content;
    const GroupModel::Content& b = *shape_to.at(volume).content;
    const BlockRange blocks{0, std::min(a.size(), b.size())};
    const auto runs = co_await group().diff(volume, from, to, blocks, 1000);
    if (!runs.ok()) {
      EXPECT_EQ(runs.error().code, ErrorCode::kExpired) << runs.error().message;
      co_return;
    }
    std::vector<bool> differs(blocks.end);
    for (const ChangedRun& run : *runs) {
      for (std::uint64_t block = run.blocks.begin; block < run.blocks.end; ++block) differs[block] = true;
    }
    std::uint64_t count = 0;
    for (std::uint64_t block = 0; block < blocks.end; ++block) {
      const bool expected = !GroupModel::same_content(a[block], b[block]);
      count += expected ? 1 : 0;
      EXPECT_EQ(differs[block], expected)
          << "block " << block << " from " << from.to_string() << " to " << to.to_string();
    }
    const auto bound = co_await group().count_differing(volume, from, to, blocks);
    if (bound.ok()) {
      EXPECT_GE(*bound, count);
    }
  }

  io::Task<void> check_shown() {
    co_await flush();
    const LogId after = some_point();
    if (expected_error(after).has_value() || !model_.is_ancestor(after, model_.head())) co_return;
    const auto shown = co_await group().show_entries(after, 10'000);
    if (!shown.ok()) {
      EXPECT_EQ(shown.error().code, ErrorCode::kExpired) << shown.error().message;
      co_return;
    }
    std::vector<LogId> expected;
    for (LogId at = model_.head(); at != after; at = model_.parent(at)) expected.push_back(at);
    std::reverse(expected.begin(), expected.end());
    EXPECT_EQ(shown->size(), expected.size());
    for (std::size_t i = 0; i < std::min(shown->size(), expected.size()); ++i) {
      const ShownEntry& entry = (*shown)[i];
      const Point* point = model_.find(expected[i]);
      EXPECT_EQ(entry.id, expected[i]);
      EXPECT_EQ(entry.entry.kind, point->kind) << entry.id.to_string();
      EXPECT_EQ(entry.entry.blocks, point->blocks) << entry.id.to_string();
      if (point->timer.has_value()) {
        EXPECT_EQ(entry.entry.timer, *point->timer) << entry.id.to_string();
      }
    }
  }

  io::Task<void> check_entry() {
    const LogId id = some_point();
    const Point point = *model_.find(id);
    if (point.kind == format::EntryKind::kControl || point.kind == format::EntryKind::kMark) co_return;
    for (int round = 0; round < 2; ++round) {
      const bool before = round == 0;
      const LogId at = before ? model_.parent(id) : id;
      const auto error = expected_error(at);
      const auto data = co_await group().entry_data(id, point.volume, point.blocks, before);
      if (!data.ok()) {
        EXPECT_TRUE(data.error().code == error || data.error().code == expected_error(at))
            << data.error().message;
        continue;
      }
      const GroupModel::Shape shape = model_.shape_at(at);
      for (std::uint64_t block = point.blocks.begin; block < point.blocks.end; ++block) {
        const Bytes got =
            Bytes(*data).subspan((block - point.blocks.begin) * kBlockSizeBytes, kBlockSizeBytes);
        EXPECT_TRUE(GroupModel::same_block((*shape.at(point.volume).content)[block], got))
            << id.to_string() << (before ? " before" : " after") << ", block " << block;
      }
    }
  }

  // "time:T" is the last point of the order by then, on whatever branch it lies.
  io::Task<void> find_by_time() {
    co_await flush();
    const std::size_t at = random_.below(model_.order().size());
    const auto timer = model_.order()[at].timer;
    if (!timer.has_value()) co_return;
    std::size_t last = at;
    while (last + 1 < model_.order().size()) {
      const auto next = model_.order()[last + 1].timer;
      if (!next.has_value()) co_return;  // between two pieces of one request: not known here
      if (*next > *timer) break;
      ++last;
    }
    const LogId expected = model_.order()[last].id;
    const auto error = expected_error(expected);
    const std::string text = "time:" + format_time(*timer);
    const auto found = co_await group().points().resolve(text, false);
    if (!found.ok()) {
      EXPECT_TRUE(found.error().code == error || found.error().code == expected_error(expected))
          << found.error().message << " for " << expected.to_string();
      co_return;
    }
    EXPECT_EQ(found->at, expected);
    EXPECT_EQ(found->timer, *timer);
  }

  GroupBench& bench_;
  StoryOptions options_;
  sim::SeededRandom random_;
  GroupModel model_;
  std::vector<OpenView> views_;
  std::uint64_t next_mark_ = 1;
};

struct Lives {
  std::uint64_t count = 3;
  std::uint64_t steps_max = 60;  // of the story
};

void tell_story(std::uint64_t seed, StoryOptions story_options, Lives lives) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  sim::SeededRandom random(seed ^ 0x5eed);
  BenchOptions options;
  options.segment_bytes = (128 << 10) << random.below(2);
  options.recent_bytes = random.below(1 << 20);
  options.cache_bytes = (64 << 10) << random.below(6);
  options.settings.retain = Duration::seconds(static_cast<std::int64_t>(random.below(2) * 3600));
  GroupBench bench(seed, options);
  if (::testing::Test::HasFailure()) return;
  // In a part of the stories the index is damaged again and again, and rebuilt under whatever goes on.
  bench.fate->damage_one_in = story_options.index_damage_one_in;
  bench.fate->look_slowly = random.below(2) == 0;
  Story story(bench, seed, story_options);
  for (std::uint64_t life = 0; life < lives.count; ++life) {
    SCOPED_TRACE("life " + std::to_string(life));
    const bool orderly = random.below(4) == 0;
    if (orderly) {
      bench.run(story.go_on(1 + random.below(lives.steps_max)));
      bench.run(story.end_views());
      if (::testing::Test::HasFailure()) return;
      ASSERT_NO_FATAL_FAILURE(bench.close());
    } else {
      bench.process->tasks().spawn(story.go_on(0));
      bench.world.run_steps(random.below(lives.steps_max * 60));
      if (::testing::Test::HasFailure()) return;
      bench.process->tasks().cancel_all();
      story.forget_views();
      bench.power_cut();
    }
    ASSERT_NO_FATAL_FAILURE(bench.start_again());
    ASSERT_NO_FATAL_FAILURE(story.after_restart(orderly));
    bench.run(story.check_everything(12));
    if (::testing::Test::HasFailure()) return;
  }
  bench.run(story.go_on(lives.steps_max));
  bench.run(story.check_everything(12));
  bench.run(story.end_views());
  if (::testing::Test::HasFailure()) return;
  bench.close();
}

constexpr std::uint64_t kShortStories = rounds(600, 25);
constexpr std::uint64_t kDamagedStories = rounds(100, 4);
constexpr std::uint64_t kLongStories = rounds(60, 3);

TEST(GroupProperty, ManyShortStories) {
  const std::uint64_t first = first_seed();
  for (std::uint64_t seed = first; seed < first + kShortStories && !HasFailure(); ++seed) {
    tell_story(seed, {}, {.count = 3, .steps_max = 60});
  }
}

TEST(GroupProperty, StoriesInWhichTheIndexIsDamagedAndRebuiltShowNothingElse) {
  const std::uint64_t first = first_seed();
  for (std::uint64_t seed = first; seed < first + kDamagedStories && !HasFailure(); ++seed) {
    tell_story(seed, {.index_damage_one_in = 100}, {.count = 3, .steps_max = 60});
    tell_story(seed, {.blocks_max = 200, .big_writes = true, .index_damage_one_in = 400},
               {.count = 2, .steps_max = 120});
  }
}

TEST(GroupProperty, StoriesThatFillTheJournalOverAndOver) {
  const std::uint64_t first = first_seed();
  for (std::uint64_t seed = first; seed < first + kLongStories && !HasFailure(); ++seed) {
    tell_story(seed, {.blocks_max = 200, .big_writes = true}, {.count = 4, .steps_max = 250});
  }
}

}  // namespace
}  // namespace tidemark::group

#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "simulation/chronicle.h"
#include "simulation/reader.h"
#include "simulation/stage.h"

namespace tidemark::simulation {

// One node with two volumes of four blocks, whose disk is put back to where it was again and again, so that
// the same can be tried from the same beginning with every fault at every place.
class SmallWorld {
 public:
  static constexpr std::uint64_t kVolumeBlocks = 4;

  SmallWorld()
      : stage(options(), no_trace), start_of_order_(stage), chronicle(stage), reader(stage, chronicle) {
    set_up();
  }

  Machine& node() { return stage.a; }

  // The node as it was after it had been made: running, its volumes empty.
  void begin() {
    if (node().is_on()) node().kill();
    put_back(made_);
    adopt(start_of_order_);
    ASSERT_TRUE(start().ok());
    chronicle.account(node(), false, false);
  }
  // What the model knows is put back too.
  void adopt(const Chronicle& earlier) {
    chronicle.adopt(earlier);
    node().has_crashed = false;
    node().disk_may_fail = false;
  }
  void put_back(const sim::Disk::StoredPointer& stored) {
    (void)node().disk().crash_outcomes(1);
    node().disk().forget_planned_faults();
    node().disk().put_back(stored);
  }
  Result<void> start() {
    node().power_on();
    auto started = stage.ask(node(), node().start_task());
    if (!started.has_value()) return fail(ErrorCode::kTimeout, "the start did not end");
    return *started;
  }

  // What became of it is in the chronicle's hands: account() is the caller's.
  void ask(Request request, CrashPlan* crash) {
    auto issued = std::make_shared<Issued>();
    issued->request = std::move(request);
    issued->issued_at = stage.next_moment();
    chronicle.add(node(), {issued});
    auto done = stage.ask(node(), carry_out(node().node(), issued->request), crash);
    if (!done.has_value()) return;
    issued->result = *done;
    issued->ended_at = stage.next_moment();
  }

  // Every point that the model knows, and the live volumes.
  void read_all(Reader::Damage damage) {
    std::vector<LogId> points;
    for (const auto& [raw, image] : chronicle.model.images()) points.push_back(LogId::from_raw(raw));
    for (const LogId at : points) reader.check(node(), "log:" + at.to_string(), at, damage);
    for (const auto& [id, at] : chronicle.model.marks) {
      if (node().group() != nullptr && node().group()->state().find_mark(id) != nullptr)
        reader.check(node(), id, at, damage);
    }
  }
  void expect_held(const std::string& what) {
    EXPECT_FALSE(stage.failed()) << what << ": " << stage.outcome.cause;
  }

  Stage stage;

 private:
  static Options options() {
    Options options;
    options.seed = 1;
    options.pair = false;
    options.volume_blocks = kVolumeBlocks;
    options.journal_bytes = 17 << 20;
    options.disk.latency_min = options.disk.latency_max = Duration::microseconds(100);
    return options;
  }
  void set_up() {
    ASSERT_TRUE(start().ok());
    control::GroupCreateRequest group;
    group.group = kGroup;
    group.journal_size_bytes = stage.options.journal_bytes;
    const auto made = stage.ask(node(), node().node()->group_create(group));
    ASSERT_TRUE(made.has_value() && made->ok());
    for (const char* name : kVolumes) {
      control::VolumeCreateRequest volume;
      volume.group = kGroup;
      volume.volume = name;
      volume.size_bytes = kVolumeBlocks * kBlockSizeBytes;
      const auto created = stage.ask(node(), node().node()->volume_create(volume));
      ASSERT_TRUE(created.has_value() && created->ok());
    }
    chronicle.account(node(), false, false);
    const auto stopped = stage.ask(node(), node().stop_task());
    ASSERT_TRUE(stopped.has_value() && stopped->ok());
    node().kill();
    start_of_order_.adopt(chronicle);
    made_ = node().disk().stored();
  }

  inline static const TraceLine no_trace{};
  Chronicle start_of_order_;
  sim::Disk::StoredPointer made_;

 public:
  Chronicle chronicle;
  Reader reader;
};

}  // namespace tidemark::simulation

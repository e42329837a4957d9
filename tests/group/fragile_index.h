#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "index/version_index.h"
#include "io/environment.h"
#include "sim/random.h"

namespace tidemark::group {

// What is to happen to the indexes of a test, and what became of them.
struct IndexFate {
  explicit IndexFate(std::uint64_t seed) : random(seed) {}

  sim::SeededRandom random;
  // Of so many look-ups one finds the index damaged, which it then stays; not the first ones in a successor,
  // so that all who waited for it get their answer.
  std::uint64_t damage_one_in = 0;
  std::uint64_t calm_lookups = 50;
  bool look_slowly = false;  // no look-up is answered at once, and each takes a few passes
  Duration look_time{};      // and so long
  Duration answer_time{};    // how old the answer is when it comes
  bool damage_every_successor = false;
  std::optional<Error> no_successor;       // that is what making one fails with
  std::optional<Error> no_persist;         // the same, of a run
  std::optional<Error> successor_persist;  // the same, of a run of a successor that is being filled
  bool wants_persist = false;
  std::string opened_as_rebuilt;    // why what was there did not open
  std::function<void()> on_damage;  // once a look-up has found an index damaged

  std::uint64_t successors = 0;
  std::uint64_t damaged = 0;  // look-ups that found damage
  std::uint64_t persists = 0;
  std::uint64_t alive = 0;
  std::uint64_t retired = 0;
};

// The twin in memory, which can be damaged: nothing of what such a one held is answered any more.
class FragileIndex final : public index::VersionIndex {
 public:
  FragileIndex(io::Scheduler& scheduler, std::shared_ptr<IndexFate> fate, bool is_successor = false)
      : scheduler_(scheduler), fate_(std::move(fate)), is_successor_(is_successor) {
    ++fate_->alive;
  }
  ~FragileIndex() override { --fate_->alive; }

  void damage() { damaged_ = true; }
  bool is_damaged() const { return damaged_; }

  void insert_data(VolumeId volume, BlockRange blocks, LogId id, Place place,
                   const std::vector<std::uint32_t>& checksums) override {
    EXPECT_FALSE(closed_);
    inner_->insert_data(volume, blocks, id, place, checksums);
  }
  void insert_zero(VolumeId volume, BlockRange blocks, LogId id, Place place) override {
    EXPECT_FALSE(closed_);
    inner_->insert_zero(volume, blocks, id, place);
  }
  io::Task<Result<void>> lookup(VolumeId volume, BlockRange blocks, const index::Path& path,
                                std::vector<index::Piece>& out, std::size_t pieces_max) override {
    // What was begun before the damage reads blocks that were whole.
    const bool was_whole = !damaged_;
    if (fate_->look_slowly && was_whole) {
      for (std::uint64_t i = fate_->random.below(4); i > 0; --i) co_await scheduler_.yield();
      co_await scheduler_.sleep_for(fate_->look_time);
    }
    ++lookups_;
    const bool is_calm = is_successor_ && lookups_ <= fate_->calm_lookups;
    const bool breaks =
        fate_->damage_one_in > 0 && fate_->random.below(fate_->damage_one_in) == 0 && !is_calm;
    damaged_ = damaged_ || breaks;
    if (breaks || !was_whole) {
      ++fate_->damaged;
      if (fate_->on_damage) fate_->on_damage();
      co_return fail(ErrorCode::kDamaged, "a block of a run does not match its checksum");
    }
    auto looked = co_await inner_->lookup(volume, blocks, path, out, pieces_max);
    if (fate_->answer_time > Duration{}) co_await scheduler_.sleep_for(fate_->answer_time);
    co_return looked;
  }
  bool lookup_now(VolumeId volume, BlockRange blocks, const index::Path& path,
                  std::vector<index::Piece>& out) override {
    const bool at_once = !damaged_ && !fate_->look_slowly &&
                         (fate_->damage_one_in == 0 || fate_->random.below(fate_->damage_one_in) != 0);
    return at_once && inner_->lookup_now(volume, blocks, path, out);
  }
  bool wants_persist() const override { return fate_->wants_persist || inner_->wants_persist(); }
  io::Task<Result<void>> persist(Place resume, UntilDurable until_durable) override {
    ++fate_->persists;
    if (is_successor_ && fate_->successor_persist.has_value()) co_return *fate_->successor_persist;
    if (until_durable) TM_CO_TRY(co_await until_durable());
    if (!is_successor_ && fate_->no_persist.has_value()) co_return *fate_->no_persist;
    co_return co_await inner_->persist(resume, {});
  }
  Place resume_place() const override { return inner_->resume_place(); }
  void drop_before(Place bound) override { inner_->drop_before(bound); }
  io::Task<Result<void>> clear() override {
    damaged_ = false;
    co_return co_await inner_->clear();
  }
  io::Task<Result<std::unique_ptr<index::VersionIndex>>> make_successor() override {
    co_await scheduler_.yield();
    if (fate_->no_successor.has_value()) co_return *fate_->no_successor;
    ++fate_->successors;
    auto made = std::make_unique<FragileIndex>(scheduler_, fate_, true);
    if (fate_->damage_every_successor) made->damage();
    co_return made;
  }
  void retire() override { ++fate_->retired; }
  index::IndexStatus status() const override { return inner_->status(); }
  io::Task<void> close() override {
    closed_ = true;
    co_await inner_->close();
  }

 private:
  io::Scheduler& scheduler_;
  std::shared_ptr<IndexFate> fate_;
  bool is_successor_;
  std::unique_ptr<index::VersionIndex> inner_ = index::make_memory_index();
  std::uint64_t lookups_ = 0;
  bool damaged_ = false;
  bool closed_ = false;
};

}  // namespace tidemark::group

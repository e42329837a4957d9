#pragma once

#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <unistd.h>

#include <gtest/gtest.h>

#include "index/version_index.h"
#include "io/sync.h"
#include "sim/world.h"

namespace tidemark::index::test {

// A folder that goes with the object.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "tidemark-index-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  std::string path() const { return path_; }

 private:
  std::string path_;
};

// Runs work at once, or, while held, when the test says so.
class HeldOffload final : public io::Offload {
 public:
  explicit HeldOffload(io::Scheduler& scheduler) : scheduler_(scheduler), ran_(scheduler) {}
  io::Task<void> run(std::function<void()> work) override {
    if (!held_) {
      work();
      co_await scheduler_.yield();
      co_return;
    }
    const std::uint64_t number = next_number_++;
    waiting_.push_back(std::move(work));
    while (ran_count_ <= number) co_await ran_.wait();
  }
  void hold() { held_ = true; }
  std::size_t waiting() const { return waiting_.size(); }
  // Runs the oldest work that waits; its caller goes on in the world's next pass.
  void run_one() {
    auto work = std::move(waiting_.front());
    waiting_.pop_front();
    work();
    ++ran_count_;
    ran_.wake_all();
  }
  void release() {
    held_ = false;
    while (!waiting_.empty()) run_one();
  }

 private:
  io::Scheduler& scheduler_;
  io::WaitQueue ran_;
  std::deque<std::function<void()>> waiting_;
  bool held_ = false;
  std::uint64_t next_number_ = 0;
  std::uint64_t ran_count_ = 0;
};

// One thread, one world, and what the tests say to an index in it.
class Machine {
 public:
  explicit Machine(std::uint64_t seed = 1) : world(seed), offload(world), base_(world.environment()) {}
  io::Environment environment() {
    return {base_.scheduler, base_.clock, base_.random, base_.network, offload};
  }
  Result<OpenedIndex> open(const std::string& folder, RocksIndexOptions options = {}) {
    return world.run(open_rocks_index(environment(), folder, options));
  }
  std::vector<Piece> lookup(VersionIndex& index, VolumeId volume, BlockRange blocks, const Path& path,
                            std::size_t pieces_max = 4096) {
    std::vector<Piece> out;
    auto result = world.run(index.lookup(volume, blocks, path, out, pieces_max));
    EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error().message);
    return out;
  }
  void persist(VersionIndex& index, Place resume) {
    auto result = world.run(index.persist(resume));
    ASSERT_TRUE(result.ok()) << result.error().message;
  }
  void close(VersionIndex& index) { world.run(index.close()); }

  sim::World world;
  HeldOffload offload;

 private:
  io::Environment base_;
};

// The checksum that tests give to the block at a place: telling one from another is all it is for.
inline std::uint32_t checksum_at(Place place) {
  return static_cast<std::uint32_t>(place.raw() * 2654435761u) ^ 0x5a5a5a5au;
}
inline std::vector<std::uint32_t> checksums_from(Place place, std::uint64_t blocks) {
  std::vector<std::uint32_t> out;
  for (std::uint64_t i = 0; i < blocks; ++i)
    out.push_back(checksum_at(place.plus(static_cast<std::uint32_t>(i))));
  return out;
}
inline void insert_data(VersionIndex& index, VolumeId volume, BlockRange blocks, LogId id, Place place) {
  index.insert_data(volume, blocks, id, place, checksums_from(place, blocks.count()));
}
// The path of one epoch, from its first entry without end.
inline Path live_path(std::uint32_t epoch = 1) {
  return {{{Epoch{epoch}, 1, kSequenceMax}}};
}
inline Path path_to(std::uint32_t epoch, std::uint64_t sequence) {
  return {{{Epoch{epoch}, 1, sequence}}};
}

// What an index says, as replaying all entries for one path says it: from stretch begin to answer.
class Model {
 public:
  struct Entry {
    VolumeId volume{};
    BlockRange blocks{};
    LogId id{};
    Place place{};
    bool zero = false;
  };
  void insert(const Entry& entry) { entries_.push_back(entry); }
  const std::vector<Entry>& entries() const { return entries_; }
  void drop_before(Place bound) {
    std::erase_if(entries_, [&](const Entry& e) { return e.place < bound; });
  }
  // The pieces a reader of `path` should get, joined as far as they can be.
  std::vector<Piece> lookup(VolumeId volume, BlockRange blocks, const Path& path) const;

 private:
  std::vector<Entry> entries_;
};

std::string to_string(const std::vector<Piece>& pieces);
bool same(const std::vector<Piece>& a, const std::vector<Piece>& b);

}  // namespace tidemark::index::test

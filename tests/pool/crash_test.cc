#include <algorithm>
#include <map>
#include <set>

#include "pool/pool_fixture.h"

namespace tidemark::pool {
namespace {

// What one volume's writer did, and so what may be found of it. The writer stands in for a journal: it knows
// every change since the last flush that returned, and repeats them after a crash.
struct Writer {
  LuNumber number{};
  std::uint64_t blocks = 0;
  std::map<std::uint64_t, std::uint64_t> durable;   // block → stamp; absent is zeroes
  std::map<std::uint64_t, std::uint64_t> intended;  // changed since: block → newest stamp, 0 for zeroes
  std::map<std::uint64_t, std::set<std::uint64_t>> in_flight;  // block → every stamp it may show besides
  std::uint64_t next_stamp = 1;

  std::uint64_t newest(std::uint64_t block) const {
    if (const auto it = intended.find(block); it != intended.end()) return it->second;
    const auto it = durable.find(block);
    return it == durable.end() ? 0 : it->second;
  }
  void begin(std::uint64_t block, std::uint64_t stamp) {
    auto& possible = in_flight[block];
    const auto it = durable.find(block);
    possible.insert(it == durable.end() ? 0 : it->second);
    possible.insert(stamp);
    intended[block] = stamp;
  }
  void flushed() {
    for (const auto& [block, stamp] : intended) durable[block] = stamp;
    intended.clear();
    in_flight.clear();
  }
};

class CrashTest : public PoolFixture {
 protected:
  static io::Task<Result<void>> write_blocks(DataVolume* target, Writer* writer, BlockRange blocks) {
    Buffer data = Buffer::allocate(blocks.count() * kBlockSizeBytes);
    std::vector<std::uint32_t> checksums;
    for (std::uint64_t i = 0; i < blocks.count(); ++i) {
      const MutableBytes block = data.writable().subspan(i * kBlockSizeBytes, kBlockSizeBytes);
      const std::uint64_t stamp = writer->next_stamp++ * 16 + writer->number.value;
      fill_block(stamp, block);
      checksums.push_back(crc32c(block));
      writer->begin(blocks.begin + i, stamp);
    }
    TM_CO_TRY(co_await target->reserve(blocks));
    co_return co_await target->write(blocks, data, checksums);
  }

  static io::Task<Result<void>> discard_blocks(DataVolume* target, Writer* writer, BlockRange blocks,
                                               bool gives_back) {
    for (std::uint64_t block = blocks.begin; block < blocks.end; ++block) writer->begin(block, 0);
    if (gives_back) co_return co_await target->discard(blocks);
    co_return co_await target->zero(blocks);
  }

  // Changes one volume at random until it is destroyed or something fails.
  static io::Task<void> run_writer(DataVolume* target, Writer* writer, io::Random* random) {
    for (;;) {
      const std::uint64_t choice = random->below(20);
      const std::uint64_t begin = random->below(writer->blocks);
      const std::uint64_t length_max = choice % 4 == 0 ? 1500 : 40;
      const BlockRange blocks{begin, std::min(writer->blocks, begin + 1 + random->below(length_max))};
      Result<void> done;
      if (choice < 12) {
        done = co_await write_blocks(target, writer, blocks);
      } else if (choice < 16) {
        BlockRange wide{blocks.begin / kExtent * kExtent, blocks.end};
        if (choice == 15) wide = blocks;
        done = co_await discard_blocks(target, writer, wide, choice != 14);
      } else {
        // Changes of others go on meanwhile; this writer's own all came before.
        done = co_await target->flush();
        if (done.ok()) writer->flushed();
      }
      if (!done.ok()) co_return;
      co_await check_some(target, writer, random);
    }
  }

  // While the volume runs, a read is the newest content and nothing else.
  static io::Task<void> check_some(DataVolume* target, Writer* writer, io::Random* random) {
    const std::uint64_t begin = random->below(writer->blocks);
    const BlockRange blocks{begin, std::min(writer->blocks, begin + 8)};
    Buffer out = Buffer::allocate(blocks.count() * kBlockSizeBytes);
    auto done = co_await target->read(blocks, out);
    EXPECT_TRUE(done.ok()) << done.error().message;
    if (!done.ok()) co_return;
    for (std::uint64_t i = 0; i < blocks.count(); ++i) {
      EXPECT_TRUE(
          is_block(writer->newest(begin + i), Bytes(out).subspan(i * kBlockSizeBytes, kBlockSizeBytes)))
          << "block " << begin + i;
    }
  }

  void expect_model_after_crash(const Writer& writer) {
    for (std::uint64_t block = 0; block < writer.blocks; ++block) {
      const auto out = read(writer.number, {block, block + 1});
      const auto flight = writer.in_flight.find(block);
      if (flight != writer.in_flight.end()) {
        // Old, new, something in between, or damaged: but never somebody else's.
        if (!out.ok()) {
          ASSERT_EQ(out.error().code, ErrorCode::kDamaged);
          continue;
        }
        const bool known = std::ranges::any_of(
            flight->second, [&](std::uint64_t stamp) { return is_block(stamp, Bytes(*out)); });
        ASSERT_TRUE(known) << "block " << block;
        continue;
      }
      ASSERT_TRUE(out.ok()) << "block " << block << " was not being written: " << out.error().message;
      const auto kept = writer.durable.find(block);
      ASSERT_TRUE(is_block(kept == writer.durable.end() ? 0 : kept->second, Bytes(*out)))
          << "block " << block;
    }
  }

  void repeat_changes(Writer* writer) {
    const std::map<std::uint64_t, std::uint64_t> todo = writer->intended;
    DataVolume* target = &volume(writer->number);
    for (const auto& [block, stamp] : todo) {
      const BlockRange one{block, block + 1};
      const auto done = stamp == 0 ? world->run(discard_blocks(target, writer, one, true))
                                   : world->run(write_blocks(target, writer, one));
      ASSERT_TRUE(done.ok()) << done.error().message;
    }
    ASSERT_TRUE(flush(writer->number).ok());
    writer->flushed();
  }

  void run_seed(std::uint64_t seed) {
    options.checksum_cache_bytes_max = 1;
    start(seed, 96 * kMiB);
    std::vector<Writer> writers(2);
    for (std::size_t i = 0; i < writers.size(); ++i) {
      writers[i].blocks = 5 * kExtent + 100;
      writers[i].number = make_volume(writers[i].blocks * kBlockSizeBytes, static_cast<std::uint32_t>(i + 1));
    }
    for (int round = 0; round < 4; ++round) {
      {
        io::TaskScope scope(*world);
        for (Writer& writer : writers) {
          scope.spawn(run_writer(&volume(writer.number), &writer, &world->random()));
        }
        world->run_for(
            Duration::microseconds(static_cast<std::int64_t>(2000 + world->random().below(30000))));
      }
      crash();
      ASSERT_NO_FATAL_FAILURE(open());
      for (Writer& writer : writers) {
        ASSERT_NO_FATAL_FAILURE(expect_model_after_crash(writer)) << "seed " << seed << " round " << round;
        ASSERT_NO_FATAL_FAILURE(repeat_changes(&writer)) << "seed " << seed << " round " << round;
        ASSERT_NO_FATAL_FAILURE(expect_model_after_crash(writer)) << "seed " << seed << " round " << round;
      }
    }
    // No space is lost on the way.
    for (const Writer& writer : writers) ASSERT_TRUE(world->run(pool->remove(writer.number)).ok());
    EXPECT_EQ(pool->status().allocated_bytes, 0u);
  }
};

TEST_F(CrashTest, OnlyBlocksInFlightAreTouchedByACrash) {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    ASSERT_NO_FATAL_FAILURE(run_seed(seed)) << "seed " << seed;
  }
}

// A failed flush may have lost any of the writes before it, whoever made them.
TEST_F(CrashTest, OnlyBlocksInFlightAreTouchedByAFlushThatFails) {
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    start(seed, 96 * kMiB);
    std::vector<Writer> writers(2);
    for (std::size_t i = 0; i < writers.size(); ++i) {
      writers[i].blocks = 5 * kExtent + 100;
      writers[i].number = make_volume(writers[i].blocks * kBlockSizeBytes, static_cast<std::uint32_t>(i + 1));
      ASSERT_TRUE(world->run(write_blocks(&volume(writers[i].number), &writers[i], {10, 2 * kExtent})).ok());
    }
    ASSERT_TRUE(flush(writers[0].number).ok());
    writers[0].flushed();
    ASSERT_TRUE(world->run(write_blocks(&volume(writers[0].number), &writers[0], {0, 3 * kExtent})).ok());
    // The first flush of two, or the one of the tables.
    disk->fail_flush_after(1 + seed % 2);
    EXPECT_EQ(flush(writers[seed / 2 % 2].number).error().code, ErrorCode::kIo);
    // Without a restart: repeated in the same pool, for both, since both shared the cache that lost blocks.
    const auto other = flush(writers[1 - seed / 2 % 2].number);
    EXPECT_EQ(other.error().code, ErrorCode::kIo);
    for (Writer& writer : writers) ASSERT_NO_FATAL_FAILURE(repeat_changes(&writer)) << "seed " << seed;
    crash();
    open();
    for (Writer& writer : writers) {
      ASSERT_NO_FATAL_FAILURE(expect_model_after_crash(writer)) << "seed " << seed;
    }
  }
}

}  // namespace
}  // namespace tidemark::pool

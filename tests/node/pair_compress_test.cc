// A pair whose payloads go over the link compressed.

#include "pair_bench.h"
#include "sim/random.h"

namespace tidemark::node {
namespace {

using control::PairCompression;
using control::PairState;

constexpr std::uint64_t kVolumeBytes = kVolumeBlocks * kBlockSizeBytes;

class PairCompress : public testing::Test {
 protected:
  // A volume that is full of blocks of one number each.
  void begin(std::uint64_t seed) {
    bench = std::make_unique<PairBench>(seed);
    bench->make_group(a(), {"data"});
    for (std::uint64_t block = 0; block < kVolumeBlocks; ++block)
      write(block, 100 + static_cast<std::uint32_t>(block));
  }
  void pair_up(std::optional<PairCompression> compress, std::uint64_t copy_rate_bytes = 0) {
    control::PairCreateRequest request;
    request.group = kGroup;
    request.peer_address = b().address();
    request.compress = compress;
    request.copy_rate_bytes = copy_rate_bytes;
    const auto created = bench->run(a().node->pair_create(request));
    ASSERT_TRUE(created.ok()) << created.error().message;
  }
  void set(PairCompression compress) {
    control::PairSetRequest request;
    request.group = kGroup;
    request.compress = compress;
    const auto done = bench->run(a().node->pair_set(request));
    ASSERT_TRUE(done.ok()) << done.error().message;
    EXPECT_EQ(done->compress, compress);
  }
  void write(std::uint64_t block, std::uint32_t value) {
    const auto written = bench->write(a(), "data", block, value);
    ASSERT_TRUE(written.ok()) << written.error().message;
  }
  // Every block anew; what went over the link for it, and what that was.
  struct Traffic {
    std::uint64_t bytes = 0;
    std::uint64_t uncompressed_bytes = 0;
  };
  Traffic write_all(Machine& from, Machine& to, std::uint32_t value) {
    const control::PairStatus before = bench->status(from);
    for (std::uint64_t block = 0; block < kVolumeBlocks; ++block) {
      EXPECT_TRUE(bench->write(from, "data", block, value + static_cast<std::uint32_t>(block)).ok());
    }
    EXPECT_TRUE(bench->wait_caught_up(from, to));
    bench->expect_same({"data"});
    const control::PairStatus after = bench->status(from);
    return {after.link_sent_bytes - before.link_sent_bytes,
            after.link_sent_uncompressed_bytes - before.link_sent_uncompressed_bytes};
  }
  void expect_compressed(const Traffic& traffic) {
    EXPECT_GT(traffic.uncompressed_bytes, kVolumeBytes);
    EXPECT_LT(traffic.bytes, traffic.uncompressed_bytes / 3);
  }
  void expect_as_it_is(const Traffic& traffic) {
    EXPECT_GT(traffic.uncompressed_bytes, kVolumeBytes);
    EXPECT_EQ(traffic.bytes, traffic.uncompressed_bytes);
  }
  // Of the hello on the connection made last.
  std::uint32_t hello_version() {
    const std::vector<std::byte> said = bench->world.network().last_session();
    return static_cast<std::uint32_t>(said.at(format::kLinkHeaderBytes));
  }
  Machine& a() { return bench->a; }
  Machine& b() { return bench->b; }

  std::unique_ptr<PairBench> bench;
};

TEST_F(PairCompress, TheCopyAndWhatIsWrittenTakeLessOfTheLinkAndAreTheSame) {
  ASSERT_NO_FATAL_FAILURE(begin(1));
  ASSERT_NO_FATAL_FAILURE(pair_up(PairCompression::kZstd));
  ASSERT_TRUE(bench->wait_caught_up());
  EXPECT_EQ(hello_version(), format::kLinkVersionCompressed);
  bench->expect_same({"data"});
  const control::PairStatus copied = bench->status(a());
  EXPECT_GT(copied.link_sent_uncompressed_bytes, kVolumeBytes);
  EXPECT_LT(copied.link_sent_bytes, kVolumeBytes / 2);
  expect_compressed(write_all(a(), b(), 1000));
  ASSERT_TRUE(bench->mark(a(), "one", control::WaitFor::kPeer).ok());
  expect_compressed(write_all(a(), b(), 2000));
  for (Machine* machine : {&a(), &b()}) {
    EXPECT_EQ(bench->status(*machine).compress, PairCompression::kZstd) << machine->name;
  }
  // What one counts as sent, the other one counts as received, but for what is under way.
  const control::PairStatus here = bench->status(a());
  const control::PairStatus there = bench->status(b());
  EXPECT_LE(there.link_received_bytes, here.link_sent_bytes);
  EXPECT_GT(there.link_received_uncompressed_bytes, 3 * kVolumeBytes);
  EXPECT_LT(there.link_received_bytes, there.link_received_uncompressed_bytes / 3);
}

TEST_F(PairCompress, APairThatDoesNotCompressIsIntroducedAsBefore) {
  ASSERT_NO_FATAL_FAILURE(begin(2));
  ASSERT_NO_FATAL_FAILURE(pair_up(std::nullopt));
  ASSERT_TRUE(bench->wait_caught_up());
  EXPECT_EQ(hello_version(), format::kLinkVersion);
  expect_as_it_is(write_all(a(), b(), 1000));
  EXPECT_EQ(bench->status(a()).compress, PairCompression::kOff);
  EXPECT_EQ(a().group().local().pair.at(0), std::byte{6});
}

TEST_F(PairCompress, ItIsTurnedOnAndOffWhileHostsWrite) {
  ASSERT_NO_FATAL_FAILURE(begin(3));
  ASSERT_NO_FATAL_FAILURE(pair_up(PairCompression::kOff));
  ASSERT_TRUE(bench->wait_caught_up());
  for (std::uint32_t round = 1; round < 4; ++round) {
    ASSERT_NO_FATAL_FAILURE(set(PairCompression::kZstd));
    ASSERT_TRUE(bench->wait_for([&] { return bench->status(b()).compress == PairCompression::kZstd; }));
    expect_compressed(write_all(a(), b(), round * 1000));
    write(5, round);
    ASSERT_NO_FATAL_FAILURE(set(PairCompression::kOff));
    write(6, round);
    ASSERT_TRUE(bench->wait_for([&] { return bench->status(b()).compress == PairCompression::kOff; }));
    EXPECT_EQ(hello_version(), format::kLinkVersion);
    expect_as_it_is(write_all(a(), b(), round * 1000 + 500));
    EXPECT_EQ(bench->state(a()), PairState::kPair);
  }
}

TEST_F(PairCompress, ASynchronousPairStaysInSyncWhenItIsTurnedOn) {
  ASSERT_NO_FATAL_FAILURE(begin(4));
  ASSERT_TRUE(bench->pair_create_sync(a(), b(), control::OnPeerLoss::kWait).ok());
  const auto in_sync = [&] { return bench->status(b()).in_sync == std::optional(true); };
  ASSERT_TRUE(bench->wait_for(in_sync));
  ASSERT_NO_FATAL_FAILURE(set(PairCompression::kZstd));
  EXPECT_EQ(bench->status(a()).in_sync, std::optional(true));
  ASSERT_TRUE(bench->write(a(), "data", 1, 11, true).ok());
  EXPECT_EQ(b().group().journal().durable(), a().group().head());
  ASSERT_TRUE(bench->wait_for(in_sync));
  expect_compressed(write_all(a(), b(), 1000));
}

TEST_F(PairCompress, ItIsTurnedOnWhileTheCopyRunsWhichGoesOnWhereItWas) {
  ASSERT_NO_FATAL_FAILURE(begin(5));
  for (const char* volume : {"v2", "v3"}) {
    control::VolumeCreateRequest create;
    create.group = kGroup;
    create.volume = volume;
    create.size_bytes = kVolumeBytes;
    ASSERT_TRUE(bench->run(a().node->volume_create(create)).ok());
    for (std::uint32_t block = 0; block < kVolumeBlocks; ++block) {
      ASSERT_TRUE(bench->write(a(), volume, block, block + 1).ok());
    }
  }
  ASSERT_NO_FATAL_FAILURE(pair_up(PairCompression::kOff, kVolumeBytes / 10));
  bench->world.run_for(Duration::seconds(5));
  ASSERT_EQ(bench->state(a()), PairState::kCopy);
  const control::PairStatus before = bench->status(a());
  ASSERT_NO_FATAL_FAILURE(set(PairCompression::kZstd));
  ASSERT_TRUE(bench->wait_for([&] { return bench->status(b()).compress == PairCompression::kZstd; }));
  EXPECT_GE(bench->status(a()).copy_done_bytes, before.copy_done_bytes);
  ASSERT_TRUE(bench->wait_caught_up());
  bench->expect_same({"data", "v2", "v3"});
  const control::PairStatus after = bench->status(a());
  EXPECT_LT(after.link_sent_bytes - before.link_sent_bytes, kVolumeBytes);
}

TEST_F(PairCompress, ItStaysOverRestartsAndSwaps) {
  ASSERT_NO_FATAL_FAILURE(begin(6));
  ASSERT_NO_FATAL_FAILURE(pair_up(PairCompression::kZstd));
  ASSERT_TRUE(bench->wait_caught_up());
  a().power_cut();
  ASSERT_NO_FATAL_FAILURE(a().start());
  ASSERT_TRUE(bench->wait_caught_up());
  expect_compressed(write_all(a(), b(), 1000));
  b().power_cut();
  ASSERT_NO_FATAL_FAILURE(b().start());
  EXPECT_EQ(bench->status(b()).compress, PairCompression::kZstd);
  ASSERT_TRUE(bench->wait_caught_up());
  ASSERT_TRUE(bench->swap(a()).ok());
  ASSERT_TRUE(bench->wait_caught_up(b(), a()));
  expect_compressed(write_all(b(), a(), 2000));
  EXPECT_EQ(bench->status(a()).compress, PairCompression::kZstd);
}

// Off was said on the new primary; the old one hears it from there.
TEST_F(PairCompress, WhoeverIsPrimaryDecides) {
  ASSERT_NO_FATAL_FAILURE(begin(7));
  ASSERT_NO_FATAL_FAILURE(pair_up(PairCompression::kZstd));
  ASSERT_TRUE(bench->wait_caught_up());
  a().kill();
  ASSERT_TRUE(bench->take_over(b(), true).ok());
  ASSERT_NO_FATAL_FAILURE(a().start());
  ASSERT_TRUE(bench->swap(b()).ok());
  control::PairSetRequest request;
  request.group = kGroup;
  request.compress = PairCompression::kOff;
  ASSERT_TRUE(bench->run(b().node->pair_set(request)).ok());
  ASSERT_TRUE(bench->wait_for([&] { return bench->status(a()).compress == PairCompression::kOff; }));
  ASSERT_TRUE(bench->wait_caught_up(b(), a()));
  expect_as_it_is(write_all(b(), a(), 1000));
  EXPECT_EQ(bench->run(a().node->pair_set(request)).error().code, ErrorCode::kRefused);
}

TEST_F(PairCompress, BlocksThatComeFromThePeerForARestoreAreCompressedToo) {
  ASSERT_NO_FATAL_FAILURE(begin(8));
  ASSERT_NO_FATAL_FAILURE(pair_up(PairCompression::kZstd));
  ASSERT_TRUE(bench->mark(a(), "one", control::WaitFor::kPeer).ok());
  const Image one = *bench->read(a(), "data");
  (void)write_all(a(), b(), 1000);
  const control::PairStatus before = bench->status(a());
  control::RestoreRequest request;
  request.group = kGroup;
  request.point = "one";
  request.from_peer = true;
  const auto done = bench->run(a().node->restore(request));
  ASSERT_TRUE(done.ok()) << done.error().message;
  EXPECT_TRUE(done->from_peer);
  bench->expect_image(a(), "data", {}, one);
  const control::PairStatus after = bench->status(a());
  EXPECT_GT(after.link_received_uncompressed_bytes - before.link_received_uncompressed_bytes, kVolumeBytes);
  EXPECT_LT(after.link_received_bytes - before.link_received_bytes, kVolumeBytes / 2);
  ASSERT_TRUE(bench->wait_caught_up());
  bench->expect_same({"data"});
}

TEST_F(PairCompress, WhatDoesNotShrinkGoesAsItIs) {
  ASSERT_NO_FATAL_FAILURE(begin(9));
  ASSERT_NO_FATAL_FAILURE(pair_up(PairCompression::kZstd));
  ASSERT_TRUE(bench->wait_caught_up());
  const control::PairStatus before = bench->status(a());
  sim::SeededRandom random(9);
  auto target = bench->run(a().node->open(std::string(kGroup) + "/data", "test"));
  ASSERT_TRUE(target.ok());
  for (std::uint64_t block = 0; block < kVolumeBlocks; ++block) {
    Buffer data = Buffer::allocate(kBlockSizeBytes);
    for (std::size_t at = 0; at < data.size(); at += sizeof(std::uint64_t)) {
      const std::uint64_t word = random.next();
      std::memcpy(data.data() + at, &word, sizeof word);
    }
    ASSERT_TRUE(bench->run((*target)->write(block * kBlockSizeBytes, std::move(data), false)).ok());
  }
  ASSERT_TRUE(bench->wait_caught_up());
  const control::PairStatus after = bench->status(a());
  const std::uint64_t sent_bytes = after.link_sent_bytes - before.link_sent_bytes;
  EXPECT_GT(sent_bytes, kVolumeBytes);
  EXPECT_EQ(sent_bytes, after.link_sent_uncompressed_bytes - before.link_sent_uncompressed_bytes);
}

TEST_F(PairCompress, BitsThatTurnOnTheLinkHarmNothing) {
  ASSERT_NO_FATAL_FAILURE(begin(10));
  ASSERT_NO_FATAL_FAILURE(pair_up(PairCompression::kZstd));
  ASSERT_TRUE(bench->wait_caught_up());
  for (std::uint32_t round = 0; round < 60; ++round) {
    // Large batches: most of what crosses the link is compressed payload.
    auto target = bench->run(a().node->open(std::string(kGroup) + "/data", "test"));
    ASSERT_TRUE(target.ok());
    Buffer data = Buffer::allocate(kVolumeBytes);
    for (std::uint64_t block = 0; block < kVolumeBlocks; ++block) {
      const Buffer one = block_of(round * 100 + static_cast<std::uint32_t>(block));
      std::memcpy(data.data() + block * kBlockSizeBytes, one.data(), one.size());
    }
    bench->world.network().flip_next_bit();
    ASSERT_TRUE(bench->run((*target)->write(0, std::move(data), false)).ok());
    ASSERT_TRUE(bench->wait_caught_up()) << bench->status(a()).state_reason;
    bench->expect_same({"data"});
  }
}

}  // namespace
}  // namespace tidemark::node

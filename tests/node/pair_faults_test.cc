// A pair when links break, nodes die, journals fill up and strangers call.

#include "base/crc32c.h"
#include "pair_bench.h"
#include "replication/link.h"

namespace tidemark::node {
namespace {

using control::PairState;
using control::WaitFor;

TEST(PairFaults, AfterALinkThatBreaksStreamingGoesOnByItself) {
  PairBench bench(21);
  bench.make_group(bench.a, {"data"});
  ASSERT_NO_FATAL_FAILURE(bench.pair_up());
  for (std::uint32_t round = 1; round <= 6; ++round) {
    for (std::uint32_t i = 0; i < 8; ++i) {
      ASSERT_TRUE(bench.write(bench.a, "data", i + round, round * 100 + i).ok());
      if (i == 4) bench.world.network().reset_all();
    }
    ASSERT_TRUE(bench.wait_caught_up());
    bench.expect_same({"data"});
  }
}

TEST(PairFaults, ALinkThatFallsSilentIsSeenAsDownAndComesBack) {
  PairBench bench(22);
  bench.make_group(bench.a, {"data"});
  ASSERT_NO_FATAL_FAILURE(bench.pair_up());
  bench.world.network().cut();
  ASSERT_TRUE(bench.write(bench.a, "data", 1, 11).ok());
  bench.world.run_for(Duration::seconds(15));
  EXPECT_FALSE(bench.status(bench.a).link_up);
  EXPECT_FALSE(bench.status(bench.b).link_up);
  // A lost link is not a state.
  EXPECT_EQ(bench.state(bench.a), PairState::kPair);
  EXPECT_EQ(bench.state(bench.b), PairState::kPair);
  EXPECT_GT(bench.status(bench.a).lag_entries, 0u);
  bench.world.network().heal();
  ASSERT_TRUE(bench.wait_caught_up());
  bench.expect_same({"data"});
}

TEST(PairFaults, AnIdleLinkStaysUp) {
  PairBench bench(23);
  bench.make_group(bench.a, {"data"});
  ASSERT_NO_FATAL_FAILURE(bench.pair_up());
  const auto since = bench.status(bench.a).link_since;
  bench.world.run_for(Duration::seconds(60));
  EXPECT_TRUE(bench.status(bench.a).link_up);
  EXPECT_TRUE(bench.status(bench.b).link_up);
  EXPECT_EQ(bench.status(bench.a).link_since, since);
}

TEST(PairFaults, CommandsAnswerWhileThePeerCannotBeReached) {
  PairBench bench(24);
  bench.make_group(bench.a, {"data"});
  ASSERT_NO_FATAL_FAILURE(bench.pair_up());
  bench.world.network().cut();
  // More than the link takes: the sender is stuck in the middle of a message.
  for (std::uint32_t i = 0; i < 400; ++i)
    ASSERT_TRUE(bench.write(bench.a, "data", i % kVolumeBlocks, i).ok());
  const MonotonicTime before = bench.world.now();
  ASSERT_TRUE(bench.suspend(bench.a).ok());
  ASSERT_TRUE(bench.suspend(bench.b).ok());
  EXPECT_LT((bench.world.now() - before).to_seconds(), 3.0);
  bench.world.network().heal();
  ASSERT_TRUE(bench.resync(bench.a).ok());
  ASSERT_TRUE(bench.wait_caught_up());
  bench.expect_same({"data"});
}

TEST(PairFaults, ANodeStopsInOrderWhileThePeerCannotBeReached) {
  PairBench bench(25);
  bench.make_group(bench.a, {"data"});
  ASSERT_NO_FATAL_FAILURE(bench.pair_up());
  bench.world.network().cut();
  for (std::uint32_t i = 0; i < 400; ++i)
    ASSERT_TRUE(bench.write(bench.a, "data", i % kVolumeBlocks, i).ok());
  ASSERT_NO_FATAL_FAILURE(bench.a.stop());
  ASSERT_NO_FATAL_FAILURE(bench.b.stop());
  bench.world.network().heal();
  ASSERT_NO_FATAL_FAILURE(bench.b.start());
  ASSERT_NO_FATAL_FAILURE(bench.a.start());
  ASSERT_TRUE(bench.wait_caught_up());
  bench.expect_same({"data"});
}

TEST(PairFaults, ASecondaryThatIsStoppingDoesNotSuspendThePair) {
  PairBench bench(26);
  bench.make_group(bench.a, {"data"});
  ASSERT_NO_FATAL_FAILURE(bench.pair_up());
  for (int round = 0; round < 5; ++round) {
    ASSERT_NO_FATAL_FAILURE(bench.b.stop());
    bench.world.run_for(Duration::milliseconds(250));
    EXPECT_EQ(bench.state(bench.a), PairState::kPair);
    ASSERT_TRUE(bench.write(bench.a, "data", 3, 30 + static_cast<std::uint32_t>(round)).ok());
    ASSERT_NO_FATAL_FAILURE(bench.b.start());
    ASSERT_TRUE(bench.wait_caught_up());
  }
  bench.expect_same({"data"});
}

// Each of the two nodes loses its power at a moment that the round draws, in the middle of a copy or of a
// stream.
void crash_rounds(std::uint64_t seed, bool during_copy) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  PairBench bench(seed);
  bench.make_group(bench.a, {"data"});
  for (std::uint32_t i = 0; i < kVolumeBlocks; ++i) ASSERT_TRUE(bench.write(bench.a, "data", i, 1 + i).ok());
  ASSERT_TRUE(bench.mark(bench.a, "start").ok());
  if (!during_copy) {
    ASSERT_NO_FATAL_FAILURE(bench.pair_up());
  }
  for (std::uint32_t round = 0; round < 4; ++round) {
    if (!bench.a.has_group()) FAIL() << "the primary's group is gone";
    if (bench.state(bench.a) == PairState::kSmpl) {
      // A crash may come before the primary knows of its pair; what was begun there is begun anew.
      io::TaskScope creating(bench.world);
      creating.spawn([](Node* node, std::string address) -> io::Task<void> {
        control::PairCreateRequest request;
        request.group = kGroup;
        request.peer_address = address;
        (void)co_await node->pair_create(request);
      }(bench.a.node, bench.b.address()));
      bench.world.run_for(
          Duration::microseconds(static_cast<std::int64_t>(bench.world.random().below(20'000))));
    }
    for (std::uint32_t i = 0; i < 10; ++i) {
      (void)bench.write(bench.a, "data", bench.world.random().below(kVolumeBlocks), round * 1000 + 100 + i);
    }
    bench.world.run_for(Duration::microseconds(static_cast<std::int64_t>(bench.world.random().below(3000))));
    Machine& victim = bench.world.random().below(2) == 0 ? bench.a : bench.b;
    victim.power_cut();
    bench.world.run_for(Duration::milliseconds(static_cast<std::int64_t>(bench.world.random().below(400))));
    ASSERT_NO_FATAL_FAILURE(victim.start());
  }
  if (bench.state(bench.a) == PairState::kSmpl) {
    const auto created = bench.pair_create(bench.a, bench.b);
    ASSERT_TRUE(created.ok()) << created.error().message;
  }
  ASSERT_TRUE(bench.wait_caught_up()) << "primary " << bench.status(bench.a).state_reason << ", secondary "
                                      << bench.status(bench.b).state_reason;
  ASSERT_TRUE(bench.mark(bench.a, "end", WaitFor::kPeer).ok());
  bench.expect_same({"data"});
}

// At every step of the making of the secondary's group, its power goes. What was made is given back, and the
// pair is made all the same.
TEST(PairFaults, APowerCutAnywhereInTheMakingOfTheSecondaryLeavesNothingInTheWay) {
  bool whole = false;
  std::uint64_t cut_off = 0;
  for (std::uint64_t steps = 0; !whole; ++steps) {
    SCOPED_TRACE("cut after " + std::to_string(steps) + " steps");
    PairBench bench(5);
    bench.make_group(bench.a, {"data"});
    ASSERT_TRUE(bench.write(bench.a, "data", 3, 33).ok());
    ASSERT_TRUE(bench.mark(bench.a, "before").ok());
    {
      io::TaskScope creating(bench.world);
      creating.spawn([](Node* node, std::string address) -> io::Task<void> {
        control::PairCreateRequest request;
        request.group = kGroup;
        request.peer_address = address;
        (void)co_await node->pair_create(request);
      }(bench.a.node, bench.b.address()));
      bench.world.run_steps(steps);
      whole = bench.b.has_group();
      bench.b.power_cut();
      ASSERT_NO_FATAL_FAILURE(bench.b.start());
      for (const std::string& line : bench.b.log) {
        EXPECT_EQ(line.find("group-broken"), std::string::npos) << line;
        if (line.find("group-unfinished") != std::string::npos) ++cut_off;
      }
      bench.run(creating.join());
    }
    if (bench.state(bench.a) == PairState::kSmpl) {
      const auto created = bench.pair_create(bench.a, bench.b);
      ASSERT_TRUE(created.ok()) << created.error().message;
    }
    ASSERT_TRUE(bench.wait_caught_up()) << bench.status(bench.a).state_reason;
    bench.expect_same({"data"});
  }
  EXPECT_GT(cut_off, 5u);
}

TEST(PairFaults, APowerCutAnywhereInTheMakingOfAGroupLeavesNothingInTheWay) {
  bool whole = false;
  std::uint64_t cut_off = 0;
  for (std::uint64_t steps = 0; !whole; ++steps) {
    SCOPED_TRACE("cut after " + std::to_string(steps) + " steps");
    PairBench bench(5);
    {
      io::TaskScope creating(bench.world);
      creating.spawn([](Node* node) -> io::Task<void> {
        control::GroupCreateRequest request;
        request.group = kGroup;
        request.journal_size_bytes = kJournalBytes;
        (void)co_await node->group_create(request);
      }(bench.a.node));
      bench.world.run_steps(steps);
      whole = bench.a.has_group();
      creating.cancel_all();
      bench.a.power_cut();
    }
    ASSERT_NO_FATAL_FAILURE(bench.a.start());
    for (const std::string& line : bench.a.log) {
      EXPECT_EQ(line.find("group-broken"), std::string::npos) << line;
      if (line.find("group-unfinished") != std::string::npos) ++cut_off;
    }
    if (bench.a.has_group()) continue;  // whole, and its maker was not told any more
    ASSERT_NO_FATAL_FAILURE(bench.make_group(bench.a, {"data"}));
    ASSERT_TRUE(bench.write(bench.a, "data", 1, 1, true).ok());
  }
  EXPECT_GT(cut_off, 5u);
}

TEST(PairFaults, APowerCutDuringTheCopyOnEitherSideIsMadeGood) {
  for (std::uint64_t seed = 100; seed < 112; ++seed) ASSERT_NO_FATAL_FAILURE(crash_rounds(seed, true));
}

TEST(PairFaults, APowerCutWhileStreamingOnEitherSideIsMadeGood) {
  for (std::uint64_t seed = 200; seed < 212; ++seed) ASSERT_NO_FATAL_FAILURE(crash_rounds(seed, false));
}

TEST(PairFaults, AFullJournalWhileThePeerIsAwaySuspendsThePairAndTheHostGoesOn) {
  PairBench bench(27);
  bench.make_group(bench.a, {"data"});
  ASSERT_NO_FATAL_FAILURE(bench.pair_up());
  ASSERT_TRUE(bench.mark(bench.a, "kept", WaitFor::kPeer).ok());
  bench.b.kill();
  auto target = bench.run(bench.a.node->open("app/data", "host"));
  ASSERT_TRUE(target.ok());
  constexpr std::uint64_t kChunk = 32;
  Buffer data = Buffer::allocate(kChunk * kBlockSizeBytes);
  std::memset(data.data(), 0x11, data.size());
  for (int i = 0; i < 200; ++i) {
    const auto written = bench.run((*target)->write(0, data, false));
    ASSERT_TRUE(written.ok()) << i << ": " << written.error().message;
  }
  EXPECT_EQ(bench.state(bench.a), PairState::kPsue);
  target = fail(ErrorCode::kClosed, "");
  ASSERT_NO_FATAL_FAILURE(bench.b.start());
  // Until a window is given up, the secondary's past is as it was.
  EXPECT_TRUE(bench.read(bench.b, "data", "kept").ok());
  const auto resynced = bench.resync(bench.a, true);
  ASSERT_TRUE(resynced.ok()) << resynced.error().message;
  ASSERT_TRUE(bench.wait_caught_up());
  bench.expect_same({"data"});
  EXPECT_FALSE(bench.read(bench.b, "data", "kept").ok());
}

// What the peer has is a promise until the peer itself agrees to begin anew.
TEST(PairFaults, ACopyAnewThatDoesNotComeAboutHoldsWhatThePeerLacksMeanwhile) {
  PairBench bench(31);
  bench.make_group(bench.a, {"data"});
  ASSERT_NO_FATAL_FAILURE(bench.pair_up());
  ASSERT_TRUE(bench.write(bench.a, "data", 1, 11).ok());
  ASSERT_TRUE(bench.wait_caught_up());
  ASSERT_TRUE(bench.suspend(bench.a).ok());
  const LogId had = bench.a.group().local().peer_has;
  ASSERT_TRUE(bench.write(bench.a, "data", 2, 22, true).ok());
  std::optional<bool> resynced;
  const auto resync = [](io::Task<Result<control::PairStatus>> task,
                         std::optional<bool>* done) -> io::Task<void> {
    auto reply = co_await std::move(task);
    done->emplace(reply.ok());
  };
  control::PairResyncRequest request;
  request.group = kGroup;
  request.give_up_window = true;
  // The connection comes about, the hello does not arrive.
  bench.world.network().set_options(
      {.latency_min = Duration::milliseconds(5), .latency_max = Duration::milliseconds(5)});
  bench.a.process->tasks().spawn(resync(bench.a.node->pair_resync(request), &resynced));
  for (int ms = 0; !resynced.has_value(); ++ms) {
    ASSERT_EQ(bench.a.group().local().peer_has, had) << ms;
    bench.world.run_for(Duration::milliseconds(1));
    if (ms == 6) bench.world.network().reset_all();
  }
  EXPECT_FALSE(*resynced);
  const auto again = bench.resync(bench.a);
  ASSERT_TRUE(again.ok()) << again.error().message;
  ASSERT_TRUE(bench.wait_caught_up());
  bench.expect_same({"data"});
}

TEST(PairFaults, AFullJournalOfAPeerThatIsSlowMakesTheHostWaitAndNoMore) {
  PairBench bench(28);
  bench.make_group(bench.a, {"data"});
  ASSERT_NO_FATAL_FAILURE(bench.pair_up());
  auto target = bench.run(bench.a.node->open("app/data", "host"));
  ASSERT_TRUE(target.ok());
  for (int i = 0; i < 250; ++i) {
    Buffer data = Buffer::allocate(48 * kBlockSizeBytes);
    std::memset(data.data(), i, data.size());
    const auto written = bench.run((*target)->write(0, data, false));
    ASSERT_TRUE(written.ok()) << i << ": " << written.error().message;
  }
  EXPECT_EQ(bench.state(bench.a), PairState::kPair);
  target = fail(ErrorCode::kClosed, "");
  ASSERT_TRUE(bench.wait_caught_up());
  bench.expect_same({"data"});
}

TEST(PairFaults, ASecondaryWhosePinnedJournalIsFullSuspendsThePairAndKeepsItsWindow) {
  PairBench bench(29);
  bench.make_group(bench.a, {"data"});
  ASSERT_NO_FATAL_FAILURE(bench.pair_up());
  ASSERT_TRUE(bench.write(bench.a, "data", 1, 11).ok());
  ASSERT_TRUE(bench.mark(bench.a, "kept", WaitFor::kPeer).ok());
  // A branch there holds the floor down; nothing of the kind is held here.
  ASSERT_TRUE(bench.suspend(bench.b).ok());
  ASSERT_TRUE(bench.restore(bench.b, "head").ok());
  ASSERT_TRUE(bench.write(bench.b, "data", 2, 99).ok());
  ASSERT_TRUE(bench.wait_for([&] { return bench.state(bench.a) == PairState::kPsus; }));
  ASSERT_TRUE(bench.resync(bench.a, false, control::ResyncFrom::kPrimary).ok());
  ASSERT_TRUE(bench.wait_caught_up());
  auto target = bench.run(bench.a.node->open("app/data", "host"));
  ASSERT_TRUE(target.ok());
  for (int i = 0; i < 250 && bench.state(bench.a) == PairState::kPair; ++i) {
    Buffer data = Buffer::allocate(48 * kBlockSizeBytes);
    std::memset(data.data(), i, data.size());
    ASSERT_TRUE(bench.run((*target)->write(0, data, false)).ok()) << i;
  }
  ASSERT_TRUE(bench.wait_for([&] { return bench.state(bench.a) == PairState::kPsue; }));
  EXPECT_EQ(bench.state(bench.b), PairState::kPsue);
  EXPECT_EQ(bench.read(bench.b, "data", "kept")->at(1), 11u);
  target = fail(ErrorCode::kClosed, "");
  // What differs finds no room there either, and says what does.
  ASSERT_TRUE(bench.resync(bench.a).ok());
  ASSERT_TRUE(bench.wait_for([&] { return bench.state(bench.a) == PairState::kPsue; }));
  EXPECT_NE(bench.status(bench.a).state_reason.find("--give-up-window"), std::string::npos)
      << bench.status(bench.a).state_reason;
  EXPECT_EQ(bench.read(bench.b, "data", "kept")->at(1), 11u);
  const auto resynced = bench.resync(bench.a, true);
  ASSERT_TRUE(resynced.ok()) << resynced.error().message;
  ASSERT_TRUE(bench.wait_caught_up());
  bench.expect_same({"data"});
}

TEST(PairFaults, ARestoreThatTheSecondaryCannotFollowIsRefusedOrSuspends) {
  PairBench bench(30);
  bench.make_group(bench.a, {"data"});
  ASSERT_TRUE(bench.write(bench.a, "data", 1, 11).ok());
  ASSERT_TRUE(bench.mark(bench.a, "older-than-the-copy").ok());
  ASSERT_TRUE(bench.write(bench.a, "data", 1, 12).ok());
  ASSERT_NO_FATAL_FAILURE(bench.pair_up());
  EXPECT_EQ(bench.restore(bench.a, "older-than-the-copy").error().code, ErrorCode::kRefused);
  // Suspended, it may be done; then the peer needs a copy.
  ASSERT_TRUE(bench.suspend(bench.a).ok());
  ASSERT_TRUE(bench.restore(bench.a, "older-than-the-copy").ok());
  ASSERT_TRUE(bench.resync(bench.a).ok());
  ASSERT_TRUE(bench.wait_for([&] { return bench.state(bench.a) == PairState::kPsue; }));
  EXPECT_EQ(bench.state(bench.b), PairState::kPsue);
  EXPECT_EQ(bench.read(bench.b, "data")->at(1), 12u);
  ASSERT_TRUE(bench.resync(bench.a, true).ok());
  ASSERT_TRUE(bench.wait_caught_up());
  EXPECT_EQ(bench.read(bench.b, "data")->at(1), 11u);
  bench.expect_same({"data"});
}

TEST(PairFaults, AResyncThatDoesNotReachThePeerLeavesThePairAsItWas) {
  PairBench bench(31);
  bench.make_group(bench.a, {"data"});
  ASSERT_NO_FATAL_FAILURE(bench.pair_up());
  ASSERT_TRUE(bench.suspend(bench.a).ok());
  const LogId has = bench.a.group().local().peer_has;
  bench.world.network().cut();
  ASSERT_TRUE(bench.write(bench.a, "data", 1, 11).ok());
  EXPECT_FALSE(bench.resync(bench.a).ok());
  EXPECT_FALSE(bench.resync(bench.a, true).ok());
  EXPECT_EQ(bench.a.group().local().peer_has, has);
  EXPECT_EQ(bench.state(bench.a), PairState::kPsus);
  bench.world.network().heal();
  ASSERT_TRUE(bench.resync(bench.a).ok());
  ASSERT_TRUE(bench.wait_caught_up());
  bench.expect_same({"data"});
}

// ---- Strangers

io::Task<Result<replication::Message>> talk(io::Network* network, io::Scheduler* scheduler,
                                            std::string address, std::vector<std::byte> bytes) {
  TM_CO_TRY_ASSIGN(const io::Address where, io::Address::parse(address));
  TM_CO_TRY_ASSIGN(std::unique_ptr<io::Stream> stream,
                   co_await network->connect(where, Duration::seconds(5)));
  std::vector<Buffer> pieces;
  if (!bytes.empty()) {
    pieces.push_back(Buffer::copy_of(bytes));
    TM_CO_TRY(co_await stream->write(std::move(pieces)));
  }
  replication::Link link(*scheduler, std::move(stream));
  co_return co_await link.receive(1 << 16);
}

std::vector<std::byte> message(format::LinkMessage type, const std::vector<std::byte>& body) {
  format::LinkHeader header;
  header.type = type;
  header.body_bytes = static_cast<std::uint32_t>(body.size());
  header.body_checksum = crc32c(body);
  std::vector<std::byte> bytes = format::encode_link_header(header);
  bytes.insert(bytes.end(), body.begin(), body.end());
  return bytes;
}

TEST(PairFaults, GarbageOnTheReplicationPortHarmsNobody) {
  PairBench bench(32);
  bench.make_group(bench.a, {"data"});
  ASSERT_NO_FATAL_FAILURE(bench.pair_up());
  for (int round = 0; round < 40; ++round) {
    std::vector<std::byte> bytes(bench.world.random().below(200));
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(bench.world.random().below(256));
    const auto answer = bench.run(talk(&bench.world.network(), &bench.world, bench.b.address(), bytes));
    EXPECT_FALSE(answer.ok());
  }
  // Whole messages, of every kind but a hello.
  for (std::uint16_t type = 2; type <= 9; ++type) {
    const auto bytes = message(static_cast<format::LinkMessage>(type), std::vector<std::byte>(9));
    const auto answer = bench.run(talk(&bench.world.network(), &bench.world, bench.b.address(), bytes));
    ASSERT_TRUE(answer.ok()) << answer.error().message;
    const auto welcome = format::decode_welcome(answer->body);
    ASSERT_TRUE(welcome.ok());
    EXPECT_FALSE(welcome->accepted);
  }
  EXPECT_TRUE(bench.status(bench.a).link_up);
  ASSERT_TRUE(bench.write(bench.a, "data", 1, 11).ok());
  ASSERT_TRUE(bench.wait_caught_up());
}

TEST(PairFaults, AStrangerThatSaysNothingIsHungUpOn) {
  PairBench bench(33);
  const MonotonicTime before = bench.world.now();
  const auto answer =
      bench.run(talk(&bench.world.network(), &bench.world, bench.b.address(), std::vector<std::byte>()));
  EXPECT_FALSE(answer.ok());
  EXPECT_LT((bench.world.now() - before).to_seconds(), 15.0);
}

format::Hello hello_of(Machine& machine, format::HelloIntent intent) {
  format::Hello hello;
  hello.intent = intent;
  hello.node = machine.identity;
  hello.node_name = machine.name;
  hello.group = machine.group().identity();
  hello.group_name = kGroup;
  hello.primary_group = kGroup;
  return hello;
}

format::Welcome greet(PairBench& bench, const format::Hello& hello) {
  const auto bytes = message(format::LinkMessage::kHello, format::encode_hello(hello));
  const auto answer = bench.run(talk(&bench.world.network(), &bench.world, bench.b.address(), bytes));
  EXPECT_TRUE(answer.ok()) << answer.error().message;
  if (!answer.ok()) return {};
  const auto welcome = format::decode_welcome(answer->body);
  EXPECT_TRUE(welcome.ok());
  return welcome.ok() ? *welcome : format::Welcome();
}

TEST(PairFaults, AHelloThatIsNotThePrimarysIsRefusedAndThePairGoesOn) {
  PairBench bench(34);
  bench.make_group(bench.a, {"data"});
  ASSERT_NO_FATAL_FAILURE(bench.pair_up());
  const format::Hello good = hello_of(bench.a, format::HelloIntent::kContinue);
  for (const auto intent : {format::HelloIntent::kCreate, format::HelloIntent::kReplace,
                            format::HelloIntent::kContinue, format::HelloIntent::kResync}) {
    format::Hello same_identity = good;
    same_identity.intent = intent;
    same_identity.node = bench.b.identity;
    EXPECT_FALSE(greet(bench, same_identity).accepted);
    format::Hello second_primary = good;
    second_primary.intent = intent;
    second_primary.node.bytes.fill(9);
    second_primary.state = bench.a.group().encode_state();
    second_primary.start = bench.a.group().head();
    second_primary.journal_size_bytes = kJournalBytes;
    EXPECT_FALSE(greet(bench, second_primary).accepted);
    format::Hello wrong_group = good;
    wrong_group.intent = intent;
    wrong_group.group.bytes.fill(9);
    wrong_group.state = second_primary.state;
    wrong_group.start = second_primary.start;
    wrong_group.journal_size_bytes = kJournalBytes;
    EXPECT_FALSE(greet(bench, wrong_group).accepted);
  }
  format::Hello unknown_group = good;
  unknown_group.group_name = "other";
  EXPECT_FALSE(greet(bench, unknown_group).accepted);
  EXPECT_EQ(bench.state(bench.a), PairState::kPair);
  EXPECT_TRUE(bench.status(bench.a).link_up);
  ASSERT_TRUE(bench.write(bench.a, "data", 1, 11).ok());
  ASSERT_TRUE(bench.wait_caught_up());
  bench.expect_same({"data"});
}

// Serves one connection: greets it as another service would, and hangs up.
io::Task<void> greet_and_hang_up(io::Listener* listener) {
  auto accepted = co_await listener->accept();
  if (!accepted.ok()) co_return;
  const std::string greeting = "NBDMAGICIHAVEOPT..";
  std::vector<Buffer> pieces;
  pieces.push_back(Buffer::copy_of(std::as_bytes(std::span(greeting))));
  (void)co_await (*accepted)->write(std::move(pieces));
  (*accepted)->close();
}

TEST(PairFaults, APeerAddressOfAnotherServiceIsNamedAsSuch) {
  PairBench bench(48);
  bench.make_group(bench.a, {"data"});
  auto listener = bench.run(bench.world.network().listen(*io::Address::parse("unix:/other")));
  ASSERT_TRUE(listener.ok());
  io::TaskScope tasks(bench.world);
  tasks.spawn(greet_and_hang_up(listener->get()));
  control::PairCreateRequest request;
  request.group = kGroup;
  request.peer_address = "unix:/other";
  const auto created = bench.run(bench.a.node->pair_create(request));
  ASSERT_FALSE(created.ok());
  const std::string& message = created.error().message;
  EXPECT_NE(message.find("unix:/other"), std::string::npos) << message;
  EXPECT_NE(message.find("no tidemarkd replication service answers there"), std::string::npos) << message;
  EXPECT_EQ(bench.state(bench.a), PairState::kSmpl);
}

TEST(PairFaults, APairWithOneselfIsRefused) {
  PairBench bench(35);
  bench.make_group(bench.a, {"data"});
  EXPECT_FALSE(bench.pair_create(bench.a, bench.a).ok());
  EXPECT_EQ(bench.state(bench.a), PairState::kSmpl);
  EXPECT_TRUE(bench.a.group().local().peer_has.is_none());
}

TEST(PairFaults, TwoNodesThatPairEachOthersGroupsAtOnceBothSucceed) {
  PairBench bench(36);
  bench.make_group(bench.a, {"data"});
  control::GroupCreateRequest create;
  create.group = "other";
  create.journal_size_bytes = kJournalBytes;
  ASSERT_TRUE(bench.run(bench.b.node->group_create(create)).ok());
  bool there = false;
  io::TaskScope other(bench.world);
  other.spawn([](Node* node, std::string address, bool* done) -> io::Task<void> {
    control::PairCreateRequest request;
    request.group = "other";
    request.peer_address = address;
    *done = (co_await node->pair_create(request)).ok();
  }(bench.b.node, bench.a.address(), &there));
  ASSERT_NO_FATAL_FAILURE(bench.pair_up());
  bench.run(other.join());
  EXPECT_TRUE(there);
}

// The copy has the same group identity and a journal that begins anew: what was cached of the one before is
// at the same places.
TEST(PairFaults, AfterACopyAnewNothingOfTheJournalBeforeIsShown) {
  PairBench bench(41);
  bench.make_group(bench.a, {"data"});
  ASSERT_NO_FATAL_FAILURE(bench.pair_up());
  std::map<std::string, std::uint32_t> marks;
  const auto write_and_mark = [&](std::uint32_t round) {
    for (std::uint32_t i = 0; i < kVolumeBlocks; ++i)
      ASSERT_TRUE(bench.write(bench.a, "data", i, round * 100 + i).ok());
    const std::string id = "m" + std::to_string(round);
    ASSERT_TRUE(bench.mark(bench.a, id, WaitFor::kPeer).ok());
    marks[id] = round * 100;
  };
  const auto compare = [&] {
    for (const auto& [id, value] : marks) {
      if (!bench.b.group().check_readable(bench.b.group().state().find_mark(id)->at).ok()) continue;
      Image expected(kVolumeBlocks);
      for (std::uint32_t i = 0; i < kVolumeBlocks; ++i) expected[i] = value + i;
      bench.expect_image(bench.b, "data", id, expected);
    }
  };
  for (std::uint32_t round = 1; round <= 15; ++round) ASSERT_NO_FATAL_FAILURE(write_and_mark(round));
  // Read from the disk, so cached.
  bench.b.stop();
  ASSERT_NO_FATAL_FAILURE(bench.b.start());
  compare();
  ASSERT_TRUE(bench.wait_caught_up());
  ASSERT_TRUE(bench.suspend(bench.a).ok());
  ASSERT_TRUE(bench.resync(bench.a, true).ok());
  ASSERT_TRUE(bench.wait_caught_up());
  // More than the journal keeps in memory of what it appended.
  for (std::uint32_t round = 16; round <= 40; ++round) ASSERT_NO_FATAL_FAILURE(write_and_mark(round));
  compare();
}

}  // namespace
}  // namespace tidemark::node

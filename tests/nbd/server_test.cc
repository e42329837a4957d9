#include <gtest/gtest.h>

#include "nbd/nbd_fixture.h"

namespace tidemark::nbd::test {
namespace {

ServerLimits small_limits() {
  ServerLimits limits;
  limits.connections_max = 3;
  return limits;
}

class ServerTest : public NbdTest {
 protected:
  ServerTest() : NbdTest(small_limits()) {}

  // Runs on its own; `done` says when it has ended.
  struct Background {
    bool done = false;
  };
  void in_background(io::Task<void> task, Background& background) {
    tasks.spawn(run_background(std::move(task), background));
    world.run_for(Duration::milliseconds(1));
  }
  static io::Task<void> run_background(io::Task<void> task, Background& background) {
    co_await task;
    background.done = true;
  }
  static io::Address address(std::uint16_t port) { return {io::Address::Kind::kTcp, "", "server", port}; }
};

TEST_F(ServerTest, ListsItsSessions) {
  directory.add("other", 4096).info.read_only = true;
  RawClient first = attach();
  world.run_for(Duration::seconds(3));
  RawClient second = attach("other");
  RawClient third = connect();
  world.run_for(Duration::milliseconds(10));
  first.write(1, 0, "abc");
  first.reply();
  first.error_of(kCommandRead, 0, 512);
  const std::vector<SessionStatus> all = server.sessions();
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].export_name, "disk");
  EXPECT_EQ(all[0].phase, SessionPhase::kTransmission);
  EXPECT_FALSE(all[0].read_only);
  EXPECT_TRUE(all[0].client.starts_with("server:"));
  EXPECT_EQ(all[0].counters.bytes_written, 3u);
  EXPECT_EQ(all[0].counters.bytes_read, 512u);
  EXPECT_EQ(all[1].export_name, "other");
  EXPECT_TRUE(all[1].read_only);
  EXPECT_GE((all[1].since - all[0].since).to_seconds(), 3.0);
  EXPECT_EQ(all[2].phase, SessionPhase::kHandshake);
  EXPECT_EQ(all[2].export_name, "");
}

TEST_F(ServerTest, ConnectionsOverTheLimitAreClosedAtOnceAndCounted) {
  RawClient first = attach();
  RawClient second = attach();
  RawClient third = attach();
  RawClient over = connect();
  EXPECT_TRUE(over.at_end());
  EXPECT_EQ(server.counters().over_connection_limit, 1u);
  EXPECT_TRUE(connect().at_end());
  ASSERT_EQ(reports.size(), 1u) << "told once";
  EXPECT_EQ(reports[0], "nbd-limit connections=3");
  EXPECT_EQ(first.error_of(kCommandFlush, 0, 0), 0u);
  second.close();
  world.run_for(Duration::seconds(1));
  EXPECT_EQ(attach().error_of(kCommandFlush, 0, 0), 0u);
}

TEST_F(ServerTest, ServesSeveralListeners) {
  tasks.spawn(server.serve(world.run(world.network().listen(address(2))).value()));
  RawClient client(world, world.run(world.network().connect(address(2), Duration::seconds(1))).value());
  EXPECT_TRUE(client.greet());
  EXPECT_EQ(client.go("disk"), kReplyAck);
  RawClient other = attach();
  EXPECT_EQ(server.sessions().size(), 2u);
  world.run(server.stop());
  EXPECT_FALSE(world.run(world.network().connect(address(2), Duration::seconds(1))).ok());
  EXPECT_FALSE(world.run(world.network().connect(kAddress, Duration::seconds(1))).ok());
}

// Fails a number of times, as a listener does when the process has no file descriptor left.
class FailingListener final : public io::Listener {
 public:
  FailingListener(io::Scheduler& scheduler, int failures) : closed_(scheduler), failures_(failures) {}
  io::Task<Result<std::unique_ptr<io::Stream>>> accept() override {
    if (failures_-- > 0) co_return fail(ErrorCode::kNoSpace, "no file descriptor is left");
    co_await closed_.wait();
    co_return fail(ErrorCode::kClosed, "closed");
  }
  void close() override { closed_.set(); }
  io::Address address() const override { return kAddress; }

 private:
  io::Event closed_;
  int failures_;
};

TEST_F(ServerTest, AnAcceptThatFailsIsTriedAgainWithoutSpinning) {
  tasks.spawn(server.serve(std::make_unique<FailingListener>(world, 1000000)));
  world.run_for(Duration::seconds(10));
  EXPECT_GE(server.counters().accept_failures, 90u);
  EXPECT_LE(server.counters().accept_failures, 101u);
  ASSERT_FALSE(reports.empty());
  EXPECT_NE(reports[0].find("no file descriptor is left"), std::string::npos);
  world.run(server.stop());
}

TEST_F(ServerTest, AListenerThatIsClosedEndsItsServe) {
  auto listener = std::make_unique<FailingListener>(world, 0);
  FailingListener* raw = listener.get();
  Background serving;
  in_background(server.serve(std::move(listener)), serving);
  EXPECT_FALSE(serving.done);
  raw->close();
  world.run_for(Duration::milliseconds(1));
  EXPECT_TRUE(serving.done);
}

TEST_F(ServerTest, StopWithIdleClientsIsImmediate) {
  RawClient serving = attach();
  RawClient greeting = connect();
  greeting.greet();
  const MonotonicTime start = world.now();
  world.run(server.stop());
  EXPECT_LT((world.now() - start).to_seconds(), 0.1);
  EXPECT_TRUE(serving.at_end());
  EXPECT_TRUE(greeting.at_end());
  EXPECT_EQ(disk.closed, 1u);
  EXPECT_TRUE(server.sessions().empty());
  world.run(server.stop());  // once more is nothing
}

TEST_F(ServerTest, StopLetsRequestsInFlightFinishAndRefusesNewOnes) {
  disk.takes_writes_at_once = false;
  disk.gate_closed = true;
  RawClient client = attach_structured();
  client.write(1, 0, "in flight");
  world.run_for(Duration::milliseconds(10));
  Background stop;
  in_background(server.stop(), stop);
  client.write(2, 100, "too late");
  const Reply late = client.reply();
  EXPECT_EQ(late.cookie, 2u);
  EXPECT_EQ(late.error, 108u);
  EXPECT_EQ(late.message, "the server is shutting down");
  EXPECT_FALSE(stop.done);
  disk.open_gate();
  const Reply early = client.reply();
  EXPECT_EQ(early.cookie, 1u);
  EXPECT_EQ(early.error, 0u);
  EXPECT_TRUE(client.at_end());
  world.run_for(Duration::seconds(1));
  EXPECT_TRUE(stop.done);
  EXPECT_EQ(content(0, 9), "in flight");
  EXPECT_EQ(content(100, 8), std::string(8, '\0'));
}

TEST_F(ServerTest, AClientThatHoldsItsSocketDoesNotHoldUpAStop) {
  RawClient deaf = attach();
  WireEncoder reads;
  for (int i = 0; i < 4; ++i) RawClient::encode(reads, kCommandRead, 0, 1, 0, kSizeBytes);
  deaf.send(reads);
  world.run_for(Duration::seconds(1));
  const MonotonicTime start = world.now();
  world.run(server.stop());  // it neither reads nor closes
  EXPECT_LE((world.now() - start).to_seconds(), 5.5);
  EXPECT_EQ(disk.closed, 1u);
}

TEST_F(ServerTest, ATargetThatHangsHoldsUpAStopUntilTheDrainTimeout) {
  disk.gate_closed = true;
  RawClient client = attach();
  client.request(kCommandFlush, 1);
  world.run_for(Duration::seconds(1));
  EXPECT_EQ(disk.running, 1u);
  const MonotonicTime start = world.now();
  world.run(server.stop());
  EXPECT_GE((world.now() - start).to_seconds(), 29.0);
  EXPECT_LE((world.now() - start).to_seconds(), 36.0);
  EXPECT_EQ(disk.running, 0u);
  EXPECT_EQ(disk.closed, 1u);
}

TEST_F(ServerTest, StopWhileAnExportIsBeingOpenedTellsTheClient) {
  directory.close_gate();
  RawClient client = connect();
  client.greet();
  client.option(kOptionGo, RawClient::info_data("disk"));
  world.run_for(Duration::seconds(1));
  Background stop;
  in_background(server.stop(), stop);
  directory.open_gate();
  EXPECT_EQ(client.final_reply(), kReplyErrorShutdown);
  EXPECT_TRUE(client.at_end());
  world.run_for(Duration::seconds(1));
  EXPECT_TRUE(stop.done);
  EXPECT_EQ(disk.opened, disk.closed);
}

TEST_F(ServerTest, DisconnectEndsMatchingSessionsAloneAndWaitsForTheirRequests) {
  MemoryExport& other = directory.add("other", kSizeBytes);
  disk.gate_closed = true;
  RawClient client = attach();
  RawClient bystander = attach("other");
  client.request(kCommandFlush, 1);
  world.run_for(Duration::milliseconds(10));
  Background disconnect;
  in_background(server.disconnect([](const std::string& name) { return name == "disk"; }), disconnect);
  world.run_for(Duration::seconds(1));
  EXPECT_FALSE(disconnect.done);
  EXPECT_EQ(disk.closed, 0u);
  disk.open_gate();
  EXPECT_EQ(client.reply().error, 0u);
  EXPECT_TRUE(client.at_end());
  world.run_for(Duration::milliseconds(10));
  EXPECT_TRUE(disconnect.done);
  EXPECT_EQ(disk.closed, 1u);
  EXPECT_EQ(bystander.error_of(kCommandFlush, 0, 0), 0u);
  EXPECT_EQ(other.closed, 0u);
  EXPECT_EQ(attach().error_of(kCommandFlush, 0, 0), 0u);  // the directory decides who may come back
}

TEST_F(ServerTest, DisconnectReachesAClientThatIsJustOpening) {
  directory.close_gate();
  RawClient client = connect();
  client.greet();
  client.option(kOptionGo, RawClient::info_data("disk"));
  world.run_for(Duration::seconds(1));
  Background disconnect;
  in_background(server.disconnect([](const std::string& name) { return name == "disk"; }), disconnect);
  directory.open_gate();
  EXPECT_EQ(client.final_reply(), kReplyErrorShutdown);
  world.run_for(Duration::seconds(1));
  EXPECT_TRUE(disconnect.done);
  EXPECT_EQ(disk.opened, disk.closed);
}

TEST_F(ServerTest, DisconnectOfNobodyReturnsAtOnce) {
  RawClient client = attach();
  RawClient greeting = connect();
  world.run(server.disconnect([](const std::string& name) { return name.empty(); }));
  EXPECT_EQ(server.sessions().size(), 2u);
}

TEST_F(ServerTest, DestroyingTheServerDropsEverything) {
  disk.gate_closed = true;
  {
    Server second(environment, directory);
    io::TaskScope scope(world);
    scope.spawn(second.serve(world.run(world.network().listen(address(3))).value()));
    RawClient client(world, world.run(world.network().connect(address(3), Duration::seconds(1))).value());
    EXPECT_TRUE(client.greet());
    EXPECT_EQ(client.go("disk"), kReplyAck);
    client.request(kCommandFlush, 1);
    world.run_for(Duration::seconds(1));
    EXPECT_EQ(disk.running, 1u);
  }
  EXPECT_EQ(disk.running, 0u);
  EXPECT_EQ(disk.closed, 1u);
}

TEST_F(ServerTest, ABrokenLinkEndsTheSession) {
  disk.gate_closed = true;
  RawClient client = attach();
  client.request(kCommandFlush, 1);
  world.run_for(Duration::seconds(1));
  world.network().reset_all();
  world.run_for(Duration::seconds(1));
  EXPECT_EQ(server.sessions().size(), 1u);  // the flush is still running
  disk.open_gate();
  world.run_for(Duration::seconds(1));
  EXPECT_TRUE(server.sessions().empty());
}

}  // namespace
}  // namespace tidemark::nbd::test

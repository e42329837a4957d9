#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "nbd/memory_target.h"
#include "nbd/raw_client.h"
#include "nbd/server.h"
#include "sim/network.h"
#include "sim/world.h"

namespace tidemark::nbd::test {

inline const io::Address kAddress{io::Address::Kind::kTcp, "", "server", 10809};

// A server with one export "disk" of 1 MiB on a simulated network.
class NbdTest : public ::testing::Test {
 protected:
  static constexpr std::uint64_t kSizeBytes = 1 << 20;

  explicit NbdTest(ServerLimits limits = {}, TlsMode tls = {})
      : world(7),
        directory(world),
        disk(directory.add("disk", kSizeBytes)),
        environment(world.environment()),
        server(
            environment, directory, limits,
            [this](const std::string& event, const std::string& fields) {
              reports.push_back(event + " " + fields);
            },
            tls),
        tasks(world) {
    std::unique_ptr<io::Listener> listener = world.run(world.network().listen(kAddress)).value();
    tasks.spawn(server.serve(std::move(listener)));
  }

  RawClient connect() {
    return RawClient(world, world.run(world.network().connect(kAddress, Duration::seconds(5))).value());
  }
  // In transmission, with simple replies.
  RawClient attach(const std::string& name = "disk") {
    RawClient client = connect();
    EXPECT_TRUE(client.greet());
    EXPECT_EQ(client.go(name), kReplyAck);
    return client;
  }
  // In transmission, with structured replies and base:allocation.
  RawClient attach_structured(const std::string& name = "disk") {
    RawClient client = connect();
    EXPECT_TRUE(client.greet());
    EXPECT_EQ(client.structured(), kReplyAck);
    EXPECT_EQ(client.set_context(name), kReplyAck);
    EXPECT_EQ(client.go(name), kReplyAck);
    return client;
  }
  std::string content(std::uint64_t offset, std::size_t length) const {
    return std::string(reinterpret_cast<const char*>(disk.content.data()) + offset, length);
  }

  sim::World world;
  MemoryDirectory directory;
  MemoryExport& disk;
  io::Environment environment;
  std::vector<std::string> reports;
  Server server;
  io::TaskScope tasks;
};

}  // namespace tidemark::nbd::test

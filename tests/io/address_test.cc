#include <gtest/gtest.h>

#include <string>

#include "io/stream.h"

namespace tidemark::io {
namespace {

TEST(Address, ReadsWhatItShows) {
  for (const char* text : {"unix:/run/nbd.sock", "unix:relative/path", "tcp:example.org:10809",
                           "tcp:127.0.0.1:0", "tcp:[::1]:10809", "tcp:[fe80::1]:65535"}) {
    const Result<Address> address = Address::parse(text);
    ASSERT_TRUE(address.ok()) << text;
    EXPECT_EQ(address->to_string(), text);
    EXPECT_EQ(*Address::parse(address->to_string()), *address);
  }
  EXPECT_EQ(Address::parse("/run/x")->to_string(), "unix:/run/x");
  EXPECT_EQ(Address::parse("./x")->to_string(), "unix:./x");
  EXPECT_EQ(Address::parse("tcp:[::1]:5")->host, "::1");
}

TEST(Address, RefusesEverythingElse) {
  const std::string with_zero_byte("unix:a\0b", 8);
  for (const std::string& text :
       {std::string(), std::string("host:1"), std::string("udp:host:1"), std::string("unix:"),
        std::string("tcp:"), std::string("tcp:host"), std::string("tcp:host:"), std::string("tcp::1"),
        std::string("tcp:[]:1"), std::string("tcp:host:65536"), std::string("tcp:host:-1"),
        std::string("tcp:host:+1"), std::string("tcp:host:1x"), std::string("tcp:host: 1"),
        "unix:" + std::string(108, 'x'), with_zero_byte}) {
    const Result<Address> address = Address::parse(text);
    ASSERT_FALSE(address.ok()) << text;
    EXPECT_EQ(address.error().code, ErrorCode::kInvalid);
  }
  EXPECT_TRUE(Address::parse("unix:" + std::string(107, 'x')).ok());
}

TEST(Address, RefusesAHostThatWouldReadBackAsAnother) {
  const std::string with_zero_byte("tcp:a\0b:1", 9);
  for (const std::string& text :
       {std::string("tcp:[[a]]:1"), std::string("tcp:[[::1]]:1"), std::string("tcp:[a:1"),
        std::string("tcp:a]:1"), std::string("tcp:a b:1"), with_zero_byte}) {
    const Result<Address> address = Address::parse(text);
    ASSERT_FALSE(address.ok()) << text;
    EXPECT_EQ(address.error().code, ErrorCode::kInvalid);
  }
}

TEST(Address, KnowsWhatStaysOnThisMachine) {
  for (const char* text :
       {"unix:/a", "tcp:localhost:1", "tcp:127.0.0.1:1", "tcp:127.9.9.9:1", "tcp:[::1]:1"}) {
    EXPECT_TRUE(Address::parse(text)->is_local()) << text;
  }
  for (const char* text : {"tcp:0.0.0.0:1", "tcp:10.0.0.1:1", "tcp:[::]:1", "tcp:localhost.example.org:1",
                           "tcp:127.example.org:1", "tcp:127.0.0.1.example.org:1"}) {
    EXPECT_FALSE(Address::parse(text)->is_local()) << text;
  }
}

}  // namespace
}  // namespace tidemark::io

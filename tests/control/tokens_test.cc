#include "control/tokens.h"

#include <gtest/gtest.h>

#include <set>

#include "control/http_client.h"
#include "control/rate_limit.h"
#include "control/router.h"

namespace tidemark::control {
namespace {

Token token(const std::string& name, Role role, const std::string& secret) {
  Token made;
  made.name = name;
  made.role = role;
  made.hash = hash_secret(secret);
  return made;
}

TEST(Tokens, AFileOfLinesIsRead) {
  Token alice = token("alice", Role::kAdministrator, "one");
  alice.expires = parse_time("2027-01-01T00:00:00Z").value();
  const Token grafana = token("grafana", Role::kViewer, "two");
  const std::string text =
      "# who may do what\n\n  \t\n" + token_line(alice) + "\r\n  # more\n\t" + token_line(grafana) + "  ";
  const Result<TokenTable> table = TokenTable::parse(text);
  ASSERT_TRUE(table.ok()) << table.error().message;
  ASSERT_EQ(table->tokens().size(), 2u);
  const Token* found = table->find("one");
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->name, "alice");
  EXPECT_EQ(found->role, Role::kAdministrator);
  EXPECT_EQ(found->expires, alice.expires);
  found = table->find("two");
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->name, "grafana");
  EXPECT_FALSE(found->expires.has_value());
  for (const std::string& no :
       {std::string(), std::string("three"), std::string("one "), std::string(kSecretBytesMax + 1, 'x')}) {
    EXPECT_EQ(table->find(no), nullptr) << no;
  }
  EXPECT_TRUE(TokenTable::parse("").ok()) << "nobody at all";
}

TEST(Tokens, TheHashIsTheOneThatSha256sumPrints) {
  EXPECT_EQ(token_line(token("x", Role::kOperator, "test")),
            "x operator 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08");
  const std::string upper = "x operator 9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08";
  EXPECT_NE(TokenTable::parse(upper)->find("test"), nullptr);
}

TEST(Tokens, WhatIsWrongIsNamedWithItsLine) {
  const std::string hash(64, 'a');
  const std::string other(64, 'b');
  const std::pair<std::string, const char*> kTable[] = {
      {"alice", "write NAME ROLE SHA-256"},
      {"alice viewer", "write NAME ROLE SHA-256"},
      {"alice viewer " + hash + " expires=2027-01-01T00:00:00Z more", "write NAME ROLE SHA-256"},
      {"al/ice viewer " + hash, "token name"},
      {"alice root " + hash, "'root' is no role"},
      {"alice Viewer " + hash, "'Viewer' is no role"},
      {"alice viewer " + hash.substr(1), "64 hexadecimal digits"},
      {"alice viewer " + hash.substr(1) + "g", "64 hexadecimal digits"},
      {"alice viewer tidemark-" + hash, "never the secret"},
      {"alice viewer " + hash + " until=tomorrow", "'until=tomorrow' is not expires=TIME"},
      {"alice viewer " + hash + " expires=tomorrow", "tomorrow"},
      {"bob viewer " + hash, "there is a token 'bob' already"},
      {"alice viewer " + other, "'alice' has the secret of 'bob'"},
      {"alice viewer " + hash + "\x01", "hexadecimal"},
      {std::string("alice\0 viewer ", 14) + hash, "token name"},
  };
  for (const auto& [line, message_has] : kTable) {
    const Result<TokenTable> table = TokenTable::parse("bob operator " + other + "\n" + line + "\n");
    ASSERT_FALSE(table.ok()) << line;
    EXPECT_EQ(table.error().code, ErrorCode::kInvalid);
    EXPECT_NE(table.error().message.find("line 2: "), std::string::npos) << table.error().message;
    EXPECT_NE(table.error().message.find(message_has), std::string::npos) << table.error().message;
  }
}

TEST(Tokens, AFileHasABound) {
  EXPECT_FALSE(TokenTable::parse(std::string(kTokenFileBytesMax + 1, '#')).ok());
  std::string text;
  for (std::size_t i = 0; i <= kTokensMax; ++i) {
    text += token_line(token("t" + std::to_string(i), Role::kViewer, std::to_string(i))) + "\n";
  }
  const Result<TokenTable> table = TokenTable::parse(text);
  ASSERT_FALSE(table.ok());
  EXPECT_NE(table.error().message.find("more than 1000 tokens"), std::string::npos) << table.error().message;
}

TEST(Tokens, ATokenEndsAtItsMoment) {
  Token some = token("x", Role::kViewer, "x");
  EXPECT_FALSE(some.has_expired(WallTime{1}));
  some.expires = WallTime{100};
  EXPECT_FALSE(some.has_expired(WallTime{99}));
  EXPECT_TRUE(some.has_expired(WallTime{100}));
}

// Each operation stands in one of these lists, so that a new one is thought about.
TEST(Roles, EveryOperationHasItsRole) {
  const std::map<Role, std::set<std::string_view>> expected = {
      {Role::kViewer, {"node_status",    "sessions",       "table",
                       "group_list",     "group_show",     "rehearsal_show",
                       "volume_list",    "disk_list",      "raid_list",
                       "raid_status",    "volume_address", "volume_show",
                       "diff",           "pair_status",    "pair_verify_status",
                       "journal_status", "journal_show",   "journal_verify_status",
                       "mark_list",      "mark_show",      "branch_list",
                       "branch_show"}},
      {Role::kOperator,
       {"raid_scrub",          "raid_scrub_stop",    "rehearsal_begin", "rehearsal_end",
        "pair_suspend",        "pair_resync",        "pair_verify",     "pair_verify_stop",
        "journal_start",       "journal_stop",       "journal_data",    "journal_export_begin",
        "journal_export_read", "journal_export_end", "journal_verify",  "journal_verify_stop",
        "table_check",         "mark_create",        "mark_name",       "mark_hold",
        "mark_release"}},
      {Role::kAdministrator, {"disk_add",           "disk_replace",         "disk_remove",   "raid_create",
                              "raid_forget",        "group_create",         "group_set",     "group_open",
                              "group_serve",        "group_delete",         "volume_create", "volume_resize",
                              "volume_delete",      "pair_create",          "pair_set",      "pair_takeover",
                              "pair_delete",        "mark_delete",          "restore",       "branch_release",
                              "journal_volume_add", "journal_volume_remove"}}};
  std::map<Role, std::set<std::string_view>> found;
  for (const ServerRoute& route : server_routes()) {
    found[route.info.role].insert(route.info.operation);
    if (route.info.role == Role::kViewer) {
      EXPECT_EQ(route.info.method, "GET") << route.info.operation << " changes something";
    }
  }
  EXPECT_EQ(found, expected);
}

TEST(Roles, WhatCannotBeTakenBackNeedsMore) {
  PairResyncRequest resync;
  EXPECT_EQ(role_of(resync), Role::kOperator);
  resync.give_up_window = true;
  EXPECT_EQ(role_of(resync), Role::kAdministrator);
  resync = {};
  resync.from = ResyncFrom::kSecondary;
  EXPECT_EQ(role_of(resync), Role::kAdministrator);
  PairVerifyRequest verify;
  EXPECT_EQ(role_of(verify), Role::kOperator);
  verify.repair = RepairFrom{};
  EXPECT_EQ(role_of(verify), Role::kAdministrator);
  EXPECT_EQ(role_of(RestoreRequest{}), Role::kAdministrator);
  EXPECT_EQ(role_of(MarkListRequest{}), Role::kViewer);
}

TEST(RateLimitTest, ABurstAndThenOneAnInterval) {
  RateLimit limit(3, Duration::seconds(10));
  const auto at = [](std::int64_t seconds) { return MonotonicTime{Duration::seconds(seconds).ns}; };
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(limit.take(at(100)));
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(limit.take(at(109)));
  EXPECT_TRUE(limit.take(at(110)));
  EXPECT_EQ(limit.take_left_out(), 5u);
  EXPECT_EQ(limit.take_left_out(), 0u);
  EXPECT_FALSE(limit.take(at(119)));
  EXPECT_TRUE(limit.take(at(139)));
  EXPECT_TRUE(limit.take(at(139)));
  EXPECT_FALSE(limit.take(at(139)));
  EXPECT_TRUE(limit.take(at(140))) << "what was left of the interval counts";
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(limit.take(at(10'000)));
  EXPECT_FALSE(limit.take(at(10'000))) << "no more than a burst is saved";
}

TEST(FindNode, HttpsIsTcpWithTls) {
  const Result<ControlAddress> address = find_node("https://tokyo.example.org:7081/");
  ASSERT_TRUE(address.ok()) << address.error().message;
  EXPECT_TRUE(address->needs_tls);
  EXPECT_FALSE(address->is_unix);
  EXPECT_EQ(address->host, "tokyo.example.org");
  EXPECT_EQ(address->to_string(), "https://tokyo.example.org:7081");
  EXPECT_EQ(find_node("https://[::1]:7081")->to_string(), "https://[::1]:7081");
  EXPECT_FALSE(find_node("tcp:127.0.0.1:1")->needs_tls);
  for (const char* bad :
       {"https://", "https://host", "https://host:", "https://host:1/v1", "https://:7081"}) {
    const Result<ControlAddress> refused = find_node(bad);
    ASSERT_FALSE(refused.ok()) << bad;
    EXPECT_NE(refused.error().message.find("https://HOST:PORT"), std::string::npos);
  }
}

}  // namespace
}  // namespace tidemark::control

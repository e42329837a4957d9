#include "base/log_field.h"

#include <gtest/gtest.h>

namespace tidemark {
namespace {

TEST(LogField, AValueIsOneWordOrStandsInQuotes) {
  EXPECT_EQ(log_field("group", "app"), "group=app");
  EXPECT_EQ(log_field("bytes", 4096), "bytes=4096");
  EXPECT_EQ(log_field("reason", "the link ended"), "reason=\"the link ended\"");
  EXPECT_EQ(log_field("reason", "say \"no\""), "reason=\"say \\\"no\\\"\"");
  EXPECT_EQ(log_field("export", ""), "export=\"\"");
  EXPECT_EQ(log_field("export", "a=b"), "export=\"a=b\"");
}

TEST(LogField, WhatWouldHarmATerminalOrTheLineIsEscaped) {
  EXPECT_EQ(log_field("client", "x\x1b[2J\ny"), "client=x\\x1b[2J\\x0ay");
}

}  // namespace
}  // namespace tidemark

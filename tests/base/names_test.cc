#include "base/names.h"

#include <gtest/gtest.h>

#include <string>

namespace tidemark {
namespace {

TEST(ValidateName, AcceptsWhatTheRuleAllows) {
  for (const char* name : {"a", "0", "before-upgrade", "order_4711.saved", "Head", "floor2", "a.", "Z--"}) {
    EXPECT_TRUE(validate_name("name", name).ok()) << name;
  }
  EXPECT_TRUE(validate_name("name", std::string(64, 'x')).ok());
  EXPECT_TRUE(validate_name("mark id", std::string(128, 'x'), kMarkIdLengthMax).ok());
}

TEST(ValidateName, RefusesEverythingElse) {
  const std::string with_zero_byte("a\0b", 3);
  for (const std::string& name :
       {std::string(), std::string("-a"), std::string(".a"), std::string("_a"), std::string("a b"),
        std::string("a@b"), std::string("a/b"), std::string("a\nb"), std::string("a\x1b[31m"),
        std::string("\xc3\xa4"), std::string("a~b"), std::string("a:b"), std::string("head"),
        std::string("floor"), std::string(65, 'x'), with_zero_byte}) {
    const Result<void> result = validate_name("group name", name);
    ASSERT_FALSE(result.ok()) << printable(name);
    EXPECT_EQ(result.error().code, ErrorCode::kInvalid);
    EXPECT_TRUE(result.error().message.starts_with("group name")) << result.error().message;
  }
  EXPECT_FALSE(validate_name("mark id", std::string(129, 'x'), kMarkIdLengthMax).ok());
}

TEST(ValidateName, ShowsABadNameSafely) {
  const std::string message = validate_name("mark id", "a\x1b[31m").error().message;
  EXPECT_EQ(message.find('\x1b'), std::string::npos);
  EXPECT_NE(message.find("a\\x1b[31m"), std::string::npos);
  EXPECT_LT(validate_name("mark id", std::string(1 << 20, 'x')).error().message.size(), 200u);
}

TEST(Printable, EscapesAndCuts) {
  EXPECT_EQ(printable("plain text"), "plain text");
  EXPECT_EQ(printable("a\tb\x7f\xff"), "a\\x09b\\x7f\\xff");
  EXPECT_EQ(printable("abcdef", 3), "abc...");
  EXPECT_EQ(printable("abc", 3), "abc");
}

}  // namespace
}  // namespace tidemark

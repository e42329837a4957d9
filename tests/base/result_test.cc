#include "base/result.h"

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>

namespace tidemark {
namespace {

Result<int> half_of(int number) {
  if (number % 2 != 0) return fail(ErrorCode::kInvalid, std::to_string(number) + " is odd");
  return number / 2;
}

Result<int> quarter_of(int number) {
  TM_TRY_ASSIGN(const int half, half_of(number));
  TM_TRY_ASSIGN(const int quarter, half_of(half));
  return quarter;
}

Result<void> check_quarter(int number) {
  TM_TRY(quarter_of(number));
  return {};
}

TEST(Result, HoldsAValueOrAnError) {
  const Result<int> good = half_of(8);
  EXPECT_TRUE(good.ok());
  EXPECT_TRUE(static_cast<bool>(good));
  EXPECT_EQ(*good, 4);
  const Result<int> bad = half_of(7);
  EXPECT_FALSE(bad.ok());
  EXPECT_EQ(bad.error().code, ErrorCode::kInvalid);
  EXPECT_EQ(bad.error().message, "7 is odd");
}

TEST(Result, TheMacrosHandAFailureToTheCaller) {
  EXPECT_EQ(*quarter_of(8), 2);
  EXPECT_EQ(quarter_of(6).error().message, "3 is odd");
  EXPECT_TRUE(check_quarter(8).ok());
  EXPECT_EQ(check_quarter(6).error().message, "3 is odd");
}

TEST(Result, HoldsWhatCanOnlyBeMoved) {
  Result<std::unique_ptr<int>> result(std::make_unique<int>(5));
  std::unique_ptr<int> taken = std::move(result).value();
  EXPECT_EQ(*taken, 5);
}

TEST(Result, OfNothingIsOkUnlessItFailed) {
  const Result<void> good;
  EXPECT_TRUE(good.ok());
  const Result<void> bad = fail(ErrorCode::kBusy, "later");
  EXPECT_FALSE(bad.ok());
  EXPECT_EQ(bad.error().message, "later");
}

TEST(ResultDeathTest, ReadingWhatIsNotThereAborts) {
  EXPECT_DEATH((void)half_of(7).value(), "assertion failed");
  EXPECT_DEATH((void)half_of(8).error(), "assertion failed");
  const Result<void> bad = fail(ErrorCode::kBusy, "later");
  EXPECT_DEATH(bad.value(), "assertion failed");
  EXPECT_DEATH((void)Result<void>{}.error(), "assertion failed");
}

TEST(ErrorCode, EveryCodeHasANameOfItsOwn) {
  std::set<std::string> names;
  for (int code = 0; code <= static_cast<int>(ErrorCode::kShutdown); ++code) {
    names.insert(error_code_name(static_cast<ErrorCode>(code)));
  }
  EXPECT_EQ(names.size(), static_cast<std::size_t>(ErrorCode::kShutdown) + 1);
  EXPECT_FALSE(names.contains("unknown"));
  EXPECT_STREQ(error_code_name(ErrorCode::kNotFound), "not-found");
}

}  // namespace
}  // namespace tidemark

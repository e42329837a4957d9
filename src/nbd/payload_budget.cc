#include "nbd/payload_budget.h"

#include "base/assert.h"

namespace tidemark::nbd {

PayloadBudget::Account::Account(PayloadBudget& budget, Holder& holder) : budget_(budget), holder_(holder) {
  budget_.accounts_.push_back(this);
}

PayloadBudget::Account::~Account() {
  leave_line();
  budget_.accounts_.remove(this);
  give_back(held_);
}

void PayloadBudget::Account::take(std::uint64_t bytes) {
  budget_.shared_bytes_used_ += budget_.extra(*this, bytes);
  TM_ASSERT(budget_.shared_bytes_used_ <= budget_.shared_bytes_max_);
  held_ += bytes;
}

void PayloadBudget::Account::give_back(std::uint64_t bytes) {
  TM_ASSERT(bytes <= held_);
  held_ -= bytes;
  given_back_ += bytes;
  budget_.shared_bytes_used_ -= budget_.extra(*this, bytes);
  budget_.serve_line();
}

void PayloadBudget::Account::stand_in_line(std::uint64_t bytes) {
  wanted_ = bytes;
  if (in_line_) return;
  in_line_ = true;
  budget_.line_.push_back(this);
}

void PayloadBudget::Account::leave_line() {
  if (!in_line_) return;
  in_line_ = false;
  budget_.line_.remove(this);
  budget_.serve_line();
}

void PayloadBudget::Account::end_a_stalled_one() {
  if (budget_.holds_too_much(*this, wanted_)) return;
  Account* largest = nullptr;
  for (Account* account : budget_.accounts_) {
    if (budget_.shared_part(account->held_) == 0 || !account->holder_.is_stalled()) continue;
    if (largest == nullptr || account->held_ > largest->held_) largest = account;
  }
  if (largest != nullptr) largest->holder_.give_up();
}

// What `bytes` more take from the shared part.
std::uint64_t PayloadBudget::extra(const Account& account, std::uint64_t bytes) const {
  return shared_part(account.held_ + bytes) - shared_part(account.held_);
}

bool PayloadBudget::holds_too_much(const Account& account, std::uint64_t bytes) const {
  const std::uint64_t holds = shared_part(account.held_);
  const std::uint64_t takes = extra(account, bytes);
  if (holds == 0 || takes == 0) return false;
  if (holds + takes > account.given_back_ || takes > shared_bytes_free()) return true;
  return holds + takes > (shared_bytes_free() - takes) / 2;
}

bool PayloadBudget::may_take(const Account& account, std::uint64_t bytes) const {
  const std::uint64_t takes = extra(account, bytes);
  if (takes == 0) return true;
  if (takes > shared_bytes_free() || holds_too_much(account, bytes)) return false;
  for (const Account* before : line_) {
    if (before == &account) break;
    if (!holds_too_much(*before, before->wanted_)) return false;
  }
  return true;
}

void PayloadBudget::serve_line() {
  std::uint64_t left = shared_bytes_free();
  for (Account* account : line_) {
    if (holds_too_much(*account, account->wanted_)) continue;
    const std::uint64_t takes = extra(*account, account->wanted_);
    if (takes > left) break;
    left -= takes;
    account->holder_.room_may_have_come();
  }
}

}  // namespace tidemark::nbd

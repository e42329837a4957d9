#pragma once

#include <cstdint>
#include <list>

#include "base/time.h"

namespace tidemark::nbd {

// Memory for the payloads of all connections of a server. Each connection has a small share of its own, which
// nobody can take from it; what it holds beyond that comes from a part that all share. Nothing is allocated
// here: it is counted, in bytes.
//
// A connection that holds nothing of the shared part may take one request from it, if that fits. Beyond that
// it may hold as much as it has given back so far, so that a client which never takes a reply holds one
// request; and half of what is left when it has taken it, so that one alone has a third, and each of those
// that take part in earnest and then let nothing go leaves two thirds of what it found. Those that wait only
// because their request does not fit are served in order of arrival, and nobody passes them; those that hold
// too much already keep nobody waiting.
//
// Whoever waits may have the one ended that holds the most and whose client has made no use of the connection
// for too long: a client that reads no replies delays others, and does not stop them.
//
// Owned by the server, used on the reactor thread; outlives the accounts.
class PayloadBudget {
 public:
  // A connection, to the budget.
  class Holder {
   public:
    virtual ~Holder() = default;
    // It stands in line and may find room now.
    virtual void room_may_have_come() = 0;
    // Its client has kept it waiting for too long.
    virtual bool is_stalled() const = 0;
    // Ends it; what it holds comes back soon, not at once.
    virtual void give_up() = 0;
  };

  // What one connection holds. Outlived by its holder; destroyed, it gives all back.
  class Account {
   public:
    Account(PayloadBudget& budget, Holder& holder);
    ~Account();
    Account(const Account&) = delete;
    Account& operator=(const Account&) = delete;

    std::uint64_t held() const { return held_; }
    bool may_take(std::uint64_t bytes) const { return budget_.may_take(*this, bytes); }
    // Only after may_take() said so, in the same turn.
    void take(std::uint64_t bytes);
    void give_back(std::uint64_t bytes);

    // From when it does not get `bytes` until it has them or wants them no more. May be entered again.
    void stand_in_line(std::uint64_t bytes);
    void leave_line();
    // It has waited for a while: ends the largest stalled holder, when lack of space is what it waits for.
    void end_a_stalled_one();

   private:
    friend class PayloadBudget;
    PayloadBudget& budget_;
    Holder& holder_;
    std::uint64_t held_ = 0;
    std::uint64_t given_back_ = 0;  // since it began
    std::uint64_t wanted_ = 0;      // while in line
    bool in_line_ = false;
  };

  // `shared_bytes_max` holds the longest request at least.
  PayloadBudget(std::uint64_t share_bytes, std::uint64_t shared_bytes_max)
      : share_bytes_(share_bytes), shared_bytes_max_(shared_bytes_max) {}
  PayloadBudget(const PayloadBudget&) = delete;
  PayloadBudget& operator=(const PayloadBudget&) = delete;

  std::uint64_t shared_bytes_used() const { return shared_bytes_used_; }

 private:
  std::uint64_t shared_part(std::uint64_t held) const {
    return held > share_bytes_ ? held - share_bytes_ : 0;
  }
  std::uint64_t shared_bytes_free() const { return shared_bytes_max_ - shared_bytes_used_; }
  std::uint64_t extra(const Account& account, std::uint64_t bytes) const;
  bool holds_too_much(const Account& account, std::uint64_t bytes) const;
  bool may_take(const Account& account, std::uint64_t bytes) const;
  void serve_line();

  std::uint64_t share_bytes_;
  std::uint64_t shared_bytes_max_;
  std::uint64_t shared_bytes_used_ = 0;
  std::list<Account*> accounts_;
  std::list<Account*> line_;  // oldest first
};

// The budgets of a server. Few of the longest requests fit in any memory, and so clients that hold some of
// them for long must not stand in the way of the others: long ones have a budget apart.
struct PayloadBudgets {
  PayloadBudget ordinary;
  PayloadBudget large;  // requests of more than kOrdinaryBytesMax

  static constexpr std::uint64_t kOrdinaryBytesMax = 1 << 20;
};

}  // namespace tidemark::nbd

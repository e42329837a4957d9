#include "io/scheduler.h"

namespace tidemark::io {

void Waiter::unlink() {
  if (list_ != nullptr) list_->remove(*this);
  if (timer_queue_ != nullptr) {
    timer_queue_->erase(timer_);
    timer_queue_ = nullptr;
  }
}

WaiterList::~WaiterList() {
  while (pop_front() != nullptr) {
  }
}

// GCC 12 sees that run_ready() puts a local waiter here, but not that it takes it out again.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdangling-pointer"
#endif
void WaiterList::push_back(Waiter& waiter) {
  TM_ASSERT(!waiter.linked());
  waiter.list_ = this;
  waiter.previous_ = last_;
  waiter.next_ = nullptr;
  if (last_ != nullptr) {
    last_->next_ = &waiter;
  } else {
    first_ = &waiter;
  }
  last_ = &waiter;
}
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

Waiter* WaiterList::pop_front() {
  Waiter* waiter = first_;
  if (waiter != nullptr) remove(*waiter);
  return waiter;
}

void WaiterList::remove(Waiter& waiter) {
  TM_ASSERT(waiter.list_ == this);
  if (waiter.previous_ != nullptr) {
    waiter.previous_->next_ = waiter.next_;
  } else {
    first_ = waiter.next_;
  }
  if (waiter.next_ != nullptr) {
    waiter.next_->previous_ = waiter.previous_;
  } else {
    last_ = waiter.previous_;
  }
  waiter.next_ = waiter.previous_ = nullptr;
  waiter.list_ = nullptr;
}

Scheduler::~Scheduler() {
  for (const auto& [due, waiter] : timers_) waiter->timer_queue_ = nullptr;
}

void Scheduler::post(Waiter& waiter) {
  ready_.push_back(waiter);
}

void Scheduler::post_at(Waiter& waiter, MonotonicTime due) {
  TM_ASSERT(!waiter.linked());
  waiter.timer_queue_ = &timers_;
  waiter.timer_ = timers_.insert({{due, next_timer_number_++}, &waiter}).first;
}

std::size_t Scheduler::run_ready() {
  // A marker ends the pass, so that a coroutine that keeps yielding cannot starve the I/O.
  Waiter marker;
  ready_.push_back(marker);
  std::size_t resumed = 0;
  for (Waiter* waiter = ready_.pop_front(); waiter != &marker; waiter = ready_.pop_front()) {
    TM_ASSERT(waiter != nullptr);
    ++resumed;
    waiter->handle.resume();
  }
  return resumed;
}

std::optional<MonotonicTime> Scheduler::next_timer() const {
  if (timers_.empty()) return std::nullopt;
  return timers_.begin()->first.first;
}

void Scheduler::fire_timers(MonotonicTime now) {
  while (!timers_.empty() && timers_.begin()->first.first <= now) {
    Waiter* waiter = timers_.begin()->second;
    timers_.erase(timers_.begin());
    waiter->timer_queue_ = nullptr;
    ready_.push_back(*waiter);
  }
}

}  // namespace tidemark::io

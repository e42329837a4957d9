#include "os/reactor.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "os/descriptor.h"
#include "os/machine_load.h"
#include "os/request.h"
#include "os/spin_policy.h"

// Invariants:
// - Every entry handed to push() is answered by exactly one completion; `in_flight` counts them.
// - An operation in state kInFlight is owned by the kernel: it is neither reused nor freed, and what it
//   pins is not touched.
// - user_data of an operation is its generation (never 0) and index; values below 2^32 are ours.
namespace tidemark::os {
namespace {

constexpr std::uint64_t kWakeUserData = 0;
constexpr std::uint64_t kIgnoredUserData = 1;

// How often what is ready is run before the ring is looked at again: chains of wake-ups end up in one
// system call, and a coroutine that keeps yielding still cannot starve the I/O.
constexpr int kReadyPassesMax = 8;
// Kept in an idle operation for its next use; longer arrays are given back.
constexpr std::size_t kIdlePiecesMax = 64;

std::uint64_t user_data_of(const Operation& operation) {
  return (std::uint64_t{operation.generation} << 32) | operation.index;
}

[[noreturn]] void ring_failed(const char* call, int error) {
  std::fprintf(stderr, "tidemark: %s failed on a ring that worked before: %s\n", call,
               errno_text(error).c_str());
  std::abort();
}

Error refusal(int error) {
  if (error == EPERM || error == EACCES) {
    return fail(ErrorCode::kRefused,
                "io_uring is refused to this process: " + errno_text(error) +
                    "; set the sysctl kernel.io_uring_disabled to 0, or allow io_uring_setup, io_uring_enter "
                    "and io_uring_register in the seccomp profile of the container");
  }
  if (error == ENOSYS) {
    return fail(ErrorCode::kUnsupported,
                "this system has no io_uring: " + errno_text(error) +
                    "; run Linux 5.15 or newer with CONFIG_IO_URING, and allow io_uring_setup in the seccomp "
                    "profile if this is a container");
  }
  if (error == ENOMEM) {
    return fail(ErrorCode::kRefused, "io_uring could not be set up: " + errno_text(error) +
                                         "; raise the limit of locked memory (ulimit -l, LimitMEMLOCK=)");
  }
  return fail(ErrorCode::kRefused, "io_uring could not be set up: " + errno_text(error));
}

}  // namespace

struct Reactor::State {
  explicit State(const ReactorOptions& o) : options(o), spin(o.spin_max) {}

  io_uring ring{};
  ReactorOptions options;
  SpinPolicy spin;
  MachineLoad load;

  std::deque<Operation> operations;  // never shrinks; addresses stay
  std::vector<std::uint32_t> idle_operations;
  std::deque<io_uring_sqe> backlog;  // while the kernel takes no more; one per suspended coroutine at most
  std::uint64_t in_flight = 0;
  ReactorStatistics statistics;

  Descriptor wake;
  std::uint64_t wake_value = 0;
  bool woken = false;
  std::mutex posted_mutex;
  std::vector<std::function<void()>> posted;  // guarded by posted_mutex
  std::thread::id thread = std::this_thread::get_id();
};

Result<std::unique_ptr<Reactor>> Reactor::create(const ReactorOptions& options) {
  TM_ASSERT(options.ring_entries > 0);
  auto state = std::make_unique<State>(options);
  state->wake = Descriptor(::eventfd(0, EFD_CLOEXEC));
  if (!state->wake.valid()) {
    return fail(ErrorCode::kIo, "eventfd could not be made: " + errno_text(errno) +
                                    "; raise the limit of open files (ulimit -n)");
  }
  // From the best set-up to the oldest: completions run only when we ask (6.1), completions never
  // interrupt (5.19), plain.
  constexpr unsigned kAlways = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
  constexpr std::array kSetups = {
      kAlways | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
          IORING_SETUP_TASKRUN_FLAG,
      kAlways | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
      kAlways,
  };
  int error = EINVAL;
  for (std::size_t i = options.plain_setup ? kSetups.size() - 1 : 0; i < kSetups.size() && error == EINVAL;
       ++i) {
    io_uring_params params{};
    params.flags = kSetups[i];
    params.cq_entries = options.ring_entries * 4;
    error = -::io_uring_queue_init_params(options.ring_entries, &state->ring, &params);
  }
  if (error != 0) return refusal(error);
  constexpr unsigned kNeeded = IORING_FEAT_EXT_ARG | IORING_FEAT_NODROP | IORING_FEAT_FAST_POLL;
  if ((state->ring.features & kNeeded) != kNeeded) {
    ::io_uring_queue_exit(&state->ring);
    return fail(ErrorCode::kUnsupported, "the io_uring of this kernel is too old; run Linux 5.15 or newer");
  }
  // Spares a look-up in each call; an older kernel does without.
  static_cast<void>(::io_uring_register_ring_fd(&state->ring));
  return std::unique_ptr<Reactor>(new Reactor(std::move(state)));
}

Reactor::Reactor(std::unique_ptr<State> state) : state_(std::move(state)) {
  arm_wake();
}

Reactor::~Reactor() {
  State& state = *state_;
  for (Operation& operation : state.operations) {
    if (operation.state != Operation::State::kInFlight) continue;
    TM_ASSERT(operation.abandoned);  // its coroutine would go on to use a reactor that is gone
    if (operation.cancel_when_abandoned) cancel(operation);
  }
  const std::uint64_t one = 1;
  static_cast<void>(!::write(state.wake.get(), &one, sizeof one));
  // The wake-up is not armed again here, so the ring runs empty.
  while (state.in_flight > 0) {
    drain_backlog();
    sleep(std::nullopt);
    reap();
  }
  ::io_uring_queue_exit(&state.ring);
}

MonotonicTime Reactor::now() const {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return MonotonicTime{std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec};
}

ReactorStatistics Reactor::statistics() const {
  ReactorStatistics statistics = state_->statistics;
  statistics.operations = state_->operations.size();
  return statistics;
}

void Reactor::run_until(const bool& stop) {
  TM_ASSERT(std::this_thread::get_id() == state_->thread);
  while (!stop) step();
}

void Reactor::run_until_stopped() {
  stopping_ = false;
  run_until(stopping_);
  stopping_ = false;
}

void Reactor::step() {
  enter(!has_ready());
  reap();
  if (state_->woken) run_posted();
  if (next_timer().has_value()) fire_timers(now());
  for (int pass = 0; pass < kReadyPassesMax && has_ready(); ++pass) run_ready();
}

void Reactor::enter(bool may_sleep) {
  State& state = *state_;
  drain_backlog();
  const std::optional<MonotonicTime> until = next_timer();
  if (may_sleep && (!until || *until > now())) {
    if (!spin(until)) sleep(until);
    return;
  }
  const unsigned flags = *state.ring.sq.kflags;
  const bool kernel_has_work = (flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
  if (!kernel_has_work && ::io_uring_sq_ready(&state.ring) == 0) return;
  ++state.statistics.enters;
  const int result = ::io_uring_submit_and_get_events(&state.ring);
  if (result < 0 && result != -EINTR && result != -EAGAIN && result != -EBUSY) {
    ring_failed("io_uring_submit_and_get_events", -result);
  }
}

// Entries that found the ring full. They go in order, so that a cancellation never overtakes its target.
void Reactor::drain_backlog() {
  State& state = *state_;
  while (!state.backlog.empty()) {
    io_uring_sqe* slot = ::io_uring_get_sqe(&state.ring);
    if (slot == nullptr) return;
    *slot = state.backlog.front();
    state.backlog.pop_front();
  }
}

// Polls for completions as long as the policy says; true when there are some.
bool Reactor::spin(std::optional<MonotonicTime> until) {
  State& state = *state_;
  if (state.options.spin_max.ns == 0) return false;
  if (state.spin.begin_wait()) {
    timespec used{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    state.spin.look(now(), Duration{std::int64_t{used.tv_sec} * 1'000'000'000 + used.tv_nsec},
                    state.load.cores_are_wanted());
  }
  MonotonicTime time = now();
  const Duration length = state.spin.next(time);
  if (length.ns == 0) return false;
  if (::io_uring_sq_ready(&state.ring) > 0) {
    ++state.statistics.enters;
    const int submitted = ::io_uring_submit_and_get_events(&state.ring);
    if (submitted < 0) return false;  // sleep() meets the same error and deals with it
    time = now();
  }
  const MonotonicTime begun = time;
  MonotonicTime deadline = begun + length;
  if (until && *until < deadline) deadline = *until;
  Duration away{};  // while others had the core
  do {
    const unsigned flags = __atomic_load_n(state.ring.sq.kflags, __ATOMIC_ACQUIRE);
    if ((flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0) {
      ++state.statistics.enters;
      static_cast<void>(::io_uring_get_events(&state.ring));
    }
    if (::io_uring_cq_ready(&state.ring) > 0) {
      state.spin.found(time - begun - away);
      return true;
    }
    const MonotonicTime before = time;
    time = now();
    if (time - before > SpinPolicy::kGapMax) {
      away = away + (time - before);
      state.spin.core_was_wanted(time);
    }
  } while (time < deadline);
  state.spin.found_nothing(time - begun - away);
  return false;
}

void Reactor::sleep(std::optional<MonotonicTime> until) {
  State& state = *state_;
  __kernel_timespec timeout{};
  if (until) {
    const std::int64_t wait_ns = std::max<std::int64_t>((*until - now()).ns, 0);
    timeout.tv_sec = wait_ns / 1'000'000'000;
    timeout.tv_nsec = wait_ns % 1'000'000'000;
  }
  ++state.statistics.enters;
  ++state.statistics.sleeps;
  io_uring_cqe* first = nullptr;
  const int result =
      ::io_uring_submit_and_wait_timeout(&state.ring, &first, 1, until ? &timeout : nullptr, nullptr);
  // EAGAIN and EBUSY: the kernel wants its completions taken first, or is short of memory for a moment.
  if (result < 0 && result != -ETIME && result != -EINTR && result != -EAGAIN && result != -EBUSY) {
    ring_failed("io_uring_submit_and_wait_timeout", -result);
  }
}

void Reactor::reap() {
  State& state = *state_;
  unsigned head = 0;
  unsigned count = 0;
  io_uring_cqe* completion = nullptr;
  io_uring_for_each_cqe(&state.ring, head, completion) {
    complete(completion->user_data, completion->res);
    ++count;
  }
  ::io_uring_cq_advance(&state.ring, count);
  state.statistics.completions += count;
}

void Reactor::complete(std::uint64_t user_data, std::int32_t result) {
  State& state = *state_;
  --state.in_flight;
  if (user_data == kWakeUserData) {
    TM_ASSERT(result == sizeof state.wake_value);
    state.woken = true;  // armed again when the posted functions are taken
    return;
  }
  if (user_data == kIgnoredUserData) return;
  const std::uint64_t index = user_data & 0xffffffffu;
  TM_ASSERT(index < state.operations.size());
  Operation& operation = state.operations[index];
  TM_ASSERT(operation.generation == user_data >> 32);
  TM_ASSERT(operation.state == Operation::State::kInFlight);
  operation.result = result;
  operation.state = Operation::State::kDone;
  if (operation.abandoned) {
    recycle(operation);
  } else {
    post(*operation.waiter);
  }
}

Operation& Reactor::take_operation() {
  State& state = *state_;
  if (state.idle_operations.empty()) {
    Operation& operation = state.operations.emplace_back();
    operation.index = static_cast<std::uint32_t>(state.operations.size() - 1);
    return operation;
  }
  Operation& operation = state.operations[state.idle_operations.back()];
  state.idle_operations.pop_back();
  return operation;
}

void Reactor::submit(Operation& operation) {
  TM_ASSERT(operation.state != Operation::State::kInFlight);
  if (++operation.generation == 0) operation.generation = 1;
  operation.state = Operation::State::kInFlight;
  operation.entry().user_data = user_data_of(operation);
  push(operation.entry());
}

void Reactor::cancel(const Operation& operation) {
  io_uring_sqe entry{};
  ::io_uring_prep_cancel64(&entry, user_data_of(operation), 0);
  entry.user_data = kIgnoredUserData;
  push(entry);
}

void Reactor::give_back(Operation& operation) {
  if (operation.state != Operation::State::kInFlight) {
    recycle(operation);
    return;
  }
  operation.abandoned = true;
  if (operation.cancel_when_abandoned) cancel(operation);
}

void Reactor::recycle(Operation& operation) {
  if (operation.result_is_descriptor && operation.result >= 0 && operation.state == Operation::State::kDone) {
    ::close(operation.result);
  }
  operation.state = Operation::State::kIdle;
  operation.abandoned = false;
  operation.cancel_when_abandoned = false;
  operation.result_is_descriptor = false;
  operation.result = 0;
  operation.descriptor.reset();
  operation.pieces.clear();
  if (operation.pieces.capacity() > kIdlePiecesMax) std::vector<Buffer>().swap(operation.pieces);
  if (operation.vectors.capacity() > kIdlePiecesMax) std::vector<iovec>().swap(operation.vectors);
  operation.piece_index = 0;
  operation.piece_offset = 0;
  state_->idle_operations.push_back(operation.index);
}

void Reactor::push(const io_uring_sqe& entry) {
  State& state = *state_;
  ++state.in_flight;
  if (state.backlog.empty()) {
    io_uring_sqe* slot = ::io_uring_get_sqe(&state.ring);
    if (slot == nullptr) {
      ++state.statistics.enters;
      static_cast<void>(::io_uring_submit(&state.ring));
      slot = ::io_uring_get_sqe(&state.ring);
    }
    if (slot != nullptr) {
      *slot = entry;
      return;
    }
  }
  state.backlog.push_back(entry);
}

void Reactor::arm_wake() {
  io_uring_sqe entry{};
  ::io_uring_prep_read(&entry, state_->wake.get(), &state_->wake_value, sizeof state_->wake_value, 0);
  entry.user_data = kWakeUserData;
  push(entry);
}

void Reactor::post_from_thread(std::function<void()> function) {
  const std::lock_guard lock(state_->posted_mutex);
  const bool was_empty = state_->posted.empty();
  state_->posted.push_back(std::move(function));
  if (!was_empty) return;
  // Written under the lock: once the function can run, this thread does not touch the reactor any more.
  const std::uint64_t one = 1;
  if (::write(state_->wake.get(), &one, sizeof one) != sizeof one) ring_failed("write to an eventfd", errno);
}

void Reactor::run_posted() {
  state_->woken = false;
  arm_wake();
  std::vector<std::function<void()>> functions;
  {
    const std::lock_guard lock(state_->posted_mutex);
    functions.swap(state_->posted);
  }
  for (std::function<void()>& function : functions) {
    function();
    function = nullptr;  // its captures go now, not after the last of them
  }
}

}  // namespace tidemark::os

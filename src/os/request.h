#pragma once

#include <liburing.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "base/bytes.h"
#include "io/scheduler.h"
#include "os/descriptor.h"
#include "os/reactor.h"

// How the twins in this folder talk to the ring; nobody outside includes it.
namespace tidemark::os {

// One transfer's limits: IOV_MAX of Linux, and a length that every call takes (MAX_RW_COUNT is 2 GiB - 4096).
inline constexpr std::size_t kVectorsMax = 1024;
inline constexpr std::size_t kTransferBytesMax = std::size_t{1} << 30;

// What the kernel may look at while an operation is under way. Pooled by the reactor: it stays where it
// is until the completion has come, whatever became of the coroutine that asked for it.
struct Operation {
  enum class State { kIdle, kInFlight, kDone };

  std::uint32_t index = 0;
  std::uint32_t generation = 0;  // tells this use of the object from earlier ones in user_data
  std::int32_t result = 0;       // of the completion: a count or descriptor, or a negative errno
  State state = State::kIdle;
  bool abandoned = false;
  bool cancel_when_abandoned = false;  // sockets, where it might wait for ever; a disk is let finish
  bool result_is_descriptor = false;   // closed when nobody takes it
  io::Waiter* waiter = nullptr;

  SharedDescriptor descriptor;
  std::vector<Buffer> pieces;
  std::vector<iovec> vectors;
  msghdr message{};
  sockaddr_storage address{};
  socklen_t address_length = 0;

  // Progress through `pieces`.
  std::size_t piece_index = 0;
  std::size_t piece_offset = 0;

  // One; an array, because the kernel's type ends in an array of no size, which no member of C++ may.
  std::array<io_uring_sqe, 1> entries{};
  io_uring_sqe& entry() { return entries[0]; }

  // Points `vectors` at what is left of `pieces`; false when nothing is.
  bool gather() {
    vectors.clear();
    std::size_t total = 0;
    std::size_t offset = piece_offset;
    for (std::size_t i = piece_index; i < pieces.size(); ++i) {
      const std::size_t length = std::min(pieces[i].size() - offset, kTransferBytesMax - total);
      if (length > 0) vectors.push_back({pieces[i].data() + offset, length});
      total += length;
      offset = 0;
      if (vectors.size() == kVectorsMax || total == kTransferBytesMax) break;
    }
    return !vectors.empty();
  }
  void advance(std::size_t bytes) {
    while (bytes > 0) {
      const std::size_t step = std::min(bytes, pieces[piece_index].size() - piece_offset);
      bytes -= step;
      piece_offset += step;
      if (piece_offset == pieces[piece_index].size()) {
        ++piece_index;
        piece_offset = 0;
      }
    }
  }
  std::size_t gathered_bytes() const {
    std::size_t total = 0;
    for (const iovec& vector : vectors) total += vector.iov_len;
    return total;
  }
};

// A coroutine's hold on an operation: fill in what it pins and its entry, then `co_await submit()`, as
// often as needed. Destroyed while the operation is in flight, it abandons it, and the operation keeps what
// it pins until the kernel is done.
class Request {
 public:
  explicit Request(Reactor& reactor) : reactor_(reactor), operation_(reactor.take_operation()) {}
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;
  ~Request() { reactor_.give_back(operation_); }

  Operation* operator->() { return &operation_; }
  io_uring_sqe* entry() { return &operation_.entry(); }

  struct Awaiter {
    Reactor& reactor;
    Operation& operation;
    io::Waiter waiter{};
    Awaiter(Reactor& r, Operation& o) : reactor(r), operation(o) {}
    ~Awaiter() { operation.waiter = nullptr; }
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) {
      waiter.handle = handle;
      operation.waiter = &waiter;
      reactor.submit(operation);
    }
    std::int32_t await_resume() const noexcept { return operation.result; }
  };
  // Resumes with the completion's result: not negative, or a negative errno.
  Awaiter submit() { return Awaiter(reactor_, operation_); }

  // Asks the kernel to give up what is in flight; it completes soon, often with -ECANCELED.
  void cancel() {
    if (operation_.state == Operation::State::kInFlight) reactor_.cancel(operation_);
  }
  // The descriptor that the operation returned, which the caller now owns.
  Descriptor take_descriptor() {
    TM_ASSERT(operation_.result_is_descriptor && operation_.result >= 0);
    return Descriptor(std::exchange(operation_.result, -1));
  }

 private:
  Reactor& reactor_;
  Operation& operation_;
};

}  // namespace tidemark::os

#pragma once

#include <chrono>
#include <condition_variable>
#include <coroutine>
#include <functional>
#include <list>
#include <memory>
#include <mutex>

#include "base/result.h"
#include "control/operations.h"
#include "io/task.h"

namespace tidemark::control {

// Runs a function on the reactor thread, soon; callable from any thread. Functions run in the order in which
// they were posted, or not at all when the reactor has ended.
using PostToReactor = std::function<void(std::function<void()>)>;

// Requests that the reactor works on at once and somebody waits for.
inline constexpr std::size_t kRequestsInFlightMax = 64;
// So many whose time limit has passed may go on beside them.
inline constexpr std::size_t kRequestsAbandonedMax = 1024;

// One request on its way through the reactor. Made on a client's thread, run on the reactor thread, read
// again on the client's thread once Dispatcher::run has said that it finished.
class Call {
 public:
  virtual ~Call() = default;
  // On the reactor thread. The call outlives the Task.
  virtual io::Task<void> run(NodeOperations& operations) = 0;

 private:
  friend class Dispatcher;
  bool finished_ = false;   // under the dispatcher's mutex
  bool abandoned_ = false;  // the same
};

// Carries calls from many threads to the reactor thread and their results back.
//
// Owned by ApiServer, shared with the functions that wait in the reactor's queue, so that one that runs late
// finds it closed and does nothing. A client that stops waiting leaves its call running: what it asked for
// may have taken effect half way, and only the operation itself knows how to end well.
class Dispatcher : public std::enable_shared_from_this<Dispatcher> {
 public:
  // `operations` must outlive close(); `post` must be callable until then.
  Dispatcher(NodeOperations& operations, PostToReactor post);
  ~Dispatcher();

  // From any thread but the reactor's: runs `call` there and waits for it, at most `time_limit`. kTimeout: it
  // goes on, and its result is dropped. kBusy: too many are in flight; it was not begun. kShutdown: closed;
  // it may or may not have begun.
  Result<void> run(const std::shared_ptr<Call>& call, std::chrono::milliseconds time_limit);

  // On the reactor thread, not from inside a call: every waiting client is answered kShutdown and every call
  // that is under way is destroyed. Nothing of `operations` is touched afterwards.
  void close();

 private:
  struct Root;
  static Root drive(Dispatcher& dispatcher, std::shared_ptr<Call> call);
  void begin(std::shared_ptr<Call> call);

  NodeOperations& operations_;
  const PostToReactor post_;

  std::list<std::coroutine_handle<>> roots_;  // only on the reactor thread

  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t in_flight_ = 0;  // that somebody waits for
  std::size_t abandoned_ = 0;  // that go on, and whose time limit has passed
  bool closed_ = false;
};

}  // namespace tidemark::control

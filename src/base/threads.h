#pragma once

#include <functional>
#include <thread>

namespace tidemark {

// A thread that does `work`, which does not throw. Where the system gives none, for lack of memory or because
// a limit of its own is reached (ulimit -u, TasksMax=), the process ends with one line on standard error and
// kOutOfMemoryStatus: a node starts all its threads when it starts, and none can be done without.
std::thread start_thread(std::function<void()> work) noexcept;

}  // namespace tidemark

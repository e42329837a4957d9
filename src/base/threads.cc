#include "base/threads.h"

#include <cstdio>
#include <cstdlib>
#include <system_error>
#include <utility>

#include "base/out_of_memory.h"

namespace tidemark {

std::thread start_thread(std::function<void()> work) noexcept {
  try {
    return std::thread(std::move(work));
  } catch (const std::system_error&) {
    // Standard error has no buffer of its own: this needs no memory.
    std::fputs(
        "tidemark: out of memory: the system gives no further thread; raise its limit of threads (ulimit -u, "
        "TasksMax=), or give it more memory\n",
        stderr);
    std::_Exit(kOutOfMemoryStatus);
  }
}

}  // namespace tidemark

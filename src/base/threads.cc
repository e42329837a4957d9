#include "base/threads.h"

#include <system_error>
#include <utility>

#include "base/out_of_memory.h"

namespace tidemark {

std::thread start_thread(std::function<void()> work) noexcept {
  try {
    return std::thread(std::move(work));
  } catch (const std::system_error&) {
    end_without_thread();
  }
}

}  // namespace tidemark

#include "base/out_of_memory.h"

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <system_error>

namespace tidemark {
namespace {

// What std::thread throws when it cannot be made.
bool lacks_thread(const std::exception_ptr& thrown) {
  if (thrown == nullptr) return false;
  try {
    std::rethrow_exception(thrown);
  } catch (const std::system_error& error) {
    return error.code() == std::errc::resource_unavailable_try_again;
  } catch (...) {
    return false;
  }
}

}  // namespace

void end_out_of_memory() noexcept {
  // Standard error has no buffer of its own: this needs no memory.
  std::fputs(
      "tidemark: out of memory: the process ends, as by a crash; start it again with more, or with smaller "
      "limits\n",
      stderr);
  std::_Exit(kOutOfMemoryStatus);
}

void end_without_thread() noexcept {
  std::fputs(
      "tidemark: out of memory: the system gives no further thread; raise its limit of threads (ulimit -u, "
      "TasksMax=), or give it more memory\n",
      stderr);
  std::_Exit(kOutOfMemoryStatus);
}

void end_process_when_out_of_memory() noexcept {
  std::set_new_handler(end_out_of_memory);
  static const std::terminate_handler usual = std::get_terminate();
  std::set_terminate([] {
    if (lacks_thread(std::current_exception())) end_without_thread();
    usual();
  });
}

}  // namespace tidemark

#include "base/out_of_memory.h"

#include <cstdio>
#include <cstdlib>
#include <new>

namespace tidemark {

void end_out_of_memory() noexcept {
  // Standard error has no buffer of its own: this needs no memory.
  std::fputs(
      "tidemark: out of memory: the process ends, as by a crash; start it again with more, or with smaller "
      "limits\n",
      stderr);
  std::_Exit(kOutOfMemoryStatus);
}

void end_process_when_out_of_memory() noexcept {
  std::set_new_handler(end_out_of_memory);
}

}  // namespace tidemark

#include "os/machine_load.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>

namespace tidemark::os {

bool is_confined_to_some_cores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  // EINVAL on a machine with more cores than the set can name: then nothing is known of it.
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return false;
  return CPU_COUNT(&allowed) < ::sysconf(_SC_NPROCESSORS_ONLN);
}

MachineLoad::MachineLoad(const std::string& path) {
  if (is_confined_to_some_cores()) return;
  file_ = Descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  cores_ = ::sysconf(_SC_NPROCESSORS_ONLN);
}

bool MachineLoad::cores_are_wanted() const {
  if (!file_.valid() || cores_ <= 0) return false;
  // "0.08 0.03 0.05 2/81 4242" (proc_loadavg(5)): 2 of 81 threads run or want to.
  std::array<char, 128> text{};
  if (::pread(file_.get(), text.data(), text.size() - 1, 0) <= 0) return false;
  const char* at = text.data();
  for (int field = 0; field < 3; ++field) {
    at = std::strchr(at, ' ');
    if (at == nullptr) return false;
    ++at;
  }
  return std::strtol(at, nullptr, 10) > cores_;
}

}  // namespace tidemark::os

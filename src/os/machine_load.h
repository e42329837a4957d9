#pragma once

#include <string>

#include "os/descriptor.h"

namespace tidemark::os {

// Whether others want the cores that this process may use, as far as Linux tells. No call fails: what cannot
// be read says nothing.
class MachineLoad {
 public:
  explicit MachineLoad(const std::string& path = "/proc/loadavg");

  // More threads run or want to, on the whole machine, than it has cores. Always false where the process may
  // use only some of them: nobody tells how many want those. One system call.
  bool cores_are_wanted() const;

 private:
  Descriptor file_;
  long cores_ = 0;  // of the machine; 0: not known, or not all of them are ours
};

// Whether the process may use only some of the machine's cores (taskset, a cpuset, CPUAffinity=). A quota of
// processor time is not seen.
bool is_confined_to_some_cores();

}  // namespace tidemark::os

#include "os/descriptor.h"

#include <unistd.h>

#include <cstring>

namespace tidemark::os {

Descriptor::~Descriptor() {
  if (fd_ >= 0) ::close(fd_);
}

std::string errno_text(int error) {
  const char* description = ::strerrordesc_np(error);
  const char* name = ::strerrorname_np(error);
  if (description == nullptr || name == nullptr) return "error " + std::to_string(error);
  return std::string(description) + " (" + name + ")";
}

}  // namespace tidemark::os
